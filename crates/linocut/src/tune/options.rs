//! What a training run is asked to do.

use super::{ClassWeights, Goal, Method, Target};
use crate::cut::StoreType;
use crate::data::{Dataset, Extent, Long, Problem};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// What a run learns from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Objective {
    /// Each row's label: the loss of the problem, for all that is trained and the head together.
    #[default]
    Labels,
    /// Which rows have the same label and which have not: their vectors are drawn together or apart (as SetFit does,
    /// Tunstall et al. 2022). The head is then found outright, as logistic regression on the vectors. For few rows, of
    /// which there are many pairs, with one label each.
    Pairs,
}

impl Objective {
    /// Most training rows that pairs are learned from where nothing is said; see `bench/LOG.md`.
    pub const FEW: usize = 500;

    fn is_labels(&self) -> bool {
        *self == Self::Labels
    }

    /// The error of pairs where a teacher is learned from.
    pub(super) fn no_teacher() -> Error {
        let message =
            "`objective=pairs` has no meaning with `distill`: a teacher answers row by row";
        Error::new(ErrorKind::Config, message).with_hint("leave one of them out")
    }
}

/// Dropout in training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dropout {
    /// The probabilities in the base's configuration times this, 0 to 1.
    OfBase(f64),
    /// This probability everywhere, below 1.
    Fixed(f64),
}

impl Default for Dropout {
    fn default() -> Self {
        Self::OfBase(1.0)
    }
}

impl Dropout {
    /// The probability at a place where the base's configuration says `own`.
    pub(super) fn at(self, own: f32) -> f32 {
        match self {
            Self::OfBase(share) => (share * f64::from(own)) as f32,
            Self::Fixed(probability) => probability as f32,
        }
    }
}

/// What a cut's temperature and thresholds are fitted on and for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Fit {
    /// Share of the training rows that is held out for it.
    pub share: f64,
    /// As [`calibrate`](super::calibrate) takes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub goal: Option<Goal>,
}

impl Fit {
    /// The share where nothing is said.
    pub const SHARE: f64 = 0.1;
    /// Fewest rows that anything is fitted on.
    pub const ROWS: usize = 30;
}

/// Everything that decides what a run computes; equal options on equal data and base give an
/// equal cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainOptions {
    /// What is trained.
    pub method: Method,
    /// At most this share of the base's compute, see [`Encoder::multiply_adds`](crate::model::Encoder::multiply_adds): heads and neurons
    /// that the task needs least are left out first. All where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compute: Option<f64>,
    /// What is learned from.
    #[serde(default, skip_serializing_if = "Objective::is_labels")]
    pub objective: Objective,
    /// Passes over the training rows.
    pub epochs: usize,
    /// Rows a step.
    pub batch: usize,
    /// Peak learning rate of weights.
    pub lr: f64,
    /// Peak learning rate of scores.
    pub mask_lr: f64,
    /// Peak learning rate of the head.
    pub head_lr: f64,
    /// Share of the steps that warm up.
    pub warmup: f64,
    /// AdamW's decay.
    pub decay: f64,
    /// Largest gradient norm.
    pub clip: f64,
    /// How often hidden states, attention and the pooled vector are dropped. Layers below the lowest
    /// one that is trained are computed once and never dropped.
    #[serde(default)]
    pub dropout: Dropout,
    /// Seed of everything random.
    pub seed: u64,
    /// Most tokens that are read at one time.
    pub max_length: usize,
    /// Which part is read of a longer text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Long>,
    /// Share of the training rows held out to choose the best evaluation by; `None` keeps the
    /// last state.
    pub early_stop: Option<f64>,
    /// Rows held out to fit temperature and thresholds on; `None` leaves the cut without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibrate: Option<Fit>,
    /// Steps between evaluations; `None` evaluates after every epoch.
    pub eval_every: Option<usize>,
    /// How rows weigh.
    pub class_weights: ClassWeights,
    /// Format in which head and replaced tensors are stored.
    pub store: StoreType,
}

impl TrainOptions {
    /// The defaults for `method` on `rows` training rows; see `bench/LOG.md` for how they were
    /// found.
    pub fn new(method: Method, rows: usize) -> Self {
        let lr = match method {
            Method::Bias => 3e-3,
            // The product of r columns and rows moves r times as far.
            Method::LowRank { rank, .. } => 3e-3 / (rank as f64).sqrt(),
            _ => 1e-4,
        };
        let head_lr = match method {
            Method::Head => 1e-2,
            Method::Mask { .. } => 3e-3,
            _ => 1e-3,
        };
        Self {
            method,
            compute: None,
            objective: Objective::Labels,
            epochs: default_epochs(rows),
            batch: 32,
            lr,
            mask_lr: 1e-1,
            head_lr,
            warmup: 0.1,
            decay: 0.01,
            clip: 1.0,
            dropout: Dropout::Fixed(0.0),
            seed: 0,
            max_length: 128,
            long: None,
            early_stop: None,
            calibrate: None,
            eval_every: None,
            class_weights: ClassWeights::None,
            store: StoreType::Bf16,
        }
    }

    /// These for `objective`, with as many rows a step and passes as it takes.
    #[must_use]
    pub fn by(self, objective: Objective, rows: usize) -> Self {
        let (batch, epochs) = match objective {
            Objective::Labels => (32, default_epochs(rows)),
            Objective::Pairs => {
                let epochs = PAIR_STEPS.div_ceil(rows.div_ceil(PAIR_ROWS).max(1));
                (PAIR_ROWS, epochs.max(PAIR_EPOCHS))
            }
        };
        Self { objective, batch, epochs, ..self }
    }

    /// How much is read of a text.
    pub fn extent(&self) -> Extent {
        Extent { max_length: self.max_length, long: self.long }
    }

    /// Checks that every option has a meaning for these rows.
    ///
    /// # Errors
    /// Class weights of a task without classes, of a label that is none, or out of range; pairs of rows that have not
    /// one label each, or where a teacher is learned from, whose answers must be numbers for all rows; parts of pairs of
    /// texts that are not read.
    pub fn check_for(&self, train: &Dataset) -> Result<()> {
        self.long.map_or(Ok(()), |long| long.check_for(train.pairs.is_some()))?;
        if self.objective == Objective::Pairs && train.problem != Problem::SingleLabel {
            let message =
                "`objective=pairs` is for rows with one label each, found several or numbers";
            return Err(Error::new(ErrorKind::Config, message).with_hint("leave it out"));
        }
        if let Some(taught) = &train.taught {
            if self.objective == Objective::Pairs {
                return Err(Objective::no_teacher());
            }
            taught.check(train.rows(), train.labels.len().max(1))?;
        }
        self.class_weights.check(train)
    }

    /// Checks every range.
    ///
    /// # Errors
    /// The first option out of its range, by its name on the command line.
    pub fn check(&self) -> Result<()> {
        let fail = |option: &str, value: String, expected: &str| {
            let message = format!("{option} is {value}, expected {expected}");
            Err(Error::new(ErrorKind::Config, message))
        };
        if let Some(share) = self.compute.filter(|share| !(*share > 0.0 && *share <= 1.0)) {
            return fail("`compute`", share.to_string(), "a share in (0, 1]");
        }
        for (option, value) in [("`epochs`", self.epochs), ("`batch`", self.batch)] {
            if !(1..=1_000_000).contains(&value) {
                return fail(option, value.to_string(), "1 to 1000000");
            }
        }
        let rates = [("`lr`", self.lr), ("`mask_lr`", self.mask_lr), ("`head_lr`", self.head_lr)];
        for (option, value) in rates.into_iter().chain([("`clip`", self.clip)]) {
            if !(value > 0.0 && value <= f64::from(f32::MAX)) {
                return fail(option, format!("{value:e}"), "a number above 0 that float32 holds");
            }
        }
        for (option, value) in [("`warmup`", self.warmup), ("`decay`", self.decay)] {
            if !(0.0..1.0).contains(&value) {
                return fail(option, value.to_string(), "a number in [0, 1)");
            }
        }
        for (option, given) in
            [("early_stop", self.early_stop.is_some()), ("eval_every", self.eval_every.is_some())]
        {
            if self.objective == Objective::Pairs && given {
                let message = format!(
                    "`{option}` has no meaning with `objective=pairs`, whose head comes last"
                );
                return Err(
                    Error::new(ErrorKind::Config, message).with_hint("leave one of them out")
                );
            }
        }
        match self.dropout {
            Dropout::Fixed(p) if !(0.0..1.0).contains(&p) => {
                return fail("`dropout`", p.to_string(), "a number in [0, 1)");
            }
            Dropout::OfBase(share) if !(0.0..=1.0).contains(&share) => {
                return fail("the share of the base's dropout", share.to_string(), "0 to 1");
            }
            _ => {}
        }
        if let Some(share) = self.early_stop.filter(|s| !(0.01..=0.5).contains(s)) {
            return fail("`early_stop`", share.to_string(), "a share from 0.01 to 0.5");
        }
        if let Some(fit) = self.calibrate.filter(|fit| !(0.01..=0.5).contains(&fit.share)) {
            return fail("`calibrate`", fit.share.to_string(), "a share from 0.01 to 0.5");
        }
        if self.eval_every == Some(0) {
            return fail("`eval_every`", "0".into(), "at least 1 step");
        }
        if let Method::Mask { init_scale, init_sparsity, candidates, target, .. } = &self.method {
            if let Some(Target { sparsity, .. }) = target
                && !(*sparsity > 0.0 && *sparsity < 1.0)
            {
                return fail("`sparsity`", sparsity.to_string(), "a share between 0 and 1");
            }
            if let Some(scale) = init_scale
                && !(*scale > 0.0 && *scale <= 30.0)
            {
                return fail("`init_scale`", scale.to_string(), "a number in (0, 30]");
            }
            if !(0.0..1.0).contains(init_sparsity) {
                return fail("`init_sparsity`", init_sparsity.to_string(), "a share in [0, 1)");
            }
            if !(*candidates > 0.0 && *candidates <= 1.0) {
                return fail("`candidates`", candidates.to_string(), "a share in (0, 1]");
            }
            let sparsity = target.map_or(0.0, |target| target.sparsity);
            if sparsity > *candidates {
                return fail("`sparsity`", sparsity.to_string(), "no more than `candidates`");
            }
            if *init_sparsity > 0.0 && *candidates < 1.0 {
                let message = format!(
                    "{init_sparsity} of each matrix are to start as zeros, the smallest entries, \
                     which are no `candidates` ({candidates})"
                );
                return Err(Error::new(ErrorKind::Config, message)
                    .with_hint("leave `candidates` out, or set it to 1"));
            }
        }
        Ok(())
    }
}

/// Fewest steps that pairs are learned for, and fewest passes over the rows; see `bench/LOG.md`.
const PAIR_STEPS: usize = 100;
const PAIR_EPOCHS: usize = 16;
/// Rows of which all pairs are compared in a step.
const PAIR_ROWS: usize = 64;

/// Enough passes for about 1,500 steps of 32 rows: 3 to 10.
fn default_epochs(rows: usize) -> usize {
    (48_000 / rows.max(1)).clamp(3, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropout_is_what_is_said_or_a_share_of_the_bases() {
        let default = TrainOptions::new(Method::Full, 1000).dropout;
        assert_eq!((default.at(0.1), Dropout::Fixed(0.3).at(0.1)), (0.0, 0.3));
        // Runs from before dropout was recorded had all of the base's.
        assert_eq!((Dropout::default().at(0.1), Dropout::OfBase(0.5).at(0.2)), (0.1, 0.1));
    }
}
