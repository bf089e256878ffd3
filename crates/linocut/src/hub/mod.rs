//! Where a base is that is named by its folder, or by its name on the Hugging Face hub; and a folder's way there.

#[cfg(feature = "hub")]
mod cache;
#[cfg(feature = "hub")]
mod push;

use crate::data::Remark;
use crate::{Error, ErrorKind, Result};
#[cfg(feature = "hub")]
pub use push::{Account, Pushed, check_name};
use std::path::{Path, PathBuf};

const EXPECTED: &str = "expected a Hugging Face folder with config.json, model.safetensors and \
                        tokenizer.json; `make base` puts one into models/all-minilm-l6-v2";

/// What matters of a model that may have to be fetched.
#[derive(Debug, Clone, Copy, Default)]
pub struct Fetch {
    /// Show on standard error how far it is, where that is a terminal.
    pub progress: bool,
    /// The model's own pooling will be asked for.
    pub own_pooling: bool,
}

/// The folder of the base `name`: that folder itself, or of `owner/name` the copy in the cache of the
/// Hugging Face hub, which all its tools share; it is fetched as far as it is not there yet. `remarks`
/// get what there is to say of a copy.
///
/// Environment, as the hub's own library reads it: `HF_HOME` or `HF_HUB_CACHE` (place of the cache),
/// `HF_ENDPOINT` (another server), `HF_TOKEN` (private models), `HF_HUB_OFFLINE=1` (the cache alone).
///
/// # Errors
/// If there is no such folder, and no such model or no answer from the hub.
pub fn find(name: &str, fetch: Fetch, remarks: &mut Vec<Remark>) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.is_dir() {
        return Ok(path.to_path_buf());
    }
    let expected = |message: String| Err(Error::new(ErrorKind::Base, message).with_hint(EXPECTED));
    if path.exists() {
        return expected(format!("`base` {name}: a file, expected a folder"));
    }
    if !is_hub_name(name) {
        return expected(format!("`base` {name}: no such folder, and no hub name (owner/name)"));
    }
    #[cfg(feature = "hub")]
    return cache::folder(name, fetch, remarks);
    #[cfg(not(feature = "hub"))]
    {
        let _ = (fetch, remarks);
        expected(format!(
            "`base` {name}: no such folder, and this linocut was built without the hub"
        ))
    }
}

#[cfg(feature = "hub")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

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
