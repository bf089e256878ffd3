//! A base ready for use: weights, tokenizer and identity.

use super::{Encoder, ModelConfig, Pooling, Weights, family};
use crate::checkpoint::Fingerprint;
use crate::data::Tokenizer;
use crate::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A pretrained model in memory. A clone has weights of its own.
#[derive(Clone)]
pub struct Base {
    /// Name for people: the folder's.
    pub name: String,
    /// The Hugging Face folder it was read from.
    pub folder: PathBuf,
    /// Identity of its weights and architecture.
    pub fingerprint: Fingerprint,
    /// The encoder, with the pooling asked for.
    pub encoder: Encoder,
    /// Its weights.
    pub weights: Weights,
    /// Its tokenizer.
    pub tokenizer: Arc<Tokenizer>,
}

impl Base {
    /// Reads a Hugging Face model folder. Without `pooling`, the folder's own: see
    /// [`Encoder::open`].
    ///
    /// # Errors
    /// A missing or malformed file, an unsupported architecture, non-finite weights, or a
    /// tokenizer with an id that the word embeddings have no row for.
    pub fn open(folder: &Path, pooling: Option<Pooling>) -> Result<Self> {
        let checkpoint = family::open(folder)?;
        let encoder = Encoder::open(&checkpoint, pooling)?;
        let weights = encoder.load(&checkpoint)?;
        let (vocab, types) = (encoder.config().vocab, encoder.config().token_types);
        let tokenizer = Tokenizer::open(folder)?.for_tables(vocab, types, folder)?;
        Ok(Self {
            name: checkpoint.name(),
            folder: folder.to_path_buf(),
            fingerprint: checkpoint.fingerprint(),
            encoder,
            weights,
            tokenizer: Arc::new(tokenizer),
        })
    }

    /// The architecture.
    pub fn config(&self) -> &ModelConfig {
        self.encoder.config()
    }

    /// Checks a limit on the tokens of a text.
    ///
    /// # Errors
    /// A limit beyond the base's positions, or too small for the special tokens and one more.
    pub fn check_max_length(&self, max_length: usize) -> Result<()> {
        let most = self.config().positions;
        if (4..=most).contains(&max_length) {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Config,
            format!("`max_length` is {max_length} tokens, expected 4 to {most} on this base"),
        ))
    }
}
