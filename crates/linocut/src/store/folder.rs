//! A store in a folder.

use std::fs::{self, File, Metadata};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use super::place::{Found, Listed, Tag};
use crate::output::{Lock, TemporaryFile};
use crate::{Error, ErrorKind, Result};

/// Times to look again whether another process has done changing a file, with a pause between.
const TRIES: usize = 50;
const PAUSE: Duration = Duration::from_millis(100);
/// A file that was changed more recently may be changed again without a sign of it: clocks of file
/// systems tick a few hundred times a second.
const SETTLED: Duration = Duration::from_secs(2);

/// A folder with the folders `tasks` and `cuts`.
#[derive(Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: &str) -> Self {
        Self(path.into())
    }

    fn path(&self, key: &str) -> PathBuf {
        self.0.join(key)
    }

    /// Makes the folder and those in it; a folder that has something else in it stays as it is.
    pub(super) fn prepare(&self, folders: &[&str]) -> Result<()> {
        let entries = fs::read_dir(&self.0).into_iter().flatten().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        // Those that are wanted may be left of a push that was killed; hidden ones are locks.
        let other =
            names.filter(|name| !name.starts_with('.') && !folders.contains(&&**name)).min();
        if let Some(name) = other {
            let folder = self.0.display();
            let message = format!("{folder} is no store, and has other things in it ({name})");
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("name a new or an empty folder, which then becomes a store"));
        }
        for folder in folders {
            let path = self.path(folder);
            fs::create_dir_all(&path).map_err(|e| {
                Error::io(&path, "make the folder", e)
                    .with_hint("let the user of this process write there")
            })?;
        }
        Ok(())
    }

    pub(super) fn read(&self, key: &str, most: usize) -> Result<Option<Found>> {
        let path = self.path(key);
        let unread = |e| Error::io(&path, "read", e);
        let found = match fs::metadata(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            found => found.map_err(unread)?,
        };
        if !found.is_file() {
            // Anything else might be waited for without end.
            return Err(Error::new(ErrorKind::Cut, format!("{} is no file", path.display())));
        }
        let file = match File::open(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file.map_err(unread)?,
        };
        let mut bytes = Vec::new();
        file.take(most as u64 + 1).read_to_end(&mut bytes).map_err(unread)?;
        if bytes.len() > most {
            let message = format!("{} has more than {most} bytes", path.display());
            return Err(Error::new(ErrorKind::Cut, message));
        }
        let tag = Tag::Content(blake3::hash(&bytes));
        Ok(Some(Found { bytes, tag }))
    }

    pub(super) fn create(&self, key: &str, bytes: &[u8]) -> Result<bool> {
        let path = self.path(key);
        match self.write(&path, bytes, false) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            written => written.map(|()| true).map_err(|e| Error::io(&path, "write", e)),
        }
    }

    pub(super) fn put(&self, key: &str, bytes: &[u8]) -> Result<()> {
        let path = self.path(key);
        self.write(&path, bytes, true).map_err(|e| Error::io(&path, "write", e))
    }

    pub(super) fn replace(&self, key: &str, bytes: &[u8], tag: &Tag) -> Result<bool> {
        let path = self.path(key);
        let _lock = lock(&path)?;
        let now = self.read(key, bytes.len().max(super::record::RECORD_BYTES))?;
        if now.is_none_or(|now| now.tag != *tag) {
            return Ok(false);
        }
        self.write(&path, bytes, true).map_err(|e| Error::io(&path, "write", e))?;
        Ok(true)
    }

    pub(super) fn remove(&self, key: &str) -> Result<bool> {
        let path = self.path(key);
        let _lock = lock(&path)?;
        match fs::remove_file(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
            removed => removed.map_err(|e| Error::io(&path, "remove", e))?,
        }
        sync(&path).map_err(|e| Error::io(&path, "remove", e))?;
        Ok(true)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.path(key).is_file()
    }

    pub(super) fn list(&self, folder: &str) -> Result<Vec<Listed>> {
        let path = self.path(folder);
        let unread = |e| Error::io(&path, "read the folder", e);
        let mut all = Vec::new();
        for entry in fs::read_dir(&path).map_err(unread)? {
            let entry = entry.map_err(unread)?;
            let name = entry.file_name();
            let Some(name) = name.to_str().filter(|name| !name.starts_with('.')) else { continue };
            let found = match entry.metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // gone meanwhile
                found => found.map_err(unread)?,
            };
            if found.is_file() {
                let key = format!("{folder}/{name}");
                all.push(Listed { key, bytes: found.len(), stamp: stamp(&found) });
            }
        }
        Ok(all)
    }

    /// Writes aside, down to the disk, and renames.
    fn write(&self, path: &Path, bytes: &[u8], overwrite: bool) -> io::Result<()> {
        let temporary = TemporaryFile::new(path.parent().unwrap_or(&self.0))?;
        temporary.file().write_all(bytes)?;
        temporary.file().sync_all()?;
        temporary.persist(path, overwrite)?;
        sync(path)
    }
}

/// Locks a file against other processes that change it, which take a moment only.
fn lock(path: &Path) -> Result<Lock> {
    let mut tries = 0;
    loop {
        match Lock::file(path, "a change of the store") {
            Err(e) if std::error::Error::source(&e).is_none() && tries < TRIES => tries += 1,
            locked => return locked,
        }
        sleep(PAUSE);
    }
}

/// Has the name of a file survive a power cut.
fn sync(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(crate::output::folder_of(path))?.sync_all()?;
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// What differs between two versions of a file; none where that cannot be told.
fn stamp(found: &Metadata) -> Option<String> {
    let modified = found.modified().ok()?;
    if SystemTime::now().duration_since(modified).is_ok_and(|age| age < SETTLED) {
        return None;
    }
    let time = modified.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_nanos();
    #[cfg(unix)]
    let number = std::os::unix::fs::MetadataExt::ino(found);
    #[cfg(not(unix))]
    let number = 0;
    Some(format!("{number}-{time}-{}", found.len()))
}
