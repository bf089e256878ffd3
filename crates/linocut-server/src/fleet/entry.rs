//! A task of a store, and what of it is in memory.

use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use linocut::Error;
use linocut::bank::Task;
use linocut::store::{Known, Version};

use crate::error::{Kind, Problem};
use crate::source::Listed;

/// A task as its record has it.
pub(super) struct Entry {
    pub(super) known: Known,
    /// Held while it is loaded: others wait for the same.
    pub(super) loading: Arc<tokio::sync::Mutex<()>>,
    loaded: Mutex<Loaded>,
    pub(super) used: AtomicU64,
}

pub(super) enum Loaded {
    No,
    Yes(Box<Served>),
    /// It cannot be served, nor can an earlier version; and since when.
    Bad(String, Instant),
}

impl Loaded {
    /// The task `name` cannot be served from now on, which the log says.
    pub(super) fn bad(name: &str, error: &Error) -> Self {
        tracing::error!(task = name, error = error.message(), "a task is not served");
        Self::Bad(error.message().into(), Instant::now())
    }
}

/// What is served as a task.
#[derive(Clone)]
pub(super) struct Served {
    pub(super) task: Arc<Task>,
    pub(super) version: Version,
    /// Why it is not the version in force, and since when.
    pub(super) instead: Option<(String, Instant)>,
}

impl Entry {
    pub(super) fn new(known: Known, loaded: Loaded) -> Self {
        Self { known, loading: Arc::default(), loaded: Mutex::new(loaded), used: AtomicU64::new(0) }
    }

    pub(super) fn loaded(&self) -> MutexGuard<'_, Loaded> {
        self.loaded.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The task where it is in memory.
    ///
    /// # Errors
    /// If it cannot be served.
    pub(super) fn task(&self, name: &str) -> std::result::Result<Option<Arc<Task>>, Problem> {
        match &*self.loaded() {
            Loaded::No => Ok(None),
            Loaded::Yes(served) => Ok(Some(Arc::clone(&served.task))),
            Loaded::Bad(why, _) => Err(unavailable(name, why)),
        }
    }

    /// What is known of it.
    pub(super) fn listed(&self, name: &str) -> Listed {
        let (version, task) = match &*self.loaded() {
            Loaded::Yes(served) => (served.version.clone(), Some(Arc::clone(&served.task))),
            _ => (self.known.current.clone(), None),
        };
        let Version { version, bytes, about, .. } = version;
        let versions = Some((version, self.known.versions));
        Listed { name: name.into(), about, bytes, task, versions }
    }
}

/// The error of a task that cannot be served.
pub(crate) fn unavailable(name: &str, why: &str) -> Problem {
    let message = format!("the file of the task {name:?} cannot be served: {why}");
    Problem::new(Kind::TaskUnavailable, message)
        .with_hint("put another version in its place, or have the server's operator do so")
}
