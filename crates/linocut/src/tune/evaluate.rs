//! Scores of logits against a data set.

use super::compare::Interval;
use super::metrics::{ClassScore, Confusion, Metrics, Score, multi_label_report};
use crate::cut::{Decision, answered};
use crate::data::{Dataset, Metric, Targets};
use crate::model::argmax;
use crate::{Error, ErrorKind, Result};
use serde_json::{Map, Value, json};
use std::borrow::Cow;

/// Everything that is said about predictions on a data set.
#[derive(Debug, Clone, serde::Serialize)]
#[non_exhaustive]
pub struct Evaluation {
    /// Scores.
    #[serde(flatten)]
    pub metrics: Metrics,
    /// Precision, recall, F1 and support of every label; empty for regression.
    pub classes: Vec<ClassScore>,
    /// Counts of (true, predicted) classes of a single-label task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confusion: Option<Confusion>,
    /// What is answered by a single-label task that abstains where it is not sure enough.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answered>,
    /// How sure the primary score is, where that was asked for: [`Interval::of`].
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// The rows that a task answers.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Answered {
    /// How many.
    pub rows: usize,
    /// Which share of all that is, 0 to 1; of no rows 0.
    pub share: f64,
    /// Which share of them is right, where there are any.
    pub accuracy: Option<f64>,
}

impl Answered {
    /// Of rows that are answered or not, and would be right or not.
    pub(super) fn of(rows: impl IntoIterator<Item = (bool, bool)>) -> Self {
        let (mut all, mut answered, mut right) = (0, 0, 0);
        for (is_answered, is_right) in rows {
            all += 1;
            answered += usize::from(is_answered);
            right += usize::from(is_answered && is_right);
        }
        let share = |part: usize, of: usize| (of > 0).then(|| part as f64 / of as f64);
        Self {
            rows: answered,
            share: share(answered, all).unwrap_or(0.0),
            accuracy: share(right, answered),
        }
    }
}

impl Evaluation {
    /// For programs: `rows`, `primary`, `metrics`, `classes` with the labels' names, `confusion`, of a task that
    /// abstains `answered`, and `interval` where it was asked for.
    pub fn to_json(&self, labels: &[String]) -> Map<String, Value> {
        let classes: Vec<Value> = labels
            .iter()
            .zip(&self.classes)
            .map(|(label, class)| {
                json!({
                    "label": label,
                    "precision": class.precision,
                    "recall": class.recall,
                    "f1": class.f1,
                    "support": class.support,
                })
            })
            .collect();
        let fields = [
            ("rows", json!(self.metrics.rows)),
            ("primary", json!(self.metrics.primary)),
            ("metrics", json!(self.metrics.values)),
            ("classes", classes.into()),
            ("confusion", json!(self.confusion.as_ref().map(|confusion| &confusion.counts))),
        ];
        let mut fields: Map<String, Value> =
            fields.map(|(name, value)| (name.to_string(), value)).into_iter().collect();
        if let Some(answered) = &self.answered {
            fields.insert("answered".into(), json!(answered));
        }
        if let Some(interval) = &self.interval {
            fields.insert("interval".into(), json!(interval));
        }
        fields
    }
}

/// Scores `logits`, `[rows, outputs]`, by `metric` or, without one, the problem's default. A
/// multi-label row has every label that is [`answered`], a single-label row the most probable one, answered or
/// not. Labels of `data` beyond the outputs are never predicted.
///
/// # Errors
/// A metric that does not apply to the problem, or a logit that is not a finite number, of which
/// there is no prediction to score.
pub fn evaluate(
    data: &Dataset,
    logits: &[f32],
    decision: Option<&Decision>,
    metric: Option<&Metric>,
) -> Result<Evaluation> {
    let metric = metric.cloned().unwrap_or_else(|| Metric::default_for(data.problem));
    let labels = data.labels.len();
    let predictions = Predictions::new(data, logits, decision)?;
    let metrics = predictions.metrics(None, &data.labels, &metric)?;
    let (mut classes, mut confusion, mut given) = (Vec::new(), None, None);
    match &predictions {
        Predictions::Classes { truth, predicted } => {
            let counts = Confusion::new(truth, predicted, labels);
            classes = counts.report();
            confusion = Some(counts);
            if decision.is_some_and(|decision| !decision.thresholds.is_empty()) {
                let outputs = logits.len().checked_div(data.rows()).unwrap_or(labels).max(1);
                let answered = answered(decision, data.problem, logits, outputs);
                let rows = answered.chunks_exact(outputs).map(|row| row.contains(&true));
                given = Some(Answered::of(rows.zip(predictions.right())));
            }
        }
        Predictions::Sets { truth, predicted, labels } => {
            classes = multi_label_report(truth, predicted, *labels);
        }
        Predictions::Values { .. } => {}
    }
    Ok(Evaluation { metrics, classes, confusion, answered: given, interval: None })
}

/// The primary score on `dev` of answering every row with the label that most rows of `train` have, the first of equals;
/// `None` unless every row has one label. A score worth having is above it.
///
/// # Errors
/// As [`evaluate`].
pub fn majority_score(
    train: &Dataset,
    dev: &Dataset,
    metric: Option<&Metric>,
) -> Result<Option<Score>> {
    let (Targets::Classes(_), Targets::Classes(classes)) = (&train.targets, &dev.targets) else {
        return Ok(None);
    };
    let Some(most) = train.most_frequent() else { return Ok(None) };
    let truth: Vec<usize> = classes.iter().map(|&class| class as usize).collect();
    let metric = metric.cloned().unwrap_or_else(|| Metric::default_for(dev.problem));
    let always = vec![most; truth.len()];
    Ok(Some(Metrics::single_label(&truth, &always, &dev.labels, &metric)?.primary))
}

/// What is true of every row, and what is predicted.
pub(super) enum Predictions {
    /// One class a row.
    Classes { truth: Vec<usize>, predicted: Vec<usize> },
    /// Any number of labels a row, both `[rows, labels]`.
    Sets { truth: Vec<bool>, predicted: Vec<bool>, labels: usize },
    /// A number a row.
    Values { truth: Vec<f32>, predicted: Vec<f32> },
}

impl Predictions {
    /// Those of `logits`, as [`evaluate`] takes them.
    pub(super) fn new(data: &Dataset, logits: &[f32], decision: Option<&Decision>) -> Result<Self> {
        let labels = data.labels.len();
        let outputs = logits.len().checked_div(data.rows()).unwrap_or(labels).max(1);
        if let Some(at) = logits.iter().position(|z| !z.is_finite()) {
            let message = format!(
                "{}, row {}: the model gives the logit {}, expected a finite number",
                data.name,
                at / outputs + 1,
                logits[at]
            );
            return Err(Error::new(ErrorKind::Diverged, message)
                .with_hint("training diverged, or the weights are out of range on this text"));
        }
        Ok(match &data.targets {
            Targets::Classes(classes) => Self::Classes {
                truth: classes.iter().map(|&c| c as usize).collect(),
                predicted: logits.chunks_exact(outputs).map(argmax).collect(),
            },
            Targets::MultiHot(rows) => {
                let truth = multi_hot(rows, labels).iter().map(|&t| t > 0.0).collect::<Vec<_>>();
                let answered = answered(decision, data.problem, logits, outputs);
                let mut predicted = vec![false; truth.len()];
                let rows = predicted.chunks_exact_mut(labels).zip(answered.chunks_exact(outputs));
                for (predicted, answered) in rows {
                    predicted.iter_mut().zip(answered).for_each(|(p, &a)| *p = a);
                }
                Self::Sets { truth, predicted, labels }
            }
            Targets::Values(values) => {
                Self::Values { truth: values.clone(), predicted: logits.to_vec() }
            }
        })
    }

    /// Their scores, of all rows or of those drawn, some maybe more than once.
    pub(super) fn metrics(
        &self,
        drawn: Option<&[usize]>,
        labels: &[String],
        metric: &Metric,
    ) -> Result<Metrics> {
        match self {
            Self::Classes { truth, predicted } => {
                let (truth, predicted) = (taken(truth, drawn, 1), taken(predicted, drawn, 1));
                Metrics::single_label(&truth, &predicted, labels, metric)
            }
            Self::Sets { truth, predicted, labels } => {
                let [truth, predicted] = [truth, predicted].map(|all| taken(all, drawn, *labels));
                Metrics::multi_label(&truth, &predicted, *labels, metric)
            }
            Self::Values { truth, predicted } => {
                let [truth, predicted] = [truth, predicted].map(|all| taken(all, drawn, 1));
                Metrics::regression(&truth, &predicted, metric)
            }
        }
    }

    /// Whether each row is right, of several labels all of them; nobody says of a number.
    pub(super) fn right(&self) -> Vec<bool> {
        match self {
            Self::Classes { truth, predicted } => {
                truth.iter().zip(predicted).map(|(t, p)| t == p).collect()
            }
            Self::Sets { truth, predicted, labels } => {
                let rows = truth.chunks_exact(*labels).zip(predicted.chunks_exact(*labels));
                rows.map(|(t, p)| t == p).collect()
            }
            Self::Values { .. } => vec![],
        }
    }
}

/// The rows drawn of `all`, `[rows, width]`.
fn taken<'a, T: Clone>(all: &'a [T], drawn: Option<&[usize]>, width: usize) -> Cow<'a, [T]> {
    let Some(drawn) = drawn else { return all.into() };
    drawn.iter().flat_map(|&row| all[row * width..][..width].iter().cloned()).collect()
}

/// Checks that `metric`, or the problem's default, can tell one model from another on `held_out`.
///
/// # Errors
/// Rows on which the score is the same, or undefined, whatever is predicted.
pub(super) fn can_select(held_out: &Dataset, metric: Option<&Metric>) -> Result<()> {
    let metric = metric.cloned().unwrap_or_else(|| Metric::default_for(held_out.problem));
    let why = match (&held_out.targets, &metric) {
        (Targets::Values(values), _) => {
            let equal = values.iter().all(|v| *v == values[0]);
            equal.then(|| "their labels are all the same number".to_string())
        }
        (Targets::MultiHot(rows), Metric::MacroF1 | Metric::MicroF1) => {
            rows.iter().all(Vec::is_empty).then(|| "none of them has a label".into())
        }
        (Targets::Classes(rows), Metric::Matthews) => {
            rows.iter().all(|r| *r == rows[0]).then(|| "they all have the same label".into())
        }
        (Targets::Classes(rows), Metric::BinaryF1 { positive }) => {
            let found = rows.iter().any(|&r| held_out.labels[r as usize] == *positive);
            (!found).then(|| format!("none of them has the label {positive:?}"))
        }
        _ => None,
    };
    let Some(why) = why else { return Ok(()) };
    let (rows, key) = (held_out.rows(), metric.key());
    let message =
        format!("`early_stop` holds out {rows} training rows, of which {key} cannot select: {why}");
    Err(Error::new(ErrorKind::Data, message)
        .with_hint("hold out a larger share, as `early_stop=0.2`, or leave it out"))
}

/// Rows of label positions as 0 and 1, `[rows, labels]`.
pub(super) fn multi_hot(rows: &[Vec<u32>], labels: usize) -> Vec<f32> {
    let mut hot = vec![0.0; rows.len() * labels];
    for (row, chosen) in hot.chunks_exact_mut(labels).zip(rows) {
        for &label in chosen {
            row[label as usize] = 1.0;
        }
    }
    hot
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Problem;

    fn data(labels: &[&str], classes: Vec<u32>) -> Dataset {
        Dataset {
            name: "t".into(),
            problem: Problem::SingleLabel,
            labels: labels.iter().map(ToString::to_string).collect(),
            texts: vec![String::new(); classes.len()],
            pairs: None,
            targets: Targets::Classes(classes),
            weights: None,
            taught: None,
        }
    }

    #[test]
    fn the_majority_is_that_of_the_training_rows() {
        let train = data(&["a", "b", "c"], vec![0, 1, 1, 2, 2]);
        assert_eq!(train.label_counts(), [1, 2, 2]);
        // Dev rows are mostly of others, one of a label that training does not know.
        let dev = data(&["a", "b", "c", "(not in training)"], vec![2, 2, 2, 1, 3]);
        let score = majority_score(&train, &dev, None).unwrap().unwrap();
        assert_eq!((score.name.as_str(), score.value), ("accuracy", Some(0.2)));
        let f1 = majority_score(&train, &dev, Some(&Metric::MacroF1)).unwrap().unwrap();
        // Of b one row of five is right, its recall 1: F1 2 · 0.2 / 1.2; of c and the unknown one 0; a does not occur.
        assert!((f1.value.unwrap() - 2.0 * 0.2 / 1.2 / 3.0).abs() < 1e-12, "{f1:?}");
        let numbers = Dataset { targets: Targets::Values(vec![1.0; 5]), ..train };
        assert_eq!(majority_score(&numbers, &dev, None).unwrap(), None);
    }
}
