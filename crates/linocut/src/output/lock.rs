//! Locks that name their holder.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::Duration;

use super::temporary::{LOCK_SUFFIX, PREFIX, Registered, is_at, sweep};
use crate::{Error, ErrorKind, Result};

/// A folder's lock stands in it under this name.
const FOLDER: &str = ".linocut.lock";
/// Longest name of a file that stands in the name of its lock, in bytes; systems take 255 in all.
const NAME_BYTES: usize = 200;
/// Times to look again whether a lock has become free, and the pause between: its holder may be ending.
const TRIES: usize = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// A file or folder that only this process works on, until this is dropped or the process ends,
/// however it ends. Processes of other programs take no notice of it.
#[derive(Debug)]
pub struct Lock {
    /// Holds the lock; its content says who that is.
    _file: File,
    path: PathBuf,
    _registered: Registered,
}

impl Lock {
    /// Locks the file `out`, whether or not it is there yet, by a hidden file beside it. `doing` says
    /// what for, such as `linocut train`.
    ///
    /// # Errors
    /// If another process holds it, who is named, or no file can be made beside it.
    pub fn file(out: &Path, doing: &str) -> Result<Self> {
        let name = out.file_name().unwrap_or_default();
        let mut lock = std::ffi::OsString::from(PREFIX);
        if name.len() <= NAME_BYTES {
            lock.push(name);
        } else {
            lock.push(&*blake3::hash(name.as_encoded_bytes()).to_hex());
        }
        lock.push(LOCK_SUFFIX);
        Self::at(out.with_file_name(lock), out, doing)
    }

    /// Locks a folder by a hidden file in it, and removes what killed processes left there.
    ///
    /// # Errors
    /// If another process holds it, who is named, or no file can be made in it.
    pub fn folder(folder: &Path, doing: &str) -> Result<Self> {
        let lock = Self::at(folder.join(FOLDER), folder, doing)?;
        sweep(folder);
        Ok(lock)
    }

    fn at(path: PathBuf, what: &Path, doing: &str) -> Result<Self> {
        let mut tries = 0;
        loop {
            let mut options = OpenOptions::new();
            options.read(true).write(true).create(true).truncate(false);
            // One that another user left can be read, mostly, and locked all the same.
            let opened = options.open(&path).or_else(|e| File::open(&path).map_err(|_| e));
            let mut file = opened.map_err(|e| Error::io(what, "write", e))?;
            match file.try_lock() {
                Ok(()) if path.is_symlink() => {
                    let message = format!("{} is a link, expected a lock", path.display());
                    return Err(Error::new(ErrorKind::Io, message).with_hint("remove it"));
                }
                Ok(()) if !is_at(&file, &path) => continue, // its last holder has just removed it
                // A file system without locks: nothing can be held there.
                Ok(()) | Err(TryLockError::Error(_)) => {
                    let registered = Registered::new(&path);
                    // For people only; the lock holds without it.
                    let _ = file
                        .set_len(0)
                        .and_then(|()| writeln!(file, "{} {doing}", std::process::id()));
                    return Ok(Self { _file: file, path, _registered: registered });
                }
                Err(TryLockError::WouldBlock) if tries < TRIES => {
                    tries += 1;
                    sleep(PAUSE);
                }
                Err(TryLockError::WouldBlock) => return Err(taken(what, &mut file)),
            }
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // While it is still held, so that what is removed is no other process's.
        #[cfg(unix)]
        let _ = std::fs::remove_file(&self.path);
    }
}

/// The error that names who holds `what`, by the lock's content.
fn taken(what: &Path, lock: &mut File) -> Error {
    let mut holder = String::new();
    let read =
        lock.seek(SeekFrom::Start(0)).and_then(|_| lock.take(200).read_to_string(&mut holder));
    let holder = holder.trim_end().split_once(' ').filter(|_| read.is_ok());
    let what = what.display();
    let (who, hint) = match holder {
        Some((pid, doing)) if pid == std::process::id().to_string() => (
            format!("this process ({doing})"),
            "close what has it open here, or choose another place".into(),
        ),
        Some((pid, doing)) => (
            format!("process {pid} ({doing})"),
            format!("wait until it has ended, end it (kill {pid}), or choose another place"),
        ),
        None => {
            ("another process".into(), "wait until it has ended, or choose another place".into())
        }
    };
    Error::new(ErrorKind::Io, format!("{what}: {who} is at work on it")).with_hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn one_holder_at_a_time() {
        let place = tempfile::tempdir().unwrap();
        let out = place.path().join("x.cut");
        let held = Lock::file(&out, "linocut train").unwrap();
        let error = Lock::file(&out, "linocut pack").unwrap_err();
        assert_eq!(
            error.to_string().replace(&place.path().display().to_string(), ""),
            "/x.cut: this process (linocut train) is at work on it\n\
             hint: close what has it open here, or choose another place"
        );
        // Another process, which is not this one: no process has the number 0.
        let mut lock = tempfile::tempfile().unwrap();
        writeln!(lock, "0 linocut train").unwrap();
        assert_eq!(
            taken(Path::new("x.cut"), &mut lock).to_string(),
            "x.cut: process 0 (linocut train) is at work on it\n\
             hint: wait until it has ended, end it (kill 0), or choose another place"
        );
        let other = Lock::file(&place.path().join("y.cut"), "linocut train").unwrap();
        sweep(place.path());
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 2, "a sweep leaves held locks");
        drop((held, other));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0, "nothing stays");
        drop(Lock::file(&out, "linocut pack").unwrap());
        drop(Lock::file(&place.path().join("x".repeat(250)), "linocut train").unwrap());
    }

    #[test]
    fn one_left_by_a_dead_process_is_taken_over() {
        let place = tempfile::tempdir().unwrap();
        fs::write(place.path().join(FOLDER), "1 somebody else with a longer line\n").unwrap();
        fs::write(place.path().join(".linocut-abcdef.tmp"), "left").unwrap();
        let held = Lock::folder(place.path(), "linocut serve").unwrap();
        let text = fs::read_to_string(place.path().join(FOLDER)).unwrap();
        assert_eq!(text, format!("{} linocut serve\n", std::process::id()));
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 1);
        Lock::folder(place.path(), "linocut serve").unwrap_err();
        drop(held);
        assert_eq!(fs::read_dir(place.path()).unwrap().count(), 0);
    }

    /// Many come and go; two never hold it at once.
    #[test]
    fn removal_is_no_gap() {
        let place = tempfile::tempdir().unwrap();
        let (lock, proof) = (place.path().join("x.cut"), place.path().join("proof"));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut held = 0;
                    while held < 50 {
                        let Ok(_lock) = Lock::file(&lock, "linocut train") else { continue };
                        held += 1;
                        File::create_new(&proof).expect("nobody else holds it");
                        fs::remove_file(&proof).unwrap();
                    }
                });
            }
        });
    }
}
