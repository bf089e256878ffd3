//! An export's way to the hub.

use crate::progress;
use linocut::Result;
use linocut::hub::{self, Account};
use linocut::output::in_words;
use std::path::Path;

/// Where an export goes, and by whom.
pub(super) struct Push<'a> {
    account: Account,
    name: &'a str,
}

/// Finds out before any work whether there is such a name, and somebody who may write.
pub(super) fn to(name: &str) -> Result<Push<'_>> {
    hub::check_name(name)?;
    Ok(Push { account: Account::open()?, name })
}

impl Push<'_> {
    /// Sends the folder's files; says what was sent.
    pub(super) fn send(&self, folder: &Path, private: bool, quiet: bool) -> Result<String> {
        let bar = progress::plain(quiet, "pushing {wide_bar} {bytes} of {total_bytes}, {eta} left");
        let pushed = self.account.push(folder, self.name, private, &mut |sent, total| {
            bar.set_length(total);
            bar.set_position(sent);
        });
        bar.finish_and_clear();
        let pushed = pushed?;
        let sent = match pushed.sent {
            0 => "large ones were there already".into(),
            bytes => format!("{} of large ones sent", in_words(bytes)),
        };
        let (url, files) = (pushed.url, pushed.files);
        Ok(format!("{url}: {files} files in commit {}, {sent}\n", pushed.commit))
    }
}
