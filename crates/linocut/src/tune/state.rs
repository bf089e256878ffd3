//! The resumable state of a run: everything that the next step depends on.

use super::Trainer;
use crate::checkpoint::write_atomically;
use crate::{Error, ErrorKind, Result};
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::Path;

/// The part of a state that is not tensors.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Progress {
    /// Digest of options, base, tokenizer and rows: a state resumes its own run only.
    pub(super) identity: String,
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
}

const METADATA: &str = "linocut-state";

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
    match &mut trainer.masks {
        Some(masks) => parts.push(("scores".into(), &mut masks.scores)),
        None => {
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
    name == "scores" || name == "head.weight" || name == "head.bias" || name.starts_with("weights/")
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
        used.extend(words.used.iter().flat_map(|id| id.to_le_bytes()));
    }
    let parts = parts(trainer);
    let mut tensors: Vec<(String, Dtype, Vec<u8>)> = vec![("words.used".into(), Dtype::U32, used)];
    let bytes = |values: &[f32]| values.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<u8>>();
    tensors.extend(parts.iter().map(|(name, values)| (name.clone(), Dtype::F32, bytes(values))));
    for (name, values) in best.into_iter().flat_map(|b| &b.0) {
        tensors.push((format!("best/{name}"), Dtype::F32, bytes(values)));
    }
    let views = tensors
        .iter()
        .map(|(name, dtype, bytes)| {
            TensorView::new(*dtype, vec![bytes.len() / 4], bytes).map(|view| (name.clone(), view))
        })
        .collect::<std::result::Result<Vec<_>, _>>()
        .map_err(|e| state_error(path, e))?;
    let json = serde_json::to_string(&progress).map_err(|e| state_error(path, e))?;
    let metadata = HashMap::from([(METADATA.to_string(), json)]);
    let file = safetensors::serialize(views, Some(metadata)).map_err(|e| state_error(path, e))?;
    let digest = blake3::hash(&file);
    write_atomically(path, |out| {
        out.write_all(&file)?;
        out.write_all(digest.as_bytes())
    })
}

fn state_error(path: &Path, what: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Io, format!("training state {}: {what}", path.display()))
        .with_hint("remove the file to start over")
}

/// Brings `trainer` to the state in `path`, which must be of the run `identity`.
pub(super) fn load(
    path: &Path,
    identity: &str,
    trainer: &mut Trainer,
) -> Result<(Progress, Option<Snapshot>)> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read training state", e))?;
    let damaged = || state_error(path, "the file is damaged (its digest does not match)");
    let (file, digest) = bytes.split_last_chunk::<32>().ok_or_else(damaged)?;
    if blake3::hash(file).as_bytes() != digest {
        return Err(damaged());
    }
    let wrong = |e: &dyn std::fmt::Display| state_error(path, e);
    let (_, metadata) = safetensors::SafeTensors::read_metadata(file).map_err(|e| wrong(&e))?;
    let tensors = safetensors::SafeTensors::deserialize(file).map_err(|e| wrong(&e))?;
    let json = metadata.metadata().as_ref().and_then(|m| m.get(METADATA));
    let json = json.ok_or_else(|| wrong(&"it is not a training state"))?;
    let progress: Progress = serde_json::from_str(json).map_err(|e| wrong(&e))?;
    if progress.identity != identity {
        return Err(Error::new(
            ErrorKind::Config,
            format!(
                "{} is the state of another run: its base, tokenizer, rows or options differ",
                path.display()
            ),
        )
        .with_hint("give the options and files it was started with, or remove it to start over"));
    }
    let read = |name: &str, len: Option<usize>| -> Result<Vec<u8>> {
        let view = tensors.tensor(name).map_err(|e| wrong(&e))?;
        if len.is_some_and(|len| view.data().len() != len * 4) {
            return Err(wrong(&format!("tensor {name} has another size")));
        }
        Ok(view.data().to_vec())
    };
    let floats = |bytes: Vec<u8>| -> Vec<f32> {
        bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let mut best = Vec::new();
    for (name, values) in parts(trainer) {
        values.copy_from_slice(&floats(read(&name, Some(values.len()))?));
        if progress.best.is_some() && is_parameter(&name) {
            best.push((name.clone(), floats(read(&format!("best/{name}"), Some(values.len()))?)));
        }
    }
    if let Some(words) = &mut trainer.words {
        let bytes = read("words.used", None)?;
        words.used = bytes.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
        words.owed = progress.words_owed;
    }
    trainer.step = progress.step;
    let best = progress.best.is_some().then_some(Snapshot(best));
    Ok((progress, best))
}
