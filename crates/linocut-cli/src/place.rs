//! Places that this command writes to.

use linocut::Result;
use linocut::output::{self, Lock};
use std::path::{Path, PathBuf};

/// [`output::claim`] for this command.
pub(crate) fn claim(out: &Path, field: &str, force: bool) -> Result<Lock> {
    output::claim(out, field, force, &doing())
}

/// The same path for the same file, however it is named, also where there is none yet.
pub(crate) fn whole(path: &Path) -> PathBuf {
    let folder = output::folder_of(path).canonicalize();
    let named = || Some(folder.ok()?.join(path.file_name()?));
    path.canonicalize().ok().or_else(named).unwrap_or_else(|| path.to_path_buf())
}

/// This command, for those who wait for it: `linocut train`.
pub(crate) fn doing() -> String {
    format!("linocut {}", std::env::args().nth(1).unwrap_or_default())
}
