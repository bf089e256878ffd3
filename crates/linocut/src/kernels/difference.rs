//! How far two vectors lie apart: every sum that their distances need, in one pass and in float64.

use pulp::{Arch, Simd, WithSimd};

/// Entries as a file stores them, little-endian and without any alignment.
#[derive(Debug, Clone, Copy)]
pub enum Entries<'a> {
    /// 32-bit floats.
    F32(&'a [[u8; 4]]),
    /// IEEE half precision.
    F16(&'a [[u8; 2]]),
    /// The upper half of a 32-bit float.
    Bf16(&'a [[u8; 2]]),
}

impl<'a> Entries<'a> {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Entries::F32(x) => x.len(),
            Entries::F16(x) | Entries::Bf16(x) => x.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends the entries to `out`, each as the bytes of the 32-bit float that equals it.
    pub fn widen(&self, out: &mut Vec<[u8; 4]>) {
        match self {
            Entries::F32(x) => out.extend_from_slice(x),
            Entries::F16(x) => out.extend(x.iter().map(|&two| Half::read(two).to_le_bytes())),
            Entries::Bf16(x) => out.extend(x.iter().map(|&two| Brain::read(two).to_le_bytes())),
        }
    }
}

/// Sums over the entries of u (before) and v (after), where both are finite.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Differences {
    /// Entries summed.
    pub entries: u64,
    /// Entries left out, since u or v is NaN or infinite there.
    pub non_finite: u64,
    /// Those of them where u is.
    pub non_finite_before: u64,
    /// Σ u².
    pub before: f64,
    /// Σ v².
    pub after: f64,
    /// Σ (u − v)².
    pub squares: f64,
    /// Σ (u − v)(u + v): what Σu² − Σv² is, without its cancellation.
    pub cross: f64,
    /// Σ |u − v|.
    pub absolute: f64,
    /// max |u − v|.
    pub largest: f64,
    /// How many |u − v| are above the tolerance.
    pub changed: u64,
}

impl Differences {
    /// Adds the sums over other entries.
    pub fn add(&mut self, other: &Self) {
        self.entries += other.entries;
        self.non_finite += other.non_finite;
        self.non_finite_before += other.non_finite_before;
        self.before += other.before;
        self.after += other.after;
        self.squares += other.squares;
        self.cross += other.cross;
        self.absolute += other.absolute;
        self.largest = self.largest.max(other.largest);
        self.changed += other.changed;
    }
}

/// Compares `u` and `v`, equally many; an entry counts as changed if |u − v| > `tolerance` ≥ 0.
///
/// Widening is exact, and a difference of two 32-bit floats is rounded once, in float64.
///
/// # Panics
/// If the lengths differ.
pub fn differences(u: Entries<'_>, v: Entries<'_>, tolerance: f64) -> Differences {
    assert_eq!(u.len(), v.len(), "both vectors have one length");
    use Entries::{Bf16, F16, F32};
    match (u, v) {
        (F32(u), F32(v)) => compare::<Single, Single>(u, v, tolerance),
        (F32(u), F16(v)) => compare::<Single, Half>(u, v, tolerance),
        (F32(u), Bf16(v)) => compare::<Single, Brain>(u, v, tolerance),
        (F16(u), F32(v)) => compare::<Half, Single>(u, v, tolerance),
        (F16(u), F16(v)) => compare::<Half, Half>(u, v, tolerance),
        (F16(u), Bf16(v)) => compare::<Half, Brain>(u, v, tolerance),
        (Bf16(u), F32(v)) => compare::<Brain, Single>(u, v, tolerance),
        (Bf16(u), F16(v)) => compare::<Brain, Half>(u, v, tolerance),
        (Bf16(u), Bf16(v)) => compare::<Brain, Brain>(u, v, tolerance),
    }
}

/// Entries widened to float64 at a time: both sides lie in the innermost cache. A multiple of
/// [`LANES`].
const BLOCK: usize = 512;

/// Partial sums that every sum is taken in, as many as the widest vector has lanes: narrower machines
/// take several vectors for them, so that all that fuse multiply and add find the same sums to the bit.
const LANES: usize = 8;

/// After this many additions a partial sum goes to a total, so that rounding grows with the number of
/// such groups and not of entries.
const GROUP: usize = 8;

type Totals = [f64; LANES];

/// Adds partial sums to their totals and clears them.
#[inline(always)]
fn drain<S: Simd>(simd: S, partial: &mut [S::f64s; LANES], total: &mut Totals) {
    let (total, _) = S::as_mut_simd_f64s(total);
    for (total, partial) in total.iter_mut().zip(partial) {
        *total = simd.add_f64s(*total, *partial);
        *partial = simd.splat_f64s(0.0);
    }
}

fn sum([a, b, c, d, e, f, g, h]: Totals) -> f64 {
    ((a + e) + (c + g)) + ((b + f) + (d + h))
}

trait Format {
    type Bytes: Copy + Sync;
    fn read(bytes: Self::Bytes) -> f32;
}

struct Single;
struct Half;
struct Brain;

impl Format for Single {
    type Bytes = [u8; 4];
    #[inline(always)]
    fn read(bytes: [u8; 4]) -> f32 {
        f32::from_le_bytes(bytes)
    }
}

impl Format for Brain {
    type Bytes = [u8; 2];
    #[inline(always)]
    fn read(bytes: [u8; 2]) -> f32 {
        f32::from_bits(u32::from(u16::from_le_bytes(bytes)) << 16)
    }
}

impl Format for Half {
    type Bytes = [u8; 2];
    /// Exponent and fraction moved to where a 32-bit float has them, then scaled by the difference
    /// of the exponents' biases, which is exact and makes subnormals normal.
    #[inline(always)]
    fn read(bytes: [u8; 2]) -> f32 {
        let h = u32::from(u16::from_le_bytes(bytes));
        let magnitude = h & 0x7fff;
        let scaled = f32::from_bits(magnitude << 13) * f32::from_bits((127 + 112) << 23);
        // Infinities and NaN have the largest exponent in both formats.
        let special = if magnitude >= 0x7c00 { 0x7f80_0000 } else { 0 };
        f32::from_bits(scaled.to_bits() | special | (h & 0x8000) << 16)
    }
}

/// Writes `from` as float64 to the start of `block`, zeros after; the length rounded up to whole
/// [`LANES`].
#[inline(always)]
fn widen<F: Format>(block: &mut [f64; BLOCK], from: &[F::Bytes]) -> usize {
    let (start, rest) = block.split_at_mut(from.len());
    for (to, &bytes) in start.iter_mut().zip(from) {
        *to = f64::from(F::read(bytes));
    }
    let whole = from.len().next_multiple_of(LANES).min(BLOCK);
    rest[..whole - from.len()].fill(0.0);
    whole
}

fn compare<A: Format, B: Format>(u: &[A::Bytes], v: &[B::Bytes], tolerance: f64) -> Differences {
    let finite = |u, v| Arch::new().dispatch(Compare::<A, B> { u, v, tolerance });
    let sums = finite(u, v);
    // Squares of finite 32-bit floats neither overflow float64 nor do their sums.
    if (sums.before + sums.after).is_finite() {
        return sums;
    }
    let mut sums = Differences::default();
    for (u, v) in u.iter().zip(v) {
        let before = A::read(*u).is_finite();
        if before && B::read(*v).is_finite() {
            sums.add(&finite(std::slice::from_ref(u), std::slice::from_ref(v)));
        } else {
            sums.non_finite += 1;
            sums.non_finite_before += u64::from(!before);
        }
    }
    sums
}

struct Compare<'a, A: Format, B: Format> {
    u: &'a [A::Bytes],
    v: &'a [B::Bytes],
    tolerance: f64,
}

impl<A: Format, B: Format> WithSimd for Compare<'_, A, B> {
    type Output = Differences;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Differences {
        let (mut u, mut v) = ([0.0; BLOCK], [0.0; BLOCK]);
        let (zero, one) = (simd.splat_f64s(0.0), simd.splat_f64s(1.0));
        let tolerance = simd.splat_f64s(self.tolerance);
        // Only the first LANES / S::F64_LANES vectors of each are used.
        let mut partial = [[zero; LANES]; 5];
        let mut totals = [Totals::default(); 5];
        let (mut largest, mut changed) = (zero, zero);
        let vectors = LANES / S::F64_LANES;
        for (a, b) in self.u.chunks(BLOCK).zip(self.v.chunks(BLOCK)) {
            let whole = widen::<A>(&mut u, a);
            widen::<B>(&mut v, b);
            let (u, v) = (S::as_simd_f64s(&u[..whole]).0, S::as_simd_f64s(&v[..whole]).0);
            for (u, v) in u.chunks(GROUP * vectors).zip(v.chunks(GROUP * vectors)) {
                let [before, after, squares, cross, absolute] = &mut partial;
                for (u, v) in u.chunks_exact(vectors).zip(v.chunks_exact(vectors)) {
                    for i in 0..vectors {
                        let (u, v) = (u[i], v[i]);
                        let d = simd.sub_f64s(u, v);
                        before[i] = simd.mul_add_e_f64s(u, u, before[i]);
                        after[i] = simd.mul_add_e_f64s(v, v, after[i]);
                        squares[i] = simd.mul_add_e_f64s(d, d, squares[i]);
                        cross[i] = simd.mul_add_e_f64s(d, simd.add_f64s(u, v), cross[i]);
                        let d = simd.abs_f64s(d);
                        absolute[i] = simd.add_f64s(absolute[i], d);
                        largest = simd.max_f64s(largest, d);
                        let above = simd.greater_than_f64s(d, tolerance);
                        changed = simd.add_f64s(changed, simd.select_f64s(above, one, zero));
                    }
                }
                partial.iter_mut().zip(&mut totals).for_each(|(p, t)| drain(simd, p, t));
            }
        }
        let [before, after, squares, cross, absolute] = totals.map(sum);
        Differences {
            entries: self.u.len() as u64,
            non_finite: 0,
            non_finite_before: 0,
            before,
            after,
            squares,
            cross,
            absolute,
            largest: simd.reduce_max_f64s(largest),
            changed: simd.reduce_sum_f64s(changed) as u64,
        }
    }
}

/// Sums over two difference vectors p = v₁ − u and q = v₂ − u, where all three are finite.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Pair {
    /// Σ p².
    pub first: f64,
    /// Σ q².
    pub second: f64,
    /// Σ (p − q)².
    pub squares: f64,
    /// Σ (p − q)(p + q).
    pub cross: f64,
}

impl Pair {
    /// Adds the sums over other entries.
    pub fn add(&mut self, other: &Self) {
        self.first += other.first;
        self.second += other.second;
        self.squares += other.squares;
        self.cross += other.cross;
    }
}

/// Compares how `v1` and `v2` differ from `u`; all 32-bit floats and equally many.
pub fn pair(u: &[[u8; 4]], v1: &[[u8; 4]], v2: &[[u8; 4]]) -> Pair {
    let finite = |u, v1, v2| Arch::new().dispatch(ComparePair { u, v1, v2 });
    let sums = finite(u, v1, v2);
    if (sums.first + sums.second).is_finite() {
        return sums;
    }
    let mut sums = Pair::default();
    for i in 0..u.len() {
        if [u[i], v1[i], v2[i]].into_iter().all(|bytes| Single::read(bytes).is_finite()) {
            sums.add(&finite(&u[i..=i], &v1[i..=i], &v2[i..=i]));
        }
    }
    sums
}

struct ComparePair<'a> {
    u: &'a [[u8; 4]],
    v1: &'a [[u8; 4]],
    v2: &'a [[u8; 4]],
}

impl WithSimd for ComparePair<'_> {
    type Output = Pair;

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) -> Pair {
        let mut blocks = [[0.0; BLOCK]; 3];
        let mut partial = [[simd.splat_f64s(0.0); LANES]; 4];
        let mut totals = [Totals::default(); 4];
        let vectors = LANES / S::F64_LANES;
        let chunks = self.u.chunks(BLOCK).zip(self.v1.chunks(BLOCK)).zip(self.v2.chunks(BLOCK));
        for ((a, b), c) in chunks {
            let [u, v1, v2] = &mut blocks;
            let whole = widen::<Single>(u, a);
            widen::<Single>(v1, b);
            widen::<Single>(v2, c);
            let [u, v1, v2] = [u, v1, v2].map(|block| S::as_simd_f64s(&block[..whole]).0);
            let group = GROUP * vectors;
            for ((u, v1), v2) in u.chunks(group).zip(v1.chunks(group)).zip(v2.chunks(group)) {
                let [first, second, squares, cross] = &mut partial;
                let others = v1.chunks_exact(vectors).zip(v2.chunks_exact(vectors));
                for (u, (v1, v2)) in u.chunks_exact(vectors).zip(others) {
                    for i in 0..vectors {
                        let (p, q) = (simd.sub_f64s(v1[i], u[i]), simd.sub_f64s(v2[i], u[i]));
                        let d = simd.sub_f64s(v1[i], v2[i]);
                        first[i] = simd.mul_add_e_f64s(p, p, first[i]);
                        second[i] = simd.mul_add_e_f64s(q, q, second[i]);
                        squares[i] = simd.mul_add_e_f64s(d, d, squares[i]);
                        cross[i] = simd.mul_add_e_f64s(d, simd.add_f64s(p, q), cross[i]);
                    }
                }
                partial.iter_mut().zip(&mut totals).for_each(|(p, t)| drain(simd, p, t));
            }
        }
        let [first, second, squares, cross] = totals.map(sum);
        Pair { first, second, squares, cross }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use half::{bf16, f16};

    #[test]
    fn every_16_bit_pattern_widens_as_in_the_half_crate() {
        for bits in 0..=u16::MAX {
            let bytes = bits.to_le_bytes();
            let (h, b) = (f16::from_bits(bits).to_f32(), bf16::from_bits(bits).to_f32());
            let same = |x: f32, y: f32| x.to_bits() == y.to_bits() || x.is_nan() && y.is_nan();
            assert!(same(Half::read(bytes), h), "f16 {bits:#x}: {} {h}", Half::read(bytes));
            assert!(same(Brain::read(bytes), b), "bf16 {bits:#x}");
        }
    }

    fn bytes(values: &[f32]) -> Vec<[u8; 4]> {
        values.iter().map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn whole_numbers_give_exact_sums_at_any_length() {
        for len in [0, 1, 3, 4, 5, 8, 61, 511, 512, 513, 1030] {
            let u: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            let v: Vec<f32> = (0..len).map(|i| (i % 5) as f32 - 1.0).collect();
            let sum = |f: fn(f64, f64) -> f64| -> f64 {
                u.iter().zip(&v).map(|(&u, &v)| f(u.into(), v.into())).sum()
            };
            let want = Differences {
                entries: len,
                non_finite: 0,
                non_finite_before: 0,
                before: sum(|u, _| u * u),
                after: sum(|_, v| v * v),
                squares: sum(|u, v| (u - v) * (u - v)),
                cross: sum(|u, v| u * u - v * v),
                absolute: sum(|u, v| (u - v).abs()),
                largest: u.iter().zip(&v).fold(0.0, |m, (&u, &v)| f64::from((u - v).abs()).max(m)),
                changed: u.iter().zip(&v).filter(|(u, v)| (*u - *v).abs() > 1.0).count() as u64,
            };
            let (wide_u, wide_v) = (bytes(&u), bytes(&v));
            let half: Vec<[u8; 2]> = u.iter().map(|&x| f16::from_f32(x).to_le_bytes()).collect();
            let brain: Vec<[u8; 2]> = v.iter().map(|&x| bf16::from_f32(x).to_le_bytes()).collect();
            for before in [Entries::F32(&wide_u), Entries::F16(&half)] {
                for after in [Entries::F32(&wide_v), Entries::Bf16(&brain)] {
                    assert_eq!(differences(before, after, 1.0), want, "length {len}");
                }
            }
            // p = u − 0 and q = v − 0.
            let got = pair(&bytes(&vec![0.0; u.len()]), &wide_u, &wide_v);
            assert_eq!((got.first, got.second), (want.before, want.after));
            assert_eq!((got.squares, got.cross), (want.squares, want.cross));
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn every_instruction_set_finds_the_same_sums() {
        use crate::kernels::random::normal;
        let draw = |key| bytes(&(0..5003).map(|i| normal(key, i)).collect::<Vec<f32>>());
        let (u, v, w) = (draw(1), draw(2), draw(3));
        let compare = || Compare::<Single, Single> { u: &u, v: &v, tolerance: 0.1 };
        let compare_pair = || ComparePair { u: &u, v1: &v, v2: &w };
        let Some(narrow) = pulp::x86::V3::try_new() else { return };
        let (sums, pair) =
            (Simd::vectorize(narrow, compare()), Simd::vectorize(narrow, compare_pair()));
        if let Some(wide) = pulp::x86::V4::try_new() {
            assert_eq!(Simd::vectorize(wide, compare()), sums);
            assert_eq!(Simd::vectorize(wide, compare_pair()), pair);
        }
        // Without fused multiply-adds each product is rounded by itself.
        let plain = compare().with_simd(pulp::Scalar::new());
        assert_eq!((plain.changed, plain.largest), (sums.changed, sums.largest));
        assert!((plain.cross - sums.cross).abs() < 1e-12 * sums.before, "{plain:?} {sums:?}");
    }

    #[test]
    fn what_is_not_finite_is_counted_and_left_out() {
        let mut u = vec![1.0f32; 9];
        let mut v = vec![3.0f32; 9];
        (u[2], v[2], v[5], u[8]) = (f32::NAN, f32::NAN, f32::INFINITY, f32::NEG_INFINITY);
        let (u, v) = (bytes(&u), bytes(&v));
        let sums = differences(Entries::F32(&u), Entries::F32(&v), 0.0);
        assert_eq!((sums.entries, sums.non_finite, sums.changed), (6, 3, 6));
        assert_eq!(sums.non_finite_before, 2);
        assert_eq!((sums.before, sums.squares, sums.largest), (6.0, 24.0, 2.0));
        let sums = pair(&bytes(&[0.0; 9]), &u, &v);
        assert_eq!((sums.first, sums.second), (6.0, 54.0));
        // The largest floats are finite, and so are their sums.
        let most = bytes(&[f32::MAX; 5]);
        let sums = differences(Entries::F32(&most), Entries::F32(&most), 0.0);
        assert_eq!((sums.entries, sums.non_finite, sums.squares), (5, 0, 0.0));
    }
}
