//! What a fine-tuned model changed, tensor by tensor.

use rayon::prelude::*;

use super::ingest::Tuned;
use crate::Result;
use crate::model::{Base, Kind};

/// Sums over one tensor of both models, in f64.
pub(super) struct Movement {
    /// Position in the base's layout.
    pub(super) tensor: usize,
    /// Whether any entry's bits differ, both as f32.
    pub(super) differs: bool,
    /// Σ (tuned − base)²
    pub(super) moved: f64,
    /// Σ base² + Σ tuned²: what `moved` would be about if the two had nothing to do with each other.
    unrelated: f64,
    kind: Kind,
}

/// The movements of all tensors that the model has, in the order of the base's layout.
#[derive(Default)]
pub(super) struct Survey(pub(super) Vec<Movement>);

impl Survey {
    pub(super) fn of(base: &Base, tuned: &Tuned) -> Result<Self> {
        let specs = base.weights.layout().tensors();
        let movements = specs.par_iter().enumerate();
        movements
            .filter(|(_, spec)| tuned.tensor(&spec.name).is_some())
            .map(|(i, spec)| {
                let (before, after) = (base.weights.at(i), tuned.values(&spec.name)?);
                let (mut moved, mut unrelated, mut differs) = (0.0, 0.0, false);
                for (&b, &t) in before.iter().zip(&after) {
                    differs |= b.to_bits() != t.to_bits();
                    let (b, t) = (f64::from(b), f64::from(t));
                    moved += (t - b) * (t - b);
                    unrelated += b * b + t * t;
                }
                Ok(Movement { tensor: i, differs, moved, unrelated, kind: spec.kind() })
            })
            .collect::<Result<_>>()
            .map(Self)
    }

    /// Movement of the layers' matrices, and that of unrelated models. Both 0 without layers.
    pub(super) fn matrices(&self) -> (f64, f64) {
        use Kind::{AttentionOutput, Intermediate, Key, Output, Query, Value};
        let matrices = [Query, Key, Value, AttentionOutput, Intermediate, Output];
        self.0
            .iter()
            .filter(|m| matrices.contains(&m.kind))
            .fold((0.0, 0.0), |sum, m| (sum.0 + m.moved, sum.1 + m.unrelated))
    }

    /// Those that changed.
    pub(super) fn changed(&self) -> impl Iterator<Item = &Movement> {
        self.0.iter().filter(|m| m.differs)
    }
}
