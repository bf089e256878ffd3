//! API keys: who may ask and change which tasks.

use std::path::Path;
use std::sync::{Arc, PoisonError};

use axum::extract::{Request, State as Shared};
use axum::http::header;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use linocut::{Error, ErrorKind, Result};
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::error::{Kind, Problem};
use crate::state::State;

/// Fewest bytes of a key: a guess must not hit one.
const LEAST: usize = 16;
/// Uploads of one key that are checked at one time.
const UPLOADS: usize = 2;

/// The keys of a file.
pub struct Keys(Vec<(blake3::Hash, Arc<Access>)>);

/// A key as the file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    key: String,
    #[serde(default)]
    tasks: Option<Vec<String>>,
    rights: Vec<Right>,
}

/// What a key lets its holder do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Right {
    /// Read about tasks: the list, cards, counts, and of all tasks together metrics. The others have
    /// it, too.
    Read,
    /// Ask tasks.
    Predict,
    /// Put and delete tasks.
    Manage,
}

/// Who asks, and what they may.
#[derive(Debug)]
pub(crate) struct Access {
    /// The key's name, for logs.
    name: String,
    /// Tasks by name; all where `None`.
    tasks: Option<Vec<String>>,
    rights: Vec<Right>,
    /// Places for its uploads while they are checked, each of which takes a whole cut's memory.
    pub(crate) uploads: Arc<Semaphore>,
}

impl Keys {
    /// Reads a JSON file: a list of
    /// `{"name": "team-a", "key": "…", "tasks": ["intent"], "rights": ["predict", "manage"]}`,
    /// all tasks where `tasks` is left out. Only digests of the keys stay in memory.
    ///
    /// # Errors
    /// A file that cannot be read or is not that, a key of less than 16 bytes or with other than
    /// printable ASCII, or two alike.
    pub fn read(path: &Path) -> Result<Self> {
        let wrong = |what: String| {
            let hint = "expected [{\"name\": …, \"key\": …, \"tasks\": [names], \"rights\": \
                        [\"read\", \"predict\", \"manage\"]}, …]";
            Error::new(ErrorKind::Config, format!("{}: {what}", path.display())).with_hint(hint)
        };
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
        // The parser's message may quote the file, but its place says enough.
        let entries: Vec<Entry> = serde_json::from_slice(&bytes).map_err(|e| {
            wrong(format!("no list of keys, at line {} column {}", e.line(), e.column()))
        })?;
        if entries.is_empty() {
            return Err(wrong("an empty list, which nobody could use".into()));
        }
        let mut keys: Vec<(blake3::Hash, Arc<Access>)> = Vec::new();
        for Entry { name, key, tasks, rights } in entries {
            if key.len() < LEAST || !key.bytes().all(|b| b.is_ascii_graphic()) {
                let what = format!("the key {name:?} is not {LEAST} or more of printable ASCII");
                return Err(wrong(what));
            }
            let hash = blake3::hash(key.as_bytes());
            if let Some((_, other)) = keys.iter().find(|(other, _)| *other == hash) {
                return Err(wrong(format!("{:?} and {name:?} have the same key", other.name)));
            }
            let uploads = Arc::new(Semaphore::new(UPLOADS));
            keys.push((hash, Arc::new(Access { name, tasks, rights, uploads })));
        }
        Ok(Self(keys))
    }

    /// The access of a key. Compares digests, in a time that says nothing of the keys.
    fn find(&self, key: &str) -> Option<&Arc<Access>> {
        let hash = blake3::hash(key.as_bytes());
        let mut found = None;
        for (known, access) in &self.0 {
            if *known == hash {
                found = Some(access);
            }
        }
        found
    }
}

impl Access {
    /// Everything: of a server without keys.
    pub(crate) fn all() -> Self {
        let rights = vec![Right::Predict, Right::Manage];
        let uploads = Arc::new(Semaphore::new(Semaphore::MAX_PERMITS));
        Self { name: "anyone".into(), tasks: None, rights, uploads }
    }

    /// The key's name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the task `name` is one of its own: no other is shown or named to it.
    pub(crate) fn sees(&self, name: &str) -> bool {
        self.tasks.as_ref().is_none_or(|tasks| tasks.iter().any(|task| task == name))
    }

    /// Whether it sees every task, those still to come too.
    pub(crate) fn sees_all(&self) -> bool {
        self.tasks.is_none()
    }

    fn has(&self, right: Right) -> bool {
        self.rights.contains(&right) || right == Right::Read && !self.rights.is_empty()
    }

    /// Checks that it may do something with the task `name`.
    ///
    /// # Errors
    /// If not, whether or not there is such a task.
    pub(crate) fn check(&self, right: Right, name: &str) -> std::result::Result<(), Problem> {
        if self.sees(name) && self.has(right) {
            return Ok(());
        }
        let message = format!("the key {:?} may not {} the task {name:?}", self.name, right.verb());
        Err(Problem::new(Kind::Forbidden, message))
    }

    /// Checks that it may do something with tasks at all.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_right(&self, right: Right) -> std::result::Result<(), Problem> {
        if self.has(right) {
            return Ok(());
        }
        let message = format!("the key {:?} may not {} tasks", self.name, right.verb());
        Err(Problem::new(Kind::Forbidden, message))
    }

    /// Checks that it may read about every task.
    ///
    /// # Errors
    /// If not.
    pub(crate) fn check_all(&self) -> std::result::Result<(), Problem> {
        self.check_right(Right::Read)?;
        if self.sees_all() {
            return Ok(());
        }
        let message = format!("the key {:?} is not one of all tasks", self.name);
        Err(Problem::new(Kind::Forbidden, message).with_hint("a key without a list of tasks"))
    }
}

impl Right {
    fn verb(self) -> &'static str {
        match self {
            Right::Read => "see",
            Right::Predict => "ask",
            Right::Manage => "manage",
        }
    }
}

/// Lets requests with a known key pass, and says to handlers what it allows; without a keys file,
/// every request.
pub(crate) async fn authenticate(
    Shared(state): Shared<Arc<State>>,
    mut request: Request,
    next: Next,
) -> Response {
    let access = match &state.keys {
        None => Arc::clone(&state.anyone),
        Some(keys) => {
            let header = request.headers().get(header::AUTHORIZATION);
            let text = header.and_then(|value| value.to_str().ok()).unwrap_or_default();
            let found = match text.split_once(' ') {
                Some((scheme, key)) if scheme.eq_ignore_ascii_case("bearer") => {
                    let keys = keys.read().unwrap_or_else(PoisonError::into_inner);
                    keys.find(key.trim()).cloned()
                }
                _ => None,
            };
            match found {
                Some(access) => access,
                None => {
                    let problem = Problem::new(Kind::Unauthorized, "no key, or not a known one");
                    let problem = problem.with_hint("send the header `authorization: Bearer KEY`");
                    return problem.into_response();
                }
            }
        }
    };
    request.extensions_mut().insert(access);
    next.run(request).await
}
