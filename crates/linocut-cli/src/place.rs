//! Places that this command writes to.

use linocut::Result;
use linocut::output::{self, Lock};
use std::path::Path;

/// [`output::claim`] for this command.
pub(crate) fn claim(out: &Path, field: &str, force: bool) -> Result<Lock> {
    output::claim(out, field, force, &doing())
}

/// This command, for those who wait for it: `linocut train`.
pub(crate) fn doing() -> String {
    format!("linocut {}", std::env::args().nth(1).unwrap_or_default())
}
