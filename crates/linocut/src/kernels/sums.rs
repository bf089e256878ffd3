//! Column sums (bias gradients), bias addition and norms, in an order that threads cannot change.

use super::simd::dispatch;
use rayon::prelude::*;

/// Columns that one task sums: 256 bytes of a row.
const COLUMNS_PER_TASK: usize = 64;

/// Adds to `sums[j]` the sum over rows of `x[row, j]`; `x` is `[rows, sums.len()]`.
pub fn add_column_sums(sums: &mut [f32], x: &[f32]) {
    add_columns(sums, x.len() / sums.len().max(1), |row, j, width| &x[row * width + j..]);
}

/// Adds columns `start..start + sums.len()` of `x`, `[rows, width]`, to `sums`.
pub fn add_column_sums_of(sums: &mut [f32], x: &[f32], width: usize, start: usize) {
    add_columns(sums, x.len() / width, |row, j, _| &x[row * width + start + j..]);
}

fn add_columns<'x>(
    sums: &mut [f32],
    rows: usize,
    at: impl Fn(usize, usize, usize) -> &'x [f32] + Sync,
) {
    let width = sums.len();
    sums.par_chunks_mut(COLUMNS_PER_TASK).enumerate().for_each(|(task, sums)| {
        dispatch(
            #[inline(always)]
            || {
                let mut acc = [0.0f32; COLUMNS_PER_TASK];
                let acc = &mut acc[..sums.len()];
                for row in 0..rows {
                    let x = &at(row, task * COLUMNS_PER_TASK, width)[..acc.len()];
                    for j in 0..acc.len() {
                        acc[j] += x[j];
                    }
                }
                for j in 0..acc.len() {
                    sums[j] += acc[j];
                }
            },
        );
    });
}

/// Adds `bias` to every row of `x`, `[rows, bias.len()]`.
pub fn add_bias(x: &mut [f32], bias: &[f32]) {
    x.par_chunks_mut(bias.len() * super::ROWS_PER_TASK).for_each(|rows| {
        dispatch(
            #[inline(always)]
            || {
                let width = bias.len();
                for row in rows.chunks_exact_mut(width) {
                    let (row, bias) = (&mut row[..width], &bias[..width]);
                    for j in 0..width {
                        row[j] += bias[j];
                    }
                }
            },
        );
    });
}

/// a·b in float64.
pub fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Σ x², in float64 over fixed blocks.
pub fn square_sum(x: &[f32]) -> f64 {
    const BLOCK: usize = 1 << 14;
    let blocks: Vec<f64> = x
        .par_chunks(BLOCK)
        .map(|x| {
            dispatch(
                #[inline(always)]
                || {
                    let mut acc = [0.0f64; 8];
                    let whole = x.len() / 8 * 8;
                    for eight in x[..whole].chunks_exact(8) {
                        for l in 0..8 {
                            acc[l] += f64::from(eight[l]) * f64::from(eight[l]);
                        }
                    }
                    let rest: f64 = x[whole..].iter().map(|&v| f64::from(v) * f64::from(v)).sum();
                    acc.iter().sum::<f64>() + rest
                },
            )
        })
        .collect();
    blocks.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_of_whole_numbers_are_exact() {
        let (rows, width) = (70, 100);
        let x: Vec<f32> = (0..rows * width).map(|i| (i % 13) as f32).collect();
        let mut sums = vec![1.0; width];
        add_column_sums(&mut sums, &x);
        let mut part = vec![0.0; 10];
        add_column_sums_of(&mut part, &x, width, 80);
        for j in 0..width {
            let want: f32 = (0..rows).map(|r| x[r * width + j]).sum();
            assert_eq!(sums[j], want + 1.0);
            if (80..90).contains(&j) {
                assert_eq!(part[j - 80], want);
            }
        }
        assert_eq!(square_sum(&x), x.iter().map(|v| f64::from(v * v)).sum::<f64>());
        let mut y = x.clone();
        add_bias(&mut y, &sums);
        assert_eq!(y[width + 3], x[width + 3] + sums[3]);
    }
}
