//! Where the tasks are: a folder of cuts, all in memory from the start, or a store, of which they come on their first
//! use.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use linocut::Result;
use linocut::bank::Task;
use linocut::store::{About, Store, Trusted};

use crate::error::{Kind, Problem};
use crate::fleet::Fleet;
use crate::folder::Folder;

/// Where a server finds its tasks.
pub enum Cuts {
    /// A folder of files that end in `.cut`.
    Folder(PathBuf),
    /// A store.
    Store {
        /// The store.
        store: Store,
        /// Where only what one of these keys signed is served.
        trusted: Option<Trusted>,
    },
}

impl From<PathBuf> for Cuts {
    fn from(folder: PathBuf) -> Self {
        Self::Folder(folder)
    }
}

/// The tasks' place.
pub(crate) enum Source {
    Folder(Folder),
    Store(Arc<Fleet>),
}

/// What is known of a task.
pub(crate) struct Listed {
    pub(crate) name: String,
    pub(crate) about: About,
    /// Bytes of its cut.
    pub(crate) bytes: u64,
    /// Where it is in memory.
    pub(crate) task: Option<Arc<Task>>,
    /// The version served, and how many there are, where they are kept.
    pub(crate) versions: Option<(u64, usize)>,
}

impl Source {
    /// Names of all tasks, and whether each takes pairs.
    pub(crate) fn names(&self) -> Vec<(String, bool)> {
        match self {
            Self::Folder(folder) => folder.names(),
            Self::Store(fleet) => fleet.names(),
        }
    }

    /// Whether the task `name` takes pairs, where there is one.
    pub(crate) fn pairs(&self, name: &str) -> Option<bool> {
        match self {
            Self::Folder(folder) => folder.pairs(name),
            Self::Store(fleet) => fleet.pairs(name),
        }
    }

    /// The tasks of these names, all as they are at one time.
    pub(crate) async fn find(
        &self,
        names: &[String],
    ) -> std::result::Result<Vec<Arc<Task>>, Problem> {
        match self {
            Self::Folder(folder) => folder.find(names),
            Self::Store(fleet) => fleet.find(names).await,
        }
    }

    /// What is known of a task.
    pub(crate) fn listed(&self, name: &str) -> Option<Listed> {
        match self {
            Self::Folder(folder) => folder.listed(name),
            Self::Store(fleet) => fleet.listed(name),
        }
    }

    /// What is known of all tasks, by name.
    pub(crate) fn list(&self) -> Vec<Listed> {
        match self {
            Self::Folder(folder) => folder.list(),
            Self::Store(fleet) => fleet.list(),
        }
    }

    /// Names of what cannot be served as it should be, and why.
    pub(crate) fn failed(&self) -> Vec<(String, String)> {
        match self {
            Self::Folder(folder) => folder.failed(),
            Self::Store(fleet) => fleet.failed(),
        }
    }

    /// Why the task of this name cannot be served, where there is one that cannot.
    pub(crate) fn failure(&self, name: &str) -> Option<String> {
        match self {
            Self::Folder(folder) => folder.failure(name),
            Self::Store(fleet) => fleet.failure(name),
        }
    }

    /// Whether tasks can be changed here.
    pub(crate) fn is_writable(&self) -> bool {
        match self {
            Self::Folder(folder) => folder.is_writable(),
            Self::Store(fleet) => fleet.is_writable(),
        }
    }

    /// Checks the cut in `bytes`, serves it as `name` and writes it; says whether it takes the place of another
    /// version. Whatever fails, or where its client has `left` before it is written, the other version stays.
    ///
    /// # Errors
    /// A name that no task may have, a cut that is malformed or does not fit, or a place that cannot be written.
    pub(crate) fn put(&self, name: &str, bytes: &[u8], left: &AtomicBool) -> Result<bool> {
        match self {
            Self::Folder(folder) => folder.put(name, bytes, left),
            Self::Store(fleet) => fleet.put(name, bytes, left),
        }
    }

    /// Removes the task `name`.
    ///
    /// # Errors
    /// If there is none, or it cannot be removed; all then stays.
    pub(crate) fn remove(&self, name: &str) -> Result<()> {
        match self {
            Self::Folder(folder) => folder.remove(name),
            Self::Store(fleet) => fleet.remove(name),
        }
    }

    /// The cut of the task `name`.
    ///
    /// # Errors
    /// If there is none, or it cannot be read.
    pub(crate) fn cut(&self, name: &str) -> Result<Vec<u8>> {
        match self {
            Self::Folder(folder) => folder.cut(name),
            Self::Store(fleet) => fleet.cut(name),
        }
    }

    /// The store, where versions are kept.
    pub(crate) fn fleet(&self) -> std::result::Result<&Arc<Fleet>, Problem> {
        match self {
            Self::Store(fleet) => Ok(fleet),
            Self::Folder(_) => {
                let message = "this server's folder of cuts keeps no versions";
                Err(Problem::new(Kind::Validation, message)
                    .with_hint("serve a store: linocut push, linocut serve --store"))
            }
        }
    }
}
