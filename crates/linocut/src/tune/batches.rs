//! The batches of a run: rows in the order that its seed gives, with their targets.

use super::ClassWeights;
use super::evaluate::multi_hot;
use super::options::{Objective, TrainOptions};
use super::scale::Scale;
use super::shared::TrunkRows;
use super::trainer::Examples;
use crate::Result;
use crate::data::{Batch, Dataset, Problem, Targets, Texts, epoch_order};
use crate::model::{Input, LossTargets, probabilities};
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
    /// Batches of `train`, whose rows, with those without labels after them, are `rows`; numbers are learned in the unit of `scale`.
    pub(super) fn new(
        train: &'a Dataset,
        rows: Rows,
        options: &TrainOptions,
        scale: Option<Scale>,
    ) -> Self {
        Self {
            rows,
            targets: TargetsOf::new(train, &options.class_weights, scale),
            objective: options.objective,
            count: train.learned_rows(),
            size: options.batch,
            seed: options.seed,
            order: Vec::new(),
            epoch: None,
            buffers: RowBuffers::default(),
            row_weights: train.weights.as_ref().map(|weights| {
                let sum: f64 = weights.iter().map(|&w| f64::from(w)).sum();
                let mean = sum / weights.len() as f64;
                let rows = weights.iter().map(|&w| (f64::from(w) / mean) as f32);
                rows.chain(train.unlabelled().iter().flat_map(|more| vec![1.0; more.rows()]))
                    .collect()
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
        let chosen = &mut self.order[at * self.size..((at + 1) * self.size).min(self.count)];
        // Rows with labels come first; all the others stay in their order.
        let labelled = self.targets.labelled;
        chosen.sort_by_key(|&row| row as usize >= labelled);
        let (input, windows) = self.rows.input(chosen, &mut self.buffers)?;
        let weights = self.row_weights.as_ref().map(|all| {
            self.weights.clear();
            self.weights.extend(chosen.iter().map(|&r| all[r as usize]));
            &self.weights[..]
        });
        let (targets, teacher) = self.targets.of(chosen, self.objective);
        Ok(Examples { input, windows, targets, weights, teacher })
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
        (self.targets.of(&all, Objective::Labels).0, self.row_weights.as_deref())
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
    /// Rows that have labels: the first.
    labelled: usize,
    /// Those of a multi-label task as 0 and 1, `[rows, labels]`.
    hot: Vec<f32>,
    class_weights: Option<Vec<f32>>,
    scale: Option<Scale>,
    /// A teacher's answers to all rows, as the loss takes them, and how many a row.
    teacher: Option<(Vec<f32>, usize)>,
    classes: Vec<u32>,
    values: Vec<f32>,
    taught: Vec<f32>,
}

impl<'a> TargetsOf<'a> {
    fn new(train: &'a Dataset, weights: &ClassWeights, scale: Option<Scale>) -> Self {
        let hot = match &train.targets {
            Targets::MultiHot(rows) => multi_hot(rows, train.labels.len()),
            _ => Vec::new(),
        };
        Self {
            all: &train.targets,
            labelled: train.rows(),
            hot,
            class_weights: weights.of(train),
            scale,
            teacher: teacher(train, scale),
            classes: Vec::new(),
            values: Vec::new(),
            taught: Vec::new(),
        }
    }

    /// Those of `rows`, as far as they have labels, and what a teacher says of all of them.
    fn of(&mut self, rows: &[u32], objective: Objective) -> (LossTargets<'_>, Option<&[f32]>) {
        let labelled = self.labelled;
        let chosen = rows.iter().map(|&r| r as usize).filter(|&r| r < labelled);
        self.values.clear();
        let teacher = self.teacher.as_ref().map(|(all, outputs)| {
            self.taught.clear();
            let of = |&r: &u32| &all[r as usize * outputs..(r as usize + 1) * outputs];
            self.taught.extend(rows.iter().flat_map(of));
            &self.taught[..]
        });
        let targets = match self.all {
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
        };
        (targets, teacher)
    }
}

/// What a teacher says of the rows of `train` and of those without labels after them, and how many numbers of each: logits
/// of classes, probabilities of labels, numbers in the unit of `scale`.
fn teacher(train: &Dataset, scale: Option<Scale>) -> Option<(Vec<f32>, usize)> {
    let taught = train.taught.as_ref()?;
    let more = train.unlabelled().and_then(|more| more.taught.as_ref());
    let logits = taught.logits.iter().chain(more.iter().flat_map(|more| &more.logits));
    let (logits, outputs): (Vec<f32>, _) = (logits.copied().collect(), train.labels.len().max(1));
    let answers = match (train.problem, scale) {
        (Problem::MultiLabel, _) => probabilities(train.problem, &logits, outputs),
        (Problem::Regression, Some(scale)) => logits.iter().map(|&z| scale.standard(z)).collect(),
        _ => logits,
    };
    Some((answers, outputs))
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

#[cfg(test)]
mod tests {
    use super::*;

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
}
