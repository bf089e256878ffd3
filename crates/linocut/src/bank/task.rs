//! One task in memory: what its cut changes, part by part.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::base::Matrix;
use super::candidates::Known;
use super::view::View;
use super::{Dtype, Pending};
use crate::Result;
use crate::cut::{self, Card, Cut, Edit, TensorEdit};
use crate::kernels::quantized::Quantized;
use crate::kernels::sparse::ZeroPattern;
use crate::kernels::thin::Thin;
use crate::model::{Head, Part};

/// A task of a bank, as one version of its cut has it.
#[derive(Debug)]
pub struct Task {
    name: String,
    card: Card,
    head: Head,
    /// The base as it sees it.
    view: Arc<View>,
    /// What is changed, by the part's number in the layout.
    changes: Vec<Option<Arc<Change>>>,
    /// The share of the base's layers below the first change.
    shared_layers: f64,
    /// Its memory, as long as it is not served.
    pending: Mutex<Option<Pending>>,
}

/// What a task does to one part of the base.
#[derive(Debug)]
pub(super) enum Change {
    /// Some entries of a matrix become zero.
    Zeros(Zeros),
    /// A few entries of a matrix become others.
    Few(Few),
    /// A matrix, or some of those that stand side by side, move by a product of two narrow ones.
    LowRank(Vec<LowRank>),
    /// All entries, the unchanged ones among them.
    Whole(Vec<f32>),
    /// The same of a matrix in int8, with scales of its own.
    Quantized(Quantized),
}

/// A few entries of a matrix, at flat positions that ascend.
#[derive(Debug)]
pub(super) struct Few {
    pub(super) positions: Vec<u32>,
    pub(super) values: Vec<f32>,
}

/// The narrow matrices of one tensor of a part.
#[derive(Debug)]
pub(super) struct LowRank {
    /// The tensor's first row in the part.
    pub(super) row: usize,
    pub(super) thin: Thin,
}

/// A matrix of which no more than one in so many entries changes is not copied.
const FEW: usize = 64;

/// The zeros of a matrix, and the matrix they leave while it is kept ready.
#[derive(Debug)]
pub(super) struct Zeros {
    pub(super) pattern: ZeroPattern,
    ready: Mutex<Option<Arc<Matrix>>>,
}

impl Task {
    /// Prepares `cut` for `base`, which it fits; see [`Cut::check_fits`].
    ///
    /// # Errors
    /// If it edits a tensor that the base lacks, or an edit does not give finite values on it.
    pub(super) fn new(
        name: &str,
        cut: &Cut,
        view: Arc<View>,
        dtype: Dtype,
        known: &Known,
    ) -> Result<Self> {
        let encoder = view.encoder();
        let mut changes = vec![None; encoder.layout().parts().len()];
        for (number, mine) in parts(&view, &edits(cut, &view)?) {
            changes[number] = Some(Arc::new(Change::new(&view, dtype, known, number, &mine)?));
        }
        let head = Head::from(cut);
        let changed = (0..changes.len()).filter(|&number| changes[number].is_some());
        let below = changed.map(|part| encoder.layers_below(part)).min();
        let unchanged = below.map_or(1.0, |below| below as f64 / view.base_layers() as f64);
        let shared_layers = unchanged.min(view.whole_layers());
        Ok(Self {
            name: name.into(),
            card: cut.card().clone(),
            head,
            view,
            changes,
            shared_layers,
            pending: Mutex::default(),
        })
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

    /// The base as it sees it, whose parts its changes are of.
    pub(super) fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// What it does to a part.
    pub(super) fn change(&self, number: usize) -> Option<&Arc<Change>> {
        self.changes[number].as_ref()
    }

    /// Takes `one_of` each change and the number of its part in its place.
    pub(super) fn share(&mut self, mut one_of: impl FnMut(usize, Arc<Change>) -> Arc<Change>) {
        for (number, change) in self.changes.iter_mut().enumerate() {
            *change = change.take().map(|change| one_of(number, change));
        }
    }

    /// Takes its memory into account until it is served.
    pub(super) fn hold(&mut self, pending: Pending) {
        self.pending = Mutex::new(Some(pending));
    }

    /// It is served: its memory counts with that of all tasks.
    pub(super) fn settle(&self) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// All changes with the number of their part, in the order of the layout.
    pub(super) fn changes(&self) -> impl Iterator<Item = (usize, &Arc<Change>)> {
        self.changes.iter().enumerate().filter_map(|(i, change)| Some((i, change.as_ref()?)))
    }

    /// Whether it brings a matrix of its own, for which the base's product is not needed.
    pub(super) fn has_whole_matrix(&self) -> bool {
        self.changes().any(|(number, change)| {
            matches!(**change, Change::Whole(_) | Change::Quantized(_))
                && !self.view.part(number).is_vector()
        })
    }

    /// The share of the base's layers below its first change, 0 to 1: 1 for a head alone.
    pub(super) fn shared_layers(&self) -> f64 {
        self.shared_layers
    }

    /// Zeros of its matrices.
    pub fn zeros(&self) -> usize {
        self.changes().map(|(_, change)| change.zeros()).sum()
    }

    /// Bytes of memory of its zeros, factors, replaced tensors, head and labels, those that it shares with other tasks
    /// among them; not of matrices kept ready within the bank's budget.
    pub fn bytes(&self) -> usize {
        self.changes().map(|(_, change)| change.bytes()).sum::<usize>() + self.head_bytes()
    }

    /// Bytes of its head and labels.
    pub(super) fn head_bytes(&self) -> usize {
        own_bytes(&self.head.weight, &self.head.bias, &self.card)
    }

    /// Bytes of its head and labels and of changes that no other task shares.
    pub(super) fn unshared_bytes(&self) -> usize {
        let changes = self.changes().filter(|(_, change)| Arc::strong_count(change) == 1);
        changes.map(|(_, change)| change.bytes()).sum::<usize>() + self.head_bytes()
    }

    /// Bytes of memory that a task of `cut` may need, before anything is made of it.
    pub(super) fn need(cut: &Cut, view: &View, dtype: Dtype) -> Result<usize> {
        let edits = edits(cut, view)?;
        let mut bytes = own_bytes(&cut.head().weight, &cut.head().bias, cut.card());
        for (number, mine) in parts(view, &edits) {
            let part = view.part(number);
            let zeros = mine.iter().all(|(_, edit)| edit.count_zeros().is_some());
            bytes += match named(&mine) {
                Some(_) if part.cols > 1 && is_few(part, &mine) => 8 * part.entries() / FEW,
                // Two bytes each, as ZeroPattern has them, and its rows.
                Some(n) if part.cols > 1 && part.cols <= 1 << 16 && zeros => 3 * n + 2 * part.rows,
                _ if let Some(factors) = factors(view, number, &mine) => {
                    4 * factors.iter().map(|(_, low_rank)| low_rank.factors().len()).sum::<usize>()
                }
                // Made of all its entries first.
                _ if dtype == Dtype::Int8 => 6 * part.entries(),
                _ => 4 * part.entries(),
            };
        }
        Ok(bytes)
    }
}

/// Edits by tensor.
fn edits<'c>(cut: &'c Cut, view: &View) -> Result<BTreeMap<usize, &'c TensorEdit>> {
    let layout = view.encoder().layout();
    let place = |(tensor, edit): (&String, &'c TensorEdit)| Ok((edit.place(tensor, layout)?, edit));
    cut.edits().iter().map(place).collect()
}

/// Edits of each part that has some, by its number.
#[allow(clippy::type_complexity)] // a part's place, and its edits by tensor
fn parts<'c>(
    view: &View,
    edits: &BTreeMap<usize, &'c TensorEdit>,
) -> Vec<(usize, Vec<(usize, &'c TensorEdit)>)> {
    let parts = view.encoder().layout().parts().iter().enumerate();
    let edited = parts.filter_map(|(number, part)| {
        let mine = edits.range(part.tensors.clone()).map(|(i, edit)| (*i, *edit));
        let mine: Vec<_> = mine.collect();
        (!mine.is_empty()).then_some((number, mine))
    });
    edited.collect()
}

/// Bytes of a head and of the labels.
fn own_bytes(weight: &[f32], bias: &[f32], card: &Card) -> usize {
    let labels = card.labels.iter().map(|label| label.len() + size_of::<String>());
    4 * (weight.len() + bias.len()) + labels.sum::<usize>()
}

impl Change {
    fn new(
        view: &View,
        dtype: Dtype,
        known: &Known,
        number: usize,
        edits: &[(usize, &TensorEdit)],
    ) -> Result<Self> {
        let (part, all) = (view.part(number), view.entries(number));
        let tensors = view.encoder().layout().tensors();
        let start = |tensor: usize| tensors[tensor].range.start - part.range.start;
        let own = |tensor: usize| &all[start(tensor)..][..tensors[tensor].range.len()];
        let zeros = edits.iter().all(|(_, edit)| edit.count_zeros().is_some());
        if zeros && part.cols > 1 && part.entries() <= u32::MAX as usize {
            let mut positions = Vec::new();
            for (tensor, edit) in edits {
                let zeros = match view.is_slim() {
                    true => edit.zeros(own(*tensor))?,
                    false => known.zeros(edit, *tensor, own(*tensor))?,
                };
                let zeros = zeros.expect("an edit of zeros");
                let from = start(*tensor) as u32;
                positions.extend(zeros.positions().iter().map(|p| p + from));
            }
            if let Some(pattern) = ZeroPattern::new(part.rows, part.cols, &positions) {
                return Ok(Change::Zeros(Zeros { pattern, ready: Mutex::new(None) }));
            }
        }
        if part.cols > 1 && is_few(part, edits) && !view.is_slim() {
            let mut few = Few { positions: Vec::new(), values: Vec::new() };
            for (tensor, edit) in edits {
                let (positions, values) = edit.change(own(*tensor))?;
                let from = start(*tensor) as u32;
                few.positions.extend(positions.unwrap_or_default().iter().map(|p| p + from));
                few.values.extend(values);
            }
            return Ok(Change::Few(few));
        }
        if let Some(factors) = factors(view, number, edits) {
            let low_rank = |(tensor, edit): (usize, &cut::LowRank)| {
                let (a, b) = edit.factors().split_at(part.cols * edit.rank());
                LowRank { row: start(tensor) / part.cols, thin: Thin::new(a, b, edit.rank()) }
            };
            // Made to see whether it is finite, and not kept.
            for (tensor, edit) in edits {
                edit.change(own(*tensor))?;
            }
            return Ok(Change::LowRank(factors.into_iter().map(low_rank).collect()));
        }
        let mut whole = all.to_vec();
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
        Ok(match dtype {
            Dtype::Int8 if view.role(number).is_matrix() => {
                Change::Quantized(Quantized::new(&whole, part.rows, part.cols))
            }
            _ => Change::Whole(whole),
        })
    }

    /// Zeros of a matrix whose other entries are the base's.
    pub(super) fn zeros(&self) -> usize {
        match self {
            Change::Zeros(zeros) => zeros.pattern.len(),
            _ => 0,
        }
    }

    pub(super) fn bytes(&self) -> usize {
        match self {
            Change::Zeros(zeros) => zeros.pattern.bytes(),
            Change::Few(few) => 8 * few.positions.len(),
            Change::LowRank(all) => {
                let lengths = all.iter().flat_map(|one| one.thin.factors()).map(<[f32]>::len);
                4 * lengths.sum::<usize>()
            }
            Change::Whole(whole) => 4 * whole.len(),
            Change::Quantized(matrix) => matrix.bytes(),
        }
    }
}

/// How many entries of a part change, where each edit names its own.
fn named(edits: &[(usize, &TensorEdit)]) -> Option<usize> {
    let named = edits.iter().map(|(_, edit)| match &edit.edit {
        Edit::Sparse(sparse) => Some(sparse.positions().len()),
        _ => edit.count_zeros(),
    });
    named.sum()
}

fn is_few(part: &Part, edits: &[(usize, &TensorEdit)]) -> bool {
    let few = named(edits).is_some_and(|n| n <= part.entries() / FEW);
    few && part.entries() <= u32::MAX as usize
}

/// The factors of a part's edits by tensor, where all of them have some, and these are smaller than the
/// matrix.
fn factors<'c>(
    view: &View,
    number: usize,
    edits: &[(usize, &'c TensorEdit)],
) -> Option<Vec<(usize, &'c cut::LowRank)>> {
    let factors = edits.iter().map(|(tensor, edit)| match &edit.edit {
        Edit::LowRank(low_rank) => Some((*tensor, low_rank)),
        _ => None,
    });
    let factors: Vec<_> = factors.collect::<Option<_>>()?;
    let size: usize = factors.iter().map(|(_, low_rank)| low_rank.factors().len()).sum();
    (view.role(number).is_matrix() && size < view.part(number).entries()).then_some(factors)
}

impl Few {
    /// Y += X·Δᵀ with what the entries differ by from those of the base's `w`, `[rows, cols]`, for
    /// `x` `[n, cols]` and `y` `[n, rows]`.
    pub(super) fn correct(&self, w: &[f32], part: &Part, x: &[f32], y: &mut [f32]) {
        let place = |p: usize| (p / part.cols, p % part.cols);
        let pairs = self.positions.iter().zip(&self.values);
        let moves = pairs.map(|(&p, value)| (place(p as usize), value - w[p as usize]));
        let moves: Vec<((usize, usize), f32)> = moves.collect();
        for (x, y) in x.chunks_exact(part.cols).zip(y.chunks_exact_mut(part.rows)) {
            for &((row, col), by) in &moves {
                y[row] = by.mul_add(x[col], y[row]);
            }
        }
    }

    /// Puts the entries of row `number` of the matrix into `row`.
    pub(super) fn put_row(&self, number: usize, row: &mut [f32]) {
        let (from, to) = (number * row.len(), (number + 1) * row.len());
        let at = self.positions.partition_point(|&p| (p as usize) < from);
        for (&p, &value) in self.positions[at..].iter().zip(&self.values[at..]) {
            match row.get_mut(p as usize - from) {
                Some(entry) if (p as usize) < to => *entry = value,
                _ => break,
            }
        }
    }
}

impl Zeros {
    /// The task's matrix, if it is kept ready.
    pub(super) fn ready(&self) -> Option<Arc<Matrix>> {
        self.ready.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Keeps the task's matrix ready, or with `None` no longer.
    pub(super) fn set_ready(&self, matrix: Option<Arc<Matrix>>) {
        *self.ready.lock().unwrap_or_else(PoisonError::into_inner) = matrix;
    }
}
