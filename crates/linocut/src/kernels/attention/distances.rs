//! Biases of attention by the distance of two tokens.

use super::longest;

/// A bias of every head for every distance of two tokens, made from a table by buckets of distances:
/// half of the buckets for tokens behind the one that asks, half for those before; of each half the
/// first half for single distances, the others for ranges that grow to 128 by the logarithm.
/// (`MPNetEncoder.relative_position_bucket` of Transformers, after T5.)
#[derive(Debug)]
pub struct Distances {
    /// `[heads, 2·longest − 1]`, from the farthest before to the farthest behind.
    biases: Vec<f32>,
    /// The bucket of every distance, `[2·longest − 1]`.
    buckets: Vec<usize>,
    /// The table's column of every head, and the number of its columns.
    columns: Vec<usize>,
    width: usize,
    longest: usize,
    /// Entries of the table.
    table: usize,
}

/// Distances from here on are all in the last bucket.
const FARTHEST: f32 = 128.0;

impl Distances {
    /// Those of `table`, `[buckets, width]`, for the sequences of these offsets: of the heads `kept`, or
    /// of all, which are its columns.
    pub fn new(table: &[f32], width: usize, kept: Option<&[u32]>, offsets: &[usize]) -> Self {
        let longest = longest(offsets);
        let columns: Vec<usize> = match kept {
            Some(kept) => kept.iter().map(|&head| head as usize).collect(),
            None => (0..width).collect(),
        };
        let half = table.len() / width / 2;
        let single = half / 2;
        let bucket = |distance: i64| {
            let (n, side) = (distance.unsigned_abs() as usize, if distance > 0 { half } else { 0 });
            if n < single {
                return side + n;
            }
            // In float32, as the reference computes it.
            let share = (n as f32 / single as f32).ln() / (FARTHEST / single as f32).ln();
            side + (single + (share * (half - single) as f32) as usize).min(half - 1)
        };
        let span = 2 * longest - 1;
        let buckets: Vec<usize> =
            (0..span as i64).map(|i| bucket(i + 1 - longest as i64)).collect();
        let of_head =
            |&head: &usize| buckets.iter().map(move |bucket| table[bucket * width + head]);
        let biases = columns.iter().flat_map(of_head).collect();
        Self { biases, buckets, columns, width, longest, table: table.len() }
    }

    /// All of them, `[heads, 2·longest − 1]`, from the farthest before to the farthest behind.
    pub fn biases(&self) -> &[f32] {
        &self.biases
    }

    /// Biases of `head` for the tokens of a sequence of `len` where token `asking` asks.
    pub(super) fn row(&self, head: usize, asking: usize, len: usize) -> &[f32] {
        &self.biases[self.start(head, asking)..][..len]
    }

    /// Where [`Distances::row`] begins.
    pub(super) fn start(&self, head: usize, asking: usize) -> usize {
        head * self.buckets.len() + self.longest - 1 - asking
    }

    /// Number of biases.
    pub(super) fn len(&self) -> usize {
        self.biases.len()
    }

    /// The gradient of the table, `[buckets, width]`, given those by distance, `[heads, 2·longest − 1]`.
    pub fn table_grad(&self, by_distance: &[f32]) -> Vec<f32> {
        let mut table = vec![0.0; self.table];
        for (i, grad) in by_distance.iter().enumerate() {
            let (head, at) = (i / self.buckets.len(), i % self.buckets.len());
            table[self.buckets[at] * self.width + self.columns[head]] += grad;
        }
        table
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `MPNetEncoder.relative_position_bucket` of Transformers 5.23, on every distance up to 600.
    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        let buckets = Distances::new(&[0.0; 32], 1, None, &[0, 601]).buckets;
        let of = |distance: i64| buckets[(distance + 600) as usize];
        for (distance, bucket) in [
            (-600, 15),
            (-128, 15),
            (-64, 14),
            (-33, 12),
            (-31, 11),
            (-16, 10),
            (-12, 9),
            (-11, 8),
            (-8, 8),
            (-7, 7),
            (0, 0),
            (1, 17),
            (8, 24),
            (12, 25),
            (32, 28),
            (64, 30),
            (91, 31),
        ] {
            assert_eq!(of(distance), bucket, "{distance}");
        }
        let digest = buckets.iter().fold(0, |sum: u64, &b| (sum * 31 + b as u64) % 1_000_000_007);
        assert_eq!(digest, 394_818_959);
    }
}
