//! The batches of a run: rows in the order that its seed gives, with their targets.

use super::evaluate::multi_hot;
use super::options::{ClassWeights, Objective, TrainOptions};
use super::scale::Scale;
use super::shared::TrunkRows;
use super::trainer::Examples;
use crate::Result;
use crate::data::{Batch, Dataset, Targets, Texts, epoch_order};
use crate::model::{Input, LossTargets};
use std::collections::HashMap;
use std::sync::Arc;

/// Rows ready for batches: tokens, and where there are any the frozen layers' outputs.
pub(super) struct Rows {
    pub(super) texts: Arc<Texts>,
    pub(super) trunk: Option<TrunkRows>,
}

/// The batches of all epochs.
pub(super) struct Batches<'a> {
    rows: Rows,
    targets: TargetsOf<'a>,
    objective: Objective,
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
            objective: options.objective,
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
    pub(super) fn at(&mut self, step: usize) -> Result<Examples<'_>> {
        let (epoch, at) = (step / self.per_epoch(), step % self.per_epoch());
        if self.epoch != Some(epoch) {
            self.order = epoch_order(self.count, self.seed, epoch as u64);
            if let (Objective::Pairs, Targets::Classes(classes)) =
                (self.objective, self.targets.all)
            {
                self.order = side_by_side(&self.order, classes);
            }
            self.epoch = Some(epoch);
        }
        let chosen = &self.order[at * self.size..((at + 1) * self.size).min(self.count)];
        let (input, windows) = self.rows.input(chosen, &mut self.buffers)?;
        let weights = self.row_weights.as_ref().map(|all| {
            self.weights.clear();
            self.weights.extend(chosen.iter().map(|&r| all[r as usize]));
            &self.weights[..]
        });
        let targets = self.targets.of(chosen, self.objective);
        Ok(Examples { input, windows, targets, weights })
    }

    /// The vectors, `[rows, hidden]`, of all rows in their order, of which `pooled` appends those of some sequences.
    pub(super) fn vectors(
        &mut self,
        hidden: usize,
        mut pooled: impl FnMut(Input<'_>, &mut Vec<f32>),
    ) -> Result<Vec<f32>> {
        let mut vectors = vec![];
        for chosen in self.in_order().chunks(self.size) {
            pooled(self.rows.input(chosen, &mut self.buffers)?.0, &mut vectors);
        }
        Ok(self.rows.texts.means(vectors, hidden))
    }

    /// The labels of all rows in their order, and how much the rows count, where that differs.
    pub(super) fn labels(&mut self) -> (LossTargets<'_>, Option<&[f32]>) {
        let all = self.in_order();
        (self.targets.of(&all, Objective::Labels), self.row_weights.as_deref())
    }

    fn in_order(&self) -> Vec<u32> {
        (0..self.count as u32).collect()
    }
}

/// A batch's tokens or states, their space used again for the next.
#[derive(Default)]
struct RowBuffers {
    batch: Option<Batch>,
    sequences: Vec<u32>,
    windows: Vec<usize>,
    states: Vec<f32>,
    offsets: Vec<usize>,
}

impl Rows {
    /// The sequences of these rows, and how many each has where one has more than one.
    fn input<'b>(
        &'b self,
        chosen: &[u32],
        buffers: &'b mut RowBuffers,
    ) -> Result<(Input<'b>, &'b [usize])> {
        let RowBuffers { batch, sequences, windows, states, offsets } = buffers;
        sequences.clear();
        windows.clear();
        for &row in chosen {
            let of = self.texts.of(row as usize);
            windows.push(of.len());
            sequences.extend(of.map(|sequence| sequence as u32));
        }
        let windows = if sequences.len() > chosen.len() { &windows[..] } else { &[] };
        let Some(TrunkRows { trunk, rows }) = &self.trunk else {
            let all = &self.texts.sequences;
            let chosen = sequences.iter().map(|&sequence| &all[sequence as usize]);
            return Ok((Input::Tokens(batch.insert(Batch::from_encodings(chosen))), windows));
        };
        sequences.iter_mut().for_each(|sequence| *sequence = rows[*sequence as usize]);
        trunk.read(sequences, states, offsets)?;
        Ok((Input::States { depth: trunk.depth, states, offsets }, windows))
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

    fn of(&mut self, rows: &[u32], objective: Objective) -> LossTargets<'_> {
        let chosen = rows.iter().map(|&r| r as usize);
        self.values.clear();
        match self.all {
            Targets::Classes(all) => {
                self.classes.clear();
                self.classes.extend(chosen.map(|r| all[r]));
                match objective {
                    Objective::Labels => {
                        LossTargets::Classes(&self.classes, self.class_weights.as_deref())
                    }
                    Objective::Pairs => LossTargets::Pairs(&self.classes),
                }
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

/// Rows of one class that stand together in the order, so that batches have pairs of the same class however many
/// classes there are.
const TOGETHER: usize = 4;

/// The rows of `order`, [`TOGETHER`] of a class side by side where the first of them stands.
fn side_by_side(order: &[u32], classes: &[u32]) -> Vec<u32> {
    // The group of every class that has room.
    let mut groups: Vec<Vec<u32>> = vec![];
    let mut open: HashMap<u32, usize> = HashMap::new();
    for &row in order {
        let group = *open.entry(classes[row as usize]).or_insert_with(|| {
            groups.push(vec![]);
            groups.len() - 1
        });
        groups[group].push(row);
        if groups[group].len() == TOGETHER {
            open.remove(&classes[row as usize]);
        }
    }
    groups.concat()
}

/// Weights of the classes, or of the positives of each label; see [`ClassWeights::Balanced`].
fn class_weights(data: &Dataset, weights: ClassWeights) -> Option<Vec<f32>> {
    if weights == ClassWeights::None {
        return None;
    }
    let counts = data.label_counts();
    match &data.targets {
        Targets::Classes(rows) => {
            let classes = counts.iter().filter(|&&n| n > 0).count();
            let weight = |n: usize| rows.len() as f64 / (classes * n.max(1)) as f64;
            Some(counts.into_iter().map(|n| weight(n) as f32).collect())
        }
        Targets::MultiHot(rows) => {
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

    #[test]
    fn rows_of_a_class_stand_side_by_side() {
        let classes: Vec<u32> = (0..60).map(|i| i % 5).collect();
        let order = epoch_order(60, 1, 0);
        let found = side_by_side(&order, &classes);
        assert_eq!(found[0], order[0]);
        for rows in found.chunks(TOGETHER) {
            assert!(rows.iter().all(|&row| classes[row as usize] == classes[rows[0] as usize]));
        }
        let mut sorted = found;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..60).collect::<Vec<u32>>());
    }

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
