//! Finding and opening the base that the user named.

use crate::args::BaseArgs;
use crate::output::say;
use linocut::hub::{self, Fetch};
use linocut::model::{Base, Pooling};
use linocut::{Error, ErrorKind, Result};
use std::path::PathBuf;

/// More threads than any machine here has cores; a larger number is a slip.
const MOST_THREADS: usize = 1024;

impl BaseArgs {
    /// Sets the threads and opens the base.
    pub(crate) fn open(&self, pooling: Option<Pooling>) -> Result<Base> {
        start_threads(self.threads)?;
        Base::open(&self.folder(pooling.is_none())?, pooling)
    }

    /// The folder itself, or that of the hub's copy; `own_pooling` says whether its own pooling will
    /// be asked for.
    pub(crate) fn folder(&self, own_pooling: bool) -> Result<PathBuf> {
        let (fetch, mut remarks) = (Fetch { progress: !self.quiet, own_pooling }, vec![]);
        let folder = hub::find(&self.base, fetch, &mut remarks)?;
        remarks.iter().for_each(|remark| say(&remark.to_string()));
        Ok(folder)
    }
}

/// Sets how many threads compute; all cores without a number.
pub(crate) fn start_threads(threads: Option<usize>) -> Result<()> {
    let Some(threads) = threads else { return Ok(()) };
    if !(1..=MOST_THREADS).contains(&threads) {
        let message = format!("--threads is {threads}, expected 1 to {MOST_THREADS}");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
    pool.build_global().map_err(|e| {
        let message = format!("cannot start {threads} threads: {e}");
        Error::new(ErrorKind::Config, message).with_source(e)
    })
}
