//! The folder of cuts that the tasks come from and go to.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linocut::bank::{Bank, Task};
use linocut::checkpoint::write_atomically;
use linocut::cut::Cut;
use linocut::{Error, ErrorKind, Result};

/// Longest name of a task, in bytes.
const NAME_BYTES: usize = 100;

/// The cuts folder, each task's cut as `<name>.cut`. Files are read into memory whole, never mapped:
/// what others do to them later does not reach the tasks served.
pub(crate) struct Store {
    folder: PathBuf,
    /// Locked for the whole of a change, so that disk and bank agree.
    changing: Mutex<()>,
    /// Bytes of each task's file. Locked for look-ups and single changes only.
    files: Mutex<BTreeMap<String, u64>>,
}

/// Checks a task's name: it becomes a file's, and stands in addresses and logs.
///
/// # Errors
/// If it is not 1 to 100 ASCII letters, digits, `.`, `_` and `-`, the first a letter or digit.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let sane = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    let first = name.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if first && name.len() <= NAME_BYTES && name.bytes().all(sane) {
        return Ok(());
    }
    let shown: String = name.chars().take(60).collect();
    let message = format!(
        "{shown:?} is no name of a task: expected 1 to {NAME_BYTES} of A-Z a-z 0-9 . _ -, \
         the first a letter or digit"
    );
    Err(Error::new(ErrorKind::Config, message))
}

impl Store {
    /// Adds every file in `folder` that ends in `.cut` to `bank`; `progress` hears how many are done
    /// of how many.
    pub(crate) fn open(
        folder: &Path,
        bank: &Bank,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let unreadable = |e| {
            let hint = "--cuts takes a folder that can be read and written; it may be empty";
            Error::io(folder, "read the folder", e).with_hint(hint)
        };
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|e| e == "cut") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut files = BTreeMap::new();
        for (done, path) in paths.iter().enumerate() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            let add = || {
                check_name(&name)?;
                let bytes = fs::read(path).map_err(|e| Error::io(path, "read", e))?;
                bank.add(&name, &Cut::from_bytes(&bytes)?)?;
                Ok(bytes.len() as u64)
            };
            let bytes = add().map_err(|e: Error| {
                let text = e.to_string();
                let text = text.split("\nhint: ").next().unwrap_or_default();
                let error = Error::new(e.kind(), format!("{}: {text}", path.display()));
                let hint = e.hint().unwrap_or("`linocut verify` checks a cut");
                error.with_hint(format!("{hint}; or move the file out of the folder"))
            })?;
            files.insert(name, bytes);
            progress(done + 1, paths.len());
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            changing: Mutex::default(),
            files: Mutex::new(files),
        })
    }

    /// Bytes of the file of the task `name`.
    pub(crate) fn bytes(&self, name: &str) -> Option<u64> {
        self.files().get(name).copied()
    }

    /// Checks the cut in `bytes`, writes it, and only then serves it as `name`; says whether it
    /// takes the place of another version. Whatever fails, the other version stays.
    ///
    /// # Errors
    /// A name that no task may have, a cut that is malformed or does not fit, or a folder that
    /// cannot be written.
    pub(crate) fn put(&self, bank: &Bank, name: &str, bytes: &[u8]) -> Result<(Arc<Task>, bool)> {
        check_name(name)?;
        let task = bank.prepare(name, &Cut::from_bytes(bytes)?)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        write_atomically(&self.path(name), |out| out.write_all(bytes))?;
        let old = bank.insert(Arc::clone(&task))?;
        self.files().insert(name.into(), bytes.len() as u64);
        Ok((task, old.is_some()))
    }

    /// Removes the task `name`, and its file first.
    ///
    /// # Errors
    /// If there is none, or its file cannot be removed; the task then stays.
    pub(crate) fn remove(&self, bank: &Bank, name: &str) -> Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        bank.task(name)?;
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(&path, "remove", e));
            }
            _ => {}
        }
        // The removal survives a power cut only once the folder is synced.
        #[cfg(unix)]
        File::open(&self.folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| Error::io(&self.folder, "sync", e))?;
        bank.remove(name)?;
        self.files().remove(name);
        Ok(())
    }

    /// Where the task's cut stands; `name` has been checked.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.cut"))
    }

    fn files(&self) -> MutexGuard<'_, BTreeMap<String, u64>> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::check_name;

    #[test]
    fn names_that_a_task_may_have() {
        for good in ["a", "Intent-2.v1_b", "0", &"x".repeat(100)] {
            check_name(good).unwrap();
        }
        let long = "x".repeat(101);
        for bad in ["", ".", "..", ".a", "-a", "_a", "a/b", "../a", "a b", "ä", "a\0", "a\n", &long]
        {
            let error = check_name(bad).unwrap_err();
            assert!(error.to_string().contains("is no name of a task"), "{error}");
        }
    }
}
