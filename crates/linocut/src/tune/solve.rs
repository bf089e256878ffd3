//! The head that fits best, found outright.

use crate::kernels::sums::dot;
use crate::model::{Head, LossTargets};
use std::collections::VecDeque;

/// How much the loss weighs beside the head's size, as scikit-learn's `C`. Of 1, 10 and 100 the best on few rows of
/// most selection tasks tried, and near it on the others (`bench/LOG.md`).
pub(super) const C: f64 = 10.0;

/// Most steps of the solver; some dozens are usual.
const STEPS: usize = 500;
/// Steps that it remembers.
const MEMORY: usize = 10;
/// It ends where the gradient is so short: nothing that a stored head holds changes beyond.
const SHORT: f64 = 1e-6;

/// Losses that differ by less than this share are equal in float32.
const EQUAL: f64 = 1e-6;

/// The head with the least C · Σ loss + ‖W‖² · r² / 2 over all rows of `pooled`, `[rows, hidden]`, where r² is the
/// mean square of the vectors' lengths: logistic regression on vectors of length 1 or so, as
/// `sklearn.linear_model.LogisticRegression`. The bias is free.
///
/// Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.5) from zeros; steps are halved until the loss falls enough or,
/// where it no longer can be told, its slope.
pub(super) fn solve(
    outputs: usize,
    pooled: &[f32],
    hidden: usize,
    targets: LossTargets<'_>,
    row_weights: Option<&[f32]>,
) -> Head {
    let rows = pooled.len() / hidden;
    let square = pooled.iter().map(|&v| f64::from(v) * f64::from(v)).sum::<f64>() / rows as f64;
    // The loss is a mean over rows.
    let decay = square / (C * rows as f64);
    let weights = outputs * hidden;
    let head = |x: &[f64]| {
        let [weight, bias] =
            [&x[..weights], &x[weights..]].map(|part| part.iter().map(|&v| v as f32).collect());
        Head { weight, bias, unit: false }
    };
    let evaluate = |x: &[f64]| {
        let loss = head(x).loss(pooled, targets, row_weights, None, None);
        let mut value = loss.value;
        let grads = loss.weight_grad.iter().chain(&loss.bias_grad);
        let mut grad: Vec<f64> = grads.map(|&g| f64::from(g)).collect();
        for (x, grad) in x[..weights].iter().zip(&mut grad) {
            value += decay * x * x / 2.0;
            *grad += decay * x;
        }
        (value, grad)
    };

    let mut x = vec![0.0; weights + outputs];
    let (mut value, mut grad) = evaluate(&x);
    // The last steps, and what they changed the gradient by.
    let mut memory: VecDeque<(Vec<f64>, Vec<f64>)> = VecDeque::new();
    for _ in 0..STEPS {
        if dot(&grad, &grad).sqrt() < SHORT {
            break;
        }
        let direction = direction(&grad, &memory);
        let slope = dot(&grad, &direction);
        let found = (0..30).find_map(|halvings| {
            let length = 0.5f64.powi(halvings);
            let new: Vec<f64> = x.iter().zip(&direction).map(|(x, d)| x - length * d).collect();
            let (new_value, new_grad) = evaluate(&new);
            let falls = new_value <= value - 1e-4 * length * slope;
            // Near the end float32 cannot tell losses apart any more, but slopes (Hager & Zhang 2005).
            let levels = new_value <= value + EQUAL * value.abs()
                && dot(&new_grad, &direction).abs() <= 0.9 * slope;
            (falls || levels).then_some((new, new_value, new_grad))
        });
        // Nothing is lower within what float32 can tell.
        let Some((new, new_value, new_grad)) = found else { break };
        let step: Vec<f64> = new.iter().zip(&x).map(|(new, x)| new - x).collect();
        let change: Vec<f64> = new_grad.iter().zip(&grad).map(|(new, g)| new - g).collect();
        if dot(&step, &change) > 0.0 {
            memory.push_back((step, change));
            if memory.len() > MEMORY {
                memory.pop_front();
            }
        }
        (x, value, grad) = (new, new_value, new_grad);
    }
    head(&x)
}

/// The gradient times the inverse of the curvature that the last steps showed.
fn direction(grad: &[f64], memory: &VecDeque<(Vec<f64>, Vec<f64>)>) -> Vec<f64> {
    let mut direction = grad.to_vec();
    let mut shares = Vec::with_capacity(memory.len());
    for (step, change) in memory.iter().rev() {
        let share = dot(step, &direction) / dot(step, change);
        add(&mut direction, -share, change);
        shares.push(share);
    }
    if let Some((step, change)) = memory.back() {
        let scale = dot(step, change) / dot(change, change);
        direction.iter_mut().for_each(|d| *d *= scale);
    }
    for ((step, change), share) in memory.iter().zip(shares.into_iter().rev()) {
        let other = dot(change, &direction) / dot(step, change);
        add(&mut direction, share - other, step);
    }
    direction
}

fn add(to: &mut [f64], times: f64, what: &[f64]) {
    to.iter_mut().zip(what).for_each(|(to, what)| *to += times * what);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `LogisticRegression(C=10, tol=1e-10).fit(X / r, y, sample_weight=...)`, its `coef_` over r and its
    /// `intercept_` less their mean.
    #[test]
    fn the_head_is_scikit_learns() {
        let entry = |i: usize, k: usize| {
            (1.3 * i as f64 + 0.7 * (k * k) as f64).sin() + if i % 3 == k { 0.8 } else { 0.0 }
        };
        let pooled: Vec<f32> =
            (0..12).flat_map(|i| (0..3).map(move |k| entry(i, k) as f32)).collect();
        let classes: Vec<u32> = (0..12).map(|i| i % 3).collect();
        let weights: Vec<f32> =
            (0..12).map(|i| if i % 4 == 0 { 2.0 / 1.25 } else { 0.8 }).collect();
        for (weights, weight, bias) in [
            (
                None,
                [
                    1.722528, -1.132217, 0.699241, -2.101461, 1.471238, -1.381562, 0.378933,
                    -0.339021, 0.682322,
                ],
                [-0.354292, 0.246902, 0.10739],
            ),
            (
                Some(&weights[..]),
                [
                    1.832804, -0.927658, 0.697003, -2.15299, 1.483746, -1.28627, 0.320185,
                    -0.556087, 0.589267,
                ],
                [-0.375067, 0.263315, 0.111752],
            ),
        ] {
            let head = solve(3, &pooled, 3, LossTargets::Classes(&classes, None), weights);
            let found = head.weight.iter().chain(&head.bias);
            for (found, want) in found.zip(weight.iter().chain(&bias)) {
                assert!((f64::from(*found) - want).abs() < 2e-4, "{head:?}");
            }
        }
    }

    #[test]
    fn what_cannot_be_told_apart_is_solved_too() {
        // Equal vectors, and one class alone.
        for classes in [[0, 1, 0, 1], [1; 4]] {
            let targets = LossTargets::Classes(&classes, None);
            let head = solve(2, &[1.0, 0.5].repeat(4), 2, targets, None);
            assert!(head.weight.iter().chain(&head.bias).all(|v| v.is_finite()), "{head:?}");
        }
        let targets = LossTargets::Classes(&[0, 1], None);
        let head = solve(2, &[0.0; 4], 2, targets, None);
        assert_eq!(head.weight, [0.0; 4]);
    }
}
