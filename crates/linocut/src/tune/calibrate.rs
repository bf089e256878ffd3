//! Decisions from labelled rows that nothing was trained on: a temperature, and thresholds.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::Fit;
use super::curves::{Scored, calibration_error};
use crate::cut::{Decision, TEMPERATURES};
use crate::data::{Dataset, Metric, Problem};
use crate::{Error, ErrorKind, Result};

/// What thresholds are fitted for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Goal {
    /// The best F1 of each label.
    F1,
    /// The best F1 of all labels together.
    MicroF1,
    /// As many answers as possible of which, of all labels together, this share is right.
    Precision(f64),
    /// As few answers as possible among which this share of each label's rows is.
    Recall(f64),
}

/// A decision, and what it does on the rows that it was fitted on.
#[derive(Debug, Clone)]
pub struct Calibration {
    /// The decision.
    pub decision: Decision,
    /// Expected calibration error without and with its temperature, 0 to 1.
    pub errors: [f64; 2],
}

impl Goal {
    /// A share of answers that are right, or of each label's rows that are found; one of them.
    ///
    /// # Errors
    /// Both.
    pub fn of(precision: Option<f64>, recall: Option<f64>) -> Result<Option<Self>> {
        match (precision, recall) {
            (Some(_), Some(_)) => {
                let message = "`target_precision` and `target_recall` cannot be given together";
                Err(Error::new(ErrorKind::Config, message).with_hint("leave one out"))
            }
            (Some(share), None) => Ok(Some(Self::Precision(share))),
            (None, Some(share)) => Ok(Some(Self::Recall(share))),
            (None, None) => Ok(None),
        }
    }
}

/// Fewest rows with a label that it gets a threshold of its own for its recall; rarer ones share one.
const OWN: usize = 5;
/// Rows with a label from which on its best F1 counts more than that of all labels: few rows have their best
/// where others do not. 49 labels of 800 rows, scored on 1,000 others: micro and macro F1 at ½ 61.2 and 29.9, by
/// each label's own best 58.3 and 32.1, by these 60.6 and 33.4, by one for all 61.8 and 32.2.
const FEW: f64 = 20.0;
/// Shares that may be asked for.
const SHARES: std::ops::RangeInclusive<f64> = 0.01..=0.999;

/// The decision of a task whose `logits`, `[rows, outputs]`, these are on the rows of `data`.
///
/// The temperature has the least mean negative log-likelihood (Guo et al. 2017) of labels that are believed as far
/// as so many rows allow (Platt 1999); it changes no answer by itself. Of a multi-label task thresholds are
/// fitted, where no goal is given for the F1 that `metric` is. For macro F1 each label's lies between its own best
/// and that of all labels, the nearer to its own the more rows have it. Of a single-label task a precision is the
/// share of answers that are right: where the most probable label has less than the threshold, none is answered.
///
/// ```
/// # use linocut::data::{Dataset, Metric, Problem, Targets};
/// # use linocut::tune::{Goal, calibrate};
/// // 200 rows of a task that is sure of all and right in three of four.
/// let data = Dataset {
///     name: "sure".into(),
///     problem: Problem::SingleLabel,
///     labels: vec!["no".into(), "yes".into()],
///     texts: vec!["text".into(); 200],
///     pairs: None,
///     targets: Targets::Classes((0..200).map(|i| u32::from(i % 4 > 0)).collect()),
///     weights: None,
///     taught: None,
/// };
/// let found = calibrate(&data, &[-3.0, 3.0].repeat(200), None, &Metric::Accuracy)?;
/// // 1 / (1 + exp(-6 / T)) is about ¾.
/// assert!((found.decision.temperature - 6.0 / 3f64.ln()).abs() < 0.1);
/// # Ok::<(), linocut::Error>(())
/// ```
///
/// # Errors
/// A regression, fewer than 30 rows or than the goal needs, a goal that has no meaning for the task, is out of
/// range or cannot be reached on these rows.
pub fn calibrate(
    data: &Dataset,
    logits: &[f32],
    goal: Option<Goal>,
    metric: &Metric,
) -> Result<Calibration> {
    let rows = data.rows();
    let outputs = logits.len().checked_div(rows).unwrap_or(0);
    can_calibrate(data, goal)?;
    let plain = Scored::new(data, logits, None)?;
    let truths = &plain.truths;
    let (least, most) = TEMPERATURES.into_inner();
    let targets = targets(data.problem, truths, outputs);
    let slope = |sharpness: f64| slope(data.problem, logits, &targets, outputs, sharpness);
    let temperature = 1.0 / root(slope, 1.0 / most, 1.0 / least);
    let mut decision = Decision { temperature, thresholds: vec![], fitted: json!(null) };
    let cooled = Scored::new(data, logits, Some(&decision))?;
    let errors = [&plain, &cooled].map(|scored| calibration_error(&scored.reliability()));
    let scores = &cooled.scores;
    let judged = if *metric == Metric::MicroF1 { Goal::MicroF1 } else { Goal::F1 };
    decision.thresholds = match (data.problem, goal) {
        (Problem::SingleLabel, None) => vec![],
        (Problem::SingleLabel, Some(goal)) => {
            let answers =
                Answers::new(plain.best.iter().map(|&at| (scores[at], truths[at])).collect());
            vec![answers.threshold(goal).map_err(|best| unreached(goal, best))?]
        }
        (_, goal) => per_label(scores, truths, outputs, goal.unwrap_or(judged))?,
    };
    let goal = match data.problem {
        Problem::SingleLabel => goal,
        _ => Some(goal.unwrap_or(judged)),
    };
    decision.fitted = json!({ "rows": rows, "for": in_words(goal) });
    Ok(Calibration { decision, errors })
}

/// What is fitted, for the card.
fn in_words(goal: Option<Goal>) -> String {
    match goal {
        None => "temperature".into(),
        Some(Goal::F1) => "f1".into(),
        Some(Goal::MicroF1) => "f1 micro".into(),
        Some(Goal::Precision(share)) => format!("precision {share}"),
        Some(Goal::Recall(share)) => format!("recall {share}"),
    }
}

/// Refuses what [`calibrate`] could not fit on such rows, before their logits are computed.
///
/// # Errors
/// As [`calibrate`], but for a goal that turns out not to be reached.
pub fn can_calibrate(data: &Dataset, goal: Option<Goal>) -> Result<()> {
    let fail = |message: String, hint: &str| {
        Err(Error::new(ErrorKind::Data, message).with_hint(hint.to_string()))
    };
    let out_of_range = |name: &str, share: f64| {
        let message = format!("`{name}` is {share}, expected a share from 0.01 to 0.999");
        Err(Error::new(ErrorKind::Config, message))
    };
    if data.problem == Problem::Regression {
        let message = format!("{}: a regression's numbers are no probabilities", data.name);
        return Err(Error::new(ErrorKind::Config, message).with_hint("there is nothing to fit"));
    }
    let needed = match goal {
        Some(Goal::Precision(share)) if !SHARES.contains(&share) => {
            return out_of_range("target_precision", share);
        }
        Some(Goal::Recall(share)) if !SHARES.contains(&share) => {
            return out_of_range("target_recall", share);
        }
        Some(Goal::F1 | Goal::MicroF1 | Goal::Recall(_))
            if data.problem == Problem::SingleLabel =>
        {
            let hint = "give a precision: the share of answers that are to be right";
            return fail("one label a row: there is no threshold for F1 or recall".into(), hint);
        }
        Some(Goal::Precision(share)) => Fit::ROWS.max(2 * answers_for(share)),
        _ => Fit::ROWS,
    };
    match data.rows() {
        rows if rows < needed => fail(
            format!("{}: {rows} rows to fit it on, expected at least {needed}", data.name),
            match needed {
                Fit::ROWS => {
                    "fewer say too little of how sure a task may be; in training `folds=5` uses all rows, \
                     and `calibrate=0.3` holds out more"
                }
                _ => {
                    "fewer do not show whether a task is right so often; in training `folds=5` uses all rows, \
                     and `calibrate=0.3` holds out more"
                }
            },
        ),
        _ => Ok(()),
    }
}

/// Fewest answers that show that so many are right: fewer could be wrong and not one of them be seen.
fn answers_for(precision: f64) -> usize {
    (1.0 / (1.0 - precision)).ceil() as usize
}

fn unreached(goal: Goal, best: f64) -> Error {
    let message = format!("{} is not reached, at best {best:.3}", in_words(Some(goal)));
    Error::new(ErrorKind::Data, message).with_hint("ask for less, or train on more rows")
}

/// Thresholds of all labels.
fn per_label(scores: &[f32], truths: &[bool], outputs: usize, goal: Goal) -> Result<Vec<f64>> {
    let scored: Vec<(f32, bool)> = scores.iter().copied().zip(truths.iter().copied()).collect();
    let own =
        |label: usize| Answers::new(scored.iter().copied().skip(label).step_by(outputs).collect());
    let reached = |answers: Answers| answers.threshold(goal).map_err(|best| unreached(goal, best));
    let all = reached(Answers::new(scored.clone()))?;
    let threshold = |label: usize| match goal {
        Goal::MicroF1 | Goal::Precision(_) => Ok(all),
        Goal::Recall(_) => {
            let own = own(label);
            if own.positives < OWN { Ok(all) } else { reached(own) }
        }
        Goal::F1 => {
            let own = own(label);
            let share = own.positives as f64 / (own.positives as f64 + FEW);
            reached(own).map(|best| between(all, best, share))
        }
    };
    (0..outputs).map(threshold).collect()
}

/// The probability whose logit lies between those of two, at `share` of the way.
fn between(from: f64, to: f64, share: f64) -> f64 {
    let logit = |p: f64| {
        let p = p.clamp(1e-6, 1.0 - 1e-6);
        (p / (1.0 - p)).ln()
    };
    1.0 / (1.0 + (-(1.0 - share) * logit(from) - share * logit(to)).exp())
}

/// What can be answered from some probability on.
struct Answers {
    /// Probabilities that descend and what is right.
    scored: Vec<(f32, bool)>,
    positives: usize,
}

impl Answers {
    fn new(mut scored: Vec<(f32, bool)>) -> Self {
        scored.sort_by(|a, b| b.0.total_cmp(&a.0));
        let positives = scored.iter().filter(|(_, right)| *right).count();
        Self { scored, positives }
    }

    /// The threshold that serves `goal` best, halfway between what is answered and what is not; or the best
    /// that is reached of it.
    fn threshold(&self, goal: Goal) -> std::result::Result<f64, f64> {
        let (mut right, mut best) = (0, None::<(f64, f64)>);
        let mut reached = 0.0f64;
        for (i, (score, is_right)) in self.scored.iter().enumerate() {
            right += usize::from(*is_right);
            let next = self.scored.get(i + 1).map_or(0.0, |next| f64::from(next.0));
            if f64::from(*score) == next {
                continue; // both are answered, or none
            }
            let (answered, right) = ((i + 1) as f64, right as f64);
            let positives = self.positives.max(1) as f64;
            // Of equals the later, which answers more, but of recall.
            let value = match goal {
                Goal::F1 | Goal::MicroF1 => 2.0 * right / (answered + positives),
                Goal::Precision(share) => {
                    let precision = right / answered;
                    if i + 1 < answers_for(share) {
                        continue;
                    }
                    reached = reached.max(precision);
                    if precision >= share { answered } else { continue }
                }
                Goal::Recall(share) => {
                    reached = reached.max(right / positives);
                    if right / positives >= share { -answered } else { continue }
                }
            };
            if best.is_none_or(|(best, _)| value >= best) {
                best = Some((value, 0.5 * (f64::from(*score) + next)));
            }
        }
        best.map(|(_, threshold)| threshold).ok_or(reached)
    }
}

/// The probabilities that are aimed at, `[rows, outputs]`: of n rows that are right (n + 1) / (n + 2), as in Platt
/// 1999, so that rows which are all right do not make a task sure beyond what so many can say. A row without a
/// right label aims at nothing.
fn targets(problem: Problem, truths: &[bool], outputs: usize) -> Vec<f64> {
    let yes = truths.iter().filter(|truth| **truth).count() as f64;
    let no = truths.len() as f64 - yes;
    let right = 1.0 - 1.0 / (yes + 2.0);
    match problem {
        Problem::SingleLabel => {
            let rows = truths.chunks_exact(outputs).flat_map(|row| {
                // What is left is for the others together.
                let (right, wrong) = match (row.contains(&true), outputs) {
                    (false, _) => (f64::NAN, f64::NAN),
                    (true, 1) => (1.0, 0.0),
                    (true, _) => (right, (1.0 - right) / (outputs - 1) as f64),
                };
                row.iter().map(move |truth| if *truth { right } else { wrong })
            });
            rows.collect()
        }
        _ => truths.iter().map(|truth| if *truth { right } else { 1.0 / (no + 2.0) }).collect(),
    }
}

/// The derivative of the mean negative log-likelihood by the sharpness, 1 / temperature; it ascends.
fn slope(problem: Problem, logits: &[f32], targets: &[f64], outputs: usize, sharpness: f64) -> f64 {
    let rows = logits.chunks_exact(outputs).zip(targets.chunks_exact(outputs));
    let each = rows.filter(|(_, targets)| !targets[0].is_nan()).map(|(logits, targets)| {
        let pairs = || logits.iter().map(|&z| f64::from(z)).zip(targets);
        match problem {
            Problem::SingleLabel => {
                let most = pairs().map(|(z, _)| z).fold(f64::NEG_INFINITY, f64::max);
                let weight = |z: f64| (sharpness * (z - most)).exp();
                let sum: f64 = pairs().map(|(z, _)| weight(z)).sum();
                pairs().map(|(z, target)| z * (weight(z) / sum - target)).sum::<f64>()
            }
            _ => {
                let sure = |z: f64| 1.0 / (1.0 + (-sharpness * z).exp());
                pairs().map(|(z, target)| z * (sure(z) - target)).sum()
            }
        }
    });
    each.sum()
}

/// Where an ascending function is 0, by halving on a scale of logarithms; the end that is nearer where it is
/// nowhere.
fn root(of: impl Fn(f64) -> f64, least: f64, most: f64) -> f64 {
    let (mut low, mut high) = (least.ln(), most.ln());
    for _ in 0..60 {
        let middle = 0.5 * (low + high);
        match of(middle.exp()) < 0.0 {
            true => low = middle,
            false => high = middle,
        }
    }
    (0.5 * (low + high)).exp().clamp(least, most)
}

#[cfg(test)]
mod tests;
