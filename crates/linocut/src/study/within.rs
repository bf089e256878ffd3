//! The best method of a study whose cuts fit a number of bytes.

use super::folder::{Record, Setting};
use super::stats::mean_and_deviation;
use crate::tune::{Method, TrainOptions};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// The method with the best mean score in the study at `path` among those whose cuts, with a head of
/// `head` bytes, all had at most `budget` bytes. Scores are those of `task` where the study has it,
/// else of all its tasks.
///
/// # Errors
/// No study there, one of another base, or no method that fits.
pub fn best_within(
    path: &Path,
    fingerprint: &str,
    task: &str,
    (budget, head): (u64, u64),
) -> Result<Method> {
    let (setting, records) = super::folder::read(path)?;
    check_base(path, &setting, fingerprint)?;
    let known = records.iter().any(|r| r.task == task);
    let mut arms: BTreeMap<&str, Vec<&Record>> = BTreeMap::new();
    for record in records.iter().filter(|r| r.failed.is_none() && (!known || r.task == task)) {
        arms.entry(&record.arm).or_default().push(record);
    }
    let mut best: Option<(f64, Method)> = None;
    let mut least = u64::MAX;
    for runs in arms.values() {
        // Arms that `train` does not offer, and those whose choice differs from seed to seed.
        let offered = |r: &&Record| r.options["method"]["name"] != "head" || r.arm == "head";
        let options = |r: &Record| serde_json::from_value::<TrainOptions>(r.options.clone()).ok();
        let methods: Option<Vec<Method>> =
            runs.iter().filter(|r| offered(r)).map(|r| Some(options(r)?.method)).collect();
        let Some(methods) = methods else { continue };
        let Some(method) = methods.first().filter(|m| methods.iter().all(|o| o == *m)) else {
            continue;
        };
        let most = runs.iter().map(|r| r.bytes - r.head_bytes.min(r.bytes) + head).max();
        let scores: Vec<f64> = runs.iter().filter_map(|r| r.score).collect();
        let (Some(most), Some((mean, _))) = (most, mean_and_deviation(&scores)) else { continue };
        least = least.min(most);
        if most <= budget && best.as_ref().is_none_or(|(score, _)| mean > *score) {
            best = Some((mean, method.clone()));
        }
    }
    best.map(|(_, method)| method).ok_or_else(|| {
        let message = format!("no arm of the study {} fits {budget} bytes", path.display());
        let hint = match least {
            u64::MAX => "it has no finished run yet".into(),
            _ => format!("the smallest takes {least}; without --study a rule decides"),
        };
        Error::new(ErrorKind::Config, message).with_hint(hint)
    })
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
