//! The low-rank factors behind a task's matrices (LoRA, Hu et al. 2021).

use crate::cut::add_product;
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::random::{Purpose, key, uniform};
use crate::model::{Layout, Weights};
use std::ops::Range;

/// Factors of the adapted matrices, and the base's entries behind them: each matrix W of
/// `[out, in]` becomes W + B·A. The factor α / r of the paper is 1, as in PEFT's default.
#[derive(Debug)]
pub struct LowRank {
    matrices: Vec<Matrix>,
    rank: usize,
    /// The matrices' entries in the base, back to back as their gradients in
    /// [`crate::model::Grads::dense`].
    base: Vec<f32>,
    /// For every matrix the rows of Aᵀ, `[in, rank]`, and then those of B, `[out, rank]`.
    pub factors: Vec<f32>,
    /// Gradients of the factors, in their order.
    pub(super) grads: Vec<f32>,
}

/// One adapted matrix.
#[derive(Debug)]
struct Matrix {
    /// Its index in the layout.
    tensor: usize,
    shape: (usize, usize),
    /// Where its entries lie in the base and in the gradients.
    entries: Range<usize>,
    /// Where its factors lie.
    factors: Range<usize>,
}

impl LowRank {
    /// Factors of `rank` for the matrices that `marks` flags: A uniform in ±1/√in, B zero, as PEFT
    /// draws them, so that training starts from the base.
    pub fn new(weights: &Weights, marks: &[bool], rank: usize, seed: u64) -> Self {
        let (mut matrices, mut base, mut factors) = (Vec::new(), Vec::new(), Vec::new());
        for (tensor, spec) in weights.layout().tensors().iter().enumerate() {
            let (true, &[rows, columns]) = (marks[tensor], &spec.shape[..]) else { continue };
            let (at, start) = (base.len(), factors.len());
            base.extend_from_slice(weights.at(tensor));
            let stream = key(seed, Purpose::LowRank, 0, tensor as u64);
            let bound = 1.0 / (columns as f32).sqrt();
            let draw = |i| (2.0 * uniform(stream, i) - 1.0) * bound;
            factors.extend((0..(columns * rank) as u32).map(draw));
            factors.resize(factors.len() + rows * rank, 0.0);
            matrices.push(Matrix {
                tensor,
                shape: (rows, columns),
                entries: at..base.len(),
                factors: start..factors.len(),
            });
        }
        let grads = vec![0.0; factors.len()];
        Self { matrices, rank, base, factors, grads }
    }

    /// Effective weights W + B·A into `weights`.
    pub fn write(&self, weights: &mut Weights) {
        for matrix in &self.matrices {
            let effective = weights.at_mut(matrix.tensor);
            effective.copy_from_slice(&self.base[matrix.entries.clone()]);
            add_product(effective, &self.factors[matrix.factors.clone()], matrix.shape);
        }
    }

    /// Turns gradients of the effective weights G, `[out, in]` back to back, into those of the
    /// factors: ∂L/∂Aᵀ = Gᵀ·B, ∂L/∂B = G·Aᵀ.
    pub(super) fn backward(&mut self, grads: &[f32]) {
        for Matrix { shape: (rows, columns), entries, factors, .. } in &self.matrices {
            let grad = Mat::new(&grads[entries.clone()], *rows, *columns);
            let (a, b) = self.factors[factors.clone()].split_at(columns * self.rank);
            let into = &mut self.grads[factors.clone()];
            let (a_grad, b_grad) = into.split_at_mut(columns * self.rank);
            matmul(a_grad, grad.t(), Mat::new(b, *rows, self.rank), false);
            matmul(b_grad, grad, Mat::new(a, *columns, self.rank), false);
        }
    }

    /// Factors and their gradients of every matrix, with its index in the layout.
    pub fn per_tensor(&self) -> impl Iterator<Item = (usize, &[f32], &[f32])> {
        self.matrices.iter().map(|matrix| {
            let range = matrix.factors.clone();
            (matrix.tensor, &self.factors[range.clone()], &self.grads[range])
        })
    }

    /// Factors of every matrix, writable, with its name and shape `[out, in]`.
    pub(super) fn per_tensor_mut<'a>(
        &'a mut self,
        layout: &'a Layout,
    ) -> impl Iterator<Item = (&'a str, (usize, usize), &'a mut [f32])> {
        let mut rest = &mut self.factors[..];
        self.matrices.iter().map(move |matrix| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(matrix.factors.len());
            rest = others;
            (&layout.tensors()[matrix.tensor].name[..], matrix.shape, part)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;
    use crate::model::{Kind, Place, Role};
    use std::sync::Arc;

    /// Σ G∘(W + B·A) by central differences of every factor.
    #[test]
    fn gradients_are_those_of_the_product() {
        let layout = Layout::new([
            ("a".into(), vec![5, 7], Role::Matrix(Kind::Query), Place::Layer(0)),
            ("frozen".into(), vec![3, 3], Role::Matrix(Kind::Key), Place::Layer(0)),
            ("b".into(), vec![4, 3], Role::Matrix(Kind::Value), Place::Layer(0)),
        ]);
        let data = (0..layout.len() as u32).map(|i| normal(1, i)).collect();
        let mut weights = Weights::new(Arc::new(layout), data);
        let before = weights.clone();
        let mut low_rank = LowRank::new(&weights, &[true, false, true], 2, 7);
        low_rank.write(&mut weights);
        assert_eq!(weights.data(), before.data(), "B starts at zero");
        for (i, v) in low_rank.factors.iter_mut().enumerate() {
            *v = normal(2, i as u32);
        }
        let grad: Vec<f32> = (0..35 + 12).map(|i| normal(3, i)).collect();
        low_rank.backward(&grad);
        let mut value = |low_rank: &LowRank| -> f64 {
            low_rank.write(&mut weights);
            assert_eq!(weights.at(1), before.at(1));
            let entries = weights.at(0).iter().chain(weights.at(2));
            entries.zip(&grad).map(|(w, g)| f64::from(*w) * f64::from(*g)).sum()
        };
        let grads = low_rank.grads.clone();
        for (i, &got) in grads.iter().enumerate() {
            let at = low_rank.factors[i];
            let mut moved = |by: f32| {
                low_rank.factors[i] = at + by;
                value(&low_rank)
            };
            // The product is linear in one factor: wide steps cost no accuracy.
            let want = (moved(0.5) - moved(-0.5)) / ((at + 0.5) - (at - 0.5)) as f64;
            low_rank.factors[i] = at;
            assert!(
                (f64::from(got) - want).abs() < 1e-4 * want.abs().max(1.0),
                "{i}: {got} {want}"
            );
        }
    }
}
