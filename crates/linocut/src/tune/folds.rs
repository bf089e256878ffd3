//! Cross-validation: what a task scores on rows that it was not trained on, of all rows.

use super::TrainOptions;
use super::calibrate::{Goal, calibrate, can_calibrate};
use super::evaluate::{Evaluation, evaluate};
use super::run::{Event, Outcome, Storage, train};
use crate::cut::{Card, Decision};
use crate::data::{Dataset, Metric, split_folds};
use crate::model::Base;
use crate::{Error, ErrorKind, Result};
use serde::Serialize;
use serde_json::json;

/// What cross-validation says of a task.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Folds {
    /// The primary score of each fold, by a cut that was trained on the others; `None` where it is not defined.
    pub scores: Vec<Option<f64>>,
    /// The mean of those that are defined, if any is.
    pub mean: Option<f64>,
    /// Their standard deviation, of n − 1; of two or more.
    pub deviation: Option<f64>,
    /// Scores of all rows together, each predicted by the cut that was not trained on it.
    #[serde(skip)]
    pub evaluation: Evaluation,
    /// These predictions, `[rows, outputs]`.
    #[serde(skip)]
    pub logits: Vec<f32>,
    /// Which fold each row is in, from 0.
    #[serde(skip)]
    pub of: Vec<usize>,
}

impl Folds {
    /// Trains a cut on all but each of so many parts of the rows, as [`train`] does, and scores it on that part. Parts
    /// are those of [`split_folds`] by the options' seed. The storage's state is left alone.
    ///
    /// # Errors
    /// As [`train`] and [`split_folds`].
    pub fn run(
        base: &Base,
        data: &Dataset,
        metric: Option<&Metric>,
        options: &TrainOptions,
        folds: usize,
        storage: &Storage,
        observe: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Self> {
        let parts = split_folds(data, folds, options.seed)?;
        Self::of_parts(base, data, metric, options, &parts, storage, observe)
    }

    /// The same for these parts, which every row is in one of.
    fn of_parts(
        base: &Base,
        data: &Dataset,
        metric: Option<&Metric>,
        options: &TrainOptions,
        parts: &[Vec<usize>],
        storage: &Storage,
        observe: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Self> {
        let folds = parts.len();
        let storage = Storage { state: None, resume: false, ..storage.clone() };
        let mut of = vec![0; data.rows()];
        for (fold, part) in parts.iter().enumerate() {
            part.iter().for_each(|&row| of[row] = fold);
        }
        let outputs = data.labels.len().max(1);
        let mut logits = vec![0.0; data.rows() * outputs];
        let mut scores = vec![];
        for (fold, part) in parts.iter().enumerate() {
            if !observe(Event::Fold { fold, folds }) {
                let message = format!("interrupted before fold {} of {folds}", fold + 1);
                return Err(Error::new(ErrorKind::Interrupted, message));
            }
            let others: Vec<usize> = (0..data.rows()).filter(|&row| of[row] != fold).collect();
            let (rest, held) = (data.select(&others), data.select(part));
            let outcome = train(base, rest, Some(&held), metric, options, &storage, observe)?;
            let found = outcome.evaluation.and_then(|evaluation| evaluation.metrics.primary.value);
            scores.push(found);
            for (&row, found) in part.iter().zip(outcome.logits.chunks_exact(outputs)) {
                logits[row * outputs..][..outputs].copy_from_slice(found);
            }
        }
        let defined: Vec<f64> = scores.iter().flatten().copied().collect();
        let n = defined.len() as f64;
        let mean = (n > 0.0).then(|| defined.iter().sum::<f64>() / n);
        let deviation = mean.filter(|_| n > 1.0).map(|mean| {
            let squares = defined.iter().map(|score| (score - mean).powi(2)).sum::<f64>();
            (squares / (n - 1.0)).sqrt()
        });
        let evaluation = evaluate(data, &logits, None, metric)?;
        Ok(Self { scores, mean, deviation, evaluation, logits, of })
    }

    /// The decision that fits these predictions, where rows are enough for one.
    fn decision(
        &self,
        data: &Dataset,
        goal: Option<Goal>,
        metric: &Metric,
    ) -> Result<Option<Decision>> {
        if goal.is_none() && can_calibrate(data, None).is_err() {
            return Ok(None);
        }
        Ok(Some(calibrate(data, &self.logits, goal, metric)?.decision))
    }
}

/// Refuses options that hold rows out for what folds fit.
pub(super) fn check_folded(options: &TrainOptions) -> Result<()> {
    if options.calibrate.is_none() {
        return Ok(());
    }
    let message = "`calibrate` and `folds` cannot be given together";
    Err(Error::new(ErrorKind::Config, message)
        .with_hint("folds fit on rows that were not trained on without holding any out"))
}

/// Trains a cut on all rows of `data`, as [`train`] does, and cross-validates it. Where rows are enough, temperature and
/// thresholds are fitted on the predictions of rows that were not trained on. Without `dev` the cut's scores are those of
/// these predictions, too.
///
/// # Errors
/// As [`train`], [`split_folds`] and [`calibrate`]; rows that are too few for `goal`, before anything is trained. Of a
/// goal that is not reached [`Outcome::undecided`] says so.
#[expect(clippy::too_many_arguments, reason = "as train, and two of its own")]
pub fn train_in_folds(
    base: &Base,
    data: &Dataset,
    dev: Option<&Dataset>,
    metric: Option<&Metric>,
    options: &TrainOptions,
    (folds, goal): (usize, Option<Goal>),
    storage: &Storage,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<(Outcome, Folds)> {
    check_folded(options)?;
    let parts = split_folds(data, folds, options.seed)?;
    if goal.is_some() {
        can_calibrate(data, goal)?;
    }
    // What frozen layers give is the same in all folds.
    let storage = Storage { shared: storage.shared.of_parts(), ..storage.clone() };
    let mut outcome = train(base, data.clone(), dev, metric, options, &storage, observe)?;
    let found = Folds::of_parts(base, data, metric, options, &parts, &storage, observe);
    let mut found = found.map_err(|error| match &storage.state {
        Some(state) if error.kind() == ErrorKind::Interrupted && state.exists() => {
            let hint = "the cut's own training is kept: `resume` goes on with the folds";
            Error::new(error.kind(), error.message()).with_hint(hint)
        }
        _ => error,
    })?;
    let judged = metric.cloned().unwrap_or_else(|| Metric::default_for(data.problem));
    let decision = found.decision(data, goal, &judged).or_else(|error| {
        outcome.undecided = Some(error);
        found.decision(data, None, &judged)
    })?;
    if decision.is_some() {
        found.evaluation = evaluate(data, &found.logits, decision.as_ref(), metric)?;
    }
    if let (Some(dev), Some(_)) = (dev, &decision) {
        outcome.evaluation = Some(evaluate(dev, &outcome.logits, decision.as_ref(), metric)?);
    }
    let scored = outcome.evaluation.as_ref().unwrap_or(&found.evaluation);
    let mut card: Card = outcome.cut.card().clone();
    card.metrics = scored.metrics.defined();
    card.training["folds"] = json!(found);
    card.decision = decision;
    outcome.cut = outcome.cut.with_card(card)?;
    Ok((outcome, found))
}
