//! The resumable state of a run: everything that the next step depends on.

use super::Trainer;
use super::trainer::Parameters;
use crate::checkpoint::write_with_metadata;
use crate::model::Slim;
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// The part of a state that is not tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Of options, base, tokenizer and rows: a state resumes its own run only.
    pub(super) identity: String,
    /// What of it people choose, in words; states of earlier versions say nothing.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) choices: BTreeMap<String, String>,
    /// Steps taken.
    pub(super) step: usize,
    /// Sum of the losses of the current epoch's steps.
    pub(super) loss_sum: f64,
    /// Mean loss of the last whole epoch.
    pub(super) epoch_loss: Option<f64>,
    /// Best held-out score so far and the step it was reached at.
    pub(super) best: Option<(f64, usize)>,
    /// What the word embeddings' unused rows owe.
    pub(super) words_owed: f64,
    /// What the run keeps of the base, of a slim task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) slim: Option<Slim>,
}

const METADATA: &str = "linocut-state";
const DIGEST: &str = "digest";

/// Named parts of a trainer that a state holds, in a fixed order.
fn parts(trainer: &mut Trainer) -> Vec<(String, &mut [f32])> {
    let layout = trainer.encoder().layout().clone();
    let mut parts: Vec<(String, &mut [f32])> = vec![
        ("head.weight".into(), &mut trainer.head.weight),
        ("head.bias".into(), &mut trainer.head.bias),
        ("head.mean".into(), &mut trainer.head_moments.mean),
        ("head.square".into(), &mut trainer.head_moments.square),
        ("mean".into(), &mut trainer.moments.mean),
        ("square".into(), &mut trainer.moments.square),
    ];
    if let Some(words) = &mut trainer.words {
        parts.push(("words.mean".into(), &mut words.moments.mean));
        parts.push(("words.square".into(), &mut words.moments.square));
    }
    match &mut trainer.parameters {
        Parameters::Masks(masks) => parts.push(("scores".into(), &mut masks.scores)),
        Parameters::LowRank(low_rank) => parts.push(("factors".into(), &mut low_rank.factors)),
        Parameters::Weights => {
            let mut rest = trainer.weights.data_mut();
            for (spec, trained) in layout.tensors().iter().zip(&trainer.marks) {
                let (tensor, others) = rest.split_at_mut(spec.range.len());
                rest = others;
                if *trained {
                    parts.push((format!("weights/{}", spec.name), tensor));
                }
            }
        }
    }
    parts
}

/// The parameters alone, copied: what early stopping goes back to.
#[derive(Debug, Default)]
pub(super) struct Snapshot(pub(super) Vec<(String, Vec<f32>)>);

fn is_parameter(name: &str) -> bool {
    matches!(name, "scores" | "factors" | "head.weight" | "head.bias")
        || name.starts_with("weights/")
}

impl Snapshot {
    pub(super) fn take(trainer: &mut Trainer) -> Self {
        let parts = parts(trainer).into_iter().filter(|(name, _)| is_parameter(name));
        Self(parts.map(|(name, values)| (name, values.to_vec())).collect())
    }

    pub(super) fn restore(&self, trainer: &mut Trainer) {
        let parts = parts(trainer).into_iter().filter(|(name, _)| is_parameter(name));
        for ((_, into), (_, from)) in parts.zip(&self.0) {
            into.copy_from_slice(from);
        }
    }
}

/// Writes the state aside and renames it.
pub(super) fn save(
    path: &Path,
    trainer: &mut Trainer,
    progress: &Progress,
    best: Option<&Snapshot>,
) -> Result<()> {
    let mut progress = Progress { words_owed: 1.0, ..progress.clone() };
    let mut used = Vec::new();
    if let Some(words) = &trainer.words {
        progress.words_owed = words.owed;
        // Token ids lie far below 2²⁴: exact as f32.
        used.extend(words.used.iter().map(|&id| id as f32));
    }
    let parts = parts(trainer);
    let mut tensors: Vec<(String, &[f32])> = vec![("words.used".into(), &used)];
    tensors.extend(parts.iter().map(|(name, values)| (name.clone(), &**values)));
    for (name, values) in best.into_iter().flat_map(|b| &b.0) {
        tensors.push((format!("best/{name}"), values));
    }
    let json = serde_json::to_string(&progress).map_err(|e| state_error(path, e))?;
    let digest = digest(&json, tensors.iter().map(|(_, values)| *values));
    let metadata = serde_json::json!({ METADATA: json, DIGEST: digest });
    let tensors = tensors.into_iter().map(|(name, values)| (name, vec![values.len()], values));
    write_with_metadata(path, metadata, tensors)
}

/// Digest of the progress and of every tensor in order.
fn digest<'a>(progress: &str, tensors: impl Iterator<Item = &'a [f32]>) -> String {
    let mut hash = blake3::Hasher::new();
    hash.update(progress.as_bytes());
    for chunk in tensors.flat_map(|values| values.chunks(1 << 16)) {
        let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
        hash.update(&bytes);
    }
    hash.finalize().to_string()
}

fn state_error(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("training state {}: {what}", path.display()))
        .with_hint("remove the file to start over")
}

/// How `now` differs from the choices of the run that a state is of.
fn differences(before: &BTreeMap<String, String>, now: &BTreeMap<String, String>) -> String {
    if before.is_empty() {
        return "its base, tokenizer, rows or options differ".into();
    }
    let names: BTreeSet<&String> = before.keys().chain(now.keys()).collect();
    let differ = names.into_iter().filter(|name| before.get(*name) != now.get(*name));
    // Options are spelled so in the files of states, since the first of them.
    let said = |name: &String| match name.strip_prefix("--") {
        Some(option) => {
            let value = |of: &BTreeMap<String, String>| {
                of.get(name).filter(|value| *value != "null").cloned().unwrap_or("not given".into())
            };
            format!("`{}` was {}, is {}", option.replace('-', "_"), value(before), value(now))
        }
        None => format!("{name} differ"),
    };
    match differ.map(said).collect::<Vec<_>>() {
        differ if differ.is_empty() => "another version of linocut began it".into(),
        differ => differ.join("; "),
    }
}

/// A state as it was read.
pub(super) struct State {
    path: PathBuf,
    pub(super) progress: Progress,
    tensors: HashMap<String, Vec<f32>>,
}

/// Reads the state in `path`, which must be of the run that `begun` is at the start of.
pub(super) fn read(path: &Path, begun: &Progress) -> Result<State> {
    let file = std::fs::read(path).map_err(|e| Error::io(path, "read training state", e))?;
    let wrong = |e: &dyn std::fmt::Display| state_error(path, e);
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&file).map_err(|e| wrong(&e))?;
    let tensors = safetensors::SafeTensors::deserialize(&file).map_err(|e| wrong(&e))?;
    let said = |key: &str| {
        let metadata = metadata.metadata().as_ref().and_then(|m| m.get(key));
        metadata.ok_or_else(|| wrong(&"it is not a training state"))
    };
    let json = said(METADATA)?;
    let mut progress: Progress = serde_json::from_str(json).map_err(|e| wrong(&e))?;
    let floats = |bytes: &[u8]| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let mut stored = Vec::new();
    for name in metadata.offset_keys() {
        let view = tensors.tensor(&name).map_err(|e| wrong(&e))?;
        stored.push((name, floats(view.data())));
    }
    if digest(json, stored.iter().map(|(_, values)| &values[..])) != *said(DIGEST)? {
        return Err(wrong(&"the file is damaged (its digest does not match)"));
    }
    // States of the first version have a digest alone.
    let version = |identity: &str| identity.split_once(' ').map(|(version, _)| version.to_string());
    if version(&progress.identity) != version(&begun.identity) {
        let message = format!(
            "{} is the state of a run by another version of linocut, which trains in another way: \
             this one would end it with another cut",
            path.display()
        );
        return Err(Error::new(ErrorKind::Config, message)
            .with_hint("finish it with the version that began it, or remove it to start over"));
    }
    if progress.identity != begun.identity {
        let differ = differences(&progress.choices, &begun.choices);
        return Err(Error::new(
            ErrorKind::Config,
            format!("{} is the state of another run: {differ}", path.display()),
        )
        .with_hint("give the options and files it was started with, or remove it to start over"));
    }
    progress.choices.clone_from(&begun.choices);
    Ok(State { path: path.to_path_buf(), progress, tensors: stored.into_iter().collect() })
}

impl State {
    /// Brings `trainer` there; the progress, and what early stopping goes back to.
    pub(super) fn restore(mut self, trainer: &mut Trainer) -> Result<(Progress, Option<Snapshot>)> {
        let mut take = |name: &str, len: Option<usize>| -> Result<Vec<f32>> {
            let values = self.tensors.remove(name);
            let values = values.filter(|v| len.is_none_or(|len| v.len() == len));
            let wrong = || format!("tensor {name} is missing or has another size");
            values.ok_or_else(|| state_error(&self.path, wrong()))
        };
        let progress = self.progress;
        let mut best = Vec::new();
        for (name, values) in parts(trainer) {
            values.copy_from_slice(&take(&name, Some(values.len()))?);
            if progress.best.is_some() && is_parameter(&name) {
                best.push((name.clone(), take(&format!("best/{name}"), Some(values.len()))?));
            }
        }
        if let Some(words) = &mut trainer.words {
            words.used = take("words.used", None)?.into_iter().map(|id| id as u32).collect();
            words.owed = progress.words_owed;
        }
        trainer.step = progress.step;
        let best = progress.best.is_some().then_some(Snapshot(best));
        Ok((progress, best))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoder, Head, Pooling, Weights};
    use crate::tune::{Method, Rates, TrainOptions};

    #[test]
    fn a_state_of_another_version_is_refused_as_such() {
        let config = serde_json::json!({
            "num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 2,
            "intermediate_size": 8, "vocab_size": 9, "max_position_embeddings": 8,
        });
        let encoder = Encoder::new(&config, false, Pooling::Mean).unwrap();
        let layout = encoder.layout().clone();
        let weights = Weights::new(layout.clone(), vec![0.5; layout.len()]);
        let marks = vec![false; layout.tensors().len()];
        let rates = Rates::of(&TrainOptions::new(Method::Head, 10), 10);
        let head = Head::new(2, 8, 0);
        let mut trainer = Trainer::new(encoder, weights, head, marks, &Method::Full, rates);
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("t.state");
        let mut attempt = |was: &str| {
            let progress = Progress { identity: was.into(), ..Progress::default() };
            save(&path, &mut trainer, &progress, None).unwrap();
            let begun = Progress { identity: "2 abc".into(), ..Progress::default() };
            read(&path, &begun).err().map(|e| e.to_string())
        };
        assert_eq!(attempt("2 abc"), None);
        assert!(attempt("2 abd").unwrap().contains("is the state of another run"));
        for old in ["abc", "3 abc"] {
            let error = attempt(old).unwrap();
            assert!(error.contains("is the state of a run by another version"), "{error}");
        }
    }
}
