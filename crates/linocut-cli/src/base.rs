//! Finding and opening the base that the user named.

use crate::args::BaseArgs;
use linocut::model::{Base, Pooling};
use linocut::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

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
        let path = Path::new(&self.base);
        if path.is_dir() {
            return Ok(path.to_path_buf());
        }
        if path.exists() {
            let message = format!("--base {}: a file, expected a folder", self.base);
            return Err(Error::new(ErrorKind::Base, message).with_hint(EXPECTED));
        }
        if !is_hub_name(&self.base) {
            let message =
                format!("--base {}: no such folder, and no hub name (owner/name)", self.base);
            return Err(Error::new(ErrorKind::Base, message).with_hint(EXPECTED));
        }
        #[cfg(feature = "hub")]
        return crate::hub::folder(&self.base, self.quiet, own_pooling);
        #[cfg(not(feature = "hub"))]
        let _ = own_pooling;
        #[cfg(not(feature = "hub"))]
        Err(Error::new(
            ErrorKind::Base,
            format!(
                "--base {}: no such folder, and this linocut was built without the hub",
                self.base
            ),
        )
        .with_hint(EXPECTED))
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

const EXPECTED: &str = "expected a Hugging Face folder with config.json, model.safetensors and \
                        tokenizer.json; `make base` puts one into models/all-minilm-l6-v2";

/// Whether `name` is `owner/name` as the hub spells it.
fn is_hub_name(name: &str) -> bool {
    let part = |part: &str| {
        let sane = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        !part.is_empty() && !part.starts_with('.') && part.len() <= 96 && part.chars().all(sane)
    };
    name.split_once('/').is_some_and(|(owner, name)| part(owner) && part(name))
}

#[cfg(test)]
mod tests {
    use super::is_hub_name;

    #[test]
    fn hub_names() {
        assert!(is_hub_name("sentence-transformers/all-MiniLM-L6-v2"));
        for path in
            ["bert", "./a/b", "../b", "/a/b", "a/b/c", "a/", "~/b", "a/.b", "a b/c", "C:\\a/b"]
        {
            assert!(!is_hub_name(path), "{path}");
        }
    }
}
