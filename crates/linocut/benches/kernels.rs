//! Nanoseconds an entry of every kernel at MiniLM's shapes, and GFLOP/s of its matrix products:
//! `cargo bench -p linocut --bench kernels`. Medians of 15 runs on all cores.

use linocut::kernels::activation::{self, Activation};
use linocut::kernels::attention::{Attention, OperandGrads, Operands, Positions};
use linocut::kernels::gemm::{Mat, matmul};
use linocut::kernels::layernorm::{self, LayerNorm};
use linocut::kernels::packed::Packed;
use linocut::kernels::quantized::{Inputs, Quantized};
use linocut::kernels::random::{Dropout, normal, uniform};
use linocut::kernels::sparse::{Scratch, WHOLE, ZeroPattern};
use linocut::kernels::{adamw::AdamW, mask, sums};
use std::time::Instant;

fn draw(key: u64, len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| normal(key, i)).collect()
}

fn median(mut run: impl FnMut()) -> f64 {
    run();
    let mut times: Vec<f64> = (0..15)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed().as_secs_f64()
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[7]
}

fn main() {
    let (h, f) = (384, 1536);
    for tokens in [32, 320, 2048] {
        println!("{tokens} tokens");
        let (x, wide) = (draw(1, tokens * h), draw(2, tokens * f));
        let (small_w, wide_w) = (draw(3, h * h), draw(4, f * h));
        let gemm = |name: &str, out: usize, a: Mat<'_>, b: Mat<'_>, flops: usize| {
            let mut c = vec![0.0; out];
            let t = median(|| matmul(&mut c, a, b, false));
            println!("  gemm {name:24} {:7.1} GFLOP/s", flops as f64 / t / 1e9);
        };
        let x_mat = Mat::new(&x, tokens, h);
        let wide_mat = Mat::new(&wide, tokens, f);
        let small_mat = Mat::new(&small_w, h, h);
        let wide_w_mat = Mat::new(&wide_w, f, h);
        let small = 2 * tokens * h * h;
        gemm("x·Wᵀ [h,h]", tokens * h, x_mat, small_mat.t(), small);
        gemm("g·W [h,h]", tokens * h, x_mat, small_mat, small);
        gemm("gᵀ·x [h,h]", h * h, x_mat.t(), x_mat, small);
        gemm("x·Wᵀ [4h,h]", tokens * f, x_mat, wide_w_mat.t(), 4 * small);
        gemm("x·Wᵀ [h,4h]", tokens * h, wide_mat, Mat::new(&wide_w, h, f).t(), 4 * small);
        gemm("g·W [4h,h]", tokens * h, wide_mat, wide_w_mat, 4 * small);
        gemm("gᵀ·x [4h,h]", f * h, wide_mat.t(), x_mat, 4 * small);

        let each = |name: &str, entries: usize, run: &mut dyn FnMut()| {
            let t = median(run);
            println!(
                "  {name:29} {:7.3} ns an entry, {:8.1} µs",
                t * 1e9 / entries as f64,
                t * 1e6
            );
        };
        let (scale, shift, bias) = (draw(5, h), draw(6, h), draw(7, f));
        let norm = LayerNorm { scale: &scale, shift: &shift, eps: 1e-12 };
        let dropout = Dropout::new(0.1, 99);
        let mut sum = x.clone();
        let (mut out, mut stats) = (x.clone(), vec![0.0; 2 * tokens]);
        each("residual + LayerNorm", tokens * h, &mut || {
            norm.forward_residual(&mut sum, &shift, None, &x, &mut out, &mut stats);
        });
        each("residual + LayerNorm, dropout", tokens * h, &mut || {
            norm.forward_residual(&mut sum, &shift, dropout, &x, &mut out, &mut stats);
        });
        norm.forward(&x, &mut out, &mut stats);
        each("LayerNorm backward", tokens * h, &mut || {
            out.copy_from_slice(&x);
            norm.backward(&x, &stats, &mut out);
        });
        each("dropout backward", tokens * h, &mut || {
            layernorm::dropout(&x, h, dropout.expect("above 0"), &mut out);
        });
        let (mut pre, mut active) = (wide.clone(), wide.clone());
        each("bias + GELU", tokens * f, &mut || {
            activation::forward(Activation::Gelu, &mut pre, &bias, &mut active);
        });
        each("GELU backward", tokens * f, &mut || {
            activation::backward(Activation::Gelu, &wide, &mut pre, &mut active);
        });
        let mut columns = vec![0.0; f];
        each("bias gradient", tokens * f, &mut || sums::add_column_sums(&mut columns, &wide));
        for length in [16, 64].into_iter().filter(|l| l * 2 <= tokens) {
            let offsets: Vec<usize> = (0..=tokens / length).map(|i| i * length).collect();
            let kv = draw(8, tokens * 2 * h);
            for dropout in [None, dropout] {
                let a = Attention {
                    offsets: &offsets,
                    heads: 12,
                    hidden: h,
                    first_only: false,
                    positions: Positions::Embedded,
                    window: None,
                    dropout,
                };
                let mut log_sums = vec![0.0; tokens * 12];
                let (mut q_grad, mut kv_grad) = (vec![0.0; tokens * h], vec![0.0; tokens * 2 * h]);
                let name = |s: &str| {
                    let dropout = if dropout.is_some() { ", dropout" } else { "" };
                    format!("{s}, {length}{dropout}")
                };
                each(&name("attention"), tokens * h, &mut || {
                    a.forward(Operands::Apart(&x, &kv), &mut out, &mut log_sums);
                });
                each(&name("attention backward"), tokens * h, &mut || {
                    let grads = OperandGrads::Apart(&mut q_grad, &mut kv_grad);
                    a.backward(Operands::Apart(&x, &kv), &log_sums, &x, grads);
                });
            }
        }
    }
    // Both number formats, at MiniLM's and BERT-base's shapes; X is quantised anew each time.
    for wide in [h, 768] {
        for (n, k) in [(wide, wide), (4 * wide, wide), (wide, 4 * wide)] {
            let w = draw(1, n * k);
            let (packed, quantized) = (Packed::new(&w, n, k), Quantized::new(&w, n, k));
            for m in [1, 32, 1024] {
                let (x, mut y) = (draw(2, m * k), vec![0.0; m * n]);
                let mut inputs = Inputs::default();
                let float = median(|| packed.multiply(&x, &mut y));
                let whole = median(|| {
                    inputs.quantise(&x, k);
                    quantized.multiply(&inputs, 0..m, &mut y);
                });
                let quantise = median(|| inputs.quantise(&x, k));
                println!(
                    "[{n}, {k}], {m:4} rows: f32 {:8.1} µs, {:5.1} GFLOP/s; int8 {:8.1} µs, {:4.1} of them X; x {:.2}",
                    float * 1e6,
                    (2 * m * n * k) as f64 / float / 1e9,
                    whole * 1e6,
                    quantise * 1e6,
                    float / whole,
                );
            }
        }
    }
    for (rows, cols) in [(h, h), (f, h), (h, f)] {
        let w = draw(1, rows * cols);
        let packed = Packed::new(&w, rows, cols);
        for density in [0.0, 0.01, 0.1] {
            let zeros: Vec<u32> =
                (0..w.len() as u32).filter(|&i| uniform(2, i) < density).collect();
            let pattern = ZeroPattern::new(rows, cols, &zeros).expect("narrow enough");
            for n in [8, 16, 32, 48, 64, 128] {
                let (x, mut y) = (draw(3, n * cols), draw(4, n * rows));
                let mut scratch = Scratch::default();
                let t = median(|| pattern.correct(&packed, WHOLE, &x, &mut y, &mut scratch));
                println!(
                    "correction [{rows}, {cols}], {density} zeros, {n:3} rows {:8.1} µs, {:6.3} ns a zero and row",
                    t * 1e6,
                    t * 1e9 / (zeros.len() * n) as f64
                );
                let whole = Quantized::new(&w, rows, cols);
                let (mut inputs, mut sums) = (Inputs::default(), vec![0; n * rows]);
                inputs.quantise(&x, cols);
                let t = median(|| {
                    pattern.correct_sums(&whole, WHOLE, &inputs, 0..n, &mut sums, &mut scratch);
                });
                println!("  the same in whole numbers {:8.1} µs", t * 1e6);
            }
        }
    }
    let n = 6 * (4 * h * h + 2 * h * f);
    println!("{n} masked entries");
    let (weight, scores) = (draw(1, n), draw(2, n));
    let (mut effective, mut mean, mut square) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    let each = |name: &str, run: &mut dyn FnMut()| {
        let t = median(run);
        println!("  {name:29} {:7.3} ns an entry, {:8.1} µs", t * 1e9 / n as f64, t * 1e6);
    };
    each("mask sampling", &mut || mask::sample(&mut effective, &weight, &scores, 0.0, 7));
    each("mask threshold", &mut || mask::threshold(&mut effective, &weight, &scores, 0.0));
    each("score gradient", &mut || mask::score_grad(&mut effective, &weight, &scores, 0.0));
    each("square sum", &mut || {
        std::hint::black_box(sums::square_sum(&weight));
    });
    let adamw = AdamW {
        lr: 1e-3,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        decay: 0.01,
        grad_scale: 1.0,
        step: 3,
    };
    let mut param = weight.clone();
    each("AdamW", &mut || adamw.update(&mut param, &scores, &mut mean, &mut square));
}
