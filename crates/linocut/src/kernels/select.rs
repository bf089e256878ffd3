//! The smallest of many numbers, without sorting them.

use rayon::prelude::*;

/// Numbers that one task counts: a histogram of its own must pay for itself.
const CHUNK: usize = 1 << 18;
const BINS: usize = 1 << 16;

/// The bits of `v` in the order of the numbers: a < b exactly if its are below b's. −0 and +0 are
/// one number.
fn ordered(v: f32) -> u32 {
    let bits = (v + 0.0).to_bits();
    if bits >> 31 == 0 { bits | 1 << 31 } else { !bits }
}

fn number(ordered: u32) -> f32 {
    f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
}

/// The number of rank `k`, from 0, among all of `parts`, and how many are smaller.
///
/// Two counting passes of 16 bits each, so that time is linear and the result exact; counts do not
/// depend on the number of threads.
///
/// # Panics
/// If there are not more than `k` numbers. They must not be NaN.
pub fn kth_smallest(parts: &[&[f32]], k: usize) -> (f32, usize) {
    let high = |v: f32| Some(ordered(v) >> 16);
    let (bin, below) = bin_of(&histogram(parts, high), k);
    let low = |v: f32| (ordered(v) >> 16 == bin).then(|| ordered(v) & 0xFFFF);
    let (low, within) = bin_of(&histogram(parts, low), k - below);
    (number(bin << 16 | low), below + within)
}

/// The bin that holds rank `k`, and how many lie in those before it.
fn bin_of(counts: &[u32], k: usize) -> (u32, usize) {
    let mut below = 0;
    for (bin, &count) in counts.iter().enumerate() {
        if below + count as usize > k {
            return (bin as u32, below);
        }
        below += count as usize;
    }
    panic!("rank {k} among {below} numbers");
}

fn histogram(parts: &[&[f32]], bin: impl Fn(f32) -> Option<u32> + Sync) -> Vec<u32> {
    let count = |mut counts: Vec<u32>, chunk: &[f32]| {
        for &v in chunk {
            if let Some(bin) = bin(v) {
                counts[bin as usize] += 1;
            }
        }
        counts
    };
    let add = |mut a: Vec<u32>, b: Vec<u32>| {
        a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        a
    };
    let zero = || vec![0; BINS];
    let chunks: Vec<&[f32]> = parts.iter().flat_map(|part| part.chunks(CHUNK)).collect();
    chunks.into_par_iter().fold(zero, count).reduce(zero, add)
}

/// The `n` indices below `len` that `by` puts first, ascending; of equals those that come first.
///
/// # Panics
/// If `n` is above `len`, or `len` above 2³².
pub fn first_by<K: Ord>(len: usize, n: usize, by: impl Fn(u32) -> K) -> Vec<u32> {
    let mut order: Vec<u32> =
        (0..len).map(|i| u32::try_from(i).expect("an index of 32 bits")).collect();
    if n > 0 {
        order.select_nth_unstable_by_key(n - 1, |&i| (by(i), i));
    }
    order.truncate(n);
    order.sort_unstable();
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;

    #[test]
    fn the_first_of_equals() {
        let keys = [3, 1, 2, 1, 1, 0];
        let first = |n| first_by(keys.len(), n, |i| keys[i as usize]);
        assert!(first(0).is_empty());
        assert_eq!(first(3), [1, 3, 5]);
        assert_eq!(first(6), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn agrees_with_sorting() {
        let mut a: Vec<f32> = (0..5000).map(|i| normal(1, i)).collect();
        a[7..20].fill(0.0);
        a[20..30].fill(-0.0);
        let b: Vec<f32> = (0..300).map(|i| 1e-30 * normal(2, i) - 6.0).collect();
        let mut sorted = [&a[..], &b].concat();
        sorted.sort_by(f32::total_cmp);
        for k in [0, 1, 299, 300, 2500, 2810, 5298, 5299] {
            let (found, below) = kth_smallest(&[&a, &b], k);
            assert_eq!(found, sorted[k], "rank {k}");
            assert_eq!(below, sorted.iter().filter(|v| **v < found).count());
        }
    }
}
