//! The commands of a store: `linocut push`, `pull`, `list`, `history`, `rollback`, `remove`, `gc`, `keygen`.

mod change;
mod diff;
mod keys;
mod list;
mod read;

pub(crate) use change::{GcArgs, PushArgs, RemoveArgs, RollbackArgs, gc, push, remove, roll_back};
pub(crate) use diff::{BaseCommand, base};
pub(crate) use keys::{KeygenArgs, keygen};
pub(crate) use list::{ListArgs, list};
pub(crate) use read::{HistoryArgs, PullArgs, history, pull};

use linocut::store::Version;
use std::time::SystemTime;

/// When a version was pushed, for people.
fn time(version: &Version) -> String {
    version.pushed.replace('T', " ").replace('Z', " UTC")
}

/// How long ago a version was pushed, in the largest unit that fits.
fn age(version: &Version) -> String {
    let pushed = humantime::parse_rfc3339(&version.pushed).ok();
    let age = pushed.and_then(|pushed| SystemTime::now().duration_since(pushed).ok());
    let Some(seconds) = age.map(|age| age.as_secs()) else { return version.pushed.clone() };
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3600 => format!("{} min", seconds / 60),
        3600..86_400 => format!("{} h", seconds / 3600),
        _ => format!("{} d", seconds / 86_400),
    }
}

/// A version's score with its name, as `accuracy 95.6`.
fn score(about: &linocut::store::About) -> String {
    match about.score() {
        Some(score) => format!("{} {:.1}", about.metric.key().replace('_', " "), 100.0 * score),
        None => "–".into(),
    }
}
