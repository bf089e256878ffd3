//! Linear warm-up and linear decay of the learning rates; how a target's zeros grow.

/// The factor of the learning rate at `step` (0-based) of `steps`: rising over the first
/// `warmup` steps to 1, then falling in a line; positive at every step, 0 after the last.
pub(super) fn factor(step: usize, warmup: usize, steps: usize) -> f64 {
    if step < warmup {
        (step + 1) as f64 / warmup as f64
    } else {
        (steps - step) as f64 / (steps - warmup) as f64
    }
}

/// The share, 0 to 1, of a target's zeros that are zero at `step` (0-based) of `steps`: none during
/// the warm-up, then 1 − (1 − x)³ (Zhu & Gupta 2017, eq. 1), all for the last two warm-ups' length,
/// as movement pruning does (Sanh et al. 2020).
pub(super) fn zeros(step: usize, warmup: usize, steps: usize) -> f64 {
    let end = steps.saturating_sub(2 * warmup).max(warmup + 1);
    let passed = step.saturating_sub(warmup) as f64 / (end - warmup) as f64;
    1.0 - (1.0 - passed.min(1.0)).powi(3)
}

#[cfg(test)]
mod tests {
    use super::{factor, zeros};

    #[test]
    fn rises_and_falls() {
        let all: Vec<f64> = (0..10).map(|s| factor(s, 2, 10)).collect();
        assert_eq!(all[..4], [0.5, 1.0, 1.0, 0.875]);
        assert_eq!(all[9], 0.125);
        assert_eq!(factor(0, 0, 1), 1.0);
    }

    #[test]
    fn zeros_grow_as_a_cubic() {
        let all: Vec<f64> = (0..10).map(|s| zeros(s, 1, 10)).collect();
        assert_eq!(all[..2], [0.0, 0.0]);
        // Seven steps from the end of the warm-up to two warm-ups before the end.
        assert!((all[4] - (1.0 - (4.0f64 / 7.0).powi(3))).abs() < 1e-12);
        assert_eq!(all[8..], [1.0, 1.0]);
        assert!(all.windows(2).all(|w| w[0] <= w[1]));
        // Nothing but warm-up: the finished mask alone has them.
        assert_eq!(zeros(9, 10, 10), 0.0);
    }
}
