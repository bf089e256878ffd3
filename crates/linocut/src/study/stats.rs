//! Means, deviations and paired differences over seeds.

use serde::Serialize;

/// A mean difference of pairs with its 95% confidence interval.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Paired {
    /// Pairs.
    pub pairs: usize,
    /// Mean of first − second.
    pub mean: f64,
    /// Half the width of the interval, by Student's t over pairs − 1 degrees of freedom; none
    /// below two pairs.
    pub half: Option<f64>,
}

impl Paired {
    /// Whether the interval lies above 0.
    pub fn is_above_zero(&self) -> bool {
        self.half.is_some_and(|half| self.mean > half)
    }
}

/// Mean and sample deviation (n − 1; none below two); `None` of no values.
pub fn mean_and_deviation(values: &[f64]) -> Option<(f64, Option<f64>)> {
    let n = values.len() as f64;
    if values.is_empty() {
        return None;
    }
    let mean = values.iter().sum::<f64>() / n;
    let squares: f64 = values.iter().map(|v| (v - mean).powi(2)).sum();
    Some((mean, (values.len() > 1).then(|| (squares / (n - 1.0)).sqrt())))
}

/// The differences of `pairs`, first − second; `None` of no pairs.
pub fn paired(pairs: &[(f64, f64)]) -> Option<Paired> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| a - b).collect();
    let (mean, deviation) = mean_and_deviation(&differences)?;
    let n = differences.len();
    let half = deviation.map(|sd| student_t(0.95, n - 1) * sd / (n as f64).sqrt());
    Some(Paired { pairs: n, mean, half })
}

/// The t with P(|T| ≤ t) = `level`, between 0 and 1, under Student's distribution with `degrees`
/// of freedom, at least 1; to about 12 digits.
///
/// # Panics
/// If `level` or `degrees` is out of range.
pub fn student_t(level: f64, degrees: usize) -> f64 {
    assert!(degrees > 0 && level > 0.0 && level < 1.0, "t for {level} and {degrees} degrees");
    let (mut low, mut high) = (0.0, 1.0);
    while within(high, degrees) < level {
        high *= 2.0;
    }
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if within(middle, degrees) < level { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

/// P(|T| ≤ t): Abramowitz & Stegun 26.7.3 and 26.7.4, with θ = atan(t/√ν).
fn within(t: f64, degrees: usize) -> f64 {
    let angle = (t / (degrees as f64).sqrt()).atan();
    let cosine2 = angle.cos().powi(2);
    let even = degrees.is_multiple_of(2);
    let (mut term, mut sum) = (if even { 1.0 } else { angle.cos() }, 0.0);
    let mut i = if even { 0 } else { 1 };
    while i + 2 <= degrees {
        sum += term;
        term *= cosine2 * (i + 1) as f64 / (i + 2) as f64;
        i += 2;
    }
    match even {
        true => angle.sin() * sum,
        false => (angle + angle.sin() * sum) / std::f64::consts::FRAC_PI_2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `scipy.stats.t.ppf(0.975, ν)` and one at another level.
    #[test]
    fn quantiles_are_scipys() {
        for (degrees, want) in [
            (1, 12.706204736174694),
            (2, 4.302652729749462),
            (3, 3.1824463052837078),
            (4, 2.7764451051977934),
            (7, 2.364624251592784),
            (30, 2.0422724563012378),
            (99, 1.9842169515864174),
        ] {
            let got = student_t(0.95, degrees);
            assert!((got / want - 1.0).abs() < 1e-9, "{degrees}: {got} {want}");
        }
    }

    #[test]
    fn differences_are_scipys() {
        // scipy.stats.ttest_rel(a, b).confidence_interval()
        let pairs = [(0.912, 0.934), (0.905, 0.931), (0.921, 0.926), (0.899, 0.935)];
        let got = paired(&pairs).unwrap();
        assert_eq!(got.pairs, 4);
        assert!((got.mean - -0.02225).abs() < 1e-12, "{got:?}");
        assert!((got.half.unwrap() - 0.020558003746253).abs() < 1e-12, "{got:?}");
        assert!(!got.is_above_zero());
        assert_eq!(paired(&pairs[..1]).unwrap().half, None);
        assert_eq!(paired(&[]), None);
        let (mean, deviation) = mean_and_deviation(&[1.0, 2.0, 4.0]).unwrap();
        assert!((mean - 7.0 / 3.0).abs() < 1e-12);
        assert!((deviation.unwrap() - 1.5275252316519465).abs() < 1e-12);
    }
}
