//! The base as a task sees it: all of it, or what a slim task keeps.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::base::Matrices;
use crate::kernels::panels::Choice;
use crate::kernels::quantized::Selected;
use crate::kernels::sparse::{Taken, WHOLE};
use crate::model::{Base, Encoder, Part, Role, Slim};
use crate::{Error, ErrorKind, Result};

/// An encoder over the base's own matrices.
pub(super) struct View {
    base: Arc<Base>,
    encoder: Encoder,
    /// What is taken of the matrices of which not all is, by the number of their part.
    choices: BTreeMap<usize, Choices>,
    /// Vectors of which not all is taken.
    vectors: BTreeMap<usize, Vec<f32>>,
    /// The share of the base's compute.
    compute: f64,
    /// The share of the base's layers below the first that is not whole.
    whole_layers: f64,
}

/// What is taken of a matrix, in the format that the bank has it in.
enum Choices {
    F32(Choice),
    Int8(Selected),
}

impl View {
    /// All of `base`.
    pub(super) fn whole(base: Arc<Base>) -> Self {
        Self {
            encoder: base.encoder.clone(),
            base,
            choices: BTreeMap::new(),
            vectors: BTreeMap::new(),
            compute: 1.0,
            whole_layers: 1.0,
        }
    }

    /// What `slim` keeps of `base`.
    ///
    /// # Errors
    /// As [`Slim::check`], and heads of a width that int8 has no way for.
    fn slim(base: &Arc<Base>, matrices: &Matrices, slim: &Slim) -> Result<Self> {
        let encoder = base.encoder.slim(slim)?;
        let (mut choices, mut vectors) = (BTreeMap::new(), BTreeMap::new());
        let of_base = base.encoder.layout().parts();
        for (number, chosen) in encoder.chosen().iter().enumerate() {
            let (part, rows, cols) = (&of_base[chosen.part], &chosen.rows, &chosen.cols);
            if rows.is_none() && cols.is_none() {
                continue;
            }
            if part.is_vector() {
                let mut entries = vec![];
                chosen.gather(base.weights.part(chosen.part), part, &mut entries);
                vectors.insert(number, entries);
                continue;
            }
            let choice = Choice::new((part.rows, part.cols), rows.as_deref(), cols.as_deref());
            let choice = match matrices {
                Matrices::F32(_) => Choices::F32(choice),
                Matrices::Int8(all) => {
                    let selected = all[&chosen.part].select(choice).ok_or_else(|| {
                        let message = "a slim task whose heads are no multiple of 4 wide";
                        Error::new(ErrorKind::Config, message).with_hint("serve it with dtype=f32")
                    })?;
                    Choices::Int8(selected)
                }
            };
            choices.insert(number, choice);
        }
        let first = choices.keys().next().map_or(usize::MAX, |number| *number);
        let below = match first {
            usize::MAX => slim.depth,
            first => encoder.layers_below(first),
        };
        let whole_layers = below as f64 / base.config().layers as f64;
        let compute = encoder.multiply_adds() as f64 / base.encoder.multiply_adds() as f64;
        Ok(Self { base: Arc::clone(base), encoder, choices, vectors, compute, whole_layers })
    }

    pub(super) fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// Whether it is not all of the base.
    pub(super) fn is_slim(&self) -> bool {
        self.encoder.kept().is_some()
    }

    /// The share of the base's multiply-adds, 0 to 1.
    pub(super) fn compute(&self) -> f64 {
        self.compute
    }

    /// The share of the base's layers that come before the first of which something is left out.
    pub(super) fn whole_layers(&self) -> f64 {
        self.whole_layers
    }

    /// Layers of the base.
    pub(super) fn base_layers(&self) -> usize {
        self.base.config().layers
    }

    /// A part of its layout.
    pub(super) fn part(&self, number: usize) -> &Part {
        &self.encoder.layout().parts()[number]
    }

    /// What a part is for.
    pub(super) fn role(&self, number: usize) -> Role {
        self.encoder.layout().tensors()[self.part(number).tensors.start].role
    }

    /// The part of the base that a part is of.
    pub(super) fn of_base(&self, number: usize) -> usize {
        self.encoder.chosen().get(number).map_or(number, |chosen| chosen.part)
    }

    /// Which of that part's rows and columns it has.
    pub(super) fn taken(&self, number: usize) -> Taken<'_> {
        self.encoder.chosen().get(number).map_or(WHOLE, |chosen| Taken {
            rows: chosen.rows.as_deref(),
            cols: chosen.cols.as_deref(),
        })
    }

    /// The same as products of floats take it; none where that is all.
    pub(super) fn choice(&self, number: usize) -> Option<&Choice> {
        match self.choices.get(&number)? {
            Choices::F32(choice) => Some(choice),
            Choices::Int8(_) => None,
        }
    }

    /// The same as products of whole numbers take it.
    pub(super) fn selected(&self, number: usize) -> Option<&Selected> {
        match self.choices.get(&number)? {
            Choices::Int8(selected) => Some(selected),
            Choices::F32(_) => None,
        }
    }

    /// The base's entries of a part, of which no less is taken than all: a table, or a matrix as the base
    /// has it.
    pub(super) fn of_base_entries(&self, number: usize) -> (&[f32], usize) {
        let of_base = self.of_base(number);
        let width = self.base.encoder.layout().parts()[of_base].cols;
        (self.base.weights.part(of_base), width)
    }

    /// The entries of a vector or table, which are kept as they are taken.
    pub(super) fn vector(&self, number: usize) -> &[f32] {
        self.vectors.get(&number).map_or_else(|| self.of_base_entries(number).0, Vec::as_slice)
    }

    /// The entries of any part, made where not all are taken.
    pub(super) fn entries(&self, number: usize) -> Cow<'_, [f32]> {
        match self.encoder.chosen().get(number) {
            Some(chosen) if chosen.rows.is_some() || chosen.cols.is_some() => {
                let part = &self.base.encoder.layout().parts()[chosen.part];
                let mut entries = vec![];
                chosen.gather(self.base.weights.part(chosen.part), part, &mut entries);
                entries.into()
            }
            _ => self.of_base_entries(number).0.into(),
        }
    }
}

/// The views of all tasks: one for those that keep the same.
pub(super) struct Views {
    whole: Arc<View>,
    slim: Mutex<Vec<(Slim, Weak<View>)>>,
}

impl Views {
    pub(super) fn new(base: Arc<Base>) -> Self {
        Self { whole: Arc::new(View::whole(base)), slim: Mutex::default() }
    }

    /// All of the base.
    pub(super) fn whole(&self) -> &View {
        &self.whole
    }

    /// The view of tasks that keep this, or all.
    ///
    /// # Errors
    /// As [`Slim::check`], and heads of a width that int8 has no way for.
    pub(super) fn of(&self, matrices: &Matrices, slim: Option<&Slim>) -> Result<Arc<View>> {
        let Some(slim) = slim else { return Ok(Arc::clone(&self.whole)) };
        let lock = || self.slim.lock().unwrap_or_else(PoisonError::into_inner);
        let find = |known: &[(Slim, Weak<View>)]| {
            known.iter().find(|(other, _)| other == slim).and_then(|(_, view)| view.upgrade())
        };
        if let Some(view) = find(&lock()) {
            return Ok(view);
        }
        // Made without the lock: tasks come while others are prepared.
        let view = Arc::new(View::slim(&self.whole.base, matrices, slim)?);
        let mut known = lock();
        if let Some(earlier) = find(&known) {
            return Ok(earlier);
        }
        known.retain(|(_, view)| view.strong_count() > 0);
        known.push((slim.clone(), Arc::downgrade(&view)));
        Ok(view)
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("kept", &self.encoder.kept()).finish_non_exhaustive()
    }
}
