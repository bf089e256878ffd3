//! One training step: forward, backward, clipping, AdamW.

use super::lowrank::LowRank;
use super::masks::{Masks, Start};
use super::optimizer::{BETA1, BETA2, EPS, Moments, SCORE_EPS, WordMoments, update_dense};
use super::scale::Scale;
use super::schedule;
use super::{Method, TrainOptions, evaluate};
use crate::data::{Dataset, Metric, Texts, means, means_grad};
use crate::kernels::adamw::{AdamW, SharedAdam};
use crate::kernels::pool::awake;
use crate::kernels::sums::square_sum;
use crate::model::{DropoutStep, Encoder, Grads, Head, Input, LossTargets, Tape, Weights, logits};
use crate::{Error, ErrorKind, Result};

/// What stands behind the marked tensors.
pub(super) enum Parameters {
    Weights,
    Masks(Masks),
    LowRank(LowRank),
}

impl Parameters {
    /// Those of `method`, [settled](Method::settled), behind the tensors that `marks` flags.
    fn new(method: &Method, weights: &Weights, marks: &[bool], seed: u64) -> Self {
        match *method {
            Method::Mask { sampling, init_scale, init_sparsity, candidates, target, .. } => {
                let scale = init_scale.expect("a settled method") as f32;
                let how = (sampling, target);
                let start = Start { scale, sparsity: init_sparsity, candidates };
                Self::Masks(Masks::new(weights, marks, how, start, seed))
            }
            Method::LowRank { rank, .. } => Self::LowRank(LowRank::new(weights, marks, rank, seed)),
            Method::Full | Method::Layers(_) | Method::Bias | Method::Head => Self::Weights,
        }
    }
}

/// Learning rates and the constants of a run.
#[derive(Debug, Clone, Copy)]
pub struct Rates {
    /// Peak rate of trained weights.
    pub lr: f64,
    /// Peak rate of scores.
    pub mask_lr: f64,
    /// Peak rate of the head.
    pub head_lr: f64,
    /// Decoupled decay of matrices, embeddings and the head's matrix; scores never decay.
    pub decay: f64,
    /// Gradients are scaled down to this global norm; scores are a group of their own.
    pub clip: f64,
    /// Steps of warm-up.
    pub warmup: usize,
    /// Steps of the whole run.
    pub steps: usize,
    /// Seed of dropout and masks.
    pub seed: u64,
}

impl Rates {
    /// Those of `options` for a run of `steps`.
    pub(super) fn of(options: &TrainOptions, steps: usize) -> Self {
        Self {
            lr: options.lr,
            mask_lr: options.mask_lr,
            head_lr: options.head_lr,
            decay: options.decay,
            clip: options.clip,
            warmup: (options.warmup * steps as f64).round() as usize,
            steps,
            seed: options.seed,
        }
    }
}

/// Some rows to learn from.
#[derive(Clone, Copy)]
pub struct Examples<'a> {
    /// Their sequences.
    pub input: Input<'a>,
    /// How many sequences each row has, one after the other; none where all have one.
    pub windows: &'a [usize],
    /// What they are compared with, one a row.
    pub targets: LossTargets<'a>,
    /// How much the rows count, where that differs.
    pub weights: Option<&'a [f32]>,
    /// A teacher's answers, `[rows, outputs]`, see [`Head::loss`].
    pub teacher: Option<&'a [f32]>,
}

/// A model in training.
pub struct Trainer {
    encoder: Encoder,
    /// Effective weights of the last step.
    pub(super) weights: Weights,
    pub(super) head: Head,
    pub(super) marks: Vec<bool>,
    pub(super) parameters: Parameters,
    grads: Grads,
    pub(super) moments: Moments,
    pub(super) words: Option<WordMoments>,
    pub(super) head_moments: Moments,
    tape: Tape,
    rates: Rates,
    /// Steps taken.
    pub(super) step: usize,
}

impl Trainer {
    /// A trainer by `method`, [settled](Method::settled), of the tensors that `marks` flags, and of the
    /// head. Masks are for matrices of the layers and the pooler.
    pub fn new(
        encoder: Encoder,
        weights: Weights,
        head: Head,
        marks: Vec<bool>,
        method: &Method,
        rates: Rates,
    ) -> Self {
        let grads = Grads::new(&encoder, &marks);
        let parameters = Parameters::new(method, &weights, &marks, rates.seed);
        let words = marks[encoder.words()].then(|| {
            let table = &encoder.layout().tensors()[encoder.words()].shape;
            WordMoments::new(table[0], table[1])
        });
        let moments = match &parameters {
            Parameters::Weights => Moments::new(grads.dense().len()),
            Parameters::Masks(masks) => Moments::shared(grads.dense().len(), masks.tensors().len()),
            Parameters::LowRank(low_rank) => Moments::new(low_rank.factors.len()),
        };
        let head_moments = Moments::new(head.weight.len() + head.bias.len());
        let tape = Tape::default();
        Self {
            encoder,
            weights,
            head,
            marks,
            parameters,
            grads,
            moments,
            words,
            head_moments,
            tape,
            rates,
            step: 0,
        }
    }

    /// One step on one batch, see [`Head::loss`]; returns the loss.
    ///
    /// # Errors
    /// A loss or gradient that is not a number: nothing was changed by the step then.
    pub fn step(&mut self, examples: Examples<'_>) -> Result<f64> {
        awake(|| self.step_in_pool(examples))
    }

    fn step_in_pool(&mut self, examples: Examples<'_>) -> Result<f64> {
        let Examples { input, windows, targets, weights, teacher } = examples;
        let (step, seed) = (self.step as u64, self.rates.seed);
        let dropout = Some(DropoutStep::new(self.encoder.config(), seed, step));
        if let (Some(words), Input::Tokens(batch)) = (&mut self.words, input) {
            words.touch(self.weights.at_mut(self.encoder.words()), &batch.ids);
        }
        let zeros = self.zeros();
        let mut middles = Vec::new();
        match &self.parameters {
            Parameters::Weights => {}
            Parameters::Masks(masks) => {
                middles = masks.write_sample(&mut self.weights, step, zeros);
            }
            Parameters::LowRank(low_rank) => low_rank.write(&mut self.weights),
        }
        let pooled = self.encoder.forward(&self.weights, input, dropout, true, &mut self.tape);
        let hidden = self.encoder.config().hidden;
        let loss = match windows {
            [] => self.head.loss(pooled, targets, weights, teacher, dropout),
            windows => {
                let vectors = means(pooled, hidden, windows);
                let mut loss = self.head.loss(&vectors, targets, weights, teacher, dropout);
                loss.pooled_grad = means_grad(&loss.pooled_grad, hidden, windows);
                loss
            }
        };
        let (tape, grads) = (&mut self.tape, &mut self.grads);
        self.encoder.backward(&self.weights, input, dropout, &loss.pooled_grad, tape, grads);

        let mut squares = square_sum(&loss.weight_grad) + square_sum(&loss.bias_grad);
        // Per masked matrix.
        let mut score_squares = Vec::new();
        match &mut self.parameters {
            Parameters::Weights => {
                squares += square_sum(self.grads.dense());
                squares += self.grads.words().map_or(0.0, |(_, values)| square_sum(values));
            }
            Parameters::Masks(masks) => {
                masks.score_grads(self.grads.dense_mut(), &middles);
                score_squares = masks
                    .ranges(self.encoder.layout())
                    .map(|(_, range)| square_sum(&self.grads.dense()[range]))
                    .collect();
            }
            Parameters::LowRank(low_rank) => {
                low_rank.backward(self.grads.dense());
                squares += square_sum(&low_rank.grads);
            }
        }
        let score_square: f64 = score_squares.iter().sum();
        if !(loss.value.is_finite() && squares.is_finite() && score_square.is_finite()) {
            let message = format!(
                "training diverged at step {} of {}: loss {}, gradient norm {}",
                self.step + 1,
                self.rates.steps,
                loss.value,
                squares.max(score_square).sqrt()
            );
            return Err(Error::new(ErrorKind::Diverged, message)
                .with_hint("lower `lr`, `mask_lr` or `head_lr`, or raise `warmup`"));
        }
        self.update(&loss.weight_grad, &loss.bias_grad, squares.sqrt(), &score_squares);
        Ok(loss.value)
    }

    fn update(&mut self, head_weight: &[f32], head_bias: &[f32], norm: f64, score_squares: &[f64]) {
        let rates = self.rates;
        let factor = schedule::factor(self.step, rates.warmup, rates.steps);
        self.step += 1;
        // As torch.nn.utils.clip_grad_norm_.
        let scale = |norm: f64| (rates.clip / (norm + 1e-6)).min(1.0) as f32;
        let adamw = |lr: f64, eps: f32, decay: f64, grad_scale: f32| AdamW {
            lr: (lr * factor) as f32,
            beta1: BETA1,
            beta2: BETA2,
            eps,
            decay: decay as f32,
            grad_scale,
            step: self.step as u32,
        };
        let head = adamw(rates.head_lr, EPS, rates.decay, scale(norm));
        self.head_moments.update(&head, &mut self.head.weight, head_weight, 0);
        let (bias, start) = (AdamW { decay: 0.0, ..head }, self.head.weight.len());
        self.head_moments.update(&bias, &mut self.head.bias, head_bias, start);
        if let Parameters::Masks(masks) = &mut self.parameters {
            let norm = score_squares.iter().sum::<f64>().sqrt();
            let adamw = adamw(rates.mask_lr, SCORE_EPS, 0.0, scale(norm));
            let Moments { mean, square } = &mut self.moments;
            let ranges: Vec<_> = masks.ranges(self.encoder.layout()).collect();
            for (i, (_, range)) in ranges.into_iter().enumerate() {
                SharedAdam { adamw }.update(
                    &mut masks.scores[range.clone()],
                    &self.grads.dense()[range.clone()],
                    score_squares[i],
                    &mut mean[range],
                    &mut square[i],
                );
            }
            return;
        }
        let adamw = adamw(rates.lr, EPS, rates.decay, scale(norm));
        if let Parameters::LowRank(low_rank) = &mut self.parameters {
            self.moments.update(&adamw, &mut low_rank.factors, &low_rank.grads, 0);
            return;
        }
        let tensors = (&**self.encoder.layout(), self.encoder.words());
        let (marks, weights) = (&self.marks, &mut self.weights);
        update_dense(adamw, tensors, marks, weights, self.grads.dense(), &mut self.moments);
        if let (Some(words), Some((rows, grad))) = (&mut self.words, self.grads.words()) {
            words.update(&adamw, weights.at_mut(tensors.1), rows, grad);
        }
    }

    /// Brings the weights to what the cut will hold: finished masks, all decay applied.
    pub fn settle(&mut self) {
        match &self.parameters {
            Parameters::Weights => {}
            Parameters::Masks(masks) => masks.write_final(&mut self.weights),
            Parameters::LowRank(low_rank) => low_rank.write(&mut self.weights),
        }
        if let Some(words) = &mut self.words {
            words.settle(self.weights.at_mut(self.encoder.words()));
        }
    }

    /// The vectors of a batch's sequences, `[sequences, hidden]`, by the weights as of [`Trainer::settle`].
    pub(super) fn pooled(&mut self, input: Input<'_>) -> &[f32] {
        self.encoder.forward(&self.weights, input, None, false, &mut self.tape)
    }

    /// Primary score of the model as it stands on `data`, tokenised in `texts`, if defined. `scale`
    /// is the unit that the head was trained in.
    pub(super) fn score(
        &mut self,
        data: &Dataset,
        texts: &Texts,
        metric: Option<&Metric>,
        scale: Option<Scale>,
    ) -> Result<Option<f64>> {
        self.settle();
        let unscaled = scale.map(|scale| scale.undone(&self.head));
        let head = unscaled.as_ref().unwrap_or(&self.head);
        let logits = logits(&self.encoder, &self.weights, head, &texts.sequences, |_| {});
        let logits = texts.means(logits, head.outputs());
        Ok(evaluate(data, &logits, None, metric)?.metrics.primary.value)
    }

    /// The share, 0 to 1, of a target's zeros that the next step has.
    fn zeros(&self) -> f64 {
        schedule::zeros(self.step, self.rates.warmup, self.rates.steps)
    }

    /// Share of zeros in the masks at the next step, if masks are trained.
    pub fn sparsity(&self) -> Option<f64> {
        self.masks().map(|masks| masks.sparsity(self.zeros()))
    }

    /// How many numbers are trained: weights, scores or factors, and the head.
    pub fn trained_parameters(&self) -> usize {
        let tensors = self.encoder.layout().tensors().iter().zip(&self.marks);
        let marked = || tensors.filter(|(_, m)| **m).map(|(t, _)| t.range.len()).sum();
        let trained: usize = self.low_rank().map_or_else(marked, |low_rank| low_rank.factors.len());
        trained + self.head.weight.len() + self.head.bias.len()
    }

    /// The encoder.
    pub fn encoder(&self) -> &Encoder {
        &self.encoder
    }

    /// The weights as of the last step or [`Trainer::settle`].
    pub fn weights(&self) -> &Weights {
        &self.weights
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The scores, if masks are trained.
    pub fn masks(&self) -> Option<&Masks> {
        match &self.parameters {
            Parameters::Masks(masks) => Some(masks),
            _ => None,
        }
    }

    /// The low-rank factors, if they are trained.
    pub fn low_rank(&self) -> Option<&LowRank> {
        match &self.parameters {
            Parameters::LowRank(low_rank) => Some(low_rank),
            _ => None,
        }
    }

    /// Gradients of the last step: of scores where masks are trained, of effective weights where
    /// low-rank factors are.
    pub fn grads(&self) -> &Grads {
        &self.grads
    }

    /// Steps taken.
    pub fn steps_taken(&self) -> usize {
        self.step
    }
}
