//! What a packed model's files do not say, or may say wrongly.

use std::path::Path;

use serde_json::Value;

use crate::Result;
use crate::data::{Metric, Problem};
use crate::model::{Base, Pooling};

/// What a packed model predicts, and of what texts; may be set before packing.
#[derive(Debug, Clone, PartialEq)]
pub struct Outline {
    /// Name of the task: the folder's, or what an export says.
    pub name: String,
    /// What is predicted.
    pub problem: Problem,
    /// Label names in the order of the logits; empty for regression.
    pub labels: Vec<String>,
    /// How hidden states become the vector that the head reads.
    pub pooling: Pooling,
    /// Longest text in tokens: what the tokenizer says, else 512, at most the positions.
    pub max_length: usize,
    /// Whether texts come in pairs.
    pub pairs: bool,
    /// The score that the task is judged by.
    pub metric: Metric,
}

impl Outline {
    /// Puts what a person says in the place of what the files say.
    ///
    /// # Errors
    /// A `max_length` that the base cannot read.
    pub fn set(
        &mut self,
        base: &Base,
        name: Option<&str>,
        max_length: Option<usize>,
        pairs: bool,
    ) -> Result<()> {
        if let Some(max_length) = max_length {
            base.check_max_length(max_length)?;
            self.max_length = max_length;
        }
        if let Some(name) = name {
            self.name = name.into();
        }
        self.pairs |= pairs;
        Ok(())
    }
}

/// The last part of a folder's path.
pub(super) fn folder_name(folder: &Path) -> String {
    let absolute = std::path::absolute(folder).ok();
    let last = absolute.as_deref().and_then(Path::file_name);
    last.map_or_else(|| "task".into(), |name| name.to_string_lossy().into_owned())
}

/// The longest text that the folder's tokenizer gives, where it says a number that means one.
pub(super) fn tokenizer_limit(folder: &Path) -> Option<usize> {
    let settings = std::fs::read(folder.join("tokenizer_config.json")).ok()?;
    let settings: Value = serde_json::from_slice(&settings).ok()?;
    usize::try_from(settings["model_max_length"].as_u64()?).ok()
}
