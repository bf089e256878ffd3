//! The batches of a run: rows in the order that its seed gives, with their targets.

use super::evaluate::multi_hot;
use super::options::{ClassWeights, TrainOptions};
use super::scale::Scale;
use super::shared::Tokens;
use super::trunk::Trunk;
use crate::Result;
use crate::data::{Batch, Dataset, Targets, epoch_order};
use crate::model::{Input, LossTargets};
use std::sync::Arc;

/// Rows ready for batches: tokens, or the frozen layers' outputs.
pub(super) enum Rows {
    Tokens(Arc<Tokens>),
    Trunk(Arc<Trunk>),
}

/// The batches of all epochs.
pub(super) struct Batches<'a> {
    rows: Rows,
    targets: TargetsOf<'a>,
    count: usize,
    size: usize,
    seed: u64,
    /// Rows of the epoch under way, in its order.
    order: Vec<u32>,
    epoch: Option<usize>,
    buffers: RowBuffers,
    /// How often every row counts, with a mean of 1, and space for those of one batch.
    row_weights: Option<Vec<f32>>,
    weights: Vec<f32>,
}

impl<'a> Batches<'a> {
    /// Batches of `train`, whose rows are `rows`; numbers are learned in the unit of `scale`.
    pub(super) fn new(
        train: &'a Dataset,
        rows: Rows,
        options: &TrainOptions,
        scale: Option<Scale>,
    ) -> Self {
        Self {
            rows,
            targets: TargetsOf::new(train, options.class_weights, scale),
            count: train.rows(),
            size: options.batch,
            seed: options.seed,
            order: Vec::new(),
            epoch: None,
            buffers: RowBuffers::default(),
            row_weights: train.weights.as_ref().map(|weights| {
                let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
                let mean = sum / weights.len() as f64;
                weights.iter().map(|&w| (f64::from(w) / mean) as f32).collect()
            }),
            weights: Vec::new(),
        }
    }

    /// Batches of one epoch; the last may be smaller.
    pub(super) fn per_epoch(&self) -> usize {
        self.count.div_ceil(self.size)
    }

    /// The batch of step `step`, counted over all epochs.
    pub(super) fn at(&mut self, step: usize) -> Result<Weighted<'_>> {
        let (epoch, at) = (step / self.per_epoch(), step % self.per_epoch());
        if self.epoch != Some(epoch) {
            self.order = epoch_order(self.count, self.seed, epoch as u64);
            self.epoch = Some(epoch);
        }
        let chosen = &self.order[at * self.size..((at + 1) * self.size).min(self.count)];
        let input = self.rows.input(chosen, &mut self.buffers)?;
        let weights = self.row_weights.as_ref().map(|all| {
            self.weights.clear();
            self.weights.extend(chosen.iter().map(|&r| all[r as usize]));
            &self.weights[..]
        });
        Ok((input, self.targets.of(chosen), weights))
    }
}

/// A batch, what it is compared with, and how much its rows count, where that differs.
pub(super) type Weighted<'a> = (Input<'a>, LossTargets<'a>, Option<&'a [f32]>);

/// A batch's tokens or states, their space used again for the next.
#[derive(Default)]
struct RowBuffers {
    batch: Option<Batch>,
    states: Vec<f32>,
    offsets: Vec<usize>,
}

impl Rows {
    fn input<'b>(&'b self, chosen: &[u32], buffers: &'b mut RowBuffers) -> Result<Input<'b>> {
        match self {
            Rows::Tokens(tokens) => {
                let rows = chosen.iter().map(|&r| &tokens.rows[r as usize]);
                Ok(Input::Tokens(buffers.batch.insert(Batch::from_encodings(rows))))
            }
            Rows::Trunk(trunk) => {
                let RowBuffers { states, offsets, .. } = buffers;
                trunk.read(chosen, states, offsets)?;
                Ok(Input::States { depth: trunk.depth, states, offsets })
            }
        }
    }
}

/// The targets of all rows, and space for those of one batch.
struct TargetsOf<'a> {
    all: &'a Targets,
    /// Those of a multi-label task as 0 and 1, `[rows, labels]`.
    hot: Vec<f32>,
    class_weights: Option<Vec<f32>>,
    scale: Option<Scale>,
    classes: Vec<u32>,
    values: Vec<f32>,
}

impl<'a> TargetsOf<'a> {
    fn new(train: &'a Dataset, weights: ClassWeights, scale: Option<Scale>) -> Self {
        let hot = match &train.targets {
            Targets::MultiHot(rows) => multi_hot(rows, train.labels.len()),
            _ => Vec::new(),
        };
        Self {
            all: &train.targets,
            hot,
            class_weights: class_weights(train, weights),
            scale,
            classes: Vec::new(),
            values: Vec::new(),
        }
    }

    fn of(&mut self, rows: &[u32]) -> LossTargets<'_> {
        let chosen = rows.iter().map(|&r| r as usize);
        self.values.clear();
        match self.all {
            Targets::Classes(all) => {
                self.classes.clear();
                self.classes.extend(chosen.map(|r| all[r]));
                LossTargets::Classes(&self.classes, self.class_weights.as_deref())
            }
            Targets::MultiHot(all) => {
                let labels = self.hot.len() / all.len();
                for r in chosen {
                    self.values.extend_from_slice(&self.hot[r * labels..(r + 1) * labels]);
                }
                LossTargets::MultiHot(&self.values, self.class_weights.as_deref())
            }
            Targets::Values(all) => {
                let scale = self.scale;
                let standard = |v: f32| scale.map_or(v, |scale| scale.standard(v));
                self.values.extend(chosen.map(|r| standard(all[r])));
                LossTargets::Values(&self.values)
            }
        }
    }
}

/// Weights of the classes, or of the positives of each label; see [`ClassWeights::Balanced`].
fn class_weights(data: &Dataset, weights: ClassWeights) -> Option<Vec<f32>> {
    if weights == ClassWeights::None {
        return None;
    }
    let mut counts = vec![0usize; data.labels.len()];
    match &data.targets {
        Targets::Classes(rows) => {
            rows.iter().for_each(|&class| counts[class as usize] += 1);
            let classes = counts.iter().filter(|&&n| n > 0).count();
            let weight = |n: usize| rows.len() as f64 / (classes * n.max(1)) as f64;
            Some(counts.into_iter().map(|n| weight(n) as f32).collect())
        }
        Targets::MultiHot(rows) => {
            rows.iter().flatten().for_each(|&label| counts[label as usize] += 1);
            let weight = |n: usize| match (n, rows.len() - n) {
                (0, _) | (_, 0) => 1.0,
                (positive, negative) => negative as f64 / positive as f64,
            };
            Some(counts.into_iter().map(|n| weight(n) as f32).collect())
        }
        Targets::Values(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Problem;

    /// `torch.nn.BCEWithLogitsLoss(pos_weight=negatives / positives)` in float64, and scikit-learn's
    /// `compute_class_weight("balanced")`.
    #[test]
    fn balanced_weights_are_pytorchs_and_scikit_learns() {
        let data = |problem, targets| Dataset {
            name: "t".into(),
            problem,
            labels: ["a", "b", "c", "d"].map(String::from).to_vec(),
            texts: vec![String::new(); 5],
            pairs: None,
            targets,
            weights: None,
        };
        let rows = vec![vec![0, 3], vec![0, 1, 3], vec![3], vec![0, 3], vec![3]];
        let many = data(Problem::MultiLabel, Targets::MultiHot(rows));
        // Label c has no positive, d no negative: nothing is known of what they should weigh.
        let weights = class_weights(&many, ClassWeights::Balanced).unwrap();
        assert_eq!(weights, [2.0 / 3.0, 4.0, 1.0, 1.0]);
        assert_eq!(class_weights(&many, ClassWeights::None), None);
        let one = data(Problem::SingleLabel, Targets::Classes(vec![0, 0, 0, 1, 3]));
        let weights = class_weights(&one, ClassWeights::Balanced).unwrap();
        assert_eq!(weights, [5.0 / 9.0, 5.0 / 3.0, 5.0 / 3.0, 5.0 / 3.0]);
    }
}
