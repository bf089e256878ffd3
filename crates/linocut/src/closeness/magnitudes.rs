//! Where a base's entries stand by magnitude, which is what masks choose zeros by before all else.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use rayon::prelude::*;

use crate::Result;
use crate::cut::{Cut, Edit};
use crate::model::family;

/// Entries in the finest bin, and what ranks are counted in.
const UNIT: f64 = 64.0;
/// Bins that the rank doubles in.
const PER_DOUBLING: f64 = 8.0;

/// The entries of some matrices in bins of like magnitude. Of the entry of rank r from 0, the largest
/// first, the bin is ⌊8·log₂(1 + r / 64)⌋: narrow where entries are large, which are few, and where
/// masks have most of their zeros.
#[derive(Debug, Clone, Default)]
pub struct Magnitudes(BTreeMap<String, Vec<u8>>);

impl Magnitudes {
    /// Those of the matrices that one of `cuts` has a mask for, of the base in a folder.
    ///
    /// # Errors
    /// A base that cannot be read.
    pub fn of_masks<'a>(base: &Path, cuts: impl Iterator<Item = &'a Cut>) -> Result<Self> {
        let names: BTreeSet<&String> = cuts.flat_map(masked).collect();
        let base = family::open(base)?;
        let mut magnitudes = Self::default();
        for name in names {
            // Whatever else a cut names has no place in this base.
            let Some(info) = base.tensor(name) else { continue };
            let mut values = vec![0.0; info.shape.iter().product()];
            // Of a matrix with infinite entries nothing is expected.
            if base.read_f32(name, &mut values).is_ok() {
                magnitudes.add(name, &values);
            }
        }
        Ok(magnitudes)
    }

    /// Adds a matrix by its entries.
    pub fn add(&mut self, name: &str, values: &[f32]) {
        // The bits of numbers without sign are in the numbers' order; equal ones by their place.
        let mut order: Vec<u64> = values
            .par_iter()
            .enumerate()
            .map(|(i, v)| u64::from(!v.abs().to_bits()) << 32 | i as u64)
            .collect();
        order.par_sort_unstable();
        let mut bins = vec![0; values.len()];
        for (rank, at) in order.into_iter().enumerate() {
            let bin = PER_DOUBLING * (1.0 + rank as f64 / UNIT).log2();
            bins[at as u32 as usize] = bin as u8;
        }
        self.0.insert(name.to_string(), bins);
    }

    /// How many of `len` entries two random masks of a matrix have in common, if each has in every
    /// bin as many zeros as `a` and `b` have: Σ aᵢ·bᵢ / nᵢ over bins of nᵢ entries. None of a matrix
    /// that was not added, or has another number of entries.
    pub(super) fn expected_both(
        &self,
        name: &str,
        len: usize,
        a: &[u32],
        b: &[u32],
    ) -> Option<f64> {
        let bins = self.0.get(name).filter(|bins| bins.len() == len)?;
        let mut counts = [[0u32; 3]; 256];
        bins.iter().for_each(|&bin| counts[usize::from(bin)][2] += 1);
        for (which, positions) in [a, b].into_iter().enumerate() {
            for &position in positions {
                counts[usize::from(*bins.get(position as usize)?)][which] += 1;
            }
        }
        let expected = counts.iter().filter(|[.., n]| *n > 0);
        Some(expected.map(|&[a, b, n]| f64::from(a) * f64::from(b) / f64::from(n)).sum())
    }
}

/// Names of the matrices that `cut` has a mask for.
fn masked(cut: &Cut) -> impl Iterator<Item = &String> {
    cut.edits().iter().filter(|(_, e)| matches!(e.edit, Edit::Zeros(_))).map(|(name, _)| name)
}
