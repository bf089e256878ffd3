//! All tensors of an encoder in one allocation, addressed by canonical name.

use super::paged::Paged;
use crate::checkpoint::{Kind, Role};
use crate::{Error, Result};
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
    pub role: Role,
    /// Where in the encoder it acts.
    pub place: Place,
    /// Where its entries lie in [`Weights::data`], row-major.
    pub range: Range<usize>,
}

/// Where in the encoder a tensor acts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// Before the first layer, or beside them: embeddings.
    Below,
    /// In this layer, 0-based.
    Layer(usize),
    /// After the last layer, as a part of the encoder: a last norm.
    Last,
    /// After the encoder: a pooler.
    Above,
}

impl TensorSpec {
    /// The group that it is named by.
    pub fn kind(&self) -> Kind {
        self.role.kind()
    }

    /// Encoder layer, 0-based; `None` for what acts before or after them.
    pub fn layer(&self) -> Option<usize> {
        match self.place {
            Place::Layer(number) => Some(number),
            Place::Below | Place::Last | Place::Above => None,
        }
    }
}

/// Entries that the encoder computes with as one matrix or vector: a tensor, or several side by side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The tensors.
    pub tensors: Range<usize>,
    /// Where its entries lie in [`Weights::data`].
    pub range: Range<usize>,
    /// Rows of the matrix; a vector's length.
    pub rows: usize,
    /// Columns of the matrix, all dimensions but the first; 1 of a vector.
    pub cols: usize,
}

impl Part {
    /// Number of entries.
    pub fn entries(&self) -> usize {
        self.range.len()
    }

    /// Whether it is a vector.
    pub fn is_vector(&self) -> bool {
        self.cols == 1
    }
}

/// The tensors of one architecture, in the order of the allocation, and the parts they make.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Layout {
    tensors: Vec<TensorSpec>,
    parts: Vec<Part>,
}

impl Layout {
    /// A layout of tensors that are a part each, in the order given.
    pub fn new(tensors: impl IntoIterator<Item = (String, Vec<usize>, Role, Place)>) -> Self {
        let mut layout = Self::default();
        for (name, shape, role, place) in tensors {
            layout.add([(name, shape)], |_| role, place);
        }
        layout
    }

    /// Adds a part of tensors of these names and shapes, which have one number of columns, and gives
    /// its number.
    pub(super) fn add(
        &mut self,
        tensors: impl IntoIterator<Item = (String, Vec<usize>)>,
        role: impl Fn(&str) -> Role,
        place: Place,
    ) -> usize {
        let (first, start) = (self.tensors.len(), self.len());
        let mut end = start;
        for (name, shape) in tensors {
            let from = end;
            end += shape.iter().product::<usize>();
            let role = role(&name);
            self.tensors.push(TensorSpec { name, shape, role, place, range: from..end });
        }
        let cols = self.tensors[first].shape.iter().skip(1).product::<usize>();
        let rows = self.tensors[first..].iter().map(|tensor| tensor.shape[0]).sum();
        self.parts.push(Part { tensors: first..self.tensors.len(), range: start..end, rows, cols });
        self.parts.len() - 1
    }

    /// The parts, in the order of the allocation; every tensor is in one.
    pub fn parts(&self) -> &[Part] {
        &self.parts
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
    data: Data,
}

/// Where the values are.
#[derive(Debug, Clone)]
enum Data {
    Memory(Vec<f32>),
    Paged(Arc<Paged>),
}

impl Weights {
    /// Weights over `layout`; `data` has [`Layout::len`] entries.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn new(layout: Arc<Layout>, data: Vec<f32>) -> Self {
        assert_eq!(layout.len(), data.len(), "weights do not fit their layout");
        Self { layout, data: Data::Memory(data) }
    }

    /// Moves all entries to a temporary file, from which those that are used are read: for weights of which
    /// few are used again. Whatever writes to them takes them into memory first.
    ///
    /// # Errors
    /// If the folder for temporary files (`TMPDIR`) cannot hold them.
    pub fn page(&mut self) -> Result<()> {
        let paged = Paged::new(self.data()).map_err(|e| {
            let folder = std::env::temp_dir();
            Error::io(&folder, "keep the base's weights in", e)
                .with_hint("name a folder with room for them: TMPDIR")
        })?;
        self.data = Data::Paged(Arc::new(paged));
        Ok(())
    }

    /// Gives back the memory of entries that are in a file, once much of them was read.
    pub(crate) fn give_back(&self) {
        if let Data::Paged(paged) = &self.data {
            paged.give_back();
        }
    }

    /// The layout.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    /// All entries, tensor after tensor.
    pub fn data(&self) -> &[f32] {
        match &self.data {
            Data::Memory(data) => data,
            Data::Paged(paged) => paged.values(),
        }
    }

    /// Equal only for weights equal to the bit, −0.0 and +0.0 being different.
    pub fn digest(&self) -> blake3::Hash {
        let mut hasher = blake3::Hasher::new();
        let mut bytes = Vec::new();
        for chunk in self.data().chunks(1 << 16) {
            bytes.clear();
            bytes.extend(chunk.iter().flat_map(|w| w.to_bits().to_le_bytes()));
            hasher.update(&bytes);
        }
        hasher.finalize()
    }

    /// All entries, writable.
    pub fn data_mut(&mut self) -> &mut [f32] {
        if let Data::Paged(paged) = &self.data {
            self.data = Data::Memory(paged.values().to_vec());
        }
        let Data::Memory(data) = &mut self.data else { unreachable!("they are in memory") };
        data
    }

    /// The entries of tensor `i` of the layout.
    pub fn at(&self, i: usize) -> &[f32] {
        &self.data()[self.layout.tensors[i].range.clone()]
    }

    /// The entries of tensor `i`, writable.
    pub fn at_mut(&mut self, i: usize) -> &mut [f32] {
        let range = self.layout.tensors[i].range.clone();
        &mut self.data_mut()[range]
    }

    /// The entries of part `i` of the layout.
    pub(crate) fn part(&self, i: usize) -> &[f32] {
        &self.data()[self.layout.parts[i].range.clone()]
    }

    /// The entries of the tensor named `name`.
    pub fn tensor(&self, name: &str) -> Option<&[f32]> {
        let i = self.layout.index(name)?;
        Some(&self.data()[self.layout.tensors[i].range.clone()])
    }

    /// The entries of the tensor named `name`, writable.
    pub fn tensor_mut(&mut self, name: &str) -> Option<&mut [f32]> {
        let i = self.layout.index(name)?;
        let range = self.layout.tensors[i].range.clone();
        Some(&mut self.data_mut()[range])
    }
}
