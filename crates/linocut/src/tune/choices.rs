//! What a person may say of a training run.

use super::{
    ClassWeights, Dropout, Fit, Goal, Method, Objective, Sampling, Scope, Selection, Target,
    TrainOptions,
};
use crate::cut::StoreType;
use crate::data::{Long, Problem};
use crate::model::ModelConfig;
use crate::{Error, ErrorKind, Result};
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};

/// What is said of a run; all else follows from the method, the number of rows and the base. The fields are
/// those of [`TrainOptions`], [`Method`] and [`Selection`].
///
/// ```
/// use linocut::tune::Choices;
///
/// let choices: Choices = serde_json::from_str(r#"{"method": "layers", "layers": "4-5"}"#)?;
/// assert_eq!(choices.method.name(), "layers");
/// # Ok::<(), serde_json::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Choices {
    /// As [`Method::plain`] gives it.
    #[serde(deserialize_with = "by_name")]
    pub method: Method,
    /// As [`Selection::parse_layers`] reads them.
    pub layers: Option<String>,
    /// Kinds or name patterns.
    pub only: Option<Vec<String>>,
    /// Of masks.
    pub sampling: Option<Sampling>,
    /// Of masks.
    pub init_sparsity: Option<f64>,
    /// Of masks.
    pub candidates: Option<f64>,
    /// Of masks.
    pub init_scale: Option<f64>,
    /// Of low-rank factors.
    pub rank: Option<usize>,
    /// Of masks: a share of zeros to have exactly.
    pub sparsity: Option<f64>,
    /// Where entries compete for `sparsity`.
    pub sparsity_scope: Option<Scope>,
    /// As [`TrainOptions::compute`].
    pub compute: Option<f64>,
    /// As [`TrainOptions::objective`]; where nothing is said, pairs of few rows with one label each, unless something
    /// is said of how labels are learned: passes, the head's rate, weights of classes, early stopping.
    pub objective: Option<Objective>,
    /// As [`TrainOptions::epochs`].
    pub epochs: Option<usize>,
    /// As [`TrainOptions::batch`].
    pub batch: Option<usize>,
    /// As [`TrainOptions::lr`].
    pub lr: Option<f64>,
    /// As [`TrainOptions::mask_lr`].
    pub mask_lr: Option<f64>,
    /// As [`TrainOptions::head_lr`].
    pub head_lr: Option<f64>,
    /// Everywhere the same probability.
    pub dropout: Option<f64>,
    /// As [`TrainOptions::warmup`].
    pub warmup: Option<f64>,
    /// As [`TrainOptions::seed`].
    pub seed: u64,
    /// As [`TrainOptions::max_length`].
    pub max_length: Option<usize>,
    /// As [`TrainOptions::long`].
    pub long: Option<Long>,
    /// As [`TrainOptions::early_stop`].
    pub early_stop: Option<f64>,
    /// Share of the training rows that [`TrainOptions::calibrate`] is fitted on; 0 fits nothing. Where nothing is said a
    /// tenth, with several labels a row and 300 rows or more, or with a target.
    pub calibrate: Option<f64>,
    /// As [`Goal::Precision`].
    pub target_precision: Option<f64>,
    /// As [`Goal::Recall`].
    pub target_recall: Option<f64>,
    /// Cross-validation in so many folds: [`train_in_folds`](super::train_in_folds).
    pub folds: Option<usize>,
    /// Seconds to [search](super::Search) for, before the run.
    pub search: Option<f64>,
    /// As [`TrainOptions::eval_every`].
    pub eval_every: Option<usize>,
    /// As [`TrainOptions::class_weights`].
    pub class_weights: ClassWeights,
    /// As [`TrainOptions::store`].
    pub store: StoreType,
}

impl Default for Choices {
    fn default() -> Self {
        Self {
            method: Method::mask(),
            layers: None,
            only: None,
            sampling: None,
            init_sparsity: None,
            candidates: None,
            init_scale: None,
            rank: None,
            sparsity: None,
            sparsity_scope: None,
            compute: None,
            objective: None,
            epochs: None,
            batch: None,
            lr: None,
            mask_lr: None,
            head_lr: None,
            dropout: None,
            warmup: None,
            seed: 0,
            max_length: None,
            long: None,
            early_stop: None,
            calibrate: None,
            target_precision: None,
            target_recall: None,
            folds: None,
            search: None,
            eval_every: None,
            class_weights: ClassWeights::None,
            store: StoreType::Bf16,
        }
    }
}

fn by_name<'de, D: Deserializer<'de>>(from: D) -> std::result::Result<Method, D::Error> {
    let name = String::deserialize(from)?;
    Method::plain(&name).ok_or_else(|| {
        D::Error::custom(format!("`method={name}`, expected one of {}", Method::NAMES.join(", ")))
    })
}

impl Choices {
    /// The method with all that is said of it.
    ///
    /// # Errors
    /// A choice that has no meaning for the method, two that contradict each other, or layers that the
    /// base has not.
    pub fn method(&self, base: &ModelConfig) -> Result<Method> {
        let parse = |text: &String| Selection::parse_layers(text, base.own_layers);
        let selection = Selection {
            layers: self.layers.as_ref().map(parse).transpose()?,
            only: self.only.clone(),
        };
        let masks = [
            ("sampling", self.sampling.is_some()),
            ("init_sparsity", self.init_sparsity.is_some()),
            ("candidates", self.candidates.is_some()),
            ("init_scale", self.init_scale.is_some()),
            ("sparsity", self.sparsity.is_some()),
            ("mask_lr", self.mask_lr.is_some()),
        ];
        let (name, is_mask) = (self.method.name(), matches!(self.method, Method::Mask { .. }));
        let unused = |fields: &str, hint: &str| {
            let message = format!("{fields} has no meaning for `method={name}`");
            Err(Error::new(ErrorKind::Config, message).with_hint(hint))
        };
        if let (Some((field, _)), false) = (masks.iter().find(|(_, given)| *given), is_mask) {
            return unused(&format!("`{field}`"), "it belongs to `method=mask`");
        }
        if selection != Selection::default()
            && matches!(self.method, Method::Bias | Method::Head | Method::Full)
        {
            return unused("`layers` or `only`", "it belongs to `method=mask`, layers and lora");
        }
        if self.lr.is_some() && (is_mask || self.method == Method::Head) {
            return unused("`lr`", "use `mask_lr` or `head_lr`");
        }
        if self.rank.is_some() && !matches!(self.method, Method::LowRank { .. }) {
            return unused("`rank`", "it belongs to `method=lora`");
        }
        let contradiction =
            |message: &str, hint: &str| Err(Error::new(ErrorKind::Config, message).with_hint(hint));
        if self.sparsity.is_some() && self.init_sparsity.is_some() {
            return contradiction(
                "`sparsity` and `init_sparsity` cannot be given together",
                "with `sparsity` what is above 1% starts below 0 by itself",
            );
        }
        if self.sparsity_scope.is_some() && self.sparsity.is_none() {
            return contradiction(
                "`sparsity_scope` has no meaning without `sparsity`",
                "give the share of zeros, too",
            );
        }
        let goal = Goal::of(self.target_precision, self.target_recall)?;
        if goal.is_some() && self.calibrate == Some(0.0) && self.folds.is_none() {
            return contradiction(
                "`calibrate` is 0, and there is a target that thresholds are fitted for",
                "leave one out",
            );
        }
        Ok(match self.method {
            Method::Layers(_) => Method::Layers(selection),
            Method::LowRank { rank, .. } => Method::low_rank(self.rank.unwrap_or(rank), selection),
            Method::Mask { .. } => self.mask(selection),
            Method::Bias | Method::Head | Method::Full => self.method.clone(),
        })
    }

    /// These for rows that a teacher answers, which are learned by their labels.
    ///
    /// # Errors
    /// Pairs, which a teacher has no answers to.
    pub fn taught(self) -> Result<Self> {
        match self.objective {
            Some(Objective::Pairs) => Err(Objective::no_teacher()),
            _ => Ok(Self { objective: Some(Objective::Labels), ..self }),
        }
    }

    /// These, and where they say nothing the numbers of `others`.
    #[must_use]
    pub fn or(self, others: &Self) -> Self {
        Self {
            epochs: self.epochs.or(others.epochs),
            batch: self.batch.or(others.batch),
            lr: self.lr.or(others.lr),
            mask_lr: self.mask_lr.or(others.mask_lr),
            head_lr: self.head_lr.or(others.head_lr),
            dropout: self.dropout.or(others.dropout),
            warmup: self.warmup.or(others.warmup),
            ..self
        }
    }

    /// The mask that is asked for.
    fn mask(&self, selection: Selection) -> Method {
        let default = match self.sparsity {
            Some(sparsity) => {
                let scope = self.sparsity_scope.unwrap_or(Scope::Matrix);
                Method::mask_to(Target { sparsity, scope }, selection.clone())
            }
            None => Method::mask(),
        };
        let Method::Mask { sampling, init_scale, init_sparsity, target, .. } = default else {
            unreachable!("masks are made")
        };
        let below = self.init_sparsity.unwrap_or(init_sparsity);
        Method::Mask {
            sampling: self.sampling.unwrap_or(sampling),
            init_scale: self.init_scale.or(init_scale),
            init_sparsity: below,
            candidates: self.candidates.unwrap_or(Method::candidates(below)),
            target,
            selection,
        }
    }

    /// What a run on so many rows learns from.
    fn objective(&self, problem: Problem, rows: usize) -> Objective {
        let of_labels = self.epochs.is_some()
            || self.head_lr.is_some()
            || self.early_stop.is_some()
            || self.eval_every.is_some()
            || self.class_weights != ClassWeights::None;
        let few = problem == Problem::SingleLabel && rows <= Objective::FEW;
        self.objective.unwrap_or(match few && !of_labels {
            true => Objective::Pairs,
            false => Objective::Labels,
        })
    }

    /// What temperature and thresholds are fitted on: with folds on what was not trained on, without holding rows out.
    fn fit(&self, problem: Problem, rows: usize) -> Option<Fit> {
        let goal = Goal::of(self.target_precision, self.target_recall).ok().flatten();
        let by_default = self.folds.is_none()
            && (goal.is_some()
                || problem == Problem::MultiLabel && rows as f64 * Fit::SHARE >= Fit::ROWS as f64);
        let share = self.calibrate.or(by_default.then_some(Fit::SHARE))?;
        (share != 0.0).then_some(Fit { share, goal })
    }

    /// Everything that decides what a run of `method` on `rows` rows of such a task computes.
    pub fn options(
        &self,
        method: Method,
        (problem, rows): (Problem, usize),
        base: &ModelConfig,
    ) -> TrainOptions {
        let default = TrainOptions::new(method, rows).by(self.objective(problem, rows), rows);
        TrainOptions {
            compute: self.compute,
            epochs: self.epochs.unwrap_or(default.epochs),
            batch: self.batch.unwrap_or(default.batch),
            lr: self.lr.unwrap_or(default.lr),
            mask_lr: self.mask_lr.unwrap_or(default.mask_lr),
            head_lr: self.head_lr.unwrap_or(default.head_lr),
            warmup: self.warmup.unwrap_or(default.warmup),
            dropout: self.dropout.map_or(default.dropout, Dropout::Fixed),
            max_length: self.max_length.unwrap_or(default.max_length.min(base.positions)),
            long: self.long,
            seed: self.seed,
            early_stop: self.early_stop,
            calibrate: self.fit(problem, rows),
            eval_every: self.eval_every,
            class_weights: self.class_weights.clone(),
            store: self.store,
            ..default
        }
    }
}
