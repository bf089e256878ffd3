//! Multi-head self-attention over packed sequences, forward and backward.
//!
//! Each sequence attends to itself alone; there is no padding and no mask. Probabilities are not
//! kept: the backward pass computes them again from the log-sum-exp of every row.

use super::random::Dropout;
use super::simd::{LANES, dispatch, exp, maximum, sum};
use super::tiles::product;
use rayon::prelude::*;
use std::ops::Range;

/// Shape of one attention call.
///
/// Queries are `[rows, hidden]`; keys and values stand side by side, `[tokens, 2·hidden]`. Sequence
/// `s` owns tokens `offsets[s]..offsets[s + 1]`. With `first_only` only the first token of every
/// sequence asks (`rows` = sequences), else every token does (`rows` = tokens).
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Cumulative sequence lengths, `[sequences + 1]`.
    pub offsets: &'a [usize],
    /// Number of heads; divides `hidden`.
    pub heads: usize,
    /// Width of queries, keys and values.
    pub hidden: usize,
    /// Whether only first tokens ask.
    pub first_only: bool,
    /// What is added to the scores by distance.
    pub distances: Option<&'a Distances>,
    /// Dropout on the probabilities.
    pub dropout: Option<Dropout>,
}

/// A bias of every head for every distance of two tokens, made from a table by buckets of distances:
/// half of the buckets for tokens behind the one that asks, half for those before; of each half the
/// first half for single distances, the others for ranges that grow to 128 by the logarithm.
/// (`MPNetEncoder.relative_position_bucket` of Transformers, after T5.)
#[derive(Debug)]
pub struct Distances {
    /// `[heads, 2·longest − 1]`, from the farthest before to the farthest behind.
    biases: Vec<f32>,
    /// The bucket of every distance, `[2·longest − 1]`.
    buckets: Vec<usize>,
    heads: usize,
    longest: usize,
}

/// Distances from here on are all in the last bucket.
const FARTHEST: f32 = 128.0;

impl Distances {
    /// Those of `table`, `[buckets, heads]`, for the sequences of these offsets.
    pub fn new(table: &[f32], heads: usize, offsets: &[usize]) -> Self {
        let longest = offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(1).max(1);
        let half = table.len() / heads / 2;
        let single = half / 2;
        let bucket = |distance: i64| {
            let (n, side) = (distance.unsigned_abs() as usize, if distance > 0 { half } else { 0 });
            if n < single {
                return side + n;
            }
            // In float32, as the reference computes it.
            let share = (n as f32 / single as f32).ln() / (FARTHEST / single as f32).ln();
            side + (single + (share * (half - single) as f32) as usize).min(half - 1)
        };
        let span = 2 * longest - 1;
        let buckets: Vec<usize> =
            (0..span as i64).map(|i| bucket(i + 1 - longest as i64)).collect();
        let entries = (0..heads * span).map(|i| table[buckets[i % span] * heads + i / span]);
        Self { biases: entries.collect(), buckets, heads, longest }
    }

    /// Biases of `head` for the tokens of a sequence of `len` where token `asking` asks.
    fn row(&self, head: usize, asking: usize, len: usize) -> &[f32] {
        &self.biases[head * self.buckets.len() + self.longest - 1 - asking..][..len]
    }

    /// Adds gradients by distance, `[heads, 2·longest − 1]`, to those of the table, `[buckets, heads]`.
    pub fn add_grads(&self, by_distance: &[f32], table: &mut [f32]) {
        for (i, grad) in by_distance.iter().enumerate() {
            let (head, at) = (i / self.buckets.len(), i % self.buckets.len());
            table[self.buckets[at] * self.heads + head] += grad;
        }
    }
}

/// Packed operands of one sequence and head; `d` and `len` are rounded up to whole vectors.
#[derive(Default)]
struct Scratch {
    /// Keysᵀ scaled by 1/√d, `[d, len]`.
    keys_t: Vec<f32>,
    /// Valuesᵀ, `[d, len]` (backward), or values, `[len, d]` (forward).
    values: Vec<f32>,
    /// Keys scaled by 1/√d, `[len, d]` (backward).
    keys: Vec<f32>,
    /// Queries, `[queries, d]`.
    queries: Vec<f32>,
    /// Gradient of the output, `[queries, d]`.
    grad: Vec<f32>,
    /// Probabilities, `[queries, len]`.
    probabilities: Vec<f32>,
    /// Their gradient, `[queries, len]`.
    scores_grad: Vec<f32>,
    /// A result, `[queries or len, d]`.
    out: Vec<f32>,
}

impl Attention<'_> {
    /// softmax(Q·Kᵀ/√d)·V per sequence and head into `out`, `[rows, hidden]`; `log_sums`,
    /// `[rows, heads]`, receives the log-sum-exp of every score row.
    pub fn forward(&self, q: &[f32], kv: &[f32], out: &mut [f32], log_sums: &mut [f32]) {
        let out = self.split(out, self.hidden);
        let log_sums = self.split(log_sums, self.heads);
        out.into_par_iter().zip(log_sums).enumerate().for_each_init(
            Scratch::default,
            |scratch, (sequence, (out, log_sums))| {
                let (rows, tokens) = (self.rows(sequence), self.tokens(sequence));
                for head in 0..self.heads {
                    dispatch(
                        #[inline(always)]
                        || self.head_forward(scratch, q, kv, (&rows, &tokens, sequence, head)),
                    );
                    let (d, padded) =
                        (self.hidden / self.heads, round_up(self.hidden / self.heads));
                    for i in 0..rows.len() {
                        out[i * self.hidden + head * d..][..d]
                            .copy_from_slice(&scratch.out[i * padded..][..d]);
                        log_sums[i * self.heads + head] = scratch.grad[i];
                    }
                }
            },
        );
    }

    /// Gradients of queries and of keys and values, given that of the output and what the forward
    /// left in `log_sums`. `q_grad` and `kv_grad` are overwritten. Returns those of the biases by
    /// distance, `[heads, 2·longest − 1]`, of all sequences in their order; empty where there are none.
    pub fn backward(
        &self,
        (q, kv): (&[f32], &[f32]),
        log_sums: &[f32],
        grad: &[f32],
        (q_grad, kv_grad): (&mut [f32], &mut [f32]),
    ) -> Vec<f32> {
        let q_grad = self.split(q_grad, self.hidden);
        let mut kv_grads = Vec::with_capacity(self.offsets.len());
        let mut rest = kv_grad;
        for sequence in 0..self.offsets.len() - 1 {
            let (mine, others) = rest.split_at_mut(self.tokens(sequence).len() * 2 * self.hidden);
            kv_grads.push(mine);
            rest = others;
        }
        let biases = self.distances.map_or(0, |distances| distances.biases.len());
        let sums = q_grad.into_par_iter().zip(kv_grads).enumerate().map_init(
            Scratch::default,
            |scratch, (sequence, (q_grad, kv_grad))| {
                let (rows, tokens) = (self.rows(sequence), self.tokens(sequence));
                let mut by_distance = vec![0.0; biases];
                for head in 0..self.heads {
                    dispatch(
                        #[inline(always)]
                        || {
                            let place = (&rows, &tokens, sequence, head);
                            self.head_backward(
                                scratch,
                                (q, kv, log_sums, grad),
                                (q_grad, kv_grad, &mut by_distance),
                                place,
                            );
                        },
                    );
                }
                by_distance
            },
        );
        let sums: Vec<Vec<f32>> = sums.collect();
        let mut all = vec![0.0; biases];
        for sum in sums {
            all.iter_mut().zip(sum).for_each(|(all, sum)| *all += sum);
        }
        all
    }

    /// Token range of a sequence.
    fn tokens(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }

    /// Query rows of a sequence.
    fn rows(&self, sequence: usize) -> Range<usize> {
        if self.first_only { sequence..sequence + 1 } else { self.tokens(sequence) }
    }

    /// Splits `[rows, width]` into one slice a sequence.
    fn split<'x>(&self, mut x: &'x mut [f32], width: usize) -> Vec<&'x mut [f32]> {
        (0..self.offsets.len() - 1)
            .map(|sequence| {
                let len = self.rows(sequence).len() * width;
                let (mine, rest) = std::mem::take(&mut x).split_at_mut(len);
                x = rest;
                mine
            })
            .collect()
    }

    fn head_dropout(&self, sequence: usize, head: usize) -> Option<Dropout> {
        self.dropout.map(|d| d.substream((sequence * self.heads + head) as u64))
    }

    /// Leaves the output in `scratch.out` and the log-sums in `scratch.grad`.
    #[inline(always)]
    fn head_forward(
        &self,
        scratch: &mut Scratch,
        q: &[f32],
        kv: &[f32],
        (rows, tokens, sequence, head): (&Range<usize>, &Range<usize>, usize, usize),
    ) {
        let d = self.hidden / self.heads;
        let (queries, len) = (rows.len(), tokens.len());
        let (d_padded, len_padded) = (round_up(d), round_up(len));
        let s = scratch;
        let scale = 1.0 / (d as f32).sqrt();
        let at = head * d;
        pack_transposed(&mut s.keys_t, kv, 2 * self.hidden, at, tokens, d, scale);
        pack(&mut s.values, kv, 2 * self.hidden, self.hidden + at, tokens, d, 1.0);
        pack(&mut s.queries, q, self.hidden, at, rows, d, 1.0);
        fit(&mut s.probabilities, queries * len_padded);
        product(
            &mut s.probabilities,
            (&s.queries, d_padded, 1),
            &s.keys_t,
            (queries, len_padded, d),
        );
        fit(&mut s.grad, queries);
        let dropout = self.head_dropout(sequence, head);
        for i in 0..queries {
            let row = &mut s.probabilities[i * len_padded..(i + 1) * len_padded];
            let row = &mut row[..len];
            if let Some(distances) = self.distances {
                let biases = distances.row(head, i, len);
                for j in 0..len {
                    row[j] += biases[j];
                }
            }
            let most = maximum(row);
            for p in row.iter_mut() {
                *p = exp(*p - most);
            }
            let total = sum(
                len,
                #[inline(always)]
                |j| row[j],
            );
            let inverse = 1.0 / total;
            match dropout {
                Some(dropout) => {
                    for (j, p) in row.iter_mut().enumerate() {
                        *p *= inverse * dropout.factor((i * len + j) as u32);
                    }
                }
                None => {
                    for p in row.iter_mut() {
                        *p *= inverse;
                    }
                }
            }
            s.grad[i] = most + total.ln();
        }
        fit(&mut s.out, queries * d_padded);
        product(&mut s.out, (&s.probabilities, len_padded, 1), &s.values, (queries, d_padded, len));
    }

    #[inline(always)]
    fn head_backward(
        &self,
        s: &mut Scratch,
        (q, kv, log_sums, grad): (&[f32], &[f32], &[f32], &[f32]),
        (q_grad, kv_grad, by_distance): (&mut [f32], &mut [f32], &mut [f32]),
        (rows, tokens, sequence, head): (&Range<usize>, &Range<usize>, usize, usize),
    ) {
        let (d, hidden) = (self.hidden / self.heads, self.hidden);
        let (queries, len) = (rows.len(), tokens.len());
        let (d_padded, len_padded) = (round_up(d), round_up(len));
        let scale = 1.0 / (d as f32).sqrt();
        let at = head * d;
        pack_transposed(&mut s.keys_t, kv, 2 * hidden, at, tokens, d, scale);
        pack(&mut s.keys, kv, 2 * hidden, at, tokens, d, scale);
        pack_transposed(&mut s.values, kv, 2 * hidden, hidden + at, tokens, d, 1.0);
        pack(&mut s.queries, q, hidden, at, rows, d, 1.0);
        pack(&mut s.grad, grad, hidden, at, rows, d, 1.0);
        fit(&mut s.probabilities, queries * len_padded);
        fit(&mut s.scores_grad, queries * len_padded);
        let scores = (queries, len_padded, d);
        product(&mut s.probabilities, (&s.queries, d_padded, 1), &s.keys_t, scores);
        product(&mut s.scores_grad, (&s.grad, d_padded, 1), &s.values, scores);
        let dropout = self.head_dropout(sequence, head);
        for i in 0..queries {
            let p = &mut s.probabilities[i * len_padded..][..len];
            let g = &mut s.scores_grad[i * len_padded..][..len];
            let (p, g) = (&mut p[..len], &mut g[..len]);
            let log_sum = log_sums[(rows.start + i) * self.heads + head];
            if let Some(distances) = self.distances {
                let biases = distances.row(head, i, len);
                for j in 0..len {
                    p[j] += biases[j];
                }
            }
            for p in p.iter_mut() {
                *p = exp(*p - log_sum);
            }
            // g ← gradient of the undropped probabilities, then of the scores; p ← dropped.
            if let Some(dropout) = dropout {
                for j in 0..len {
                    g[j] *= dropout.factor((i * len + j) as u32);
                }
            }
            let dot = sum(
                len,
                #[inline(always)]
                |j| p[j] * g[j],
            );
            for j in 0..len {
                g[j] = p[j] * (g[j] - dot);
            }
            if let Some(distances) = self.distances {
                let at = head * distances.buckets.len() + distances.longest - 1 - i;
                by_distance[at..][..len].iter_mut().zip(&*g).for_each(|(sum, g)| *sum += g);
            }
            if let Some(dropout) = dropout {
                for j in 0..len {
                    p[j] *= dropout.factor((i * len + j) as u32);
                }
            }
        }
        fit(&mut s.out, len.max(queries) * d_padded);
        // Values: Pᵀ·dO.
        let over_queries = (len, d_padded, queries);
        product(&mut s.out, (&s.probabilities, 1, len_padded), &s.grad, over_queries);
        for j in 0..len {
            kv_grad[j * 2 * hidden + hidden + at..][..d]
                .copy_from_slice(&s.out[j * d_padded..][..d]);
        }
        // Keys: dSᵀ·Q/√d.
        product(&mut s.out, (&s.scores_grad, 1, len_padded), &s.queries, over_queries);
        for j in 0..len {
            let out = &s.out[j * d_padded..][..d];
            for (g, o) in kv_grad[j * 2 * hidden + at..][..d].iter_mut().zip(out) {
                *g = o * scale;
            }
        }
        // Queries: dS·K/√d.
        let over_keys = (queries, d_padded, len);
        product(&mut s.out, (&s.scores_grad, len_padded, 1), &s.keys, over_keys);
        for i in 0..queries {
            q_grad[i * hidden + at..][..d].copy_from_slice(&s.out[i * d_padded..][..d]);
        }
    }
}

#[inline(always)]
fn round_up(n: usize) -> usize {
    n.div_ceil(LANES) * LANES
}

/// Gives `x` the length `len`; what is new is zero, what was there stays.
#[inline(always)]
fn fit(x: &mut Vec<f32>, len: usize) {
    x.resize(len, 0.0);
}

/// `out[i, ..d]` = scale · x[rows[i], at..at + d]; padding columns are zero.
#[inline(always)]
fn pack(
    out: &mut Vec<f32>,
    x: &[f32],
    stride: usize,
    at: usize,
    rows: &Range<usize>,
    d: usize,
    scale: f32,
) {
    let padded = round_up(d);
    fit(out, rows.len() * padded);
    for (i, row) in rows.clone().enumerate() {
        let out = &mut out[i * padded..(i + 1) * padded];
        for (o, v) in out.iter_mut().zip(&x[row * stride + at..][..d]) {
            *o = v * scale;
        }
        out[d..].fill(0.0);
    }
}

/// `out[c, i]` = scale · x[rows[i], at + c], `[d, rows]` with padding columns zero.
#[inline(always)]
fn pack_transposed(
    out: &mut Vec<f32>,
    x: &[f32],
    stride: usize,
    at: usize,
    rows: &Range<usize>,
    d: usize,
    scale: f32,
) {
    let padded = round_up(rows.len());
    fit(out, d * padded);
    for (i, row) in rows.clone().enumerate() {
        let x = &x[row * stride + at..][..d];
        for (o, v) in out[i..].iter_mut().step_by(padded).zip(x) {
            *o = v * scale;
        }
    }
    for c in 0..d {
        out[c * padded + rows.len()..(c + 1) * padded].fill(0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{Purpose, key, normal};

    const HIDDEN: usize = 36;
    const OFFSETS: [usize; 5] = [0, 17, 18, 35, 40];

    fn draw(key: u64, len: usize) -> Vec<f32> {
        (0..len as u32).map(|i| normal(key, i)).collect()
    }

    fn attention(first_only: bool, dropout: bool, distances: Option<&Distances>) -> Attention<'_> {
        let dropout =
            if dropout { Dropout::new(0.3, key(1, Purpose::Dropout, 0, 0)) } else { None };
        Attention { offsets: &OFFSETS, heads: 3, hidden: HIDDEN, first_only, distances, dropout }
    }

    /// Σ weight ∘ out by a plain float64 loop.
    fn loss(attention: &Attention<'_>, q: &[f32], kv: &[f32], weight: &[f32]) -> f64 {
        let d = HIDDEN / attention.heads;
        let mut loss = 0.0;
        for s in 0..OFFSETS.len() - 1 {
            let (rows, tokens) = (attention.rows(s), attention.tokens(s));
            for h in 0..attention.heads {
                for (i, r) in rows.clone().enumerate() {
                    let exps: Vec<f64> = tokens
                        .clone()
                        .map(|t| {
                            let dot = |c| {
                                f64::from(q[r * HIDDEN + h * d + c])
                                    * f64::from(kv[t * 2 * HIDDEN + h * d + c])
                            };
                            let bias = attention.distances.map_or(0.0, |distances| {
                                f64::from(distances.row(h, i, tokens.len())[t - tokens.start])
                            });
                            ((0..d).map(dot).sum::<f64>() / (d as f64).sqrt() + bias).exp()
                        })
                        .collect();
                    let total: f64 = exps.iter().sum();
                    for (j, t) in tokens.clone().enumerate() {
                        let factor = attention
                            .head_dropout(s, h)
                            .map_or(1.0, |d| f64::from(d.factor((i * tokens.len() + j) as u32)));
                        for c in 0..d {
                            loss += exps[j] / total
                                * factor
                                * f64::from(kv[t * 2 * HIDDEN + HIDDEN + h * d + c])
                                * f64::from(weight[r * HIDDEN + h * d + c]);
                        }
                    }
                }
            }
        }
        loss
    }

    #[test]
    fn forward_and_backward_agree_with_float64() {
        let biases = draw(4, 32 * 3);
        let table = Distances::new(&biases, 3, &OFFSETS);
        for (first_only, dropout, distances) in [
            (false, false, None),
            (false, true, None),
            (true, false, None),
            (true, true, None),
            (false, true, Some(&table)),
            (true, false, Some(&table)),
        ] {
            let a = attention(first_only, dropout, distances);
            let rows = if first_only { OFFSETS.len() - 1 } else { 40 };
            let (q, kv) = (draw(1, rows * HIDDEN), draw(2, 40 * 2 * HIDDEN));
            let weight = draw(3, rows * HIDDEN);
            let (mut out, mut log_sums) = (vec![0.0; q.len()], vec![0.0; rows * a.heads]);
            a.forward(&q, &kv, &mut out, &mut log_sums);
            let got: f64 = out.iter().zip(&weight).map(|(o, w)| f64::from(o * w)).sum();
            assert!((got - loss(&a, &q, &kv, &weight)).abs() < 1e-4);
            let (mut q_grad, mut kv_grad) = (vec![9.0; q.len()], vec![9.0; kv.len()]);
            let by_distance =
                a.backward((&q, &kv), &log_sums, &weight, (&mut q_grad, &mut kv_grad));
            let nudged = |v: &[f32], i: usize, h: f32| {
                let mut v = v.to_vec();
                v[i] += h;
                v
            };
            for i in (0..q.len()).step_by(7) {
                let at = |h| loss(&a, &nudged(&q, i, h), &kv, &weight);
                let want = (at(1e-3) - at(-1e-3)) / 2e-3;
                assert!((f64::from(q_grad[i]) - want).abs() < 2e-3, "{} {want}", q_grad[i]);
            }
            for i in (0..kv.len()).step_by(11) {
                let at = |h| loss(&a, &q, &nudged(&kv, i, h), &weight);
                let want = (at(1e-3) - at(-1e-3)) / 2e-3;
                assert!((f64::from(kv_grad[i]) - want).abs() < 2e-3, "{} {want}", kv_grad[i]);
            }
            let Some(distances) = distances else { continue };
            let mut grads = vec![0.0; biases.len()];
            distances.add_grads(&by_distance, &mut grads);
            for (i, grad) in grads.iter().enumerate() {
                let at = |h| {
                    let moved = Distances::new(&nudged(&biases, i, h), 3, &OFFSETS);
                    loss(&attention(first_only, dropout, Some(&moved)), &q, &kv, &weight)
                };
                let want = (at(1e-3) - at(-1e-3)) / 2e-3;
                assert!((f64::from(*grad) - want).abs() < 2e-3, "{grad} {want}");
            }
        }
    }

    /// `MPNetEncoder.relative_position_bucket` of Transformers 5.23, on every distance up to 600.
    #[test]
    fn distances_fall_into_the_buckets_of_transformers() {
        let buckets = Distances::new(&[0.0; 32], 1, &[0, 601]).buckets;
        let of = |distance: i64| buckets[(distance + 600) as usize];
        for (distance, bucket) in [
            (-600, 15),
            (-128, 15),
            (-64, 14),
            (-33, 12),
            (-31, 11),
            (-16, 10),
            (-12, 9),
            (-11, 8),
            (-8, 8),
            (-7, 7),
            (0, 0),
            (1, 17),
            (8, 24),
            (12, 25),
            (32, 28),
            (64, 30),
            (91, 31),
        ] {
            assert_eq!(of(distance), bucket, "{distance}");
        }
        let digest = buckets.iter().fold(0, |sum: u64, &b| (sum * 31 + b as u64) % 1_000_000_007);
        assert_eq!(digest, 394_818_959);
    }

    #[test]
    fn large_scores_do_not_overflow() {
        let a = attention(false, false, None);
        let q = vec![40.0; 40 * HIDDEN];
        let kv = draw(2, 40 * 2 * HIDDEN).iter().map(|v| v * 40.0).collect::<Vec<_>>();
        let (mut out, mut log_sums) = (vec![0.0; q.len()], vec![0.0; 40 * a.heads]);
        a.forward(&q, &kv, &mut out, &mut log_sums);
        assert!(out.iter().all(|v| v.is_finite()));
    }
}
