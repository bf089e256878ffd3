//! The base as every task of the bank shares it: its matrices, laid out for products.

use std::collections::BTreeMap;

use rayon::prelude::*;

use super::Dtype;
use super::view::View;
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::packed::Packed;
use crate::kernels::quantized::{MOST_COLUMNS, Quantized};
use crate::kernels::sparse::ZeroPattern;
use crate::model::{Base, Part, Role};
use crate::{Error, ErrorKind, Result};

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

/// The base's own matrices by the number of their part, laid out for products.
pub(super) enum Matrices {
    F32(BTreeMap<usize, Packed>),
    Int8(BTreeMap<usize, Quantized>),
}

impl Matrices {
    /// # Errors
    /// If a matrix is too wide for the format.
    pub(super) fn new(base: &Base, dtype: Dtype) -> Result<Self> {
        let parts = 0..base.encoder.layout().parts().len();
        let numbers: Vec<usize> = parts.filter(|&part| role(base, part).is_matrix()).collect();
        let widest = numbers.iter().map(|&number| part(base, number).cols).max().unwrap_or(0);
        Ok(match dtype {
            Dtype::F32 => {
                Self::F32(numbers.into_par_iter().map(|part| (part, packed(base, part))).collect())
            }
            Dtype::Int8 if widest > MOST_COLUMNS => {
                let message =
                    format!("int8 takes matrices of {MOST_COLUMNS} columns, found {widest}");
                return Err(Error::new(ErrorKind::Config, message));
            }
            Dtype::Int8 => Self::Int8(
                numbers.into_par_iter().map(|part| (part, quantized(base, part))).collect(),
            ),
        })
    }

    /// A task's own matrix of the part `number` of its view: the base's with zeros.
    pub(super) fn with_zeros(&self, view: &View, number: usize, zeros: &ZeroPattern) -> Matrix {
        match self {
            Self::F32(_) => {
                let mut w = view.entries(number).into_owned();
                zeros.clear(&mut w);
                Matrix::F32(w)
            }
            Self::Int8(all) => {
                let w = &all[&view.of_base(number)];
                Matrix::Int8(zeros.set_in(w, view.selected(number).unwrap_or(w.all())))
            }
        }
    }

    /// Bytes of memory.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::F32(all) => all.values().map(Packed::bytes).sum(),
            Self::Int8(all) => all.values().map(Quantized::bytes).sum(),
        }
    }
}

/// A task's own matrix.
#[derive(Debug)]
pub(super) enum Matrix {
    F32(Vec<f32>),
    Int8(Quantized),
}

impl Matrix {
    /// Bytes of memory that one of this part takes.
    pub(super) fn bytes_of(part: &Part, dtype: Dtype) -> usize {
        match dtype {
            Dtype::F32 => 4 * part.entries(),
            Dtype::Int8 => Quantized::bytes_of(part.rows, part.cols),
        }
    }
}

/// The base's own matrix of a part, laid out for products.
pub(super) fn packed(base: &Base, number: usize) -> Packed {
    let part = part(base, number);
    Packed::new(entries(base, number), part.rows, part.cols)
}

/// The same in whole numbers.
pub(super) fn quantized(base: &Base, number: usize) -> Quantized {
    let part = part(base, number);
    Quantized::new(entries(base, number), part.rows, part.cols)
}

/// Y = X·Wᵀ with a task's own matrix in the place of a part's.
pub(super) fn multiply_by(w: &[f32], part: &Part, x: &[f32], y: &mut [f32]) {
    let rows = x.len() / part.cols;
    matmul(y, Mat::new(x, rows, part.cols), Mat::new(w, part.rows, part.cols).t(), false);
}
