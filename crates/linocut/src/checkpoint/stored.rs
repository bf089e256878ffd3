//! Every tensor of some safetensors files, of any architecture, under the names they are stored by.

use std::ops::Range;
use std::path::{Path, PathBuf};

use safetensors::Dtype;

use super::file::TensorFile;
use super::read::{base_error, file_name, weight_files};
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

impl StoredTensor {
    /// How many bytes it has.
    pub fn size(&self) -> usize {
        self.range.len()
    }
}

/// Open safetensors files. Opening reads their headers alone.
pub struct StoredTensors {
    files: Vec<TensorFile>,
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
            let (opened, infos) = TensorFile::open(path)?;
            tensors.extend(infos.into_iter().map(|(name, info)| {
                let (start, end) = info.data_offsets;
                StoredTensor { name, dtype: info.dtype, shape: info.shape, file, range: start..end }
            }));
            files.push(opened);
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

    /// A tensor's bytes: row-major, little-endian.
    ///
    /// # Errors
    /// If the file cannot be read, or became shorter.
    ///
    /// # Panics
    /// If `tensor` is of other files.
    pub fn bytes(&self, tensor: &StoredTensor) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        self.read(tensor, 0..tensor.size(), &mut bytes)?;
        Ok(bytes)
    }

    /// The bytes in `range` of a tensor's, into `out`.
    ///
    /// # Errors
    /// As [`StoredTensors::bytes`].
    ///
    /// # Panics
    /// If `tensor` is of other files, or the range ends beyond its bytes.
    pub fn read(
        &self,
        tensor: &StoredTensor,
        range: Range<usize>,
        out: &mut Vec<u8>,
    ) -> Result<()> {
        assert!(range.end <= tensor.size(), "a range within the tensor");
        out.resize(range.len(), 0);
        self.files[tensor.file].read(tensor.range.start + range.start, out)
    }

    /// Checks that all that was read so far is of one state of the files.
    ///
    /// # Errors
    /// If one of them was written to since it was opened.
    pub fn check_unchanged(&self) -> Result<()> {
        self.files.iter().try_for_each(TensorFile::check_unchanged)
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
