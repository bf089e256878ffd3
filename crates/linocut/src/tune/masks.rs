//! The scores behind a task's masks.

use crate::kernels::mask;
use crate::kernels::random::{Purpose, key};
use crate::kernels::select::{first_by, kth_smallest};
use crate::model::{Layout, Weights};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
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

/// A share of zeros that the finished masks have exactly: the entries of lowest score below 0 and,
/// where these are too few, the smallest of the others.
///
/// In training, [`Sampling::Stochastic`] draws masks around the score where a mask has that share,
/// but never above 0; under [`Sampling::Threshold`] the share grows from 0 as a cubic (Zhu & Gupta
/// 2017, eq. 1), as in movement pruning (Sanh et al. 2020).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Target {
    /// The share of zeros, between 0 and 1, both excluded.
    pub sparsity: f64,
    /// Where entries compete.
    pub scope: Scope,
}

/// Which entries a share of zeros is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Of every matrix alike.
    Matrix,
    /// Of all masked matrices together: some may have many zeros, some none.
    Global,
}

/// Which entries of one matrix are zero: those with a rank below `least`, and of those equal to it
/// the first `ties`.
#[derive(Debug, Clone, Copy)]
struct Cutoff {
    least: f32,
    ties: usize,
}

/// Where scores start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Start {
    /// Scores are ± this.
    pub scale: f32,
    /// Share of each matrix whose scores start below 0: the smallest in magnitude, the paper's soft
    /// magnitude initialisation.
    pub sparsity: f64,
    /// Share of each matrix that may become zero: the largest in magnitude. The scores of all others
    /// are infinite, and stay so.
    pub candidates: f64,
}

/// Where no share is asked for: an entry is kept where score ≥ 0.
const AT_ZERO: Cutoff = Cutoff { least: 0.0, ties: 0 };

/// Scores of the masked matrices, and the base's entries behind them. All of them lie back to
/// back in the order of the layout, as their gradients in [`crate::model::Grads::dense`].
#[derive(Debug)]
pub struct Masks {
    /// Index in the layout of every masked matrix, ascending.
    tensors: Vec<usize>,
    /// Their entries.
    lengths: Vec<usize>,
    base: Vec<f32>,
    /// Real scores; a finished mask keeps an entry where score ≥ 0, or see [`Target`].
    pub scores: Vec<f32>,
    sampling: Sampling,
    target: Option<Target>,
    seed: u64,
}

impl Masks {
    /// Scores for the matrices that `marks` flags. Entries of equal magnitude start below 0 in the
    /// order of their places, and are candidates all or none.
    pub fn new(
        weights: &Weights,
        marks: &[bool],
        (sampling, target): (Sampling, Option<Target>),
        start: Start,
        seed: u64,
    ) -> Self {
        let tensors: Vec<usize> = (0..marks.len()).filter(|&i| marks[i]).collect();
        let lengths = tensors.iter().map(|&i| weights.at(i).len()).collect();
        let mut base = Vec::new();
        for &i in &tensors {
            base.extend_from_slice(weights.at(i));
        }
        let initial: Vec<Vec<f32>> = tensors
            .par_iter()
            .map(|&i| {
                let (weight, scale) = (weights.at(i), start.scale);
                let share = |share: f64| (share * weight.len() as f64).floor() as usize;
                // The bits of numbers without sign are in the numbers' order.
                let smallest = first_by(weight.len(), share(start.sparsity), |i| {
                    weight[i as usize].abs().to_bits()
                });
                let mut scores = vec![scale; weight.len()];
                smallest.into_iter().for_each(|i| scores[i as usize] = -scale);
                let others = share(1.0 - start.candidates);
                if others > 0 {
                    let magnitudes: Vec<f32> = weight.iter().map(|w| w.abs()).collect();
                    let (least, _) = kth_smallest(&[&magnitudes], others.min(weight.len() - 1));
                    let too_small = magnitudes.iter().zip(&mut scores).filter(|(w, _)| **w < least);
                    too_small.for_each(|(_, score)| *score = f32::INFINITY);
                }
                scores
            })
            .collect();
        Self { tensors, lengths, base, scores: initial.concat(), sampling, target, seed }
    }

    /// The masked matrices' indices in the layout.
    pub fn tensors(&self) -> &[usize] {
        &self.tensors
    }

    /// Effective weights of training step `step` into `weights`. `progress`, 0 to 1, is how much of
    /// a target's share is zero by now where masks are not drawn. Returns for every matrix the score
    /// at which an entry is as likely kept as not, for [`Masks::score_grads`]: 0 but where a target
    /// shifts the draw. Without draws it is 0 too: the derivative stands in for that of a step, and
    /// falls off from where scores change sign.
    pub fn write_sample(&self, weights: &mut Weights, step: u64, progress: f64) -> Vec<f32> {
        let ranks = self.ranks();
        let cutoffs = self.cutoffs_in_training(&ranks, progress);
        match self.sampling {
            Sampling::Threshold => {
                self.write_by(&ranks, &cutoffs, weights);
                vec![0.0; cutoffs.len()]
            }
            Sampling::Stochastic => {
                let middles: Vec<f32> = cutoffs.iter().map(|cutoff| cutoff.least).collect();
                let mut each = middles.iter();
                self.write(weights, |i, effective, base, scores| {
                    let Some(&middle) = each.next() else { return };
                    let stream = key(self.seed, Purpose::Mask, step, i as u64);
                    mask::sample(effective, base, scores, middle, stream);
                });
                middles
            }
        }
    }

    /// Effective weights of the finished mask into `weights`.
    pub fn write_final(&self, weights: &mut Weights) {
        let ranks = self.ranks();
        self.write_by(&ranks, &self.cutoffs(&ranks, 1.0), weights);
    }

    fn write_by(&self, ranks: &[f32], cutoffs: &[Cutoff], weights: &mut Weights) {
        let mut cutoffs = cutoffs.iter().zip(self.parts(ranks));
        self.write(weights, |_, effective, base, _| {
            let Some((&Cutoff { least, ties }, ranks)) = cutoffs.next() else { return };
            mask::threshold(effective, base, ranks, least);
            let equal = (0..ranks.len()).filter(|&i| ranks[i] == least);
            equal.take(ties).for_each(|i| effective[i] = 0.0);
        });
    }

    /// Which entries of every matrix are kept in the finished mask, with its index in the layout.
    pub(super) fn kept(&self) -> Vec<(usize, Vec<bool>)> {
        let ranks = self.ranks();
        let cutoffs = self.cutoffs(&ranks, 1.0);
        let parts = self.tensors.iter().zip(self.parts(&ranks)).zip(cutoffs);
        let kept = parts.map(|((&i, ranks), Cutoff { least, mut ties })| {
            let keep = |&rank: &f32| {
                let tied = rank == least && ties > 0;
                ties -= usize::from(tied);
                rank >= least && !tied
            };
            (i, ranks.iter().map(keep).collect())
        });
        kept.collect()
    }

    /// The base's entries of the matrix with this index in the layout.
    ///
    /// # Panics
    /// If it is not masked.
    pub(super) fn base(&self, tensor: usize) -> &[f32] {
        let place = self.tensors.iter().position(|&i| i == tensor).expect("a masked matrix");
        self.parts(&self.base)[place]
    }

    /// What entries are ranked by where zeros are chosen: scores; with a target, magnitudes where
    /// the score is not below 0. To fall halfway says little of an entry, and tends to be large. What
    /// is no candidate comes last.
    fn ranks(&self) -> Cow<'_, [f32]> {
        if self.target.is_none() {
            return Cow::Borrowed(&self.scores);
        }
        let rank = |(&score, &weight): (&f32, &f32)| match score {
            f32::INFINITY => f32::INFINITY,
            score if score < 0.0 => score,
            _ => weight.abs(),
        };
        self.scores.par_iter().zip(&self.base).map(rank).collect::<Vec<f32>>().into()
    }

    /// The part of every matrix in `all`, which lies as the scores do.
    fn parts<'a>(&self, all: &'a [f32]) -> Vec<&'a [f32]> {
        let mut rest = all;
        let part = |len: &usize| {
            let (part, others) = rest.split_at(*len);
            rest = others;
            part
        };
        self.lengths.iter().map(part).collect()
    }

    /// Where every matrix is cut at a step; see [`Target`].
    fn cutoffs_in_training(&self, ranks: &[f32], progress: f64) -> Vec<Cutoff> {
        match (self.sampling, self.target) {
            (Sampling::Stochastic, Some(_)) => {
                let below_zero = |cutoff: Cutoff| if cutoff.least < 0.0 { cutoff } else { AT_ZERO };
                self.cutoffs(ranks, 1.0).into_iter().map(below_zero).collect()
            }
            _ => self.cutoffs(ranks, progress),
        }
    }

    /// Where every matrix is cut when `progress`, 0 to 1, of a target's share is zero.
    fn cutoffs(&self, ranks: &[f32], progress: f64) -> Vec<Cutoff> {
        let Some(Target { sparsity, scope }) = self.target else {
            return vec![AT_ZERO; self.tensors.len()];
        };
        let parts = self.parts(ranks);
        let zeros = |entries: usize| (progress * sparsity * entries as f64).round() as usize;
        match scope {
            Scope::Matrix => parts
                .par_iter()
                .map(|part| {
                    let zeros = zeros(part.len()).min(part.len() - 1);
                    let (least, below) = kth_smallest(&[*part], zeros);
                    Cutoff { least, ties: zeros - below }
                })
                .collect(),
            Scope::Global => {
                let zeros = zeros(self.scores.len()).min(self.scores.len() - 1);
                let (least, below) = kth_smallest(&parts, zeros);
                let mut ties = zeros - below;
                // Ties fall in the order of the layout.
                let here = |part: &&[f32]| {
                    let equal = if ties == 0 { 0 } else { count(part, |rank| rank == least) };
                    let cutoff = Cutoff { least, ties: equal.min(ties) };
                    ties -= cutoff.ties;
                    cutoff
                };
                parts.iter().map(here).collect()
            }
        }
    }

    /// The base's own entries back into `weights`.
    pub fn write_base(&self, weights: &mut Weights) {
        self.write(weights, |_, effective, base, _| effective.copy_from_slice(base));
    }

    fn write(&self, weights: &mut Weights, mut f: impl FnMut(usize, &mut [f32], &[f32], &[f32])) {
        let mut start = 0;
        for &i in &self.tensors {
            let effective = weights.at_mut(i);
            let range = start..start + effective.len();
            start = range.end;
            f(i, effective, &self.base[range.clone()], &self.scores[range]);
        }
    }

    /// Turns gradients of the effective weights into those of the scores; `middles` are what
    /// [`Masks::write_sample`] returned for this step.
    pub fn score_grads(&self, grads: &mut [f32], middles: &[f32]) {
        let mut start = 0;
        for (len, &middle) in self.lengths.iter().zip(middles) {
            let range = start..start + len;
            start = range.end;
            let (base, scores) = (&self.base[range.clone()], &self.scores[range.clone()]);
            mask::score_grad(&mut grads[range], base, scores, middle);
        }
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

    /// Share of entries that are zero, of drawn masks those that more likely are, at a step as in
    /// [`Masks::write_sample`].
    pub fn sparsity(&self, progress: f64) -> f64 {
        let zeros = |(part, cutoff): (&[f32], Cutoff)| {
            count(part, |rank| rank < cutoff.least) + cutoff.ties
        };
        let ranks = self.ranks();
        let cutoffs = self.cutoffs_in_training(&ranks, progress);
        let zeros: usize = self.parts(&ranks).into_iter().zip(cutoffs).map(zeros).sum();
        zeros as f64 / self.scores.len().max(1) as f64
    }
}

fn count(ranks: &[f32], is: impl Fn(f32) -> bool + Sync) -> usize {
    ranks.par_chunks(1 << 16).map(|part| part.iter().filter(|&&rank| is(rank)).count()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Encoder, Pooling};
    use crate::tune::Method;

    /// Weights of one layer, 1, 2, 3 and so on, and which of its tensors are masked.
    fn model() -> (Weights, Vec<bool>) {
        let config = serde_json::json!({
            "num_hidden_layers": 1, "hidden_size": 32, "num_attention_heads": 2,
            "intermediate_size": 64, "vocab_size": 30, "max_position_embeddings": 8,
        });
        let encoder = Encoder::new(&config, false, Pooling::Mean).unwrap();
        let (layout, marks) = (encoder.layout().clone(), Method::mask().marks(&encoder).unwrap());
        let data = (0..layout.len()).map(|i| 1.0 + i as f32).collect();
        (Weights::new(layout, data), marks)
    }

    #[test]
    fn drawn_masks_have_no_more_zeros_than_their_target_and_no_others() {
        let (weights, marks) = model();
        for scope in [Scope::Matrix, Scope::Global] {
            // Scores start at -9 or 9: what is drawn is what their signs say, but for 1 in 8,000.
            let zeros = |below: f64, sparsity: f64| {
                let how = (Sampling::Stochastic, Some(Target { sparsity, scope }));
                let start = Start { scale: 9.0, sparsity: below, candidates: 1.0 };
                let masks = Masks::new(&weights, &marks, how, start, 1);
                let mut effective = weights.clone();
                masks.write_sample(&mut effective, 0, 1.0);
                let drawn = effective.data().iter().filter(|&&w| w == 0.0).count();
                (masks.sparsity(1.0), drawn as f64 / masks.scores.len() as f64)
            };
            let (share, drawn) = zeros(0.2, 0.3);
            assert!((share - 0.2).abs() < 0.002 && (drawn - 0.2).abs() < 0.01, "{share} {drawn}");
            // All that are below 0 are as low as the lowest: each is drawn half of the time.
            let (share, drawn) = zeros(0.2, 0.1);
            assert!((share - 0.1).abs() < 0.002 && (drawn - 0.1).abs() < 0.02, "{share} {drawn}");
        }
    }

    #[test]
    fn only_candidates_become_zero_however_their_gradients_fall() {
        let (weights, marks) = model();
        let start = Start { scale: 6.0, sparsity: 0.0, candidates: 0.25 };
        for target in [None, Some(Target { sparsity: 0.2, scope: Scope::Matrix })] {
            let how = (Sampling::Stochastic, target);
            let mut masks = Masks::new(&weights, &marks, how, start, 1);
            let mut grads = vec![1.0; masks.scores.len()];
            masks.score_grads(&mut grads, &vec![0.0; masks.lengths.len()]);
            // All scores move far down, by what the optimiser makes of their gradients.
            let moved = masks.scores.iter_mut().zip(&grads);
            moved.for_each(|(score, grad)| *score -= if *grad == 0.0 { 0.0 } else { 20.0 });
            let mut drawn = weights.clone();
            masks.write_sample(&mut drawn, 0, 1.0);
            for (&i, (_, kept)) in masks.tensors().iter().zip(masks.kept()) {
                // Entries increase: the last quarter is the largest.
                let others = kept.len() - kept.len() / 4;
                assert!(kept[..others].iter().all(|&kept| kept));
                let zeros = kept.iter().filter(|&&kept| !kept).count();
                let share = target.map_or(0.25, |target| target.sparsity);
                assert_eq!(zeros, (share * kept.len() as f64).round() as usize);
                assert_eq!(drawn.at(i)[..others], weights.at(i)[..others]);
                assert!(drawn.at(i)[others..].contains(&0.0));
            }
        }
    }

    #[test]
    fn where_too_few_scores_are_below_0_the_smallest_entries_are_zero() {
        let (weights, marks) = model();
        let target = Target { sparsity: 0.25, scope: Scope::Matrix };
        let how = (Sampling::Stochastic, Some(target));
        let start = Start { scale: 6.0, sparsity: 0.0, candidates: 1.0 };
        let mut masks = Masks::new(&weights, &marks, how, start, 1);
        // Of the first matrix the last entry fell below 0 and the one before halfway.
        let len = masks.lengths[0];
        (masks.scores[len - 1], masks.scores[len - 2]) = (-0.1, 0.1);
        let (_, kept) = masks.kept().swap_remove(0);
        let zero = |i: usize| !kept[i];
        assert_eq!((0..len).filter(|&i| zero(i)).count(), len / 4);
        assert!(zero(len - 1) && (0..len / 4 - 1).all(zero));
        let mut effective = weights.clone();
        masks.write_final(&mut effective);
        let written = effective.at(masks.tensors()[0]);
        assert!((0..len).all(|i| zero(i) == (written[i] == 0.0)));
    }
}
