//! The folder of cuts that the tasks come from and go to.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::fs::{self, File};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use linocut::bank::{Bank, Task};
use linocut::cut::Cut;
use linocut::output::{Lock, TemporaryFile};
use linocut::store::{About, check_name};
use linocut::{Error, ErrorKind, Result};

use crate::error::{Kind, Problem};
use crate::source::Listed;

/// The cuts folder, each task's cut as `<name>.cut`. Files are read into memory whole, never mapped:
/// what others do to them later does not reach the tasks served.
pub(crate) struct Folder {
    bank: Arc<Bank>,
    folder: PathBuf,
    /// The folder itself, to be synced whether or not another file can be opened then.
    #[cfg(unix)]
    open: File,
    /// Held where the folder may be changed: of two servers neither would see what the other does.
    lock: Option<Lock>,
    /// Locked for the whole of a change, so that disk and bank agree.
    changing: Mutex<()>,
    /// Locked for look-ups and single changes only.
    files: Mutex<Files>,
}

#[derive(Default)]
struct Files {
    /// Bytes of each task's file.
    bytes: BTreeMap<String, u64>,
    /// Files that are no task's.
    failed: BTreeMap<String, Failed>,
}

/// A file that ends in `.cut` and cannot be served.
struct Failed {
    path: PathBuf,
    error: String,
}

/// How a folder is opened.
#[derive(Clone, Copy)]
pub(crate) struct Opening {
    /// Stands in the folder's lock.
    pub(crate) address: Option<SocketAddr>,
    /// Nothing in the folder is changed, by this server.
    pub(crate) read_only: bool,
    /// A file that cannot be served is an error.
    pub(crate) strict: bool,
}

impl Folder {
    /// Adds every file in `folder` that ends in `.cut` to `bank`; `progress` hears how many are done
    /// of how many. What cannot be served is remembered with its reason.
    pub(crate) fn open(
        folder: &Path,
        bank: Arc<Bank>,
        opening: Opening,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Self> {
        let unreadable = |e| {
            let hint = "--cuts takes a folder that can be read and written; it may be empty";
            Error::io(folder, "read the folder", e).with_hint(hint)
        };
        #[cfg(unix)]
        let open = File::open(folder).map_err(unreadable)?;
        fs::read_dir(folder).map_err(unreadable)?;
        let lock = (!opening.read_only).then(|| lock(folder, opening.address)).transpose()?;
        let mut paths = Vec::new();
        for entry in fs::read_dir(folder).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.extension().is_some_and(|e| e == "cut") {
                paths.push(path);
            }
        }
        paths.sort();
        let mut files = Files::default();
        for (done, path) in paths.iter().enumerate() {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            match add(&bank, &name, path) {
                Ok(bytes) => {
                    files.bytes.insert(name, bytes);
                }
                Err(e) => {
                    let text = e.message();
                    if opening.strict {
                        let error = Error::new(e.kind(), format!("{}: {text}", path.display()));
                        let hint = e.hint().unwrap_or("`linocut verify` checks a cut");
                        let hint = format!("{hint}; or move the file out of the folder");
                        return Err(error.with_hint(hint));
                    }
                    files.failed.insert(name, Failed { path: path.clone(), error: text.into() });
                }
            }
            progress(done + 1, paths.len());
        }
        Ok(Self {
            bank,
            folder: folder.to_path_buf(),
            #[cfg(unix)]
            open,
            lock,
            changing: Mutex::default(),
            files: Mutex::new(files),
        })
    }

    /// Bytes of the file of the task `name`.
    fn bytes(&self, name: &str) -> Option<u64> {
        self.files().bytes.get(name).copied()
    }

    /// Whether the folder may be changed.
    pub(crate) fn is_writable(&self) -> bool {
        self.lock.is_some()
    }

    /// Names of the files that cannot be served, and why.
    pub(crate) fn failed(&self) -> Vec<(String, String)> {
        let files = self.files();
        files.failed.iter().map(|(name, failed)| (name.clone(), failed.error.clone())).collect()
    }

    /// Why the file of this name cannot be served, where there is one that cannot.
    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        self.files().failed.get(name).map(|failed| failed.error.clone())
    }

    /// Checks the cut in `bytes`, serves it as `name` and writes it; says whether it takes the place
    /// of another version. Whatever fails, or where its client has `left` before it is written, the
    /// other version stays, on disk and in the bank.
    ///
    /// # Errors
    /// A name that no task may have, a cut that is malformed or does not fit, or a folder that
    /// cannot be written.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], left: &AtomicBool) -> Result<bool> {
        let bank = &self.bank;
        check_name(name)?;
        waited_for(left)?;
        let cut = Cut::from_bytes(bytes)?;
        waited_for(left)?;
        let task = bank.prepare(name, &cut)?;
        drop(cut);
        waited_for(left)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.path(name);
        let written = self.write(bytes).map_err(|e| unwritten(&path, e))?;
        let old = bank.insert(Arc::clone(&task))?;
        if let Err(e) = written.persist(&path, true) {
            match old {
                Some(old) => drop(bank.insert(old)?),
                None => drop(bank.remove(name)?),
            }
            return Err(unwritten(&path, e));
        }
        self.sync();
        let mut files = self.files();
        files.bytes.insert(name.into(), bytes.len() as u64);
        files.failed.remove(name);
        Ok(old.is_some())
    }

    /// Removes the task `name`, or the file of that name that could not be served; the file first.
    ///
    /// # Errors
    /// If there is none, or its file cannot be removed; all then stays.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        let bank = &self.bank;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let failed = self.files().failed.get(name).map(|failed| failed.path.clone());
        let path = match &failed {
            Some(path) => path.clone(),
            None => self.path(bank.task(name)?.name()),
        };
        match fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => {
                return Err(Error::io(&path, "remove", e));
            }
            _ => {}
        }
        self.sync();
        if failed.is_none() {
            bank.remove(name)?;
        }
        let mut files = self.files();
        files.bytes.remove(name);
        files.failed.remove(name);
        Ok(())
    }

    /// The cut of the task `name`, as it is in the folder now.
    ///
    /// # Errors
    /// If there is no such task, or its file cannot be read.
    pub(crate) fn cut(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(self.bank.task(name)?.name());
        fs::read(&path).map_err(|e| Error::io(&path, "read", e))
    }

    /// Names of all tasks, and whether each takes pairs.
    pub(crate) fn names(&self) -> Vec<(String, bool)> {
        let name = |task: &Arc<Task>| (task.name().to_string(), task.card().pairs);
        self.bank.tasks().iter().map(name).collect()
    }

    /// Whether the task `name` takes pairs, where there is one.
    pub(crate) fn pairs(&self, name: &str) -> Option<bool> {
        Some(self.bank.task(name).ok()?.card().pairs)
    }

    /// The tasks of these names, all as they are at one time.
    pub(crate) fn find(&self, names: &[String]) -> std::result::Result<Vec<Arc<Task>>, Problem> {
        self.bank.find(names).map_err(|e| Problem::of(Kind::UnknownTask, "", &e))
    }

    /// What is known of a task.
    pub(crate) fn listed(&self, name: &str) -> Option<Listed> {
        Some(self.of(self.bank.task(name).ok()?))
    }

    /// What is known of all tasks, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        self.bank.tasks().into_iter().map(|task| self.of(task)).collect()
    }

    fn of(&self, task: Arc<Task>) -> Listed {
        Listed {
            name: task.name().into(),
            about: About::of(task.card()),
            bytes: self.bytes(task.name()).unwrap_or(0),
            task: Some(task),
            versions: None,
        }
    }

    /// Writes `bytes` aside, down to the disk.
    fn write(&self, bytes: &[u8]) -> io::Result<TemporaryFile> {
        let temporary = TemporaryFile::new(&self.folder)?;
        temporary.file().write_all(bytes)?;
        temporary.file().sync_all()?;
        Ok(temporary)
    }

    /// Has a change survive a power cut. It is done all the same: where this fails, memory, disk and
    /// answer agree on it, and the log says what a power cut may undo.
    fn sync(&self) {
        #[cfg(unix)]
        if let Err(error) = self.open.sync_all() {
            tracing::error!(%error, "the cuts folder is not synced: a power cut may undo a change");
        }
    }

    /// Where the task's cut stands; `name` has been checked.
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.cut"))
    }

    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether the client of an upload still waits for it.
///
/// # Errors
/// If not.
pub(crate) fn waited_for(left: &AtomicBool) -> Result<()> {
    match left.load(Relaxed) {
        true => Err(Error::new(ErrorKind::Interrupted, "nobody waits for it any more")),
        false => Ok(()),
    }
}

/// Locks the folder against other servers.
pub(crate) fn lock(folder: &Path, address: Option<SocketAddr>) -> Result<Lock> {
    let doing = address.map_or("linocut serve".into(), |at| format!("linocut serve on {at}"));
    Lock::folder(folder, &doing).map_err(|e| {
        let (kind, hint) = match e.source() {
            // Held by another: as with a wrong option, nothing was begun.
            None => (
                ErrorKind::Config,
                "end that server, or serve with --read-only, which changes no task and no file",
            ),
            Some(_) => (e.kind(), "--read-only serves a folder that cannot be written"),
        };
        Error::new(kind, e.message()).with_source(e).with_hint(hint)
    })
}

/// Adds the cut in a file; gives its bytes.
fn add(bank: &Bank, name: &str, path: &Path) -> Result<u64> {
    check_name(name)?;
    // Clients may see an error: they have no business with the folder.
    let shown = Path::new(path.file_name().unwrap_or_default());
    let unread = |e| Error::io(shown, "read", e);
    // Anything else might be waited for without end.
    if !fs::metadata(path).map_err(unread)?.is_file() {
        let message = format!("{} is no file", shown.display());
        return Err(Error::new(ErrorKind::Io, message));
    }
    let bytes = fs::read(path).map_err(unread)?;
    bank.add(name, &Cut::from_bytes(&bytes)?)?;
    Ok(bytes.len() as u64)
}

fn unwritten(path: &Path, e: io::Error) -> Error {
    Error::io(path, "write", e)
}
