//! What a teacher says of the rows that another model learns from.

use super::Dataset;
use super::table::data_error;
use crate::Result;
use std::sync::Arc;

/// A teacher's answers to the rows of a [`Dataset`], made by [`teach`](crate::tune::teach).
#[derive(Debug, Clone, PartialEq)]
pub struct Taught {
    /// The teacher's name, for people.
    pub teacher: String,
    /// Identity of all that its answers follow from.
    pub fingerprint: String,
    /// Its logits of every row, `[rows, outputs]`, in the order of the labels; of a regression its numbers.
    pub logits: Vec<f32>,
    /// Rows without labels, whose [targets](Dataset::targets) are the teacher's answers, too. What it says is all that
    /// is learned from them, and none is ever held out.
    pub unlabelled: Option<Arc<Dataset>>,
}

impl Taught {
    /// The same of some of `all` rows, by their numbers.
    pub(super) fn select(&self, all: usize, rows: &[usize]) -> Self {
        let outputs = self.logits.len().checked_div(all).unwrap_or(0);
        let of = |&row: &usize| &self.logits[row * outputs..(row + 1) * outputs];
        Self { logits: rows.iter().flat_map(of).copied().collect(), ..self.clone() }
    }

    /// Checks that there are answers to `rows` rows, of so many outputs each, and to those without labels.
    ///
    /// # Errors
    /// Too few or too many logits, or one that is not a finite number.
    pub(crate) fn check(&self, rows: usize, outputs: usize) -> Result<()> {
        let (found, expected) = (self.logits.len(), rows * outputs);
        if found != expected {
            let message =
                format!("{found} logits of a teacher, expected {expected}: {outputs} of each row");
            return Err(data_error(message));
        }
        if let Some(at) = self.logits.iter().position(|z| !z.is_finite()) {
            let message = format!(
                "row {}: the teacher gives the logit {}, expected a finite number",
                at / outputs + 1,
                self.logits[at]
            );
            return Err(data_error(message));
        }
        match self.unlabelled.as_deref() {
            Some(Dataset { taught: Some(taught), texts, .. }) => taught.check(texts.len(), outputs),
            Some(_) => Err(data_error("rows without labels, and no teacher's answers to them")),
            None => Ok(()),
        }
    }

    /// Digest of all that is learned from it.
    pub(crate) fn digest(&self) -> blake3::Hash {
        let mut hash = blake3::Hasher::new();
        for logit in &self.logits {
            hash.update(&logit.to_le_bytes());
        }
        if let Some(unlabelled) = self.unlabelled.as_deref() {
            for text in unlabelled.texts.iter().chain(unlabelled.pairs.iter().flatten()) {
                hash.update(&text.len().to_le_bytes()).update(text.as_bytes());
            }
            if let Some(taught) = &unlabelled.taught {
                hash.update(taught.digest().as_bytes());
            }
        }
        hash.finalize()
    }
}
