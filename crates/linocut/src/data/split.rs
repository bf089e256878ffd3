//! Rows held out of a training file.

use super::dataset::Dataset;
use super::table::data_error;
use crate::{Error, ErrorKind, Result};

/// Splits rows into (training, held out), about `share` (between 0 and 1, both excluded) of them
/// held out.
///
/// Which rows depends on their texts and `seed` alone, not on their order or the number of
/// threads: rows go by a hash, and rows with equal texts go to the same side, so that no held-out
/// text was learned by heart. Both parts keep the order of the file.
///
/// # Errors
/// A share out of range, or too few different texts to have one on each side.
pub fn split_holdout(dataset: &Dataset, share: f64, seed: u64) -> Result<(Dataset, Dataset)> {
    if !(share > 0.0 && share < 1.0) {
        let message = format!("the share to hold out must be between 0 and 1, found {share}");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let rows = dataset.rows();
    let mut keys: Vec<([u8; 32], usize)> = (0..rows)
        .map(|row| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(&seed.to_le_bytes());
            hasher.update(&(dataset.texts[row].len() as u64).to_le_bytes());
            hasher.update(dataset.texts[row].as_bytes());
            if let Some(pairs) = &dataset.pairs {
                hasher.update(pairs[row].as_bytes());
            }
            (*hasher.finalize().as_bytes(), row)
        })
        .collect();
    keys.sort_unstable();
    let same = |i: usize| keys[i - 1].0 == keys[i].0;
    let mut held = ((rows as f64 * share).round() as usize).max(1);
    while held < rows && same(held) {
        held += 1;
    }
    if held >= rows {
        return Err(data_error(format!(
            "{} rows of {} are too few to hold {share} of them out",
            rows, dataset.name,
        ))
        .with_hint("give more rows, a smaller share, or a file of rows to evaluate on"));
    }
    let part = |range: &[([u8; 32], usize)]| {
        let mut rows: Vec<usize> = range.iter().map(|(_, row)| *row).collect();
        rows.sort_unstable();
        dataset.select(&rows)
    };
    Ok((part(&keys[held..]), part(&keys[..held])))
}
