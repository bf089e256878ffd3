//! bias + activation in one pass, and its backward.

use super::ROWS_PER_TASK;
use super::simd::{dispatch, erf, exp, sigmoid};
use rayon::prelude::*;
use std::f32::consts::FRAC_1_SQRT_2;

/// 1 / √(2π)
const NORMAL_PEAK: f32 = 0.398_942_3;

/// A function of every entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Activation {
    /// x·Φ(x) by erf: Transformers' `gelu`.
    Gelu,
    /// The tanh approximation: Transformers' `gelu_new` and `gelu_pytorch_tanh`.
    GeluTanh,
    /// max(x, 0).
    Relu,
    /// tanh(x), as poolers have it.
    Tanh,
    /// x·σ(x): Transformers' `silu` and `swish`.
    Silu,
}

#[inline(always)]
fn tanh_argument(x: f32) -> f32 {
    0.797_884_6 * (x + 0.044_715 * x * x * x)
}

/// tanh by σ: 2σ(2u) − 1.
#[inline(always)]
fn fast_tanh(u: f32) -> f32 {
    2.0 / (1.0 + exp(-2.0 * u)) - 1.0
}

/// (value, derivative) at x.
#[inline(always)]
fn gelu(x: f32) -> (f32, f32) {
    let cdf = 0.5 + 0.5 * erf(x * FRAC_1_SQRT_2);
    (x * cdf, x.mul_add(NORMAL_PEAK * exp(-0.5 * x * x), cdf))
}

#[inline(always)]
fn gelu_tanh(x: f32) -> (f32, f32) {
    let t = fast_tanh(tanh_argument(x));
    let slope = 0.797_884_6 * (1.0 + 3.0 * 0.044_715 * x * x);
    (0.5 * x * (1.0 + t), 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * slope)
}

#[inline(always)]
fn relu(x: f32) -> (f32, f32) {
    if x > 0.0 { (x, 1.0) } else { (0.0, 0.0) }
}

/// The library's own: poolers have few rows.
#[inline(always)]
fn tanh(x: f32) -> (f32, f32) {
    let y = x.tanh();
    (y, 1.0 - y * y)
}

#[inline(always)]
fn silu(x: f32) -> (f32, f32) {
    let s = sigmoid(x);
    (x * s, s + x * s * (1.0 - s))
}

/// `$body` with the (value, derivative) of an activation as `$f`, compiled for each.
macro_rules! with_function {
    ($activation:expr, $f:ident => $body:expr) => {
        match $activation {
            Activation::Gelu => {
                let $f = gelu;
                $body
            }
            Activation::GeluTanh => {
                let $f = gelu_tanh;
                $body
            }
            Activation::Relu => {
                let $f = relu;
                $body
            }
            Activation::Tanh => {
                let $f = tanh;
                $body
            }
            Activation::Silu => {
                let $f = silu;
                $body
            }
        }
    };
}

/// pre += bias, out = activation(pre); both `[rows, bias.len()]`. `pre` is kept for the backward.
pub fn forward(activation: Activation, pre: &mut [f32], bias: &[f32], out: &mut [f32]) {
    let chunk = bias.len() * ROWS_PER_TASK;
    pre.par_chunks_mut(chunk)
        .zip(out.par_chunks_mut(chunk))
        .for_each(|(pre, out)| with_function!(activation, f => forward_rows(pre, bias, out, f)));
}

#[inline(always)]
fn forward_rows(pre: &mut [f32], bias: &[f32], out: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    let width = bias.len();
    dispatch(
        #[inline(always)]
        || {
            for (pre, out) in pre.chunks_exact_mut(width).zip(out.chunks_exact_mut(width)) {
                let (pre, bias, out) = (&mut pre[..width], &bias[..width], &mut out[..width]);
                for j in 0..width {
                    pre[j] += bias[j];
                    out[j] = f(pre[j]).0;
                }
            }
        },
    );
}

/// grad ← grad ∘ activation′(pre), and out = activation(pre) again (the output matrix's gradient
/// needs it; recomputing costs less than storing it). All of one length.
pub fn backward(activation: Activation, pre: &[f32], grad: &mut [f32], out: &mut [f32]) {
    const CHUNK: usize = 1 << 14;
    pre.par_chunks(CHUNK).zip(grad.par_chunks_mut(CHUNK)).zip(out.par_chunks_mut(CHUNK)).for_each(
        |((pre, grad), out)| with_function!(activation, f => backward_rows(pre, grad, out, f)),
    );
}

#[inline(always)]
fn backward_rows(pre: &[f32], grad: &mut [f32], out: &mut [f32], f: impl Fn(f32) -> (f32, f32)) {
    let (grad, out) = (&mut grad[..pre.len()], &mut out[..pre.len()]);
    dispatch(
        #[inline(always)]
        || {
            for i in 0..pre.len() {
                let (value, slope) = f(pre[i]);
                out[i] = value;
                grad[i] *= slope;
            }
        },
    );
}

/// pre += bias, out = activation(a)∘b of the halves a and b of every row of `pre`; `pre` `[rows,
/// 2·width]`, `bias` `[2·width]`, `out` `[rows, width]`.
pub fn gated_forward(activation: Activation, pre: &mut [f32], bias: &[f32], out: &mut [f32]) {
    let chunk = bias.len() * ROWS_PER_TASK;
    pre.par_chunks_mut(chunk).zip(out.par_chunks_mut(chunk / 2)).for_each(
        |(pre, out)| with_function!(activation, f => gated_forward_rows(pre, bias, out, f)),
    );
}

#[inline(always)]
fn gated_forward_rows(
    pre: &mut [f32],
    bias: &[f32],
    out: &mut [f32],
    f: impl Fn(f32) -> (f32, f32),
) {
    let width = bias.len() / 2;
    dispatch(
        #[inline(always)]
        || {
            for (pre, out) in pre.chunks_exact_mut(2 * width).zip(out.chunks_exact_mut(width)) {
                for j in 0..2 * width {
                    pre[j] += bias[j];
                }
                let (a, b) = pre.split_at(width);
                for j in 0..width {
                    out[j] = f(a[j]).0 * b[j];
                }
            }
        },
    );
}

/// The gradient of `pre` into `pre_grad`, `[rows, 2·width]`, given that of [`gated_forward`]'s `out`,
/// `[rows, width]`; and `out` again.
pub fn gated_backward(
    activation: Activation,
    width: usize,
    pre: &[f32],
    grad: &[f32],
    pre_grad: &mut [f32],
    out: &mut [f32],
) {
    let chunk = width * ROWS_PER_TASK;
    let of_pre = pre.par_chunks(2 * chunk).zip(pre_grad.par_chunks_mut(2 * chunk));
    let of_out = grad.par_chunks(chunk).zip(out.par_chunks_mut(chunk));
    of_pre.zip(of_out).for_each(|((pre, pre_grad), (grad, out))| {
        with_function!(
            activation,
            f => gated_backward_rows(width, (pre, pre_grad), (grad, out), f)
        );
    });
}

#[inline(always)]
fn gated_backward_rows(
    width: usize,
    (pre, pre_grad): (&[f32], &mut [f32]),
    (grad, out): (&[f32], &mut [f32]),
    f: impl Fn(f32) -> (f32, f32),
) {
    dispatch(
        #[inline(always)]
        || {
            for (i, grad) in grad.chunks_exact(width).enumerate() {
                let (a, b) = pre[2 * i * width..][..2 * width].split_at(width);
                let (a_grad, b_grad) = pre_grad[2 * i * width..][..2 * width].split_at_mut(width);
                let out = &mut out[i * width..][..width];
                for j in 0..width {
                    let (value, slope) = f(a[j]);
                    out[j] = value * b[j];
                    a_grad[j] = grad[j] * b[j] * slope;
                    b_grad[j] = grad[j] * value;
                }
            }
        },
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values_of_transformers() {
        // torch.nn.functional.gelu in float64.
        let x = [-3.0f32, -1.0, -0.1, 0.0, 0.5, 2.0];
        let exact = [-0.004_049_694, -0.158_655_25, -0.046_017_22, 0.0, 0.345_731_23, 1.954_499_7];
        let tanh = [-0.003_637_392, -0.158_808, -0.046_017_07, 0.0, 0.345_714, 1.954_597_7];
        for (activation, want) in [(Activation::Gelu, exact), (Activation::GeluTanh, tanh)] {
            let (mut pre, mut out) = (x, [0.0; 6]);
            forward(activation, &mut pre, &[0.0; 6], &mut out);
            for (got, want) in out.iter().zip(want) {
                assert!((got - want).abs() < 1e-6, "{activation:?}: {got} {want}");
            }
        }
    }

    #[test]
    fn slopes_agree_with_finite_differences() {
        use Activation::{Gelu, GeluTanh, Relu, Silu, Tanh};
        for activation in [Gelu, GeluTanh, Relu, Tanh, Silu] {
            let x: Vec<f32> = (0..83).map(|i| i as f32 * 0.1 - 4.13).collect();
            let value = |shift: f32| {
                let mut pre: Vec<f32> = x.iter().map(|v| v + shift).collect();
                let mut out = vec![0.0; x.len()];
                forward(activation, &mut pre, &vec![0.0; x.len()], &mut out);
                out
            };
            let (up, down, here) = (value(1e-2), value(-1e-2), value(0.0));
            let (mut grad, mut out) = (vec![2.0; x.len()], vec![0.0; x.len()]);
            backward(activation, &x, &mut grad, &mut out);
            assert_eq!(out, here);
            for i in 0..x.len() {
                let want = (up[i] - down[i]) / 1e-2;
                assert!((grad[i] - want).abs() < 3e-4, "{activation:?} at {}: {}", x[i], grad[i]);
            }
        }
    }

    #[test]
    fn gates_agree_with_finite_differences() {
        let (width, rows) = (7, 3);
        let pre: Vec<f32> = (0..rows * 2 * width).map(|i| (i as f32 * 0.7).sin() * 2.0).collect();
        let bias: Vec<f32> = (0..2 * width).map(|i| 0.1 * i as f32).collect();
        let run = |pre: &[f32]| {
            let (mut pre, mut out) = (pre.to_vec(), vec![0.0; rows * width]);
            gated_forward(Activation::Silu, &mut pre, &bias, &mut out);
            (pre, out)
        };
        let weight: Vec<f32> = (0..rows * width).map(|i| (i as f32).cos()).collect();
        let loss = |pre: &[f32]| -> f64 {
            run(pre).1.iter().zip(&weight).map(|(o, w)| f64::from(o * w)).sum()
        };
        let (sum, out) = run(&pre);
        let (mut pre_grad, mut again) = (vec![9.0; sum.len()], vec![9.0; out.len()]);
        gated_backward(Activation::Silu, width, &sum, &weight, &mut pre_grad, &mut again);
        assert_eq!(out, again);
        for i in 0..pre.len() {
            let nudged = |h: f32| {
                let mut nudged = pre.clone();
                nudged[i] += h;
                loss(&nudged)
            };
            let want = (nudged(1e-2) - nudged(-1e-2)) / 2e-2;
            assert!((f64::from(pre_grad[i]) - want).abs() < 1e-3, "{i} {} {want}", pre_grad[i]);
        }
    }
}
