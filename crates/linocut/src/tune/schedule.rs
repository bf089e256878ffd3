//! Linear warm-up and linear decay of the learning rates.

/// The factor of the learning rate at `step` (0-based) of `steps`: rising over the first
/// `warmup` steps to 1, then falling in a line; positive at every step, 0 after the last.
pub(super) fn factor(step: usize, warmup: usize, steps: usize) -> f64 {
    if step < warmup {
        (step + 1) as f64 / warmup as f64
    } else {
        (steps - step) as f64 / (steps - warmup) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::factor;

    #[test]
    fn rises_and_falls() {
        let all: Vec<f64> = (0..10).map(|s| factor(s, 2, 10)).collect();
        assert_eq!(all[..4], [0.5, 1.0, 1.0, 0.875]);
        assert_eq!(all[9], 0.125);
        assert_eq!(factor(0, 0, 1), 1.0);
    }
}
