//! One line a run: what is written, and what is believed when it is read.

use super::folder::{Folder, damaged};
use super::setting::TaskFiles;
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::io::Read;
use std::path::Path;

/// Seeds of a run are below this.
pub const SEEDS: u64 = 1000;
/// Bytes of a line; those written have one or two KB.
const MOST_LINE: usize = 64 << 10;
/// Bytes of all lines.
const MOST_BYTES: u64 = 256 << 20;
/// Bytes, entries and numbers of one cut: sums over all runs stay below 2⁶⁴.
const MOST_COUNT: u64 = 1 << 40;
/// Seconds and units of work of a run.
const MOST_SECONDS: f64 = 1e9;
const MOST_WORK: f64 = 1e18;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the task.
    pub task: String,
    /// Name of the arm.
    pub arm: String,
    /// Its seed.
    pub seed: u64,
    /// File of the cut, within the study's folder; none if the run failed.
    pub cut: Option<String>,
    /// Every option of the run.
    pub options: serde_json::Value,
    /// Name of the score.
    pub metric: String,
    /// The score, 0 to 1 for most metrics; none where undefined.
    pub score: Option<f64>,
    /// The score with masks drawn instead of thresholded, see [`super::ArmOutcome::sampled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<f64>,
    /// Why there is no cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Bytes of the cut.
    pub bytes: u64,
    /// Bytes of its head.
    pub head_bytes: u64,
    /// Zeros of its masks.
    pub zeros: u64,
    /// Entries of the matrices that have them.
    pub masked: u64,
    /// Trained numbers beside the head and the embeddings.
    pub trained: u64,
    /// Time of the run.
    pub seconds: f64,
    /// Its [`super::Grid::work`].
    pub work: f64,
}

impl Record {
    /// What tells one run from another.
    pub(super) fn key(&self) -> (&str, &str, u64) {
        (&self.task, &self.arm, self.seed)
    }

    /// Checks a record of a study of `tasks` that comes from elsewhere.
    ///
    /// # Errors
    /// Anything that [`super::Folder::open`] would refuse.
    pub fn check(&self, tasks: &BTreeMap<String, TaskFiles>) -> Result<()> {
        match self.wrong(tasks) {
            Some(what) => Err(Error::new(ErrorKind::Data, format!("the record of a run: {what}"))),
            None => Ok(()),
        }
    }

    /// What is wrong with a record of a study of `tasks`, if anything: everything that is counted,
    /// summed, printed or opened later lies within bounds.
    fn wrong(&self, tasks: &BTreeMap<String, TaskFiles>) -> Option<String> {
        let known = |c: char| c.is_ascii_alphanumeric() || "-_.+=".contains(c);
        let name = |text: &str| text.len() <= 64 && text.chars().all(known);
        let within = |value: f64, least: f64, most: f64| (least..=most).contains(&value);
        if !tasks.contains_key(&self.task) {
            return Some(format!("task is {:?}, which study.json does not name", self.task));
        }
        if self.arm.is_empty() || !name(&self.arm) {
            return Some(format!("arm is {:?}, expected the name of an arm", self.arm));
        }
        if self.seed >= SEEDS {
            return Some(format!("seed is {}, expected 0 to {}", self.seed, SEEDS - 1));
        }
        if !name(&self.metric) {
            return Some(format!("metric is {:?}, expected the name of a score", self.metric));
        }
        for (what, score) in [("score", self.score), ("sampled", self.sampled)] {
            if let Some(score) = score.filter(|score| !within(*score, -1.0, 1.0)) {
                return Some(format!("{what} is {score:?}, expected -1 to 1"));
            }
        }
        match (&self.cut, &self.failed) {
            (None, None) => return Some("it has neither a cut nor a reason why not".into()),
            (Some(_), Some(_)) => {
                return Some("it has a cut and a reason why there is none".into());
            }
            (None, Some(_)) if self.score.is_some() => {
                return Some("it failed and has a score".into());
            }
            (Some(cut), None) => {
                let expected = Folder::cut_name(&self.task, &self.arm, self.seed);
                if *cut != expected {
                    return Some(format!("cut is {cut:?}, expected {expected:?}"));
                }
            }
            _ => {}
        }
        let counts = [
            ("bytes", self.bytes, MOST_COUNT),
            ("head_bytes", self.head_bytes, self.bytes),
            ("masked", self.masked, MOST_COUNT),
            ("zeros", self.zeros, self.masked),
            ("trained", self.trained, MOST_COUNT),
        ];
        if let Some((what, found, most)) = counts.into_iter().find(|(_, found, most)| found > most)
        {
            return Some(format!("{what} is {found}, expected {most} at most"));
        }
        if !within(self.seconds, 0.0, MOST_SECONDS) {
            return Some(format!("seconds is {:?}, expected 0 to {MOST_SECONDS:e}", self.seconds));
        }
        if self.work != 0.0 && !within(self.work, 1.0, MOST_WORK) {
            return Some(format!("work is {:?}, expected 0, or 1 to {MOST_WORK:e}", self.work));
        }
        None
    }
}

/// The runs in the file `path` of a study of `tasks`, and in words what was passed over.
///
/// # Errors
/// A line that is too long, no run or out of bounds, with its number; too many bytes in all.
pub(super) fn read(
    path: &Path,
    tasks: &BTreeMap<String, TaskFiles>,
) -> Result<(Vec<Record>, Vec<String>)> {
    let mut text = Vec::new();
    match std::fs::File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Default::default()),
        Err(e) => return Err(Error::io(path, "read", e)),
        Ok(file) => {
            let read = file.take(MOST_BYTES + 1).read_to_end(&mut text);
            read.map_err(|e| Error::io(path, "read", e))?;
        }
    }
    if text.len() as u64 > MOST_BYTES {
        return Err(damaged(path, format!("it has more than {MOST_BYTES} bytes")));
    }
    let (mut records, mut passed_over) = (Vec::<Option<Record>>::new(), Vec::new());
    // Line and place of every run so far.
    let mut known: HashMap<(String, String, u64), (usize, usize)> = HashMap::new();
    let lines = text.split(|&b| b == b'\n').count();
    for (i, line) in text.split(|&b| b == b'\n').enumerate() {
        let at = i + 1;
        if line.trim_ascii().is_empty() {
            continue;
        }
        let wrong = |what: String| {
            damaged(path, format!("line {at}: {what}"))
                .with_hint("restore the file, or delete the line: its run is then done again")
        };
        if line.len() > MOST_LINE {
            return Err(wrong(format!("{} bytes, expected {MOST_LINE} at most", line.len())));
        }
        let record: Record = match serde_json::from_slice(line) {
            Ok(record) => record,
            // Every whole line ends in a line feed.
            Err(e) if at == lines && e.is_eof() => {
                passed_over.push(format!(
                    "{}, line {at} is cut off: its run is done again",
                    path.display()
                ));
                continue;
            }
            Err(e) => return Err(wrong(e.to_string())),
        };
        if let Some(what) = record.wrong(tasks) {
            return Err(wrong(what));
        }
        let key = (record.task.clone(), record.arm.clone(), record.seed);
        if let Some((before, place)) = known.insert(key, (at, records.len())) {
            records[place] = None;
            passed_over.push(format!(
                "{}, lines {before} and {at} are of one run, of which the later counts",
                path.display()
            ));
        }
        records.push(Some(record));
    }
    Ok((records.into_iter().flatten().collect(), passed_over))
}
