//! Products with two narrow matrices one after the other, as low-rank changes of a large one have them.

use pulp::{Arch, Simd, WithSimd};

/// Rows of X that go through both matrices together.
const HEIGHT: usize = 3;
/// Rows of A, or vectors of a row of Bᵀ, that meet them at one time: 3 · 4 sums and what they are made of
/// fill the registers of AVX2.
const WIDTH: usize = 4;

/// Two narrow matrices whose product is added to some rows of a large one, `[rows, cols]`.
#[derive(Debug)]
pub struct Thin {
    rank: usize,
    /// A, `[rank, cols]`
    down: Vec<f32>,
    /// Bᵀ, `[rank, rows]`
    up: Vec<f32>,
}

impl Thin {
    /// From the rows of Aᵀ, `[cols, rank]`, and those of B, `[rows, rank]`.
    ///
    /// # Panics
    /// If `rank` is 0 or does not divide their lengths.
    pub fn new(a: &[f32], b: &[f32], rank: usize) -> Self {
        let turned = |m: &[f32]| {
            let rows = m.len() / rank;
            assert_eq!(m.len(), rows * rank, "rows of {rank}");
            (0..rank).flat_map(|p| (0..rows).map(move |i| m[i * rank + p])).collect()
        };
        Self { rank, down: turned(a), up: turned(b) }
    }

    /// Columns of B and rows of A.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Rows of the product B·A.
    pub fn rows(&self) -> usize {
        self.up.len() / self.rank
    }

    /// A and Bᵀ, `[rank, cols]` and `[rank, rows]`.
    pub fn factors(&self) -> [&[f32]; 2] {
        [&self.down, &self.up]
    }

    /// Adds (X·Aᵀ)·Bᵀ to Y's columns from `column` on, on this thread, for `x` `[n, cols]` and `y`
    /// `[n, width]`. Each row of Y depends on its own row of X alone, to the bit.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn add(&self, x: &[f32], y: &mut [f32], width: usize, column: usize, spare: &mut Vec<f32>) {
        let cols = self.down.len() / self.rank;
        let n = y.len() / width;
        assert!(x.len() == n * cols && y.len() == n * width, "as many rows of X as of Y");
        assert!(column + self.rows() <= width, "the columns lie within Y");
        spare.resize(n * self.rank, 0.0);
        Arch::new().dispatch(Add { thin: self, x, y, width, column, narrow: spare });
    }
}

/// The two products over some rows.
struct Add<'a> {
    thin: &'a Thin,
    x: &'a [f32],
    y: &'a mut [f32],
    width: usize,
    column: usize,
    /// X·Aᵀ, `[n, rank]`
    narrow: &'a mut [f32],
}

impl WithSimd for Add<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Thin { rank, down, up } = self.thin;
        let cols = down.len() / rank;
        let x = self.x.chunks(HEIGHT * cols);
        let y = self.y.chunks_mut(HEIGHT * self.width);
        for ((x, y), narrow) in x.zip(y).zip(self.narrow.chunks_mut(HEIGHT * rank)) {
            match x.len() / cols {
                3 => rows::<S, 3>(simd, x, (down, up), narrow, y, self.column),
                2 => rows::<S, 2>(simd, x, (down, up), narrow, y, self.column),
                _ => rows::<S, 1>(simd, x, (down, up), narrow, y, self.column),
            }
        }
    }
}

/// Both products for `H` rows.
#[inline(always)]
fn rows<S: Simd, const H: usize>(
    simd: S,
    x: &[f32],
    (down, up): (&[f32], &[f32]),
    narrow: &mut [f32],
    y: &mut [f32],
    column: usize,
) {
    let (cols, rank) = (x.len() / H, narrow.len() / H);
    let x: [&[f32]; H] = std::array::from_fn(|i| &x[i * cols..(i + 1) * cols]);
    for p in (0..rank).step_by(WIDTH) {
        let a = &down[p * cols..(p + WIDTH).min(rank) * cols];
        let out = &mut narrow[p..];
        match a.len() / cols {
            4 => dots::<S, H, 4>(simd, &x, a, out, rank),
            3 => dots::<S, H, 3>(simd, &x, a, out, rank),
            2 => dots::<S, H, 2>(simd, &x, a, out, rank),
            _ => dots::<S, H, 1>(simd, &x, a, out, rank),
        }
    }
    let (width, height) = (y.len() / H, up.len() / rank);
    let mut j = 0;
    while j + WIDTH * S::F32_LANES <= height {
        columns::<S, H, WIDTH>(simd, narrow, (&up[j..], height), (&mut y[column + j..], width));
        j += WIDTH * S::F32_LANES;
    }
    while j + S::F32_LANES <= height {
        columns::<S, H, 1>(simd, narrow, (&up[j..], height), (&mut y[column + j..], width));
        j += S::F32_LANES;
    }
    for j in j..height {
        for i in 0..H {
            let y = &mut y[i * width + column + j];
            for p in 0..rank {
                *y = narrow[i * rank + p].mul_add(up[p * height + j], *y);
            }
        }
    }
}

/// The products of `H` rows with the `W` rows of `a`; the rows of `out` are `stride` apart.
#[inline(always)]
fn dots<S: Simd, const H: usize, const W: usize>(
    simd: S,
    x: &[&[f32]; H],
    a: &[f32],
    out: &mut [f32],
    stride: usize,
) {
    let cols = a.len() / W;
    let a: [&[f32]; W] = std::array::from_fn(|p| &a[p * cols..(p + 1) * cols]);
    let whole = cols / S::F32_LANES;
    // All of one length, which the compiler then knows: no index below is out of bounds.
    let x_wide: [&[S::f32s]; H] = std::array::from_fn(|i| &S::as_simd_f32s(x[i]).0[..whole]);
    let a_wide: [&[S::f32s]; W] = std::array::from_fn(|p| &S::as_simd_f32s(a[p]).0[..whole]);
    let mut sums = [[simd.splat_f32s(0.0); W]; H];
    for k in 0..whole {
        for p in 0..W {
            for i in 0..H {
                sums[i][p] = simd.mul_add_e_f32s(x_wide[i][k], a_wide[p][k], sums[i][p]);
            }
        }
    }
    for i in 0..H {
        for p in 0..W {
            let mut sum = simd.reduce_sum_f32s(sums[i][p]);
            for k in whole * S::F32_LANES..cols {
                sum = x[i][k].mul_add(a[p][k], sum);
            }
            out[i * stride + p] = sum;
        }
    }
}

/// The first `V` vectors of `H` rows of Y gain the narrow rows times the same of `up`; rows of both are so
/// many entries apart.
#[inline(always)]
fn columns<S: Simd, const H: usize, const V: usize>(
    simd: S,
    narrow: &[f32],
    (up, height): (&[f32], usize),
    (y, width): (&mut [f32], usize),
) {
    let rank = narrow.len() / H;
    let wide = V * S::F32_LANES;
    let mut sums: [[S::f32s; V]; H] = std::array::from_fn(|i| {
        let row = S::as_simd_f32s(&y[i * width..i * width + wide]).0;
        std::array::from_fn(|v| row[v])
    });
    for p in 0..rank {
        let b = &S::as_simd_f32s(&up[p * height..p * height + wide]).0[..V];
        for i in 0..H {
            let x = simd.splat_f32s(narrow[i * rank + p]);
            for v in 0..V {
                sums[i][v] = simd.mul_add_e_f32s(x, b[v], sums[i][v]);
            }
        }
    }
    for i in 0..H {
        let row = &mut y[i * width..i * width + wide];
        S::as_mut_simd_f32s(row).0.copy_from_slice(&sums[i]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;

    fn draw(key: u64, len: usize) -> Vec<f32> {
        (0..len as u32).map(|i| normal(key, i)).collect()
    }

    /// Against float64, at every remainder of rows, ranks and columns; other columns stay.
    #[test]
    fn agrees_with_float64() {
        let shapes =
            [(1, 1, 1), (36, 36, 3), (33, 50, 8), (130, 70, 5), (384, 384, 16), (9, 40, 7)];
        for (rows, cols, rank) in shapes {
            for n in [1, 2, 3, 4, 11, 64] {
                let (width, column) = (rows + 5, 2);
                let (a, b) = (draw(1, cols * rank), draw(2, rows * rank));
                let (x, before) = (draw(3, n * cols), draw(4, n * width));
                let thin = Thin::new(&a, &b, rank);
                assert_eq!((thin.rank(), thin.rows()), (rank, rows));
                let mut y = before.clone();
                thin.add(&x, &mut y, width, column, &mut Vec::new());
                for (at, found) in y.iter().enumerate() {
                    let (i, j) = (at / width, at % width);
                    let moved = (column..column + rows).contains(&j);
                    let mut want = f64::from(before[at]);
                    let mut size = want.abs();
                    for (c, p) in (0..cols).flat_map(|c| (0..rank).map(move |p| (c, p))) {
                        if moved {
                            let b = b[(j - column) * rank + p];
                            let term = f64::from(x[i * cols + c])
                                * f64::from(a[c * rank + p])
                                * f64::from(b);
                            want += term;
                            size += term.abs();
                        }
                    }
                    let off = (f64::from(*found) - want).abs();
                    assert!(off <= 1e-6 * size, "{rows} {cols} {rank} {n}: {off}");
                    assert!(moved || *found == before[at]);
                }
            }
        }
    }

    #[test]
    fn a_row_does_not_depend_on_others() {
        let (rows, cols, rank, n) = (40, 50, 6, 11);
        let thin = Thin::new(&draw(1, cols * rank), &draw(2, rows * rank), rank);
        let x = draw(3, n * cols);
        let mut all = draw(4, n * rows);
        let before = all.clone();
        thin.add(&x, &mut all, rows, 0, &mut Vec::new());
        for i in 0..n {
            let mut row = before[i * rows..(i + 1) * rows].to_vec();
            thin.add(&x[i * cols..(i + 1) * cols], &mut row, rows, 0, &mut Vec::new());
            assert_eq!(row, all[i * rows..(i + 1) * rows]);
        }
    }
}
