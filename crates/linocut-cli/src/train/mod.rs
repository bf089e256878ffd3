//! `linocut train`

mod log;
mod report;

use crate::args::TrainArgs;
use crate::choices;
use crate::flags;
use crate::interrupt;
use crate::output::{json_line, print_json, say};
use crate::place;
use crate::predict::{More, Predictions};
use crate::progress::{self, Progress};
use crate::task::Tell;
use linocut::checkpoint::write_file;
use linocut::cut::Card;
use linocut::data::{Dataset, Targets, TaskFolder, TaskRows};
use linocut::model::Base;
use linocut::output::{check_room, folder_of, in_words, keep};
use linocut::pack;
use linocut::study;
use linocut::tune::{
    self, Choices, Event, Folds, Method, Shared, Storage, TrainOptions, Trained, Unlabelled,
};
use linocut::{Error, ErrorKind, Result};
use log::RunLog;
use report::Scored;
use serde_json::{Map, json};
use std::path::{Path, PathBuf};

pub(crate) fn run(args: TrainArgs) -> Result<()> {
    let state = tune::state_path(&args.out);
    check_apart(&args, &state)?;
    let _held = place::claim(&args.out, "out", args.force)?;
    let folds = args.fold_predictions.as_ref();
    let _folds_held =
        folds.map(|path| place::claim(path, "fold_predictions", args.force)).transpose()?;
    let log = args.log.as_ref();
    let goes_on = args.force || args.resume && log.is_some_and(|path| log::is_log(path));
    let _log_held = log.map(|path| place::claim(path, "log", goes_on)).transpose()?;
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
    let (method, choices, chosen) =
        study::method_for(choices, &base, &task.train, budget, args.study.as_deref())?;
    for note in chosen.iter().flat_map(|choice| &choice.passed_over) {
        say(&format!("note: {note}"));
    }
    let more = unlabelled.as_ref().map_or(0, |(texts, _)| texts.len());
    let size = (task.train.problem, task.train.rows() + more);
    let options = choices.options(method.clone(), size, base.config());
    options.check()?;
    options.check_for(&task.train)?;
    base.check_max_length(options.max_length)?;
    check_room(&args.out, least_bytes(&options, &base, &task)?)?;
    if let Some(teacher) = &args.distill {
        task.train = taught(&args, teacher, &base, (task.train, unlabelled))?;
    }
    let about = json!({
        "task": task.train.name,
        "base": base.name,
        "method": options.method.name(),
        "rows": task.train.rows(),
        "dev_rows": task.dev.rows(),
    });
    let mut log = RunLog::open(args.log.as_deref(), args.resume, about)?;
    let mut progress = Progress::new(args.base.quiet);
    progress.say(&report::task(&task, &options, &base.name));
    progress.say(&report::labels(&task.train));
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
        log.event(&event);
        progress.show(event);
        !interrupt::interrupted()
    };
    let asked = (method, &choices);
    let trained_task =
        tune::train_as(&base, &task.train, dev, metric, asked, &storage, &mut observe);
    progress.finish();
    let Trained { outcome, folds, searched, .. } = trained_task.inspect_err(|e| log.failed(e))?;
    let kept = keep(&args.out, args.force, |path, force| outcome.cut.write(path, force))?;
    if kept.in_place()
        && let Err(e) = tune::remove_state(&state)
    {
        say(&format!("warning: {}", e.message()));
    }
    let (folds, found) = (folds.as_ref(), searched.as_ref());
    let scored = Scored { held_out: task.held_out, majority, folds, found };
    let scored = (&scored, &progress);
    let result = report::result(&kept.path, &outcome, (trained, dense_bytes), scored);
    log.result(&result);
    match args.json {
        true => print_json(&result)?,
        false => report::print_result(&kept.path, &outcome, dense_bytes, scored)?,
    }
    kept.check(&args.out)?;
    if let (Some(path), Some(folds)) = (&args.fold_predictions, folds) {
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

/// Refuses to write two things into one file, or over what is read.
fn check_apart(args: &TrainArgs, state: &Path) -> Result<()> {
    let rows = &args.rows;
    let named = |field, path: &Option<PathBuf>| path.clone().map(|path| (field, path));
    let in_folder = |folder: &PathBuf| {
        let task = TaskFolder::open(folder).ok(); // what is wrong with it is said later
        let files = task.map(|task| [Some(task.train), task.dev, Some(folder.join("task.json"))]);
        files.into_iter().flatten().flatten().map(|path| ("`task`", path))
    };
    let read = [
        named("`train`", &rows.train),
        named("`dev`", &rows.dev),
        named("`labels`", &rows.labels),
        named("`unlabelled`", &args.unlabelled),
        named("`distill`", &args.distill),
    ];
    let written = [
        Some(("`out`", args.out.clone())),
        Some(("the state of the run", state.to_path_buf())),
        named("`fold_predictions`", &args.fold_predictions),
        named("`log`", &args.log),
    ];
    let read = read.into_iter().flatten().chain(args.task.iter().flat_map(in_folder));
    let mut taken: Vec<_> = read.map(|(what, path)| (what, place::whole(&path))).collect();
    for (what, path) in written.into_iter().flatten() {
        let whole = place::whole(&path);
        if let Some((other, _)) = taken.iter().find(|(_, other)| *other == whole) {
            let message = format!("{}: {other} and {what} are the same file", path.display());
            return Err(
                Error::new(ErrorKind::Config, message).with_hint("give each a file of its own")
            );
        }
        taken.push((what, whole));
    }
    Ok(())
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
        calibrate: args.calibrate,
        target_precision: args.target_precision,
        target_recall: args.target_recall,
        folds: args.folds,
        search: args.search.map(|time| time.as_secs_f64()),
        eval_every: args.eval_every,
        class_weights: choices::all_weights(&args.weights, &args.class_weights)?,
        store: args.store,
    };
    if args.distill.is_some() { choices.taught() } else { Ok(choices) }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::Cli;
    use clap::CommandFactory;
    use linocut::tune::{Dropout, Objective, Selection};

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
