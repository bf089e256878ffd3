//! Finding and opening the base that the user named.

use crate::args::BaseArgs;
use linocut::model::{Base, Pooling};
use linocut::{Error, ErrorKind, Result};
use std::path::PathBuf;

impl BaseArgs {
    /// Sets the threads and opens the base.
    pub(crate) fn open(&self, pooling: Option<Pooling>) -> Result<Base> {
        if let Some(threads) = self.threads {
            if threads == 0 {
                return Err(Error::new(ErrorKind::Config, "--threads is 0, expected at least 1"));
            }
            // Only the first call of a process can set it, and this is that.
            let _ = rayon::ThreadPoolBuilder::new().num_threads(threads).build_global();
        }
        Base::open(&self.folder()?, pooling)
    }

    fn folder(&self) -> Result<PathBuf> {
        let path = PathBuf::from(&self.base);
        if path.is_dir() {
            return Ok(path);
        }
        Err(Error::new(ErrorKind::Base, format!("{}: no such folder", self.base))
            .with_hint("`make base` puts all-MiniLM-L6-v2 into models/all-minilm-l6-v2"))
    }
}
