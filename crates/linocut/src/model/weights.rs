//! All tensors of an encoder in one allocation, addressed by canonical name.

use crate::checkpoint::Kind;
use std::ops::Range;
use std::sync::Arc;

/// One tensor's name, shape, role and place in the allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Canonical name, e.g. `encoder.layer.0.attention.self.query.weight`.
    pub name: String,
    /// Dimensions; matrices are `[out, in]`.
    pub shape: Vec<usize>,
    /// Role in the encoder.
    pub kind: Kind,
    /// Encoder layer, 0-based; `None` for embeddings and pooler.
    pub layer: Option<usize>,
    /// Where its entries lie in [`Weights::data`], row-major.
    pub range: Range<usize>,
}

/// The tensors of one architecture, in the order of the allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    tensors: Vec<TensorSpec>,
}

impl Layout {
    /// Builds a layout from (name, shape, kind, layer), laid out back to back in the order given.
    pub fn new(
        tensors: impl IntoIterator<Item = (String, Vec<usize>, Kind, Option<usize>)>,
    ) -> Self {
        let mut end = 0;
        let tensors = tensors
            .into_iter()
            .map(|(name, shape, kind, layer)| {
                let start = end;
                end += shape.iter().product::<usize>();
                TensorSpec { name, shape, kind, layer, range: start..end }
            })
            .collect();
        Self { tensors }
    }

    /// All tensors in order.
    pub fn tensors(&self) -> &[TensorSpec] {
        &self.tensors
    }

    /// Entries of all tensors together.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |t| t.range.end)
    }

    /// Whether there is no entry at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The position in [`Layout::tensors`] of the tensor named `name`.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.tensors.iter().position(|t| t.name == name)
    }
}

/// The values of a [`Layout`]'s tensors.
#[derive(Debug, Clone)]
pub struct Weights {
    layout: Arc<Layout>,
    data: Vec<f32>,
}

impl Weights {
    /// Weights over `layout`; `data` has [`Layout::len`] entries.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(layout: Arc<Layout>, data: Vec<f32>) -> Self {
        assert_eq!(layout.len(), data.len(), "weights do not fit their layout");
        Self { layout, data }
    }

    /// The layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// All entries, tensor after tensor.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// All entries, writable.
    pub fn data_mut(&mut self) -> &mut [f32] {
        &mut self.data
    }

    /// The entries of tensor `i` of the layout.
    pub fn at(&self, i: usize) -> &[f32] {
        &self.data[self.layout.tensors[i].range.clone()]
    }

    /// The entries of tensor `i`, writable.
    pub fn at_mut(&mut self, i: usize) -> &mut [f32] {
        let range = self.layout.tensors[i].range.clone();
        &mut self.data[range]
    }

    /// The entries of tensors `i` and `i + 1`, which stand side by side.
    pub(super) fn pair(&self, i: usize) -> &[f32] {
        let tensors = &self.layout.tensors;
        &self.data[tensors[i].range.start..tensors[i + 1].range.end]
    }

    /// The entries of the tensor named `name`.
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        let i = self.layout.index(name)?;
        Some(&self.data[self.layout.tensors[i].range.clone()])
    }

    /// The entries of the tensor named `name`, writable.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let i = self.layout.index(name)?;
        let range = self.layout.tensors[i].range.clone();
        Some(&mut self.data[range])
    }
}
