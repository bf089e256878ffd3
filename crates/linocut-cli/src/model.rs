//! Opening a base with one cut applied to it.

use crate::args::BaseArgs;
use crate::output::say;
use linocut::Result;
use linocut::cut::{Cut, TaskModel};
use linocut::model::Pooling;
use std::path::Path;

/// Reads the cut, opens the base and puts the one on the other, if it belongs there.
pub(crate) fn open(cut: &Path, base: &BaseArgs) -> Result<TaskModel> {
    // The cut first: it is small, and its errors are worth more before a base is loaded.
    let cut = Cut::read(cut)?;
    // Any pooling opens; the cut's own comes once the base is known to be the right one.
    let base = base.open(Some(Pooling::First))?;
    TaskModel::new(base, cut)
}

/// Says on standard error how many texts were longer than the limit.
pub(crate) fn note_texts_cut(count: usize, max_length: usize) {
    if count > 0 {
        let (are, were) = if count == 1 { ("text is", "was") } else { ("texts are", "were") };
        say(&format!("note: {count} {are} longer than {max_length} tokens and {were} cut"));
    }
}
