//! Temporary files and folders: removed when dropped, by [`remove_all`] when a signal ends the process,
//! and by [`sweep`] after a kill.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tempfile::{Builder, NamedTempFile, TempDir};

/// Names that may be removed where nobody holds them: this, anything, and one of the two endings.
pub(super) const PREFIX: &str = ".linocut-";
const SUFFIX: &str = ".tmp";
pub(super) const LOCK_SUFFIX: &str = ".lock";

/// Tries to get a name that no sweep of another process removes before it is locked.
const TRIES: usize = 10;

/// What this process has under a temporary name, and where it has looked for what others left.
#[derive(Default)]
struct Live {
    paths: Vec<PathBuf>,
    swept: HashSet<PathBuf>,
}

static LIVE: Mutex<Option<Live>> = Mutex::new(None);

fn live() -> MutexGuard<'static, Option<Live>> {
    LIVE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A path that [`remove_all`] removes, until this is dropped.
#[derive(Debug)]
pub(super) struct Registered(PathBuf);

impl Registered {
    pub(super) fn new(path: &Path) -> Self {
        live().get_or_insert_default().paths.push(path.to_path_buf());
        Self(path.to_path_buf())
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        if let Some(live) = &mut *live() {
            live.paths.retain(|path| *path != self.0);
        }
    }
}

/// A file under a temporary name, until it is renamed; removed when dropped.
#[derive(Debug)]
pub struct TemporaryFile {
    file: NamedTempFile,
    registered: Registered,
}

impl TemporaryFile {
    /// A new file in `folder`, with an ordinary file's permissions under the umask. The first one in a
    /// folder [`sweep`]s it.
    ///
    /// # Errors
    /// If no file can be made there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        new(folder, 0o666, |builder| {
            let file = builder.tempfile_in(folder)?;
            let registered = Registered::new(file.path());
            Ok(held(file.as_file(), file.path()).then_some(Self { file, registered }))
        })
    }

    /// The file itself.
    pub fn file(&self) -> &File {
        self.file.as_file()
    }

    /// Renames the file to `path`; without `overwrite`, an existing one is an error of kind
    /// `AlreadyExists`.
    ///
    /// # Errors
    /// If that is not possible; the temporary file is then removed.
    pub fn persist(self, path: &Path, overwrite: bool) -> io::Result<()> {
        let Self { file, registered } = self;
        let during = live(); // no signal comes between
        if overwrite {
            file.persist(path)?;
        } else {
            file.persist_noclobber(path)?;
        }
        drop(during);
        drop(registered);
        Ok(())
    }
}

/// A folder under a temporary name; removed with all that is in it when dropped.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    /// Holds the lock.
    _handle: Option<File>,
    _registered: Registered,
}

impl TemporaryFolder {
    /// A new folder in `folder`, with an ordinary one's permissions under the umask. The first one in a
    /// folder [`sweep`]s it.
    ///
    /// # Errors
    /// If no folder can be made there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        new(folder, 0o777, |builder| {
            let made = builder.tempdir_in(folder)?;
            let registered = Registered::new(made.path());
            // Not every system opens folders; where it does not, none is swept either.
            let handle = File::open(made.path()).ok();
            let held = handle.as_ref().is_none_or(|handle| held(handle, made.path()));
            Ok(held.then_some(Self { folder: made, _handle: handle, _registered: registered }))
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// What `make` makes in `folder` under a temporary name with the permissions `mode`, once it is held.
fn new<T>(
    folder: &Path,
    #[cfg_attr(not(unix), expect(unused))] mode: u32,
    make: impl Fn(&Builder<'static, 'static>) -> io::Result<Option<T>>,
) -> io::Result<T> {
    sweep_once(folder);
    let mut builder = Builder::new();
    builder.prefix(PREFIX).suffix(SUFFIX);
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(mode));
    for _ in 0..TRIES {
        if let Some(made) = make(&builder)? {
            return Ok(made);
        }
    }
    Err(io::Error::other(format!("temporary files in {} vanish", folder.display())))
}

/// Locks what was just made at `path`; false if a sweep of another process came first.
fn held(handle: &File, path: &Path) -> bool {
    match handle.try_lock() {
        Ok(()) => is_at(handle, path),
        Err(TryLockError::WouldBlock) => false,
        // A file system without locks: nobody can take the file for a dead one's either.
        Err(TryLockError::Error(_)) => true,
    }
}

/// Whether `file` still is what stands at `path`.
pub(super) fn is_at(file: &File, path: &Path) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        let same = |a: fs::Metadata, b: fs::Metadata| (a.dev(), a.ino()) == (b.dev(), b.ino());
        match (file.metadata(), path.symlink_metadata()) {
            (Ok(open), Ok(there)) => same(open, there),
            _ => false,
        }
    }
    #[cfg(not(unix))]
    {
        let _ = file;
        path.exists()
    }
}

/// Renames a file or folder, unless the process is about to end: then this waits for that.
///
/// # Errors
/// As [`fs::rename`].
pub fn rename(from: &Path, to: &Path) -> io::Result<()> {
    let _during = live();
    fs::rename(from, to)
}

/// Removes all that this process has under a temporary name, its locks' files too. For a process that
/// is about to end by a signal: from now on other threads wait for ever where they would make or
/// rename a temporary file.
pub fn remove_all() {
    let held = live();
    for path in held.iter().flat_map(|live| &live.paths) {
        // Another thread may still be writing into a folder.
        for _ in 0..TRIES {
            remove(path);
            if path.symlink_metadata().is_err() {
                break;
            }
        }
    }
    std::mem::forget(held);
}

fn remove(path: &Path) {
    // What cannot be removed is found by the next sweep.
    let _ = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(_) => Ok(()),
    };
}

/// Removes the temporary files and folders and the locks in `folder` that processes which no longer
/// live left there.
pub fn sweep(folder: &Path) {
    // Nothing depends on it: what cannot be read or removed stays for the next time.
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let name = name.to_string_lossy();
        let ours =
            name.starts_with(PREFIX) && (name.ends_with(SUFFIX) || name.ends_with(LOCK_SUFFIX));
        // Opening anything else may wait for ever.
        if !ours || !entry.file_type().is_ok_and(|kind| kind.is_file() || kind.is_dir()) {
            continue;
        }
        let path = entry.path();
        let Ok(file) = File::open(&path) else { continue };
        if file.try_lock().is_ok() && is_at(&file, &path) {
            remove(&path); // before the lock goes: nobody can have taken it over
        }
    }
}

/// Sweeps a folder the first time that this process writes there.
fn sweep_once(folder: &Path) {
    let key = folder.canonicalize().unwrap_or_else(|_| folder.to_path_buf());
    if live().get_or_insert_default().swept.insert(key) {
        sweep(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> =
            entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_sweep_takes_what_nobody_holds() {
        let place = tempfile::tempdir().unwrap();
        let at = |name: &str| place.path().join(name);
        for name in [".linocut-a1b2c3.tmp", ".linocut-x.cut.lock", ".linocut-notes", "mine.tmp"] {
            fs::write(at(name), "left").unwrap();
        }
        fs::create_dir_all(at(".linocut-d4e5f6.tmp/new")).unwrap();
        fs::write(at(".linocut-d4e5f6.tmp/new/model.safetensors"), "left").unwrap();

        // The first of a process sweeps, and takes nothing that is held.
        let folder = TemporaryFolder::new(place.path()).unwrap();
        let file = TemporaryFile::new(place.path()).unwrap();
        sweep(place.path());
        let name = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_string();
        let mut expected = vec![
            ".linocut-notes".to_string(),
            name(folder.path()),
            name(file.file.path()),
            "mine.tmp".into(),
        ];
        expected.sort();
        assert_eq!(names(place.path()), expected);

        drop(folder);
        file.persist(&at("whole"), false).unwrap();
        assert_eq!(names(place.path()), [".linocut-notes", "mine.tmp", "whole"]);
        let again = TemporaryFile::new(place.path()).unwrap();
        let error = again.persist(&at("whole"), false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(names(place.path()), [".linocut-notes", "mine.tmp", "whole"]);
    }
}
