//! Equal changes of different tasks are one in memory: their texts then share its rows, too.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Weak};

use super::task::{Change, LowRank};
use crate::model::Slim;

/// The changes of all tasks that there are, by the number of their part and a hash of what they do.
#[derive(Default)]
pub(super) struct SharedChanges {
    known: HashMap<(usize, u64), Vec<Weak<Change>>>,
    /// How many were known when those of removed tasks were last forgotten.
    kept: usize,
}

impl SharedChanges {
    /// The change to the part `number`, of tasks that keep the same of the base, that does what `change` does: an earlier one, or itself.
    pub(super) fn one_of(
        &mut self,
        (slim, number): (Option<&Slim>, usize),
        change: Arc<Change>,
    ) -> Arc<Change> {
        if self.known.len() > 2 * self.kept + 256 {
            self.known.retain(|_, alike| {
                alike.retain(|change| change.strong_count() > 0);
                !alike.is_empty()
            });
            self.kept = self.known.len();
        }
        let mut hasher = DefaultHasher::new();
        (slim, &*change).hash(&mut hasher);
        let alike = self.known.entry((number, hasher.finish())).or_default();
        if let Some(same) = alike.iter().filter_map(Weak::upgrade).find(|known| **known == *change)
        {
            return same;
        }
        alike.retain(|change| change.strong_count() > 0);
        alike.push(Arc::downgrade(&change));
        change
    }
}

impl Hash for Change {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self {
            Change::Zeros(zeros) => zeros.pattern.hash(state),
            Change::Few(few) => {
                few.positions.hash(state);
                few.values.iter().for_each(|v| state.write_u32(v.to_bits()));
            }
            Change::LowRank(all) => {
                let factors = all.iter().flat_map(|one| one.thin.factors()).flatten();
                factors.for_each(|v| state.write_u32(v.to_bits()));
            }
            Change::Whole(whole) => whole.iter().for_each(|v| state.write_u32(v.to_bits())),
            Change::Quantized(matrix) => matrix.hash(state),
        }
    }
}

/// To the bit.
impl PartialEq for Change {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Change::Zeros(a), Change::Zeros(b)) => a.pattern == b.pattern,
            (Change::Few(a), Change::Few(b)) => {
                a.positions == b.positions && same_bits(&a.values, &b.values)
            }
            (Change::LowRank(a), Change::LowRank(b)) => {
                let same = |(a, b): (&LowRank, &LowRank)| {
                    let factors = a.thin.factors().into_iter().zip(b.thin.factors());
                    (a.row, a.thin.rank()) == (b.row, b.thin.rank())
                        && factors.into_iter().all(|(a, b)| same_bits(a, b))
                };
                a.len() == b.len() && a.iter().zip(b).all(same)
            }
            (Change::Whole(a), Change::Whole(b)) => same_bits(a, b),
            (Change::Quantized(a), Change::Quantized(b)) => a == b,
            _ => false,
        }
    }
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}
