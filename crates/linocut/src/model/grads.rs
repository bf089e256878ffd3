//! Gradients of the tensors asked for.

use super::Layout;
use super::layout::embedding;
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
    pub(super) word_rows: Vec<u32>,
    /// Their gradients, `[word_rows, hidden]`.
    pub(super) word_values: Vec<f32>,
}

impl Grads {
    /// Space for the gradients of the tensors that `wanted` marks, one flag a tensor.
    pub fn new(layout: &Layout, wanted: &[bool]) -> Self {
        let mut end = 0;
        let places = layout
            .tensors()
            .iter()
            .zip(wanted)
            .enumerate()
            .map(|(i, (tensor, &wanted))| {
                let start = end;
                if wanted && i != embedding::WORD {
                    end += tensor.range.len();
                }
                (start..end, wanted)
            })
            .collect();
        let words = wanted[embedding::WORD];
        Self { places, data: vec![0.0; end], words, ..Self::default() }
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

    /// Gradients of tensors `i` and `i + 1` side by side; both must be asked for.
    pub(super) fn pair_mut(&mut self, i: usize) -> (&mut [f32], &mut [f32]) {
        let (first, second) = (self.places[i].0.clone(), self.places[i + 1].0.clone());
        let (a, b) = self.data[first.start..second.end].split_at_mut(first.len());
        (a, b)
    }

    /// All gradients but the word embeddings', tensor after tensor.
    pub fn dense(&self) -> &[f32] {
        &self.data
    }

    /// All gradients but the word embeddings', writable.
    pub fn dense_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The word embeddings' gradient as (distinct token ids ascending, `[ids, hidden]`), if asked
    /// for.
    pub fn words(&self) -> Option<(&[u32], &[f32])> {
        self.words.then_some((&self.word_rows[..], &self.word_values[..]))
    }
}
