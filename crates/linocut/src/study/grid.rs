//! Which runs there are, in what order, and how long each may take.

use super::arms::{Arm, Trains};
use super::record::Record;
use crate::Result;
use crate::data::{Dataset, Metric, TaskRows};
use crate::model::{self, Base, Encoder, Head, ModelConfig, Place};
use crate::tune::{Choices, Method, Shared, TrainOptions};
use std::time::Instant;

/// A task of a study.
#[derive(Debug, Clone)]
pub struct StudyTask {
    /// Rows to learn from; its name is the task's.
    pub train: Dataset,
    /// Rows to report on.
    pub dev: Dataset,
    /// The score it is judged by; `None` leaves it to the problem.
    pub metric: Option<Metric>,
    /// Tokens of the training rows.
    pub tokens: usize,
    /// Tokens of the rows reported on.
    pub dev_tokens: usize,
}

impl StudyTask {
    /// A task with its tokens counted, which `shared` keeps.
    ///
    /// # Errors
    /// A tokenizer that fails on its texts.
    pub fn new(task: TaskRows, base: &Base, shared: &Shared) -> Result<Self> {
        let limit = TrainOptions::new(Method::Head, 1).max_length.min(base.config().positions);
        let tokens = |data: &Dataset| -> Result<usize> {
            let tokens = shared.encode(&base.tokenizer, data, limit.into())?;
            Ok(tokens.sequences.iter().map(|row| row.ids.len()).sum())
        };
        let (tokens, dev_tokens) = (tokens(&task.train)?, tokens(&task.dev)?);
        let TaskRows { train, dev, metric, .. } = task;
        Ok(Self { train, dev, metric, tokens, dev_tokens })
    }
}

/// One run, by the positions of its task and arm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Which task.
    pub task: usize,
    /// Which arm.
    pub arm: usize,
    /// Seed of everything random.
    pub seed: u64,
}

/// Every run of some arms on some tasks.
pub struct Grid<'a> {
    /// The tasks.
    pub tasks: &'a [StudyTask],
    /// The arms, those that tell most first.
    pub arms: &'a [Arm],
    /// Seeds 0 to one below this.
    pub seeds: u64,
    /// Passes over the training rows; `None` for `train`'s default.
    pub epochs: Option<usize>,
}

impl Grid<'_> {
    /// The runs, those that tell most first: every arm on every task with the first seed, then
    /// with the next. An arm comes after the one that it needs.
    pub fn runs(&self) -> Vec<Run> {
        let (tasks, arms) = (self.tasks.len(), self.arms.len());
        let of = |seed| {
            (0..arms).flat_map(move |arm| (0..tasks).map(move |task| Run { task, arm, seed }))
        };
        (0..self.seeds).flat_map(of).collect()
    }

    /// Names of the run's task and arm.
    pub fn names(&self, run: Run) -> (&str, &str) {
        (&self.tasks[run.task].train.name, &self.arms[run.arm].name)
    }

    /// The run whose cut this one starts from.
    pub fn needs(&self, run: Run) -> Option<Run> {
        let arm = &self.arms[run.arm];
        let name = arm.needs()?;
        let other = matches!(arm.trains, Trains::Head(super::Borrowed::Task));
        let task = if other { (run.task + 1) % self.tasks.len() } else { run.task };
        let needed = self.arms.iter().position(|arm| arm.name == name)?;
        Some(Run { task, arm: needed, seed: run.seed })
    }

    /// Options of a run of `method`.
    pub fn options(&self, run: Run, method: Method, base: &ModelConfig) -> TrainOptions {
        let (train, arm) = (&self.tasks[run.task].train, &self.arms[run.arm]);
        let rows = train.rows();
        let Choices { head_lr, epochs, .. } = arm.choices;
        let choices = Choices { epochs: epochs.or(self.epochs), ..arm.choices.clone() };
        let set = choices.options(method, (train.problem, rows), base);
        TrainOptions {
            // A head over zeros is compared with a mask, whose head has learned at its rate.
            head_lr: match arm.trains {
                Trains::Head(_) if head_lr.is_none() => {
                    TrainOptions::new(Method::mask(), rows).head_lr
                }
                _ => set.head_lr,
            },
            seed: run.seed,
            ..set
        }
    }

    /// How many times over a token passes one way through the whole encoder in a run, roughly: one
    /// pass for a frozen trunk, in every epoch one forward and one back above it, and one for the
    /// gradients of what is trained there.
    ///
    /// # Errors
    /// An arm that trains nothing on this base.
    pub fn work(&self, run: Run, encoder: &Encoder) -> Result<f64> {
        let task = &self.tasks[run.task];
        let method = match &self.arms[run.arm].trains {
            Trains::Method(method) => method.clone(),
            Trains::Head(_) => Method::Head,
            Trains::Critical => Method::mask(),
        };
        let layout = encoder.layout();
        let layers = encoder.config().layers as f64;
        let marks = method.marks(encoder)?;
        let below = encoder.trunk_depth(&marks) as f64 / layers;
        let inside = layout.tensors().iter().zip(&marks).filter(|(t, _)| t.layer().is_some());
        let (mut trained, mut all) = (0, 0);
        for (tensor, mark) in inside {
            all += tensor.range.len();
            trained += if *mark { tensor.range.len() } else { 0 };
        }
        let options = self.options(run, method, encoder.config());
        let epoch = 2.0 * (1.0 - below) + trained as f64 / all as f64;
        let tokens = task.tokens as f64;
        Ok(tokens * (below + options.epochs as f64 * epoch) + task.dev_tokens as f64)
    }

    /// Seconds that one such pass of a token takes: by the latest runs recorded, since a machine's speed
    /// may change, or else by a trial on the first task's rows.
    ///
    /// # Errors
    /// A tokenizer that fails on them.
    pub fn pace(&self, records: &[Record], base: &Base) -> Result<f64> {
        let done = records.iter().rev().filter(|r| r.failed.is_none()).take(10);
        let (seconds, work) = done.fold((0.0, 0.0), |(s, w), r| (s + r.seconds, w + r.work));
        if work > 0.0 {
            return Ok(seconds / work);
        }
        let data = &self.tasks[0].train;
        let rows = data.rows().min(128);
        let pairs = data.pairs.as_ref().map(|pairs| &pairs[..rows]);
        let limit = base.config().positions.min(128);
        let texts = base.tokenizer.encode_all(&data.texts[..rows], pairs, limit)?.sequences;
        let head = Head::new(1, base.config().hidden, 0);
        let pass = || drop(model::logits(&base.encoder, &base.weights, &head, &texts, |_| {}));
        pass(); // the first touches every page of the weights
        let started = Instant::now();
        pass();
        let tokens: usize = texts.iter().map(|text| text.ids.len()).sum();
        Ok(started.elapsed().as_secs_f64() / tokens.max(1) as f64)
    }
}

/// Trained numbers beside head and embeddings: entries, scores, or low-rank factors.
///
/// # Errors
/// A method that trains nothing on this base.
pub fn trained(method: &Method, encoder: &Encoder) -> Result<u64> {
    let layout = encoder.layout();
    let marks = method.marks(encoder)?;
    let chosen = layout
        .tensors()
        .iter()
        .zip(marks)
        .filter(|(tensor, mark)| *mark && tensor.place != Place::Below);
    let each = chosen.map(|(tensor, _)| match method {
        Method::LowRank { rank, .. } => rank * tensor.shape.iter().sum::<usize>(),
        _ => tensor.range.len(),
    });
    Ok(each.sum::<usize>() as u64)
}
