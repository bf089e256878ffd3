//! The runs of a study that are missing, several at a time where that is asked for.

use super::folder::Folder;
use super::grid::{Grid, Run, trained};
use super::record::{Record, SEEDS};
use super::run::{ArmOutcome, train_arm};
use crate::cut::Cut;
use crate::model::Base;
use crate::tune::{Event, Method, Shared, Storage, TrainOptions};
use crate::{Error, ErrorKind, Result};
use rayon::{ThreadPool, ThreadPoolBuilder};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How the missing runs are done.
#[derive(Debug, Clone)]
pub struct Pace {
    /// Runs at a time, each on its share of the threads.
    pub jobs: usize,
    /// No run is begun that would end later.
    pub time_budget: Option<Duration>,
}

/// Checks what is said of a study before its data are read.
///
/// # Errors
/// A number out of its range.
pub fn check(seeds: u64, jobs: usize, epochs: Option<usize>) -> Result<()> {
    let fail = |what: &str, expected: String| {
        Err(Error::new(ErrorKind::Config, format!("{what}, expected {expected}")))
    };
    if !(1..=SEEDS).contains(&seeds) {
        return fail(&format!("`seeds` is {seeds}"), format!("1 to {SEEDS}"));
    }
    if !(1..=1000).contains(&jobs) {
        return fail(&format!("`jobs` is {jobs}"), "1 to 1000".into());
    }
    match epochs {
        Some(epochs) => TrainOptions { epochs, ..TrainOptions::new(Method::Head, 1) }.check(),
        None => Ok(()),
    }
}

/// What happens while the runs are done.
#[derive(Debug, Clone)]
pub enum Happening<'a> {
    /// Once, before the first run.
    Planned {
        /// Runs of the whole grid.
        runs: usize,
        /// Those to do.
        missing: usize,
        /// How long that takes, about.
        time: Duration,
        /// How many of them fit the time budget, about; none where all do.
        fitting: Option<usize>,
    },
    /// A run begins.
    Begun {
        /// Which of the jobs does it.
        job: usize,
        /// The run's number among those to do, from 1, and how many they are.
        at: (usize, usize),
        /// Names of task and arm.
        names: (&'a str, &'a str),
        /// Its seed.
        seed: u64,
        /// How long all that is left takes, about.
        left: Duration,
    },
    /// It goes on.
    Event {
        /// Which of the jobs.
        job: usize,
        /// What is heard of it.
        event: Event,
    },
    /// It ended.
    Ended {
        /// Which of the jobs.
        job: usize,
        /// What was recorded; none where the run was stopped.
        record: Option<&'a Record>,
    },
}

/// Does the runs of `grid` that `folder` has not, as far as the time budget allows, and says how many did not
/// fit, of how many. `observe` hears what happens, from the jobs' threads, and stops all by `false`.
///
/// # Errors
/// As [`train_arm`] and [`Folder::add`], but for runs that diverge, which are recorded; [`ErrorKind::Interrupted`] if
/// stopped. What is done is kept.
pub fn run_missing(
    grid: &Grid<'_>,
    base: &Base,
    folder: &mut Folder,
    pace: &Pace,
    shared: Shared,
    observe: &(dyn Fn(Happening<'_>) -> bool + Sync),
) -> Result<(usize, usize)> {
    check(grid.seeds, pace.jobs, grid.epochs)?;
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
        grid,
        base,
        pace,
        storage: Storage::scratch(folder.path(), shared),
        observe,
        started: Instant::now(),
        all: missing.len(),
    };
    if missing.is_empty() {
        let time = Duration::ZERO;
        observe(Happening::Planned { runs: runs.len(), missing: 0, time, fitting: None });
        return Ok((0, 0));
    }
    folder.check_adding()?;
    let seconds = grid.pace(folder.records(), base)?;
    session.announce(runs.len(), &missing, seconds);
    let board = Board { folder, missing, seconds, running: Vec::new(), skipped: 0, error: None };
    let (board, changed) = (Mutex::new(board), Condvar::new());
    let threads = (rayon::current_num_threads() / pace.jobs).max(1);
    let pools = (0..pace.jobs).map(|_| ThreadPoolBuilder::new().num_threads(threads).build());
    let pools = pools.collect::<std::result::Result<Vec<_>, _>>().map_err(|e| {
        let message = format!("cannot start {} × {threads} threads: {e}", pace.jobs);
        Error::new(ErrorKind::Io, message).with_hint("lower `jobs`")
    })?;
    std::thread::scope(|scope| {
        for (job, pool) in pools.iter().enumerate() {
            let (session, board, changed) = (&session, &board, &changed);
            scope.spawn(move || session.work(job, pool, board, changed));
        }
    });
    let board = board.into_inner().unwrap_or_else(PoisonError::into_inner);
    board.error.map_or(Ok((board.skipped, session.all)), Err)
}

/// Does one run of a grid: what is to be recorded of it, and its cut, which a run that diverges has not. `needed`
/// is the file of the cut that [`Grid::needs`] names.
///
/// # Errors
/// As [`train_arm`], but for runs that diverge.
pub fn run_one(
    grid: &Grid<'_>,
    run: Run,
    base: &Base,
    needed: Option<&Path>,
    storage: &Storage,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<(Record, Option<Cut>)> {
    let begun = Instant::now();
    match train_arm(grid, run, base.clone(), needed, storage, observe) {
        Ok(arm) => {
            let record = record(grid, run, base, &arm, begun.elapsed())?;
            Ok((record, Some(arm.outcome.cut)))
        }
        Err(error) if error.kind() == ErrorKind::Diverged => {
            Ok((failed(grid, run, error.message().to_string()), None))
        }
        Err(error) => Err(error),
    }
}

/// What does not change while the runs are done.
struct Session<'a> {
    grid: &'a Grid<'a>,
    base: &'a Base,
    pace: &'a Pace,
    storage: Storage,
    observe: &'a (dyn Fn(Happening<'_>) -> bool + Sync),
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
    seconds: f64,
    skipped: usize,
    /// The first that came: no run is begun after it, and those under way stop.
    error: Option<Error>,
}

/// What a job is to do.
enum Next {
    /// This run, from the cut in this file if it needs one.
    Run(Run, Option<PathBuf>),
    /// Wait for another job: what is left needs the run that it does.
    Wait,
    End,
}

/// At most a year: sums of these do not overflow.
fn took(work: f64, seconds: f64) -> Duration {
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    Duration::try_from_secs_f64(work * seconds).unwrap_or(YEAR).min(YEAR)
}

impl Session<'_> {
    /// Says how much there is to do, and how much of it fits the time budget.
    fn announce(&self, runs: usize, missing: &[(Run, f64)], seconds: f64) {
        // What ends when, if every run is begun by the job that is free first.
        let end = |budget: Option<Duration>| {
            let (mut jobs, mut fit) = (vec![Duration::ZERO; self.pace.jobs], 0);
            for (_, work) in missing {
                let Some(first) = jobs.iter_mut().min() else { break };
                let next = *first + took(*work, seconds);
                if budget.is_none_or(|budget| next <= budget) {
                    *first = next;
                    fit += 1;
                }
            }
            (jobs.into_iter().max().unwrap_or_default(), fit)
        };
        let (time, _) = end(None);
        let budget = self.pace.time_budget.filter(|budget| time > *budget);
        let fitting = budget.map(|budget| end(Some(budget)).1);
        (self.observe)(Happening::Planned { runs, missing: missing.len(), time, fitting });
    }

    /// Does one run after the other until there is none left for this job.
    fn work(&self, job: usize, pool: &ThreadPool, board: &Mutex<Board<'_>>, changed: &Condvar) {
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
                Next::Run(run, needed) => {
                    let begun = self.begun(job, run, &held);
                    drop(held);
                    (self.observe)(begun);
                    let mut goes_on = |event| {
                        (self.observe)(Happening::Event { job, event }) && lock().error.is_none()
                    };
                    let done = pool.install(|| {
                        let needed = needed.as_deref();
                        run_one(self.grid, run, self.base, needed, &self.storage, &mut goes_on)
                    });
                    held = lock();
                    let done = done.and_then(|(record, cut)| self.keep(&mut held, record, cut));
                    held.running.retain(|(other, _)| *other != run);
                    let record = match done {
                        Ok(record) => Some(record),
                        Err(error) => {
                            held.error.get_or_insert(error);
                            None
                        }
                    };
                    changed.notify_all();
                    drop(held);
                    (self.observe)(Happening::Ended { job, record: record.as_ref() });
                    held = lock();
                }
            }
        }
    }

    fn begun(&self, job: usize, run: Run, board: &MutexGuard<'_, Board<'_>>) -> Happening<'_> {
        let left: f64 = board.missing.iter().chain(&board.running).map(|(_, work)| work).sum();
        Happening::Begun {
            job,
            at: (self.all - board.missing.len(), self.all),
            names: self.grid.names(run),
            seed: run.seed,
            left: took(left / self.pace.jobs as f64, board.seconds),
        }
    }

    /// Records what a run came to.
    fn keep(&self, board: &mut Board<'_>, record: Record, cut: Option<Cut>) -> Result<Record> {
        board.folder.add(record.clone(), cut.as_ref())?;
        if cut.is_some() {
            board.seconds = self.grid.pace(board.folder.records(), self.base)?;
        }
        Ok(record)
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
            let late = |b: Duration| session.started.elapsed() + took(work, self.seconds) > b;
            if session.pace.time_budget.is_some_and(late) {
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
            return Ok(Next::Run(run, needed));
        }
        Ok(if self.error.is_none() && at > 0 { Next::Wait } else { Next::End })
    }
}

fn record(
    grid: &Grid<'_>,
    run: Run,
    base: &Base,
    arm: &ArmOutcome,
    time: Duration,
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
        seconds: time.as_secs_f64(),
        work: grid.work(run, &base.encoder)?,
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
