//! The scores behind a task's masks.

use crate::kernels::mask;
use crate::kernels::random::{Purpose, key};
use crate::model::{Layout, Weights};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// How a training step turns scores into a mask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sampling {
    /// Entry kept with probability σ(score): the paper's Bernoulli masks.
    Stochastic,
    /// Entry kept where score ≥ 0.
    Threshold,
}

/// Scores of the masked matrices, and the base's entries behind them. All of them lie back to
/// back in the order of the layout, as their gradients in [`crate::model::Grads::dense`].
#[derive(Debug)]
pub struct Masks {
    /// Index in the layout of every masked matrix, ascending.
    tensors: Vec<usize>,
    base: Vec<f32>,
    /// Real scores; an entry is kept where score ≥ 0.
    pub scores: Vec<f32>,
    sampling: Sampling,
    seed: u64,
}

impl Masks {
    /// Scores ±`scale` for the matrices that `marks` flags: − for the `sparsity` share of each
    /// that is smallest in magnitude (ties by index), the paper's soft magnitude initialisation.
    pub fn new(
        weights: &Weights,
        marks: &[bool],
        sampling: Sampling,
        (scale, sparsity): (f32, f64),
        seed: u64,
    ) -> Self {
        let tensors: Vec<usize> = (0..marks.len()).filter(|&i| marks[i]).collect();
        let mut base = Vec::new();
        for &i in &tensors {
            base.extend_from_slice(weights.at(i));
        }
        let initial: Vec<Vec<f32>> = tensors
            .par_iter()
            .map(|&i| {
                let weight = weights.at(i);
                let mut order: Vec<u32> = (0..weight.len() as u32).collect();
                let pruned = (sparsity * weight.len() as f64).floor() as usize;
                let by_magnitude = |a: &u32, b: &u32| {
                    let magnitude = |i: u32| weight[i as usize].abs();
                    magnitude(*a).total_cmp(&magnitude(*b)).then(a.cmp(b))
                };
                let mut scores = vec![scale; weight.len()];
                if pruned > 0 {
                    order.select_nth_unstable_by(pruned - 1, by_magnitude);
                    for &i in &order[..pruned] {
                        scores[i as usize] = -scale;
                    }
                }
                scores
            })
            .collect();
        Self { tensors, base, scores: initial.concat(), sampling, seed }
    }

    /// The masked matrices' indices in the layout.
    pub fn tensors(&self) -> &[usize] {
        &self.tensors
    }

    /// Effective weights of training step `step` into `weights`.
    pub fn write_sample(&self, weights: &mut Weights, step: u64) {
        let (sampling, seed) = (self.sampling, self.seed);
        self.write(weights, |i, effective, base, scores| match sampling {
            Sampling::Stochastic => {
                mask::sample(effective, base, scores, key(seed, Purpose::Mask, step, i as u64));
            }
            Sampling::Threshold => mask::threshold(effective, base, scores),
        });
    }

    /// Effective weights of the finished mask, score ≥ 0, into `weights`.
    pub fn write_final(&self, weights: &mut Weights) {
        self.write(weights, |_, effective, base, scores| {
            mask::threshold(effective, base, scores);
        });
    }

    /// The base's own entries back into `weights`.
    pub fn write_base(&self, weights: &mut Weights) {
        self.write(weights, |_, effective, base, _| effective.copy_from_slice(base));
    }

    fn write(&self, weights: &mut Weights, f: impl Fn(usize, &mut [f32], &[f32], &[f32])) {
        let mut start = 0;
        for &i in &self.tensors {
            let effective = weights.at_mut(i);
            let range = start..start + effective.len();
            start = range.end;
            f(i, effective, &self.base[range.clone()], &self.scores[range]);
        }
    }

    /// Turns gradients of the effective weights into those of the scores.
    pub fn score_grads(&self, grads: &mut [f32]) {
        mask::score_grad(grads, &self.base, &self.scores);
    }

    /// Scores of every masked matrix, with its index in the layout.
    pub fn per_tensor<'a>(
        &'a self,
        layout: &'a Layout,
    ) -> impl Iterator<Item = (usize, &'a [f32])> {
        self.ranges(layout).map(|(i, range)| (i, &self.scores[range]))
    }

    /// Where each masked matrix lies in the scores, with its index in the layout.
    pub(super) fn ranges<'a>(
        &'a self,
        layout: &'a Layout,
    ) -> impl Iterator<Item = (usize, Range<usize>)> {
        let mut start = 0;
        self.tensors.iter().map(move |&i| {
            let range = start..start + layout.tensors()[i].range.len();
            start = range.end;
            (i, range)
        })
    }

    /// Share of entries now below 0.
    pub fn sparsity(&self) -> f64 {
        let zeros: usize =
            self.scores.par_chunks(1 << 16).map(|s| s.iter().filter(|&&s| s < 0.0).count()).sum();
        zeros as f64 / self.scores.len().max(1) as f64
    }
}
