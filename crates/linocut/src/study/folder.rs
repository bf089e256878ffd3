//! The folder of a study: its setting, its cuts and one line a run.

use crate::checkpoint::write_atomically;
use crate::cut::Cut;
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// What all runs of a study have in common. Tasks, arms and seeds may be added later.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Version of this file.
    pub format: u32,
    /// Name of the base, for people.
    pub base: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// How hidden states become one vector.
    pub pooling: String,
    /// Passes over the training rows; `None` for the defaults of `train`.
    pub epochs: Option<usize>,
    /// Rows read of each file.
    pub limit: Option<usize>,
    /// The tasks by name.
    pub tasks: BTreeMap<String, TaskFiles>,
}

/// The files of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFiles {
    /// The task's folder, as given.
    pub folder: PathBuf,
    /// BLAKE3 of each of its files, by name.
    pub files: BTreeMap<String, String>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// Name of the task.
    pub task: String,
    /// Name of the arm.
    pub arm: String,
    /// Its seed.
    pub seed: u64,
    /// File of the cut, within the study's folder; none if the run failed.
    pub cut: Option<String>,
    /// Every option of the run.
    pub options: serde_json::Value,
    /// Name of the score.
    pub metric: String,
    /// The score, 0 to 1 for most metrics; none where undefined.
    pub score: Option<f64>,
    /// The score with masks drawn instead of thresholded, see [`super::ArmOutcome::sampled`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sampled: Option<f64>,
    /// Why there is no cut.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failed: Option<String>,
    /// Bytes of the cut.
    pub bytes: u64,
    /// Bytes of its head.
    pub head_bytes: u64,
    /// Zeros of its masks.
    pub zeros: u64,
    /// Entries of the matrices that have them.
    pub masked: u64,
    /// Trained numbers beside the head and the embeddings.
    pub trained: u64,
    /// Time of the run.
    pub seconds: f64,
    /// Its [`super::Grid::work`].
    pub work: f64,
}

/// A study on disk.
pub struct Folder {
    path: PathBuf,
    records: Vec<Record>,
    /// Locked while this study is open, so that no other process adds runs.
    _lock: File,
}

const SETTING: &str = "study.json";
const RECORDS: &str = "study.jsonl";
const LOCK: &str = "study.lock";
const CUTS: &str = "cuts";

impl Folder {
    /// Opens the study in `path`, or begins it in a folder that is empty or not there yet.
    ///
    /// # Errors
    /// A folder of something else, a study of another base or setting, a task whose files have
    /// changed since (named), a damaged file, another process at work there, or an I/O error.
    pub fn open(path: &Path, setting: &Setting) -> Result<Self> {
        let file = path.join(SETTING);
        if !file.exists() {
            check_empty(path)?;
        }
        let cuts = path.join(CUTS);
        std::fs::create_dir_all(&cuts).map_err(|e| Error::io(&cuts, "create", e))?;
        let lock = lock(path)?;
        let mut merged = setting.clone();
        if file.exists() {
            let known: Setting = read_json(&file)?;
            check_same(path, &known, setting)?;
            for (name, files) in known.tasks {
                merged.tasks.entry(name).or_insert(files);
            }
        }
        let text = format!("{:#}\n", serde_json::json!(merged));
        write_atomically(&file, |out| out.write_all(text.as_bytes()))?;
        let records = records(&path.join(RECORDS))?;
        Ok(Self { path: path.to_path_buf(), records, _lock: lock })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The runs so far, in the order in which they were done.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The run of this task, arm and seed, if it is done. Its cut may have been deleted since.
    pub fn find(&self, task: &str, arm: &str, seed: u64) -> Option<&Record> {
        self.records.iter().find(|r| r.task == task && r.arm == arm && r.seed == seed)
    }

    /// The cut of a run, if it has one and that is still there.
    pub fn cut_of(&self, record: &Record) -> Option<PathBuf> {
        Some(self.path.join(record.cut.as_ref()?)).filter(|path| path.exists())
    }

    /// Name, within the folder, of the cut of a run.
    pub fn cut_name(task: &str, arm: &str, seed: u64) -> String {
        // A task may be named as it likes; its place on the disk may not.
        let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '_' };
        let mut name: String = task.chars().map(plain).collect();
        if name != task || name.starts_with('.') {
            name = format!("{name}-{}", &blake3::hash(task.as_bytes()).to_string()[..8]);
        }
        format!("cuts/{name}~{arm}~{seed}.cut")
    }

    /// Adds a run, with its cut if it has one, in place of an earlier one of the same name.
    ///
    /// # Errors
    /// An I/O error; the run is then to be done again.
    pub fn add(&mut self, record: Record, cut: Option<&Cut>) -> Result<()> {
        if let (Some(cut), Some(name)) = (cut, &record.cut) {
            cut.write(self.path.join(name), true)?;
        }
        let same =
            |r: &Record| (&r.task, &r.arm, r.seed) == (&record.task, &record.arm, record.seed);
        self.records.retain(|r| !same(r));
        self.records.push(record);
        // The whole file, so that a kill leaves the old one or the new one.
        let lines: String =
            self.records.iter().map(|r| format!("{}\n", serde_json::json!(r))).collect();
        write_atomically(&self.path.join(RECORDS), |out| out.write_all(lines.as_bytes()))
    }
}

/// Setting and runs of the study at `path`.
pub(super) fn read(path: &Path) -> Result<(Setting, Vec<Record>)> {
    let setting = path.join(SETTING);
    if !setting.exists() {
        let message = format!("{}: no study is there", path.display());
        return Err(
            Error::new(ErrorKind::Io, message).with_hint("give the --out of a `linocut study`")
        );
    }
    Ok((read_json(&setting)?, records(&path.join(RECORDS))?))
}

/// Locks the study against other processes; the system lets go of it however this one ends.
fn lock(path: &Path) -> Result<File> {
    let name = path.join(LOCK);
    let file = File::create(&name).map_err(|e| Error::io(&name, "create", e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            let message = format!("{}: another process is at work on this study", path.display());
            Err(Error::new(ErrorKind::Io, message)
                .with_hint("wait until it is done, or give another --out"))
        }
        Err(TryLockError::Error(e)) => Err(Error::io(&name, "lock", e)),
    }
}

fn check_empty(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, "read the folder", e))?;
    // A study killed before its first file has these two.
    let ours = |name: &OsStr| name == LOCK || name == CUTS;
    match entries.flatten().all(|entry| ours(&entry.file_name())) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Io,
            format!("{}: a folder that is neither empty nor a study", path.display()),
        )
        .with_hint("give another --out")),
    }
}

/// Refuses to mix runs that cannot be compared.
fn check_same(path: &Path, known: &Setting, setting: &Setting) -> Result<()> {
    let path = path.display();
    if known.format != setting.format {
        let message = format!("{path}: a study of format {}, expected 1", known.format);
        return Err(Error::new(ErrorKind::Io, message).with_hint("upgrade linocut"));
    }
    if known.fingerprint != setting.fingerprint {
        let message = format!(
            "{path} is a study of the base {:?} with fingerprint {}, found {:?} with {}",
            known.base, known.fingerprint, setting.base, setting.fingerprint
        );
        return Err(Error::new(ErrorKind::Base, message)
            .with_hint("give the base it was started with, or another --out"));
    }
    let shown = |n: Option<usize>| n.map_or("none".into(), |n| n.to_string());
    for (option, before, now) in [
        ("--pooling", known.pooling.clone(), setting.pooling.clone()),
        ("--epochs", shown(known.epochs), shown(setting.epochs)),
        ("--limit", shown(known.limit), shown(setting.limit)),
    ] {
        if before != now {
            let message = format!("{path} is a study with {option} {before}, found {now}");
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("give what it was started with, or another --out"));
        }
    }
    for (name, files) in &setting.tasks {
        let Some(before) = known.tasks.get(name) else { continue };
        let names = before.files.keys().chain(files.files.keys());
        let changed = |file: &&String| before.files.get(*file) != files.files.get(*file);
        if let Some(file) = names.into_iter().find(changed) {
            let file = files.folder.join(file);
            let message = format!("{} changed since {path} was started", file.display());
            return Err(Error::new(ErrorKind::Data, message)
                .with_hint("restore the file, or start another study with another --out"));
        }
    }
    Ok(())
}

fn read_json<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    serde_json::from_slice(&bytes).map_err(|e| damaged(path, &e))
}

fn damaged(path: &Path, e: &serde_json::Error) -> Error {
    Error::new(ErrorKind::Io, format!("{} is no study's: {e}", path.display()))
        .with_hint("the file is damaged; start another study with another --out")
}

fn records(path: &Path) -> Result<Vec<Record>> {
    if !path.exists() {
        return Ok(Vec::new());
    }
    let text = std::fs::read_to_string(path).map_err(|e| Error::io(path, "read", e))?;
    text.lines().map(|line| serde_json::from_str(line).map_err(|e| damaged(path, &e))).collect()
}
