//! The runs of a study, one after the other.

use super::{StudyArgs, time};
use crate::interrupt;
use crate::progress::Progress;
use crate::train::bytes;
use linocut::model::Base;
use linocut::study::{ArmOutcome, Folder, Grid, Record, Run, train_arm, trained};
use linocut::tune::{Method, Shared, Storage};
use linocut::{ErrorKind, Result};
use std::path::Path;
use std::time::{Duration, Instant};

/// How a session of a study ended.
pub(super) enum Ended {
    /// With everything done that fits the time budget.
    Done,
    Interrupted,
}

/// Does the runs that are missing, as far as the time budget allows.
pub(super) fn run_missing(
    args: &StudyArgs,
    grid: &Grid<'_>,
    base: &Base,
    folder: &mut Folder,
    shared: Shared,
) -> Result<Ended> {
    let say = |line: &str| {
        if !args.base.quiet {
            eprintln!("{line}");
        }
    };
    let name = |run: Run| {
        let (task, arm) = (&grid.tasks[run.task].train.name, &grid.arms[run.arm].name);
        (task.clone(), arm.clone())
    };
    let mut missing = Vec::new();
    let runs = grid.runs();
    for &run in &runs {
        let (task, arm) = name(run);
        if folder.find(&task, &arm, run.seed).is_none() {
            missing.push((run, grid.work(run, &base.encoder)?));
        }
    }
    if missing.is_empty() {
        say(&format!("all {} runs are done", runs.len()));
        return Ok(Ended::Done);
    }
    let mut pace = grid.pace(folder.records(), base)?;
    let took = |work: f64, pace: f64| Duration::from_secs_f64(work * pace);
    let to_go: f64 = missing.iter().map(|(_, work)| work).sum();
    let all = took(to_go, pace);
    say(&format!(
        "{} runs of {} ({} tasks, {} arms, {} seeds) to do, about {}",
        missing.len(),
        runs.len(),
        grid.tasks.len(),
        grid.arms.len(),
        grid.seeds,
        time::shown(all)
    ));
    if let Some(budget) = args.time_budget.filter(|budget| all > *budget) {
        let mut end = Duration::ZERO;
        let fits = missing.iter().filter(|(_, work)| {
            let next = end + took(*work, pace);
            let fits = next <= budget;
            if fits {
                end = next;
            }
            fits
        });
        say(&format!(
            "about {} of them fit {}; those that tell most come first",
            fits.count(),
            time::shown(budget)
        ));
    }
    interrupt::listen();
    let storage = Storage {
        state: None,
        resume: false,
        save_every: None,
        trunk_memory: 2 << 30,
        scratch: args.out.clone(),
        shared,
    };
    let (started, mut done, mut skipped) = (Instant::now(), 0, 0);
    for (i, &(run, work)) in missing.iter().enumerate() {
        let (task, arm) = name(run);
        let late = |budget: Duration| started.elapsed() + took(work, pace) > budget;
        if args.time_budget.is_some_and(late) {
            skipped += 1;
            continue;
        }
        let needed = match grid.needs(run) {
            None => None,
            Some((other, at)) => {
                let other_task = &grid.tasks[at].train.name;
                let Some(record) = folder.find(other_task, other, run.seed) else {
                    skipped += 1; // what it starts from did not fit either
                    continue;
                };
                match &record.cut {
                    Some(cut) => Some(folder.path().join(cut)),
                    None => {
                        let why = format!("{other} on {other_task}, which it starts from, failed");
                        folder.add(failed(grid, run, why), None)?;
                        continue;
                    }
                }
            }
        };
        let left: f64 = missing[i..].iter().map(|(_, work)| work).sum();
        let left = time::shown(took(left, pace));
        let seed = run.seed;
        say(&format!("[{}/{}] {task}: {arm}, seed {seed}; {left} left", i + 1, missing.len()));
        let begun = Instant::now();
        match train(args, grid, run, (base, needed.as_deref()), &storage) {
            Ok(arm) => {
                let seconds = begun.elapsed().as_secs_f64();
                let record = record(grid, run, base, &arm, (seconds, work))?;
                let score =
                    record.score.map_or("undefined".into(), |s| format!("{:.2}", 100.0 * s));
                say(&format!("  {} {score}, {}", record.metric, bytes(record.bytes)));
                folder.add(record, Some(&arm.outcome.cut))?;
                done += 1;
            }
            Err(error) if error.kind() == ErrorKind::Diverged => {
                let why = error.to_string().lines().next().unwrap_or_default().to_string();
                say(&format!("  {why}"));
                folder.add(failed(grid, run, why), None)?;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(Ended::Interrupted),
            Err(error) => return Err(error),
        }
        if done > 0 {
            pace = grid.pace(folder.records(), base)?;
        }
    }
    if skipped > 0 {
        eprintln!(
            "note: {skipped} of {} runs did not fit the time budget; the same command goes on",
            missing.len()
        );
    }
    Ok(Ended::Done)
}

fn train(
    args: &StudyArgs,
    grid: &Grid<'_>,
    run: Run,
    (base, needed): (&Base, Option<&Path>),
    storage: &Storage,
) -> Result<ArmOutcome> {
    // A run consumes its base's weights.
    let fresh = Base::open(&base.folder, Some(base.encoder.pooling()))?;
    let mut progress = Progress::new(args.base.quiet);
    let outcome = train_arm(grid, run, fresh, needed, storage, &mut |event| {
        progress.show(event);
        !interrupt::interrupted()
    });
    progress.finish();
    outcome
}

fn record(
    grid: &Grid<'_>,
    run: Run,
    base: &Base,
    arm: &ArmOutcome,
    (seconds, work): (f64, f64),
) -> Result<Record> {
    let ArmOutcome { outcome, options, sampled } = arm;
    let (task, arm) = (&grid.tasks[run.task].train.name, &grid.arms[run.arm].name);
    let (card, sizes) = (outcome.cut.card(), outcome.cut.sizes());
    let primary = outcome.evaluation.as_ref().map(|e| e.metrics.primary.clone());
    let trained = trained(&options.method, &base.encoder)?;
    let notes = || card.tensors.values().filter(|note| note.zeros.is_some());
    let masked = match options.method {
        // A matrix whose mask keeps everything is not in the cut, but counts.
        Method::Mask { .. } => trained,
        // Zeros as arm mask has them.
        Method::Head if notes().next().is_some() => self::trained(&Method::mask(), &base.encoder)?,
        _ => 0,
    };
    Ok(Record {
        task: task.clone(),
        arm: arm.clone(),
        seed: run.seed,
        cut: Some(Folder::cut_name(task, arm, run.seed)),
        options: serde_json::json!(options),
        metric: primary.as_ref().map_or(String::new(), |p| p.name.clone()),
        score: primary.and_then(|p| p.value),
        sampled: *sampled,
        failed: None,
        bytes: sizes.file,
        head_bytes: sizes.head,
        zeros: notes().filter_map(|note| note.zeros).sum(),
        masked,
        trained,
        seconds,
        work,
    })
}

/// The record of a run without a cut.
fn failed(grid: &Grid<'_>, run: Run, why: String) -> Record {
    Record {
        task: grid.tasks[run.task].train.name.clone(),
        arm: grid.arms[run.arm].name.clone(),
        seed: run.seed,
        cut: None,
        options: serde_json::Value::Null,
        metric: String::new(),
        score: None,
        sampled: None,
        failed: Some(why),
        bytes: 0,
        head_bytes: 0,
        zeros: 0,
        masked: 0,
        trained: 0,
        seconds: 0.0,
        work: 0.0,
    }
}
