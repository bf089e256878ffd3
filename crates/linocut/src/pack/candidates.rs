//! The ways to store one changed tensor, each with its bytes and the squared error it leaves.

use crate::Result;
use crate::cut::{Edit, Sign, Sparse, StoreType, TensorEdit};

/// Shares of a tensor's entries that sparse differences keep, the largest movements.
const DENSITIES: [f64; 6] = [1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2];
/// Shares of a matrix's rows that one-bit differences keep, those that lose the most error.
const ROWS: [f64; 9] = [1.0 / 64.0, 1.0 / 32.0, 1.0 / 16.0, 0.125, 0.25, 0.375, 0.5, 0.75, 1.0];
/// A store type whose range is that of f32: movements are small numbers.
const MOVEMENTS: StoreType = StoreType::Bf16;

/// How to store a tensor.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum How {
    /// The so many largest movements.
    Sparse(usize),
    /// One bit an entry of the so many rows that lose the most error.
    Sign(usize),
    /// All entries in bf16.
    Replace,
    /// Without loss.
    Exact,
}

/// One way, its cost and what it leaves.
#[derive(Debug, Clone, Copy)]
pub(super) struct Candidate {
    pub(super) how: How,
    /// Bytes of its data.
    pub(super) bytes: usize,
    /// Σ (tuned − stored)²
    pub(super) left: f64,
}

/// A changed tensor of both models.
pub(super) struct Changed<'a> {
    pub(super) shape: &'a [usize],
    pub(super) base: &'a [f32],
    pub(super) tuned: &'a [f32],
    /// What stores it exactly.
    pub(super) exact: &'a TensorEdit,
}

impl Changed<'_> {
    /// All ways but to leave the base's tensor.
    pub(super) fn candidates(&self) -> Result<Vec<Candidate>> {
        let mut found = vec![Candidate { how: How::Exact, bytes: self.exact.bytes(), left: 0.0 }];
        let ranked = self.ranked_entries(self.count(DENSITIES[DENSITIES.len() - 1]));
        let counts = DENSITIES.map(|density| self.count(density));
        let rows = self.ranked_rows();
        let row_counts = ROWS.map(|share| ((rows.len() as f64 * share).ceil() as usize).max(1));
        let sparse = unique(&counts).map(How::Sparse);
        for how in sparse.chain(unique(&row_counts).map(How::Sign)).chain([How::Replace]) {
            let edit = self.lossy(how, &ranked, &rows)?;
            let bytes = edit.bytes();
            found.push(Candidate { how, bytes, left: self.left(&edit)? });
        }
        Ok(found)
    }

    /// The edit that a candidate stands for.
    pub(super) fn edit(&self, how: How) -> Result<TensorEdit> {
        match how {
            How::Exact => Ok(self.exact.clone()),
            How::Sparse(n) => self.lossy(how, &self.ranked_entries(n), &[]),
            How::Sign(_) => self.lossy(how, &[], &self.ranked_rows()),
            How::Replace => self.lossy(how, &[], &[]),
        }
    }

    fn lossy(&self, how: How, entries: &[u32], rows: &[u32]) -> Result<TensorEdit> {
        let sorted = |first: &[u32]| {
            let mut chosen = first.to_vec();
            chosen.sort_unstable();
            chosen
        };
        let edit = match how {
            How::Sparse(n) => {
                let positions = sorted(&entries[..n]);
                let step = |&p: &u32| self.tuned[p as usize] - self.base[p as usize];
                let mut values: Vec<f32> = positions.iter().map(step).collect();
                MOVEMENTS.round("a movement", &mut values)?;
                Edit::Sparse(Sparse::new(self.base.len(), positions, MOVEMENTS, values)?)
            }
            How::Sign(n) => {
                let step = |(t, b): (&f32, &f32)| t - b;
                let steps: Vec<f32> = self.tuned.iter().zip(self.base).map(step).collect();
                Edit::Sign(Sign::nearest(&steps, self.columns(), sorted(&rows[..n]))?)
            }
            How::Replace => {
                let store = StoreType::Bf16;
                let mut values = self.tuned.to_vec();
                store.round("a tensor", &mut values)?;
                Edit::Replace { store, values }
            }
            How::Exact => return Ok(self.exact.clone()),
        };
        Ok(TensorEdit { shape: self.shape.to_vec(), edit })
    }

    /// Σ (tuned − what the edit gives)².
    pub(super) fn left(&self, edit: &TensorEdit) -> Result<f64> {
        let (positions, values) = edit.change(self.base)?;
        let square = |t: f32, v: f32| (f64::from(t) - f64::from(v)).powi(2);
        let Some(positions) = positions else {
            return Ok(self.tuned.iter().zip(&values).map(|(&t, &v)| square(t, v)).sum());
        };
        // The base's entries but for those at the positions.
        let mut next = positions.iter().zip(&values).peekable();
        let entries = self.tuned.iter().zip(self.base).enumerate();
        Ok(entries
            .map(|(i, (&t, &b))| match next.next_if(|&(&p, _)| p as usize == i) {
                Some((_, &v)) => square(t, v),
                None => square(t, b),
            })
            .sum())
    }

    fn count(&self, density: f64) -> usize {
        ((self.base.len() as f64 * density).ceil() as usize).max(1)
    }

    fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    /// The positions of the `count` largest movements, the largest first; equal ones in order.
    fn ranked_entries(&self, count: usize) -> Vec<u32> {
        // Magnitudes of finite floats order as their bits do; below them the position, reversed.
        let key = |i: usize| {
            let size = (self.tuned[i] - self.base[i]).abs().to_bits();
            u64::from(size) << 32 | u64::from(!(i as u32))
        };
        let mut keys: Vec<u64> = (0..self.base.len()).map(key).collect();
        let count = count.min(keys.len());
        if count < keys.len() {
            keys.select_nth_unstable_by(count, |a, b| b.cmp(a));
            keys.truncate(count);
        }
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.into_iter().map(|key| !(key as u32)).collect()
    }

    /// All rows, those first whose error one bit an entry lowers the most.
    fn ranked_rows(&self) -> Vec<u32> {
        let columns = self.columns();
        let rows = self.base.chunks_exact(columns).zip(self.tuned.chunks_exact(columns));
        let mut gains: Vec<(f64, u32)> = rows
            .zip(0..)
            .map(|((base, tuned), row)| {
                // n·mean(|δ|)²: what is taken off Σδ² by ± the mean of |δ|.
                let sum: f64 = base.iter().zip(tuned).map(|(b, t)| f64::from((t - b).abs())).sum();
                (sum * sum / columns as f64, row)
            })
            .collect();
        gains.sort_unstable_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        gains.into_iter().map(|(_, row)| row).collect()
    }
}

/// Without repetitions of numbers that do not decrease.
fn unique(numbers: &[usize]) -> impl Iterator<Item = usize> + '_ {
    let fresh = move |i: &usize| *i == 0 || numbers[*i] != numbers[*i - 1];
    (0..numbers.len()).filter(fresh).map(|i| numbers[i])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cut::Delta;

    #[test]
    fn what_a_candidate_says_is_what_its_edit_takes_and_leaves() {
        let (rows, columns) = (40, 24);
        let hash = |i: usize| (i as u32).wrapping_mul(2_654_435_761) as i32 as f32 / 2f32.powi(31);
        let base: Vec<f32> = (0..rows * columns).map(hash).collect();
        // Later rows move more.
        let step = |i: usize| 1e-3 * hash(i + 7) * (1 + i / columns) as f32;
        let tuned: Vec<f32> = base.iter().enumerate().map(|(i, b)| b + step(i)).collect();
        let delta = Delta::between(&base, &tuned, columns, StoreType::F32).unwrap();
        let shape = [rows, columns];
        let exact = TensorEdit { shape: shape.to_vec(), edit: Edit::Delta(delta) };
        let changed = Changed { shape: &shape, base: &base, tuned: &tuned, exact: &exact };
        let squared = |values: &[f32]| -> f64 {
            let pairs = tuned.iter().zip(values);
            pairs.map(|(&t, &v)| (f64::from(t) - f64::from(v)).powi(2)).sum()
        };
        let moved = squared(&base);
        let candidates = changed.candidates().unwrap();
        for candidate in &candidates {
            let edit = changed.edit(candidate.how).unwrap();
            assert_eq!(edit.bytes(), candidate.bytes, "{candidate:?}");
            let mut values = base.clone();
            match edit.change(&base).unwrap() {
                (None, new) => values = new,
                (Some(positions), new) => {
                    positions.iter().zip(new).for_each(|(&p, v)| values[p as usize] = v);
                }
            }
            assert!((squared(&values) - candidate.left).abs() <= 1e-12 * moved, "{candidate:?}");
        }
        let left = |kind: fn(How) -> bool| -> Vec<f64> {
            candidates.iter().filter(|c| kind(c.how)).map(|c| c.left / moved).collect()
        };
        // More entries or rows leave less, and the first are those that matter most.
        let sparse = left(|how| matches!(how, How::Sparse(_)));
        let sign = left(|how| matches!(how, How::Sign(_)));
        assert!(sparse.len() > 2 && sparse.is_sorted_by(|a, b| a > b), "{sparse:?}");
        assert!(sign.len() > 4 && sign.is_sorted_by(|a, b| a > b), "{sign:?}");
        // Of uniform numbers one bit leaves 1 − (1/2)²/(1/3) = 1/4.
        assert!((sign[sign.len() - 1] - 0.25).abs() < 0.03, "{sign:?}");
        assert_eq!(left(|how| how == How::Exact), [0.0]);
        let last_row = changed.edit(How::Sign(1)).unwrap();
        let Edit::Sign(last_row) = last_row.edit else { panic!() };
        assert_eq!(last_row.rows(), [rows as u32 - 1]);
    }
}
