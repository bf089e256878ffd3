//! Masked weights: scores to effective weights, and the straight-through gradient back.

use super::random;
use super::simd::{dispatch, sigmoid};
use rayon::prelude::*;

const CHUNK: usize = 1 << 14;

/// effective = weight where σ(score − `middle`) exceeds a uniform draw of the stream `key`, else 0: a
/// sample of the paper's Bernoulli mask. All of one length.
pub fn sample(effective: &mut [f32], weight: &[f32], scores: &[f32], middle: f32, key: u64) {
    for_chunks(effective, weight, scores, |at, effective, weight, scores| {
        dispatch(
            #[inline(always)]
            || {
                let n = effective.len();
                let (weight, scores) = (&weight[..n], &scores[..n]);
                for i in 0..n {
                    let kept = random::uniform(key, at + i as u32) < sigmoid(scores[i] - middle);
                    effective[i] = if kept { weight[i] } else { 0.0 };
                }
            },
        );
    });
}

/// effective = weight where score ≥ `least`, else 0.
pub fn threshold(effective: &mut [f32], weight: &[f32], scores: &[f32], least: f32) {
    for_chunks(effective, weight, scores, |_, effective, weight, scores| {
        dispatch(
            #[inline(always)]
            || {
                let n = effective.len();
                let (weight, scores) = (&weight[..n], &scores[..n]);
                for i in 0..n {
                    effective[i] = if scores[i] >= least { weight[i] } else { 0.0 };
                }
            },
        );
    });
}

fn for_chunks(
    effective: &mut [f32],
    weight: &[f32],
    scores: &[f32],
    f: impl Fn(u32, &mut [f32], &[f32], &[f32]) + Sync,
) {
    let chunks = effective.par_chunks_mut(CHUNK).zip(weight.par_chunks(CHUNK));
    chunks.zip(scores.par_chunks(CHUNK)).enumerate().for_each(
        |(i, ((effective, weight), scores))| {
            let n = effective.len();
            f((i * CHUNK) as u32, effective, &weight[..n], &scores[..n]);
        },
    );
}

/// grad of the effective weight → grad of the score, in place: g·w·σ′(score − `middle`), whether
/// the entry was kept or not (straight through).
pub fn score_grad(grad: &mut [f32], weight: &[f32], scores: &[f32], middle: f32) {
    for_chunks(grad, weight, scores, |_, grad, weight, scores| {
        dispatch(
            #[inline(always)]
            || {
                let n = grad.len();
                let (weight, scores) = (&weight[..n], &scores[..n]);
                for i in 0..n {
                    let p = sigmoid(scores[i] - middle);
                    grad[i] *= weight[i] * (p * (1.0 - p));
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Purpose, key};

    #[test]
    fn keeps_as_often_as_the_scores_say() {
        let n = 400_000;
        let weight = vec![2.0; n];
        for (score, middle) in [(-2.0f32, 0.0), (0.0, 0.0), (1.5, 0.0), (-2.0, -3.0)] {
            let mut effective = vec![1.0; n];
            let stream = key(1, Purpose::Mask, 0, 0);
            sample(&mut effective, &weight, &vec![score; n], middle, stream);
            let kept = effective.iter().filter(|&&v| v == 2.0).count() as f64 / n as f64;
            let p = 1.0 / (1.0 + f64::from(middle - score).exp());
            assert!((kept - p).abs() < 0.003, "{kept} {p}");
            assert!(effective.iter().all(|&v| v == 2.0 || v.to_bits() == 0));
        }
    }

    #[test]
    fn threshold_and_gradient() {
        let (weight, scores) = ([1.0, -2.0, 3.0], [0.0, -0.5, 2.0]);
        let mut effective = [9.0; 3];
        threshold(&mut effective, &weight, &scores, 0.0);
        assert_eq!(effective, [1.0, 0.0, 3.0]);
        threshold(&mut effective, &weight, &scores, -0.5);
        assert_eq!(effective, weight);
        let mut grad = [1.0, 1.0, 2.0];
        score_grad(&mut grad, &weight, &scores, 0.0);
        for (i, want) in [0.25, -2.0 * 0.235_003_7, 6.0 * 0.104_993_59].iter().enumerate() {
            assert!((grad[i] - want).abs() < 1e-6, "{grad:?}");
        }
        // What shifts the draw shifts the derivative.
        let mut grad = [1.0, 1.0, 2.0];
        score_grad(&mut grad, &weight, &scores, -2.0);
        for (i, want) in [0.104_993_59, -2.0 * 0.149_146_45, 6.0 * 0.017_662_706].iter().enumerate()
        {
            assert!((grad[i] - want).abs() < 1e-6, "{grad:?}");
        }
    }
}
