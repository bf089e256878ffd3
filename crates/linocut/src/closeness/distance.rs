//! Distances between two vectors, from the sums of one pass.

use std::f64::consts::PI;

use serde::Serialize;

use crate::kernels::difference::Differences;

/// How far a tensor, or a group of tensors taken as one vector, moved from u (base) to v (tuned).
///
/// With Δ = v − u over the entries that are finite in both. `docs/measure.md` defines each figure.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Figures {
    /// Entries compared.
    pub entries: u64,
    /// Entries left out because one side is NaN or infinite.
    pub non_finite: u64,
    /// Share of the entries with |Δ| above the tolerance, 0 to 1 (L0).
    pub changed: f64,
    /// Σ|Δ|.
    pub l1: f64,
    /// Σ|Δ| / entries.
    pub mean_abs: f64,
    /// √Σ Δ².
    pub l2: f64,
    /// ‖Δ‖ / ‖u‖; none where u is zero.
    pub relative_l2: Option<f64>,
    /// The angle between u and v over π, 0 to 1; none where one of them is zero.
    pub angular: Option<f64>,
    /// The cosine of that angle, −1 to 1.
    pub cosine: Option<f64>,
    /// max |Δ|.
    pub max_abs: f64,
}

impl Figures {
    /// The figures that these sums give.
    pub fn of(sums: &Differences) -> Self {
        let angle = angle(sums.before, sums.after, sums.squares, sums.cross);
        let share = |x: f64| if sums.entries == 0 { 0.0 } else { x / sums.entries as f64 };
        Self {
            entries: sums.entries,
            non_finite: sums.non_finite,
            changed: share(sums.changed as f64),
            l1: sums.absolute,
            mean_abs: share(sums.absolute),
            l2: sums.squares.sqrt(),
            relative_l2: (sums.before > 0.0).then(|| (sums.squares / sums.before).sqrt()),
            angular: angle.map(|angle| angle / PI),
            cosine: angle.map(f64::cos),
            max_abs: sums.largest,
        }
    }
}

/// The angle between u and v, 0 to π, from a = Σu², b = Σv², d = Σ(u − v)² and
/// e = Σ(u − v)(u + v); none where one of them is the zero vector.
///
/// sin²(θ/2) = (d − (√a − √b)²) / (4 √a √b), with √a − √b = e / (√a + √b). The arccosine of a
/// cosine near 1 would lose every angle below about 1e-8; here an angle keeps its leading digits
/// down to 1e-8 times the relative change of length. Only near π, which is of no interest here, are
/// angles known to no more than 1e-8.
pub fn angle(a: f64, b: f64, d: f64, e: f64) -> Option<f64> {
    let (a, b) = (a.sqrt(), b.sqrt());
    if a == 0.0 || b == 0.0 {
        return None;
    }
    let lengths = e / (a + b);
    let sine = ((d - lengths * lengths) / (4.0 * a * b)).clamp(0.0, 1.0);
    Some(2.0 * sine.sqrt().asin())
}

/// A figure that tables, heat maps and limits go by: larger is further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distance {
    /// [`Figures::angular`]
    Angular,
    /// [`Figures::relative_l2`]
    RelativeL2,
    /// [`Figures::mean_abs`]
    MeanAbs,
    /// [`Figures::l1`]
    L1,
    /// [`Figures::l2`]
    L2,
    /// [`Figures::max_abs`]
    MaxAbs,
    /// [`Figures::changed`]
    Changed,
}

impl Distance {
    /// All of them.
    pub const ALL: [Distance; 7] = [
        Distance::Angular,
        Distance::RelativeL2,
        Distance::MeanAbs,
        Distance::L1,
        Distance::L2,
        Distance::MaxAbs,
        Distance::Changed,
    ];

    /// Its name on the command line and in reports: the field's of [`Figures`].
    pub fn name(self) -> &'static str {
        match self {
            Distance::Angular => "angular",
            Distance::RelativeL2 => "relative_l2",
            Distance::MeanAbs => "mean_abs",
            Distance::L1 => "l1",
            Distance::L2 => "l2",
            Distance::MaxAbs => "max_abs",
            Distance::Changed => "changed",
        }
    }

    /// Its value among `figures`; none where it is undefined.
    pub fn of(self, figures: &Figures) -> Option<f64> {
        match self {
            Distance::Angular => figures.angular,
            Distance::RelativeL2 => figures.relative_l2,
            Distance::MeanAbs => Some(figures.mean_abs),
            Distance::L1 => Some(figures.l1),
            Distance::L2 => Some(figures.l2),
            Distance::MaxAbs => Some(figures.max_abs),
            Distance::Changed => Some(figures.changed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::difference::{Entries, differences};
    use proptest::prelude::*;

    fn sums(u: &[f32], v: &[f32]) -> Differences {
        let bytes = |x: &[f32]| x.iter().map(|v| v.to_le_bytes()).collect::<Vec<_>>();
        differences(Entries::F32(&bytes(u)), Entries::F32(&bytes(v)), 0.0)
    }

    fn figures(u: &[f32], v: &[f32]) -> Figures {
        Figures::of(&sums(u, v))
    }

    #[test]
    fn angles_that_are_known() {
        let angular = |u: &[f32], v: &[f32]| figures(u, v).angular.unwrap();
        assert!((angular(&[1.0, 0.0], &[0.0, 5.0]) - 0.5).abs() < 2e-16);
        // Near opposite directions the arcsine has an infinite slope: half the digits.
        assert!((angular(&[1.0, 2.0], &[-1.0, -2.0]) - 1.0).abs() < 2e-8);
        assert_eq!(angular(&[3.0, 4.0], &[6.0, 8.0]), 0.0);
        assert!((angular(&[1.0, 0.0], &[1.0, 1.0]) - 0.25).abs() < 1e-16);
        // tan θ = 1e-7, to all digits.
        let small = angular(&[1.0, 0.0], &[1.0, 1e-7]) * PI;
        assert!((small / f64::from(1e-7f32).atan() - 1.0).abs() < 1e-14, "{small}");
    }

    #[test]
    fn a_zero_vector_has_no_angle() {
        for (u, v) in [([0.0, 0.0], [1.0, 0.0]), ([1.0, 0.0], [0.0, -0.0]), ([0.0; 2], [0.0; 2])] {
            let figures = figures(&u, &v);
            assert_eq!((figures.angular, figures.cosine), (None, None));
        }
        let none = figures(&[], &[]);
        assert_eq!((none.entries, none.mean_abs, none.relative_l2), (0, 0.0, None));
    }

    proptest! {
        #[test]
        fn invariants(pairs in prop::collection::vec((-9.0f32..9.0, -9.0f32..9.0), 1..80), shift in -20i32..20) {
            let (u, v): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
            let there = figures(&u, &v);
            let back = figures(&v, &u);
            // Symmetric in all but what is relative to the base.
            prop_assert_eq!(Figures { relative_l2: back.relative_l2, ..there }, back);
            // Nothing is apart from itself.
            let same = figures(&u, &u);
            prop_assert_eq!((same.l1, same.l2, same.max_abs, same.changed), (0.0, 0.0, 0.0, 0.0));
            prop_assert_eq!(same.angular, there.angular.map(|_| 0.0));
            // A power of two scales lengths exactly and leaves angles and shares.
            let factor = 2f32.powi(shift);
            let scale = |x: &[f32]| x.iter().map(|x| x * factor).collect::<Vec<_>>();
            let scaled = figures(&scale(&u), &scale(&v));
            let factor = f64::from(factor);
            let (l1, l2, max_abs) = (there.l1 * factor, there.l2 * factor, there.max_abs * factor);
            let mean_abs = there.mean_abs * factor;
            prop_assert_eq!(scaled, Figures { l1, l2, max_abs, mean_abs, ..there });
            // ‖Δ‖ ≤ Σ|Δ| ≤ √n ‖Δ‖, and max|Δ| ≤ ‖Δ‖.
            let n = there.entries as f64;
            let most = there.l2 * (1.0 + 1e-14);
            prop_assert!(there.max_abs <= most && there.l2 <= there.l1 * (1.0 + 1e-14));
            prop_assert!(there.l1 <= n.sqrt() * most);
        }

        #[test]
        fn sums_do_not_depend_on_where_they_are_cut(pairs in prop::collection::vec((-9i8..9, -9i8..9), 0..80), at in 0usize..80) {
            let (u, v): (Vec<f32>, Vec<f32>) =
                pairs.into_iter().map(|(u, v)| (f32::from(u), f32::from(v))).unzip();
            let at = at.min(u.len());
            let mut parts = sums(&u[..at], &v[..at]);
            parts.add(&sums(&u[at..], &v[at..]));
            prop_assert_eq!(parts, sums(&u, &v)); // whole numbers: every sum is exact
        }
    }
}
