//! Sums of products of six rows of X with a panel of W, once for each set of instructions.

use std::sync::OnceLock;

use super::GROUP;
use crate::kernels::panels::WIDTH;

/// Four columns of the 16 rows of a panel: `[16, 4]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [i8; WIDTH * GROUP]);

impl Default for Line {
    fn default() -> Self {
        Self([0; WIDTH * GROUP])
    }
}

/// Sets of instructions that there is a way for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    AvxVnni,
    #[cfg(target_arch = "x86_64")]
    Avx512Vnni,
    #[cfg(target_arch = "aarch64")]
    NeonDot,
}

impl Isa {
    /// All that this machine has, the quickest last.
    pub(super) fn all() -> Vec<Self> {
        let mut all = vec![Self::Portable];
        #[cfg(all(target_arch = "x86_64", not(miri)))]
        {
            use std::arch::is_x86_feature_detected as has;
            all.extend(has!("avx2").then_some(Self::Avx2));
            all.extend((has!("avx2") && has!("avxvnni")).then_some(Self::AvxVnni));
            all.extend((has!("avx512f") && has!("avx512vnni")).then_some(Self::Avx512Vnni));
        }
        #[cfg(all(target_arch = "aarch64", not(miri)))]
        all.extend(std::arch::is_aarch64_feature_detected!("dotprod").then_some(Self::NeonDot));
        all
    }

    /// The quickest, looked up once.
    pub(super) fn found() -> Self {
        static FOUND: OnceLock<Isa> = OnceLock::new();
        *FOUND.get_or_init(|| *Self::all().last().expect("the portable one at least"))
    }
}

/// `found[r][l] += Σ x[r]·panel[l]` over these columns. The last group of `x` may hold anything where the
/// matrix has no more columns: the panel is 0 there.
#[inline(always)]
#[allow(unsafe_code)]
pub(super) fn add_sums<const H: usize>(
    isa: Isa,
    x: &[&[[u8; GROUP]]; H],
    panel: &[Line],
    found: &mut [[i32; WIDTH]; H],
) {
    assert!(x.iter().all(|x| x.len() == panel.len()), "as many groups of X as of the panel");
    match isa {
        Isa::Portable => portable(x, panel, found),
        // SAFETY (all): `Isa::all` gives only what this machine has, and the lengths are checked above.
        #[cfg(target_arch = "x86_64")]
        Isa::Avx2 => unsafe { avx2(x, panel, found) },
        #[cfg(target_arch = "x86_64")]
        Isa::AvxVnni => unsafe { avx_vnni(x, panel, found) },
        #[cfg(target_arch = "x86_64")]
        Isa::Avx512Vnni => unsafe { avx512_vnni(x, panel, found) },
        #[cfg(target_arch = "aarch64")]
        Isa::NeonDot => unsafe { neon_dot(x, panel, found) },
    }
}

/// The sums as they are defined.
#[inline(always)]
fn portable<const H: usize>(
    x: &[&[[u8; GROUP]]; H],
    panel: &[Line],
    found: &mut [[i32; WIDTH]; H],
) {
    for (x, found) in x.iter().zip(found) {
        let mut sums = [0; WIDTH];
        for (x, line) in x.iter().zip(panel) {
            for (sum, w) in sums.iter_mut().zip(line.0.as_chunks::<GROUP>().0) {
                for (x, w) in x.iter().zip(w) {
                    *sum += i32::from(*x) * i32::from(*w);
                }
            }
        }
        found.iter_mut().zip(sums).for_each(|(found, sum)| *found += sum);
    }
}

/// Four columns of a row of X, as the instructions want them in every lane.
#[inline(always)]
fn group(x: [u8; GROUP]) -> i32 {
    i32::from_ne_bytes(x)
}

/// By `vpmaddubsw`, whose sums of two products fit i16: see [`super`].
///
/// # Safety
/// Each of `x` must be as long as `panel`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
unsafe fn avx2<const H: usize>(
    x: &[&[[u8; GROUP]]; H],
    panel: &[Line],
    found: &mut [[i32; WIDTH]; H],
) {
    use std::arch::x86_64::*;
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; H];
    for (p, line) in panel.iter().enumerate() {
        let w: *const __m256i = line.0.as_ptr().cast();
        // SAFETY: a line is two vectors, aligned as such.
        let w = unsafe { [_mm256_load_si256(w), _mm256_load_si256(w.add(1))] };
        for r in 0..H {
            // SAFETY: as long as the panel, says the caller.
            let x = _mm256_set1_epi32(group(unsafe { *x[r].get_unchecked(p) }));
            for v in 0..2 {
                let pairs = _mm256_maddubs_epi16(x, w[v]);
                sums[r][v] = _mm256_add_epi32(sums[r][v], _mm256_madd_epi16(pairs, ones));
            }
        }
    }
    add_to(found, sums);
}

/// Adds the sums of two vectors a row.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2")]
#[allow(unsafe_code)]
fn add_to<const H: usize>(
    found: &mut [[i32; WIDTH]; H],
    sums: [[std::arch::x86_64::__m256i; 2]; H],
) {
    use std::arch::x86_64::*;
    for (found, sums) in found.iter_mut().zip(sums) {
        let to: *mut __m256i = found.as_mut_ptr().cast();
        // SAFETY: 16 sums are two vectors, loaded and stored without alignment.
        unsafe {
            for (v, sum) in sums.into_iter().enumerate() {
                let to = to.add(v);
                _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), sum));
            }
        }
    }
}

/// By `vpdpbusd`, which adds four products in i32.
///
/// # Safety
/// Each of `x` must be as long as `panel`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx2,avxvnni")]
#[allow(unsafe_code)]
unsafe fn avx_vnni<const H: usize>(
    x: &[&[[u8; GROUP]]; H],
    panel: &[Line],
    found: &mut [[i32; WIDTH]; H],
) {
    use std::arch::x86_64::*;
    let mut sums = [[_mm256_setzero_si256(); 2]; H];
    for (p, line) in panel.iter().enumerate() {
        let w: *const __m256i = line.0.as_ptr().cast();
        // SAFETY: a line is two vectors, aligned as such.
        let w = unsafe { [_mm256_load_si256(w), _mm256_load_si256(w.add(1))] };
        for r in 0..H {
            // SAFETY: as long as the panel, says the caller.
            let x = _mm256_set1_epi32(group(unsafe { *x[r].get_unchecked(p) }));
            for v in 0..2 {
                sums[r][v] = _mm256_dpbusd_avx_epi32(sums[r][v], x, w[v]);
            }
        }
    }
    add_to(found, sums);
}

/// By `vpdpbusd` on a whole line.
///
/// # Safety
/// Each of `x` must be as long as `panel`.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx512f,avx512vnni")]
#[allow(unsafe_code)]
unsafe fn avx512_vnni<const H: usize>(
    x: &[&[[u8; GROUP]]; H],
    panel: &[Line],
    found: &mut [[i32; WIDTH]; H],
) {
    use std::arch::x86_64::*;
    let mut sums = [_mm512_setzero_si512(); H];
    for (p, line) in panel.iter().enumerate() {
        // SAFETY: a line is one vector, aligned as such.
        let w = unsafe { _mm512_load_si512(line.0.as_ptr().cast()) };
        for r in 0..H {
            // SAFETY: as long as the panel, says the caller.
            let x = _mm512_set1_epi32(group(unsafe { *x[r].get_unchecked(p) }));
            sums[r] = _mm512_dpbusd_epi32(sums[r], x, w);
        }
    }
    for (found, sums) in found.iter_mut().zip(sums) {
        let to = found.as_mut_ptr().cast();
        // SAFETY: 16 sums are one vector, loaded and stored without alignment.
        unsafe { _mm512_storeu_si512(to, _mm512_add_epi32(_mm512_loadu_si512(to), sums)) }
    }
}

/// By `sdot`, which takes both as signed: x − 128, and 128·Σ w on top.
///
/// # Safety
/// Each of `x` must be as long as `panel`.
#[cfg(target_arch = "aarch64")]
#[inline]
#[target_feature(enable = "neon,dotprod")]
#[allow(unsafe_code)]
unsafe fn neon_dot<const H: usize>(
    x: &[&[[u8; GROUP]]; H],
    panel: &[Line],
    found: &mut [[i32; WIDTH]; H],
) {
    use std::arch::aarch64::*;
    let ones = vdupq_n_s8(1);
    let mut own = [vdupq_n_s32(0); 4];
    let mut sums = [[vdupq_n_s32(0); 4]; H];
    for (p, line) in panel.iter().enumerate() {
        for v in 0..4 {
            // SAFETY: a line is four vectors.
            let w = unsafe { vld1q_s8(line.0.as_ptr().add(16 * v)) };
            own[v] = dot(own[v], ones, w);
            for r in 0..H {
                // SAFETY: as long as the panel, says the caller.
                let x = group(unsafe { *x[r].get_unchecked(p) });
                let x = vreinterpretq_s8_u32(vdupq_n_u32(x as u32 ^ 0x8080_8080));
                sums[r][v] = dot(sums[r][v], x, w);
            }
        }
    }
    for (found, sums) in found.iter_mut().zip(sums) {
        for v in 0..4 {
            let sum = vaddq_s32(sums[v], vshlq_n_s32::<7>(own[v]));
            // SAFETY: four of the 16 sums.
            unsafe {
                let to = found.as_mut_ptr().add(4 * v);
                vst1q_s32(to, vaddq_s32(vld1q_s32(to), sum));
            }
        }
    }
}

/// `sum` + four products a lane; the intrinsic of the instruction is not stable yet.
#[cfg(target_arch = "aarch64")]
#[inline]
#[target_feature(enable = "neon,dotprod")]
#[allow(unsafe_code)]
fn dot(
    mut sum: std::arch::aarch64::int32x4_t,
    x: std::arch::aarch64::int8x16_t,
    w: std::arch::aarch64::int8x16_t,
) -> std::arch::aarch64::int32x4_t {
    // SAFETY: the instruction reads and writes these registers alone.
    unsafe {
        std::arch::asm!(
            "sdot {sum:v}.4s, {x:v}.16b, {w:v}.16b",
            sum = inout(vreg) sum,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    sum
}
