//! Cuts on disk.

use std::fs;
use std::io;
use std::path::Path;

use super::content::Cut;
use crate::checkpoint::write_whole;
use crate::{Error, ErrorKind, Result};

impl Cut {
    /// Reads the cut file at `path`.
    ///
    /// # Errors
    /// If it cannot be read, or as [`Cut::from_bytes`].
    pub fn read(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        Self::from_bytes(&bytes).map_err(|e| at(path, e))
    }

    /// Writes the cut to `path`, all of it or nothing: under a temporary name in the same folder,
    /// synced, then renamed. A file that was there before stays whole until the new one is.
    ///
    /// # Errors
    /// If there is such a file and `overwrite` is false, or writing fails; nothing is then left behind.
    pub fn write(&self, path: impl AsRef<Path>, overwrite: bool) -> Result<()> {
        let path = path.as_ref();
        if path.is_dir() {
            return Err(Error::new(
                ErrorKind::Io,
                format!("cannot write {}: it is a folder", path.display()),
            ));
        }
        if !overwrite && path.symlink_metadata().is_ok() {
            return Err(exists(path)); // before the work; `persist_noclobber` below decides
        }
        write_whole(path, overwrite, |out| out.write_all(&self.to_bytes())).map_err(|e| {
            match e.kind() {
                io::ErrorKind::AlreadyExists => exists(path),
                _ => Error::io(path, "write", e),
            }
        })
    }
}

fn exists(path: &Path) -> Error {
    Error::new(ErrorKind::Io, format!("{} exists already", path.display()))
        .with_hint("choose another name, or replace it with `--force`")
}

/// `error` with the file it was found in.
fn at(path: &Path, error: Error) -> Error {
    let mut message = format!("{}: {error}", path.display());
    let Some(hint) = error.hint() else {
        return Error::new(error.kind(), message).with_source(error);
    };
    message.truncate(message.len() - "\nhint: ".len() - hint.len());
    Error::new(error.kind(), message).with_hint(hint)
}
