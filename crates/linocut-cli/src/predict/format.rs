//! Predictions as text, cells and JSON.

use crate::output::{aligned, shortened};
use linocut::cut::Card;
use linocut::data::Problem;
use linocut::model::argmax;
use serde_json::{Map, Value, json};

/// Width of the bar of a probability of 1.
const BAR: f64 = 20.0;

/// What is written beside the prediction itself.
#[derive(Clone, Copy)]
pub(crate) struct More {
    /// The score of every label.
    pub(crate) scores: bool,
    pub(crate) logits: bool,
    /// So many of the most probable labels with their scores, in the place of all.
    pub(crate) top: Option<usize>,
}

impl More {
    fn all_scores(self) -> bool {
        self.scores && self.top.is_none()
    }
}

/// Predictions of a task on some texts.
pub(crate) struct Predictions<'a> {
    card: &'a Card,
    logits: Vec<f32>,
    /// Probabilities; for regression the values.
    scores: Vec<f32>,
    answered: Vec<bool>,
    more: More,
}

/// The prediction on one text.
pub(crate) struct Row<'a> {
    card: &'a Card,
    logits: &'a [f32],
    scores: &'a [f32],
    /// Whether each label is: of a single-label task the most probable one or none, of a multi-label task any.
    answered: &'a [bool],
    more: More,
}

impl<'a> Predictions<'a> {
    pub(crate) fn new(card: &'a Card, logits: Vec<f32>, more: More) -> Self {
        let (scores, answered) = (card.probabilities(&logits), card.answered(&logits));
        Self { card, logits, scores, answered, more }
    }

    pub(super) fn rows(&self) -> usize {
        self.logits.len() / self.card.outputs
    }

    pub(crate) fn row(&self, i: usize) -> Row<'_> {
        let range = i * self.card.outputs..(i + 1) * self.card.outputs;
        Row {
            card: self.card,
            logits: &self.logits[range.clone()],
            scores: &self.scores[range.clone()],
            answered: &self.answered[range],
            more: self.more,
        }
    }

    /// Names of the columns of [`Row::cells`].
    pub(super) fn header(&self) -> Vec<String> {
        let mut names: Vec<String> = match self.card.problem {
            Problem::SingleLabel => vec!["label".into(), "score".into()],
            Problem::MultiLabel => vec!["labels".into()],
            Problem::Regression => vec!["value".into()],
        };
        let top = self.more.top.map_or(0, |top| top.min(self.card.labels.len()));
        names.extend((1..=top).flat_map(|i| [format!("label {i}"), format!("score {i}")]));
        for (asked, what) in [(self.more.all_scores(), "score"), (self.more.logits, "logit")] {
            if asked {
                names.extend(self.card.labels.iter().map(|label| format!("{what} {label}")));
            }
        }
        names
    }
}

impl Row<'_> {
    fn answers(&self) -> Vec<&str> {
        let labels = self.card.labels.iter().zip(self.answered);
        labels.filter(|(_, answered)| **answered).map(|(label, _)| label.as_str()).collect()
    }

    /// Whether a single-label task is not sure enough to answer.
    fn abstains(&self) -> bool {
        self.card.problem == Problem::SingleLabel && !self.answered.contains(&true)
    }

    /// The prediction, its probability where there is one, and what more was asked for.
    pub(super) fn cells(&self) -> Vec<String> {
        let mut cells = match self.card.problem {
            Problem::SingleLabel => {
                let label = self.answers().first().map(|label| label.to_string());
                let score = self.scores[argmax(self.logits)].to_string();
                vec![label.unwrap_or_default(), score]
            }
            // As training reads several labels back from a cell.
            Problem::MultiLabel => vec![json!(self.answers()).to_string()],
            Problem::Regression => return vec![self.scores[0].to_string()],
        };
        for i in self.order(self.more.top.unwrap_or(0)) {
            cells.extend([self.card.labels[i].clone(), self.scores[i].to_string()]);
        }
        let all_scores = self.more.all_scores();
        for (asked, values) in [(all_scores, self.scores), (self.more.logits, self.logits)] {
            if asked {
                cells.extend(values.iter().map(f32::to_string));
            }
        }
        cells
    }

    /// The prediction as an object.
    pub(crate) fn json(&self) -> Map<String, Value> {
        let mut object = Map::new();
        match self.card.problem {
            Problem::SingleLabel => {
                object.insert("label".into(), json!(self.answers().first()));
                if self.abstains() {
                    object.insert("abstained".into(), json!(true));
                }
                object.insert("score".into(), shortest(self.scores[argmax(self.logits)]));
            }
            Problem::MultiLabel => {
                object.insert("labels".into(), json!(self.answers()));
            }
            Problem::Regression => {
                object.insert("value".into(), shortest(self.scores[0]));
            }
        }
        let shown = match self.more.top {
            _ if self.card.problem == Problem::Regression => vec![],
            Some(top) => self.order(top),
            None if self.more.scores => (0..self.scores.len()).collect(),
            None => vec![],
        };
        if !shown.is_empty() {
            let score = |i: usize| (self.card.labels[i].clone(), shortest(self.scores[i]));
            let scores: Map<String, Value> = shown.into_iter().map(score).collect();
            object.insert("scores".into(), scores.into());
        }
        if self.more.logits {
            object.insert("logits".into(), self.logits.iter().map(|&z| shortest(z)).collect());
        }
        object
    }

    /// The `top` most probable labels with bars, for people.
    pub(super) fn bars(&self, top: usize) -> String {
        if self.card.problem == Problem::Regression {
            return format!("{:.4}\n", self.scores[0]);
        }
        let several = self.card.problem == Problem::MultiLabel;
        let shown = self.order(top);
        let rows: Vec<Vec<String>> = shown
            .iter()
            .map(|&i| {
                let mark = match (several, self.answered[i]) {
                    (false, _) => "",
                    (true, true) => "✓ ",
                    (true, false) => "  ",
                };
                let label = format!("{mark}{}", shortened(&self.card.labels[i], 40));
                let mut row = vec![label, format!("{:.2}%", 100.0 * self.scores[i])];
                if self.more.logits {
                    row.push(format!("{:.3}", self.logits[i]));
                }
                row
            })
            .collect();
        let mut text = String::new();
        if self.abstains() {
            let thresholds = self.card.decision.as_ref().map(|decision| &decision.thresholds);
            let least = 100.0 * thresholds.and_then(|all| all.first()).unwrap_or(&0.0);
            text += &format!("no answer: less than {least:.2}%\n");
        }
        for (line, &i) in aligned(&rows).lines().zip(&shown) {
            text += format!("{line}  {}", bar(f64::from(self.scores[i]))).trim_end();
            text.push('\n');
        }
        let all = self.scores.len();
        if all > shown.len() {
            text += &format!("… and {} more (--top {all})\n", all - shown.len());
        }
        text
    }

    /// The `top` most probable labels, the most probable first.
    fn order(&self, top: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.scores.len()).collect();
        // By logit: probabilities near 1 may be equal where their logits are not.
        order.sort_by(|&a, &b| self.logits[b].total_cmp(&self.logits[a]));
        order.truncate(top);
        order
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
pub(super) fn shortest(value: f32) -> Value {
    value.to_string().parse::<f64>().map_or(Value::Null, |v| json!(v))
}
