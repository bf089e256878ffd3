//! Cuts on disk.

use std::fs;
use std::path::Path;

use super::content::Cut;
use crate::checkpoint::write_file;
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
        write_file(path, overwrite, |out| out.write_all(&self.to_bytes()))
    }
}

/// `error` with the file it was found in.
fn at(path: &Path, error: Error) -> Error {
    let message = format!("{}: {}", path.display(), error.message());
    match error.hint().map(str::to_string) {
        None => Error::new(error.kind(), message).with_source(error),
        Some(hint) => Error::new(error.kind(), message).with_hint(hint),
    }
}
