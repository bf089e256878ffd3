//! How sure a score is, and whether one cut is better than another on the same rows.

use super::evaluate::Predictions;
use crate::cut::Decision;
use crate::data::{Dataset, Metric};
use crate::kernels::random::{Purpose, key, splitmix64};
use crate::{Error, ErrorKind, Result};
use rayon::prelude::*;

/// How often rows are drawn for an interval.
const DRAWS: usize = 1000;

/// The middle 95% of what a score is where as many rows are drawn from these, with replacement (Efron's
/// percentile bootstrap). It covers the choice of rows to score on, not that of rows to train on.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Interval {
    /// 2.5% of the scores are lower.
    pub low: f64,
    /// 2.5% are higher.
    pub high: f64,
}

impl Interval {
    /// Of the primary score of `logits` on `data`, as [`super::evaluate`] computes it; none where too few draws
    /// have a score, as those of one row, or all have the same.
    ///
    /// # Errors
    /// As [`super::evaluate`].
    pub fn of(
        data: &Dataset,
        logits: &[f32],
        decision: Option<&Decision>,
        metric: &Metric,
    ) -> Result<Option<Self>> {
        let predictions = Predictions::new(data, logits, decision)?;
        let scores = over_draws(data.rows(), |drawn| {
            Ok(predictions.metrics(Some(drawn), &data.labels, metric)?.primary.value)
        })?;
        Ok(Self::of_scores(scores))
    }

    /// Of the scores of all draws, as far as they are defined.
    fn of_scores(scores: impl IntoIterator<Item = Option<f64>>) -> Option<Self> {
        let mut scores: Vec<f64> = scores.into_iter().flatten().collect();
        if scores.len() < DRAWS / 2 {
            return None;
        }
        scores.sort_by(f64::total_cmp);
        let [low, high] = [0.025, 0.975].map(|share| quantile(&scores, share));
        // Rows that are all right, or all wrong, say nothing of how sure that is.
        (low < high).then_some(Self { low, high })
    }
}

/// What `score` gives for each draw of rows.
fn over_draws<T: Send>(
    rows: usize,
    score: impl Fn(&[usize]) -> Result<T> + Sync,
) -> Result<Vec<T>> {
    (0..DRAWS).into_par_iter().map(|draw| score(&drawn(rows, draw))).collect()
}

/// As many of `rows` as there are, with replacement; the same for every score that is compared.
fn drawn(rows: usize, draw: usize) -> Vec<usize> {
    let stream = key(0, Purpose::Bootstrap, draw as u64, 0);
    // The upper half of a product of 64 bits, as Lemire 2019: no row is likelier than another by 2⁻³².
    let row =
        |i: usize| ((u128::from(splitmix64(stream ^ i as u64)) * rows as u128) >> 64) as usize;
    (0..rows).map(row).collect()
}

/// Between the two nearest of sorted values, as NumPy's default.
fn quantile(sorted: &[f64], share: f64) -> f64 {
    let at = share * (sorted.len() - 1) as f64;
    let (below, part) = (at as usize, at.fract());
    let above = sorted[(below + 1).min(sorted.len() - 1)];
    sorted[below] + part * (above - sorted[below])
}

/// Two tasks' answers to the same rows.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
#[non_exhaustive]
pub struct Comparison {
    /// Key of the metric that they are compared by.
    pub metric: String,
    /// Rows that both answered.
    pub rows: usize,
    /// The score of each, and its interval.
    pub scores: [(Option<f64>, Option<Interval>); 2],
    /// The second score less the first, where both are defined.
    pub difference: Option<f64>,
    /// Of the difference, where both are scored on the same draws of rows.
    pub interval: Option<Interval>,
    /// Where an answer is right or wrong: rows that the first alone has right, and the second alone; of several labels
    /// a row is right if all of them are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alone_right: Option<[usize; 2]>,
    /// How likely numbers at least so far apart are if both are right equally often (McNemar 1947, exact, two-sided:
    /// the binomial test with ½).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p: Option<f64>,
}

/// One side of a comparison: the same rows as the other, with the labels in its own order, its logits and decision.
pub type Side<'a> = (&'a Dataset, &'a [f32], Option<&'a Decision>);

/// Checks that two tasks can be compared on these rows.
///
/// # Errors
/// Other problems, or other numbers of rows.
pub fn can_compare(first: &Dataset, second: &Dataset) -> Result<()> {
    if (first.problem, first.rows()) == (second.problem, second.rows()) {
        return Ok(());
    }
    let of =
        |data: &Dataset| format!("{} on {} rows", serde_json::json!(data.problem), data.rows());
    let message = format!(
        "two tasks are compared on the same rows and problem, found {} and {}",
        of(first),
        of(second)
    );
    Err(Error::new(ErrorKind::Data, message))
}

/// Compares two tasks by their logits on the same rows.
///
/// # Errors
/// As [`super::evaluate`] and [`can_compare`].
pub fn compare(sides: [Side<'_>; 2], metric: &Metric) -> Result<Comparison> {
    let [(first, ..), (second, ..)] = sides;
    can_compare(first, second)?;
    let rows = first.rows();
    let predictions = |(data, logits, decision): Side<'_>| Predictions::new(data, logits, decision);
    let both = [predictions(sides[0])?, predictions(sides[1])?];
    let scores = |drawn: Option<&[usize]>| -> Result<[Option<f64>; 2]> {
        let of = |side: usize| both[side].metrics(drawn, &sides[side].0.labels, metric);
        Ok([of(0)?.primary.value, of(1)?.primary.value])
    };
    let less = |[a, b]: [Option<f64>; 2]| a.zip(b).map(|(a, b)| b - a);
    let all = scores(None)?;
    let draws = over_draws(rows, |drawn| scores(Some(drawn)))?;
    let of =
        |side: usize| (all[side], Interval::of_scores(draws.iter().map(|scores| scores[side])));
    let right = both.each_ref().map(Predictions::right);
    let alone_right = (!right[0].is_empty()).then(|| {
        let alone = |a: usize, b: usize| {
            right[a].iter().zip(&right[b]).filter(|(a, b)| **a && !**b).count()
        };
        [alone(0, 1), alone(1, 0)]
    });
    Ok(Comparison {
        metric: metric.key().to_string(),
        rows,
        scores: [of(0), of(1)],
        difference: less(all),
        interval: Interval::of_scores(draws.iter().map(|scores| less(*scores))),
        alone_right,
        p: alone_right.map(binomial_test),
    })
}

/// Two-sided exact test of ½ for two counts.
fn binomial_test([a, b]: [usize; 2]) -> f64 {
    let n = a + b;
    // Logarithms of n! / (k! (n − k)!) / 2ⁿ, from k = 0 on.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut tail = 0.0;
    for k in 0..=a.min(b) {
        tail += term.exp();
        term += ((n - k) as f64).ln() - ((k + 1) as f64).ln();
    }
    (2.0 * tail).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Problem, Targets};

    /// `scipy.stats.binomtest(a, a + b).pvalue`
    #[test]
    fn the_test_is_scipys() {
        for (counts, want) in [
            ([9, 6], 0.6072387695312499),
            ([0, 0], 1.0),
            ([0, 12], 0.00048828125),
            ([40, 70], 0.005447429511444476),
            ([1500, 1700], 0.00043334035939974455),
        ] {
            let p = binomial_test(counts);
            assert!((p - want).abs() < 1e-9 * want, "{counts:?}: {p}");
        }
    }

    fn data(classes: Vec<u32>) -> Dataset {
        Dataset {
            name: "t".into(),
            problem: Problem::SingleLabel,
            labels: ["no", "yes"].map(String::from).to_vec(),
            texts: vec![String::new(); classes.len()],
            pairs: None,
            targets: Targets::Classes(classes),
            weights: None,
            taught: None,
        }
    }

    /// A mean of 400 draws of 0.75 has a deviation of √(0.75 · 0.25 / 400) = 0.02165.
    #[test]
    fn an_interval_is_as_wide_as_the_rows_say() {
        let data = data((0..400).map(|i| u32::from(i % 4 > 0)).collect());
        let logits = [0.0, 1.0].repeat(400);
        let found = Interval::of(&data, &logits, None, &Metric::Accuracy).unwrap().unwrap();
        assert!((found.low - (0.75 - 1.96 * 0.02165)).abs() < 0.006, "{found:?}");
        assert!((found.high - (0.75 + 1.96 * 0.02165)).abs() < 0.006, "{found:?}");
        let one = super::tests::data(vec![1]);
        assert_eq!(Interval::of(&one, &[0.0, 1.0], None, &Metric::Accuracy).unwrap(), None);
    }

    #[test]
    fn two_tasks_are_compared_row_by_row() {
        let data = data(vec![1; 100]);
        // The first is right on 90 rows, the second on the same and 6 more.
        let right_on = |n: usize| {
            (0..100).flat_map(|i| if i < n { [0.0, 1.0] } else { [1.0, 0.0] }).collect::<Vec<f32>>()
        };
        let (a, b) = (right_on(90), right_on(96));
        let found = compare([(&data, &a, None), (&data, &b, None)], &Metric::Accuracy).unwrap();
        assert!((found.difference.unwrap() - 0.06).abs() < 1e-12);
        assert_eq!(found.alone_right, Some([0, 6]));
        assert!((found.p.unwrap() - 0.03125).abs() < 1e-12);
        // Row by row the difference is surer than by the scores' own intervals, which overlap.
        let [(_, Some(first)), (_, Some(second))] = found.scores else { panic!() };
        assert!(first.high > second.low && found.interval.unwrap().low > 0.0);
        let same = compare([(&data, &a, None), (&data, &a, None)], &Metric::Accuracy).unwrap();
        assert_eq!((same.difference, same.p), (Some(0.0), Some(1.0)));
        assert_eq!(same.interval, None);
    }
}
