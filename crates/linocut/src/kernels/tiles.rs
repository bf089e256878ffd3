//! Products of small matrices in register tiles, without packing.

use pulp::{Arch, Simd, WithSimd};

/// C = A·B. `c` is `[m, n]`, contiguous, n a multiple of `LANES`; entry (i, p) of A is
/// `a[i·row_stride + p·col_stride]`, row p of B begins at `b[p·stride]`. For the small matrices of one
/// sequence and head, where a general GEMM spends its time on packing.
pub(super) fn product(
    c: &mut [f32],
    (a, row_stride, col_stride): (&[f32], usize, usize),
    (b, stride): (&[f32], usize),
    (m, n, k): (usize, usize, usize),
) {
    struct Product<'a> {
        c: &'a mut [f32],
        a: &'a [f32],
        row_stride: usize,
        col_stride: usize,
        b: &'a [f32],
        stride: usize,
        m: usize,
        n: usize,
        k: usize,
    }

    impl Product<'_> {
        /// `ROWS` × `VECTORS` vectors of C from entry (i, j) on, held in registers over all of k.
        #[inline(always)]
        fn tile<S: Simd, const ROWS: usize, const VECTORS: usize>(
            &mut self,
            simd: S,
            i: usize,
            j: usize,
        ) {
            let mut acc = [[simd.splat_f32s(0.0); VECTORS]; ROWS];
            let rows: [&[f32]; ROWS] =
                std::array::from_fn(|r| &self.a[(i + r) * self.row_stride..]);
            for p in 0..self.k {
                let b = S::as_simd_f32s(&self.b[p * self.stride + j..p * self.stride + self.n]).0;
                let b = &b[..VECTORS];
                for r in 0..ROWS {
                    let a = simd.splat_f32s(rows[r][p * self.col_stride]);
                    for v in 0..VECTORS {
                        acc[r][v] = simd.mul_add_e_f32s(a, b[v], acc[r][v]);
                    }
                }
            }
            for r in 0..ROWS {
                let c = &mut self.c[(i + r) * self.n + j..(i + r + 1) * self.n];
                S::as_mut_simd_f32s(c).0[..VECTORS].copy_from_slice(&acc[r]);
            }
        }

        #[inline(always)]
        fn columns<S: Simd, const VECTORS: usize>(&mut self, simd: S, j: usize) {
            let mut i = 0;
            while i + 6 <= self.m {
                self.tile::<S, 6, VECTORS>(simd, i, j);
                i += 6;
            }
            if i + 3 <= self.m {
                self.tile::<S, 3, VECTORS>(simd, i, j);
                i += 3;
            }
            while i < self.m {
                self.tile::<S, 1, VECTORS>(simd, i, j);
                i += 1;
            }
        }
    }

    impl WithSimd for Product<'_> {
        type Output = ();

        #[inline(always)]
        fn with_simd<S: Simd>(mut self, simd: S) {
            let mut j = 0;
            while j + 2 * S::F32_LANES <= self.n {
                self.columns::<S, 2>(simd, j);
                j += 2 * S::F32_LANES;
            }
            while j < self.n {
                self.columns::<S, 1>(simd, j);
                j += S::F32_LANES;
            }
        }
    }

    Arch::new().dispatch(Product { c, a, row_stride, col_stride, b, stride, m, n, k });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;

    #[test]
    fn agrees_with_float64_at_every_height() {
        for (m, n, k) in [(1, 16, 1), (2, 32, 7), (3, 48, 33), (5, 16, 64), (13, 80, 17)] {
            let draw =
                |key, len: usize| (0..len as u32).map(|i| normal(key, i)).collect::<Vec<f32>>();
            let (a, b) = (draw(1, m * k), draw(2, k * n));
            let transposed: Vec<f32> = (0..m * k).map(|i| a[i % m * k + i / m]).collect();
            for (a_view, row_stride, col_stride) in [(&a, k, 1), (&transposed, 1, m)] {
                let mut c = vec![9.0; m * n];
                product(&mut c, (a_view, row_stride, col_stride), (&b, n), (m, n, k));
                for (at, got) in c.iter().enumerate() {
                    let term = |p| f64::from(a[at / n * k + p]) * f64::from(b[p * n + at % n]);
                    let want: f64 = (0..k).map(term).sum();
                    assert!((f64::from(*got) - want).abs() < 1e-5, "{m} {n} {k}: {got} {want}");
                }
            }
        }
    }
}
