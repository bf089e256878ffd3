//! A whole training run: rows in, cut out.

use super::batches::{Batches, Rows};
use super::calibrate::can_calibrate;
use super::evaluate::{Evaluation, can_select, evaluate};
use super::identity::{choices, identity};
use super::options::{Fit, Objective, TrainOptions};
use super::scale::Scale;
use super::shared::Shared;
use super::solve::solve;
use super::state::{self, Progress, Snapshot};
use super::{Lengths, Masks, Method, Rates, Trainer, Trial, finish, slim};
use crate::cut::Cut;
use crate::data::{Dataset, Metric, Texts, split_holdout};
use crate::kernels::pool::awake;
use crate::model::{Base, Head, Pooling, unit_rows};
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Where a run keeps what it may need again.
#[derive(Debug, Clone)]
pub struct Storage {
    /// The resumable state; `None` keeps none.
    pub state: Option<PathBuf>,
    /// Continue from the state instead of starting anew.
    pub resume: bool,
    /// Steps between saved states; `None` saves about once a minute.
    pub save_every: Option<usize>,
    /// Bytes of frozen layers' outputs kept in memory; more go to a temporary file.
    pub trunk_memory: usize,
    /// Folder of that file.
    pub scratch: PathBuf,
    /// What runs of the same process have computed already.
    pub shared: Shared,
}

impl Storage {
    /// No state, 2 GiB of frozen layers' outputs in memory, and more of them in `folder`.
    pub fn scratch(folder: &Path, shared: Shared) -> Self {
        let (state, scratch) = (None, folder.to_path_buf());
        Self { state, resume: false, save_every: None, trunk_memory: 2 << 30, scratch, shared }
    }
}

/// What a run reports while it goes on.
#[derive(Debug, Clone)]
pub enum Event {
    /// The training texts are tokenised, with those that have no labels.
    Tokens(Lengths),
    /// Frozen layers were computed for `done` of `rows` rows.
    Trunk {
        /// Sequences done.
        done: usize,
        /// Rows in all.
        rows: usize,
    },
    /// Which heads and neurons are needed least is being found out, `step` of `steps` done.
    Choosing {
        /// Steps taken.
        step: usize,
        /// Steps in all.
        steps: usize,
    },
    /// The run starts or continues at `step` of `steps`.
    Start {
        /// Steps already taken.
        step: usize,
        /// Steps in all.
        steps: usize,
        /// Trained numbers: weights or scores, and the head.
        trained: usize,
    },
    /// A search has tried something.
    Tried(Trial),
    /// A cut is trained on all rows but those of fold `fold`, from 0, of `folds`.
    Fold {
        /// The fold that is left out.
        fold: usize,
        /// Folds in all.
        folds: usize,
    },
    /// A step is done.
    Step {
        /// Steps taken.
        step: usize,
        /// Its loss; of regression the squared error in the labels' unit, as metric `mse`.
        loss: f64,
        /// Its tokens.
        tokens: usize,
        /// Share of zeros in the masks, now and then.
        sparsity: Option<f64>,
    },
    /// An evaluation is done.
    Evaluated {
        /// Steps taken.
        step: usize,
        /// Primary score, if defined.
        score: Option<f64>,
        /// Whether on rows held out of the training file (else on the reported split, which
        /// selects nothing).
        held_out: bool,
    },
    /// The state was saved.
    Saved {
        /// Steps taken.
        step: usize,
    },
    /// The state could not be saved; training goes on, and an earlier state stays.
    Unsaved {
        /// Steps taken.
        step: usize,
        /// What stood in the way.
        why: String,
    },
}

/// What a run leaves.
#[non_exhaustive]
pub struct Outcome {
    /// The task.
    pub cut: Cut,
    /// Scores of the cut, as stored, on the reported rows.
    pub evaluation: Option<Evaluation>,
    /// Its logits of these rows, `[rows, outputs]`; of no rows none.
    pub logits: Vec<f32>,
    /// Why it does not decide as was asked, where the goal is not reached: it then decides as if none were given.
    pub undecided: Option<Error>,
    /// The scores behind the cut's zeros, if masks were trained.
    pub masks: Option<Masks>,
    /// Training texts that were cut at the maximum length.
    pub texts_cut: usize,
    /// Evaluation texts that were cut.
    pub evaluation_texts_cut: usize,
}

/// Trains `train` on `base` and returns the cut, scored on `dev` as it will be stored.
/// `observe` hears of everything and stops the run by `false`: the state is saved then.
///
/// The base stays as it is: what is trained is a copy of its weights.
///
/// # Errors
/// Options out of range, a batch or text that the base cannot take, a loss that is not a number
/// ([`ErrorKind::Diverged`]), a stop ([`ErrorKind::Interrupted`]), or an I/O error.
pub fn train(
    base: &Base,
    train: Dataset,
    dev: Option<&Dataset>,
    metric: Option<&Metric>,
    options: &TrainOptions,
    storage: &Storage,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<Outcome> {
    options.check()?;
    options.check_for(&train)?;
    // A metric that does not apply is found on no rows at all, before hours of training.
    evaluate(&train.select(&[]), &[], None, metric)?;
    base.check_max_length(options.max_length)?;
    if storage.save_every == Some(0) {
        let message = "`save_every` is 0, expected at least 1 step";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let (identity, choices) = (identity(base, &train, options), choices(base, &train, options));
    let mut progress = Progress { identity, choices, ..Progress::default() };
    let state = match &storage.state {
        Some(path) if storage.resume => Some(state::read(path, &progress)?),
        _ => None,
    };
    let (train, fit) = match options.calibrate {
        Some(Fit { share, goal }) => {
            let (train, rows) = split_holdout(&train, share, options.seed)?;
            can_calibrate(&rows, goal)?;
            (train, Some((rows, goal)))
        }
        None => (train, None),
    };
    let (train, held_out) = match options.early_stop {
        Some(share) => {
            let (train, held_out) = split_holdout(&train, share, options.seed)?;
            can_select(&held_out, metric)?;
            (train, Some(held_out))
        }
        None => (train, None),
    };
    let scale = Scale::of(&train)?;
    let encode = |data: &Dataset| storage.shared.encode(&base.tokenizer, data, options.extent());
    let mut tokens = encode(&train)?;
    if let Some(unlabelled) = train.unlabelled() {
        tokens = Arc::new(tokens.and(&*encode(unlabelled)?));
    }
    observe(Event::Tokens(Lengths::of(&tokens, options.extent())));
    let held_out = match held_out {
        Some(data) => Some((encode(&data)?, data)),
        None => None,
    };
    let fit = match fit {
        Some((data, goal)) => Some((encode(&data)?, data, goal)),
        None => None,
    };
    let dev = match dev {
        Some(data) => Some((encode(data)?, data)),
        None => None,
    };
    let slim_base;
    let mut compute = None;
    let base = match options.compute.filter(|share| *share < 1.0) {
        Some(share) => {
            let slim = match state.as_ref().and_then(|state| state.progress.slim.clone()) {
                Some(slim) => slim,
                None => slim::choose(base, (&train, &tokens), (options, scale), share, observe)?,
            };
            compute = Some(base.encoder.compute_of(&slim)?);
            slim_base = base.slim(&slim)?;
            progress.slim = Some(slim);
            &slim_base
        }
        None => base,
    };
    let marks = options.method.marks(&base.encoder)?;
    let depth = base.encoder.trunk_depth(&marks);
    let trunk = if depth == 0 {
        None
    } else {
        let place = (storage.trunk_memory, storage.scratch.as_path());
        let progress = |done| observe(Event::Trunk { done, rows: tokens.sequences.len() });
        let (encoder, weights, shared) = (&base.encoder, &base.weights, &storage.shared);
        Some(shared.trunk(encoder, weights, &tokens.sequences, depth, place, progress)?)
    };
    let rows = Rows { texts: tokens.clone(), trunk };
    let mut batches = Batches::new(&train, rows, options, scale);
    let by_pairs = options.objective == Objective::Pairs;
    let steps = match options.method {
        // There is nothing to train: the head is found outright.
        Method::Head if by_pairs => 0,
        _ => options.epochs * batches.per_epoch(),
    };
    let options = &TrainOptions { method: options.method.settled(steps), ..options.clone() };
    let head = Head::new(train.labels.len().max(1), base.config().hidden, options.seed);
    let encoder = base.encoder.clone().with_dropout(|own| options.dropout.at(own));
    let rates = Rates::of(options, steps);
    let weights = base.weights.clone();
    let mut trainer = Trainer::new(encoder, weights, head, marks, &options.method, rates);
    let mut best = None;
    if let Some(state) = state {
        (progress, best) = state.restore(&mut trainer)?;
    }
    let mut run = Run {
        options,
        storage,
        metric,
        held_out,
        dev,
        steps,
        steps_per_epoch: batches.per_epoch(),
        scale,
        trainer,
        progress,
        best,
    };
    run.take_steps(&mut batches, observe)?;
    if by_pairs {
        let (trainer, hidden) = (&mut run.trainer, base.config().hidden);
        trainer.settle();
        // What a pooler gives is of nearly one length, and Transformers' own heads read it as it is.
        let unit = base.encoder.pooling() != Pooling::Cls;
        let vectors = batches.vectors(hidden, |input, vectors| {
            let pooled = awake(|| trainer.pooled(input).to_vec());
            vectors.extend(if unit { unit_rows(&pooled, hidden) } else { pooled });
        })?;
        let (labels, weights) = batches.labels();
        let head = solve(trainer.head.outputs(), &vectors, hidden, labels, weights);
        trainer.head = Head { unit, ..head };
    }

    let Run { held_out, dev, trainer, progress, .. } = run;
    let identity = finish::Identity {
        task: &train,
        base: base.name.clone(),
        fingerprint: base.fingerprint.to_string(),
        tokenizer: base.tokenizer.fingerprint().to_string(),
        held_out: held_out.as_ref().map_or(0, |(_, data)| data.rows()),
        texts_cut: tokens.cut,
        selected_step: progress.best.map(|(_, step)| step),
        epoch_loss: progress.epoch_loss,
        compute,
        scale,
    };
    let dev_rows = dev.as_ref().map(|(tokens, data)| (*data, &**tokens));
    let fit_rows = fit.as_ref().map(|(tokens, data, goal)| ((data, &**tokens), *goal));
    finish::cut(trainer, options, identity, (dev_rows, fit_rows), metric)
}

/// A run between its first step and its last.
struct Run<'a> {
    options: &'a TrainOptions,
    storage: &'a Storage,
    metric: Option<&'a Metric>,
    /// Rows that early stopping selects on.
    held_out: Option<(Arc<Texts>, Dataset)>,
    /// Rows that are reported on.
    dev: Option<(Arc<Texts>, &'a Dataset)>,
    steps: usize,
    steps_per_epoch: usize,
    /// The unit that a regression's head is trained in.
    scale: Option<Scale>,
    trainer: Trainer,
    progress: Progress,
    /// What early stopping goes back to.
    best: Option<Snapshot>,
}

impl Run<'_> {
    /// Takes the steps that are left, and goes back to the best state of early stopping.
    fn take_steps(
        &mut self,
        batches: &mut Batches<'_>,
        observe: &mut dyn FnMut(Event) -> bool,
    ) -> Result<()> {
        let (steps, trained) = (self.steps, self.trainer.trained_parameters());
        observe(Event::Start { step: self.progress.step, steps, trained });
        let mut saved = Instant::now();
        while self.progress.step < steps {
            let examples = batches.at(self.progress.step)?;
            let tokens = examples.input.tokens();
            let loss = match self.trainer.step(examples) {
                Ok(loss) => self.scale.map_or(loss, |scale| scale.loss(loss)),
                Err(error) => {
                    self.save(observe);
                    return Err(error);
                }
            };
            self.count(loss);
            let step = self.progress.step;
            // Counting zeros takes as long as a small part of a step.
            let told = step.is_multiple_of(50) || step.is_multiple_of(self.steps_per_epoch);
            let sparsity = if told { self.trainer.sparsity() } else { None };
            let mut go_on = observe(Event::Step { step, loss, tokens, sparsity });
            go_on &= self.evaluate(observe)?;

            let due = match self.storage.save_every {
                Some(every) => step.is_multiple_of(every),
                None => saved.elapsed() > Duration::from_secs(60),
            };
            let state = self.storage.state.as_ref();
            // A long run's last state is kept too, until the caller has written the cut.
            let long = state.is_some_and(|path| path.exists());
            let mut kept = false;
            if state.is_some() && (due || !go_on) && step < steps || step == steps && long {
                kept = self.save(observe);
                saved = Instant::now();
            }
            if !go_on && step < steps {
                let message = format!("interrupted after step {step} of {steps}");
                let hint = match kept {
                    true => "the state is saved: run the same again with `resume`",
                    false if long => "the state of an earlier step is kept: `resume` goes on there",
                    false => "no state was kept",
                };
                return Err(Error::new(ErrorKind::Interrupted, message).with_hint(hint));
            }
        }
        if let Some(best) = &self.best {
            best.restore(&mut self.trainer);
        }
        Ok(())
    }

    /// One step more, with its loss.
    fn count(&mut self, loss: f64) {
        let Self { progress, steps_per_epoch, .. } = self;
        progress.step += 1;
        progress.loss_sum += loss;
        if progress.step.is_multiple_of(*steps_per_epoch) {
            progress.epoch_loss = Some(progress.loss_sum / *steps_per_epoch as f64);
            progress.loss_sum = 0.0;
        }
    }

    /// Scores the model as it stands, if that is due after this step; whether to go on.
    fn evaluate(&mut self, observe: &mut dyn FnMut(Event) -> bool) -> Result<bool> {
        let (step, every) = (self.progress.step, self.options.eval_every);
        let last = step == self.steps;
        if !(last || step.is_multiple_of(every.unwrap_or(self.steps_per_epoch))) {
            return Ok(true);
        }
        if let Some((tokens, data)) = &self.held_out {
            let score = self.trainer.score(data, tokens, self.metric, self.scale)?;
            // As long as no score is defined, none is better than the last.
            let better = |(best, _)| match score {
                Some(score) => score > best,
                None => best == f64::MIN,
            };
            if self.progress.best.is_none_or(better) {
                self.progress.best = Some((score.unwrap_or(f64::MIN), step));
                self.best = Some(Snapshot::take(&mut self.trainer));
            }
            return Ok(observe(Event::Evaluated { step, score, held_out: true }));
        }
        match &self.dev {
            // After the last step the cut is scored, as it will be stored.
            Some((tokens, data)) if every.is_some() && !last => {
                let score = self.trainer.score(data, tokens, self.metric, self.scale)?;
                Ok(observe(Event::Evaluated { step, score, held_out: false }))
            }
            _ => Ok(true),
        }
    }

    /// Saves the state where one is kept; whether it is saved. What was learned is worth more than
    /// the state: that it cannot be saved ends nothing.
    fn save(&mut self, observe: &mut dyn FnMut(Event) -> bool) -> bool {
        let Some(path) = &self.storage.state else { return false };
        let (step, best) = (self.progress.step, self.best.as_ref());
        let saved = state::save(path, &mut self.trainer, &self.progress, best);
        let event = match &saved {
            Ok(()) => Event::Saved { step },
            Err(error) => Event::Unsaved { step, why: error.message().into() },
        };
        observe(event);
        saved.is_ok()
    }
}

/// Removes the state of a run whose cut is kept, if there is one.
///
/// # Errors
/// A file that cannot be removed.
pub fn remove_state(state: &Path) -> Result<()> {
    match std::fs::remove_file(state) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(state, "remove", e)),
        _ => Ok(()),
    }
}

/// Path of the state beside an output file.
pub fn state_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".state");
    name.into()
}
