//! Matrix products. The one file that knows which library computes them.

use gemm::Parallelism;

/// A read-only view of a matrix.
#[derive(Clone, Copy)]
pub struct Mat<'a> {
    data: &'a [f32],
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
}

impl<'a> Mat<'a> {
    /// `data` as `[rows, cols]`, row-major and contiguous.
    ///
    /// # Panics
    /// If `data` has not exactly `rows · cols` entries.
    pub fn new(data: &'a [f32], rows: usize, cols: usize) -> Self {
        assert_eq!(data.len(), rows * cols, "matrix of {rows} × {cols}");
        Self { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// Columns `start..start + cols` of a row-major matrix.
    ///
    /// # Panics
    /// If they do not lie within it.
    pub fn columns(self, start: usize, cols: usize) -> Self {
        assert!(self.col_stride == 1 && start + cols <= self.cols, "columns out of range");
        Self { data: &self.data[start.min(self.data.len())..], cols, ..self }
    }

    /// The transpose.
    #[must_use]
    pub fn t(self) -> Self {
        Self {
            rows: self.cols,
            cols: self.rows,
            row_stride: self.col_stride,
            col_stride: self.row_stride,
            ..self
        }
    }
}

/// C = A·B, or C += A·B with `accumulate`; `c` is `[m, n]` row-major and contiguous.
///
/// # Panics
/// If the shapes do not fit.
#[allow(unsafe_code)]
pub fn matmul(c: &mut [f32], a: Mat<'_>, b: Mat<'_>, accumulate: bool) {
    let (m, n, k) = (a.rows, b.cols, a.cols);
    assert_eq!(k, b.rows, "inner dimensions");
    assert_eq!(c.len(), m * n, "output of {m} × {n}");
    if m == 0 || n == 0 {
        return;
    }
    let last =
        |v: &Mat<'_>| (v.rows.max(1) - 1) * v.row_stride + (v.cols.max(1) - 1) * v.col_stride;
    assert!(k == 0 || (last(&a) < a.data.len() && last(&b) < b.data.len()), "view out of range");
    let flops = 2 * m * n * k;
    let parallelism = if flops < 500_000 { Parallelism::None } else { Parallelism::Rayon(0) };
    // SAFETY: `c` is exclusively borrowed and holds m·n entries at strides (n, 1); the largest
    // offset reached in `a` and `b` was checked above; slices of f32 are aligned and initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            n as isize,
            accumulate,
            a.data.as_ptr(),
            a.col_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.col_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            parallelism,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;

    fn draw(key: u64, len: usize) -> Vec<f32> {
        (0..len as u32).map(|i| normal(key, i)).collect()
    }

    #[test]
    fn agrees_with_float64_in_every_orientation() {
        for (m, n, k) in [(1, 1, 1), (3, 5, 7), (17, 33, 40), (70, 48, 129), (1, 384, 384)] {
            let (a, b) = (draw(1, m * k), draw(2, k * n));
            let start = draw(3, m * n);
            let want: Vec<f64> = (0..m * n)
                .map(|i| {
                    let dot = |p| f64::from(a[i / n * k + p]) * f64::from(b[p * n + i % n]);
                    (0..k).map(dot).sum::<f64>() + f64::from(start[i])
                })
                .collect();
            let transposed = |x: &[f32], rows: usize, cols: usize| -> Vec<f32> {
                (0..rows * cols).map(|i| x[i % rows * cols + i / rows]).collect()
            };
            let (at, bt) = (transposed(&a, m, k), transposed(&b, k, n));
            for (left, right) in [
                (Mat::new(&a, m, k), Mat::new(&b, k, n)),
                (Mat::new(&at, k, m).t(), Mat::new(&b, k, n)),
                (Mat::new(&a, m, k), Mat::new(&bt, n, k).t()),
            ] {
                let mut c = start.clone();
                matmul(&mut c, left, right, true);
                for (got, want) in c.iter().zip(&want) {
                    assert!((f64::from(*got) - want).abs() < 2e-6 * (k as f64 + 4.0));
                }
            }
        }
    }

    #[test]
    fn bits_do_not_depend_on_threads() {
        let (m, n, k) = (333, 384, 1536);
        let (a, b) = (draw(1, m * k), draw(2, n * k));
        let run = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut c = vec![0.0; m * n];
            pool.install(|| matmul(&mut c, Mat::new(&a, m, k), Mat::new(&b, n, k).t(), false));
            c
        };
        assert_eq!(run(1), run(2));
        assert_eq!(run(1), run(3));
    }
}
