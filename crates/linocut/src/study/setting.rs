//! What the runs of a study have in common, and what may not change between them.

use super::folder::damaged;
use crate::data::{Dataset, TaskFolder, TaskRows};
use crate::model::{Base, ModelConfig};
use crate::tune::{Method, Selection, TRAINING_VERSION, TrainOptions};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Version of `study.json`. The first did not note how its runs are trained.
pub(super) const FORMAT: u32 = 2;
/// A `study.json` of a thousand tasks has a few hundred KB.
const MOST_BYTES: u64 = 16 << 20;

/// What all runs of a study have in common. Tasks, arms and seeds may be added later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// How runs are trained; none in studies of the first format.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training: Option<Training>,
    /// The tasks by name.
    pub tasks: BTreeMap<String, TaskFiles>,
}

/// All that decides a run beside its task, arm and seed and the setting of its study.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Version of the linocut that began the study, for people.
    pub linocut: String,
    /// [`TRAINING_VERSION`]
    pub version: u32,
    /// Probabilities of dropout in the base's `config.json`: of hidden states, attention and what the
    /// head reads.
    pub dropout: [f32; 3],
    /// The options that a run of each method takes unless its arm says otherwise, by name.
    pub defaults: BTreeMap<String, Value>,
}

/// The files of a task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskFiles {
    /// The task's folder, as given.
    pub folder: PathBuf,
    /// BLAKE3 of each of its files, by name.
    pub files: BTreeMap<String, String>,
}

impl TaskFiles {
    /// Those of the task `task` in `folder`.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub fn of_folder(folder: &Path, task: &TaskFolder) -> Result<Self> {
        let mut files = BTreeMap::new();
        let task_file = folder.join("task.json");
        for file in [&task_file, &task.train].into_iter().chain(&task.dev) {
            let bytes = std::fs::read(file).map_err(|e| Error::io(file, "read", e))?;
            let name = file.file_name().map_or_else(String::new, |n| n.to_string_lossy().into());
            files.insert(name, blake3::hash(&bytes).to_string());
        }
        Ok(Self { folder: folder.to_path_buf(), files })
    }

    /// Rows that are in no file: what they hold is digested.
    pub fn of_rows(task: &TaskRows) -> Self {
        let digest = |data: &Dataset| {
            let mut hash = blake3::Hasher::new();
            for text in data.texts.iter().chain(data.pairs.iter().flatten()) {
                hash.update(&text.len().to_le_bytes()).update(text.as_bytes());
            }
            let rest = format!("{:?} {:?} {:?}", data.problem, data.labels, data.targets);
            hash.update(rest.as_bytes()).finalize().to_string()
        };
        let files = [("train rows", &task.train), ("dev rows", &task.dev)];
        let files = files.map(|(name, data)| (name.to_string(), digest(data))).into();
        Self { folder: PathBuf::new(), files }
    }
}

impl Setting {
    /// That of a new study on `base`.
    pub fn new(
        base: &Base,
        (epochs, limit): (Option<usize>, Option<usize>),
        tasks: BTreeMap<String, TaskFiles>,
    ) -> Self {
        Self {
            format: FORMAT,
            base: base.name.clone(),
            fingerprint: base.fingerprint.to_string(),
            pooling: base.encoder.pooling().name().into(),
            epochs,
            limit,
            training: Some(Training::of(base)),
            tasks,
        }
    }

    /// Reads the setting in the file `path`.
    ///
    /// # Errors
    /// A file that cannot be read or is no study's setting.
    pub(super) fn read(path: &Path) -> Result<Self> {
        let size = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
        if size > MOST_BYTES {
            return Err(damaged(path, format!("{size} bytes, expected {MOST_BYTES} at most")));
        }
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        let setting: Self = serde_json::from_slice(&bytes).map_err(|e| damaged(path, e))?;
        // What messages repeat.
        let hex = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        if !hex(&setting.fingerprint) {
            return Err(damaged(path, "its fingerprint is not 64 hexadecimal digits"));
        }
        if !["mean", "cls"].contains(&setting.pooling.as_str()) {
            return Err(damaged(path, format!("its pooling is {:?}", setting.pooling)));
        }
        Ok(setting)
    }

    /// Refuses to open a study whose runs are not what `now` asks for.
    ///
    /// # Errors
    /// A format that is not known, another base, other options, or a task whose files have changed.
    pub(super) fn check_same(&self, path: &Path, now: &Self) -> Result<()> {
        let path = path.display();
        if !(1..=FORMAT).contains(&self.format) {
            let message = format!("{path}: a study of format {}, expected 1 or 2", self.format);
            return Err(Error::new(ErrorKind::Io, message).with_hint("upgrade linocut"));
        }
        if self.fingerprint != now.fingerprint {
            let message = format!(
                "{path} is a study of the base {:?} with fingerprint {}, found {:?} with {}",
                self.base, self.fingerprint, now.base, now.fingerprint
            );
            return Err(Error::new(ErrorKind::Base, message)
                .with_hint("give the base it was started with, or another `out`"));
        }
        let shown = |n: Option<usize>| n.map_or("none".into(), |n| n.to_string());
        for (option, before, now) in [
            ("`pooling`", self.pooling.clone(), now.pooling.clone()),
            ("`epochs`", shown(self.epochs), shown(now.epochs)),
            ("`limit`", shown(self.limit), shown(now.limit)),
        ] {
            if before != now {
                let message = format!("{path} is a study with {option} {before}, found {now}");
                return Err(Error::new(ErrorKind::Config, message)
                    .with_hint("give what it was started with, or another `out`"));
            }
        }
        for (name, files) in &now.tasks {
            let Some(before) = self.tasks.get(name) else { continue };
            let names = before.files.keys().chain(files.files.keys());
            let changed = |file: &&String| before.files.get(*file) != files.files.get(*file);
            if let Some(file) = names.into_iter().find(changed) {
                let file = match file.strip_suffix(" rows") {
                    Some(kind) => format!("{name}: what is read as {kind} rows"),
                    None => files.folder.join(file).display().to_string(),
                };
                let message = format!("{file} changed since {path} was started");
                return Err(Error::new(ErrorKind::Data, message)
                    .with_hint("restore the file, or the options that read it; or start another study with another `out`"));
            }
        }
        Ok(())
    }

    /// Why runs that are trained as `now` could not be compared with those of this study, if so.
    pub(super) fn other_training(&self, now: &Self) -> Option<String> {
        let now = now.training.as_ref()?;
        let Some(was) = &self.training else {
            return Some(
                "was begun by an earlier linocut, which did not note how it trains".into(),
            );
        };
        if was.version != now.version {
            return Some(format!(
                "was begun by linocut {:?}, which trains in another way than this one, {:?}",
                was.linocut, now.linocut
            ));
        }
        if was.dropout != now.dropout {
            return Some(format!(
                "was begun with the dropout {:?} in the base's config.json (hidden states, attention, head), found {:?}",
                was.dropout, now.dropout
            ));
        }
        let of = |all: &Training, method: &str, option: &str| {
            let value = all.defaults.get(method).and_then(|options| options.get(option));
            value.map_or("nothing".into(), Value::to_string)
        };
        now.defaults.iter().find_map(|(method, options)| {
            let options = options.as_object()?.keys();
            let other = |option: &&String| of(was, method, option) != of(now, method, option);
            let option = options.into_iter().find(other)?;
            Some(format!(
                "was begun by linocut {:?}, for which the default {option} of `method={method}` was {:?}, now {:?}",
                was.linocut,
                of(was, method, option),
                of(now, method, option)
            ))
        })
    }
}

impl Training {
    fn of(base: &Base) -> Self {
        let ModelConfig { hidden_dropout, attention_dropout, head_dropout, .. } = *base.config();
        let methods = [
            Method::Full,
            Method::Layers(Selection::default()),
            Method::Bias,
            Method::Head,
            Method::mask(),
            Method::low_rank(8, Selection::default()),
        ];
        // Epochs follow the rows; the same number of them shows whether the rule has changed.
        let defaults = |method: Method| {
            let name = method.name().to_string();
            (name, serde_json::json!(TrainOptions::new(method, 10_000)))
        };
        Self {
            linocut: env!("CARGO_PKG_VERSION").into(),
            version: TRAINING_VERSION,
            dropout: [hidden_dropout, attention_dropout, head_dropout],
            defaults: methods.map(defaults).into(),
        }
    }
}
