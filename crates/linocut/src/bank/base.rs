//! The base as every task of the bank shares it: its matrices, laid out for products.

use std::collections::BTreeMap;

use rayon::prelude::*;

use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::packed::Packed;
use crate::model::{Base, Part, Role};

/// A part of the base's layout.
pub(super) fn part(base: &Base, number: usize) -> &Part {
    &base.encoder.layout().parts()[number]
}

/// What a part is for.
pub(super) fn role(base: &Base, number: usize) -> Role {
    base.encoder.layout().tensors()[part(base, number).tensors.start].role
}

/// The base's own entries of a part.
pub(super) fn entries(base: &Base, number: usize) -> &[f32] {
    &base.weights.data()[part(base, number).range.clone()]
}

/// The base's own matrices, laid out for products.
pub(super) struct Matrices(BTreeMap<usize, Packed>);

impl Matrices {
    pub(super) fn new(base: &Base) -> Self {
        let parts = 0..base.encoder.layout().parts().len();
        let matrices: Vec<usize> = parts.filter(|&part| role(base, part).is_matrix()).collect();
        Self(matrices.into_par_iter().map(|part| (part, packed(base, part))).collect())
    }

    /// Y = X·Wᵀ with the matrix of a part.
    pub(super) fn multiply(&self, part: usize, x: &[f32], y: &mut [f32]) {
        self.0[&part].multiply(x, y);
    }
}

/// The base's own matrix of a part, laid out for products.
pub(super) fn packed(base: &Base, number: usize) -> Packed {
    let part = part(base, number);
    Packed::new(entries(base, number), part.rows, part.cols)
}

/// Y = X·Wᵀ with a task's own matrix in the place of a part's.
pub(super) fn multiply_by(w: &[f32], part: &Part, x: &[f32], y: &mut [f32]) {
    let rows = x.len() / part.cols;
    matmul(y, Mat::new(x, rows, part.cols), Mat::new(w, part.rows, part.cols).t(), false);
}
