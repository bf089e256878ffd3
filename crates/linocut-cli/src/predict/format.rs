//! Predictions as text, cells and JSON.

use crate::output::{aligned, shortened};
use linocut::cut::Card;
use linocut::data::Problem;
use linocut::model::probabilities;
use linocut::tune::argmax;
use serde_json::{Map, Value, json};

/// Width of the bar of a probability of 1.
const BAR: f64 = 20.0;

/// Predictions of a task on some texts.
pub(super) struct Predictions<'a> {
    card: &'a Card,
    logits: Vec<f32>,
    /// Probabilities; for regression the values.
    scores: Vec<f32>,
    with_logits: bool,
}

/// The prediction on one text.
pub(super) struct Row<'a> {
    card: &'a Card,
    logits: &'a [f32],
    scores: &'a [f32],
    with_logits: bool,
}

impl<'a> Predictions<'a> {
    pub(super) fn new(card: &'a Card, logits: Vec<f32>, with_logits: bool) -> Self {
        let scores = probabilities(card.problem, &logits, card.outputs);
        Self { card, logits, scores, with_logits }
    }

    pub(super) fn rows(&self) -> usize {
        self.logits.len() / self.card.outputs
    }

    pub(super) fn row(&self, i: usize) -> Row<'_> {
        let range = i * self.card.outputs..(i + 1) * self.card.outputs;
        Row {
            card: self.card,
            logits: &self.logits[range.clone()],
            scores: &self.scores[range],
            with_logits: self.with_logits,
        }
    }

    /// Names of the columns of [`Row::cells`].
    pub(super) fn header(&self) -> Vec<String> {
        let labels = &self.card.labels;
        let mut names: Vec<String> = match self.card.problem {
            Problem::SingleLabel => vec!["label".into(), "score".into()],
            Problem::MultiLabel => vec!["labels".into()],
            Problem::Regression => vec!["value".into()],
        };
        names.extend(labels.iter().cloned());
        if self.with_logits {
            names.extend(labels.iter().map(|label| format!("logit {label}")));
        }
        names
    }
}

impl Row<'_> {
    /// Whether label `i` is predicted: of a single-label task the most probable, of a multi-label
    /// task every one that is more probable than not.
    fn chosen(&self, i: usize) -> bool {
        match self.card.problem {
            Problem::SingleLabel => i == argmax(self.logits),
            _ => self.logits[i] > 0.0,
        }
    }

    fn chosen_labels(&self) -> Vec<&str> {
        let labels = self.card.labels.iter().enumerate();
        labels.filter(|(i, _)| self.chosen(*i)).map(|(_, label)| label.as_str()).collect()
    }

    /// The prediction, its probability where there is one, every label's, and the logits if asked.
    pub(super) fn cells(&self) -> Vec<String> {
        let mut cells = self.brief_cells();
        if self.card.problem != Problem::Regression {
            cells.extend(self.scores.iter().map(f32::to_string));
            if self.with_logits {
                cells.extend(self.logits.iter().map(f32::to_string));
            }
        }
        cells
    }

    /// The prediction and, of a single-label task, its probability.
    pub(super) fn brief_cells(&self) -> Vec<String> {
        match self.card.problem {
            Problem::SingleLabel => {
                let best = argmax(self.logits);
                vec![self.card.labels[best].clone(), self.scores[best].to_string()]
            }
            // As training reads several labels back from a cell.
            Problem::MultiLabel => vec![json!(self.chosen_labels()).to_string()],
            Problem::Regression => vec![self.scores[0].to_string()],
        }
    }

    pub(super) fn json(&self) -> Value {
        let labels = self.card.labels.iter().cloned();
        let scores: Map<String, Value> =
            labels.zip(self.scores.iter().map(|&p| shortest(p))).collect();
        let mut object = match self.card.problem {
            Problem::SingleLabel => {
                let best = argmax(self.logits);
                let (label, score) = (&self.card.labels[best], shortest(self.scores[best]));
                json!({"label": label, "score": score, "scores": scores})
            }
            Problem::MultiLabel => json!({"labels": self.chosen_labels(), "scores": scores}),
            Problem::Regression => json!({"value": shortest(self.scores[0])}),
        };
        if self.with_logits {
            object["logits"] = self.logits.iter().map(|&z| shortest(z)).collect();
        }
        object
    }

    /// The `top` most probable labels with bars, for people.
    pub(super) fn bars(&self, top: usize) -> String {
        if self.card.problem == Problem::Regression {
            return format!("{}\n", self.scores[0]);
        }
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        // By logit: probabilities near 1 may be equal where their logits are not.
        order.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        let several = self.card.problem == Problem::MultiLabel;
        let shown = &order[..top.min(order.len())];
        let rows: Vec<Vec<String>> = shown
            .iter()
            .map(|&i| {
                let mark = match (several, self.chosen(i)) {
                    (false, _) => "",
                    (true, true) => "✓ ",
                    (true, false) => "  ",
                };
                let label = format!("{mark}{}", shortened(&self.card.labels[i], 40));
                let mut row = vec![label, format!("{:.2}%", 100.0 * self.scores[i])];
                if self.with_logits {
                    row.push(self.logits[i].to_string());
                }
                row
            })
            .collect();
        let mut text = String::new();
        for (line, &i) in aligned(&rows).lines().zip(shown) {
            text += format!("{line}  {}", bar(f64::from(self.scores[i]))).trim_end();
            text.push('\n');
        }
        let more = order.len() - shown.len();
        if more > 0 {
            text += &format!("… and {more} more (--top {})\n", order.len());
        }
        text
    }
}

/// A bar of eighths of a character.
fn bar(share: f64) -> String {
    let eighths = (share * BAR * 8.0).round() as usize;
    let part = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8];
    "█".repeat(eighths / 8) + part
}

/// The shortest decimal that is read back as this very f32; an f64 of the same value would print
/// digits that mean nothing.
fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |v| json!(v))
}
