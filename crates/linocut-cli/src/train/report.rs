//! What is said before and after a training run.

use crate::flags;
use crate::output::{counted, print, say};
use crate::progress::Progress;
use linocut::Result;
use linocut::cut::Card;
use linocut::data::{Dataset, Targets, TaskRows};
use linocut::model::{Slim, SlimLayer};
use linocut::output::{first_of, in_words};
use linocut::tune::metrics::{ClassScore, Score, percent};
use linocut::tune::{Folds, Method, Objective, Outcome, Searched, TrainOptions};
use serde_json::{Value, json};
use std::path::Path;

/// The task, and how it is learned.
pub(super) fn task(task: &TaskRows, options: &TrainOptions, base: &str) -> String {
    let (train, dev) = (&task.train, &task.dev);
    let kind = match train.labels.len() {
        0 => "regression".into(),
        n => format!("{n} labels"),
    };
    let held_out = if task.held_out { " held out" } else { "" };
    let dev_rows = match dev.rows() {
        0 => String::new(),
        rows => format!("{rows} dev rows{held_out}, "),
    };
    let fitted = options.calibrate.map_or(String::new(), |fit| {
        format!(", {:.0}% of them to fit what is answered", 100.0 * fit.share)
    });
    let how = match (options.objective, &options.method) {
        (Objective::Labels, _) => format!("{} epochs", options.epochs),
        (Objective::Pairs, Method::Head) => "found outright".into(),
        (Objective::Pairs, _) => format!("{} epochs of pairs", options.epochs),
    };
    let unlabelled = match train.unlabelled() {
        Some(more) => format!(", {} without labels", counted(more.rows(), "row")),
        None => String::new(),
    };
    format!(
        "{}: {} rows{unlabelled}{fitted}, {dev_rows}{kind}; {} on {base}, {how}",
        train.name,
        train.rows(),
        options.method.name(),
    )
}

/// How often the labels stand in the training rows, or which numbers do.
pub(super) fn labels(train: &Dataset) -> String {
    if let Targets::Values(values) = &train.targets {
        let (least, most) = values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        return format!("numbers from {least} to {most}, mean {mean:.4}");
    }
    let counts = train.label_counts();
    let label = |at: usize| format!("{:?} ({})", train.labels[at], counted(counts[at], "row"));
    let most = train.most_frequent().unwrap_or(0);
    let least = (0..counts.len()).min_by_key(|&at| counts[at]).unwrap_or(0);
    let often = if counts[most] == counts[least] {
        format!("{} of each label", counted(counts[most], "row"))
    } else {
        format!("most frequent label: {}, rarest: {}", label(most), label(least))
    };
    let without = match &train.targets {
        Targets::MultiHot(rows) => rows.iter().filter(|row| row.is_empty()).count(),
        _ => 0,
    };
    let without = if without > 0 {
        format!("; without any: {}", counted(without, "row"))
    } else {
        String::new()
    };
    often + &without
}

/// What there is to say of labels that stand in the rows scored and were never given rightly.
fn not_found(labels: &[String], classes: &[ClassScore]) -> Option<String> {
    let missed: Vec<_> = labels
        .iter()
        .zip(classes)
        .filter(|(_, class)| class.support > 0 && class.recall == 0.0)
        .map(|(label, class)| format!("{label:?} ({})", counted(class.support, "row")))
        .collect();
    (!missed.is_empty())
        .then(|| format!("note: labels of which no row was found: {}", first_of(&missed)))
}

/// What a run's score is held against.
pub(super) struct Scored<'a> {
    /// Whether the dev rows were held out of the training rows.
    pub(super) held_out: bool,
    pub(super) majority: Option<Score>,
    pub(super) folds: Option<&'a Folds>,
    pub(super) found: Option<&'a Searched>,
}

/// What a run gave, for programs.
pub(super) fn result(
    out: &Path,
    outcome: &Outcome,
    (trained, dense_bytes): (usize, usize),
    (scored, progress): (&Scored<'_>, &Progress),
) -> Value {
    let (card, sizes) = (outcome.cut.card(), outcome.cut.sizes());
    let zeros: u64 = card.tensors.values().filter_map(|note| note.zeros).sum();
    let seconds = progress.steps_time.as_secs_f64();
    json!({
        "cut": out,
        "task": card.task,
        "method": card.method,
        "training": card.training,
        "evaluation": outcome.evaluation,
        "dev_rows_held_out": scored.held_out,
        "majority": scored.majority,
        "folds": scored.folds,
        "decision": card.decision,
        "trained_parameters": trained,
        "zeros": zeros,
        "sparsity": sparsity(card),
        "bytes": sizes.file,
        "head_bytes": sizes.head,
        "base_bytes": dense_bytes,
        "training_texts_cut": outcome.texts_cut,
        "dev_texts_cut": outcome.evaluation_texts_cut,
        "seconds": seconds,
        "tokens_per_second": progress.steps_tokens as f64 / seconds.max(1e-9),
    })
}

/// Share of zeros in the masked tensors, if there are any.
fn sparsity(card: &Card) -> Option<f64> {
    let masked = || card.tensors.values().filter(|note| note.zeros.is_some());
    let entries: usize = masked().map(|note| note.shape.iter().product::<usize>()).sum();
    let zeros: u64 = masked().filter_map(|note| note.zeros).sum();
    (entries > 0).then(|| zeros as f64 / entries as f64)
}

/// Says what a run gave, for people.
pub(super) fn print_result(
    out: &Path,
    outcome: &Outcome,
    dense_bytes: usize,
    (scored, progress): (&Scored<'_>, &Progress),
) -> Result<()> {
    let (card, sizes) = (outcome.cut.card(), outcome.cut.sizes());
    for (count, which) in [(outcome.texts_cut, "training"), (outcome.evaluation_texts_cut, "dev")] {
        if count > 0 {
            say(&format!(
                "note: {count} {which} texts are longer than {} and were cut",
                card.extent()
            ));
        }
    }
    let mut text = String::new();
    if let Some(evaluation) = &outcome.evaluation {
        let rows = evaluation.metrics.rows;
        let score = &evaluation.metrics.primary;
        let value = percent(score.value);
        let which = if scored.held_out { "held-out rows" } else { "dev rows" };
        text += &format!(
            "{} {value} on {rows} {which}{}\n",
            score.name.replace('_', " "),
            scored.always()
        );
        not_found(&card.labels, &evaluation.classes).iter().for_each(|note| progress.say(note));
    }
    if let Some(folds) = scored.folds {
        text += &in_folds(
            folds,
            &card.labels,
            progress,
            if outcome.evaluation.is_none() { scored.always() } else { String::new() },
        );
    }
    if let Some(found) = scored.found {
        text += &searched(found);
    }
    if let Some(decision) = &card.decision {
        let answers =
            decision.answers_from().map_or(String::new(), |answers| format!(", {answers}"));
        text += &format!("temperature {:.3}{answers}", decision.temperature);
        if let Some(rows) = decision.fitted["rows"].as_u64() {
            text += &format!(", fitted on {rows} rows");
        }
        let answered = outcome.evaluation.as_ref().and_then(|evaluation| evaluation.answered);
        if let Some(answered) = answered {
            text += &format!(
                "; on the rows scored it answers {}, {} of them right",
                percent(Some(answered.share)),
                percent(answered.accuracy)
            );
        }
        text.push('\n');
    }
    if let Some(slim) = &card.slim {
        let compute = card.training["compute"].as_f64().unwrap_or(1.0);
        text += &format!("{:.1}% of the compute: {}\n", 100.0 * compute, slim_in_words(slim));
    }
    let zeros = sparsity(card).map_or(String::new(), |s| format!(", {:.2}% zeros", 100.0 * s));
    text += &format!(
        "{}: {} ({} without the head){zeros}; the base is {}\n",
        out.display(),
        in_words(sizes.file),
        in_words(sizes.file - sizes.head),
        in_words(dense_bytes as u64)
    );
    print(&text)
}

impl Scored<'_> {
    /// What answering the same for all would score.
    fn always(&self) -> String {
        let score = self.majority.as_ref().and_then(|score| score.value);
        score.map_or(String::new(), |always| {
            format!("; the most frequent label for all: {:.2}", 100.0 * always)
        })
    }
}

/// What cross-validation says, with what the most frequent label would score.
fn in_folds(folds: &Folds, labels: &[String], progress: &Progress, always: String) -> String {
    let evaluation = &folds.evaluation;
    not_found(labels, &evaluation.classes).iter().for_each(|note| progress.say(note));
    let spread = folds.deviation.map_or(String::new(), |d| format!(" ± {:.2}", 100.0 * d));
    let name = evaluation.metrics.primary.name.replace('_', " ");
    format!(
        "{name} {}{spread} in {} folds, {} rows together, mean and standard deviation{always}\n",
        percent(folds.mean),
        folds.scores.len(),
        evaluation.metrics.rows,
    )
}

/// What a search chose, and how.
fn searched(found: &Searched) -> String {
    let trials = found.trials.len();
    let mut text = format!("best of {trials} tried on {}: {}", found.by(), percent(found.score()));
    let flags = found.changes();
    let flags = flags.iter().map(|(name, value)| flags::of_choice(name, value));
    let flags: Vec<String> = flags.collect();
    text += &if flags.is_empty() { ", as it is".into() } else { format!(", {}", flags.join(" ")) };
    if found.untried > 0 {
        text += &format!("; no time for {} more: a longer --search tries them", found.untried);
    }
    text + "\n"
}

/// What a slim task keeps, in all layers together.
fn slim_in_words(slim: &Slim) -> String {
    let count = |of: fn(&SlimLayer) -> &Vec<bool>| {
        let bits = || slim.layers.iter().flat_map(of);
        (bits().filter(|kept| **kept).count(), bits().count())
    };
    let ((heads, of_heads), (groups, of_groups)) =
        (count(|layer| &layer.heads), count(|layer| &layer.groups));
    format!(
        "{heads} of {of_heads} heads and {groups} of {of_groups} groups of neurons in {} layers",
        slim.depth
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use linocut::tune::metrics::Confusion;

    #[test]
    fn labels_never_found_are_named() {
        let labels: Vec<_> = (0..9).map(|i| format!("l{i}")).collect();
        // Label 0 was found, of label 1 there is no row.
        let classes = Confusion::new(&[0, 2, 3, 4, 5, 6, 7, 8, 8], &[0, 0, 0, 0, 1, 0, 0, 0, 7], 9);
        let note = not_found(&labels, &classes.report()).unwrap();
        let named =
            r#""l2" (1 row), "l3" (1 row), "l4" (1 row), "l5" (1 row), "l6" (1 row) and 2 more"#;
        assert_eq!(note, format!("note: labels of which no row was found: {named}"));
        assert_eq!(not_found(&labels, &Confusion::new(&[0, 1], &[0, 1], 9).report()), None);
    }
}
