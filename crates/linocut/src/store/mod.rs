//! Tasks in one place, a folder or a bucket: cuts by their content, and for every task a small record of its
//! versions and of the one in force.
//!
//! ```text
//! store.json              what this is
//! tasks/NAME.json         a record: which cut each version is, and which version is in force
//! cuts/DIGEST.cut         a cut, under the BLAKE3 digest of its bytes, written once and never changed
//! ```
//! A record is replaced only if nobody else did so in the meantime, so that of two writers neither is lost; a cut is
//! there before the record that names it. Whatever is read is checked by its digest. Blocks while it reads and
//! writes: not for a thread that must not wait.

#[cfg(feature = "cloud")]
mod bucket;
mod folder;
mod name;
mod place;
mod record;
mod signature;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use crate::cut::Cut;
use crate::nearest::nearest;
use crate::{Error, ErrorKind, Result};
pub use name::check_name;
use place::{Found, Listed, Place, Tag};
use record::RECORD_BYTES;
pub use record::{About, Record, VERSIONS, Version};
pub use signature::{Signer, Trusted};

/// What `store.json` says.
const MARK: &str = "{\"linocut\": \"store\", \"format\": 1}\n";
const MARK_KEY: &str = "store.json";
const TASKS: &str = "tasks";
const CUTS: &str = "cuts";
/// Times that a record is tried to be replaced while others do the same.
const TRIES: u32 = 30;
/// Cuts that are removed before the records are looked at again.
const COLLECTED: usize = 16;

/// A store of tasks.
pub struct Store {
    place: Place,
    at: String,
}

/// What a push did.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Pushed {
    /// The version that is now in force.
    pub version: Version,
    /// Whether it was not in force before.
    pub is_new_version: bool,
    /// Whether no other version of any task had the same content.
    pub is_new_content: bool,
}

/// Cuts of a store: all of them, or those that [`Store::collect`] removed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cuts {
    /// How many.
    pub cuts: usize,
    /// Their bytes.
    pub bytes: u64,
}

/// What is known of a task without its cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Known {
    /// The version in force.
    pub current: Version,
    /// How many there are.
    pub versions: usize,
    /// The cuts of all of them.
    digests: Vec<blake3::Hash>,
}

impl From<Record> for Known {
    fn from(record: Record) -> Self {
        let digests = record.versions.iter().filter_map(|v| blake3::Hash::from_hex(&v.digest).ok());
        Self {
            current: record.current().clone(),
            versions: record.versions.len(),
            digests: digests.collect(),
        }
    }
}

/// The tasks of a store as they were last read, kept up to date by [`Store::refresh`].
#[derive(Debug, Default)]
pub struct Records {
    /// By name.
    pub tasks: BTreeMap<String, Known>,
    /// Files that are no record, with the reason; of one that was, its task stays as it was.
    pub failed: BTreeMap<String, String>,
    /// Tasks by file, and what says that the file is still the same.
    files: BTreeMap<String, (Option<String>, Listed)>,
}

impl Store {
    /// The store at `at`: a folder, or `s3://bucket/path`, `gs://bucket/path`, `az://container/path`, for
    /// which keys and regions come from the environment by the names that the clouds' own tools use.
    ///
    /// # Errors
    /// If there is none.
    pub fn open(at: &str) -> Result<Self> {
        let place = Place::new(at)?;
        let store = Self { place, at: at.into() };
        match store.place.read(MARK_KEY, 4096)? {
            Some(mark) => store.check_mark(&mark.bytes).map(|()| store),
            None => {
                let message = format!("{at} is no store: there is no {MARK_KEY}");
                Err(Error::new(ErrorKind::Io, message)
                    .with_hint("the first `linocut push` into a place makes a store of it"))
            }
        }
    }

    /// The store at `at`, made where there is none yet.
    ///
    /// # Errors
    /// If it cannot be made, or a bucket does not know conditional writes (`If-None-Match`), without which two
    /// writers could lose what the other wrote.
    pub fn create(at: &str) -> Result<Self> {
        let store = Self { place: Place::new(at)?, at: at.into() };
        if let Some(mark) = store.place.read(MARK_KEY, 4096)? {
            store.check_mark(&mark.bytes)?;
        } else {
            store.place.prepare(&[TASKS, CUTS])?;
            store.place.create(MARK_KEY, MARK.as_bytes())?;
        }
        if store.place.create(MARK_KEY, MARK.as_bytes())? {
            let message = format!("{at} does not know conditional writes");
            return Err(Error::new(ErrorKind::Io, message)
                .with_hint("a store needs If-None-Match and If-Match, as S3 has them"));
        }
        Ok(store)
    }

    fn check_mark(&self, bytes: &[u8]) -> Result<()> {
        let found = serde_json::from_slice::<serde_json::Value>(bytes).unwrap_or_default();
        if found["linocut"] == "store" && found["format"] == 1 {
            return Ok(());
        }
        let message = format!("{}/{MARK_KEY}: not of a store that this linocut knows", self.at);
        let error = Error::new(ErrorKind::Io, message);
        Err(match found["format"].as_u64() {
            Some(2..) => error.with_hint("a newer linocut made it: update this one"),
            _ => error,
        })
    }

    /// Where it is.
    pub fn at(&self) -> &str {
        &self.at
    }

    /// Puts the cut in `bytes` in force as the next version of `task`, signed where there is a signer. Equal
    /// content is kept once. What is in force already, and signed by the same key where there is a signer, makes no new version.
    ///
    /// # Errors
    /// A name that no task may have, bytes that are no cut, or a place that cannot be written; the version that
    /// was in force stays.
    pub fn push(&self, task: &str, bytes: &[u8], signer: Option<&Signer>) -> Result<Pushed> {
        check_name(task)?;
        let cut = Cut::from_bytes(bytes)?;
        let digest = blake3::hash(bytes).to_hex().to_string();
        let version = Version {
            version: 0,
            bytes: bytes.len() as u64,
            pushed: humantime::format_rfc3339_seconds(SystemTime::now()).to_string(),
            about: About::of(cut.card()),
            signature: signer.map(|signer| signer.sign(task, bytes)).transpose()?,
            digest,
        };
        drop(cut);
        let key = cut_key(&version.digest);
        let is_new_content = self.place.create(&key, bytes)?;
        if !is_new_content {
            // Whoever wrote it may have been somebody else, and not this.
            self.read(&version).or_else(|_| self.place.put(&key, bytes).map(|()| vec![]))?;
        }
        let is_same = |now: &Version| {
            let signed = |signer: &Signer| now.signature.as_deref().is_some_and(|s| signer.made(s));
            now.digest == version.digest && signer.is_none_or(signed)
        };
        let (version, is_new_version) = self.change(task, true, |record| {
            let now = record.versions.iter().find(|now| now.version == record.current);
            match now.filter(|now| is_same(now)) {
                Some(now) => Ok((now.clone(), false)),
                None => Ok((record.add(version.clone()).clone(), true)),
            }
        })?;
        // A collection may have seen the cut before it saw the record: it looks at the records again after
        // it has removed something, and this here looks at the cut after it has written the record.
        if !self.place.has(&key)? {
            self.place.put(&key, bytes)?;
        }
        Ok(Pushed { version, is_new_version, is_new_content })
    }

    /// The cut of a version.
    ///
    /// # Errors
    /// If it is not there, or its bytes are others than those that were pushed.
    pub fn read(&self, version: &Version) -> Result<Vec<u8>> {
        let key = cut_key(&version.digest);
        let most = usize::try_from(version.bytes).unwrap_or(usize::MAX);
        let found = self.place.read(&key, most)?.ok_or_else(|| {
            let message = format!("{}/{key} is missing", self.at);
            Error::new(ErrorKind::Cut, message).with_hint("push the cut once more")
        })?;
        let digest = blake3::hash(&found.bytes).to_hex();
        if *digest != *version.digest {
            let message = format!("{}/{key} was altered: its digest is {digest}", self.at);
            return Err(Error::new(ErrorKind::Cut, message).with_hint("push the cut once more"));
        }
        Ok(found.bytes)
    }

    /// The record of a task.
    ///
    /// # Errors
    /// If there is none of that name (the hint has the nearest), or it cannot be read.
    pub fn record(&self, task: &str) -> Result<Record> {
        check_name(task)?;
        match self.found(task)? {
            Some((record, _)) => Ok(record),
            None => Err(self.unknown(task)),
        }
    }

    fn found(&self, task: &str) -> Result<Option<(Record, Tag)>> {
        let key = task_key(task);
        let Some(Found { bytes, tag }) = self.place.read(&key, RECORD_BYTES)? else {
            return Ok(None);
        };
        let record = Record::from_bytes(&key, &bytes)?;
        self.check_name_of(&key, &record)?;
        Ok(Some((record, tag)))
    }

    /// A record says its task's name, which decides where systems hold two names for one.
    fn check_name_of(&self, key: &str, record: &Record) -> Result<()> {
        if key == task_key(&record.task) {
            return Ok(());
        }
        let message = format!("{}/{key} is the record of the task {:?}", self.at, record.task);
        Err(Error::new(ErrorKind::Cut, message))
    }

    fn unknown(&self, task: &str) -> Error {
        let error = Error::new(ErrorKind::Config, format!("{} has no task {task:?}", self.at));
        let Ok(all) = self.place.list(TASKS) else { return error };
        let names: Vec<&str> = all.iter().filter_map(|file| name_of(&file.key)).collect();
        let near = nearest(task, names, 3);
        let near: Vec<String> = near.iter().map(|name| format!("{name:?}")).collect();
        match near.is_empty() {
            true => error.with_hint("the store has no task at all"),
            false => error.with_hint(format!("the nearest are {}", near.join(", "))),
        }
    }

    /// Changes the record of a task, a new one where that is allowed, in the place of what it was just now.
    fn change<T>(
        &self,
        task: &str,
        new: bool,
        change: impl Fn(&mut Record) -> Result<T>,
    ) -> Result<T> {
        let key = task_key(task);
        for attempt in 0..TRIES {
            let (mut record, tag) = match self.found(task)? {
                Some((record, tag)) => (record, Some(tag)),
                None if new => (Record::new(task), None),
                None => return Err(self.unknown(task)),
            };
            let before = record.clone();
            let result = change(&mut record)?;
            if record == before {
                return Ok(result);
            }
            let bytes = record.to_bytes();
            let done = match &tag {
                Some(tag) => self.place.replace(&key, &bytes, tag)?,
                None => self.place.create(&key, &bytes)?,
            };
            if done {
                return Ok(result);
            }
            // Not all at the same pace, or two would meet again.
            let step = u64::from(std::process::id() % 17 + 3);
            sleep(Duration::from_millis((step * u64::from(attempt + 1)).min(300)));
        }
        let message = format!("the task {task:?} was changed by others {TRIES} times meanwhile");
        Err(Error::new(ErrorKind::Io, message).with_hint("try again"))
    }

    /// Puts another version of a task in force: that of the number `to`, or the one before that in force.
    ///
    /// # Errors
    /// If there is no such task or version.
    pub fn roll_back(&self, task: &str, to: Option<u64>) -> Result<Version> {
        check_name(task)?;
        self.change(task, false, |record| {
            let version = record.find(to)?.clone();
            record.current = version.version;
            Ok(version)
        })
    }

    /// Removes a task with the record of its versions; the cuts stay until [`Store::collect`].
    ///
    /// # Errors
    /// If there is none of that name, or it cannot be removed.
    pub fn remove(&self, task: &str) -> Result<()> {
        check_name(task)?;
        match self.place.remove(&task_key(task))? {
            true => Ok(()),
            false => Err(self.unknown(task)),
        }
    }

    /// All records.
    ///
    /// # Errors
    /// If the place cannot be listed; a record that cannot be read is among the failed.
    pub fn records(&self) -> Result<Records> {
        let mut records = Records::default();
        self.refresh(&mut records)?;
        Ok(records)
    }

    /// Reads again what has changed; gives the names of tasks that came, went or changed.
    ///
    /// # Errors
    /// If the place cannot be listed; what is known then stays.
    pub fn refresh(&self, records: &mut Records) -> Result<BTreeSet<String>> {
        let listed = self.place.list(TASKS)?;
        let listed: BTreeMap<String, Listed> = listed
            .into_iter()
            .filter(|file| name_of(&file.key).is_some())
            .map(|file| (file.key.clone(), file))
            .collect();
        let mut changed = BTreeSet::new();
        let gone: Vec<String> =
            records.files.keys().filter(|key| !listed.contains_key(*key)).cloned().collect();
        for key in gone {
            records.forget(&key, &mut changed);
        }
        let is_known = |file: &Listed| {
            let known = records.files.get(&file.key).map(|(_, known)| known);
            let is_good = !records.failed.contains_key(&file.key);
            is_good && file.stamp.is_some() && known == Some(file)
        };
        let stale: Vec<&Listed> = listed.values().filter(|file| !is_known(file)).collect();
        let keys: Vec<&str> = stale.iter().map(|file| file.key.as_str()).collect();
        for (file, found) in stale.into_iter().zip(self.place.read_all(&keys, RECORD_BYTES)) {
            let read = found.and_then(|found| match found {
                Some(found) => {
                    let record = Record::from_bytes(&file.key, &found.bytes)?;
                    self.check_name_of(&file.key, &record).map(|()| Some(record))
                }
                None => Ok(None), // gone since it was listed
            });
            records.note(file, read, &mut changed);
        }
        Ok(changed)
    }

    /// Removes cuts that no version of a task names any more.
    ///
    /// # Errors
    /// If the place cannot be read or changed, or a record cannot be read: its cuts would be taken for nobody's.
    pub fn collect(&self) -> Result<Cuts> {
        let mut cuts: Vec<(blake3::Hash, Listed)> = self.listed_cuts()?;
        let mut records = Records::default();
        let named = self.named(&mut records)?;
        cuts.retain(|(digest, _)| !named.contains(digest));
        let mut collected = Cuts::default();
        for some in cuts.chunks(COLLECTED) {
            let mut removed = Vec::new();
            for (digest, cut) in some {
                let bytes = self.place.read(&cut.key, usize::MAX >> 1)?.map(|found| found.bytes);
                if let Some(bytes) = bytes.filter(|_| self.place.remove(&cut.key).is_ok()) {
                    removed.push((digest, cut, bytes));
                }
            }
            // A push may have named one of them in the meantime: see there.
            let named = self.named(&mut records)?;
            for (digest, cut, bytes) in removed {
                if named.contains(digest) {
                    self.place.put(&cut.key, &bytes)?;
                } else {
                    collected.cuts += 1;
                    collected.bytes += cut.bytes;
                }
            }
        }
        Ok(collected)
    }

    /// Cuts that a version of a task names.
    fn named(&self, records: &mut Records) -> Result<HashSet<blake3::Hash>> {
        self.refresh(records)?;
        if let Some((key, error)) = records.failed.iter().next() {
            let message = format!("the record {key} cannot be read: {error}");
            return Err(Error::new(ErrorKind::Io, message)
                .with_hint("mend or remove it first: what it names would be lost"));
        }
        Ok(records.tasks.values().flat_map(|known| known.digests.iter().copied()).collect())
    }

    /// How many cuts there are, those among them that no task names, and their bytes.
    ///
    /// # Errors
    /// If the place cannot be listed.
    pub fn cuts(&self) -> Result<Cuts> {
        let cuts = self.listed_cuts()?;
        Ok(Cuts { cuts: cuts.len(), bytes: cuts.iter().map(|(_, cut)| cut.bytes).sum() })
    }

    fn listed_cuts(&self) -> Result<Vec<(blake3::Hash, Listed)>> {
        let digest = |key: &str| {
            let name = key.strip_prefix(CUTS)?.strip_prefix('/')?.strip_suffix(".cut")?;
            blake3::Hash::from_hex(name).ok()
        };
        let all = self.place.list(CUTS)?;
        Ok(all.into_iter().filter_map(|cut| Some((digest(&cut.key)?, cut))).collect())
    }
}

impl Records {
    /// Takes note of what was read of a file.
    fn note(
        &mut self,
        file: &Listed,
        read: Result<Option<Record>>,
        changed: &mut BTreeSet<String>,
    ) {
        let name = match read {
            Ok(None) => return self.forget(&file.key, changed),
            Ok(Some(record)) => {
                self.failed.remove(&file.key);
                let name = record.task.clone();
                let known = Known::from(record);
                if self.tasks.get(&name) != Some(&known) {
                    self.tasks.insert(name.clone(), known);
                    changed.insert(name.clone());
                }
                Some(name)
            }
            // What is known of the task stays: it answers until the record is mended or removed.
            Err(e) => {
                self.failed.insert(file.key.clone(), e.message().into());
                self.files.get(&file.key).and_then(|(name, _)| name.clone())
            }
        };
        self.files.insert(file.key.clone(), (name, file.clone()));
    }

    fn forget(&mut self, key: &str, changed: &mut BTreeSet<String>) {
        self.failed.remove(key);
        if let Some((Some(name), _)) = self.files.remove(key) {
            self.tasks.remove(&name);
            changed.insert(name);
        }
    }
}

fn task_key(task: &str) -> String {
    format!("{TASKS}/{task}.json")
}

fn cut_key(digest: &str) -> String {
    format!("{CUTS}/{digest}.cut")
}

/// The name of the task whose record would be at `key`.
fn name_of(key: &str) -> Option<&str> {
    key.strip_prefix("tasks/")?.strip_suffix(".json")
}
