//! Tasks of a store: known by their records, in memory from their first use until others need the room.

mod entry;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use linocut::bank::{Bank, Task};
use linocut::cut::Cut;
use linocut::store::{Known, Record, Records, Store, Trusted, Version, check_name};
use linocut::{Error, ErrorKind, Result};
use tokio::sync::Semaphore;

use crate::error::{Kind, Problem};
use crate::folder::waited_for;
use crate::source::Listed;
pub(crate) use entry::unavailable;
use entry::{Entry, Loaded, Served};

/// Tasks that are loaded at one time: more would only take the processors from each other.
const LOADS: usize = 2;
/// Tasks that one request may have loaded.
const COLD: usize = 64;
/// Earlier versions that are tried where the one in force cannot be served.
const EARLIER: usize = 5;
/// Time after which a version that could not be served is tried again: it may have been mended where it is.
const RETRY: Duration = Duration::from_secs(if cfg!(test) { 0 } else { 30 });
/// A share of the tasks in memory leaves at one time where room is needed, one at least.
const LEAVING: usize = 32;

/// The tasks of a store. The bank holds those in memory.
pub(crate) struct Fleet {
    bank: Arc<Bank>,
    store: Store,
    /// Only what one of these keys signed is served.
    trusted: Option<Trusted>,
    read_only: bool,
    /// As last read; locked while they are read again, so that changes come one after the other.
    records: Mutex<Records>,
    tasks: RwLock<BTreeMap<String, Arc<Entry>>>,
    /// Records that cannot be read.
    failed: Mutex<BTreeMap<String, String>>,
    loading: Arc<Semaphore>,
    /// Counts uses: what was used last has the highest number.
    clock: AtomicU64,
    pub(crate) loads: AtomicU64,
    pub(crate) evictions: AtomicU64,
}

impl Fleet {
    /// Reads the records of a store.
    pub(crate) fn open(
        bank: Arc<Bank>,
        store: Store,
        trusted: Option<Trusted>,
        read_only: bool,
    ) -> Result<Self> {
        let fleet = Self {
            bank,
            store,
            trusted,
            read_only,
            records: Mutex::default(),
            tasks: RwLock::default(),
            failed: Mutex::default(),
            loading: Arc::new(Semaphore::new(LOADS)),
            clock: AtomicU64::new(1),
            loads: AtomicU64::new(0),
            evictions: AtomicU64::new(0),
        };
        fleet.refresh()?;
        Ok(fleet)
    }

    /// Where the store is.
    pub(crate) fn at(&self) -> &str {
        self.store.at()
    }

    /// Whether tasks can be changed here.
    pub(crate) fn is_writable(&self) -> bool {
        !self.read_only
    }

    fn entries(&self) -> Vec<(String, Arc<Entry>)> {
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        tasks.iter().map(|(name, entry)| (name.clone(), Arc::clone(entry))).collect()
    }

    fn entry(&self, name: &str) -> Option<Arc<Entry>> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Names of all tasks, and whether each takes pairs.
    pub(crate) fn names(&self) -> Vec<(String, bool)> {
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let name =
            |(name, entry): (&String, &Arc<Entry>)| (name.clone(), entry.known.current.about.pairs);
        tasks.iter().map(name).collect()
    }

    /// Whether the task `name` takes pairs, where there is one.
    pub(crate) fn pairs(&self, name: &str) -> Option<bool> {
        Some(self.entry(name)?.known.current.about.pairs)
    }

    /// What is known of a task.
    pub(crate) fn listed(&self, name: &str) -> Option<Listed> {
        Some(self.entry(name)?.listed(name))
    }

    /// What is known of all tasks, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        self.entries().iter().map(|(name, entry)| entry.listed(name)).collect()
    }

    /// What is not served, or not in the version in force, and why.
    pub(crate) fn failed(&self) -> Vec<(String, String)> {
        let mut failed: BTreeMap<String, String> =
            self.failed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        for (name, entry) in self.entries() {
            match &*entry.loaded() {
                Loaded::Bad(why, _) => drop(failed.insert(name, why.clone())),
                Loaded::Yes(served) => {
                    failed.extend(served.instead.clone().map(|(why, _)| (name, why)));
                }
                Loaded::No => {}
            }
        }
        failed.into_iter().collect()
    }

    /// Why the task of this name cannot be served, where that is so.
    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        match &*self.entry(name)?.loaded() {
            Loaded::Bad(why, _) => Some(why.clone()),
            _ => None,
        }
    }

    /// The tasks of these names, which are loaded where they are not in memory.
    pub(crate) async fn find(
        self: &Arc<Self>,
        names: &[String],
    ) -> std::result::Result<Vec<Arc<Task>>, Problem> {
        let mut entries = Vec::with_capacity(names.len());
        for name in names {
            let entry = self.entry(name).ok_or_else(|| self.unknown(name))?;
            entries.push((name, entry));
        }
        let is_cold = |(_, entry): &&(&String, Arc<Entry>)| matches!(*entry.loaded(), Loaded::No);
        let cold = entries.iter().filter(is_cold).count();
        if cold > COLD {
            let message = format!(
                "{cold} of {} tasks asked are not in memory, expected at most {COLD} a request",
                names.len()
            );
            return Err(Problem::new(Kind::TooManyInputs, message)
                .with_hint("ask fewer tasks at a time: each is loaded on its first use"));
        }
        let mut tasks = Vec::with_capacity(names.len());
        for (name, entry) in &entries {
            tasks.push(self.load(name, entry).await?);
        }
        Ok(tasks)
    }

    fn unknown(&self, name: &str) -> Problem {
        let shown: String = name.chars().take(100).collect();
        Problem::new(Kind::UnknownTask, format!("there is no task {shown:?}"))
    }

    async fn load(
        self: &Arc<Self>,
        name: &str,
        entry: &Arc<Entry>,
    ) -> std::result::Result<Arc<Task>, Problem> {
        entry.used.store(self.clock.fetch_add(1, Relaxed), Relaxed);
        if let Some(task) = entry.task(name)? {
            return Ok(task);
        }
        let turn = Arc::clone(&entry.loading).lock_owned().await;
        if let Some(task) = entry.task(name)? {
            return Ok(task);
        }
        let ended = |_| Problem::new(Kind::ShuttingDown, "the server is stopping");
        let place = Arc::clone(&self.loading).acquire_owned().await.map_err(ended)?;
        let (fleet, entry, owned) = (Arc::clone(self), Arc::clone(entry), name.to_string());
        let load = move || {
            // Held to the end of the work, even where nobody waits for it any more.
            let _held = (turn, place);
            fleet.load_now(&owned, &entry)
        };
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| {
            tracing::error!(%error, task = name, "loading a task broke off");
            Problem::new(Kind::Internal, "loading the task broke off; see the server's logs")
        })?;
        loaded.map_err(|e| match e.kind() {
            ErrorKind::Io => {
                tracing::error!(error = %e, task = name, "the store");
                let message = format!("the task {name:?} cannot be loaded; see the server's logs");
                Problem::new(Kind::Storage, message)
            }
            ErrorKind::Memory if is_crowded(&self.bank) => {
                let message = format!("no memory for the task {name:?}: all others are in use");
                Problem::new(Kind::Overloaded, message).with_hint("try again later")
            }
            ErrorKind::Memory => Problem::of(Kind::TaskMemory, "", &e),
            _ => unavailable(name, e.message()),
        })
    }

    /// Loads a task and keeps it, unless its record has changed since.
    fn load_now(&self, name: &str, entry: &Arc<Entry>) -> Result<Arc<Task>> {
        let found = self.first_good(name, &entry.known.current);
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let is_current = tasks.get(name).is_some_and(|now| Arc::ptr_eq(now, entry));
        match found {
            Ok(served) => {
                let task = Arc::clone(&served.task);
                if is_current {
                    self.bank.insert(Arc::clone(&task))?;
                    *entry.loaded() = Loaded::Yes(Box::new(served));
                }
                Ok(task)
            }
            Err(e) => {
                if e.kind() == ErrorKind::Cut && is_current {
                    *entry.loaded() = Loaded::bad(name, &e);
                }
                Err(e)
            }
        }
    }

    /// The version in force, or the latest one before it that can be served, prepared: whichever server does this
    /// comes to the same.
    fn first_good(&self, name: &str, current: &Version) -> Result<Served> {
        self.loads.fetch_add(1, Relaxed);
        let error = match self.prepared(name, current) {
            Ok(task) => return Ok(Served { task, version: current.clone(), instead: None }),
            Err(e) if e.kind() == ErrorKind::Cut => e,
            Err(e) => return Err(e),
        };
        let record = self.store.record(name)?;
        let earlier = record.versions.iter().rev().filter(|v| v.version < current.version);
        for version in earlier.take(EARLIER) {
            match self.prepared(name, version) {
                Ok(task) => {
                    let instead = format!(
                        "version {} cannot be served, version {} is in its place: {}",
                        current.version,
                        version.version,
                        error.message()
                    );
                    tracing::error!(task = name, error = instead, "not the version in force");
                    let version = version.clone();
                    let instead = Some((instead, Instant::now()));
                    return Ok(Served { task, version, instead });
                }
                Err(e) if e.kind() == ErrorKind::Cut => {}
                Err(e) => return Err(e),
            }
        }
        Err(error)
    }

    /// A version as a task that nobody is served by yet. Others leave where it needs their room.
    fn prepared(&self, name: &str, version: &Version) -> Result<Arc<Task>> {
        let (theirs, ours) = (&version.about.base, &self.bank.base().fingerprint);
        if theirs.fingerprint != ours.to_string() {
            let message = format!(
                "it belongs to the base {:?} with fingerprint {}, and this server's is {ours}",
                theirs.name, theirs.fingerprint
            );
            return Err(Error::new(ErrorKind::Cut, message));
        }
        let bytes = self.store.read(version)?;
        if let Some(trusted) = &self.trusted {
            trusted.check(name, &bytes, version.signature.as_deref())?;
        }
        self.prepare(name, &Cut::from_bytes(&bytes)?)
    }

    fn prepare(&self, name: &str, cut: &Cut) -> Result<Arc<Task>> {
        let fits = self.bank.need(cut)? <= self.bank.task_memory();
        loop {
            match self.bank.prepare(name, cut) {
                Err(e) if e.kind() == ErrorKind::Memory && fits && self.evict() => {}
                prepared => return prepared,
            }
        }
    }

    /// Has tasks leave that were used the longest ago and that nobody waits for; whether there was one.
    fn evict(&self) -> bool {
        // No record is taken over meanwhile: what is in the bank is the entry's.
        let tasks = self.tasks.read().unwrap_or_else(PoisonError::into_inner);
        let is_loaded =
            |(_, entry): &(&String, &Arc<Entry>)| matches!(*entry.loaded(), Loaded::Yes(_));
        let mut entries: Vec<_> = tasks.iter().filter(is_loaded).collect();
        entries.sort_by_cached_key(|(_, entry)| entry.used.load(Relaxed));
        let most = entries.len().div_ceil(LEAVING);
        let mut left = 0;
        for (name, entry) in entries {
            let mut loaded = entry.loaded();
            // The bank's and this one's: no request has it.
            let is_free = |served: &Served| Arc::strong_count(&served.task) <= 2;
            if matches!(&*loaded, Loaded::Yes(served) if is_free(served)) {
                *loaded = Loaded::No;
                let _ = self.bank.remove(name); // there is one
                left += 1;
            }
            if left == most {
                break;
            }
        }
        self.evictions.fetch_add(left as u64, Relaxed);
        left > 0
    }

    /// Takes over what has changed in the store. A task in memory answers in its old version until the new one is
    /// loaded.
    ///
    /// # Errors
    /// If the store cannot be read; all then stays as it was.
    pub(crate) fn refresh(&self) -> Result<()> {
        let mut records = self.records.lock().unwrap_or_else(PoisonError::into_inner);
        let changed = self.store.refresh(&mut records)?;
        for name in changed {
            match records.tasks.get(&name) {
                Some(known) => self.renew(&name, known.clone()),
                None => {
                    let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
                    tasks.remove(&name);
                    let _ = self.bank.remove(&name); // it may not be in memory
                }
            }
        }
        self.try_again();
        let name = |key: &String| {
            let name = key.rsplit('/').next().unwrap_or(key);
            name.strip_suffix(".json").unwrap_or(name).to_string()
        };
        let failed: BTreeMap<String, String> =
            records.failed.iter().map(|(key, why)| (name(key), why.clone())).collect();
        let mut before = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, why) in failed.iter().filter(|(name, why)| before.get(*name) != Some(why)) {
            tracing::error!(task = name, error = why, "a record cannot be read");
        }
        *before = failed;
        Ok(())
    }

    /// Looks whether what could not be served can be now.
    fn try_again(&self) {
        for (name, entry) in self.entries() {
            let mut loaded = entry.loaded();
            match &mut *loaded {
                Loaded::Bad(_, since) if since.elapsed() >= RETRY => *loaded = Loaded::No,
                Loaded::Yes(served) => {
                    let Some((_, since)) = &mut served.instead else { continue };
                    if since.elapsed() < RETRY {
                        continue;
                    }
                    *since = Instant::now();
                    drop(loaded);
                    if self.prepared(&name, &entry.known.current).is_ok() {
                        self.renew(&name, entry.known.clone());
                    }
                }
                _ => {}
            }
        }
    }

    fn renew(&self, name: &str, known: Known) {
        let old = self.entry(name);
        let kept = old.as_ref().and_then(|old| match &*old.loaded() {
            Loaded::Yes(served) => Some(served.clone()),
            _ => None,
        });
        let used = old.as_ref().map_or(0, |old| old.used.load(Relaxed));
        let loaded = match kept {
            None => Loaded::No,
            Some(served) if served.version == known.current => Loaded::Yes(served),
            Some(_) => match self.first_good(name, &known.current) {
                Ok(served) => Loaded::Yes(Box::new(served)),
                Err(e) if e.kind() == ErrorKind::Cut => Loaded::bad(name, &e),
                // On its next use.
                Err(_) => Loaded::No,
            },
        };
        let mut tasks = self.tasks.write().unwrap_or_else(PoisonError::into_inner);
        let in_bank = match &loaded {
            Loaded::Yes(served) => self.bank.insert(Arc::clone(&served.task)).map(drop),
            _ => self.bank.remove(name).map(drop),
        };
        drop(in_bank); // it may not have been in memory
        let entry = Entry::new(known, loaded);
        entry.used.store(used, Relaxed);
        tasks.insert(name.into(), Arc::new(entry));
    }

    /// Checks a cut and pushes it as the next version; whether the task is not new.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], left: &AtomicBool) -> Result<bool> {
        check_name(name)?;
        waited_for(left)?;
        let cut = Cut::from_bytes(bytes)?;
        waited_for(left)?;
        drop(self.prepare(name, &cut)?);
        drop(cut);
        waited_for(left)?;
        let is_known = self.entry(name).is_some();
        self.store.push(name, bytes, None)?;
        self.refresh()?;
        Ok(is_known)
    }

    /// Whether only signed versions are served.
    pub(crate) fn wants_signatures(&self) -> bool {
        self.trusted.is_some()
    }

    /// Puts an earlier version in force, once it is seen to be one that can be served.
    pub(crate) fn roll_back(&self, name: &str, to: Option<u64>) -> Result<()> {
        let record = self.store.record(name)?;
        let version = record.find(to)?;
        drop(self.prepared(name, version)?);
        self.store.roll_back(name, Some(version.version))?;
        self.refresh()
    }

    /// Removes a task with its versions.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        self.store.remove(name)?;
        self.refresh()
    }

    /// A task's record.
    pub(crate) fn record(&self, name: &str) -> Result<Record> {
        self.store.record(name)
    }

    /// The cut that a task is served from, or would be.
    pub(crate) fn cut(&self, name: &str) -> Result<Vec<u8>> {
        let entry = self.entry(name);
        let served = entry.as_ref().and_then(|entry| match &*entry.loaded() {
            Loaded::Yes(served) => Some(served.version.clone()),
            _ => None,
        });
        match served.or_else(|| entry.map(|entry| entry.known.current.clone())) {
            Some(version) => self.store.read(&version),
            None => Err(Error::new(ErrorKind::Config, format!("there is no task {name:?}"))),
        }
    }
}

/// Whether what fills the memory is in use, rather than one task too large for it.
fn is_crowded(bank: &Bank) -> bool {
    bank.bytes().0 > bank.task_memory() / 2
}
