//! How much the masks of two cuts have in common, and how much they would by chance.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use serde::Serialize;

use crate::cut::{Cut, Edit, Zeros};

/// The zeros of two cuts compared. `docs/measure.md` defines each figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Overlap {
    /// Zeros of the first.
    pub first: u64,
    /// Zeros of the second.
    pub second: u64,
    /// Entries that are zeros of both.
    pub both: u64,
    /// Zeros of both over zeros of either, 0 to 1; none where neither has any.
    pub jaccard: Option<f64>,
    /// What to expect of masks drawn at random with the same density in every matrix: expected
    /// zeros of both over expected zeros of either.
    pub chance: Option<f64>,
}

/// Compares the zeros of two cuts over all matrices that one of them has a mask for.
pub fn overlap(first: &Cut, second: &Cut) -> Overlap {
    let mut sums = Overlap::default();
    let (mut expected_both, mut expected_either) = (0.0, 0.0);
    let names = first.edits().keys().chain(second.edits().keys());
    for name in names.collect::<BTreeSet<_>>() {
        let (a, b) = (zeros(first, name), zeros(second, name));
        let Some(len) = a.or(b).map(Zeros::len) else { continue };
        let (a, b) = (a.map_or(&[][..], Zeros::positions), b.map_or(&[][..], Zeros::positions));
        sums.first += a.len() as u64;
        sums.second += b.len() as u64;
        sums.both += common(a, b);
        let (p, q) = (a.len() as f64 / len as f64, b.len() as f64 / len as f64);
        expected_both += len as f64 * p * q;
        expected_either += len as f64 * (p + q - p * q);
    }
    let either = sums.first + sums.second - sums.both;
    if either > 0 {
        sums.jaccard = Some(sums.both as f64 / either as f64);
        sums.chance = Some(expected_both / expected_either);
    }
    sums
}

fn zeros<'a>(cut: &'a Cut, name: &str) -> Option<&'a Zeros> {
    match &cut.edits().get(name)?.edit {
        Edit::Zeros(zeros) => Some(zeros),
        _ => None,
    }
}

/// How many numbers are in both; each list increases.
fn common(a: &[u32], b: &[u32]) -> u64 {
    let (mut i, mut j, mut count) = (0, 0, 0);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        match x.cmp(y) {
            Ordering::Less => i += 1,
            Ordering::Greater => j += 1,
            Ordering::Equal => (i, j, count) = (i + 1, j + 1, count + 1),
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn common_positions_are_the_intersection(
            a in prop::collection::btree_set(0u32..60, 0..40),
            b in prop::collection::btree_set(0u32..60, 0..40),
        ) {
            let list = |set: &BTreeSet<u32>| set.iter().copied().collect::<Vec<_>>();
            prop_assert_eq!(common(&list(&a), &list(&b)), a.intersection(&b).count() as u64);
        }
    }
}
