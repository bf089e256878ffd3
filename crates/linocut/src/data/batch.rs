//! Packed token batches and the order of rows in an epoch.

use std::ops::Range;

use super::tokenize::Encoding;

/// Several token sequences back to back, without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Token ids of all sequences, `[tokens]`.
    pub ids: Vec<u32>,
    /// Segment of each token (0 for the first text, 1 for the second), `[tokens]`.
    pub type_ids: Vec<u32>,
    /// Where each sequence starts and the last one ends, `[sequences + 1]`, from 0 up.
    pub offsets: Vec<usize>,
}

impl Batch {
    /// Packs encodings in the order given.
    pub fn from_encodings<'a>(encodings: impl IntoIterator<Item = &'a Encoding>) -> Self {
        let mut batch = Self { ids: Vec::new(), type_ids: Vec::new(), offsets: vec![0] };
        for encoding in encodings {
            batch.ids.extend_from_slice(&encoding.ids);
            batch.type_ids.extend_from_slice(&encoding.type_ids);
            batch.offsets.push(batch.ids.len());
        }
        batch
    }

    /// Tokens of all sequences together.
    pub fn tokens(&self) -> usize {
        self.ids.len()
    }

    /// Number of sequences.
    pub fn sequences(&self) -> usize {
        self.offsets.len() - 1
    }

    /// The rows of sequence `i` in any `[tokens, …]` matrix of this batch.
    ///
    /// # Panics
    /// If there is no sequence `i`.
    pub fn range(&self, i: usize) -> Range<usize> {
        self.offsets[i]..self.offsets[i + 1]
    }
}

/// The order in which an epoch visits `rows` rows: each of `0..rows` once.
///
/// A function of its arguments alone: Fisher–Yates with SplitMix64, both written out here so that
/// no dependency's update can change what a seed means.
///
/// # Panics
/// If `rows` does not fit in a u32.
pub fn epoch_order(rows: usize, seed: u64, epoch: u64) -> Vec<u32> {
    let rows = u32::try_from(rows).expect("a table has fewer than 2^32 rows");
    let mut order: Vec<u32> = (0..rows).collect();
    // One step of the generator mixes the seed, so that neighbouring (seed, epoch) pairs, such as
    // (1, 2) and (2, 1), are unrelated.
    let mut state = SplitMix64(SplitMix64(seed).next() ^ epoch);
    for i in (1..order.len()).rev() {
        let j = state.below(i as u64 + 1);
        order.swap(i, j as usize);
    }
    order
}

/// Steele, Lea & Flood, "Fast splittable pseudorandom number generators" (2014).
pub(super) struct SplitMix64(u64);

impl SplitMix64 {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Uniform in `0..bound` (Lemire's multiply-and-reject, without bias).
    fn below(&mut self, bound: u64) -> u64 {
        let reject_under = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.next()) * u128::from(bound);
            if product as u64 >= reject_under {
                return (product >> 64) as u64;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splitmix_gives_the_published_sequence() {
        let mut state = SplitMix64(1_234_567);
        let values = [(); 3].map(|()| state.next());
        assert_eq!(
            values,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
