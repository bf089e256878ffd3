//! `linocut train`

use crate::args::TrainArgs;
use crate::flags;
use crate::interrupt;
use crate::output::{print, print_json, say};
use crate::place;
use crate::progress::Progress;
use linocut::data::{Dataset, Targets, TaskRows};
use linocut::model::{Base, Slim, SlimLayer};
use linocut::output::{check_room, folder_of, in_words, keep};
use linocut::study;
use linocut::tune::metrics::{ClassScore, Score};
use linocut::tune::{
    self, Choices, Event, Method, Objective, Outcome, Shared, Storage, TrainOptions,
};
use linocut::{Error, ErrorKind, Result};
use serde_json::json;
use std::path::Path;

pub(crate) fn run(args: TrainArgs) -> Result<()> {
    let state = tune::state_path(&args.out);
    let _held = place::claim(&args.out, "out", args.force)?;
    check_state(&args, &state)?;
    let task = args.rows.read(args.task.as_deref(), args.seed, args.base.quiet)?;
    let base = args.base.open(args.pooling)?;
    let budget = args.budget.map(|budget| budget.of(base.encoder.layout().len() as u64 * 4));
    let (method, choices, chosen) =
        study::method_for(choices(&args), &base, &task.train, budget, args.study.as_deref())?;
    for note in chosen.iter().flat_map(|choice| &choice.passed_over) {
        say(&format!("note: {note}"));
    }
    let size = (task.train.problem, task.train.rows());
    let options = choices.options(method, size, base.config());
    options.check()?;
    base.check_max_length(options.max_length)?;
    check_room(&args.out, least_bytes(&options, &base, &task)?)?;
    let mut progress = Progress::new(args.base.quiet);
    progress.say(&describe(&task, &options, &base.name));
    progress.say(&labels_in_words(&task.train));
    let majority = tune::majority_score(&task.train, &task.dev, task.metric.as_ref())?;
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
    let outcome = tune::train(
        &base,
        task.train,
        Some(&task.dev),
        task.metric.as_ref(),
        &options,
        &storage,
        &mut |event| {
            if let Event::Start { trained: n, .. } = event {
                trained = n;
            }
            progress.show(event);
            !interrupt::interrupted()
        },
    );
    progress.finish();
    let outcome = outcome?;
    let kept = keep(&args.out, args.force, |path, force| outcome.cut.write(path, force))?;
    if kept.in_place()
        && let Err(e) = tune::remove_state(&state)
    {
        say(&format!("warning: {}", e.message()));
    }
    let numbers = (trained, dense_bytes);
    report(&args, &kept.path, &outcome, numbers, (task.held_out, majority, &progress))?;
    kept.check(&args.out)?;
    let size = outcome.cut.sizes().file;
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

fn choices(args: &TrainArgs) -> Choices {
    Choices {
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
        early_stop: args.early_stop,
        eval_every: args.eval_every,
        class_weights: args.class_weights,
        store: args.store,
    }
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
    let how = match (options.objective, &options.method) {
        (Objective::Labels, _) => format!("{} epochs", options.epochs),
        (Objective::Pairs, Method::Head) => "found outright".into(),
        (Objective::Pairs, _) => format!("{} epochs of pairs", options.epochs),
    };
    format!(
        "{}: {} rows, {} dev rows{held_out}, {kind}; {} on {base}, {how}",
        train.name,
        train.rows(),
        dev.rows(),
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

fn report(
    args: &TrainArgs,
    out: &Path,
    outcome: &Outcome,
    (trained, dense_bytes): (usize, usize),
    (held_out, majority, progress): (bool, Option<Score>, &Progress),
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
            "dev_rows_held_out": held_out,
            "majority": majority,
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
            let max_length = card.max_length;
            say(&format!(
                "note: {count} {which} texts are longer than {max_length} tokens and were cut"
            ));
        }
    }
    let mut text = String::new();
    if let Some(evaluation) = &outcome.evaluation {
        let rows = evaluation.metrics.rows;
        let score = &evaluation.metrics.primary;
        let value = score.value.map_or("undefined".into(), |v| format!("{:.2}", 100.0 * v));
        let which = if held_out { "held-out rows" } else { "dev rows" };
        text += &format!("{} {value} on {rows} {which}", score.name.replace('_', " "));
        if let Some(always) = majority.and_then(|score| score.value) {
            text += &format!("; the most frequent label for all: {:.2}", 100.0 * always);
        }
        text += "\n";
        not_found(&card.labels, &evaluation.classes).iter().for_each(|note| progress.say(note));
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
