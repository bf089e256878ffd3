//! An evaluation as one page that needs no network and no script.

use super::charts;
use crate::measure::page::{escaped, figure, head};
use crate::output::shortened;
use crate::study::report::{LEFT, html_table};
use linocut::Result;
use linocut::cut::Card;
use linocut::data::{Dataset, Problem};
use linocut::tune::metrics::Confusion;
use linocut::tune::{
    Bin, Covered, Evaluation, PrecisionRecall, Residuals, Scored, calibration_error,
};
use std::cmp::Reverse;
use std::fmt::Write as _;

/// Labels in the table, and in a confusion matrix.
const LABELS: usize = 200;
const MATRIX: usize = 30;
/// Confusions listed where there is no matrix.
const MISTAKES: usize = 40;
/// Labels with a curve of their own, of several a row beside that of all labels together.
const CURVES: [usize; 2] = [8, 4];
/// Shares of the rows that a table of what is answered goes through.
const SHARES: [f64; 7] = [1.0, 0.95, 0.9, 0.8, 0.7, 0.6, 0.5];

/// What a page is of.
pub(super) struct Page<'a> {
    pub(super) card: &'a Card,
    pub(super) data: &'a Dataset,
    pub(super) logits: &'a [f32],
    pub(super) evaluation: &'a Evaluation,
    /// Where cut and rows come from.
    pub(super) about: String,
}

impl Page<'_> {
    pub(super) fn html(&self) -> Result<String> {
        let Self { card, data, evaluation, .. } = self;
        let title = format!("{} on {} rows", card.task, evaluation.metrics.rows);
        let mut page = head(&title, &format!("{LEFT}{STYLE}"));
        let _ = writeln!(page, "<h1>{}</h1><p>{}</p>", escaped(&title), escaped(&self.about));
        for line in evaluation.summary().lines() {
            page += &paragraph(&sentence(line));
        }
        let mut scores = vec![vec!["score".to_string(), "value".into()]];
        scores.extend(evaluation.scores());
        page += &html_table(&scores);
        if data.problem == Problem::Regression {
            page += &self.numbers().unwrap_or_default();
            return Ok(page + END);
        }
        page += &self.labels();
        if let Some(confusion) = &evaluation.confusion {
            page += "<h2>What is taken for what</h2>\n";
            page += &match data.labels.len() {
                0..=MATRIX => matrix(confusion, &data.labels),
                _ => mistakes(confusion, &data.labels),
            };
        }
        let scored = Scored::new(data, self.logits, card.decision.as_ref())?;
        page += &self.reliability(&scored)?;
        page += &self.precision_recall(&scored);
        if data.problem == Problem::SingleLabel {
            page += &self.coverage(&scored);
        }
        Ok(page + END)
    }

    /// The labels' scores, the most frequent first where not all have room.
    fn labels(&self) -> String {
        let classes = &self.evaluation.classes;
        let mut order: Vec<usize> = (0..classes.len()).collect();
        let mut text = String::from("<h2>Labels</h2>\n");
        if order.len() > LABELS {
            order.sort_by_key(|&label| Reverse(classes[label].support));
            order.truncate(LABELS);
            let all = classes.len();
            text +=
                &paragraph(&format!("The {LABELS} most frequent of {all} labels; --json has all."));
        }
        let mut table =
            vec![["label", "precision", "recall", "F1", "rows"].map(String::from).to_vec()];
        table.extend(order.into_iter().map(|label| {
            let class = classes[label];
            let percent = |share: f64| format!("{:.1}", 100.0 * share);
            let mut row = vec![shortened(&self.data.labels[label], 60)];
            row.extend([class.precision, class.recall, class.f1].map(percent));
            row.push(class.support.to_string());
            row
        }));
        text + &html_table(&table)
    }

    fn reliability(&self, scored: &Scored) -> Result<String> {
        let bins = scored.reliability();
        let error = |bins: &[Option<Bin>; _]| percent(calibration_error(bins));
        let temperature = self.card.decision.as_ref().map(|decision| decision.temperature);
        let temperature = temperature.filter(|temperature| *temperature != 1.0);
        let (words, series) = match temperature {
            None => (
                format!(
                    "Expected calibration error {}. The cut has no temperature; `linocut calibrate` fits one.",
                    error(&bins)
                ),
                vec![("as it is", bins)],
            ),
            Some(temperature) => {
                let plain = Scored::new(self.data, self.logits, None)?.reliability();
                let words = format!(
                    "Expected calibration error {} with the cut's temperature of {temperature:.3}, {} without it.",
                    error(&bins),
                    error(&plain),
                );
                (words, vec![("without temperature", plain), ("with temperature", bins)])
            }
        };
        let of = match self.data.problem {
            Problem::SingleLabel => "the most probable label of each row",
            _ => "every label of every row",
        };
        let mut text = String::from("<h2>How sure it is</h2>\n");
        text += &paragraph(&words);
        text += &paragraph(&format!(
            "Of {of}: on the line, of what is said with 80% just 80% are right; below it the task is too sure. \
             The larger a dot, the more rows. The error is the mean distance from the line, each dot weighed by its rows."
        ));
        Ok(text + &figure("Share that is right by probability", &charts::reliability(&series)))
    }

    fn precision_recall(&self, scored: &Scored) -> String {
        let support = scored.support();
        let several = self.data.problem == Problem::MultiLabel;
        let binary = !several && support.len() == 2;
        let mut labels: Vec<usize> = (0..support.len()).filter(|&l| support[l] > 0).collect();
        labels.sort_by_key(|&label| Reverse(support[label]));
        if binary {
            labels.drain(..labels.len().saturating_sub(1)); // the rarer one says both
        }
        labels.truncate(CURVES[usize::from(several)]);
        let curve =
            |(name, label): (String, Option<usize>)| Some((name, scored.precision_recall(label)?));
        let all = several.then(|| ("all labels".to_string(), None));
        let each = labels.iter().map(|&l| (shortened(&self.card.labels[l], 30), Some(l)));
        let curves: Vec<(String, PrecisionRecall)> =
            all.into_iter().chain(each).filter_map(curve).collect();
        const TITLE: &str = "<h2>Precision and recall</h2>\n";
        if curves.is_empty() {
            return TITLE.to_string() + &paragraph("No row has any of the cut's labels.");
        }
        let known = support.iter().filter(|&&rows| rows > 0).count();
        let which = match (binary, several) {
            (true, _) => "Of the rarer of two labels".to_string(),
            (_, true) if labels.len() < known => {
                format!("Of all labels together, and of the {} most frequent", labels.len())
            }
            (_, true) => "Of all labels together, and of each".into(),
            _ if labels.len() < known => {
                format!("Of the {} most frequent labels, each against all others", labels.len())
            }
            _ => "Of each label against all others".into(),
        };
        let words = format!(
            "{which}: what is found of it (recall), and how much of what is found is right (precision), from every \
             probability on. The number is the average precision."
        );
        let chart = charts::precision_recall(&curves);
        format!("{TITLE}{}{}", paragraph(&words), figure("Precision by recall", &chart))
    }

    fn coverage(&self, scored: &Scored) -> String {
        let curve = scored.coverage();
        let threshold = self.card.decision.as_ref().and_then(|d| d.thresholds.first().copied());
        let answered = self.evaluation.answered.zip(threshold);
        let mut text = String::from("<h2>Answering only where it is sure</h2>\n");
        text += &paragraph(&match answered {
            Some((answered, threshold)) => {
                let right = answered
                    .accuracy
                    .map(|share| format!(", of which {} are right", percent(share)));
                format!(
                    "It answers from {threshold:.3} on: {} of the rows{}.",
                    percent(answered.share),
                    right.unwrap_or_default()
                )
            }
            None => {
                "It answers every row; `linocut calibrate --target-precision` gives it a threshold."
                    .into()
            }
        });
        let marked = answered.and_then(|(answered, threshold)| {
            Some((threshold, answered.share, answered.accuracy?))
        });
        let chart = charts::coverage(&curve, marked);
        text += &figure("Share of answers that is right by share of rows answered", &chart);
        let header = ["answered", "from probability", "right"].map(String::from).to_vec();
        let row = |covered: &Covered| {
            let from = format!("{:.3}", covered.threshold);
            vec![percent(covered.share), from, percent(covered.accuracy)]
        };
        // The most that is at most such a share; several shares may have the same.
        let found = SHARES.iter().filter_map(|&share| curve.iter().rfind(|c| c.share <= share));
        let mut rows: Vec<Vec<String>> = found.map(row).collect();
        rows.dedup();
        rows.insert(0, header);
        text + &html_table(&rows)
    }

    /// Of a regression: predicted against true, and how far they are apart.
    fn numbers(&self) -> Option<String> {
        let found = Residuals::of(self.data, self.logits)?;
        let direction = if found.mean < 0.0 { "low" } else { "high" };
        let number = |x: f64| crate::output::rounded(x);
        let words = format!(
            "Predictions are off by {} in the mean, nine of ten by at most {}; on the whole they are {} too {direction}, \
             and around that their standard deviation is {}.",
            number(found.absolute),
            number(found.most),
            number(found.mean.abs()),
            number(found.deviation),
        );
        Some(format!(
            "<h2>Predicted and true</h2>\n{}{}{}",
            paragraph(&words),
            figure("Predicted by true number", &charts::scatter(&found.points)),
            figure("Predicted less true number", &charts::spread(&found.points)),
        ))
    }
}

/// Cells of a matrix have no room for more. In the dark the first curve is white: the blue of all pages would be
/// taken for the sky blue of another.
const STYLE: &str = "\
@media(prefers-color-scheme:dark){svg [stroke=\"#1D4E89\"]{stroke:#f3f4f6}svg [fill=\"#1D4E89\"]{fill:#f3f4f6}}\
.matrix td{text-align:center;min-width:2rem;border:1px solid var(--paper)}.matrix thead th{text-align:center}";
const END: &str = "</main></body></html>\n";

fn paragraph(text: &str) -> String {
    // Commands stand between backticks.
    let parts = escaped(text);
    let mut out = String::from("<p>");
    for (i, part) in parts.split('`').enumerate() {
        match i % 2 {
            0 => out += part,
            _ => out += &format!("<code>{part}</code>"),
        }
    }
    out + "</p>\n"
}

/// `accuracy 90.00 on 12 rows` as it may stand on a page.
fn sentence(line: &str) -> String {
    let mut chars = line.chars();
    let first = chars.next().map(|c| c.to_uppercase().to_string()).unwrap_or_default();
    format!("{first}{}.", chars.as_str())
}

fn percent(share: f64) -> String {
    format!("{:.1}%", 100.0 * share)
}

/// True labels downwards, predicted ones across; the darker, the greater a share of its row.
fn matrix(confusion: &Confusion, labels: &[String]) -> String {
    let mut text =
        String::from("<table class=\"matrix\"><thead><tr><th scope=\"col\">true \\ predicted</th>");
    for label in labels {
        let (full, short) = (escaped(label), escaped(&shortened(label, 14)));
        let _ = write!(text, "<th scope=\"col\" title=\"{full}\">{short}</th>");
    }
    text += "</tr></thead><tbody>\n";
    for (label, counts) in labels.iter().zip(&confusion.counts) {
        let all: usize = counts.iter().sum();
        let _ = write!(text, "<tr><th scope=\"row\">{}</th>", escaped(&shortened(label, 40)));
        for &count in counts {
            let (fill, ink) = charts::shade(count as f64 / all.max(1) as f64);
            let shown = if count == 0 { "·".into() } else { count.to_string() };
            let _ = write!(text, "<td style=\"background:{fill};color:{ink}\">{shown}</td>");
        }
        text += "</tr>\n";
    }
    text + "</tbody></table>\n"
}

/// The most frequent confusions, where a matrix of all would have no room.
fn mistakes(confusion: &Confusion, labels: &[String]) -> String {
    let wrong = confusion.mistakes();
    if wrong.is_empty() {
        return paragraph("Nothing: every row is right.");
    }
    let mut table = vec![["true", "predicted", "rows"].map(String::from).to_vec()];
    table.extend(wrong.iter().take(MISTAKES).map(|&(rows, truth, predicted)| {
        let [truth, predicted] = [truth, predicted].map(|label| shortened(&labels[label], 60));
        vec![truth, predicted, rows.to_string()]
    }));
    let words = match wrong.len() {
        all if all > MISTAKES => format!("The {MISTAKES} most frequent of {all} confusions."),
        _ => "All confusions, the most frequent first.".into(),
    };
    paragraph(&words) + &html_table(&table)
}
