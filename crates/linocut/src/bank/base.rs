//! The base as every task of the bank shares it, in the parts that are computed as one.

use std::collections::BTreeMap;
use std::ops::Range;

use rayon::prelude::*;

use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::packed::Packed;
use crate::model::layout::{embedding, layer_tensor, pooler_tensor, slot};
use crate::model::{Base, ModelConfig};

/// Tensors of the layout that act at one place: a stream whose tasks edit them differently forks
/// there, after the product with the base's matrix, which all still share.
pub(super) type Site = Range<usize>;

/// The five tensors of the embeddings.
pub(super) const EMBEDDINGS: Site = 0..embedding::COUNT;

/// Query, key and value with their biases.
pub(super) fn attention_input(layer: usize) -> Site {
    layer_tensor(layer, slot::QUERY)..layer_tensor(layer, slot::ATTENTION_OUTPUT)
}

/// The attention's output matrix with its bias and the LayerNorm behind it.
pub(super) fn attention_output(layer: usize) -> Site {
    layer_tensor(layer, slot::ATTENTION_OUTPUT)..layer_tensor(layer, slot::INTERMEDIATE)
}

/// The feed-forward block's first matrix and its bias.
pub(super) fn intermediate(layer: usize) -> Site {
    layer_tensor(layer, slot::INTERMEDIATE)..layer_tensor(layer, slot::OUTPUT)
}

/// Its second matrix with its bias and the LayerNorm behind it.
pub(super) fn output(layer: usize) -> Site {
    layer_tensor(layer, slot::OUTPUT)..layer_tensor(layer + 1, 0)
}

/// The pooler's matrix and bias.
pub(super) fn pooler(config: &ModelConfig) -> Site {
    let first = pooler_tensor(config.layers);
    first..first + 2
}

/// How many tensors of the layout, from `tensor` on, are one part: key and value are one matrix
/// `[2·hidden, hidden]`, and so are their biases one vector.
pub(super) fn part_len(config: &ModelConfig, tensor: usize) -> usize {
    if !(embedding::COUNT..pooler_tensor(config.layers)).contains(&tensor) {
        return 1;
    }
    match (tensor - embedding::COUNT) % slot::COUNT {
        slot::KEY | slot::KEY_BIAS => 2,
        _ => 1,
    }
}

/// A part's place in the base: where its entries stand, and as a matrix `[rows, cols]`; a vector
/// has one column.
pub(super) struct Part {
    pub(super) range: Range<usize>,
    pub(super) rows: usize,
    pub(super) cols: usize,
}

impl Part {
    /// The part that starts at `tensor`.
    pub(super) fn of(base: &Base, tensor: usize) -> Self {
        let tensors =
            &base.encoder.layout().tensors()[tensor..tensor + part_len(base.config(), tensor)];
        let range = tensors[0].range.start..tensors[tensors.len() - 1].range.end;
        let cols = tensors[0].shape.get(1).copied().unwrap_or(1);
        Self { rows: range.len() / cols, cols, range }
    }

    /// Number of entries.
    pub(super) fn entries(&self) -> usize {
        self.range.len()
    }
}

/// The base's own entries of the part that starts at `tensor`.
pub(super) fn entries(base: &Base, tensor: usize) -> &[f32] {
    &base.weights.data()[Part::of(base, tensor).range]
}

/// The base's own matrices of the encoder and the pooler, laid out for products.
pub(super) struct Matrices(BTreeMap<usize, Packed>);

impl Matrices {
    pub(super) fn new(base: &Base) -> Self {
        let layers = base.config().layers;
        let in_layer =
            [slot::QUERY, slot::KEY, slot::ATTENTION_OUTPUT, slot::INTERMEDIATE, slot::OUTPUT];
        let tensors: Vec<usize> = (0..layers)
            .flat_map(|layer| in_layer.map(|slot| layer_tensor(layer, slot)))
            .chain(Some(pooler_tensor(layers)))
            .filter(|&tensor| tensor < base.encoder.layout().tensors().len())
            .collect();
        Self(tensors.into_par_iter().map(|tensor| (tensor, packed(base, tensor))).collect())
    }

    /// Y = X·Wᵀ with the matrix at `tensor`.
    pub(super) fn multiply(&self, tensor: usize, x: &[f32], y: &mut [f32]) {
        self.0[&tensor].multiply(x, y);
    }
}

/// The base's own matrix at `tensor`, laid out for products.
pub(super) fn packed(base: &Base, tensor: usize) -> Packed {
    let part = Part::of(base, tensor);
    Packed::new(entries(base, tensor), part.rows, part.cols)
}

/// Y = X·Wᵀ with a task's own matrix in the place of a part's.
pub(super) fn multiply_by(w: &[f32], part: &Part, x: &[f32], y: &mut [f32]) {
    let rows = x.len() / part.cols;
    matmul(y, Mat::new(x, rows, part.cols), Mat::new(w, part.rows, part.cols).t(), false);
}
