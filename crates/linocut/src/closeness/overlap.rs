//! How much the masks of two cuts have in common, and how much they would by chance.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::magnitudes::Magnitudes;
use super::place::{Part, kind_name, kind_order, place};
use crate::cut::{Cut, Edit, Zeros};

/// The zeros of two cuts compared. `docs/measure.md` defines each figure.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
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
    /// The same of random masks that fall on large entries as often as these do, see
    /// [`Magnitudes`]: two masks that have no more in common than this know no more of each other
    /// than that large entries matter. None where a matrix of the base is not known.
    pub chance_by_magnitude: Option<f64>,
}

/// Overlaps of parts of two cuts, each with its name, in the network's order.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct OverlapByPlace {
    /// Of each layer's matrices.
    pub layers: Vec<(String, Overlap)>,
    /// Of each kind of matrix.
    pub kinds: Vec<(String, Overlap)>,
}

/// Compares the zeros of two cuts over all matrices that one of them has a mask for.
pub fn overlap(first: &Cut, second: &Cut, magnitudes: &Magnitudes) -> Overlap {
    let mut all = Sums::default();
    compare(first, second, magnitudes, |_, sums| all.add(sums));
    all.overlap()
}

/// The same for each layer and for each kind of matrix.
pub fn overlap_by_place(first: &Cut, second: &Cut, magnitudes: &Magnitudes) -> OverlapByPlace {
    let mut layers: BTreeMap<Part, Sums> = BTreeMap::new();
    let mut kinds: BTreeMap<usize, Sums> = BTreeMap::new();
    compare(first, second, magnitudes, |name, sums| {
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
#[derive(Debug, Clone, Copy)]
struct Sums {
    first: u64,
    second: u64,
    both: u64,
    expected_both: f64,
    expected_either: f64,
    by_magnitude: Option<f64>,
}

impl Default for Sums {
    /// Of no matrix.
    fn default() -> Self {
        let (expected_both, expected_either, by_magnitude) = (0.0, 0.0, Some(0.0));
        Self { first: 0, second: 0, both: 0, expected_both, expected_either, by_magnitude }
    }
}

impl Sums {
    fn add(&mut self, other: &Sums) {
        self.first += other.first;
        self.second += other.second;
        self.both += other.both;
        self.expected_both += other.expected_both;
        self.expected_either += other.expected_either;
        self.by_magnitude = self.by_magnitude.zip(other.by_magnitude).map(|(a, b)| a + b);
    }

    fn overlap(&self) -> Overlap {
        let Sums { first, second, both, expected_both, expected_either, by_magnitude } = *self;
        let either = first + second - both;
        let of_any = |value: f64| (either > 0).then_some(value);
        let given = by_magnitude.and_then(|both| of_any(both / ((first + second) as f64 - both)));
        Overlap {
            first,
            second,
            both,
            jaccard: of_any(both as f64 / either as f64),
            chance: of_any(expected_both / expected_either),
            chance_by_magnitude: given,
        }
    }
}

/// Calls `found` with name and counts of every matrix that one of the cuts has a mask for.
fn compare(first: &Cut, second: &Cut, magnitudes: &Magnitudes, mut found: impl FnMut(&str, &Sums)) {
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
            by_magnitude: magnitudes.expected_both(name, len, a, b),
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
    use crate::kernels::random::{Purpose, key, normal, uniform};
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

    /// Two masks drawn independently, an entry zero with a probability that grows with its magnitude,
    /// have in common what is expected given the magnitudes, and several times what is expected of
    /// masks of the same density. A third that copies a fifth of the first has more.
    #[test]
    fn independent_masks_of_large_entries_have_in_common_what_chance_gives() {
        let (mut magnitudes, mut sums) = (Magnitudes::default(), [Sums::default(); 2]);
        for matrix in 0..8 {
            let len = 100_000;
            let weights: Vec<f32> =
                (0..len).map(|i| 0.05 * normal(key(1, Purpose::Head, 0, matrix), i)).collect();
            let name = matrix.to_string();
            magnitudes.add(&name, &weights);
            // A power of the magnitude: two thirds of the zeros fall on a tenth of the entries.
            let drawn = |seed: u64| -> Vec<u32> {
                let stream = key(seed, Purpose::Mask, 0, matrix);
                let zero = |i: &u32| {
                    let p = 0.01 * (f64::from(weights[*i as usize].abs()) / 0.05).powi(3);
                    f64::from(uniform(stream, *i)) < p.min(1.0)
                };
                (0..len).filter(zero).collect()
            };
            let (a, b) = (drawn(2), drawn(3));
            let mut copied: Vec<u32> = b.iter().chain(a.iter().step_by(5)).copied().collect();
            copied.sort_unstable();
            copied.dedup();
            for (sum, b) in sums.iter_mut().zip([&b, &copied]) {
                let (p, q) = (a.len() as f64, b.len() as f64);
                sum.add(&Sums {
                    first: a.len() as u64,
                    second: b.len() as u64,
                    both: common(&a, b),
                    expected_both: p * q / f64::from(len),
                    expected_either: p + q - p * q / f64::from(len),
                    by_magnitude: magnitudes.expected_both(&name, len as usize, &a, b),
                });
            }
        }
        let [independent, copied] = sums.map(|sums| {
            let overlap = sums.overlap();
            let times = |chance: Option<f64>| overlap.jaccard.unwrap() / chance.unwrap();
            (times(overlap.chance_by_magnitude), times(overlap.chance))
        });
        assert!((independent.0 - 1.0).abs() < 0.1, "{independent:?}");
        assert!(independent.1 > 2.0, "{independent:?}");
        assert!(copied.0 > 2.0, "{copied:?}");
        assert_eq!(magnitudes.expected_both("0", 99_999, &[], &[]), None);
        assert_eq!(magnitudes.expected_both("unknown", 100_000, &[], &[]), None);
    }
}
