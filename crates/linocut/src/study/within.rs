//! The best method of a study whose cuts fit a number of bytes.

use super::arms::options;
use super::record::Record;
use super::setting::Setting;
use super::stats::mean_and_deviation;
use crate::cut::StoreType;
use crate::data::{Dataset, Problem};
use crate::model::Base;
use crate::output::counted;
use crate::tune::{Choices, Method, TrainOptions, method_within};
use crate::{Error, ErrorKind, Result};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What [`best_within`] chose, and by what.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    /// The method.
    pub method: Method,
    /// Its arm.
    pub arm: String,
    /// The options that the arm has of its own.
    pub choices: Choices,
    /// Arms that fit and were compared, with it.
    pub compared: usize,
    /// Tasks that it was compared on.
    pub tasks: usize,
    /// Runs of each arm that were compared: the tasks' common seeds.
    pub runs: usize,
    /// Arms that fit, but ran on fewer tasks or with other seeds, so that nothing follows from their
    /// scores.
    pub left_out: Vec<String>,
    /// What was passed over in the study's files, in words.
    pub passed_over: Vec<String>,
}

impl Choice {
    /// What was chosen, and by what, for people.
    pub fn in_words(&self) -> String {
        let mut line = format!(
            "{} is the best of {} that fit, by {} of each on {}",
            self.arm,
            counted(self.compared, "arm"),
            counted(self.runs, "run"),
            counted(self.tasks, "task")
        );
        if !self.left_out.is_empty() {
            let names = self.left_out.join(", ");
            line += &format!(
                "; not compared, since they ran on fewer tasks or with other seeds: {names}"
            );
        }
        line
    }
}

/// What a run on `rows` trains, and with which options: what `choices` say, or within a `budget` of bytes the best
/// method of the study at `study`, which is the last that is given, or by [`method_within`].
///
/// # Errors
/// As [`Choices::method`], [`method_within`] or [`best_within`].
pub fn method_for(
    choices: Choices,
    base: &Base,
    rows: &Dataset,
    budget: Option<u64>,
    study: Option<&Path>,
) -> Result<(Method, Choices, Option<Choice>)> {
    let Some(budget) = budget else {
        return Ok((choices.method(base.config())?, choices, None));
    };
    let Some(study) = study else {
        return Ok((method_within(budget, &base.encoder, rows)?, choices, None));
    };
    // The head of a regression may be stored as f32.
    let store = if rows.problem == Problem::Regression { StoreType::F32 } else { choices.store };
    let numbers = rows.labels.len().max(1) * (base.config().hidden + 1);
    let fits = (budget, (numbers * store.size()) as u64);
    let choice = best_within(study, &base.fingerprint.to_string(), &rows.name, fits)?;
    Ok((choice.method.clone(), choices.or(&choice.choices), Some(choice)))
}

/// The method with the best score in the study at `path` among those whose cuts, with a head of
/// `head` bytes, all had at most `budget` bytes. Scores are those of `task` where the study has it,
/// else of all its tasks.
///
/// Arms are compared on the same tasks and seeds alone: on all tasks that the widest of them ran on,
/// with the seeds that they have in common there; the score is the mean of the tasks' means. An arm
/// that lacks one of these tasks, or has no seed in common there, is left out.
///
/// # Errors
/// No study there, one of another base, or no method that fits.
pub fn best_within(
    path: &Path,
    fingerprint: &str,
    task: &str,
    (budget, head): (u64, u64),
) -> Result<Choice> {
    let (setting, records, passed_over) = super::folder::read(path)?;
    check_base(path, &setting, fingerprint)?;
    let known = records.iter().any(|r| r.task == task);
    let mut arms: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.failed.is_none() && (!known || r.task == task)) {
        arms.entry(&record.arm).or_default().push(record);
    }
    let mut fitting = Vec::new();
    let mut least = u64::MAX;
    for (arm, runs) in arms {
        let most = runs.iter().map(|r| r.bytes - r.head_bytes.min(r.bytes) + head).max();
        let (Some(method), Some(most)) = (method(&runs), most) else { continue };
        let scores: Scores =
            runs.iter().filter_map(|r| Some(((&*r.task, r.seed), r.score?))).collect();
        if scores.is_empty() {
            continue;
        }
        least = least.min(most);
        if most <= budget {
            fitting.push(Fitting { arm, method, scores });
        }
    }
    let Some((compared, runs)) = comparable(&fitting) else {
        let message = format!("no arm of the study {} fits {budget} bytes", path.display());
        let hint = match least {
            u64::MAX => "it has no finished run yet".into(),
            _ => format!("the smallest takes {least}; without `study` a rule decides"),
        };
        return Err(Error::new(ErrorKind::Config, message).with_hint(hint));
    };
    let best = compared
        .iter()
        .copied()
        .reduce(|best, other| if mean(other, &runs) > mean(best, &runs) { other } else { best });
    let Some(best) = best else { unreachable!("one at least is compared") };
    let left_out = fitting.iter().filter(|f| compared.iter().all(|c| c.arm != f.arm));
    Ok(Choice {
        method: best.method.clone(),
        arm: best.arm.into(),
        choices: match best.arm.split_once('+') {
            Some((name, settings)) => options(name, settings)?.1,
            None => Choices::default(),
        },
        compared: compared.len(),
        tasks: runs.iter().map(|(task, _)| task).collect::<BTreeSet<_>>().len(),
        runs: runs.len(),
        left_out: left_out.map(|f| f.arm.to_string()).collect(),
        passed_over,
    })
}

/// Tasks and seeds.
type Runs<'a> = BTreeSet<(&'a str, u64)>;

/// Scores by task and seed.
type Scores<'a> = BTreeMap<(&'a str, u64), f64>;

/// An arm whose cuts fit.
struct Fitting<'a> {
    arm: &'a str,
    method: Method,
    scores: Scores<'a>,
}

impl Fitting<'_> {
    fn tasks(&self) -> BTreeSet<&str> {
        self.scores.keys().map(|(task, _)| *task).collect()
    }
}

/// What all runs of an arm train; none for arms that `train` does not offer, and those whose choice
/// differs from seed to seed.
fn method(runs: &[&Record]) -> Option<Method> {
    let of = |r: &&Record| {
        let arm = r.arm.split('+').next();
        let offered = r.options["method"]["name"] != "head" || arm == Some("head");
        let options = || serde_json::from_value::<TrainOptions>(r.options.clone()).ok();
        if offered { Some(options()?.method) } else { None }
    };
    let methods = runs.iter().map(of).collect::<Option<Vec<Method>>>()?;
    methods.first().filter(|first| methods.iter().all(|other| other == *first)).cloned()
}

/// The arms that can be compared with the one that ran on most tasks, then with most runs, and the
/// tasks and seeds that all of them have.
fn comparable<'a, 'b>(fitting: &'b [Fitting<'a>]) -> Option<(Vec<&'b Fitting<'a>>, Runs<'a>)> {
    let mut widest_first: Vec<&Fitting<'_>> = fitting.iter().collect();
    widest_first.sort_by_key(|f| Reverse((f.tasks().len(), f.scores.len())));
    let (widest, others) = widest_first.split_first()?;
    let mut runs: Runs<'_> = widest.scores.keys().copied().collect();
    let mut compared = vec![*widest];
    for &other in others {
        let both: Runs<'_> =
            runs.iter().copied().filter(|run| other.scores.contains_key(run)).collect();
        let tasks = both.iter().map(|(task, _)| task).collect::<BTreeSet<_>>().len();
        if tasks == widest.tasks().len() {
            runs = both;
            compared.push(other);
        }
    }
    compared.sort_by_key(|f| f.arm);
    Some((compared, runs))
}

/// Mean over the tasks of the mean over their seeds in `runs`, all of which `arm` has.
fn mean(arm: &Fitting<'_>, runs: &Runs<'_>) -> f64 {
    let mut tasks: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for run in runs {
        tasks.entry(run.0).or_default().extend(arm.scores.get(run));
    }
    let mean = |values: &[f64]| mean_and_deviation(values).map_or(f64::NAN, |(mean, _)| mean);
    mean(&tasks.values().map(|scores| mean(scores)).collect::<Vec<_>>())
}

fn check_base(path: &Path, setting: &Setting, fingerprint: &str) -> Result<()> {
    if setting.fingerprint == fingerprint {
        return Ok(());
    }
    let (path, base) = (path.display(), &setting.base);
    let message = format!(
        "{path} is a study of the base {base:?} with fingerprint {}, found {fingerprint}",
        setting.fingerprint
    );
    Err(Error::new(ErrorKind::Base, message).with_hint("give a study of this base"))
}
