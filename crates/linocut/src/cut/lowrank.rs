//! A matrix moved by a product of two narrow ones (LoRA, Hu et al. 2021, eq. 3).

use super::edit::{StoreType, finite};
use super::sparse::malformed;
use crate::Result;
use crate::kernels::gemm::{Mat, matmul};

/// W + B·A for a matrix W of `[rows, columns]`: B is `[rows, rank]`, A `[rank, columns]`.
#[derive(Debug, Clone, PartialEq)]
pub struct LowRank {
    rows: usize,
    columns: usize,
    store: StoreType,
    factors: Vec<f32>,
}

impl LowRank {
    /// The rows of Aᵀ and then those of B: `factors` is `[columns + rows, rank]`, row-major, each
    /// entry one that `store` holds exactly.
    ///
    /// # Errors
    /// If the factors are not a whole number of columns, at least 1 and no more than the matrix
    /// has rows or columns, or `store` does not hold an entry.
    pub fn new(
        (rows, columns): (usize, usize),
        store: StoreType,
        factors: Vec<f32>,
    ) -> Result<Self> {
        let sides = rows.saturating_add(columns);
        let rank = factors.len().checked_div(sides).unwrap_or(0);
        if rank * sides != factors.len() || !(1..=rows.min(columns)).contains(&rank) {
            let len = factors.len();
            return Err(malformed(format!("{len} factors for a matrix of {rows} × {columns}")));
        }
        store.check_rounded("a low-rank factor", &factors)?;
        Ok(Self { rows, columns, store, factors })
    }

    /// Entries of the whole matrix.
    pub fn len(&self) -> usize {
        self.rows * self.columns
    }

    /// Whether the matrix has no entries; never.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Columns of the matrix.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Columns of B and rows of A, at least 1.
    pub fn rank(&self) -> usize {
        self.factors.len() / (self.rows + self.columns)
    }

    /// The format of the stored factors.
    pub fn store(&self) -> StoreType {
        self.store
    }

    /// Aᵀ and B as [`LowRank::new`] takes them.
    pub fn factors(&self) -> &[f32] {
        &self.factors
    }

    /// The whole matrix after the move.
    ///
    /// # Errors
    /// If a value is not finite.
    ///
    /// # Panics
    /// If `base` has another length.
    pub(super) fn moved(&self, base: &[f32]) -> Result<Vec<f32>> {
        let mut values = base.to_vec();
        add_product(&mut values, &self.factors, (self.rows, self.columns));
        finite(&values)?;
        Ok(values)
    }
}

/// `matrix`, `[rows, columns]`, += B·A of `factors` as [`LowRank::new`] takes them.
///
/// # Panics
/// If the lengths do not fit.
pub(crate) fn add_product(matrix: &mut [f32], factors: &[f32], (rows, columns): (usize, usize)) {
    let rank = factors.len() / (rows + columns);
    let (a, b) = factors.split_at(columns * rank);
    matmul(matrix, Mat::new(b, rows, rank), Mat::new(a, columns, rank).t(), true);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_by_the_product() {
        // Aᵀ of 3 × 2, then B of 2 × 2.
        let factors = vec![1.0, 0.0, 0.0, 1.0, 2.0, -1.0, 1.0, 0.5, 0.0, 4.0];
        let edit = LowRank::new((2, 3), StoreType::Bf16, factors).unwrap();
        assert_eq!((edit.rank(), edit.len(), edit.columns()), (2, 6, 3));
        let moved = edit.moved(&[10.0, 20.0, 30.0, 40.0, 50.0, 60.0]).unwrap();
        assert_eq!(moved, [11.0, 20.5, 31.5, 40.0, 54.0, 56.0]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let new = |shape, len: usize| LowRank::new(shape, StoreType::Bf16, vec![0.5; len]);
        for (shape, len) in [((2, 3), 0), ((2, 3), 4), ((2, 3), 15), ((1, 3), 8), ((0, 0), 0)] {
            let error = new(shape, len).unwrap_err().to_string();
            assert!(error.contains(&format!("{len} factors for a matrix of")), "{error}");
        }
        let error = LowRank::new((1, 1), StoreType::Bf16, vec![0.1, 1.0]).unwrap_err();
        assert!(error.to_string().contains("cannot be stored as bf16"), "{error}");
        let large = LowRank::new((1, 1), StoreType::F32, vec![f32::MAX, 2.0]).unwrap();
        assert!(large.moved(&[0.0]).unwrap_err().to_string().contains("not finite"));
    }
}
