//! Tokens and frozen layers' outputs that several runs read.

use super::trunk::Trunk;
use crate::Result;
use crate::data::{Dataset, Encoding, Tokenizer};
use crate::model::{Encoder, Weights};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What runs in one process need not compute again: tokenised texts, and the outputs of frozen
/// layers as far as they stay in memory. A clone shares with the original.
#[derive(Debug, Clone, Default)]
pub struct Shared(Arc<Mutex<Kept>>);

/// Both by the digest of all that they are computed from.
#[derive(Debug, Default)]
struct Kept {
    texts: HashMap<blake3::Hash, Arc<Tokens>>,
    /// The least recently used first.
    trunks: Vec<(blake3::Hash, Arc<Trunk>)>,
}

/// Tokens of a data set.
#[derive(Debug)]
pub struct Tokens {
    /// Those of each row.
    pub rows: Vec<Encoding>,
    /// Texts that were cut at the maximum length.
    pub texts_cut: usize,
}

impl Tokens {
    /// These, and those of `more` texts after them.
    pub(super) fn and(&self, more: &Self) -> Self {
        let rows = self.rows.iter().chain(&more.rows).cloned().collect();
        Self { rows, texts_cut: self.texts_cut + more.texts_cut }
    }
}

impl Shared {
    /// The tokens of `data`, at most `max_length` a row.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_all`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        data: &Dataset,
        max_length: usize,
    ) -> Result<Arc<Tokens>> {
        let pairs = data.pairs.as_deref();
        let mut hash = blake3::Hasher::new();
        hash.update(tokenizer.fingerprint().to_string().as_bytes());
        for number in [max_length, data.texts.len(), pairs.map_or(0, <[String]>::len)] {
            hash.update(&number.to_le_bytes());
        }
        for text in data.texts.iter().chain(pairs.into_iter().flatten()) {
            hash.update(&text.len().to_le_bytes()).update(text.as_bytes());
        }
        let key = hash.finalize();
        let known = self.kept().texts.get(&key).cloned();
        if let Some(tokens) = known {
            return Ok(tokens);
        }
        let (rows, texts_cut) = tokenizer.encode_all(&data.texts, pairs, max_length)?;
        let tokens = Arc::new(Tokens { rows, texts_cut });
        self.kept().texts.insert(key, tokens.clone());
        Ok(tokens)
    }

    /// The lowest `depth` layers' outputs of `rows`, as [`Trunk::new`] computes them. `memory` is
    /// the most that all trunks kept may take; one that is larger by itself is not kept.
    pub(super) fn trunk(
        &self,
        encoder: &Encoder,
        weights: &Weights,
        rows: &[Encoding],
        depth: usize,
        (memory, folder): (usize, &Path),
        progress: impl FnMut(usize) -> bool,
    ) -> Result<Arc<Trunk>> {
        let key = trunk_key(encoder, weights, rows, depth);
        let known = {
            let trunks = &mut self.kept().trunks;
            trunks.iter().position(|(other, _)| *other == key).map(|at| {
                let found = trunks.remove(at);
                trunks.push(found.clone());
                found.1
            })
        };
        if let Some(trunk) = known {
            return Ok(trunk);
        }
        let size = Trunk::bytes_of(encoder, rows, depth);
        if size <= memory {
            let trunks = &mut self.kept().trunks;
            let mut others: usize = trunks.iter().map(|(_, trunk)| trunk.bytes()).sum();
            while size + others > memory {
                others -= trunks.remove(0).1.bytes();
            }
        }
        let place = (memory, folder);
        let trunk = Arc::new(Trunk::new(encoder, weights, rows, depth, place, progress)?);
        if size <= memory {
            self.kept().trunks.push((key, trunk.clone()));
        }
        Ok(trunk)
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Digest of the tokens, the weights and all else that a trunk's states depend on.
fn trunk_key(
    encoder: &Encoder,
    weights: &Weights,
    rows: &[Encoding],
    depth: usize,
) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    let (config, pooling, kept) = (encoder.config(), encoder.pooling(), encoder.kept());
    hash.update(format!("{config:?} {pooling:?} {kept:?} {depth}").as_bytes());
    let below = |layer: Option<usize>| layer.is_none_or(|layer| layer < depth);
    for tensor in encoder.layout().tensors().iter().filter(|tensor| below(tensor.layer())) {
        let values = &weights.data()[tensor.range.clone()];
        values.chunks(1 << 14).for_each(|chunk| {
            let bytes: Vec<u8> = chunk.iter().flat_map(|v| v.to_le_bytes()).collect();
            hash.update(&bytes);
        });
    }
    for row in rows {
        hash.update(&row.ids.len().to_le_bytes());
        for number in row.ids.iter().chain(&row.type_ids) {
            hash.update(&number.to_le_bytes());
        }
    }
    hash.finalize()
}
