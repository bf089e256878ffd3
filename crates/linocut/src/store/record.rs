//! A task's record: its name, its versions, and which of them is in force.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check_name;
use crate::cut::{BaseId, Card, EditKind, TensorNote};
use crate::data::{Long, Metric, Problem};
use crate::{Error, ErrorKind, Result};

/// The version of records that this linocut reads and writes.
const FORMAT: u32 = 1;
/// Versions that a record keeps; older ones go, but for the one in force.
pub const VERSIONS: usize = 100;
/// Most bytes of a record.
pub(super) const RECORD_BYTES: usize = 4 << 20;

/// A task of a store: a small JSON file, so that people can read it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Record {
    /// Version of this format, from 1.
    pub(super) format: u32,
    /// The task's name.
    pub task: String,
    /// The version in force.
    pub current: u64,
    /// All that are kept, in their order.
    pub versions: Vec<Version>,
}

/// One version of a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Version {
    /// Its number, from 1.
    pub version: u64,
    /// BLAKE3 of the cut's bytes, in hexadecimal: the name under which the store keeps them.
    pub digest: String,
    /// Bytes of the cut.
    pub bytes: u64,
    /// When it was pushed, in UTC, as RFC 3339 has it.
    pub pushed: String,
    /// What the cut says of itself.
    pub about: About,
    /// A signature of the cut's bytes in minisign's format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// What one can know of a task without its cut.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct About {
    /// The base that it belongs to.
    pub base: BaseId,
    /// What was trained: `mask`, `full`, …
    pub method: String,
    /// What is predicted.
    pub problem: Problem,
    /// Its labels; none for a regression.
    pub labels: Vec<String>,
    /// Whether it takes pairs of texts.
    pub pairs: bool,
    /// Most tokens that it reads at one time.
    pub max_length: usize,
    /// Which part it reads of a longer text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Long>,
    /// The score that it is judged by.
    pub metric: Metric,
    /// Scores, by metric.
    pub metrics: BTreeMap<String, f64>,
    /// Entries of the base that it sets to zero.
    pub zeros: u64,
    /// Tensors of the base that it replaces.
    pub replaced_tensors: usize,
    /// Entries of the base that may differ.
    pub changed: u64,
}

impl About {
    /// What the card of a cut says.
    pub fn of(card: &Card) -> Self {
        let notes = card.tensors.values();
        Self {
            base: card.base.clone(),
            method: card.method["name"].as_str().unwrap_or("–").to_string(),
            problem: card.problem,
            labels: card.labels.clone(),
            pairs: card.pairs,
            max_length: card.max_length,
            long: card.long,
            metric: card.metric.clone(),
            metrics: card.metrics.clone(),
            zeros: notes.clone().filter_map(|note| note.zeros).sum(),
            replaced_tensors: notes.clone().filter(|note| note.edit == EditKind::Replace).count(),
            changed: notes.map(TensorNote::changed).sum(),
        }
    }

    /// Its score, where one is known.
    pub fn score(&self) -> Option<f64> {
        self.metrics.get(self.metric.key()).copied()
    }
}

impl Record {
    /// A task without a version, to which one is [added](Self::add).
    pub(super) fn new(task: &str) -> Self {
        Self { format: FORMAT, task: task.into(), current: 0, versions: vec![] }
    }

    /// Adds a version, gives it the next number and puts it in force.
    pub(super) fn add(&mut self, mut version: Version) -> &Version {
        version.version = self.versions.last().map_or(1, |last| last.version + 1);
        self.current = version.version;
        self.versions.push(version);
        while self.versions.len() > VERSIONS
            || self.versions.len() > 1 && self.to_bytes().len() > RECORD_BYTES
        {
            self.versions.remove(0);
        }
        &self.versions[self.versions.len() - 1]
    }

    /// The version in force.
    pub fn current(&self) -> &Version {
        let found = self.versions.iter().find(|version| version.version == self.current);
        found.unwrap_or(&self.versions[0]) // checked when it was read
    }

    /// The version of this number, or the one before that in force.
    ///
    /// # Errors
    /// If there is none; the hint says which there are.
    pub fn find(&self, number: Option<u64>) -> Result<&Version> {
        let found = match number {
            Some(number) => self.versions.iter().find(|version| version.version == number),
            None => self.versions.iter().rev().find(|version| version.version < self.current),
        };
        found.ok_or_else(|| {
            let of = match number {
                Some(number) => format!("version {number}"),
                None => format!("version before {}, which is in force", self.current),
            };
            let message = format!("the task {:?} has no {of}", self.task);
            let all: Vec<String> =
                self.versions.iter().map(|version| version.version.to_string()).collect();
            Error::new(ErrorKind::Config, message)
                .with_hint(format!("there are {}", all.join(", ")))
        })
    }

    /// As the store has it.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("numbers in it are finite");
        bytes.push(b'\n');
        bytes
    }

    /// Reads the record at `key`.
    pub(super) fn from_bytes(key: &str, bytes: &[u8]) -> Result<Self> {
        #[derive(Deserialize)]
        struct Format {
            format: u32,
        }
        let wrong = |what: String| Error::new(ErrorKind::Cut, format!("{key}: {what}"));
        let Format { format } = serde_json::from_slice(bytes)
            .map_err(|e| wrong(format!("no record of a task: {e}")))?;
        if format != FORMAT {
            let error = wrong(format!("a record of format {format}, expected {FORMAT}"));
            return Err(match format > FORMAT {
                true => error.with_hint("a newer linocut wrote it: update this one"),
                false => error,
            });
        }
        let record: Self = serde_json::from_slice(bytes)
            .map_err(|e| wrong(format!("no record of a task: {e}")))?;
        check_name(&record.task).map_err(|e| wrong(e.message().into()))?;
        let numbers = record.versions.iter().map(|version| version.version);
        if !numbers.clone().is_sorted_by(|a, b| a < b)
            || !numbers.clone().any(|n| n == record.current)
        {
            return Err(wrong("numbers of versions that do not fit together".into()));
        }
        let is_digest = |text: &str| blake3::Hash::from_hex(text).is_ok();
        if let Some(version) = record.versions.iter().find(|version| !is_digest(&version.digest)) {
            return Err(wrong(format!("{:?} is no digest", version.digest)));
        }
        Ok(record)
    }
}
