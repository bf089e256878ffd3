//! Every tensor of some safetensors files, of any architecture, under the names they are stored by.

use std::ops::Range;
use std::path::{Path, PathBuf};

use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors};

use super::read::{base_error, convert_hint, file_name, map_file, not_safetensors, weight_files};
use crate::Result;

/// A tensor as a file holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredTensor {
    /// Name in the file.
    pub name: String,
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<usize>,
    file: usize,
    range: Range<usize>,
}

/// Mapped safetensors files. Opening reads their headers alone.
pub struct StoredTensors {
    files: Vec<Mmap>,
    tensors: Vec<StoredTensor>,
}

impl StoredTensors {
    /// Opens a model folder (`model.safetensors`, or the shards that its index names), or a single
    /// safetensors file.
    ///
    /// # Errors
    /// A missing or malformed file, or one tensor name in two shards.
    pub fn open(path: &Path) -> Result<Self> {
        let paths = match path.is_dir() {
            true => weight_files(path)?,
            false => vec![path.to_path_buf()],
        };
        let mut files = Vec::with_capacity(paths.len());
        let mut tensors = Vec::new();
        for (file, path) in paths.iter().enumerate() {
            let map = map_file(path)?;
            let (header, metadata) = SafeTensors::read_metadata(&map).map_err(|e| {
                match ["bin", "pt", "pth", "ckpt"]
                    .iter()
                    .any(|e| path.extension() == Some(e.as_ref()))
                {
                    true => base_error(format!("{} is not a safetensors file", path.display()))
                        .with_hint(convert_hint(&file_name(path))),
                    false => not_safetensors(path, &map, e),
                }
            })?;
            let data = 8 + header;
            tensors.extend(metadata.tensors().into_iter().map(|(name, info)| {
                let (start, end) = info.data_offsets;
                let (dtype, shape) = (info.dtype, info.shape.clone());
                StoredTensor { name, dtype, shape, file, range: data + start..data + end }
            }));
            files.push(map);
        }
        tensors.sort_by(|a, b| a.name.cmp(&b.name));
        if let Some([a, b]) = tensors.array_windows().find(|[a, b]| a.name == b.name) {
            let place = |t: &StoredTensor| file_name(&paths[t.file]);
            return Err(base_error(format!(
                "{} holds tensor {} twice: in {} and in {}",
                path.display(),
                a.name,
                place(a),
                place(b),
            )));
        }
        Ok(Self { files, tensors })
    }

    /// All tensors, sorted by name.
    pub fn tensors(&self) -> &[StoredTensor] {
        &self.tensors
    }

    /// A tensor's bytes: row-major, little-endian, without any alignment.
    ///
    /// # Panics
    /// If `tensor` is of other files.
    pub fn bytes(&self, tensor: &StoredTensor) -> &[u8] {
        &self.files[tensor.file][tensor.range.clone()]
    }
}

/// `config.json` of a model folder, of any architecture; `None` where there is none, or `path` is
/// no folder.
///
/// # Errors
/// A file that cannot be read or is not JSON.
pub fn read_model_config(path: &Path) -> Result<Option<serde_json::Value>> {
    let config: PathBuf = path.join("config.json");
    if config.is_file() { super::read::read_json(&config).map(Some) } else { Ok(None) }
}
