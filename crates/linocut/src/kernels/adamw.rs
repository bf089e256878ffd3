//! AdamW in one pass over memory.

use super::simd::dispatch;
use rayon::prelude::*;

/// Constants of one step for one group of parameters (Loshchilov & Hutter 2019, as
/// `torch.optim.AdamW` computes it).
#[derive(Debug, Clone, Copy)]
pub struct AdamW {
    /// Learning rate of this step.
    pub lr: f32,
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
    /// Decoupled weight decay.
    pub decay: f32,
    /// What gradients are multiplied by first (clipping).
    pub grad_scale: f32,
    /// Steps taken, this one included.
    pub step: u32,
}

impl AdamW {
    /// Moves `param` and the moments by one step; all of one length.
    pub fn update(&self, param: &mut [f32], grad: &[f32], mean: &mut [f32], square: &mut [f32]) {
        const CHUNK: usize = 1 << 14;
        let chunks = param.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
        let moments = mean.par_chunks_mut(CHUNK).zip(square.par_chunks_mut(CHUNK));
        chunks.zip(moments).for_each(|((param, grad), (mean, square))| {
            self.update_serial(param, grad, mean, square);
        });
    }

    /// The same on the calling thread, for short slices.
    pub fn update_serial(
        &self,
        param: &mut [f32],
        grad: &[f32],
        mean: &mut [f32],
        square: &mut [f32],
    ) {
        let step = self.step as i32;
        let rate = f64::from(self.lr) / (1.0 - f64::from(self.beta1).powi(step));
        let root = 1.0 / (1.0 - f64::from(self.beta2).powi(step)).sqrt();
        let (rate, root) = (rate as f32, root as f32);
        let keep = 1.0 - self.lr * self.decay;
        let Self { beta1, beta2, eps, grad_scale, .. } = *self;
        let n = param.len();
        let (grad, mean, square) = (&grad[..n], &mut mean[..n], &mut square[..n]);
        dispatch(
            #[inline(always)]
            || {
                for i in 0..n {
                    let g = grad[i] * grad_scale;
                    let m = beta1.mul_add(mean[i] - g, g);
                    let v = beta2.mul_add(square[i] - g * g, g * g);
                    mean[i] = m;
                    square[i] = v;
                    param[i] = param[i].mul_add(keep, -rate * m / v.sqrt().mul_add(root, eps));
                }
            },
        );
    }
}

/// Adam with one second moment for a whole tensor (Adam-mini, Zhang et al. 2024): what each entry
/// moves by is then in proportion to its mean gradient, as it is not in Adam.
#[derive(Debug, Clone, Copy)]
pub struct SharedAdam {
    /// Constants; `decay` is not used.
    pub adamw: AdamW,
}

impl SharedAdam {
    /// Moves `param` and its moments by one step; `param`, `grad` and `mean` are of one length,
    /// `square_sum` is Σ grad² over them.
    pub fn update(
        &self,
        param: &mut [f32],
        grad: &[f32],
        square_sum: f64,
        mean: &mut [f32],
        square: &mut f32,
    ) {
        const CHUNK: usize = 1 << 14;
        let AdamW { lr, beta1, beta2, eps, grad_scale, step, .. } = self.adamw;
        let (b1, b2) = (f64::from(beta1), f64::from(beta2));
        let mean_square = square_sum * f64::from(grad_scale).powi(2) / param.len() as f64;
        *square = (b2 * f64::from(*square) + (1.0 - b2) * mean_square) as f32;
        let root = (f64::from(*square) / (1.0 - b2.powi(step as i32))).sqrt();
        let rate = f64::from(lr) / (1.0 - b1.powi(step as i32)) / (root + f64::from(eps));
        let rate = rate as f32;
        let chunks = param.par_chunks_mut(CHUNK).zip(grad.par_chunks(CHUNK));
        chunks.zip(mean.par_chunks_mut(CHUNK)).for_each(|((param, grad), mean)| {
            let n = param.len();
            let (grad, mean) = (&grad[..n], &mut mean[..n]);
            dispatch(
                #[inline(always)]
                || {
                    for i in 0..n {
                        let g = grad[i] * grad_scale;
                        mean[i] = beta1.mul_add(mean[i] - g, g);
                        param[i] = mean[i].mul_add(-rate, param[i]);
                    }
                },
            );
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_steps_by_hand() {
        let (mut p, mut m, mut v) = ([1.0f32], [0.0], [0.0]);
        let mut adamw = AdamW {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            decay: 0.01,
            grad_scale: 0.5,
            step: 1,
        };
        adamw.update(&mut p, &[4.0], &mut m, &mut v);
        // g = 2, m̂ = 2, v̂ = 4: p = 1·(1 − 0.001) − 0.1
        assert!((p[0] - 0.899).abs() < 1e-6);
        adamw.step = 2;
        adamw.update(&mut p, &[-2.0], &mut m, &mut v);
        // m = 0.9·0.2 − 0.1 = 0.08, m̂ = 0.08/0.19; v = 0.999·0.004 + 0.001, v̂ = v/0.001999
        let want = 0.899 * 0.999 - 0.1 * (0.08 / 0.19) / (0.004_996_f64 / 0.001_999).sqrt();
        assert!((f64::from(p[0]) - want).abs() < 1e-6);
    }

    #[test]
    fn a_shared_second_moment_keeps_proportions() {
        let adamw = AdamW {
            lr: 0.1,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-16,
            decay: 0.0,
            grad_scale: 0.5,
            step: 1,
        };
        let (mut p, mut m, mut v) = ([0.0f32; 3], [0.0; 3], 0.0);
        let grad = [6.0, -2.0, 0.0];
        SharedAdam { adamw }.update(&mut p, &grad, 40.0, &mut m, &mut v);
        // g = (3, −1, 0), mean of g² = 10/3, first step: −lr·g/√(10/3).
        for (p, g) in p.iter().zip([3.0f64, -1.0, 0.0]) {
            assert!((f64::from(*p) + 0.1 * g / (10.0f64 / 3.0).sqrt()).abs() < 1e-6, "{p}");
        }
    }
}
