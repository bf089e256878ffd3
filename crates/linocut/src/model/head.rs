//! The linear head on the pooled vector, and the loss.

use super::DropoutStep;
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::random::{Purpose, key, normal};
use crate::kernels::{layernorm, loss, sums};

/// What logits are divided by where one model learns from another's, so that small probabilities count, too.
pub const TEMPERATURE: f64 = 2.0;
/// How much of the loss is the teacher's there.
pub const TEACHER_SHARE: f64 = 0.5;

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

impl LossTargets<'_> {
    /// The loss of `logits`, `[rows, outputs]`, which become its gradient.
    fn loss(&self, logits: &mut [f32], row_weights: Option<&[f32]>) -> f64 {
        match *self {
            Self::Classes(classes, weights) => {
                loss::cross_entropy(logits, classes, weights, row_weights)
            }
            Self::MultiHot(labels, weights) => {
                loss::binary_cross_entropy(logits, labels, weights, row_weights)
            }
            Self::Values(values) => loss::squared_error(logits, values, row_weights),
            Self::Pairs(_) => unreachable!("pairs compare vectors, not logits"),
        }
    }

    /// The same with a teacher's share in it, see [`Head::loss`].
    fn taught(
        &self,
        logits: &mut [f32],
        outputs: usize,
        teacher: &[f32],
        row_weights: Option<&[f32]>,
    ) -> f64 {
        let rows = logits.len() / outputs;
        let labelled = match *self {
            Self::Classes(classes, _) | Self::Pairs(classes) => classes.len(),
            Self::MultiHot(labels, _) => labels.len() / outputs,
            Self::Values(values) => values.len(),
        };
        let mut of_labels = logits[..labelled * outputs].to_vec();
        let label_loss = match labelled {
            0 => 0.0,
            _ => self.loss(&mut of_labels, row_weights.map(|weights| &weights[..labelled])),
        };
        let teacher_loss = match self {
            Self::MultiHot(..) => loss::binary_cross_entropy(logits, teacher, None, row_weights),
            Self::Values(_) => loss::squared_error(logits, teacher, row_weights),
            Self::Classes(..) | Self::Pairs(_) => {
                loss::divergence(logits, teacher, (outputs, TEMPERATURE), row_weights)
            }
        };
        // Both are means over the rows they are of.
        let label_share = (1.0 - TEACHER_SHARE) * labelled as f64 / rows as f64;
        logits.iter_mut().for_each(|grad| *grad *= TEACHER_SHARE as f32);
        for (grad, of_label) in logits.iter_mut().zip(of_labels) {
            *grad += label_share as f32 * of_label;
        }
        label_share * label_loss + TEACHER_SHARE * teacher_loss
    }
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
    /// With a `teacher`'s answers, `[rows, outputs]`, the loss of a row is half its label's and half the teacher's: of
    /// classes the divergence from the teacher's logits, [`loss::divergence`]; of labels that are 0 or 1 the binary
    /// cross-entropy against its probabilities; of numbers the squared error to its own. `targets` may then be of the first
    /// rows alone: of the others only the teacher's half counts.
    ///
    /// # Panics
    /// If the head reads vectors over their lengths, which none that is trained by steps does.
    pub fn loss(
        &self,
        pooled: &[f32],
        targets: LossTargets<'_>,
        row_weights: Option<&[f32]>,
        teacher: Option<&[f32]>,
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
        let value = match teacher {
            None => targets.loss(&mut logits, row_weights),
            Some(teacher) => targets.taught(&mut logits, outputs, teacher, row_weights),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_teacher_says_is_half_of_the_loss() {
        let head = Head {
            weight: vec![0.3, -0.2, 0.5, 0.1, 0.7, -0.4],
            bias: vec![0.1, 0.0, -0.2],
            unit: false,
        };
        let pooled = [0.5f32, -1.0, 2.0, 0.3, -0.7, 1.1];
        let logits = [1.0f32, 0.2, -0.7, 0.1, -2.5, 0.3, 0.4, 0.0, -1.0];
        let shares = [0.9f32, 0.2, 0.5, 0.0, 1.0, 0.3, 0.7, 0.6, 0.1];
        let (weights, times) = ([0.5f32, 2.0, 1.0], [0.5f32, 1.5, 1.0]);
        let one = Head { weight: vec![0.3, -0.2], bias: vec![0.1], unit: false };
        // The first two of three rows have labels.
        let (hot, values) = ([1.0f32, 0.0, 1.0, 0.0, 0.0, 1.0], [0.5f32, -2.0]);
        for (name, head, targets, teacher) in [
            ("classes", &head, LossTargets::Classes(&[2, 0], Some(&weights)), &logits[..]),
            ("labels", &head, LossTargets::MultiHot(&hot, Some(&weights)), &shares),
            ("numbers", &one, LossTargets::Values(&values), &[0.2, -1.5, 3.0]),
        ] {
            let loss = |pooled: &[f32], head: &Head| {
                head.loss(pooled, targets, Some(&times), Some(teacher), None)
            };
            let found = loss(&pooled, head);
            let first = head.loss(&pooled[..4], targets, Some(&times[..2]), None, None).value;
            let mut said = head.forward(&pooled);
            let taught = match name {
                "classes" => loss::divergence(&mut said, teacher, (3, 2.0), Some(&times)),
                "labels" => loss::binary_cross_entropy(&mut said, teacher, None, Some(&times)),
                _ => loss::squared_error(&mut said, teacher, Some(&times)),
            };
            let want = 0.5 * first * 2.0 / 3.0 + 0.5 * taught;
            assert!((found.value - want).abs() < 1e-12, "{name}: {} {want}", found.value);
            let slope = |of: &dyn Fn(f32) -> f64| (of(1e-2) - of(-1e-2)) / 2e-2;
            for i in 0..pooled.len() {
                let want = slope(&|h| {
                    let mut moved = pooled;
                    moved[i] += h;
                    loss(&moved, head).value
                });
                let found = f64::from(found.pooled_grad[i]);
                assert!((found - want).abs() < 2e-4, "{name}, pooled {i}: {found} {want}");
            }
            for i in 0..head.weight.len() {
                let want = slope(&|h| {
                    let mut moved = head.clone();
                    moved.weight[i] += h;
                    loss(&pooled, &moved).value
                });
                let found = f64::from(found.weight_grad[i]);
                assert!((found - want).abs() < 2e-4, "{name}, weight {i}: {found} {want}");
            }
            // Of a batch without labels the teacher's half is all.
            let none = match targets {
                LossTargets::Classes(..) => LossTargets::Classes(&[], Some(&weights)),
                LossTargets::MultiHot(..) => LossTargets::MultiHot(&[], None),
                _ => LossTargets::Values(&[]),
            };
            let alone = head.loss(&pooled, none, Some(&times), Some(teacher), None).value;
            assert!((alone - 0.5 * taught).abs() < 1e-12, "{name}");
        }
    }
}
