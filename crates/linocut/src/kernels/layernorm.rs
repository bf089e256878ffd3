//! bias + dropout + residual + LayerNorm in one pass, and its backward.

use super::ROWS_PER_TASK;
use super::random::Dropout;
use super::simd::{dispatch, sum};
use rayon::prelude::*;

/// Scale and shift, each `[width]`, and ε.
#[derive(Clone, Copy)]
pub struct LayerNorm<'a> {
    /// γ
    pub scale: &'a [f32],
    /// β
    pub shift: &'a [f32],
    /// Added to the variance.
    pub eps: f32,
}

impl LayerNorm<'_> {
    /// out = LayerNorm(x); `x` and `out` are `[rows, width]`, `stats` `[rows, 2]` receives mean and
    /// 1/σ of every row for the backward.
    pub fn forward(&self, x: &[f32], out: &mut [f32], stats: &mut [f32]) {
        let (width, chunk) = (self.scale.len(), self.scale.len() * ROWS_PER_TASK);
        x.par_chunks(chunk)
            .zip(out.par_chunks_mut(chunk))
            .zip(stats.par_chunks_mut(2 * ROWS_PER_TASK))
            .for_each(|((x, out), stats)| {
                dispatch(
                    #[inline(always)]
                    || {
                        for (i, stats) in stats.chunks_exact_mut(2).enumerate() {
                            let row = i * width..(i + 1) * width;
                            self.row(&x[row.clone()], &mut out[row], stats);
                        }
                    },
                );
            });
    }

    /// sum ← residual + dropout(sum + bias), out = LayerNorm(sum); all `[rows, width]`.
    pub fn forward_residual(
        &self,
        sum: &mut [f32],
        bias: &[f32],
        dropout: Option<Dropout>,
        residual: &[f32],
        out: &mut [f32],
        stats: &mut [f32],
    ) {
        let (width, chunk) = (self.scale.len(), self.scale.len() * ROWS_PER_TASK);
        sum.par_chunks_mut(chunk)
            .zip(residual.par_chunks(chunk))
            .zip(out.par_chunks_mut(chunk))
            .zip(stats.par_chunks_mut(2 * ROWS_PER_TASK))
            .enumerate()
            .for_each(|(task, (((sum, residual), out), stats))| {
                dispatch(
                    #[inline(always)]
                    || {
                        for (i, stats) in stats.chunks_exact_mut(2).enumerate() {
                            let row = i * width..(i + 1) * width;
                            let sum = &mut sum[row.clone()][..width];
                            let residual = &residual[row.clone()][..width];
                            let bias = &bias[..width];
                            let first = ((task * ROWS_PER_TASK + i) * width) as u32;
                            match dropout {
                                Some(d) => {
                                    for j in 0..width {
                                        let kept = d.factor(first + j as u32);
                                        sum[j] = (sum[j] + bias[j]).mul_add(kept, residual[j]);
                                    }
                                }
                                None => {
                                    for j in 0..width {
                                        sum[j] += bias[j] + residual[j];
                                    }
                                }
                            }
                            self.row(sum, &mut out[row], stats);
                        }
                    },
                );
            });
    }

    #[inline(always)]
    fn row(&self, x: &[f32], out: &mut [f32], stats: &mut [f32]) {
        let width = self.scale.len();
        let (x, out) = (&x[..width], &mut out[..width]);
        let (scale, shift) = (&self.scale[..width], &self.shift[..width]);
        let mean = sum(
            width,
            #[inline(always)]
            |j| x[j],
        ) / width as f32;
        let variance = sum(
            width,
            #[inline(always)]
            |j| (x[j] - mean) * (x[j] - mean),
        ) / width as f32;
        let rstd = 1.0 / (variance + self.eps).sqrt();
        for j in 0..width {
            out[j] = ((x[j] - mean) * rstd).mul_add(scale[j], shift[j]);
        }
        stats[0] = mean;
        stats[1] = rstd;
    }

    /// grad (of the output) → grad of the input, in place; `x` and `stats` as the forward left them.
    ///
    /// dx = (γg − mean(γg) − x̂·mean(γg∘x̂)) / σ
    pub fn backward(&self, x: &[f32], stats: &[f32], grad: &mut [f32]) {
        let (width, chunk) = (self.scale.len(), self.scale.len() * ROWS_PER_TASK);
        x.par_chunks(chunk)
            .zip(stats.par_chunks(2 * ROWS_PER_TASK))
            .zip(grad.par_chunks_mut(chunk))
            .for_each(|((x, stats), grad)| {
                dispatch(
                    #[inline(always)]
                    || {
                        for (i, stats) in stats.chunks_exact(2).enumerate() {
                            let row = i * width..(i + 1) * width;
                            let (x, grad) = (&x[row.clone()][..width], &mut grad[row][..width]);
                            let scale = &self.scale[..width];
                            let (mean, rstd) = (stats[0], stats[1]);
                            for j in 0..width {
                                grad[j] *= scale[j];
                            }
                            let g = sum(
                                width,
                                #[inline(always)]
                                |j| grad[j],
                            ) / width as f32;
                            let gx = sum(
                                width,
                                #[inline(always)]
                                |j| grad[j] * ((x[j] - mean) * rstd),
                            ) / width as f32;
                            for j in 0..width {
                                let normal = (x[j] - mean) * rstd;
                                grad[j] = (grad[j] - g - normal * gx) * rstd;
                            }
                        }
                    },
                );
            });
    }
}

/// Adds Σ_rows g∘x̂ to `scale_grad` and Σ_rows g to `shift_grad`, both `[width]`; to be called
/// before [`LayerNorm::backward`] overwrites `grad`.
pub fn add_parameter_grads(
    x: &[f32],
    stats: &[f32],
    grad: &[f32],
    scale_grad: &mut [f32],
    shift_grad: &mut [f32],
) {
    const COLUMNS: usize = 64;
    let width = scale_grad.len();
    scale_grad
        .par_chunks_mut(COLUMNS)
        .zip(shift_grad.par_chunks_mut(COLUMNS))
        .enumerate()
        .for_each(|(task, (scale_grad, shift_grad))| {
            dispatch(
                #[inline(always)]
                || {
                    let (start, n) = (task * COLUMNS, scale_grad.len());
                    let (mut scale_acc, mut shift_acc) = ([0.0f32; COLUMNS], [0.0f32; COLUMNS]);
                    let (scale_acc, shift_acc) = (&mut scale_acc[..n], &mut shift_acc[..n]);
                    for (row, stats) in stats.chunks_exact(2).enumerate() {
                        let at = row * width + start;
                        let (x, grad) = (&x[at..at + n], &grad[at..at + n]);
                        for j in 0..n {
                            scale_acc[j] += grad[j] * ((x[j] - stats[0]) * stats[1]);
                            shift_acc[j] += grad[j];
                        }
                    }
                    for j in 0..n {
                        scale_grad[j] += scale_acc[j];
                        shift_grad[j] += shift_acc[j];
                    }
                },
            );
        });
}

/// out = residual + dropout(x + bias); `bias` `[width]`, all else `[rows, width]`.
pub fn add_residual(
    x: &[f32],
    bias: &[f32],
    dropout: Option<Dropout>,
    residual: &[f32],
    out: &mut [f32],
) {
    let width = bias.len();
    let chunk = width * ROWS_PER_TASK;
    x.par_chunks(chunk)
        .zip(residual.par_chunks(chunk))
        .zip(out.par_chunks_mut(chunk))
        .enumerate()
        .for_each(|(task, ((x, residual), out))| {
            dispatch(
                #[inline(always)]
                || {
                    for i in 0..x.len() / width {
                        let row = i * width..(i + 1) * width;
                        let (x, out) = (&x[row.clone()][..width], &mut out[row.clone()][..width]);
                        let (residual, bias) = (&residual[row][..width], &bias[..width]);
                        let first = (task * chunk + i * width) as u32;
                        match dropout {
                            Some(d) => {
                                for j in 0..width {
                                    let kept = d.factor(first + j as u32);
                                    out[j] = (x[j] + bias[j]).mul_add(kept, residual[j]);
                                }
                            }
                            None => {
                                for j in 0..width {
                                    out[j] = x[j] + (bias[j] + residual[j]);
                                }
                            }
                        }
                    }
                },
            );
        });
}

/// out = x ∘ dropout factors: the backward of dropout, and its forward on embeddings and pooled
/// vectors. `[rows, width]`.
pub fn dropout(x: &[f32], width: usize, dropout: Dropout, out: &mut [f32]) {
    let chunk = width * ROWS_PER_TASK;
    x.par_chunks(chunk).zip(out.par_chunks_mut(chunk)).enumerate().for_each(|(task, (x, out))| {
        let first = (task * chunk) as u32;
        let out = &mut out[..x.len()];
        dispatch(
            #[inline(always)]
            || {
                for i in 0..x.len() {
                    out[i] = x[i] * dropout.factor(first + i as u32);
                }
            },
        );
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Purpose, key, normal};

    #[test]
    fn backward_agrees_with_finite_differences() {
        let (rows, width) = (3, 37);
        let draw = |k: u64, n: usize| -> Vec<f32> { (0..n as u32).map(|i| normal(k, i)).collect() };
        let (x, residual, weight) =
            (draw(1, rows * width), draw(2, rows * width), draw(3, rows * width));
        let (scale, shift, bias) = (draw(4, width), draw(5, width), draw(6, width));
        let d = Dropout::new(0.3, key(1, Purpose::Dropout, 0, 0));
        // L = Σ weight ∘ out
        let run = |x: &[f32], scale: &[f32], shift: &[f32]| {
            let norm = LayerNorm { scale, shift, eps: 1e-12 };
            let (mut sum, mut out) = (x.to_vec(), vec![0.0; x.len()]);
            let mut stats = vec![0.0; 2 * rows];
            norm.forward_residual(&mut sum, &bias, d, &residual, &mut out, &mut stats);
            let loss: f64 = out.iter().zip(&weight).map(|(o, w)| f64::from(o * w)).sum();
            (loss, sum, stats)
        };
        let (_, sum, stats) = run(&x, &scale, &shift);
        let mut grad = weight.clone();
        let (mut scale_grad, mut shift_grad) = (vec![0.0; width], vec![0.0; width]);
        add_parameter_grads(&sum, &stats, &grad, &mut scale_grad, &mut shift_grad);
        LayerNorm { scale: &scale, shift: &shift, eps: 1e-12 }.backward(&sum, &stats, &mut grad);
        let mut dx = vec![0.0; x.len()];
        dropout(&grad, width, d.unwrap(), &mut dx);
        let difference = |f: &dyn Fn(f32) -> f64| (f(5e-3) - f(-5e-3)) / 1e-2;
        let nudged = |v: &[f32], i: usize, h: f32| {
            let mut v = v.to_vec();
            v[i] += h;
            v
        };
        for i in 0..x.len() {
            let want = difference(&|h| run(&nudged(&x, i, h), &scale, &shift).0);
            assert!((f64::from(dx[i]) - want).abs() < 2e-3 * want.abs().max(1.0), "{i}");
        }
        for j in 0..width {
            let want = difference(&|h| run(&x, &nudged(&scale, j, h), &shift).0);
            assert!((f64::from(scale_grad[j]) - want).abs() < 2e-3 * want.abs().max(1.0));
            let want = difference(&|h| run(&x, &scale, &nudged(&shift, j, h)).0);
            assert!((f64::from(shift_grad[j]) - want).abs() < 2e-3 * want.abs().max(1.0));
        }
        // Without residual and dropout both forwards are the same function.
        let norm = LayerNorm { scale: &scale, shift: &shift, eps: 1e-12 };
        let (mut a, mut b, mut s) = (x.clone(), x.clone(), vec![0.0; 2 * rows]);
        norm.forward(&x, &mut a, &mut s);
        let zero = vec![0.0; x.len()];
        norm.forward_residual(&mut x.clone(), &zero[..width], None, &zero, &mut b, &mut s);
        assert_eq!(a, b);
    }
}
