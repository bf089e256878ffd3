//! An evaluation as text for people.

use super::compare::{Comparison, Interval};
use super::evaluate::{Answered, Evaluation};
use super::metrics::{Confusion, Metrics, percent};
use crate::output::{aligned, shortened};

/// Above this many classes a confusion matrix no longer fits a terminal.
const MATRIX_CLASSES: usize = 12;
/// Confusions listed instead.
const LISTED: usize = 15;

impl Evaluation {
    /// The primary score with its interval and, of a task that abstains, what is answered: a line each.
    pub fn summary(&self) -> String {
        let metrics = &self.metrics;
        let primary = &metrics.primary;
        let value = score(&primary.name, primary.value);
        let mut text = format!("{} {value} on {} rows", spaced(&primary.name), metrics.rows);
        if let Some(Interval { low, high }) = self.interval {
            let [low, high] = [low, high].map(|value| score(&primary.name, Some(value)));
            text += &format!(", {low} to {high} on as many others like these (95%)");
        }
        text.push('\n');
        if let Some(Answered { rows, share, accuracy }) = self.answered {
            let right = accuracy.map(|share| format!(", of which {:.2}% are right", 100.0 * share));
            text += &format!(
                "answers {rows} of them ({:.1}%){}; the scores are of all rows\n",
                100.0 * share,
                right.unwrap_or_default(),
            );
        }
        text
    }

    /// Every score by its name in words, as a percentage where it is one.
    pub fn scores(&self) -> Vec<Vec<String>> {
        let values = self.metrics.values.iter();
        values.map(|(name, value)| vec![spaced(name), score(name, *value)]).collect()
    }

    /// The primary score with its interval, all scores, the classes and their confusions.
    pub fn in_words(&self, labels: &[String]) -> String {
        let mut text = self.summary();
        text.push('\n');
        text += &aligned(&self.scores());
        if !self.classes.is_empty() {
            let mut rows =
                vec![["label", "precision", "recall", "f1", "rows"].map(String::from).to_vec()];
            for (label, class) in labels.iter().zip(&self.classes) {
                let percent = |share: f64| format!("{:.1}", 100.0 * share);
                rows.push(vec![
                    shortened(label, 30),
                    percent(class.precision),
                    percent(class.recall),
                    percent(class.f1),
                    class.support.to_string(),
                ]);
            }
            text.push('\n');
            text += &aligned(&rows);
        }
        if let Some(confusion) = &self.confusion {
            text.push('\n');
            text += &confusions(confusion, labels);
        }
        text
    }
}

impl Comparison {
    /// For people: both scores, their difference, and what it says.
    pub fn in_words(&self, names: [String; 2]) -> String {
        let score = |value: Option<f64>| score(&self.metric, value);
        let between = |interval: Option<Interval>| {
            interval.map_or_else(String::new, |Interval { low, high }| {
                format!("{} to {}", score(Some(low)), score(Some(high)))
            })
        };
        let mut rows = vec![["", &spaced(&self.metric), "95%"].map(String::from).to_vec()];
        for (name, (value, interval)) in names.into_iter().zip(self.scores) {
            rows.push(vec![name, score(value), between(interval)]);
        }
        let difference = ["difference".into(), score(self.difference), between(self.interval)];
        rows.push(difference.to_vec());
        let mut text = aligned(&rows);
        if let (Some([first, second]), Some(p)) = (self.alone_right, self.p) {
            let p = if p < 0.001 { "below 0.001".into() } else { format!("{p:.3}") };
            text += &format!(
                "of {} rows the first alone has {first} right, the second alone {second}: by chance with p = {p}\n",
                self.rows,
            );
        }
        text += match self.interval {
            Some(Interval { high, .. }) if high < 0.0 => "the first is better on rows like these\n",
            Some(Interval { low, .. }) if low > 0.0 => "the second is better on rows like these\n",
            _ => "these rows do not tell which is better\n",
        };
        text
    }
}

impl Metrics {
    /// For people: every score beside another's of the same rows.
    pub fn beside(&self, other: &Self, names: [&str; 2]) -> String {
        let mut rows = vec![["", names[0], names[1]].map(String::from).to_vec()];
        rows.extend(self.values.iter().map(|(name, value)| {
            let other = other.values.get(name).copied().flatten();
            vec![spaced(name), score(name, *value), score(name, other)]
        }));
        aligned(&rows)
    }
}

fn confusions(confusion: &Confusion, labels: &[String]) -> String {
    if labels.len() <= MATRIX_CLASSES {
        let mut header = vec!["true \\ predicted".to_string()];
        header.extend(labels.iter().map(|label| shortened(label, 12)));
        let mut rows = vec![header];
        for (label, counts) in labels.iter().zip(&confusion.counts) {
            let mut row = vec![shortened(label, 30)];
            row.extend(counts.iter().map(|&n| if n == 0 { "·".into() } else { n.to_string() }));
            rows.push(row);
        }
        return aligned(&rows);
    }
    let wrong = confusion.mistakes();
    if wrong.is_empty() {
        return "no confusions\n".into();
    }
    let mut text = format!("most frequent of {} confusions\n", wrong.len());
    for &(n, truth, predicted) in wrong.iter().take(LISTED) {
        text += &format!("{n:>6}  {} taken for {}\n", labels[truth], labels[predicted]);
    }
    text
}

/// Scores are printed as percentages; a squared error is none.
fn score(name: &str, value: Option<f64>) -> String {
    match value {
        Some(value) if name == "mse" => format!("{value:.4}"),
        _ => percent(value),
    }
}

fn spaced(name: &str) -> String {
    name.replace('_', " ")
}
