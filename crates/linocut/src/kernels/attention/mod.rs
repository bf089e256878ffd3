//! Multi-head self-attention over packed sequences, forward and backward.
//!
//! Each sequence attends to itself alone; there is no padding and no mask. Probabilities are not
//! kept: the backward pass computes them again from the log-sum-exp of every row, block of rows by block
//! of rows, so that no memory grows with the square of a text's length.

mod disentangled;
mod distances;
mod head;
mod pack;
mod rotary;
mod terms;
#[cfg(test)]
mod tests;

use super::random::Dropout;
use super::simd::{LANES, dispatch};
use head::{GradPlaces, Place, Scratch};
use rayon::prelude::*;
use std::ops::Range;

pub use disentangled::{Buckets, Disentangled, Reached};
pub use distances::Distances;
pub use rotary::{Rotaries, Rotary};

/// Shape of one attention call.
///
/// Sequence `s` owns tokens `offsets[s]..offsets[s + 1]`. With `first_only` only the first token of every
/// sequence asks (output rows = sequences), else every token does (output rows = tokens).
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// Cumulative sequence lengths, `[sequences + 1]`.
    pub offsets: &'a [usize],
    /// Number of heads; divides `hidden`.
    pub heads: usize,
    /// Width of queries, keys and values each.
    pub hidden: usize,
    /// Whether only first tokens ask.
    pub first_only: bool,
    /// How scores depend on where tokens are.
    pub positions: Positions<'a>,
    /// How far a token attends, either way; without, to its whole sequence.
    pub window: Option<usize>,
    /// Dropout on the probabilities.
    pub dropout: Option<Dropout>,
}

/// How scores depend on where tokens are.
#[derive(Clone, Copy)]
pub enum Positions<'a> {
    /// They do not: hidden states say it.
    Embedded,
    /// By a bias of the distance.
    Distances(&'a Distances),
    /// By turning queries and keys.
    Rotary(&'a Rotary),
    /// By products with keys and queries of distances.
    Disentangled(Disentangled<'a>),
}

/// Queries, keys and values. Queries have as many rows as the output, but where they stand beside the
/// others.
#[derive(Clone, Copy)]
pub enum Operands<'a> {
    /// Queries `[rows, hidden]`, keys and values `[tokens, hidden]`.
    Each([&'a [f32]; 3]),
    /// Queries `[rows, hidden]`, keys beside values `[tokens, 2·hidden]`.
    Apart(&'a [f32], &'a [f32]),
    /// All three, `[tokens, 3·hidden]`.
    Together(&'a [f32]),
}

/// Where the gradients of [`Operands`] go; they are overwritten.
pub enum OperandGrads<'a> {
    /// Of [`Operands::Each`].
    Each([&'a mut [f32]; 3]),
    /// Of [`Operands::Apart`].
    Apart(&'a mut [f32], &'a mut [f32]),
    /// Of [`Operands::Together`].
    Together(&'a mut [f32]),
}

/// Gradients of what positions bring, summed over sequences in their order; empty where there is none.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PositionGrads {
    /// Of [`Distances`], for [`Distances::table_grad`].
    pub by_distance: Vec<f32>,
    /// Of [`Disentangled::keys`].
    pub keys: Vec<f32>,
    /// Of [`Disentangled::queries`].
    pub queries: Vec<f32>,
}

impl PositionGrads {
    fn parts(&mut self) -> [&mut Vec<f32>; 3] {
        [&mut self.by_distance, &mut self.keys, &mut self.queries]
    }
}

/// From this length on, heads of one sequence are computed side by side.
const LONG: usize = 1024;
/// The same where there are fewer sequences than threads.
const WORTH: usize = 64;

/// The longest sequence, at least 1.
pub fn longest(offsets: &[usize]) -> usize {
    offsets.windows(2).map(|w| w[1] - w[0]).max().unwrap_or(1).max(1)
}

impl Attention<'_> {
    /// softmax(Q·Kᵀ/√d + …)·V per sequence and head into `out`, `[rows, hidden]`; `log_sums`,
    /// `[rows, heads]`, receives the log-sum-exp of every score row.
    pub fn forward(&self, operands: Operands<'_>, out: &mut [f32], log_sums: &mut [f32]) {
        let d = self.hidden / self.heads;
        let outs = self.split(out, self.hidden).into_iter().zip(self.split(log_sums, self.heads));
        let compute = |scratch: &mut Scratch, place: &Place| {
            dispatch(
                #[inline(always)]
                || self.head_forward(scratch, operands, place),
            );
        };
        let put = |head: usize, rows: &[f32], sums: &[f32], out: &mut [f32], into: &mut [f32]| {
            for (i, row) in rows.chunks_exact(round_up(d)).enumerate() {
                out[i * self.hidden + head * d..][..d].copy_from_slice(&row[..d]);
                into[i * self.heads + head] = sums[i];
            }
        };
        // The same bits either way: every head of every sequence is computed by itself.
        let few = self.offsets.len() - 1 < rayon::current_num_threads();
        let by_heads = longest(self.offsets) >= if few { WORTH } else { LONG };
        if by_heads {
            for (sequence, (out, into)) in outs.enumerate() {
                let one = |scratch: &mut Scratch, head| {
                    compute(scratch, &self.place(sequence, head));
                    (std::mem::take(&mut scratch.out), std::mem::take(&mut scratch.log_sums))
                };
                let all = (0..self.heads).into_par_iter().map_init(Scratch::default, one);
                for (head, (rows, sums)) in all.collect::<Vec<_>>().iter().enumerate() {
                    put(head, rows, sums, out, into);
                }
            }
        } else {
            let outs: Vec<_> = outs.collect();
            outs.into_par_iter().enumerate().for_each_init(
                Scratch::default,
                |scratch, (sequence, (out, into))| {
                    for head in 0..self.heads {
                        compute(scratch, &self.place(sequence, head));
                        put(head, &scratch.out, &scratch.log_sums, out, into);
                    }
                },
            );
        }
    }

    /// Gradients of queries, keys and values into `grads`, and of what positions bring, given that of the
    /// output and what the forward left in `log_sums`.
    pub fn backward(
        &self,
        operands: Operands<'_>,
        log_sums: &[f32],
        grad: &[f32],
        grads: OperandGrads<'_>,
    ) -> PositionGrads {
        let parts = self.split_grads(grads);
        let sums = parts.into_par_iter().enumerate().map_init(
            Scratch::default,
            |scratch, (sequence, mut into)| {
                let mut positions = self.position_grads();
                for head in 0..self.heads {
                    let place = self.place(sequence, head);
                    dispatch(
                        #[inline(always)]
                        || {
                            let given = (operands, log_sums, grad);
                            self.head_backward(scratch, given, (&mut into, &mut positions), &place);
                        },
                    );
                }
                positions
            },
        );
        let sums: Vec<PositionGrads> = sums.collect();
        let mut all = self.position_grads();
        for mut sum in sums {
            for (all, sum) in all.parts().into_iter().zip(sum.parts()) {
                all.iter_mut().zip(sum).for_each(|(all, sum)| *all += *sum);
            }
        }
        all
    }

    /// Zeros for the gradients of what positions bring.
    fn position_grads(&self) -> PositionGrads {
        let zeros = |len: usize| vec![0.0; len];
        match self.positions {
            Positions::Embedded | Positions::Rotary(_) => PositionGrads::default(),
            Positions::Distances(distances) => {
                PositionGrads { by_distance: zeros(distances.len()), ..Default::default() }
            }
            Positions::Disentangled(by) => PositionGrads {
                by_distance: vec![],
                keys: zeros(by.keys.map_or(0, <[f32]>::len)),
                queries: zeros(by.queries.map_or(0, <[f32]>::len)),
            },
        }
    }

    fn place(&self, sequence: usize, head: usize) -> Place {
        let dropout = self.dropout.map(|d| d.substream((sequence * self.heads + head) as u64));
        Place { rows: self.rows(sequence), tokens: self.tokens(sequence), head, dropout }
    }

    /// Token range of a sequence.
    fn tokens(&self, sequence: usize) -> Range<usize> {
        self.offsets[sequence]..self.offsets[sequence + 1]
    }

    /// Output rows of a sequence.
    fn rows(&self, sequence: usize) -> Range<usize> {
        if self.first_only { sequence..sequence + 1 } else { self.tokens(sequence) }
    }

    /// Splits `[rows, width]` into one slice a sequence.
    fn split<'x>(&self, x: &'x mut [f32], width: usize) -> Vec<&'x mut [f32]> {
        self.split_by(x, |sequence| self.rows(sequence).len() * width)
    }

    fn split_by<'x>(
        &self,
        mut x: &'x mut [f32],
        len: impl Fn(usize) -> usize,
    ) -> Vec<&'x mut [f32]> {
        (0..self.offsets.len() - 1)
            .map(|sequence| {
                let (mine, rest) = std::mem::take(&mut x).split_at_mut(len(sequence));
                x = rest;
                mine
            })
            .collect()
    }

    fn split_grads<'x>(&self, grads: OperandGrads<'x>) -> Vec<GradPlaces<'x>> {
        let tokens = |width: usize| move |sequence| self.tokens(sequence).len() * width;
        match grads {
            OperandGrads::Each([q, k, v]) => {
                let k = self.split_by(k, tokens(self.hidden));
                let v = self.split_by(v, tokens(self.hidden));
                let all = self.split(q, self.hidden).into_iter().zip(k.into_iter().zip(v));
                all.map(|(q, (k, v))| GradPlaces::Each([q, k, v])).collect()
            }
            OperandGrads::Apart(q, kv) => {
                let kv = self.split_by(kv, tokens(2 * self.hidden));
                let both = self.split(q, self.hidden).into_iter().zip(kv);
                both.map(|(q, kv)| GradPlaces::Apart(q, kv)).collect()
            }
            OperandGrads::Together(qkv) => {
                if self.first_only {
                    qkv.fill(0.0); // queries of other tokens have none
                }
                let all = self.split_by(qkv, tokens(3 * self.hidden));
                all.into_iter().map(GradPlaces::Together).collect()
            }
        }
    }
}

#[inline(always)]
fn round_up(n: usize) -> usize {
    n.div_ceil(LANES) * LANES
}
