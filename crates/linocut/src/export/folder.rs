//! A folder that appears whole or not at all.

use super::texts::MARK;
use crate::output::{self, Lock, TemporaryFolder};
use crate::{Error, ErrorKind, Result};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// Refuses to write over anything, with `force` over anything but an earlier export, and takes the place
/// until the lock is dropped; `doing` says what for, such as `linocut export`.
///
/// # Errors
/// Whatever stands in the way.
pub fn claim(out: &Path, force: bool, doing: &str) -> Result<Lock> {
    output::check_free(out, "out", force)?;
    let lock = output::hold(out, doing)?;
    if out.symlink_metadata().is_err() || force && is_export(out) {
        return Ok(lock);
    }
    let message = format!("{} is no earlier export, and is not replaced", out.display());
    Err(Error::new(ErrorKind::Io, message).with_hint("give another `out`, or remove it yourself"))
}

/// Whether `folder` was written by this command: everything in it may go.
fn is_export(folder: &Path) -> bool {
    let config = fs::read(folder.join("config.json")).unwrap_or_default();
    let config: Option<Value> = serde_json::from_slice(&config).ok();
    let mark = config.as_ref().and_then(|config| config.get(MARK));
    mark.is_some_and(Value::is_object) && !folder.is_symlink()
}

/// Fills a folder beside `out`, then renames it to `out`. On an error nothing is left behind and an
/// earlier folder stays.
pub(super) fn write(out: &Path, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let parent = output::folder_of(out);
    let temporary = TemporaryFolder::new(parent).map_err(|e| Error::io(parent, "write into", e))?;
    let new = temporary.path().join("new");
    fs::create_dir(&new).map_err(|e| Error::io(&new, "write", e))?;
    fill(&new)?;
    let rename =
        |from: &Path, to: &Path| output::rename(from, to).map_err(|e| Error::io(out, "write", e));
    if out.symlink_metadata().is_err() {
        return rename(&new, out);
    }
    // The old folder goes with the temporary one, once the new one stands in its place.
    let old = temporary.path().join("old");
    rename(out, &old)?;
    rename(&new, out).inspect_err(|_| {
        let _ = output::rename(&old, out);
    })
}
