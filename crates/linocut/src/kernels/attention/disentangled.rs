//! Disentangled attention: scores of content and distance. (He et al. 2021, eq. 4)

/// How distances choose rows of a table of `2·span` rows: those up to half of the span one by one, those
/// beyond in ranges that grow by the logarithm, up to the farthest.
/// (`make_log_bucket_position` of Transformers' DeBERTa-v2)
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Buckets {
    /// Rows of each direction.
    pub span: usize,
    /// Where the ranges end; `None` where every distance up to the span has a row of its own.
    pub farthest: Option<usize>,
}

/// The rows of a table of distances that texts of some length choose.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The first row.
    pub first: usize,
    /// How many.
    pub rows: usize,
    /// For every distance, from the farthest behind, the row from `first` on: `[2·longest − 1]`.
    by_distance: Vec<u32>,
    longest: usize,
}

impl Buckets {
    fn of(self, distance: i64) -> i64 {
        let (n, middle) = (distance.abs(), (self.span / 2) as i64);
        match self.farthest {
            Some(farthest) if n > middle => {
                // In float32, as the reference computes it.
                let (n, half) = (n as f32, middle as f32);
                let most = ((farthest as f64 - 1.0) / middle as f64) as f32;
                let share = (n / half).ln() / most.ln() * (middle - 1) as f32;
                (share.ceil() as i64 + middle) * distance.signum()
            }
            _ => distance,
        }
    }

    /// The rows that texts of up to `longest` tokens choose.
    pub fn reached(self, longest: usize) -> Reached {
        let (longest, span) = (longest.max(1) as i64, self.span as i64);
        let row = |distance: i64| (self.of(distance) + span).clamp(0, 2 * span - 1);
        let rows: Vec<i64> = (1 - longest..longest).map(row).collect();
        let first = rows.iter().copied().min().unwrap_or(span);
        let last = rows.iter().copied().max().unwrap_or(span);
        Reached {
            first: first as usize,
            rows: (last - first + 1) as usize,
            by_distance: rows.iter().map(|row| (row - first) as u32).collect(),
            longest: longest as usize,
        }
    }
}

impl Reached {
    /// For every distance, of the token that asks less the one that is read and from the farthest behind on,
    /// the row from `first` on: `[2·longest − 1]`.
    pub fn by_distance(&self) -> &[u32] {
        &self.by_distance
    }

    /// For the token at `asking`, the rows of the distances from every token of a sequence of `len`, from
    /// the last token to the first.
    #[inline(always)]
    pub(super) fn row(&self, asking: usize, len: usize) -> &[u32] {
        // Token j is at distance asking − j.
        &self.by_distance[self.longest + asking - len..][..len]
    }
}

/// Keys and queries of distances, `[reached rows, hidden]`, and who chooses which.
#[derive(Clone, Copy)]
pub struct Disentangled<'a> {
    /// What queries of tokens are multiplied with.
    pub keys: Option<&'a [f32]>,
    /// What keys of tokens are multiplied with.
    pub queries: Option<&'a [f32]>,
    /// Which rows.
    pub reached: &'a Reached,
}

impl Disentangled<'_> {
    /// Products that make up a score, by which its variance grows.
    pub(super) fn terms(&self) -> usize {
        1 + usize::from(self.keys.is_some()) + usize::from(self.queries.is_some())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `make_log_bucket_position` of Transformers 5.23 on every distance up to `most`, by a digest.
    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        for (span, farthest, most, digest) in
            [(256, 512, 600, 844_521_882), (8, 20, 60, 722_252_444), (32, 128, 200, 653_922_750)]
        {
            let buckets = Buckets { span, farthest: Some(farthest) };
            let sum = (-most..=most).fold(0, |sum: u64, distance| {
                (sum * 31 + (buckets.of(distance) + 100_000) as u64) % 1_000_000_007
            });
            assert_eq!(sum, digest, "{span}");
        }
        let plain = Buckets { span: 16, farthest: None };
        assert_eq!((plain.of(12), plain.of(-300)), (12, -300));
    }

    #[test]
    fn short_texts_reach_the_middle_of_the_table() {
        let buckets = Buckets { span: 256, farthest: Some(512) };
        let reached = buckets.reached(5);
        assert_eq!((reached.first, reached.rows), (252, 9));
        // Token 1 of 3 asks: distances 1, 0 and −1, from the last token to the first reversed.
        assert_eq!(reached.row(1, 3), [3, 4, 5]);
        assert_eq!(reached.row(4, 5), [4, 5, 6, 7, 8]);
        let all = buckets.reached(2000);
        assert_eq!((all.first, all.rows), (0, 512));
        assert_eq!(buckets.reached(1).rows, 1);
    }
}
