//! The folder of a study: its setting, its cuts and one line a run.

use super::record::{self, Record};
use super::setting::Setting;
use crate::checkpoint::write_atomically;
use crate::cut::Cut;
use crate::output::Lock;
use crate::{Error, ErrorKind, Result};
use std::collections::HashMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A study on disk.
pub struct Folder {
    path: PathBuf,
    records: Vec<Record>,
    /// Where in `records` each run is, by task, arm and seed.
    places: HashMap<(String, String, u64), usize>,
    passed_over: Vec<String>,
    /// Why no run may be added, if so.
    other_training: Option<String>,
    /// Locked while this study is open, so that no other process adds runs.
    _lock: Lock,
}

const SETTING: &str = "study.json";
const RECORDS: &str = "study.jsonl";
const CUTS: &str = "cuts";

impl Folder {
    /// Opens the study in `path`, or begins it in a folder that is empty or not there yet.
    ///
    /// # Errors
    /// A folder of something else, a study of another base or setting, a task whose files have
    /// changed since (named), a damaged file, another process at work there, or an I/O error. A study
    /// whose runs were trained in another way opens, but see [`Folder::check_adding`].
    pub fn open(path: &Path, setting: &Setting) -> Result<Self> {
        let file = path.join(SETTING);
        if !file.exists() {
            check_empty(path)?;
        }
        let cuts = path.join(CUTS);
        std::fs::create_dir_all(&cuts).map_err(|e| Error::io(&cuts, "create", e))?;
        let lock = Lock::folder(path, "linocut study")?;
        let mut merged = setting.clone();
        let (mut records, mut passed_over, mut other_training) = (Vec::new(), Vec::new(), None);
        if file.exists() {
            let known = Setting::read(&file)?;
            known.check_same(path, setting)?;
            merged.tasks = known.tasks.clone();
            merged.tasks.extend(setting.tasks.clone());
            (records, passed_over) = record::read(&path.join(RECORDS), &merged.tasks)?;
            // A study without runs is as good as a new one.
            if !records.is_empty() {
                other_training = known.other_training(setting);
                (merged.format, merged.training) = (known.format, known.training);
            }
        }
        let text = format!("{:#}\n", serde_json::json!(merged));
        write_atomically(&file, |out| out.write_all(text.as_bytes()))?;
        let path = path.to_path_buf();
        let places = HashMap::new();
        let mut folder = Self { path, records, places, passed_over, other_training, _lock: lock };
        folder.find_places();
        Ok(folder)
    }

    fn find_places(&mut self) {
        let place = |(i, r): (usize, &Record)| ((r.task.clone(), r.arm.clone(), r.seed), i);
        self.places = self.records.iter().enumerate().map(place).collect();
    }

    /// What was passed over when the runs were read, in words for people.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Checks that runs can be added to those that are there.
    ///
    /// # Errors
    /// Runs that were trained in another way than this linocut would train theirs.
    pub fn check_adding(&self) -> Result<()> {
        let Some(why) = &self.other_training else { return Ok(()) };
        let message = format!("{} {why}: more runs could not be compared", self.path.display());
        Err(Error::new(ErrorKind::Config, message)
            .with_hint("its runs are kept as they are; start another study with another `out`"))
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
        let key = (task.to_string(), arm.to_string(), seed);
        self.places.get(&key).map(|&i| &self.records[i])
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
        self.records.retain(|r| r.key() != record.key());
        self.records.push(record);
        self.find_places();
        // The whole file, so that a kill leaves the old one or the new one.
        let lines: String =
            self.records.iter().map(|r| format!("{}\n", serde_json::json!(r))).collect();
        write_atomically(&self.path.join(RECORDS), |out| out.write_all(lines.as_bytes()))
    }
}

/// Setting and runs of the study at `path`, and in words what was passed over.
pub(super) fn read(path: &Path) -> Result<(Setting, Vec<Record>, Vec<String>)> {
    let setting = path.join(SETTING);
    if !setting.exists() {
        let message = format!("{}: no study is there", path.display());
        return Err(Error::new(ErrorKind::Io, message).with_hint("give the `out` of a study"));
    }
    let setting = Setting::read(&setting)?;
    let (records, passed_over) = record::read(&path.join(RECORDS), &setting.tasks)?;
    Ok((setting, records, passed_over))
}

fn check_empty(path: &Path) -> Result<()> {
    if !path.exists() {
        return Ok(());
    }
    let entries = std::fs::read_dir(path).map_err(|e| Error::io(path, "read the folder", e))?;
    // A study killed before its first file has these, and maybe a temporary one.
    let hidden = |name: &OsStr| name.to_string_lossy().starts_with(".linocut");
    let ours = |name: &OsStr| name == CUTS || hidden(name);
    match entries.flatten().all(|entry| ours(&entry.file_name())) {
        true => Ok(()),
        false => Err(Error::new(
            ErrorKind::Io,
            format!("{}: a folder that is neither empty nor a study", path.display()),
        )
        .with_hint("give another `out`")),
    }
}

pub(super) fn damaged(path: &Path, what: impl std::fmt::Display) -> Error {
    // What a file says is shown, not obeyed by a terminal.
    let shown = |c: char| if c.is_control() { c.escape_default().to_string() } else { c.into() };
    let what: String = what.to_string().chars().map(shown).collect();
    Error::new(ErrorKind::Io, format!("{} is no study's: {what}", path.display()))
        .with_hint("the file is damaged; start another study with another `out`")
}
