//! Tokens and frozen layers' outputs that several runs read.

use super::trunk::Trunk;
use crate::Result;
use crate::data::{Dataset, Encoding, Extent, Texts, Tokenizer};
use crate::model::{Encoder, Weights};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What runs in one process need not compute again: tokenised texts, and the outputs of frozen
/// layers as far as they stay in memory. A clone shares with the original.
#[derive(Debug, Clone, Default)]
pub struct Shared {
    kept: Arc<Mutex<Kept>>,
    /// Whether frozen layers' outputs of some rows may be taken from those of more.
    of_parts: bool,
}

/// Both by the digest of all that they are computed from.
#[derive(Debug, Default)]
struct Kept {
    texts: HashMap<blake3::Hash, Arc<Texts>>,
    /// The least recently used first.
    trunks: Vec<KeptTrunk>,
}

#[derive(Debug)]
struct KeptTrunk {
    /// Digest of the frozen layers.
    layers: blake3::Hash,
    /// Digests of the rows, in their order.
    rows: Vec<blake3::Hash>,
    trunk: Arc<Trunk>,
}

impl KeptTrunk {
    /// Which of its rows these are, if it has them all.
    fn places(&self, rows: &[blake3::Hash]) -> Option<Vec<u32>> {
        let own = self.rows.iter().zip(0u32..);
        let places: HashMap<&blake3::Hash, u32> = own.collect();
        rows.iter().map(|row| places.get(row).copied()).collect()
    }
}

/// Frozen layers' outputs, and which of them each sequence's are.
#[derive(Debug)]
pub(super) struct TrunkRows {
    pub(super) trunk: Arc<Trunk>,
    pub(super) rows: Vec<u32>,
}

impl Shared {
    /// What is read in `extent` of the rows of `data`.
    ///
    /// # Errors
    /// As [`Tokenizer::encode_all`].
    pub fn encode(
        &self,
        tokenizer: &Tokenizer,
        data: &Dataset,
        extent: Extent,
    ) -> Result<Arc<Texts>> {
        let pairs = data.pairs.as_deref();
        let mut hash = blake3::Hasher::new();
        hash.update(tokenizer.fingerprint().to_string().as_bytes());
        hash.update(format!("{extent:?}").as_bytes());
        for number in [data.texts.len(), pairs.map_or(0, <[String]>::len)] {
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
        let tokens = Arc::new(tokenizer.encode_all(&data.texts, pairs, extent)?);
        self.kept().texts.insert(key, tokens.clone());
        Ok(tokens)
    }

    /// The same, for runs on parts of the same rows: what frozen layers give of a row is taken from a run on more. In
    /// its last bits it may then be otherwise than computed anew.
    #[must_use]
    pub fn of_parts(&self) -> Self {
        Self { kept: Arc::clone(&self.kept), of_parts: true }
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
    ) -> Result<TrunkRows> {
        let layers = layers_key(encoder, weights, depth);
        let digests: Vec<blake3::Hash> = rows.iter().map(row_key).collect();
        let places = |kept: &KeptTrunk| match kept.layers == layers {
            true if kept.rows == digests => Some((0..rows.len() as u32).collect()),
            true if self.of_parts => kept.places(&digests),
            _ => None,
        };
        let known = {
            let trunks = &mut self.kept().trunks;
            let found = trunks.iter().enumerate().find_map(|(at, kept)| Some((at, places(kept)?)));
            found.map(|(at, rows)| {
                let kept = trunks.remove(at);
                let trunk = Arc::clone(&kept.trunk);
                trunks.push(kept);
                TrunkRows { trunk, rows }
            })
        };
        if let Some(known) = known {
            return Ok(known);
        }
        let size = Trunk::bytes_of(encoder, rows, depth);
        if size <= memory {
            let trunks = &mut self.kept().trunks;
            let mut others: usize = trunks.iter().map(|kept| kept.trunk.bytes()).sum();
            while size + others > memory {
                others -= trunks.remove(0).trunk.bytes();
            }
        }
        let place = (memory, folder);
        let trunk = Arc::new(Trunk::new(encoder, weights, rows, depth, place, progress)?);
        if size <= memory {
            let kept = KeptTrunk { layers, rows: digests, trunk: Arc::clone(&trunk) };
            self.kept().trunks.push(kept);
        }
        Ok(TrunkRows { trunk, rows: (0..rows.len() as u32).collect() })
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Digest of the weights and all else, but the tokens, that a trunk's states depend on.
fn layers_key(encoder: &Encoder, weights: &Weights, depth: usize) -> blake3::Hash {
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
    hash.finalize()
}

/// Digest of a row's tokens.
fn row_key(row: &Encoding) -> blake3::Hash {
    let mut hash = blake3::Hasher::new();
    for number in row.ids.iter().chain(&row.type_ids) {
        hash.update(&number.to_le_bytes());
    }
    hash.finalize()
}
