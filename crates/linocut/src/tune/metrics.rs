//! Scores of predictions, as scikit-learn and SciPy define them.
//!
//! A class without any example or prediction has precision, recall and F1 of 0 (scikit-learn's
//! `zero_division=0`). A score that does not exist — no rows, the correlation with a constant, a
//! value that is not finite — is `None`, and `null` in JSON; nothing here returns NaN.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::data::Metric;
use crate::{Error, ErrorKind, Result};

/// A named score; `None` where it is undefined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Score {
    /// A key of [`Metrics::values`].
    pub name: String,
    /// The score; higher is better.
    pub value: Option<f64>,
}

/// All scores of one set of predictions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Rows judged.
    pub rows: usize,
    /// The score that the task is judged by.
    pub primary: Score,
    /// Every score, by name.
    pub values: BTreeMap<String, Option<f64>>,
}

/// A score as people read it: in per cent, if it is defined.
pub fn percent(score: Option<f64>) -> String {
    score.map_or("undefined".into(), |score| format!("{:.2}", 100.0 * score))
}

impl Metrics {
    /// The scores that are defined, by name.
    pub fn defined(&self) -> BTreeMap<String, f64> {
        let defined = |(name, value): (&String, &Option<f64>)| Some((name.clone(), (*value)?));
        self.values.iter().filter_map(defined).collect()
    }

    /// Scores of one predicted class a row; classes are indices into `labels`.
    ///
    /// # Errors
    /// If `metric` does not apply to such a task.
    ///
    /// # Panics
    /// If `truth` and `predicted` differ in length or hold an index past `labels`.
    pub fn single_label(
        truth: &[usize],
        predicted: &[usize],
        labels: &[String],
        metric: &Metric,
    ) -> Result<Self> {
        let counts = Confusion::new(truth, predicted, labels.len());
        let mut values = vec![
            ("accuracy", counts.accuracy()),
            ("f1_macro", counts.f1_macro()),
            ("f1_micro", counts.accuracy()),
            ("matthews", counts.matthews()),
        ];
        if let Some(positive) = metric.positive(labels)? {
            values.push(("f1_binary", counts.f1_binary(positive)));
        }
        Self::new(truth.len(), values, metric)
    }

    /// Scores of any number of labels a row: `truth` and `predicted` are `[rows, labels]`,
    /// row-major. Macro F1 is over all labels.
    ///
    /// # Errors
    /// If `metric` does not apply to such a task.
    ///
    /// # Panics
    /// If the lengths differ or are not a multiple of `labels`.
    pub fn multi_label(
        truth: &[bool],
        predicted: &[bool],
        labels: usize,
        metric: &Metric,
    ) -> Result<Self> {
        let rows = truth.len().checked_div(labels).unwrap_or(0);
        let sum: f64 = multi_label_report(truth, predicted, labels).iter().map(|c| c.f1).sum();
        let hits = truth.iter().zip(predicted).filter(|(t, p)| **t && **p).count();
        let misses = truth.iter().zip(predicted).filter(|(t, p)| t != p).count();
        let exact = (0..rows)
            .map(|row| row * labels..(row + 1) * labels)
            .filter(|r| truth[r.clone()] == predicted[r.clone()])
            .count();
        let defined = |value: f64| (rows > 0).then_some(value);
        let values = vec![
            ("accuracy", defined(ratio(exact, rows))),
            ("f1_macro", defined(sum / labels as f64)),
            ("f1_micro", defined(ratio(2 * hits, 2 * hits + misses))),
        ];
        Self::new(rows, values, metric)
    }

    /// Scores of predicted numbers.
    ///
    /// # Errors
    /// If `metric` does not apply to such a task.
    ///
    /// # Panics
    /// If `truth` and `predicted` differ in length.
    pub fn regression(truth: &[f32], predicted: &[f32], metric: &Metric) -> Result<Self> {
        let [x, y] =
            [truth, predicted].map(|v| v.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
        let (pearson, spearman) = (pearson(&x, &y), spearman(&x, &y));
        let error = x.iter().zip(&y).map(|(a, b)| (a - b).powi(2)).sum::<f64>() / x.len() as f64;
        let values = vec![
            ("mse", error.is_finite().then_some(error)),
            ("pearson", pearson),
            ("pearson_spearman", pearson.zip(spearman).map(|(p, s)| (p + s) / 2.0)),
            ("spearman", spearman),
        ];
        Self::new(x.len(), values, metric)
    }

    fn new(rows: usize, values: Vec<(&str, Option<f64>)>, metric: &Metric) -> Result<Self> {
        let values: BTreeMap<_, _> = values.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        let name = metric.key().to_owned();
        let Some(&value) = values.get(&name) else {
            let known = values.keys().map(String::as_str).collect::<Vec<_>>().join(", ");
            return Err(Error::new(
                ErrorKind::Config,
                format!("metric `{name}` does not apply to this task, whose scores are {known}"),
            ));
        };
        Ok(Self { rows, primary: Score { name, value }, values })
    }
}

/// Precision, recall and F1 of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ClassScore {
    /// Of the rows given this class, the share that has it.
    pub precision: f64,
    /// Of the rows that have this class, the share given it.
    pub recall: f64,
    /// Harmonic mean of both.
    pub f1: f64,
    /// Rows that have this class.
    pub support: usize,
}

impl ClassScore {
    fn new(hits: usize, support: usize, predicted: usize) -> Self {
        Self {
            precision: ratio(hits, predicted),
            recall: ratio(hits, support),
            f1: ratio(2 * hits, support + predicted),
            support,
        }
    }
}

/// The scores of every label where a row may have several; see [`Metrics::multi_label`].
///
/// # Panics
/// If the lengths differ or are not a multiple of `labels`.
pub fn multi_label_report(truth: &[bool], predicted: &[bool], labels: usize) -> Vec<ClassScore> {
    assert_eq!(truth.len(), predicted.len(), "as many predictions as labels");
    assert!(truth.len().is_multiple_of(labels), "whole rows of {labels} labels");
    let count = |values: &mut dyn Iterator<Item = bool>| values.filter(|&v| v).count();
    (0..labels)
        .map(|label| {
            let t = || truth.iter().copied().skip(label).step_by(labels);
            let p = || predicted.iter().copied().skip(label).step_by(labels);
            let hits = count(&mut t().zip(p()).map(|(t, p)| t && p));
            ClassScore::new(hits, count(&mut t()), count(&mut p()))
        })
        .collect()
}

/// How often each class was taken for each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confusion {
    /// `counts[truth][predicted]`.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Counts the pairs.
    ///
    /// # Panics
    /// If the lengths differ or an index is not below `classes`.
    pub fn new(truth: &[usize], predicted: &[usize], classes: usize) -> Self {
        assert_eq!(truth.len(), predicted.len(), "as many predictions as labels");
        let mut counts = vec![vec![0; classes]; classes];
        for (&t, &p) in truth.iter().zip(predicted) {
            counts[t][p] += 1;
        }
        Self { counts }
    }

    fn rows(&self) -> usize {
        self.counts.iter().flatten().sum()
    }

    fn hits(&self) -> usize {
        self.counts.iter().enumerate().map(|(i, row)| row[i]).sum()
    }

    fn predicted(&self, class: usize) -> usize {
        self.counts.iter().map(|row| row[class]).sum()
    }

    /// The scores of every class, also of those that occur nowhere.
    pub fn report(&self) -> Vec<ClassScore> {
        let one = |(i, row): (usize, &Vec<usize>)| {
            ClassScore::new(row[i], row.iter().sum(), self.predicted(i))
        };
        self.counts.iter().enumerate().map(one).collect()
    }

    /// Every two classes of which one is taken for the other, and how often: `(rows, truth, predicted)`, the most
    /// frequent first, equals in the order of the classes.
    pub fn mistakes(&self) -> Vec<(usize, usize, usize)> {
        let mut wrong: Vec<(usize, usize, usize)> = Vec::new();
        for (truth, counts) in self.counts.iter().enumerate() {
            let off = counts.iter().enumerate().filter(|&(class, &n)| class != truth && n > 0);
            wrong.extend(off.map(|(predicted, &n)| (n, truth, predicted)));
        }
        wrong.sort_by_key(|&(n, truth, predicted)| (std::cmp::Reverse(n), truth, predicted));
        wrong
    }

    /// Share of rows that are right; `None` without rows.
    pub fn accuracy(&self) -> Option<f64> {
        (self.rows() > 0).then(|| ratio(self.hits(), self.rows()))
    }

    /// F1 of the class `positive`; `None` without rows.
    pub fn f1_binary(&self, positive: usize) -> Option<f64> {
        (self.rows() > 0).then(|| self.report()[positive].f1)
    }

    /// Mean F1 of the classes that occur in the labels or the predictions; `None` without rows.
    pub fn f1_macro(&self) -> Option<f64> {
        let report = self.report();
        let seen = (0..report.len()).filter(|&i| report[i].support + self.predicted(i) > 0);
        let (n, sum) = seen.fold((0, 0.0), |(n, sum), i| (n + 1, sum + report[i].f1));
        (n > 0).then(|| sum / f64::from(n))
    }

    /// Matthews correlation coefficient for any number of classes; 0 where all labels or all
    /// predictions are the same class, as in scikit-learn; `None` without rows.
    pub fn matthews(&self) -> Option<f64> {
        let rows = self.rows() as f64;
        let (mut both, mut truths, mut predictions) = (0.0, 0.0, 0.0);
        for (i, row) in self.counts.iter().enumerate() {
            let (t, p) = (row.iter().sum::<usize>() as f64, self.predicted(i) as f64);
            both += t * p;
            truths += t * t;
            predictions += p * p;
        }
        let spread = (rows * rows - truths) * (rows * rows - predictions);
        let covariance = self.hits() as f64 * rows - both;
        let value = if spread == 0.0 { 0.0 } else { covariance / spread.sqrt() };
        (rows > 0.0).then_some(value)
    }
}

/// Pearson's correlation; `None` below two rows, for a constant, or if a value is not finite.
///
/// # Panics
/// If the lengths differ.
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    assert_eq!(x.len(), y.len(), "as many predictions as labels");
    let constant = |v: &[f64]| v.iter().all(|a| *a == v[0]);
    if constant(x) || constant(y) {
        return None;
    }
    let mean = |v: &[f64]| v.iter().sum::<f64>() / v.len() as f64;
    let (mx, my) = (mean(x), mean(y));
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (a, b) in x.iter().zip(y) {
        let (a, b) = (a - mx, b - my);
        xx += a * a;
        yy += b * b;
        xy += a * b;
    }
    let r = xy / (xx.sqrt() * yy.sqrt());
    r.is_finite().then(|| r.clamp(-1.0, 1.0))
}

/// Spearman's correlation: Pearson's of the ranks, ties sharing their mean rank; `None` as there.
///
/// # Panics
/// If the lengths differ.
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let finite = x.iter().chain(y).all(|v| v.is_finite());
    if finite { pearson(&ranks(x), &ranks(y)) } else { None }
}

fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for tied in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = first as f64 + (tied.len() + 1) as f64 / 2.0;
        tied.iter().for_each(|&i| ranks[i] = rank);
        first += tied.len();
    }
    ranks
}

fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

#[cfg(test)]
mod tests;
