//! Gradients of the tensors asked for.

use super::Encoder;
use crate::kernels::table;
use std::ops::Range;

/// Gradients of some of a layout's tensors. The word embeddings' gradient is kept for the rows
/// that the batch used only.
#[derive(Debug, Default)]
pub struct Grads {
    /// Where each tensor's gradient lies in `data`; empty and `false` where not asked for.
    places: Vec<(Range<usize>, bool)>,
    data: Vec<f32>,
    words: bool,
    /// Distinct token ids of the batch, ascending.
    word_rows: Vec<u32>,
    /// Their gradients, `[word_rows, width]`.
    word_values: Vec<f32>,
}

impl Grads {
    /// Space for the gradients of the tensors that `wanted` marks, one flag a tensor.
    pub fn new(encoder: &Encoder, wanted: &[bool]) -> Self {
        let words = encoder.words();
        let mut end = 0;
        let tensors = encoder.layout().tensors().iter().zip(wanted).enumerate();
        let places = tensors
            .map(|(i, (tensor, &wanted))| {
                let start = end;
                if wanted && i != words {
                    end += tensor.range.len();
                }
                (start..end, wanted)
            })
            .collect();
        Self { places, data: vec![0.0; end], words: wanted[words], ..Self::default() }
    }

    /// Whether the gradient of tensor `i` is asked for.
    pub fn wants(&self, i: usize) -> bool {
        self.places.get(i).is_some_and(|p| p.1)
    }

    /// The gradient of tensor `i`; empty if not asked for, and for the word embeddings.
    pub fn tensor(&self, i: usize) -> &[f32] {
        &self.data[self.places[i].0.clone()]
    }

    /// The same, writable.
    pub fn tensor_mut(&mut self, i: usize) -> &mut [f32] {
        &mut self.data[self.places[i].0.clone()]
    }

    /// Adds up `grad`, `[tokens, width]`, by token `ids` as the word embeddings' gradient.
    pub(super) fn put_words(&mut self, ids: &[u32], width: usize, grad: &[f32]) {
        self.word_rows.clear();
        self.word_rows.extend_from_slice(ids);
        self.word_rows.sort_unstable();
        self.word_rows.dedup();
        let rows = &self.word_rows;
        let place = |id| rows.binary_search(id).expect("every id of the batch is listed") as u32;
        let places: Vec<u32> = ids.iter().map(place).collect();
        self.word_values.resize(rows.len() * width, 0.0);
        table::scatter(&mut self.word_values, width, &places, grad);
    }

    /// All gradients but the word embeddings', tensor after tensor.
    pub fn dense(&self) -> &[f32] {
        &self.data
    }

    /// All gradients but the word embeddings', writable.
    pub fn dense_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The word embeddings' gradient as (distinct token ids ascending, `[ids, width]`), if asked
    /// for.
    pub fn words(&self) -> Option<(&[u32], &[f32])> {
        self.words.then_some((&self.word_rows[..], &self.word_values[..]))
    }
}
