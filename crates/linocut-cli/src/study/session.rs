//! The runs of a study as they are shown.

use super::StudyArgs;
use crate::interrupt;
use crate::output::say;
use crate::progress::{Progress, bars};
use crate::time;
use linocut::Result;
use linocut::model::Base;
use linocut::output::in_words;
use linocut::study::{self, Folder, Grid, Happening, Pace, Record};
use linocut::tune::Shared;
use linocut::tune::metrics::percent;
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

/// Does the runs that are missing, as far as the time budget allows, with bars.
///
/// # Errors
/// As [`study::run_missing`].
pub(super) fn run_missing(
    args: &StudyArgs,
    grid: &Grid<'_>,
    base: &Base,
    folder: &mut Folder,
    shared: Shared,
) -> Result<()> {
    let bars = bars(args.base.quiet);
    let say = |line: &str| {
        if !args.base.quiet {
            bars.suspend(|| say(line));
        }
    };
    // The bar of every job's run.
    let jobs: Mutex<HashMap<usize, Progress>> = Mutex::default();
    let observe = |happening: Happening<'_>| {
        let mut jobs = jobs.lock().unwrap_or_else(PoisonError::into_inner);
        match happening {
            Happening::Planned { runs, missing: 0, .. } => {
                say(&format!("all {runs} runs are done"))
            }
            Happening::Planned { runs, missing, time, fitting } => {
                let Grid { tasks, arms, seeds, .. } = grid;
                say(&format!(
                    "{missing} runs of {runs} ({} tasks, {} arms, {seeds} seeds) to do, about {}",
                    tasks.len(),
                    arms.len(),
                    time::shown(time)
                ));
                if let (Some(fit), Some(budget)) = (fitting, args.time_budget) {
                    let budget = time::shown(budget);
                    say(&format!(
                        "about {fit} of them fit {budget}; those that tell most come first"
                    ));
                }
                // From here on the runs are what is stopped.
                interrupt::stop_when_asked();
            }
            Happening::Begun { job, at: (at, of), names: (task, arm), seed, left } => {
                let left = time::shown(left);
                say(&format!("[{at}/{of}] {task}: {arm}, seed {seed}; {left} left"));
                jobs.insert(job, Progress::among(&bars));
            }
            Happening::Event { job, event } => {
                if let Some(progress) = jobs.get_mut(&job) {
                    progress.show(event);
                }
            }
            Happening::Ended { job, record } => {
                if let Some(progress) = jobs.remove(&job) {
                    progress.finish();
                }
                record.into_iter().for_each(|record| say(&ended(record)));
            }
        }
        !interrupt::interrupted()
    };
    let pace = Pace { jobs: args.jobs, time_budget: args.time_budget };
    let (skipped, all) = study::run_missing(grid, base, folder, &pace, shared, &observe)?;
    if skipped > 0 {
        crate::output::say(&format!(
            "note: {skipped} of {all} runs did not fit the time budget; the same command goes on"
        ));
    }
    Ok(())
}

/// `  trec6: mask, seed 0: accuracy 91.40, 107 KB`
fn ended(record: &Record) -> String {
    let Record { task, arm, seed, metric, score, bytes, failed, .. } = record;
    let result = failed
        .clone()
        .unwrap_or_else(|| format!("{metric} {}, {}", percent(*score), in_words(*bytes)));
    format!("  {task}: {arm}, seed {seed}: {result}")
}
