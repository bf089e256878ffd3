//! A Hugging Face model folder: its config, and its tensors by canonical name.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use half::{bf16, f16};
use safetensors::Dtype;
use serde_json::Value;

use super::file::TensorFile;
use super::fingerprint::{self, Fingerprint};
use super::names::Spelling;
use crate::checkpoint::Pooling;
use crate::{Error, ErrorKind, Result};

/// One tensor of the encoder, as found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorInfo {
    /// Canonical name; see [`Spelling::canonical`].
    pub name: String,
    /// Name in the file.
    pub stored_name: String,
    /// Element type in the file.
    pub dtype: Dtype,
    /// Dimensions; matrices are `[out, in]`.
    pub shape: Vec<usize>,
}

/// An opened model folder. The weights stay on disk and are read when asked for.
pub struct Checkpoint {
    folder: PathBuf,
    config: Value,
    spelling: &'static Spelling,
    files: Vec<TensorFile>,
    tensors: Vec<TensorInfo>,
    /// The names in the files of all others.
    others: Vec<String>,
    /// For each of `tensors`: its file and its place in the file's data.
    places: Vec<(usize, Range<usize>)>,
    fingerprint: Fingerprint,
}

impl Checkpoint {
    /// Opens a folder with `config.json` and `model.safetensors`, or the shards that
    /// `model.safetensors.index.json` names, of a model that is spelled as `spelling` chooses by
    /// `config.json`. Reads all weights once, for the fingerprint.
    ///
    /// # Errors
    /// A missing or malformed file, what `spelling` says, two tensors of one canonical name, or no
    /// tensor of such an encoder at all.
    pub fn open(
        folder: &Path,
        spelling: impl FnOnce(&Value) -> Result<&'static Spelling>,
    ) -> Result<Self> {
        let (path, config) = read_config(folder)?;
        let spelling = spelling(&config).map_err(|e| e.at(path.display()))?;
        let paths = weight_files(folder)?;
        let mut files = Vec::with_capacity(paths.len());
        let mut found: Vec<(TensorInfo, (usize, Range<usize>))> = Vec::new();
        let mut other: Vec<String> = Vec::new();
        for (index, path) in paths.iter().enumerate() {
            let (file, infos) = TensorFile::open(path)?;
            for (stored_name, info) in infos {
                let Some(canonical) = spelling.canonical(&stored_name) else {
                    other.push(stored_name);
                    continue;
                };
                let (start, end) = info.data_offsets;
                let tensor = TensorInfo {
                    name: canonical.name,
                    stored_name,
                    dtype: info.dtype,
                    shape: info.shape,
                };
                found.push((tensor, (index, start..end)));
            }
            files.push(file);
        }
        found.sort_by(|a, b| (&a.0.name, &a.0.stored_name).cmp(&(&b.0.name, &b.0.stored_name)));
        for pair in found.windows(2) {
            let [(a, (a_file, _)), (b, (b_file, _))] = pair else { continue };
            if a.name == b.name {
                return Err(base_error(format!(
                    "{} holds tensor {} twice: as {} in {} and as {} in {}",
                    folder.display(),
                    a.name,
                    a.stored_name,
                    file_name(&paths[*a_file]),
                    b.stored_name,
                    file_name(&paths[*b_file]),
                )));
            }
        }
        if found.is_empty() {
            other.sort();
            other.truncate(3);
            return Err(base_error(format!(
                "{} holds no tensor of a {} encoder: expected names such as {}.weight, found {}",
                paths.first().unwrap_or(&folder.to_path_buf()).display(),
                spelling.family,
                spelling.example(),
                if other.is_empty() { "no tensors".into() } else { other.join(", ") + ", …" },
            )));
        }
        let (tensors, places) = found.into_iter().unzip();
        let mut checkpoint = Self {
            folder: folder.to_path_buf(),
            config,
            spelling,
            files,
            tensors,
            others: other,
            places,
            fingerprint: Fingerprint([0; 32]),
        };
        checkpoint.fingerprint = fingerprint::of(&checkpoint)?;
        Ok(checkpoint)
    }

    /// The folder as it was given to [`Checkpoint::open`].
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What to call this base: `org/name` for a folder of the hub's cache, else the folder's last
    /// component, else the config's `_name_or_path`.
    pub fn name(&self) -> String {
        // models--org--name/snapshots/<commit>
        let hub = self
            .folder
            .ancestors()
            .nth(2)
            .filter(|_| self.folder.parent().is_some_and(|p| p.ends_with("snapshots")))
            .and_then(Path::file_name)
            .and_then(|n| n.to_str()?.strip_prefix("models--").map(|n| n.replacen("--", "/", 1)));
        let last = || {
            let absolute = std::path::absolute(&self.folder).ok()?;
            absolute.file_name().map(|n| n.to_string_lossy().into_owned())
        };
        let configured = || self.config["_name_or_path"].as_str().map(str::to_string);
        hub.or_else(last).or_else(configured).unwrap_or_else(|| "base".to_string())
    }

    /// `config.json`, parsed.
    pub fn config(&self) -> &Value {
        &self.config
    }

    /// How its names are spelled.
    pub fn spelling(&self) -> &'static Spelling {
        self.spelling
    }

    /// The encoder's tensors, sorted by canonical name; heads and `position_ids` are left out.
    pub fn tensors(&self) -> &[TensorInfo] {
        &self.tensors
    }

    /// Names, as stored, of the tensors that are no parameters of such an encoder: heads,
    /// `position_ids`, and whatever else there is.
    pub fn others(&self) -> &[String] {
        &self.others
    }

    /// The tensor of this canonical name.
    pub fn tensor(&self, name: &str) -> Option<&TensorInfo> {
        self.index(name).map(|i| &self.tensors[i])
    }

    /// Calls `take` with the bytes of the `i`-th tensor as stored, piece by piece: row-major,
    /// little-endian.
    pub(super) fn chunks(&self, i: usize, take: impl FnMut(&[u8])) -> Result<()> {
        let (file, range) = &self.places[i];
        self.files[*file].chunks(range, take)
    }

    /// Bytes of the `i`-th tensor.
    pub(super) fn size(&self, i: usize) -> usize {
        self.places[i].1.len()
    }

    /// Checks that all that was read so far is of one state of the files.
    ///
    /// # Errors
    /// If one of them was written to since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(TensorFile::check_unchanged)
    }

    /// Reads a tensor of F32, F16 or BF16 as f32 into `out`.
    ///
    /// # Errors
    /// No such tensor, another element type, `out` of another length, a file that cannot be read or
    /// became shorter, or values that are not finite (then `out` is filled all the same).
    pub fn read_f32(&self, name: &str, out: &mut [f32]) -> Result<()> {
        let Some(i) = self.index(name) else {
            return Err(base_error(format!("{} has no tensor {name}", self.folder.display())));
        };
        let info = &self.tensors[i];
        let wrong = |problem: String| {
            base_error(format!("tensor {name} of {}: {problem}", self.folder.display()))
        };
        let expected = info.shape.iter().product::<usize>();
        if out.len() != expected {
            return Err(wrong(format!(
                "expected {} values, found shape {:?} with {expected}",
                out.len(),
                info.shape,
            )));
        }
        let width = match info.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::BF16 => 2,
            other => return Err(wrong(format!("expected F32, F16 or BF16, found {other}"))),
        };
        let mut rest = &mut *out;
        self.chunks(i, |bytes| {
            let (to, after) = std::mem::take(&mut rest).split_at_mut(bytes.len() / width);
            let values = to.iter_mut();
            match info.dtype {
                Dtype::F32 => {
                    values.zip(bytes.as_chunks().0).for_each(|(v, b)| *v = f32::from_le_bytes(*b));
                }
                Dtype::F16 => values
                    .zip(bytes.as_chunks().0)
                    .for_each(|(v, b)| *v = f16::from_le_bytes(*b).to_f32()),
                _ => values
                    .zip(bytes.as_chunks().0)
                    .for_each(|(v, b)| *v = bf16::from_le_bytes(*b).to_f32()),
            }
            rest = after;
        })?;
        let bad = out.iter().filter(|v| !v.is_finite()).count();
        if bad > 0 {
            return Err(wrong(format!(
                "{bad} of {expected} values are not finite (NaN or infinite)"
            ))
            .with_hint("the file is damaged, or training diverged before it was saved"));
        }
        Ok(())
    }

    /// How this model was trained to pool, where a sentence-transformers `1_Pooling/config.json`
    /// says so.
    ///
    /// # Errors
    /// A malformed file, or a mode other than mean or first token.
    pub fn pooling(&self) -> Result<Option<Pooling>> {
        let path = self.folder.join("1_Pooling").join("config.json");
        if !path.exists() {
            return Ok(None);
        }
        let config = read_json(&path)?;
        // Older files have one flag per mode, newer ones may name the mode.
        let mut modes: Vec<String> = match config["pooling_mode"].as_str() {
            Some(mode) => vec![mode.to_string()],
            None => config.as_object().map_or_else(Vec::new, |fields| {
                fields
                    .iter()
                    .filter(|(_, value)| value.as_bool() == Some(true))
                    .filter_map(|(key, _)| key.strip_prefix("pooling_mode_"))
                    .map(str::to_string)
                    .collect()
            }),
        };
        modes.sort();
        match modes.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["mean" | "mean_tokens"] => Ok(Some(Pooling::Mean)),
            ["cls" | "cls_token"] => Ok(Some(Pooling::First)),
            _ => Err(base_error(format!(
                "{}: expected pooling mode mean_tokens or cls_token, found {}",
                path.display(),
                if modes.is_empty() { "none".into() } else { modes.join(" and ") },
            ))
            .with_hint("choose a pooling explicitly to use this base all the same")),
        }
    }

    /// The identity of this base: see [`Fingerprint`].
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    fn index(&self, name: &str) -> Option<usize> {
        self.tensors.binary_search_by(|t| t.name.as_str().cmp(name)).ok()
    }
}

pub(super) fn base_error(message: String) -> Error {
    Error::new(ErrorKind::Base, message)
}

pub(super) fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

pub(super) fn read_json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    json_object(path, &bytes)
}

/// The JSON of a model folder's file: its fields are read and changed by name.
///
/// # Errors
/// If it is no JSON, or no object.
pub(crate) fn json_object(path: &Path, bytes: &[u8]) -> Result<Value> {
    let value: Value = serde_json::from_slice(bytes)
        .map_err(|e| base_error(format!("{} is not JSON: {e}", path.display())).with_source(e))?;
    if value.is_object() {
        return Ok(value);
    }
    Err(base_error(format!("{}: expected an object", path.display())))
}

/// `config.json` of a folder, and where it stands.
fn read_config(folder: &Path) -> Result<(PathBuf, Value)> {
    let path = folder.join("config.json");
    if !path.exists() {
        let state = if folder.is_dir() { "has no config.json" } else { "is not a folder" };
        return Err(base_error(format!("{} {state}", folder.display())).with_hint(
            "a base is a Hugging Face model folder with config.json, model.safetensors and \
             tokenizer.json",
        ));
    }
    let config = read_json(&path)?;
    Ok((path, config))
}

/// The safetensors files of a folder, in the order of their names.
pub(super) fn weight_files(folder: &Path) -> Result<Vec<PathBuf>> {
    let single = folder.join("model.safetensors");
    if single.exists() {
        return Ok(vec![single]);
    }
    let index = folder.join("model.safetensors.index.json");
    if !index.exists() {
        let message = format!("{} has no model.safetensors", folder.display());
        return Err(base_error(message).with_hint(if folder.join("pytorch_model.bin").exists() {
            format!("there is a pytorch_model.bin; {}", convert_hint("pytorch_model.bin"))
        } else {
            "weights are read from model.safetensors, or from the shards that \
             model.safetensors.index.json names"
                .into()
        }));
    }
    let content = read_json(&index)?;
    let map = content["weight_map"]
        .as_object()
        .filter(|m| !m.is_empty())
        .ok_or_else(|| base_error(format!("{}: expected an object weight_map", index.display())))?;
    let mut names = BTreeSet::new();
    for (tensor, file) in map {
        // An index must not lead out of its folder.
        let name = file.as_str().filter(|f| Path::new(f).file_name() == Some(f.as_ref()));
        names.insert(name.ok_or_else(|| {
            base_error(format!(
                "{}: expected the name of a file in the same folder for {tensor}, found {file}",
                index.display(),
            ))
        })?);
    }
    let total = names.len();
    let paths: Vec<PathBuf> = names.into_iter().map(|name| folder.join(name)).collect();
    let missing: Vec<&PathBuf> = paths.iter().filter(|p| !p.exists()).collect();
    match missing.first() {
        None => Ok(paths),
        Some(first) => Err(base_error(format!(
            "{} is missing, a shard named by {} ({} of {total} shards missing)",
            first.display(),
            file_name(&index),
            missing.len(),
        ))
        .with_hint("download the folder again; every shard is needed")),
    }
}

/// How to make `model.safetensors` of a file that PyTorch wrote.
pub(super) fn convert_hint(file: &str) -> String {
    format!(
        "convert it with: python -c \"import torch; from safetensors.torch import save_file; \
         save_file({{k: v.clone().contiguous() for k, v in torch.load('{file}', \
         weights_only=True).items()}}, 'model.safetensors', metadata={{'format': 'pt'}})\""
    )
}
