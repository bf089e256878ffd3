//! The card: everything about a cut that is not a tensor.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::decision::Decision;
use super::edit::{Edit, Head, StoreType, TensorEdit};
use super::source::Source;
use crate::data::{Extent, Long, Metric, Problem};
use crate::model::{Pooling, Slim};
use crate::{Error, ErrorKind, Result};

/// The highest version of the file format that this linocut reads and writes. A cut is written in the
/// lowest that holds it: 5 where it says which part of long texts is read or the head reads
/// vectors of length 1, 4 where answers are decided otherwise than by the highest logit or ½, 3 of a slim task, 2 where
/// zeros are counted among large entries, else 1.
pub const FORMAT: u32 = 5;

/// What a cut is and what it needs. Holds nothing that differs between equal training runs:
/// no times, paths, thread counts or speeds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// Version of the file format, from 1; [`Cut::new`](super::Cut::new) sets it.
    pub format: u32,
    /// Name of the task.
    pub task: String,
    /// What is predicted.
    pub problem: Problem,
    /// Label names in the order of the logits, all different; empty for regression.
    pub labels: Vec<String>,
    /// Number of logits, at least 1; the number of labels where there are any.
    pub outputs: usize,
    /// How hidden states become the vector that the head reads.
    pub pooling: Pooling,
    /// Whether the head reads that vector over its length.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub unit: bool,
    /// Most tokens that are read at one time, special tokens included.
    pub max_length: usize,
    /// Which part is read of a longer text; as the tokenizer's files say, mostly the head, where nothing is said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub long: Option<Long>,
    /// Whether each input is a pair of texts.
    pub pairs: bool,
    /// The base that the cut belongs to.
    pub base: BaseId,
    /// Fingerprint of the base's tokenizer.
    pub tokenizer: String,
    /// The training method and its options.
    pub method: serde_json::Value,
    /// Summary of the training run.
    pub training: serde_json::Value,
    /// The score that the task is judged by.
    pub metric: Metric,
    /// Scores, by metric name; finite.
    pub metrics: BTreeMap<String, f64>,
    /// The edited tensors, by canonical name; [`Cut::new`](super::Cut::new) writes it.
    pub tensors: BTreeMap<String, TensorNote>,
    /// Of a slim task, what it keeps of the base: edits and head are of what is left.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slim: Option<Slim>,
    /// How logits become answers, where that was fitted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
    /// For a model packed without loss: how it spells its tensors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

/// Which base a cut belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BaseId {
    /// Its name, for people.
    pub name: String,
    /// Its fingerprint, which decides.
    pub fingerprint: String,
}

/// Summary of one edited tensor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TensorNote {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// What is done to it.
    pub edit: EditKind,
    /// How many entries are zeros; only for [`EditKind::Zeros`] and [`EditKind::LargeZeros`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub zeros: Option<u64>,
    /// How many entries move; only for [`EditKind::Sparse`] and [`EditKind::Sign`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved: Option<u64>,
    /// How its values are stored; only for [`EditKind::Replace`], [`EditKind::Delta`] (the tuned
    /// tensor's own format), [`EditKind::Sparse`] (the amounts' format) and [`EditKind::LowRank`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<StoreType>,
}

/// What is done to a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EditKind {
    /// Some entries become zero.
    Zeros,
    /// Some of the entries that are large in the base become zero.
    LargeZeros,
    /// All entries are replaced.
    Replace,
    /// All entries are replaced, stored as their exact difference from the base's.
    Delta,
    /// Some entries move, each by an amount of its own.
    Sparse,
    /// Some rows move, their entries up or down by one amount a row.
    Sign,
    /// A matrix moves by a product of two narrow ones.
    LowRank,
}

impl EditKind {
    /// The name used in cards and in the names of a file's tensors.
    pub fn name(self) -> &'static str {
        match self {
            EditKind::Zeros => "zeros",
            EditKind::LargeZeros => "largezeros",
            EditKind::Replace => "replace",
            EditKind::Delta => "delta",
            EditKind::Sparse => "sparse",
            EditKind::Sign => "sign",
            EditKind::LowRank => "lowrank",
        }
    }
}

impl TensorNote {
    /// The note of `edit`.
    pub(super) fn of(edit: &TensorEdit) -> Self {
        let (kind, zeros, moved, store) = match &edit.edit {
            Edit::Zeros(_) => (EditKind::Zeros, edit.count_zeros(), None, None),
            Edit::LargeZeros(_) => (EditKind::LargeZeros, edit.count_zeros(), None, None),
            Edit::Replace { store, .. } => (EditKind::Replace, None, None, Some(*store)),
            Edit::Delta(delta) => (EditKind::Delta, None, None, Some(delta.store())),
            Edit::Sparse(sparse) => {
                (EditKind::Sparse, None, Some(sparse.positions().len()), Some(sparse.store()))
            }
            Edit::Sign(sign) => {
                (EditKind::Sign, None, Some(sign.rows().len() * sign.columns()), None)
            }
            Edit::LowRank(low_rank) => (EditKind::LowRank, None, None, Some(low_rank.store())),
        };
        let [zeros, moved] = [zeros, moved].map(|n| n.map(|n| n as u64));
        Self { shape: edit.shape.clone(), edit: kind, zeros, moved, store }
    }

    /// How many of the tensor's entries may differ from the base's.
    pub fn changed(&self) -> u64 {
        let all = || self.shape.iter().map(|&n| n as u64).product();
        self.zeros.or(self.moved).unwrap_or_else(all)
    }
}

impl Card {
    /// How much is read of a text.
    pub fn extent(&self) -> Extent {
        Extent { max_length: self.max_length, long: self.long }
    }

    /// Checks that what the task, under the name `task`, is asked of are pairs of texts, or not, as it
    /// was trained.
    ///
    /// # Errors
    /// If it is not so.
    pub fn check_pairs(&self, task: &str, pairs: bool) -> Result<()> {
        if self.pairs == pairs {
            return Ok(());
        }
        let one_or_two = |pairs| if pairs { "a pair of texts" } else { "one text" };
        let (takes, found) = (one_or_two(self.pairs), one_or_two(pairs));
        let message = format!("the task {task:?} takes {takes}, found {found}");
        let error = Error::new(ErrorKind::Data, message);
        // A model's files do not say whether it was fine-tuned on pairs.
        match pairs && self.method["name"] == "pack" {
            true => Err(error.with_hint("a model of pairs is packed with `pairs`")),
            false => Err(error),
        }
    }

    /// Checks the card in itself and against the head.
    pub(super) fn check(&self, head: &Head) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Cut, format!("the card: {what}")));
        if self.outputs != head.outputs() || self.outputs == 0 {
            return wrong(format!(
                "{} outputs, expected {} of the head",
                self.outputs,
                head.outputs()
            ));
        }
        match self.problem {
            Problem::Regression if !self.labels.is_empty() => {
                return wrong(format!("{} labels for a regression", self.labels.len()));
            }
            Problem::SingleLabel | Problem::MultiLabel if self.labels.len() != self.outputs => {
                return wrong(format!(
                    "{} labels, expected {}, one for each output",
                    self.labels.len(),
                    self.outputs
                ));
            }
            _ => {}
        }
        let mut seen = BTreeSet::new();
        if let Some(twice) = self.labels.iter().find(|label| !seen.insert(label.as_str())) {
            return wrong(format!("the label {twice:?} twice"));
        }
        if self.max_length == 0 {
            return wrong("max_length 0".into());
        }
        if let Some(long) = self.long.filter(|long| long.check_for(self.pairs).is_err()) {
            return wrong(format!("long {:?} of pairs of texts", long.name()));
        }
        if self.base.fingerprint.is_empty() || self.tokenizer.is_empty() {
            return wrong("no fingerprint of the base or of the tokenizer".into());
        }
        if let Some((name, score)) = self.metrics.iter().find(|(_, score)| !score.is_finite()) {
            return wrong(format!("the metric {name} is {score}"));
        }
        self.tensors.keys().try_for_each(|name| check_tensor_name(name))?;
        let decision = self.decision.as_ref();
        decision.map_or(Ok(()), |decision| decision.check(self.problem, self.outputs))?;
        self.source.as_ref().map_or(Ok(()), Source::check)
    }
}

/// Names are ASCII letters, digits, `.`, `_` and `-`, at most 200: safe in paths, tables and logs.
pub(super) fn check_tensor_name(name: &str) -> Result<()> {
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.len() > 200 || !name.bytes().all(sane) {
        let shown: String = name.chars().take(60).collect();
        return Err(Error::new(
            ErrorKind::Cut,
            format!("{shown:?} is no tensor name: expected 1 to 200 of A-Z a-z 0-9 . _ -"),
        ));
    }
    Ok(())
}
