//! The linear head on the pooled vector, and the loss.

use super::DropoutStep;
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::random::{Purpose, key, normal};
use crate::kernels::{layernorm, loss, sums};

/// logits = pooled·Wᵀ + b, or of pooled vectors made as long as 1
#[derive(Debug, Clone, PartialEq)]
pub struct Head {
    /// `[outputs, hidden]`
    pub weight: Vec<f32>,
    /// `[outputs]`
    pub bias: Vec<f32>,
    /// Whether it reads pooled vectors over their lengths.
    pub unit: bool,
}

/// The rows of `vectors`, `[rows, width]`, over their lengths; as `torch.nn.functional.normalize`.
pub fn unit_rows(vectors: &[f32], width: usize) -> Vec<f32> {
    let rows = vectors.chunks_exact(width).flat_map(|row| {
        let length = sums::square_sum(row).sqrt().max(1e-12);
        row.iter().map(move |&v| (f64::from(v) / length) as f32)
    });
    rows.collect()
}

/// What the outputs are compared with; one row a sequence.
#[derive(Debug, Clone, Copy)]
pub enum LossTargets<'a> {
    /// One class a row, with optional class weights: cross-entropy.
    Classes(&'a [u32], Option<&'a [f32]>),
    /// 0 or 1 for every label of every row, `[rows, labels]`, with optional weights of the ones of
    /// each label: binary cross-entropy.
    MultiHot(&'a [f32], Option<&'a [f32]>),
    /// One number a row: mean squared error.
    Values(&'a [f32]),
    /// One class a row, but what is compared is the pooled vectors of the rows with one another, see
    /// [`loss::pair_cosines`]; the head has no part in it.
    Pairs(&'a [u32]),
}

/// Loss of a batch and the gradients of the head and of what it read.
#[derive(Debug, Default)]
pub struct Loss {
    /// The loss, a mean over rows.
    pub value: f64,
    /// `[outputs, hidden]`
    pub weight_grad: Vec<f32>,
    /// `[outputs]`
    pub bias_grad: Vec<f32>,
    /// `[rows, hidden]`
    pub pooled_grad: Vec<f32>,
}

impl Head {
    /// A new head: weights N(0, 0.02²) as Transformers draws them, bias 0.
    pub fn new(outputs: usize, hidden: usize, seed: u64) -> Self {
        let stream = key(seed, Purpose::Head, 0, 0);
        let weight = (0..(outputs * hidden) as u32).map(|i| 0.02 * normal(stream, i)).collect();
        Self { weight, bias: vec![0.0; outputs], unit: false }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Logits, `[rows, outputs]`, of `pooled`, `[rows, hidden]`.
    pub fn forward(&self, pooled: &[f32]) -> Vec<f32> {
        let (outputs, hidden) = (self.outputs(), self.weight.len() / self.outputs());
        let rows = pooled.len() / hidden;
        let mut logits = vec![0.0; rows * outputs];
        let weight = Mat::new(&self.weight, outputs, hidden);
        let unit = if self.unit { unit_rows(pooled, hidden) } else { vec![] };
        let read = if self.unit { &unit } else { pooled };
        matmul(&mut logits, Mat::new(read, rows, hidden), weight.t(), false);
        sums::add_bias(&mut logits, &self.bias);
        logits
    }

    /// Loss and gradients; `dropout` applies to `pooled`. With `row_weights`, `[rows]`, a row's loss counts so
    /// many times; their mean over all training rows is 1. Pairs know neither.
    ///
    /// # Panics
    /// If the head reads vectors over their lengths, which none that is trained by steps does.
    pub fn loss(
        &self,
        pooled: &[f32],
        targets: LossTargets<'_>,
        row_weights: Option<&[f32]>,
        dropout: Option<DropoutStep>,
    ) -> Loss {
        let (outputs, hidden) = (self.outputs(), self.weight.len() / self.outputs());
        let rows = pooled.len() / hidden;
        if let LossTargets::Pairs(classes) = targets {
            let (value, pooled_grad) = loss::pair_cosines(pooled, classes);
            let (weight_grad, bias_grad) = (vec![0.0; self.weight.len()], vec![0.0; outputs]);
            return Loss { value, weight_grad, bias_grad, pooled_grad };
        }
        assert!(!self.unit, "vectors over their lengths have a gradient of their own");
        let dropout = dropout.and_then(DropoutStep::head);
        let mut read = pooled.to_vec();
        if let Some(d) = dropout {
            layernorm::dropout(pooled, hidden, d, &mut read);
        }
        let mut logits = self.forward(&read);
        let value = match targets {
            LossTargets::Classes(classes, weights) => {
                loss::cross_entropy(&mut logits, classes, weights, row_weights)
            }
            LossTargets::MultiHot(labels, weights) => {
                loss::binary_cross_entropy(&mut logits, labels, weights, row_weights)
            }
            LossTargets::Values(values) => loss::squared_error(&mut logits, values, row_weights),
            LossTargets::Pairs(_) => unreachable!("pairs have been compared"),
        };
        let mut result = Loss {
            value,
            weight_grad: vec![0.0; self.weight.len()],
            bias_grad: vec![0.0; outputs],
            pooled_grad: vec![0.0; pooled.len()],
        };
        let grad = Mat::new(&logits, rows, outputs);
        matmul(&mut result.weight_grad, grad.t(), Mat::new(&read, rows, hidden), false);
        sums::add_column_sums(&mut result.bias_grad, &logits);
        let weight = Mat::new(&self.weight, outputs, hidden);
        matmul(&mut result.pooled_grad, grad, weight, false);
        if let Some(d) = dropout {
            layernorm::dropout(&result.pooled_grad, hidden, d, &mut read);
            result.pooled_grad = read;
        }
        result
    }
}
