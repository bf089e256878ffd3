//! How much the masks of two cuts have in common, and how much they would by chance.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::place::{Part, kind_name, kind_order, place};
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

/// Overlaps of parts of two cuts, each with its name, in the network's order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct OverlapByPlace {
    /// Of each layer's matrices.
    pub layers: Vec<(String, Overlap)>,
    /// Of each kind of matrix.
    pub kinds: Vec<(String, Overlap)>,
}

/// Compares the zeros of two cuts over all matrices that one of them has a mask for.
pub fn overlap(first: &Cut, second: &Cut) -> Overlap {
    let mut all = Sums::default();
    compare(first, second, |_, sums| all.add(sums));
    all.overlap()
}

/// The same for each layer and for each kind of matrix.
pub fn overlap_by_place(first: &Cut, second: &Cut) -> OverlapByPlace {
    let mut layers: BTreeMap<Part, Sums> = BTreeMap::new();
    let mut kinds: BTreeMap<usize, Sums> = BTreeMap::new();
    compare(first, second, |name, sums| {
        let (part, kind) = place(name);
        layers.entry(part).or_default().add(sums);
        kinds.entry(kind_order(kind)).or_default().add(sums);
    });
    OverlapByPlace {
        layers: layers.iter().map(|(part, sums)| (part.to_string(), sums.overlap())).collect(),
        kinds: kinds.iter().map(|(kind, sums)| (kind_name(*kind), sums.overlap())).collect(),
    }
}

/// Counts of one matrix or of several.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    first: u64,
    second: u64,
    both: u64,
    expected_both: f64,
    expected_either: f64,
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.first += other.first;
        self.second += other.second;
        self.both += other.both;
        self.expected_both += other.expected_both;
        self.expected_either += other.expected_either;
    }

    fn overlap(&self) -> Overlap {
        let Sums { first, second, both, expected_both, expected_either } = *self;
        let either = first + second - both;
        let (jaccard, chance) = match either {
            0 => (None, None),
            _ => (Some(both as f64 / either as f64), Some(expected_both / expected_either)),
        };
        Overlap { first, second, both, jaccard, chance }
    }
}

/// Calls `found` with name and counts of every matrix that one of the cuts has a mask for.
fn compare(first: &Cut, second: &Cut, mut found: impl FnMut(&str, &Sums)) {
    let names = first.edits().keys().chain(second.edits().keys());
    for name in names.collect::<BTreeSet<_>>() {
        let (a, b) = (zeros(first, name), zeros(second, name));
        let Some(len) = a.or(b).map(Zeros::len) else { continue };
        let (a, b) = (a.map_or(&[][..], Zeros::positions), b.map_or(&[][..], Zeros::positions));
        let (p, q) = (a.len() as f64 / len as f64, b.len() as f64 / len as f64);
        let sums = Sums {
            first: a.len() as u64,
            second: b.len() as u64,
            both: common(a, b),
            expected_both: len as f64 * p * q,
            expected_either: len as f64 * (p + q - p * q),
        };
        found(name, &sums);
    }
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
