//! Vector code without intrinsics: plain loops, compiled for the instructions found at run time.

/// Runs `f` compiled for the widest vector instructions of this machine (AVX-512, AVX2 with FMA,
/// NEON, or the target's baseline). `f` and all it calls must be `#[inline(always)]`.
#[inline(always)]
pub(super) fn dispatch<R>(f: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(f)
}

/// Entries of the vectors that the reductions below keep side by side.
pub(super) const LANES: usize = 16;

/// e^x to within 2 ulp; 0 below −87.3 and finite above 88.3. Cody–Waite reduction by ln 2, then
/// the degree-6 Taylor polynomial on |r| ≤ ln 2 / 2.
#[inline(always)]
pub(super) fn exp(x: f32) -> f32 {
    // Adding 1.5·2²³ rounds to the nearest integer, which then stands in the lowest bits.
    const ROUND: f32 = 12_582_912.0;
    let x = if x > -87.336_54 { x } else { -87.336_54 };
    let x = if x < 88.376_26 { x } else { 88.376_26 };
    let rounded = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = rounded - ROUND;
    let r = n.mul_add(-0.693_359_4, x);
    let r = n.mul_add(2.121_944_4e-4, r);
    let p = r.mul_add(1.0 / 720.0, 1.0 / 120.0);
    let p = p.mul_add(r, 1.0 / 24.0);
    let p = p.mul_add(r, 1.0 / 6.0);
    let p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let exponent = rounded.to_bits().wrapping_sub(ROUND.to_bits()).wrapping_add(127);
    let scale = f32::from_bits(exponent << 23);
    p * scale
}

/// The logistic function 1 / (1 + e^−x).
#[inline(always)]
pub(super) fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + exp(-x))
}

/// erf(x) to within 4e-7: the rational minimax approximation x·P(x²)/Q(x²) on [−4, 4] that Eigen
/// and XLA use, ±1 beyond.
#[inline(always)]
pub(super) fn erf(x: f32) -> f32 {
    let x = if x > -4.0 { x } else { -4.0 };
    let x = if x < 4.0 { x } else { 4.0 };
    let z = x * x;
    let p = z.mul_add(-2.726_142_3e-10, 2.770_681_4e-8);
    let p = p.mul_add(z, -2.101_024e-6);
    let p = p.mul_add(z, -5.692_506_4e-5);
    let p = p.mul_add(z, -7.349_906_3e-4);
    let p = p.mul_add(z, -2.954_6e-3);
    let p = p.mul_add(z, -1.609_603_3e-2);
    let q = z.mul_add(-1.456_607_2e-5, -2.133_740_6e-4);
    let q = q.mul_add(z, -1.682_827e-3);
    let q = q.mul_add(z, -7.373_329e-3);
    let q = q.mul_add(z, -1.426_473_9e-2);
    x * p / q
}

/// Σ f(i) over `len` in `LANES` running sums, added up at the end.
#[inline(always)]
pub(super) fn sum(len: usize, f: impl Fn(usize) -> f32) -> f32 {
    let mut acc = [0.0f32; LANES];
    let whole = len / LANES * LANES;
    let mut i = 0;
    while i < whole {
        for l in 0..LANES {
            acc[l] += f(i + l);
        }
        i += LANES;
    }
    for j in whole..len {
        acc[j - whole] += f(j);
    }
    let mut width = LANES / 2;
    while width > 0 {
        for l in 0..width {
            acc[l] += acc[l + width];
        }
        width /= 2;
    }
    acc[0]
}

/// The largest entry; −∞ of none.
#[inline(always)]
pub(super) fn maximum(x: &[f32]) -> f32 {
    let mut most = [f32::NEG_INFINITY; LANES];
    let (chunks, rest) = x.as_chunks::<LANES>();
    for chunk in chunks {
        for l in 0..LANES {
            most[l] = if chunk[l] > most[l] { chunk[l] } else { most[l] };
        }
    }
    rest.iter().chain(&most).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_2_ulp_of_float64() {
        let mut x = -87.0f32;
        while x < 88.0 {
            let want = f64::from(x).exp();
            let got = f64::from(dispatch(
                #[inline(always)]
                || exp(x),
            ));
            assert!(((got - want) / want).abs() < 2.4e-7, "exp({x}) = {got}, expected {want}");
            x += 0.003_7;
        }
        assert!(exp(-1e30) < 1.2e-38 && exp(1e30).is_finite());
    }

    #[test]
    fn erf_is_within_4e_7_of_the_series() {
        // erf(x) = 2/√π Σ (−1)ⁿ x^(2n+1) / (n! (2n+1)), in float64 up to |x| = 4.
        let series = |x: f64| {
            let (mut term, mut sum) = (x, x);
            for n in 1..120 {
                term *= -x * x / f64::from(n);
                sum += term / f64::from(2 * n + 1);
            }
            sum * 2.0 / std::f64::consts::PI.sqrt()
        };
        let mut x = -4.0f32;
        while x <= 4.0 {
            let got = f64::from(dispatch(
                #[inline(always)]
                || erf(x),
            ));
            assert!((got - series(f64::from(x))).abs() < 4e-7, "erf({x}) = {got}");
            x += 0.001_3;
        }
        assert_eq!((erf(0.0), erf(9.0) > 0.999_999), (0.0, true));
    }
}
