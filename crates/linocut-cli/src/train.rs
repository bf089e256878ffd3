//! `linocut train`

use crate::args::TrainArgs;
use crate::choices;
use crate::flags;
use crate::interrupt;
use crate::output::{json_line, print, print_json, say};
use crate::place;
use crate::predict::{More, Predictions};
use crate::progress::{self, Progress, percent};
use crate::task::Tell;
use linocut::checkpoint::write_file;
use linocut::cut::Card;
use linocut::data::{Dataset, Targets, TaskRows};
use linocut::model::{Base, Slim, SlimLayer};
use linocut::output::{check_room, folder_of, in_words, keep};
use linocut::pack;
use linocut::study;
use linocut::tune::metrics::{ClassScore, Score};
use linocut::tune::{
    self, Choices, Event, Folds, Goal, Method, Objective, Outcome, Search, Searched, Shared,
    Storage, TrainOptions, Unlabelled,
};
use linocut::{Error, ErrorKind, Result};
use serde_json::{Map, json};
use std::path::Path;

pub(crate) fn run(args: TrainArgs) -> Result<()> {
    let state = tune::state_path(&args.out);
    let _held = place::claim(&args.out, "out", args.force)?;
    check_state(&args, &state)?;
    let choices = choices(&args)?;
    // With folds every row is reported on by a cut that was not trained on it.
    let hold_out = (args.seed, args.folds.is_none());
    let folder = args.task.as_deref();
    let mut task = args.rows.read(folder, hold_out, args.base.quiet)?;
    let unlabelled = match &args.unlabelled {
        Some(file) => Some(args.rows.unlabelled(folder, file, args.base.quiet)?),
        None => None,
    };
    let base = args.base.open(args.pooling)?;
    let budget = args.budget.map(|budget| budget.of(base.encoder.layout().len() as u64 * 4));
    let (method, mut choices, chosen) =
        study::method_for(choices, &base, &task.train, budget, args.study.as_deref())?;
    for note in chosen.iter().flat_map(|choice| &choice.passed_over) {
        say(&format!("note: {note}"));
    }
    let more = unlabelled.as_ref().map_or(0, |(texts, _)| texts.len());
    let size = (task.train.problem, task.train.rows() + more);
    let mut options = choices.options(method, size, base.config());
    options.check()?;
    options.check_for(&task.train)?;
    base.check_max_length(options.max_length)?;
    check_room(&args.out, least_bytes(&options, &base, &task)?)?;
    if let Some(teacher) = &args.distill {
        task.train = taught(&args, teacher, &base, (task.train, unlabelled))?;
    }
    let mut progress = Progress::new(args.base.quiet);
    progress.say(&describe(&task, &options, &base.name));
    progress.say(&labels_in_words(&task.train));
    let dev = (task.dev.rows() > 0).then_some(&task.dev);
    let metric = task.metric.as_ref();
    let majority = tune::majority_score(&task.train, dev.unwrap_or(&task.train), metric)?;
    if let Some(budget) = budget {
        progress.say(&format!(
            "for {} at most: {}",
            in_words(budget),
            flags::of_method(&options.method)
        ));
    }
    chosen.iter().for_each(|choice| progress.say(&choice.in_words()));

    let storage = Storage {
        state: Some(state.clone()),
        resume: args.resume,
        save_every: args.save_every,
        trunk_memory: args.trunk_memory.saturating_mul(1 << 20),
        scratch: folder_of(&args.out).to_path_buf(),
        shared: Shared::default(),
    };
    interrupt::stop_when_asked();
    let dense_bytes = base.encoder.layout().len() * 4;
    let mut trained = 0;
    let mut observe = |event: Event| {
        if let Event::Start { trained: n, .. } = event {
            trained = n;
        }
        progress.show(event);
        !interrupt::interrupted()
    };
    let search = args.search.map(|time| Search { time, folds: args.folds });
    let found = match search {
        Some(search) => {
            let found = search.run(&base, &task.train, metric, &choices, &storage, &mut observe)?;
            choices = found.choices.clone();
            let method = choices.method(base.config())?;
            options = choices.options(method, size, base.config());
            Some(found)
        }
        None => None,
    };
    let outcome = match args.folds {
        Some(folds) => {
            let goal = Goal::of(args.target_precision, args.target_recall)?;
            let folds = (folds, goal);
            let (train, storage) = (&task.train, &storage);
            tune::train_in_folds(&base, train, dev, metric, &options, folds, storage, &mut observe)
                .map(|(outcome, folds)| (outcome, Some(folds)))
        }
        None => {
            let train = task.train.clone();
            tune::train(&base, train, dev, metric, &options, &storage, &mut observe)
                .map(|outcome| (outcome, None))
        }
    };
    progress.finish();
    let (mut outcome, folds) = outcome?;
    if let Some(found) = &found {
        outcome.cut = found.noted(outcome.cut)?;
    }
    let kept = keep(&args.out, args.force, |path, force| outcome.cut.write(path, force))?;
    if kept.in_place()
        && let Err(e) = tune::remove_state(&state)
    {
        say(&format!("warning: {}", e.message()));
    }
    let numbers = (trained, dense_bytes);
    let scored =
        Scored { held_out: task.held_out, majority, folds: folds.as_ref(), found: found.as_ref() };
    report(&args, &kept.path, &outcome, numbers, (&scored, &progress))?;
    kept.check(&args.out)?;
    if let (Some(path), Some(folds)) = (&args.fold_predictions, &folds) {
        write_folds(path, args.force, (&task.train, folds), outcome.cut.card())?;
    }
    let size = outcome.cut.sizes().file;
    if let Some(undecided) = outcome.undecided {
        let hint = "the cut is written and whole, without that threshold; ask for less, or train on more rows";
        return Err(Error::new(undecided.kind(), undecided.message()).with_hint(hint));
    }
    match budget {
        Some(budget) if size > budget => Err(Error::new(
            ErrorKind::Data,
            format!("{} has {size} bytes, more than the {budget} of --budget", args.out.display()),
        )
        .with_hint("it is written and whole; a smaller --budget gives a smaller cut")),
        _ => Ok(()),
    }
}

/// Refuses to lose an earlier run's state, and to resume without one.
fn check_state(args: &TrainArgs, state: &Path) -> Result<()> {
    match (args.resume, state.exists()) {
        (true, false) => Err(Error::new(
            ErrorKind::Io,
            format!("{}: there is no state to resume from", state.display()),
        )
        .with_hint("run without --resume to start")),
        (false, true) if !args.force => Err(Error::new(
            ErrorKind::Io,
            format!("{}: an interrupted run left its state here", state.display()),
        )
        .with_hint("--resume continues it, --force starts over")),
        _ => Ok(()),
    }
}

/// The rows with what the teacher says of them.
fn taught(
    args: &TrainArgs,
    teacher: &Path,
    base: &Base,
    (train, unlabelled): (Dataset, Option<Unlabelled>),
) -> Result<Dataset> {
    let teacher = pack::teacher(teacher, base, train.pairs.is_some())?;
    let rows = train.rows() + unlabelled.as_ref().map_or(0, |(texts, _)| texts.len());
    let bar = progress::plain(args.base.quiet, "teacher {wide_bar} {pos}/{len} rows, {eta} left");
    bar.set_length(rows as u64);
    let mut remarks = vec![];
    let taught = tune::teach(&teacher, train, unlabelled, &mut remarks, &mut |done| {
        bar.set_position(done as u64);
        true
    });
    bar.finish_and_clear();
    let taught = taught?;
    Tell { quiet: args.base.quiet, strict: args.rows.strict }.all(&remarks)?;
    Ok(taught)
}

/// Least size of the cut: head and trained tensors, in full; of masks nobody knows more before.
fn least_bytes(options: &TrainOptions, base: &Base, task: &TaskRows) -> Result<u64> {
    let layout = base.encoder.layout();
    let marks = options.method.marks(&base.encoder)?;
    let stored = match options.method {
        Method::Full | Method::Layers(_) | Method::Bias => {
            let trained = layout.tensors().iter().zip(&marks).filter(|(_, trained)| **trained);
            trained.map(|(spec, _)| spec.range.len()).sum()
        }
        Method::Head | Method::Mask { .. } | Method::LowRank { .. } => 0,
    };
    let head = task.train.labels.len().max(1) * (base.config().hidden + 1);
    Ok(((stored + head) * options.store.size()) as u64)
}

fn choices(args: &TrainArgs) -> Result<Choices> {
    let choices = Choices {
        method: args.method.clone(),
        layers: args.layers.clone(),
        only: args.only.clone(),
        sampling: args.sampling,
        init_sparsity: args.init_sparsity,
        candidates: args.candidates,
        compute: args.compute,
        init_scale: args.init_scale,
        rank: args.rank,
        sparsity: args.sparsity,
        sparsity_scope: args.sparsity_scope,
        objective: args.objective,
        epochs: args.epochs,
        batch: args.batch,
        lr: args.lr,
        mask_lr: args.mask_lr,
        head_lr: args.head_lr,
        dropout: args.dropout,
        warmup: args.warmup,
        seed: args.seed,
        max_length: args.max_length,
        long: args.long,
        early_stop: args.early_stop,
        // Folds fit on what was not trained on without holding rows out.
        calibrate: if args.folds.is_some() { Some(0.0) } else { args.calibrate },
        target_precision: args.target_precision.filter(|_| args.folds.is_none()),
        target_recall: args.target_recall.filter(|_| args.folds.is_none()),
        eval_every: args.eval_every,
        class_weights: choices::all_weights(&args.weights, &args.class_weights)?,
        store: args.store,
    };
    if args.distill.is_some() { choices.taught() } else { Ok(choices) }
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

fn describe(task: &TaskRows, options: &TrainOptions, base: &str) -> String {
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
        Some(more) => format!(", {} without labels", rows(more.rows())),
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
fn labels_in_words(train: &Dataset) -> String {
    if let Targets::Values(values) = &train.targets {
        let (least, most) = values
            .iter()
            .fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), &v| (a.min(v), b.max(v)));
        let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / values.len() as f64;
        return format!("numbers from {least} to {most}, mean {mean:.4}");
    }
    let counts = train.label_counts();
    let label = |at: usize| format!("{:?} ({})", train.labels[at], rows(counts[at]));
    // Of equals the first.
    let most = (0..counts.len()).rev().max_by_key(|&at| counts[at]).unwrap_or(0);
    let least = (0..counts.len()).min_by_key(|&at| counts[at]).unwrap_or(0);
    let often = if counts[most] == counts[least] {
        format!("{} of each label", rows(counts[most]))
    } else {
        format!("most frequent label: {}, rarest: {}", label(most), label(least))
    };
    let without = match &train.targets {
        Targets::MultiHot(rows) => rows.iter().filter(|row| row.is_empty()).count(),
        _ => 0,
    };
    let without =
        if without > 0 { format!("; without any: {}", rows(without)) } else { String::new() };
    often + &without
}

fn rows(count: usize) -> String {
    format!("{count} {}", if count == 1 { "row" } else { "rows" })
}

/// What there is to say of labels that stand in the rows scored and were never given rightly.
fn not_found(labels: &[String], classes: &[ClassScore]) -> Option<String> {
    const NAMED: usize = 5;
    let missed: Vec<_> = labels
        .iter()
        .zip(classes)
        .filter(|(_, class)| class.support > 0 && class.recall == 0.0)
        .map(|(label, class)| format!("{label:?} ({})", rows(class.support)))
        .collect();
    let more = missed.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let named = missed[..missed.len().min(NAMED)].join(", ");
    (!missed.is_empty()).then(|| format!("note: labels of which no row was found: {named}{more}"))
}

/// Writes what cuts say of rows that they were not trained on, a JSON object a line.
fn write_folds(
    path: &Path,
    force: bool,
    (rows, folds): (&Dataset, &Folds),
    card: &Card,
) -> Result<()> {
    let more = More { scores: true, logits: false, top: None };
    let predictions = Predictions::new(card, folds.logits.clone(), more);
    let kept = keep(path, force, |path, force| {
        write_file(path, force, |to| {
            for row in 0..rows.rows() {
                let mut line = Map::from_iter([
                    ("row".into(), json!(row + 1)),
                    ("fold".into(), json!(folds.of[row] + 1)),
                    ("text".into(), json!(rows.texts[row])),
                ]);
                if let Some(pairs) = &rows.pairs {
                    line.insert("text_pair".into(), json!(pairs[row]));
                }
                let label = |label: &u32| &rows.labels[*label as usize];
                let truth = match &rows.targets {
                    Targets::Classes(all) => json!(label(&all[row])),
                    Targets::MultiHot(all) => json!(all[row].iter().map(label).collect::<Vec<_>>()),
                    Targets::Values(all) => json!(all[row]),
                };
                line.insert("truth".into(), truth);
                line.extend(predictions.row(row).json());
                to.write_all(json_line(&line.into()).as_bytes())?;
            }
            Ok(())
        })
    })?;
    kept.check(path)
}

/// What a run's score is held against.
struct Scored<'a> {
    /// Whether the dev rows were held out of the training rows.
    held_out: bool,
    majority: Option<Score>,
    folds: Option<&'a Folds>,
    found: Option<&'a Searched>,
}

fn report(
    args: &TrainArgs,
    out: &Path,
    outcome: &Outcome,
    (trained, dense_bytes): (usize, usize),
    (scored, progress): (&Scored<'_>, &Progress),
) -> Result<()> {
    let (card, sizes) = (outcome.cut.card(), outcome.cut.sizes());
    let masked = card.tensors.values().filter(|note| note.zeros.is_some());
    let masked: usize = masked.map(|note| note.shape.iter().product::<usize>()).sum();
    let zeros: u64 = card.tensors.values().filter_map(|note| note.zeros).sum();
    let sparsity = (masked > 0).then(|| zeros as f64 / masked as f64);
    let seconds = progress.steps_time.as_secs_f64();
    if args.json {
        let result = json!({
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
            "sparsity": sparsity,
            "bytes": sizes.file,
            "head_bytes": sizes.head,
            "base_bytes": dense_bytes,
            "training_texts_cut": outcome.texts_cut,
            "dev_texts_cut": outcome.evaluation_texts_cut,
            "seconds": seconds,
            "tokens_per_second": progress.steps_tokens as f64 / seconds.max(1e-9),
        });
        return print_json(&result);
    }
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
        let value = score.value.map_or("undefined".into(), |v| format!("{:.2}", 100.0 * v));
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
        text += &format!("temperature {:.3}{answers}\n", decision.temperature);
    }
    if let Some(slim) = &card.slim {
        let compute = card.training["compute"].as_f64().unwrap_or(1.0);
        text += &format!("{:.1}% of the compute: {}\n", 100.0 * compute, slim_in_words(slim));
    }
    let zeros = sparsity.map_or(String::new(), |s| format!(", {:.2}% zeros", 100.0 * s));
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
        "{name} {}{spread} in {} folds of {} rows, mean and standard deviation{always}\n",
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;
    use linocut::tune::metrics::Confusion;
    use linocut::tune::{Dropout, Selection};

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

    #[test]
    fn help_states_the_defaults() {
        let cli = Cli::command();
        let train = cli.find_subcommand("train").unwrap();
        let default = TrainOptions::new(Method::mask(), 1000);
        let bias = TrainOptions::new(Method::Bias, 1000);
        let few = default.clone().by(Objective::Pairs, 100);
        let head = TrainOptions::new(Method::Head, 1000);
        let Method::Mask { init_sparsity, candidates, .. } = default.method else { unreachable!() };
        let Dropout::Fixed(dropout) = default.dropout else { unreachable!() };
        let Some(Method::LowRank { rank, .. }) = Method::plain("lora") else { unreachable!() };
        for (option, value) in [
            ("batch", format!("{}; of pairs {}", default.batch, few.batch)),
            ("rank", rank.to_string()),
            (
                "lr",
                format!(
                    "{}; bias: {}; lora: {} / √rank",
                    TrainOptions::new(Method::Full, 1000).lr,
                    bias.lr,
                    TrainOptions::new(Method::low_rank(1, Selection::default()), 1000).lr
                ),
            ),
            ("mask_lr", default.mask_lr.to_string()),
            (
                "head_lr",
                format!("{}; mask: {}; head: {}", bias.head_lr, default.head_lr, head.head_lr),
            ),
            ("warmup", default.warmup.to_string()),
            ("dropout", dropout.to_string()),
            ("max_length", default.max_length.to_string()),
            ("init_scale", "6 to 8, by the number of steps".into()),
            ("init_sparsity", init_sparsity.to_string()),
            (
                "candidates",
                format!("{candidates}; 1 with --init-sparsity or a --sparsity above 1%"),
            ),
        ] {
            let argument = train.get_arguments().find(|a| a.get_id() == option).unwrap();
            let help = argument.get_help().unwrap().to_string();
            assert!(help.contains(&format!("[default: {value}]")), "--{option}: {help}");
        }
    }
}
