//! Places that results go to: tried and locked before the work; and what was learned is kept in any case.

use super::{Lock, TemporaryFile, in_words};
use crate::{Error, ErrorKind, Result};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// Takes the place of a file to write before anything is computed: nothing may stand there (with `force` a
/// file may), its folder must take new files, and no other process may be about to write it. `field` names
/// what the place was given as, and `doing` what for, such as `linocut train`. The place is this process's
/// until the lock is dropped.
///
/// # Errors
/// Whatever stands in the way.
pub fn claim(out: &Path, field: &str, force: bool, doing: &str) -> Result<Lock> {
    check_ordinary(out, field)?;
    check_free(out, field, force)?;
    let lock = hold(out, doing)?;
    check_free(out, field, force)?; // its last holder may have written it
    Ok(lock)
}

/// Locks the place of a file or folder and sees whether its folder takes new ones.
///
/// # Errors
/// If another process holds it, or nothing can be written there.
pub fn hold(out: &Path, doing: &str) -> Result<Lock> {
    let with_hint = |e: Error| match e.hint().map(str::to_string) {
        // Another process holds it: as with a wrong option nothing was begun, which the exit code tells.
        Some(hint) => Error::new(ErrorKind::Config, e.message()).with_hint(hint),
        None => e.with_hint("choose a place that can be written"),
    };
    let lock = Lock::file(out, doing).map_err(with_hint)?;
    let folder = folder_of(out);
    TemporaryFile::new(folder).map_err(|e| with_hint(Error::io(folder, "write into", e)))?;
    Ok(lock)
}

/// Refuses to replace what exists, and to write into a folder that does not.
///
/// # Errors
/// Either; `field` names what the place was given as.
pub fn check_free(out: &Path, field: &str, force: bool) -> Result<()> {
    if out.symlink_metadata().is_ok() && !force {
        return Err(Error::new(ErrorKind::Io, format!("{} exists already", out.display()))
            .with_hint(format!("give another `{field}`, or `force` to replace it")));
    }
    let folder = folder_of(out);
    if folder.is_dir() {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Io, format!("{}: no such folder", folder.display()))
        .with_hint(format!("mkdir -p {}", folder.display())))
}

/// Refuses folders, devices, pipes and the streams of processes: a file is written aside and renamed,
/// which would put it in their place.
fn check_ordinary(out: &Path, field: &str) -> Result<()> {
    let found = match out.metadata() {
        Ok(found) if found.is_dir() => "a folder",
        Ok(found) if !found.is_file() => "a device or pipe",
        _ if out.file_name().is_none() => "no name of a file",
        _ => {
            // `/dev/stdout` may lead to an ordinary file; `/dev/shm` is an ordinary folder.
            let folder = folder_of(out).canonicalize().unwrap_or_default();
            if folder != Path::new("/dev") && !folder.starts_with("/proc") {
                return Ok(());
            }
            "a device or pipe"
        }
    };
    let message = format!("`{field}` {} is {found}, expected a file to write", out.display());
    Err(Error::new(ErrorKind::Io, message).with_hint(format!("give another `{field}`")))
}

/// Sees whether a folder can be filled, or made where it is to be.
///
/// # Errors
/// If it cannot.
pub fn check_folder(folder: &Path) -> Result<()> {
    let there = folder.ancestors().find(|path| path.exists() || path.as_os_str().is_empty());
    let there = there.filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
    TemporaryFile::new(there).map(drop).map_err(|e| {
        Error::io(there, "write into", e).with_hint("choose a place that can be written")
    })
}

/// The folder that `path` stands in.
pub fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Sees whether `bytes` more fit beside `out`, by writing them once.
///
/// What others write in the meantime is not foreseen.
///
/// # Errors
/// If they do not.
pub fn check_room(out: &Path, bytes: u64) -> Result<()> {
    let fits = || -> io::Result<()> {
        let file = TemporaryFile::new(folder_of(out))?;
        let (mut to, chunk) = (file.file(), [0; 1 << 16]);
        let mut left = bytes;
        while left > 0 {
            let n = left.min(chunk.len() as u64);
            to.write_all(&chunk[..n as usize])?;
            left -= n;
        }
        Ok(())
    };
    fits().map_err(|e| {
        let need = in_words(bytes);
        let message = format!("cannot write {}: no room for its {need}: {e}", out.display());
        Error::new(ErrorKind::Io, message)
            .with_source(e)
            .with_hint("free some disk space, or choose a place with more")
    })
}

/// Writes a result to `out` by `write`, which takes a path and whether to replace what is there. Where
/// that is no longer possible, the result is kept beside it under another name, or in the current
/// folder, or in that of temporary files: the error that stood in the way comes with the place then.
///
/// # Errors
/// If it can be written nowhere.
pub fn keep(out: &Path, force: bool, write: impl Fn(&Path, bool) -> Result<()>) -> Result<Kept> {
    let Err(error) = write(out, force) else {
        return Ok(Kept { path: out.to_path_buf(), error: None });
    };
    let temporary = std::env::temp_dir();
    for folder in [folder_of(out), Path::new("."), &temporary] {
        for n in 1..100 {
            let name = numbered(out, n);
            let path = if folder == Path::new(".") { name } else { folder.join(name) };
            if write(&path, false).is_ok() {
                return Ok(Kept { path, error: Some(error) });
            }
            if path.symlink_metadata().is_err() {
                break; // not for its name
            }
        }
    }
    Err(error)
}

/// Where a result was written.
pub struct Kept {
    /// The file.
    pub path: PathBuf,
    /// Why that is not where it should be.
    error: Option<Error>,
}

impl Kept {
    /// Whether it is at the place that was asked for.
    pub fn in_place(&self) -> bool {
        self.error.is_none()
    }

    /// Whether it is where it should be.
    ///
    /// # Errors
    /// If it is elsewhere, naming the place.
    pub fn check(self, out: &Path) -> Result<()> {
        let Some(error) = self.error else { return Ok(()) };
        let (kept, out) = (self.path.display(), out.display());
        Err(Error::new(error.kind(), format!("{}; the result is kept in {kept}", error.message()))
            .with_hint(format!("it is whole: mv {kept} {out}, once that is possible")))
    }
}

/// `trec6.cut` as `trec6-1.cut`.
fn numbered(out: &Path, n: usize) -> PathBuf {
    let mut name = out.file_stem().unwrap_or_default().to_os_string();
    name.push(format!("-{n}"));
    if let Some(extension) = out.extension() {
        name.push(".");
        name.push(extension);
    }
    name.into()
}
