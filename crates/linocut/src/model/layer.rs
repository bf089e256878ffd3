//! One encoder layer: attention and feed-forward block, forward and backward.

use super::layout::{layer_tensor, slot};
use super::{DropoutStep, Grads, ModelConfig, Weights};
use crate::kernels::attention::Attention;
use crate::kernels::gemm::{Mat, matmul};
use crate::kernels::layernorm::{self, LayerNorm};
use crate::kernels::{gelu, sums};

/// One layer of one model, at one step.
#[derive(Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) config: &'a ModelConfig,
    pub(super) weights: &'a Weights,
    pub(super) number: usize,
    /// Cumulative sequence lengths, `[sequences + 1]`.
    pub(super) offsets: &'a [usize],
    /// Whether only the first token of every sequence is computed (the last layer under
    /// first-token pooling); keys and values still cover every token.
    pub(super) first_only: bool,
    pub(super) dropout: Option<DropoutStep>,
}

/// What the backward pass needs of a layer's forward; `rows` = tokens, or sequences with
/// `first_only`.
#[derive(Debug, Default)]
pub(super) struct LayerTape {
    /// Input of the asking rows, `[rows, hidden]`; used with `first_only` alone.
    first: Vec<f32>,
    /// `[rows, hidden]`
    q: Vec<f32>,
    /// Keys beside values, `[tokens, 2·hidden]`.
    kv: Vec<f32>,
    /// `[rows, heads]`
    log_sums: Vec<f32>,
    /// Attention's output, `[rows, hidden]`.
    context: Vec<f32>,
    /// Input of the first LayerNorm, `[rows, hidden]`.
    attention_sum: Vec<f32>,
    attention_stats: Vec<f32>,
    /// Output of the first LayerNorm, `[rows, hidden]`.
    middle: Vec<f32>,
    /// Before the activation, `[rows, intermediate]`.
    pre: Vec<f32>,
    /// Input of the second LayerNorm, `[rows, hidden]`.
    output_sum: Vec<f32>,
    output_stats: Vec<f32>,
    /// Hidden states after the layer, `[rows, hidden]`.
    pub(super) out: Vec<f32>,
}

/// Buffers that every layer uses anew.
#[derive(Debug, Default)]
pub(super) struct Scratch {
    /// Activations, `[rows, intermediate]`.
    active: Vec<f32>,
    /// `[rows, intermediate]`
    wide_grad: Vec<f32>,
    /// `[rows, hidden]`
    dropped: Vec<f32>,
    /// `[rows, hidden]`
    context_grad: Vec<f32>,
    /// `[rows, hidden]`
    q_grad: Vec<f32>,
    /// `[tokens, 2·hidden]`
    kv_grad: Vec<f32>,
}

/// Gives `x` the length `len` without touching what is there.
fn fit(x: &mut Vec<f32>, len: usize) -> &mut [f32] {
    x.resize(len, 0.0);
    x
}

impl Layer<'_> {
    fn weight(&self, slot: usize) -> &[f32] {
        self.weights.at(layer_tensor(self.number, slot))
    }

    fn attention(&self) -> Attention<'_> {
        Attention {
            offsets: self.offsets,
            heads: self.config.heads,
            hidden: self.config.hidden,
            first_only: self.first_only,
            dropout: self.dropout.and_then(|d| d.attention(self.number)),
        }
    }

    fn norm(&self, weight: usize) -> LayerNorm<'_> {
        LayerNorm {
            scale: self.weight(weight),
            shift: self.weight(weight + 1),
            eps: self.config.eps,
        }
    }

    /// (tokens, rows)
    fn sizes(&self) -> (usize, usize) {
        let tokens = self.offsets[self.offsets.len() - 1];
        (tokens, if self.first_only { self.offsets.len() - 1 } else { tokens })
    }

    /// Hidden states after the layer into `tape.out`; `x` is `[tokens, hidden]`.
    pub(super) fn forward(&self, x: &[f32], tape: &mut LayerTape, scratch: &mut Scratch) {
        let (h, f) = (self.config.hidden, self.config.intermediate);
        let (tokens, rows) = self.sizes();
        let LayerTape { first, q, kv, log_sums, context, attention_sum, middle, pre, .. } = tape;
        let asking = if self.first_only {
            first.clear();
            for &start in &self.offsets[..rows] {
                first.extend_from_slice(&x[start * h..(start + 1) * h]);
            }
            &first[..]
        } else {
            x
        };

        matmul(
            fit(q, rows * h),
            Mat::new(asking, rows, h),
            Mat::new(self.weight(slot::QUERY), h, h).t(),
            false,
        );
        sums::add_bias(q, self.weight(slot::QUERY_BIAS));
        let key = layer_tensor(self.number, slot::KEY);
        let key_bias = layer_tensor(self.number, slot::KEY_BIAS);
        let keys_and_values = Mat::new(self.weights.pair(key), 2 * h, h);
        matmul(fit(kv, tokens * 2 * h), Mat::new(x, tokens, h), keys_and_values.t(), false);
        sums::add_bias(kv, self.weights.pair(key_bias));
        let log_sums = fit(log_sums, rows * self.config.heads);
        self.attention().forward(q, kv, fit(context, rows * h), log_sums);

        matmul(
            fit(attention_sum, rows * h),
            Mat::new(context, rows, h),
            Mat::new(self.weight(slot::ATTENTION_OUTPUT), h, h).t(),
            false,
        );
        self.norm(slot::ATTENTION_NORM_WEIGHT).forward_residual(
            attention_sum,
            self.weight(slot::ATTENTION_OUTPUT_BIAS),
            self.dropout.and_then(|d| d.attention_output(self.number)),
            asking,
            fit(middle, rows * h),
            fit(&mut tape.attention_stats, rows * 2),
        );

        matmul(
            fit(pre, rows * f),
            Mat::new(middle, rows, h),
            Mat::new(self.weight(slot::INTERMEDIATE), f, h).t(),
            false,
        );
        let active = fit(&mut scratch.active, rows * f);
        gelu::forward(self.config.activation, pre, self.weight(slot::INTERMEDIATE_BIAS), active);
        matmul(
            fit(&mut tape.output_sum, rows * h),
            Mat::new(active, rows, f),
            Mat::new(self.weight(slot::OUTPUT), h, f).t(),
            false,
        );
        self.norm(slot::OUTPUT_NORM_WEIGHT).forward_residual(
            &mut tape.output_sum,
            self.weight(slot::OUTPUT_BIAS),
            self.dropout.and_then(|d| d.output(self.number)),
            middle,
            fit(&mut tape.out, rows * h),
            fit(&mut tape.output_stats, rows * 2),
        );
    }

    /// Gradients of the layer's tensors that are asked for, and with `below` that of its input:
    /// `grad`, `[rows, hidden]` of the output, becomes `[tokens, hidden]` of the input `x`.
    pub(super) fn backward(
        &self,
        x: &[f32],
        tape: &LayerTape,
        scratch: &mut Scratch,
        grad: &mut Vec<f32>,
        grads: &mut Grads,
        below: bool,
    ) {
        let (h, f) = (self.config.hidden, self.config.intermediate);
        let (tokens, rows) = self.sizes();
        let tensor = |slot| layer_tensor(self.number, slot);
        let lowest = (0..slot::COUNT).find(|&s| grads.wants(tensor(s)));
        let reaches = |slot: usize| below || lowest.is_some_and(|lowest| lowest < slot);

        // Feed-forward block.
        self.norm_backward(
            slot::OUTPUT_NORM_WEIGHT,
            (&tape.output_sum, &tape.output_stats),
            grad,
            grads,
            reaches(slot::OUTPUT_NORM_WEIGHT),
        );
        if !reaches(slot::OUTPUT_NORM_WEIGHT) {
            return;
        }
        let dropout = self.dropout.and_then(|d| d.output(self.number));
        let branch = dropped(grad, h, dropout, &mut scratch.dropped);
        bias_grad(branch, tensor(slot::OUTPUT_BIAS), grads);
        let wide = fit(&mut scratch.wide_grad, rows * f);
        matmul(wide, Mat::new(branch, rows, h), Mat::new(self.weight(slot::OUTPUT), h, f), false);
        let active = fit(&mut scratch.active, rows * f);
        gelu::backward(self.config.activation, &tape.pre, wide, active);
        weight_grad(branch, h, (active, f), tensor(slot::OUTPUT), grads);
        bias_grad(wide, tensor(slot::INTERMEDIATE_BIAS), grads);
        weight_grad(wide, f, (&tape.middle, h), tensor(slot::INTERMEDIATE), grads);
        if !reaches(slot::INTERMEDIATE) {
            return;
        }
        matmul(
            grad,
            Mat::new(wide, rows, f),
            Mat::new(self.weight(slot::INTERMEDIATE), f, h),
            true,
        );

        // Attention block.
        self.norm_backward(
            slot::ATTENTION_NORM_WEIGHT,
            (&tape.attention_sum, &tape.attention_stats),
            grad,
            grads,
            reaches(slot::ATTENTION_NORM_WEIGHT),
        );
        if !reaches(slot::ATTENTION_NORM_WEIGHT) {
            return;
        }
        let dropout = self.dropout.and_then(|d| d.attention_output(self.number));
        let branch = dropped(grad, h, dropout, &mut scratch.dropped);
        bias_grad(branch, tensor(slot::ATTENTION_OUTPUT_BIAS), grads);
        weight_grad(branch, h, (&tape.context, h), tensor(slot::ATTENTION_OUTPUT), grads);
        if !reaches(slot::ATTENTION_OUTPUT) {
            return;
        }
        let context_grad = fit(&mut scratch.context_grad, rows * h);
        matmul(
            context_grad,
            Mat::new(branch, rows, h),
            Mat::new(self.weight(slot::ATTENTION_OUTPUT), h, h),
            false,
        );
        let q_grad = fit(&mut scratch.q_grad, rows * h);
        let kv_grad = fit(&mut scratch.kv_grad, tokens * 2 * h);
        self.attention().backward(&tape.q, &tape.kv, &tape.log_sums, context_grad, q_grad, kv_grad);
        let asking = if self.first_only { &tape.first[..] } else { x };
        bias_grad(q_grad, tensor(slot::QUERY_BIAS), grads);
        weight_grad(q_grad, h, (asking, h), tensor(slot::QUERY), grads);
        for (slot_weight, slot_bias, start) in
            [(slot::KEY, slot::KEY_BIAS, 0), (slot::VALUE, slot::VALUE_BIAS, h)]
        {
            if grads.wants(tensor(slot_bias)) {
                let into = grads.tensor_mut(tensor(slot_bias));
                into.fill(0.0);
                sums::add_column_sums_of(into, kv_grad, 2 * h, start);
            }
            if grads.wants(tensor(slot_weight)) {
                let part = Mat::new(kv_grad, tokens, 2 * h).columns(start, h);
                let into = grads.tensor_mut(tensor(slot_weight));
                matmul(into, part.t(), Mat::new(x, tokens, h), false);
            }
        }
        if !below {
            return;
        }
        let q_weight = Mat::new(self.weight(slot::QUERY), h, h);
        matmul(grad, Mat::new(q_grad, rows, h), q_weight, true);
        let kv_weight = Mat::new(self.weights.pair(tensor(slot::KEY)), 2 * h, h);
        let kv_grad = Mat::new(kv_grad, tokens, 2 * h);
        if self.first_only {
            let input_grad = fit(&mut scratch.wide_grad, tokens * h);
            matmul(input_grad, kv_grad, kv_weight, false);
            for (row, &start) in self.offsets[..rows].iter().enumerate() {
                for j in 0..h {
                    input_grad[start * h + j] += grad[row * h + j];
                }
            }
            std::mem::swap(grad, &mut scratch.wide_grad);
        } else {
            matmul(grad, kv_grad, kv_weight, true);
        }
    }

    /// Parameter gradients of the LayerNorm at `weight`, and with `through` its input's in `grad`.
    fn norm_backward(
        &self,
        weight: usize,
        (sum, stats): (&[f32], &[f32]),
        grad: &mut [f32],
        grads: &mut Grads,
        through: bool,
    ) {
        let tensor = layer_tensor(self.number, weight);
        if grads.wants(tensor) || grads.wants(tensor + 1) {
            norm_grads(sum, stats, grad, self.config.hidden, tensor, grads);
        }
        if through {
            self.norm(weight).backward(sum, stats, grad);
        }
    }
}

/// Gradients of scale (`tensor`) and shift (`tensor + 1`) of a LayerNorm, those asked for.
pub(super) fn norm_grads(
    sum: &[f32],
    stats: &[f32],
    grad: &[f32],
    width: usize,
    tensor: usize,
    grads: &mut Grads,
) {
    if grads.wants(tensor) && grads.wants(tensor + 1) {
        let (scale, shift) = grads.pair_mut(tensor);
        scale.fill(0.0);
        shift.fill(0.0);
        layernorm::add_parameter_grads(sum, stats, grad, scale, shift);
    } else {
        let (mut scale, mut shift) = (vec![0.0; width], vec![0.0; width]);
        layernorm::add_parameter_grads(sum, stats, grad, &mut scale, &mut shift);
        for (i, values) in [(tensor, scale), (tensor + 1, shift)] {
            if grads.wants(i) {
                grads.tensor_mut(i).copy_from_slice(&values);
            }
        }
    }
}

/// `grad` as it enters the branch behind a dropout.
fn dropped<'a>(
    grad: &'a [f32],
    width: usize,
    dropout: Option<crate::kernels::random::Dropout>,
    scratch: &'a mut Vec<f32>,
) -> &'a [f32] {
    match dropout {
        Some(d) => {
            layernorm::dropout(grad, width, d, fit(scratch, grad.len()));
            scratch
        }
        None => grad,
    }
}

/// Column sums of `grad` into tensor `i`'s gradient, if asked for.
pub(super) fn bias_grad(grad: &[f32], i: usize, grads: &mut Grads) {
    if grads.wants(i) {
        let into = grads.tensor_mut(i);
        into.fill(0.0);
        sums::add_column_sums(into, grad);
    }
}

/// gradᵀ·input into tensor `i`'s gradient, `[outputs, inputs]`, if asked for.
pub(super) fn weight_grad(
    grad: &[f32],
    outputs: usize,
    (input, inputs): (&[f32], usize),
    i: usize,
    grads: &mut Grads,
) {
    if grads.wants(i) {
        let rows = grad.len() / outputs;
        let (grad, input) = (Mat::new(grad, rows, outputs), Mat::new(input, rows, inputs));
        matmul(grads.tensor_mut(i), grad.t(), input, false);
    }
}
