//! One task in memory: what its cut changes, part by part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::base::{Part, entries, part_len};
use crate::Result;
use crate::cut::{Card, Cut, Edit, TensorEdit};
use crate::kernels::sparse::ZeroPattern;
use crate::model::{Base, Head};

/// A task of a bank, as one version of its cut has it.
#[derive(Debug)]
pub struct Task {
    name: String,
    card: Card,
    head: Head,
    /// What is changed, by the first tensor of the part; see [`part_len`].
    changes: Vec<Option<Arc<Change>>>,
}

/// What a task does to one part of the base.
#[derive(Debug)]
pub(super) enum Change {
    /// Some entries of a matrix become zero.
    Zeros(Zeros),
    /// All entries, the unchanged ones among them.
    Whole(Vec<f32>),
}

/// The zeros of a matrix, and the matrix they leave while it is kept ready.
#[derive(Debug)]
pub(super) struct Zeros {
    pub(super) pattern: ZeroPattern,
    ready: Mutex<Option<Arc<Vec<f32>>>>,
}

impl Task {
    /// Prepares `cut` for `base`, which it fits; see [`Cut::check_fits`].
    ///
    /// # Errors
    /// If it edits a tensor that the base lacks, or an edit does not give finite values on it.
    pub(super) fn new(name: &str, cut: &Cut, base: &Base) -> Result<Self> {
        let layout = base.encoder.layout();
        let mut edits: BTreeMap<usize, &TensorEdit> = BTreeMap::new();
        for (tensor, edit) in cut.edits() {
            edits.insert(edit.place(tensor, layout)?, edit);
        }
        let mut changes = Vec::with_capacity(layout.tensors().len());
        while changes.len() < layout.tensors().len() {
            let first = changes.len();
            let end = first + part_len(base.config(), first);
            let mine: Vec<(usize, &TensorEdit)> =
                edits.range(first..end).map(|(i, edit)| (*i, *edit)).collect();
            changes.push(match &mine[..] {
                [] => None,
                mine => Some(Arc::new(Change::new(base, first, mine)?)),
            });
            changes.resize_with(end, || None);
        }
        let head = Head { weight: cut.head().weight.clone(), bias: cut.head().bias.clone() };
        Ok(Self { name: name.into(), card: cut.card().clone(), head, changes })
    }

    /// The name it is asked for by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The card of its cut.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Its head.
    pub(super) fn head(&self) -> &Head {
        &self.head
    }

    /// What it does to the part that starts at `tensor`.
    pub(super) fn change(&self, tensor: usize) -> Option<&Arc<Change>> {
        self.changes[tensor].as_ref()
    }

    /// Takes `one_of` each change and the tensor that its part starts at in its place.
    pub(super) fn share(&mut self, mut one_of: impl FnMut(usize, Arc<Change>) -> Arc<Change>) {
        for (tensor, change) in self.changes.iter_mut().enumerate() {
            *change = change.take().map(|change| one_of(tensor, change));
        }
    }

    /// All changes with the tensor that their part starts at, in the order of computation.
    pub(super) fn changes(&self) -> impl Iterator<Item = (usize, &Arc<Change>)> {
        self.changes.iter().enumerate().filter_map(|(i, change)| Some((i, change.as_ref()?)))
    }

    /// Whether it brings a matrix of its own, for which the base's product is not needed.
    pub(super) fn has_whole_matrix(&self, base: &Base) -> bool {
        self.changes().any(|(tensor, change)| {
            matches!(**change, Change::Whole(_)) && Part::of(base, tensor).cols > 1
        })
    }

    /// Zeros of its matrices.
    pub fn zeros(&self) -> usize {
        self.changes().map(|(_, change)| change.zeros()).sum()
    }

    /// Bytes of memory of its zeros, replaced tensors and head, those that it shares with other tasks
    /// among them; not of its card, nor of matrices kept ready within the bank's budget.
    pub fn bytes(&self) -> usize {
        self.changes().map(|(_, change)| change.bytes()).sum::<usize>() + self.head_bytes()
    }

    /// Bytes of its head.
    pub(super) fn head_bytes(&self) -> usize {
        4 * (self.head.weight.len() + self.head.bias.len())
    }
}

impl Change {
    fn new(base: &Base, first: usize, edits: &[(usize, &TensorEdit)]) -> Result<Self> {
        let part = Part::of(base, first);
        let tensors = base.encoder.layout().tensors();
        let start = |tensor: usize| tensors[tensor].range.start - part.range.start;
        let zeros: Option<Vec<(usize, &[u32])>> = edits
            .iter()
            .map(|(tensor, edit)| match &edit.edit {
                Edit::Zeros(zeros) => Some((start(*tensor), zeros.positions())),
                _ => None,
            })
            .collect();
        if let (Some(zeros), true) = (zeros, part.cols > 1 && part.entries() <= u32::MAX as usize) {
            let positions: Vec<u32> = zeros
                .into_iter()
                .flat_map(|(start, positions)| positions.iter().map(move |p| p + start as u32))
                .collect();
            if let Some(pattern) = ZeroPattern::new(part.rows, part.cols, &positions) {
                return Ok(Change::Zeros(Zeros { pattern, ready: Mutex::new(None) }));
            }
        }
        let mut whole = entries(base, first).to_vec();
        for (tensor, edit) in edits {
            let len = tensors[*tensor].range.len();
            let tensor = &mut whole[start(*tensor)..][..len];
            let (positions, values) = edit.change(tensor)?;
            match positions {
                Some(positions) => {
                    positions.iter().zip(values).for_each(|(&p, value)| tensor[p as usize] = value);
                }
                None => tensor.copy_from_slice(&values),
            }
        }
        Ok(Change::Whole(whole))
    }

    /// Zeros of a matrix whose other entries are the base's.
    pub(super) fn zeros(&self) -> usize {
        match self {
            Change::Zeros(zeros) => zeros.pattern.len(),
            Change::Whole(_) => 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Change::Zeros(zeros) => zeros.pattern.bytes(),
            Change::Whole(whole) => 4 * whole.len(),
        }
    }
}

impl Zeros {
    /// The task's matrix, if it is kept ready.
    pub(super) fn ready(&self) -> Option<Arc<Vec<f32>>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the task's matrix ready, or with `None` no longer.
    pub(super) fn set_ready(&self, matrix: Option<Arc<Vec<f32>>>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = matrix;
    }

    /// The task's matrix, made from the base's.
    pub(super) fn make(&self, base: &[f32]) -> Vec<f32> {
        let mut matrix = base.to_vec();
        self.pattern.clear(&mut matrix);
        matrix
    }
}
