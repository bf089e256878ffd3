//! The runs of a study: as many at a time as `--jobs` says.

use super::{StudyArgs, time};
use crate::interrupt;
use crate::output::say;
use crate::progress::{Progress, bars};
use indicatif::MultiProgress;
use linocut::model::Base;
use linocut::output::in_words;
use linocut::study::{ArmOutcome, Folder, Grid, Record, Run, train_arm, trained};
use linocut::tune::{Method, Shared, Storage};
use linocut::{Error, ErrorKind, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::PathBuf;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
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
    let runs = grid.runs();
    let recorded = |run: Run| {
        let (task, arm) = grid.names(run);
        folder.find(task, arm, run.seed)
    };
    // A deleted cut is made again only if a run that is missing starts from it.
    let needed: Vec<Run> = runs
        .iter()
        .filter(|run| recorded(**run).is_none())
        .filter_map(|run| grid.needs(*run))
        .collect();
    let mut missing = Vec::new();
    for &run in &runs {
        let again = |done: &Record| {
            needed.contains(&run) && done.cut.is_some() && folder.cut_of(done).is_none()
        };
        if recorded(run).is_none_or(again) {
            missing.push((run, grid.work(run, &base.encoder)?));
        }
    }
    let session = Session {
        args,
        grid,
        base,
        storage: Storage {
            state: None,
            resume: false,
            save_every: None,
            trunk_memory: 2 << 30,
            scratch: args.out.clone(),
            shared,
        },
        bars: bars(args.base.quiet),
        started: Instant::now(),
        all: missing.len(),
    };
    if missing.is_empty() {
        session.say(&format!("all {} runs are done", runs.len()));
        return Ok(Ended::Done);
    }
    folder.check_adding()?;
    let pace = grid.pace(folder.records(), base)?;
    session.announce(runs.len(), &missing, pace);
    interrupt::stop_when_asked();
    let board = Board { folder, missing, pace, running: Vec::new(), skipped: 0, error: None };
    let (board, changed) = (Mutex::new(board), Condvar::new());
    let threads = (rayon::current_num_threads() / args.jobs).max(1);
    let pools = (0..args.jobs).map(|_| ThreadPoolBuilder::new().num_threads(threads).build());
    let pools = pools.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| {
        let message = format!("cannot start {} × {threads} threads: {e}", args.jobs);
        Error::new(ErrorKind::Io, message).with_hint("lower --jobs")
    })?;
    std::thread::scope(|scope| {
        for pool in &pools {
            scope.spawn(|| session.work(pool, &board, &changed));
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    match board.error {
        Some(error) if error.kind() == ErrorKind::Interrupted => return Ok(Ended::Interrupted),
        Some(error) => return Err(error),
        None => {}
    }
    if board.skipped > 0 {
        say(&format!(
            "note: {} of {} runs did not fit the time budget; the same command goes on",
            board.skipped, session.all
        ));
    }
    Ok(Ended::Done)
}

/// What does not change while the runs are done.
struct Session<'a> {
    args: &'a StudyArgs,
    grid: &'a Grid<'a>,
    base: &'a Base,
    storage: Storage,
    bars: MultiProgress,
    started: Instant,
    /// Runs that were missing.
    all: usize,
}

/// What the jobs share.
struct Board<'a> {
    folder: &'a mut Folder,
    /// Runs that are not begun, those that tell most first, with their work.
    missing: Vec<(Run, f64)>,
    running: Vec<(Run, f64)>,
    /// Seconds a unit of work.
    pace: f64,
    skipped: usize,
    /// The first that came: no run is begun after it, and those under way stop.
    error: Option<Error>,
}

/// What a job is to do.
enum Next {
    /// This run, from the cut in this file if it needs one.
    Run(Run, f64, Option<PathBuf>),
    /// Wait for another job: what is left needs the run that it does.
    Wait,
    End,
}

/// At most a year: sums of these do not overflow.
fn took(work: f64, pace: f64) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    Duration::try_from_secs_f64(work * pace).unwrap_or(YEAR).min(YEAR)
}

impl Session<'_> {
    /// Prints a line above the bars.
    fn say(&self, line: &str) {
        if !self.args.base.quiet {
            self.bars.suspend(|| say(line));
        }
    }

    /// Says how much there is to do, and how much of it fits the time budget.
    fn announce(&self, runs: usize, missing: &[(Run, f64)], pace: f64) {
        // What ends when, if every run is begun by the job that is free first.
        let end = |runs: &mut dyn Iterator<Item = f64>, budget: Option<Duration>| {
            let (mut jobs, mut fit) = (vec![Duration::ZERO; self.args.jobs], 0);
            for work in runs {
                let Some(first) = jobs.iter_mut().min() else { break };
                let next = *first + took(work, pace);
                if budget.is_none_or(|budget| next <= budget) {
                    *first = next;
                    fit += 1;
                }
            }
            (jobs.into_iter().max().unwrap_or_default(), fit)
        };
        let works = || missing.iter().map(|(_, work)| *work);
        let (all, _) = end(&mut works(), None);
        let Grid { tasks, arms, seeds, .. } = self.grid;
        self.say(&format!(
            "{} runs of {runs} ({} tasks, {} arms, {seeds} seeds) to do, about {}",
            missing.len(),
            tasks.len(),
            arms.len(),
            time::shown(all)
        ));
        if let Some(budget) = self.args.time_budget.filter(|budget| all > *budget) {
            let (_, fit) = end(&mut works(), Some(budget));
            let budget = time::shown(budget);
            self.say(&format!("about {fit} of them fit {budget}; those that tell most come first"));
        }
    }

    /// Does one run after the other until there is none left for this job.
    fn work(&self, pool: &ThreadPool, board: &Mutex<Board<'_>>, changed: &Condvar) {
        let lock = || board.lock().unwrap_or_else(PoisonError::into_inner);
        let _end = JobEnd { board, changed };
        let mut held = lock();
        loop {
            let next = held.next(self).unwrap_or_else(|error| {
                held.error.get_or_insert(error);
                Next::End
            });
            match next {
                Next::End => break,
                Next::Wait => {
                    held = changed.wait(held).unwrap_or_else(PoisonError::into_inner);
                }
                Next::Run(run, work, needed) => {
                    self.say(&self.begun(run, &held));
                    drop(held);
                    let begun = Instant::now();
                    let stop = || interrupt::interrupted() || lock().error.is_some();
                    let arm = pool.install(|| self.train(run, needed, &stop));
                    held = lock();
                    let done = self.keep(&mut held, run, arm, (begun.elapsed(), work));
                    held.running.retain(|(other, _)| *other != run);
                    if let Err(error) = done {
                        held.error.get_or_insert(error);
                    }
                    changed.notify_all();
                }
            }
        }
    }

    /// `[3/24] trec6: mask, seed 0; 34 min left`
    fn begun(&self, run: Run, board: &MutexGuard<'_, Board<'_>>) -> String {
        let left: f64 = board.missing.iter().chain(&board.running).map(|(_, work)| work).sum();
        let left = time::shown(took(left / self.args.jobs as f64, board.pace));
        let (task, arm) = self.grid.names(run);
        let at = self.all - board.missing.len();
        format!("[{at}/{}] {task}: {arm}, seed {}; {left} left", self.all, run.seed)
    }

    fn train(
        &self,
        run: Run,
        needed: Option<PathBuf>,
        stop: &dyn Fn() -> bool,
    ) -> Result<ArmOutcome> {
        // A run consumes its base's weights.
        let fresh = Base::open(&self.base.folder, Some(self.base.encoder.pooling()))?;
        let mut progress = Progress::among(&self.bars);
        let outcome =
            train_arm(self.grid, run, fresh, needed.as_deref(), &self.storage, &mut |event| {
                progress.show(event);
                !stop()
            });
        progress.finish();
        outcome
    }

    /// Records what a run came to.
    fn keep(
        &self,
        board: &mut Board<'_>,
        run: Run,
        arm: Result<ArmOutcome>,
        (took, work): (Duration, f64),
    ) -> Result<()> {
        let (task, name) = self.grid.names(run);
        let shown = |result: String| format!("  {task}: {name}, seed {}: {result}", run.seed);
        match arm {
            Ok(arm) => {
                let record = record(self.grid, run, self.base, &arm, (took.as_secs_f64(), work))?;
                let score =
                    record.score.map_or("undefined".into(), |s| format!("{:.2}", 100.0 * s));
                self.say(&shown(format!("{} {score}, {}", record.metric, in_words(record.bytes))));
                board.folder.add(record, Some(&arm.outcome.cut))?;
                board.pace = self.grid.pace(board.folder.records(), self.base)?;
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::Diverged => {
                let why = error.to_string().lines().next().unwrap_or_default().to_string();
                self.say(&shown(why.clone()));
                board.folder.add(failed(self.grid, run, why), None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Lives as long as its job. However that ends, no other waits for a run that will not come.
struct JobEnd<'a, 'b> {
    board: &'a Mutex<Board<'b>>,
    changed: &'a Condvar,
}

impl Drop for JobEnd<'_, '_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            // Not shown: the panic is.
            let error = || Error::new(ErrorKind::Interrupted, "a run ended by a panic");
            board.error.get_or_insert_with(error);
        }
        self.changed.notify_all();
    }
}

impl Board<'_> {
    /// The first run that can begin; it counts as running then. Runs that would end too late are
    /// passed over for good, and those whose start failed are recorded as failed.
    fn next(&mut self, session: &Session<'_>) -> Result<Next> {
        let grid = session.grid;
        let mut at = 0;
        while self.error.is_none() && at < self.missing.len() {
            let (run, work) = self.missing[at];
            let late = |b: Duration| session.started.elapsed() + took(work, self.pace) > b;
            if session.args.time_budget.is_some_and(late) {
                self.missing.remove(at);
                self.skipped += 1;
                continue;
            }
            let mut needed = None;
            if let Some(other) = grid.needs(run) {
                let mut coming = self.missing.iter().chain(&self.running);
                if coming.any(|(run, _)| *run == other) {
                    at += 1;
                    continue;
                }
                let (task, arm) = grid.names(other);
                let done = self.folder.find(task, arm, other.seed);
                needed = done.and_then(|done| self.folder.cut_of(done));
                if done.is_some_and(|done| done.failed.is_some()) {
                    let why = format!("{arm} on {task}, which it starts from, failed");
                    self.folder.add(failed(grid, run, why), None)?;
                    self.missing.remove(at);
                    continue;
                }
                if needed.is_none() {
                    self.missing.remove(at);
                    self.skipped += 1; // what it starts from did not fit either
                    continue;
                }
            }
            self.missing.remove(at);
            self.running.push((run, work));
            return Ok(Next::Run(run, work, needed));
        }
        Ok(if self.error.is_none() && at > 0 { Next::Wait } else { Next::End })
    }
}

fn record(
    grid: &Grid<'_>,
    run: Run,
    base: &Base,
    arm: &ArmOutcome,
    (seconds, work): (f64, f64),
) -> Result<Record> {
    let ArmOutcome { outcome, options, sampled } = arm;
    let (task, arm) = grid.names(run);
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
        task: task.to_string(),
        arm: arm.to_string(),
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
    let (task, arm) = grid.names(run);
    Record {
        task: task.to_string(),
        arm: arm.to_string(),
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
