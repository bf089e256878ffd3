//! AdamW over the trained tensors: weights or scores, word embeddings, head.

use crate::kernels::adamw::AdamW;
use crate::model::{Layout, Weights};

/// Constants of AdamW that a whole run shares.
pub(super) const BETA1: f32 = 0.9;
/// Decay of the mean of squared gradients.
pub(super) const BETA2: f32 = 0.999;
/// For weights and head.
pub(super) const EPS: f32 = 1e-8;
/// For scores, whose gradients are scaled by σ′ and can be as small as 1e-7.
pub(super) const SCORE_EPS: f32 = 1e-16;

/// First and second moments of one run of parameters.
#[derive(Debug, Default)]
pub(super) struct Moments {
    pub(super) mean: Vec<f32>,
    pub(super) square: Vec<f32>,
}

impl Moments {
    pub(super) fn new(len: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; len] }
    }

    /// Means of `len` entries with one second moment for each of `tensors`.
    pub(super) fn shared(len: usize, tensors: usize) -> Self {
        Self { mean: vec![0.0; len], square: vec![0.0; tensors] }
    }

    /// Moves `param`, whose moments start at `start`.
    pub(super) fn update(&mut self, adamw: &AdamW, param: &mut [f32], grad: &[f32], start: usize) {
        let range = start..start + param.len();
        adamw.update(param, grad, &mut self.mean[range.clone()], &mut self.square[range]);
    }
}

/// AdamW over a layout's trained tensors, the word embeddings, tensor `words`, apart.
pub(super) fn update_dense(
    adamw: AdamW,
    (layout, words): (&Layout, usize),
    marks: &[bool],
    weights: &mut Weights,
    grads: &[f32],
    moments: &mut Moments,
) {
    let mut start = 0;
    for (i, spec) in layout.tensors().iter().enumerate().filter(|(i, _)| marks[*i] && *i != words) {
        let decay = if spec.role.decays() { adamw.decay } else { 0.0 };
        let param = weights.at_mut(i);
        let grad = &grads[start..start + param.len()];
        moments.update(&AdamW { decay, ..adamw }, param, grad, start);
        start += param.len();
    }
}

/// AdamW over the word embeddings. A row that no batch has used has no moments and only decays;
/// its decay is saved up and applied when the row is next read, with the same result as a pass
/// over the whole table at every step.
#[derive(Debug)]
pub(super) struct WordMoments {
    pub(super) moments: Moments,
    /// Rows used so far, ascending.
    pub(super) used: Vec<u32>,
    /// Product of the decay factors that unused rows still owe.
    pub(super) owed: f64,
    hidden: usize,
}

impl WordMoments {
    pub(super) fn new(vocab: usize, hidden: usize) -> Self {
        // Zeroed pages take no memory until a row is used.
        Self { moments: Moments::new(vocab * hidden), used: Vec::new(), owed: 1.0, hidden }
    }

    /// Brings the rows of `ids` up to date before a forward pass reads them.
    pub(super) fn touch(&mut self, table: &mut [f32], ids: &[u32]) {
        let mut new: Vec<u32> =
            ids.iter().copied().filter(|id| self.used.binary_search(id).is_err()).collect();
        new.sort_unstable();
        new.dedup();
        for &id in &new {
            self.pay(&mut table[id as usize * self.hidden..][..self.hidden]);
        }
        self.used.extend(new);
        self.used.sort_unstable();
    }

    /// Brings all rows up to date.
    pub(super) fn settle(&mut self, table: &mut [f32]) {
        let mut used = self.used.iter().peekable();
        for (id, row) in table.chunks_exact_mut(self.hidden).enumerate() {
            if used.next_if(|&&u| u as usize == id).is_none() {
                self.pay(row);
            }
        }
        self.owed = 1.0;
    }

    fn pay(&self, row: &mut [f32]) {
        if self.owed != 1.0 {
            let owed = self.owed as f32;
            row.iter_mut().for_each(|v| *v *= owed);
        }
    }

    /// One step; `rows`, ascending, are those with a gradient in `grad`, `[rows, hidden]`.
    pub(super) fn update(&mut self, adamw: &AdamW, table: &mut [f32], rows: &[u32], grad: &[f32]) {
        use rayon::prelude::*;
        let h = self.hidden;
        let zero = vec![0.0; h];
        // Used rows are ascending: cut the three tables into disjoint rows.
        let mut tables = (
            table.chunks_exact_mut(h),
            self.moments.mean.chunks_exact_mut(h),
            self.moments.square.chunks_exact_mut(h),
        );
        let mut next = 0;
        let mut batch = rows.iter().zip(grad.chunks_exact(h)).peekable();
        let mut work = Vec::with_capacity(self.used.len());
        for &id in &self.used {
            let skip = id as usize - next;
            next = id as usize + 1;
            let (Some(p), Some(m), Some(v)) =
                (tables.0.nth(skip), tables.1.nth(skip), tables.2.nth(skip))
            else {
                unreachable!("used rows lie in the table")
            };
            let grad = batch.next_if(|(row, _)| **row == id).map_or(&zero[..], |(_, g)| g);
            work.push((p, grad, m, v));
        }
        work.par_chunks_mut(64).for_each(|rows| {
            for (p, g, m, v) in rows {
                adamw.update_serial(p, g, m, v);
            }
        });
        self.owed *= 1.0 - f64::from(adamw.lr) * f64::from(adamw.decay);
    }
}
