//! One safetensors file, read part by part where it is needed.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use safetensors::SafeTensorError;
use safetensors::tensor::{Metadata, TensorInfo};

use super::read::{base_error, convert_hint, file_name};
use crate::{Error, Result};

/// The longest header that safetensors allow, in bytes.
const MOST_HEADER: u64 = 100_000_000;
/// Bytes read at once by [`TensorFile::chunks`]; a multiple of every element's size.
const CHUNK: usize = 4 << 20;

/// An open file. It is read, not mapped: a file that shrinks under a map ends the process.
pub(super) struct TensorFile {
    path: PathBuf,
    file: File,
    /// Where its tensors' data begin.
    data: u64,
    state: State,
}

/// What changes when a file is written into.
type State = (u64, Option<SystemTime>);

impl TensorFile {
    /// Opens `path` and reads its header: names and what they stand for, with offsets into the data.
    pub(super) fn open(path: &Path) -> Result<(Self, Vec<(String, TensorInfo)>)> {
        let attempt = || -> io::Result<(File, State)> {
            // Opening what is no file, a pipe say, may wait for ever.
            let kind = std::fs::metadata(path)?;
            if kind.is_dir() {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            if !kind.is_file() {
                return Err(io::Error::other("not a regular file"));
            }
            let file = File::open(path)?;
            let state = state(&file)?;
            Ok((file, state))
        };
        let (file, state) = attempt().map_err(|e| Error::io(path, "read", e))?;
        let mut opened = Self { path: path.to_path_buf(), file, data: 0, state };
        let length = state.0;
        let mut start = [0; 8];
        if length < start.len() as u64 {
            return Err(opened.not_whole(SafeTensorError::HeaderTooSmall));
        }
        opened.read_at(0, &mut start)?;
        let header = u64::from_le_bytes(start);
        if header > MOST_HEADER {
            return Err(opened.not_whole(SafeTensorError::HeaderTooLarge));
        }
        opened.data = 8 + header;
        if opened.data > length {
            return Err(opened.not_whole(SafeTensorError::InvalidHeaderLength));
        }
        let mut json = vec![0; header as usize];
        opened.read_at(8, &mut json)?;
        let metadata: Metadata = serde_json::from_slice(&json)
            .map_err(|e| opened.not_whole(SafeTensorError::InvalidHeaderDeserialization(e)))?;
        drop(json);
        if opened.data.checked_add(metadata.data_len() as u64) != Some(length) {
            return Err(opened.not_whole(SafeTensorError::MetadataIncompleteBuffer));
        }
        let tensors = metadata.tensors().into_iter();
        let tensors = tensors.map(|(name, info)| (name, info.clone())).collect();
        Ok((opened, tensors))
    }

    /// Fills `out` with the data from byte `start` on.
    ///
    /// # Errors
    /// If reading fails, or the file has become shorter.
    pub(super) fn read(&self, start: usize, out: &mut [u8]) -> Result<()> {
        self.read_at(self.data + start as u64, out)
    }

    /// Calls `take` with the data in `range`, piece by piece, in order.
    ///
    /// # Errors
    /// As for [`TensorFile::read`].
    pub(super) fn chunks(&self, range: &Range<usize>, mut take: impl FnMut(&[u8])) -> Result<()> {
        let mut buffer = vec![0; range.len().min(CHUNK)];
        for start in range.clone().step_by(CHUNK) {
            let part = &mut buffer[..CHUNK.min(range.end - start)];
            self.read(start, part)?;
            take(part);
        }
        Ok(())
    }

    /// Checks that the file is as it was when it was opened: what was read of it belongs together.
    ///
    /// # Errors
    /// If it was written to since.
    pub(super) fn check_unchanged(&self) -> Result<()> {
        let now = state(&self.file).map_err(|e| Error::io(&self.path, "read", e))?;
        if now == self.state {
            return Ok(());
        }
        Err(base_error(format!("{} was changed while it was read", self.path.display()))
            .with_hint("run the command again once nothing writes to the file"))
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        read_exact_at(&self.file, offset, out).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => {
                base_error(format!("{} became shorter while it was read", self.path.display()))
                    .with_hint("run the command again once nothing writes to the file")
            }
            _ => Error::io(&self.path, "read", e),
        })
    }

    fn not_whole(&self, source: SafeTensorError) -> Error {
        let (path, length) = (self.path.display(), self.state.0);
        let is = |extension: &&str| self.path.extension() == Some(extension.as_ref());
        if ["bin", "pt", "pth", "ckpt"].iter().any(is) {
            return base_error(format!("{path} is not a safetensors file"))
                .with_hint(convert_hint(&file_name(&self.path)));
        }
        let message = format!("{path} ({length} bytes) is not a whole safetensors file: {source}");
        let pointer = b"version https://git-lfs";
        let mut start = [0; 23];
        let is_pointer = read_exact_at(&self.file, 0, &mut start).is_ok() && start == *pointer;
        base_error(message).with_source(source).with_hint(if is_pointer {
            "this is a Git LFS pointer; fetch the file itself with: git lfs pull"
        } else {
            "the file is damaged or its download was cut short; download it again"
        })
    }
}

fn state(file: &File) -> io::Result<State> {
    let metadata = file.metadata()?;
    Ok((metadata.len(), metadata.modified().ok()))
}

/// Reads at an offset without moving a cursor, so that threads may share the file.
#[cfg(unix)]
fn read_exact_at(file: &File, offset: u64, out: &mut [u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, out, offset)
}

/// Reads at an offset; Windows moves the cursor, which nothing else uses.
#[cfg(windows)]
fn read_exact_at(file: &File, mut offset: u64, mut out: &mut [u8]) -> io::Result<()> {
    while !out.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_read(file, out, offset)?;
        if count == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        out = &mut out[count..];
        offset += count as u64;
    }
    Ok(())
}
