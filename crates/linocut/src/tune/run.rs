//! A whole training run: rows in, cut out.

use super::evaluate::{Evaluation, multi_hot};
use super::options::{ClassWeights, Method, TrainOptions};
use super::shared::{Shared, Tokens};
use super::state::{self, Progress, Snapshot};
use super::trunk::Trunk;
use super::{Masks, Rates, Trained, Trainer, finish};
use crate::cut::Cut;
use crate::data::{Batch, Dataset, Metric, Targets, epoch_order, split_holdout};
use crate::model::{Base, Head, Input, LossTargets};
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

/// What a run reports while it goes on.
#[derive(Debug, Clone, Copy)]
pub enum Event {
    /// Frozen layers were computed for `done` of `rows` rows.
    Trunk {
        /// Rows done.
        done: usize,
        /// Rows in all.
        rows: usize,
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
    /// A step is done.
    Step {
        /// Steps taken.
        step: usize,
        /// Its loss.
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
}

/// What a run leaves.
pub struct Outcome {
    /// The task.
    pub cut: Cut,
    /// Scores of the cut, as stored, on the reported rows.
    pub evaluation: Option<Evaluation>,
    /// The scores behind the cut's zeros, if masks were trained.
    pub masks: Option<Masks>,
    /// Training texts that were cut at the maximum length.
    pub texts_cut: usize,
    /// Evaluation texts that were cut.
    pub evaluation_texts_cut: usize,
}

/// Rows ready for batches: tokens, or the frozen layers' outputs.
enum Rows {
    Tokens(Arc<Tokens>),
    Trunk(Arc<Trunk>),
}

/// Trains `train` on `base` and returns the cut, scored on `dev` as it will be stored.
/// `observe` hears of everything and stops the run by `false`: the state is saved then.
///
/// The base's weights are consumed; a cut applies to the base as it was.
///
/// # Errors
/// Options out of range, a batch or text that the base cannot take, a loss that is not a number
/// ([`ErrorKind::Diverged`]), a stop ([`ErrorKind::Interrupted`]), or an I/O error.
pub fn train(
    base: Base,
    train: Dataset,
    dev: Option<&Dataset>,
    metric: Option<&Metric>,
    options: &TrainOptions,
    storage: &Storage,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<Outcome> {
    options.check()?;
    base.check_max_length(options.max_length)?;
    if storage.save_every == Some(0) {
        let message = "--save-every is 0, expected at least 1 step";
        return Err(Error::new(ErrorKind::Config, message));
    }
    let identity = identity(&base, &train, options);
    let (train, held_out) = match options.early_stop {
        Some(share) => {
            let (train, held_out) = split_holdout(&train, share, options.seed)?;
            (train, Some(held_out))
        }
        None => (train, None),
    };
    let encode = |data: &Dataset| storage.shared.encode(&base.tokenizer, data, options.max_length);
    let tokens = encode(&train)?;
    let held_out = match held_out {
        Some(data) => Some((encode(&data)?, data)),
        None => None,
    };
    let dev = match dev {
        Some(data) => Some((encode(data)?, data)),
        None => None,
    };
    let marks = options.method.marks(base.encoder.layout(), base.encoder.pooling())?;
    let depth = base.encoder.trunk_depth(&marks);
    let outputs = train.labels.len().max(1);
    let head = Head::new(outputs, base.config().hidden, options.seed);

    let rows = train.rows();
    let steps_per_epoch = rows.div_ceil(options.batch);
    let steps = options.epochs * steps_per_epoch;
    let rates = Rates {
        lr: options.lr,
        mask_lr: options.mask_lr,
        head_lr: options.head_lr,
        decay: options.decay,
        clip: options.clip,
        warmup: (options.warmup * steps as f64).round() as usize,
        steps,
        seed: options.seed,
    };
    let trained = match options.method {
        Method::Mask { sampling, init_scale, init_sparsity, target, .. } => {
            let scale = init_scale as f32;
            Trained::Masks { sampling, scale, sparsity: init_sparsity, target }
        }
        Method::LowRank { rank, .. } => Trained::LowRank(rank),
        _ => Trained::Weights,
    };
    let source = if depth == 0 {
        Rows::Tokens(tokens.clone())
    } else {
        let place = (storage.trunk_memory, storage.scratch.as_path());
        let progress = |done| observe(Event::Trunk { done, rows });
        let (encoder, weights, shared) = (&base.encoder, &base.weights, &storage.shared);
        Rows::Trunk(shared.trunk(encoder, weights, &tokens.rows, depth, place, progress)?)
    };
    let Base { name, fingerprint, encoder, weights, tokenizer, .. } = base;
    let mut trainer = Trainer::new(encoder, weights, head, marks, trained, rates);
    let mut progress = Progress { identity, ..Progress::default() };
    let mut best: Option<Snapshot> = None;
    if let (true, Some(path)) = (storage.resume, &storage.state) {
        (progress, best) = state::load(path, &progress.identity, &mut trainer)?;
    }
    observe(Event::Start { step: progress.step, steps, trained: trainer.trained_parameters() });

    let hot = match &train.targets {
        Targets::MultiHot(rows) => multi_hot(rows, outputs),
        _ => Vec::new(),
    };
    let class_weights = class_weights(&train, options.class_weights);
    let (mut target_buffers, mut row_buffers) = (TargetBuffers::default(), RowBuffers::default());
    let mut order = Vec::new();
    let mut saved = Instant::now();
    while progress.step < steps {
        let (epoch, at) = (progress.step / steps_per_epoch, progress.step % steps_per_epoch);
        if at == 0 || order.is_empty() {
            order = epoch_order(rows, options.seed, epoch as u64);
        }
        let batch = &order[at * options.batch..((at + 1) * options.batch).min(rows)];
        let targets = target_buffers.fill(&train.targets, &hot, class_weights.as_deref(), batch);
        let input = source.input(batch, &mut row_buffers)?;
        let tokens = input.tokens();
        let loss = match trainer.step(input, targets) {
            Ok(loss) => loss,
            Err(error) => {
                save(storage, &mut trainer, &progress, best.as_ref())?;
                return Err(error);
            }
        };
        progress.step += 1;
        progress.loss_sum += loss;
        if at + 1 == steps_per_epoch {
            progress.epoch_loss = Some(progress.loss_sum / steps_per_epoch as f64);
            progress.loss_sum = 0.0;
        }
        let sparsity = match progress.step.is_multiple_of(50) {
            true => trainer.sparsity(),
            false => None,
        };
        let step = progress.step;
        let mut go_on = observe(Event::Step { step, loss, tokens, sparsity });

        let due = match options.eval_every {
            Some(every) => step.is_multiple_of(every),
            None => step.is_multiple_of(steps_per_epoch),
        };
        if due || step == steps {
            if let Some((tokens, data)) = &held_out {
                let score = trainer.score(data, &tokens.rows, metric)?;
                go_on &= observe(Event::Evaluated { step, score, held_out: true });
                let better = |best: (f64, usize)| score.is_some_and(|s| s > best.0);
                if progress.best.is_none_or(better) {
                    progress.best = Some((score.unwrap_or(f64::MIN), step));
                    best = Some(Snapshot::take(&mut trainer));
                }
            } else if options.eval_every.is_some()
                && step < steps
                && let Some((tokens, data)) = &dev
            {
                let score = trainer.score(data, &tokens.rows, metric)?;
                go_on &= observe(Event::Evaluated { step, score, held_out: false });
            }
        }
        let due = match storage.save_every {
            Some(every) => step.is_multiple_of(every),
            None => saved.elapsed() > Duration::from_secs(60),
        };
        // A long run's last state is kept too, until the caller has written the cut.
        let long = storage.state.as_ref().is_some_and(|path| path.exists());
        if storage.state.is_some() && (due || !go_on) && step < steps || step == steps && long {
            save(storage, &mut trainer, &progress, best.as_ref())?;
            observe(Event::Saved { step });
            saved = Instant::now();
        }
        if !go_on && step < steps {
            let message = format!("interrupted after step {step} of {steps}");
            let hint = match &storage.state {
                Some(_) => "the state is saved: run the same command with --resume",
                None => "no state was kept",
            };
            return Err(Error::new(ErrorKind::Interrupted, message).with_hint(hint));
        }
    }
    if let Some(best) = &best {
        best.restore(&mut trainer);
    }
    let identity = finish::Identity {
        task: &train,
        base: name,
        fingerprint: fingerprint.to_string(),
        tokenizer: tokenizer.fingerprint().to_string(),
        held_out: held_out.as_ref().map_or(0, |(_, data)| data.rows()),
        texts_cut: tokens.texts_cut,
        selected_step: progress.best.map(|(_, step)| step),
        epoch_loss: progress.epoch_loss,
    };
    let dev_rows = dev.as_ref().map(|(tokens, data)| (*data, &tokens.rows[..]));
    let (cut, evaluation, masks) = finish::cut(trainer, options, identity, dev_rows, metric)?;
    let texts_cut = tokens.texts_cut;
    let evaluation_texts_cut = dev.map_or(0, |(tokens, _)| tokens.texts_cut);
    Ok(Outcome { cut, evaluation, masks, texts_cut, evaluation_texts_cut })
}

fn save(
    storage: &Storage,
    trainer: &mut Trainer,
    progress: &Progress,
    best: Option<&Snapshot>,
) -> Result<()> {
    match &storage.state {
        Some(path) => state::save(path, trainer, progress, best),
        None => Ok(()),
    }
}

/// Digest of everything that decides the run's steps.
fn identity(base: &Base, train: &Dataset, options: &TrainOptions) -> String {
    let mut hash = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(base.fingerprint.to_string().as_bytes());
    field(base.tokenizer.fingerprint().to_string().as_bytes());
    field(base.encoder.pooling().name().as_bytes());
    field(format!("{options:?}").as_bytes());
    field(format!("{:?} {:?}", train.problem, train.labels).as_bytes());
    for text in train.texts.iter().chain(train.pairs.iter().flatten()) {
        field(text.as_bytes());
    }
    field(format!("{:?}", train.targets).as_bytes());
    hash.finalize().to_string()
}

/// Weights of the classes, for single-label tasks.
fn class_weights(data: &Dataset, weights: ClassWeights) -> Option<Vec<f32>> {
    let (Targets::Classes(rows), ClassWeights::Balanced) = (&data.targets, weights) else {
        return None;
    };
    let mut counts = vec![0usize; data.labels.len()];
    for &class in rows {
        counts[class as usize] += 1;
    }
    let classes = counts.iter().filter(|&&n| n > 0).count();
    let weight = |n: usize| rows.len() as f64 / (classes * n.max(1)) as f64;
    Some(counts.into_iter().map(|n| weight(n) as f32).collect())
}

/// Targets of one batch, their space used again for the next.
#[derive(Default)]
struct TargetBuffers {
    classes: Vec<u32>,
    values: Vec<f32>,
}

impl TargetBuffers {
    /// Targets of the given rows; `hot` are those of a multi-label task, `[all rows, labels]`.
    fn fill<'a>(
        &'a mut self,
        targets: &Targets,
        hot: &[f32],
        class_weights: Option<&'a [f32]>,
        rows: &[u32],
    ) -> LossTargets<'a> {
        let chosen = rows.iter().map(|&r| r as usize);
        self.values.clear();
        match targets {
            Targets::Classes(all) => {
                self.classes.clear();
                self.classes.extend(chosen.map(|r| all[r]));
                LossTargets::Classes(&self.classes, class_weights)
            }
            Targets::MultiHot(all) => {
                let labels = hot.len() / all.len();
                for r in chosen {
                    self.values.extend_from_slice(&hot[r * labels..(r + 1) * labels]);
                }
                LossTargets::MultiHot(&self.values)
            }
            Targets::Values(all) => {
                self.values.extend(chosen.map(|r| all[r]));
                LossTargets::Values(&self.values)
            }
        }
    }
}

/// A batch's tokens or states, their space used again for the next.
#[derive(Default)]
struct RowBuffers {
    batch: Option<Batch>,
    states: Vec<f32>,
    offsets: Vec<usize>,
}

impl Rows {
    fn input<'a>(&'a self, rows: &[u32], buffers: &'a mut RowBuffers) -> Result<Input<'a>> {
        match self {
            Rows::Tokens(tokens) => {
                let chosen = rows.iter().map(|&r| &tokens.rows[r as usize]);
                let batch = Batch::from_encodings(chosen);
                Ok(Input::Tokens(buffers.batch.insert(batch)))
            }
            Rows::Trunk(trunk) => {
                let RowBuffers { states, offsets, .. } = buffers;
                trunk.read(rows, states, offsets)?;
                Ok(Input::States { depth: trunk.depth, states, offsets })
            }
        }
    }
}

/// Path of the state beside an output file.
pub fn state_path(out: &Path) -> PathBuf {
    let mut name = out.as_os_str().to_owned();
    name.push(".state");
    name.into()
}
