//! How far is "far": the distance between two random initialisations of the same shapes.

use std::f64::consts::PI;

use super::distance::Figures;
use crate::kernels::difference::{Differences, Entries, differences};
use crate::kernels::random::{Purpose, key, normal};

/// Whether a tensor of these dimensions is drawn at random when a model is initialised: matrices
/// are, biases (0) and the scales and shifts of LayerNorms (1 and 0) are constants.
pub(super) fn is_drawn(shape: &[usize]) -> bool {
    shape.len() >= 2
}

/// What to expect of two independent draws of `entries` entries from N(0, σ²).
///
/// Their difference is N(0, 2σ²), so E|Δ| = 2σ/√π and E Δ² = 2σ². The angle between two independent
/// directions is symmetric about a right angle, whatever the dimension.
pub(super) fn expected(entries: u64, sigma: f64) -> Figures {
    let n = entries as f64;
    let mean_abs = 2.0 * sigma / PI.sqrt();
    Figures {
        entries,
        non_finite: 0,
        changed: 1.0,
        l1: n * mean_abs,
        mean_abs,
        l2: sigma * (2.0 * n).sqrt(),
        relative_l2: Some(std::f64::consts::SQRT_2),
        angular: Some(0.5),
        cosine: Some(0.0),
        max_abs: 2.0 * sigma * expected_maximum(n),
    }
}

/// The expected largest of n values |x|, x ~ N(0, ½): ∫₀^∞ 1 − erf(t)ⁿ dt, by Simpson's rule, whose
/// error of step⁴/180 · |f‴(0)| = 2e-9 for n = 1 vanishes as n grows.
fn expected_maximum(n: f64) -> f64 {
    const STEPS: u32 = 500;
    const END: f64 = 10.0; // n·erfc(10) < 1e-25 for any n below 2⁶⁴
    let above = |t: f64| -(n * (-libm::erfc(t)).ln_1p()).exp_m1();
    let step = END / f64::from(STEPS);
    let weight = |i: u32| if i == 0 || i == STEPS { 1.0 } else { f64::from(2 + 2 * (i % 2)) };
    (0..=STEPS).map(|i| weight(i) * above(f64::from(i) * step)).sum::<f64>() * step / 3.0
}

/// Sums over two draws of `entries` entries from N(0, σ²), a function of the other arguments.
pub(super) fn sampled(
    entries: usize,
    sigma: f64,
    (seed, tensor, chunk): (u64, u64, u64),
    tolerance: f64,
) -> Differences {
    let draw = |side: u64| -> Vec<[u8; 4]> {
        let key = key(seed, Purpose::Baseline, chunk, 2 * tensor + side);
        (0..entries as u32).map(|i| (sigma as f32 * normal(key, i)).to_le_bytes()).collect()
    };
    differences(Entries::F32(&draw(0)), Entries::F32(&draw(1)), tolerance)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expectations_agree_with_many_draws() {
        let (entries, sigma, draws) = (4000, 0.02, 400);
        let want = expected(entries as u64, sigma);
        let found: Vec<Figures> =
            (0..draws).map(|i| Figures::of(&sampled(entries, sigma, (7, i, 0), 0.0))).collect();
        let mean = |f: fn(&Figures) -> f64| found.iter().map(f).sum::<f64>() / draws as f64;
        // The means' standard errors, times 4: σ(|Δ|)/μ = √(π/2 − 1), of the maximum about 8%.
        let near = |got: f64, want: f64, most: f64| {
            assert!((got / want - 1.0).abs() < most, "{got}, expected {want}");
        };
        near(mean(|f| f.mean_abs), want.mean_abs, 4.0 * 0.755 / 1265.0);
        near(mean(|f| f.l2), want.l2, 4.0 * 0.71 / 1265.0);
        near(mean(|f| f.max_abs), want.max_abs, 4.0 * 0.08 / 20.0);
        near(mean(|f| f.angular.unwrap()), 0.5, 4.0 * 2.0 / (PI * 1265.0));
        near(mean(|f| f.relative_l2.unwrap()), want.relative_l2.unwrap(), 4.0 * 0.71 / 1265.0);
        assert_eq!(found[0], Figures::of(&sampled(entries, sigma, (7, 0, 0), 0.0)));
        assert_ne!(found[0], Figures::of(&sampled(entries, sigma, (8, 0, 0), 0.0)));
    }

    #[test]
    fn the_expected_maximum_of_one_is_the_expected_value() {
        assert!((expected_maximum(1.0) - 1.0 / PI.sqrt()).abs() < 3e-9);
        // max(|x|, |y|) has the density 4/√π e^(−t²) erf(t).
        assert!((expected_maximum(2.0) - (2.0f64 / PI).sqrt()).abs() < 3e-9);
    }
}
