//! Attention of one head within one sequence.

use super::super::random::Dropout;
use super::super::simd::{LANES, exp, maximum, sum};
use super::super::tiles::product;
use super::pack::{Columns, fit, pack, pack_transposed, stride};
use super::terms::Terms;
use super::{Attention, Disentangled, Operands, PositionGrads, Positions, Rotary, round_up};
use std::ops::Range;

/// One sequence and head.
pub(super) struct Place {
    /// Its rows of the output.
    pub(super) rows: Range<usize>,
    /// Its rows of keys and values.
    pub(super) tokens: Range<usize>,
    pub(super) head: usize,
    pub(super) dropout: Option<Dropout>,
}

/// Where the gradients of one sequence go, see [`super::OperandGrads`].
pub(super) enum GradPlaces<'a> {
    Each([&'a mut [f32]; 3]),
    Apart(&'a mut [f32], &'a mut [f32]),
    Together(&'a mut [f32]),
}

/// Packed operands of one sequence and head; `d` and `len` are rounded up to whole vectors.
#[derive(Default)]
pub(super) struct Scratch {
    /// Keysᵀ scaled by 1/√d, `[d, len]`.
    keys_t: Vec<f32>,
    /// Values, `[len, d]` (forward), or Valuesᵀ, `[d, len]` (backward).
    values: Vec<f32>,
    /// Keys, `[len, d]`: scaled by 1/√d in the backward, as they are for positions.
    pub(super) keys: Vec<f32>,
    /// Queries, `[queries, d]`.
    pub(super) queries: Vec<f32>,
    /// Gradient of the output, `[queries, d]`.
    grad: Vec<f32>,
    /// Probabilities of a block of queries, `[block, len]`.
    pub(super) probabilities: Vec<f32>,
    /// Their gradient, `[block, len]`.
    pub(super) scores_grad: Vec<f32>,
    /// A result, `[queries or len, d]`.
    pub(super) out: Vec<f32>,
    /// Gradients of keys and of values so far, `[len, d]` each.
    pub(super) keys_grad: Vec<f32>,
    values_grad: Vec<f32>,
    /// The log-sum-exp of every score row, `[queries]`.
    pub(super) log_sums: Vec<f32>,
    pub(super) by: Terms,
}

/// A block of queries and the keys that some of them reach.
pub(super) struct Block {
    /// Queries, from the first of the sequence.
    pub(super) queries: Range<usize>,
    /// Keys, from the first of the sequence; begins at a whole vector.
    keys: Range<usize>,
    /// Their number rounded up to whole vectors.
    pub(super) width: usize,
}

impl Attention<'_> {
    /// 1/√d, and less where more products make up a score.
    pub(super) fn scale(&self) -> f32 {
        let terms = match self.positions {
            Positions::Disentangled(by) => by.terms(),
            _ => 1,
        };
        1.0 / ((self.hidden / self.heads * terms) as f32).sqrt()
    }

    /// Blocks of queries, whose probabilities fit the second cache.
    fn blocks(&self, queries: usize, len: usize) -> impl Iterator<Item = Block> {
        const ENTRIES: usize = 1 << 18;
        let window = self.window.unwrap_or(len);
        let reach = round_up(len.min(2 * window + 1));
        let size = match self.window {
            Some(window) if window < len => window.max(LANES),
            _ => (ENTRIES / reach).max(48),
        };
        (0..queries).step_by(size).map(move |start| {
            let queries = start..(start + size).min(queries);
            let first = queries.start.saturating_sub(window) / LANES * LANES;
            let keys = first..(queries.end + window).min(len);
            let width = round_up(keys.len());
            Block { queries, keys, width }
        })
    }

    /// The keys that query `i` reaches, from the first of the sequence.
    #[inline(always)]
    fn reach(&self, i: usize, len: usize) -> Range<usize> {
        match self.window {
            Some(window) => i.saturating_sub(window)..(i + window + 1).min(len),
            None => 0..len,
        }
    }

    fn rotary(&self) -> Option<&Rotary> {
        match self.positions {
            Positions::Rotary(rotary) => Some(rotary),
            _ => None,
        }
    }

    fn disentangled(&self) -> Option<Disentangled<'_>> {
        match self.positions {
            Positions::Disentangled(by) => Some(by),
            _ => None,
        }
    }

    /// Packs queries, turned where positions turn them.
    #[inline(always)]
    fn pack_queries(&self, into: &mut Vec<f32>, operands: Operands<'_>, place: &Place) {
        let (d, h) = (self.hidden / self.heads, self.hidden);
        let at = place.head * d;
        match operands {
            Operands::Each([q, ..]) | Operands::Apart(q, _) => {
                pack(into, (q, h, at), &place.rows, d, 1.0)
            }
            Operands::Together(qkv) => {
                let first = place.tokens.start;
                pack(into, (qkv, 3 * h, at), &(first..first + place.rows.len()), d, 1.0);
            }
        }
        if let Some(rotary) = self.rotary() {
            rotary.turn(into, 0, false);
        }
    }

    /// Packs keys and keysᵀ, both scaled, turned where positions turn them; keys themselves only where
    /// `rows` says or they are turned.
    #[inline(always)]
    fn pack_keys(&self, s: &mut Scratch, operands: Operands<'_>, place: &Place, rows: bool) {
        let d = self.hidden / self.heads;
        let (columns, scale) = (self.keys_and_values(operands, place).0, self.scale());
        let rotary = self.rotary();
        if rows || rotary.is_some() {
            pack(&mut s.keys, columns, &place.tokens, d, scale);
        }
        match rotary {
            Some(rotary) => {
                rotary.turn(&mut s.keys, 0, false);
                let whole = (&s.keys[..], round_up(d), 0);
                pack_transposed(&mut s.keys_t, whole, &(0..place.tokens.len()), d, 1.0);
            }
            None => pack_transposed(&mut s.keys_t, columns, &place.tokens, d, scale),
        }
    }

    /// Where keys and values stand.
    #[inline(always)]
    pub(super) fn keys_and_values<'x>(
        &self,
        operands: Operands<'x>,
        place: &Place,
    ) -> (Columns<'x>, Columns<'x>) {
        let h = self.hidden;
        let at = place.head * (h / self.heads);
        match operands {
            Operands::Each([_, k, v]) => ((k, h, at), (v, h, at)),
            Operands::Apart(_, kv) => ((kv, 2 * h, at), (kv, 2 * h, h + at)),
            Operands::Together(qkv) => ((qkv, 3 * h, h + at), (qkv, 3 * h, 2 * h + at)),
        }
    }

    /// Leaves the output in `scratch.out` and the log-sums in `scratch.log_sums`.
    #[inline(always)]
    pub(super) fn head_forward(&self, s: &mut Scratch, operands: Operands<'_>, place: &Place) {
        let d = self.hidden / self.heads;
        let (queries, len) = (place.rows.len(), place.tokens.len());
        let d_padded = round_up(d);
        self.pack_keys(s, operands, place, false);
        pack(&mut s.values, self.keys_and_values(operands, place).1, &place.tokens, d, 1.0);
        self.pack_queries(&mut s.queries, operands, place);
        if let Some(by) = self.disentangled() {
            self.pack_terms(s, by, operands, place);
        }
        fit(&mut s.log_sums, queries);
        fit(&mut s.out, queries * d_padded);
        for block in self.blocks(queries, len) {
            self.scores(s, &block, len, place.head);
            for (b, i) in block.queries.clone().enumerate() {
                let reach = self.reach(i, len);
                let row = &mut s.probabilities[b * block.width..][..block.width];
                let row = within(row, &block, &reach);
                let most = maximum(row);
                for p in row.iter_mut() {
                    *p = exp(*p - most);
                }
                let row = &mut row[..];
                let total = sum(
                    row.len(),
                    #[inline(always)]
                    |j| row[j],
                );
                let inverse = 1.0 / total;
                match place.dropout {
                    Some(dropout) => {
                        let first = i * len + reach.start;
                        for (j, p) in row.iter_mut().enumerate() {
                            *p *= inverse * dropout.factor((first + j) as u32);
                        }
                    }
                    None => {
                        for p in row.iter_mut() {
                            *p *= inverse;
                        }
                    }
                }
                s.log_sums[i] = most + total.ln();
            }
            let rows = block.queries.start * d_padded..block.queries.end * d_padded;
            product(
                &mut s.out[rows],
                (&s.probabilities, block.width, 1),
                (&s.values[block.keys.start * d_padded..], d_padded),
                (block.queries.len(), d_padded, block.keys.len()),
            );
        }
    }

    /// Scores of a block of queries, with all that positions bring, into `s.probabilities`.
    #[inline(always)]
    fn scores(&self, s: &mut Scratch, block: &Block, len: usize, head: usize) {
        let d = self.hidden / self.heads;
        let d_padded = round_up(d);
        fit(&mut s.probabilities, block.queries.len() * block.width);
        product(
            &mut s.probabilities,
            (&s.queries[block.queries.start * d_padded..], d_padded, 1),
            (&s.keys_t[block.keys.start..], stride(len)),
            (block.queries.len(), block.width, d),
        );
        if let Positions::Distances(distances) = self.positions {
            for (b, i) in block.queries.clone().enumerate() {
                let row = &mut s.probabilities[b * block.width..][..block.keys.len()];
                let biases = &distances.row(head, i, len)[block.keys.clone()][..row.len()];
                for j in 0..row.len() {
                    row[j] += biases[j];
                }
            }
        }
        if let Some(by) = self.disentangled() {
            self.add_terms(s, by, block, len);
        }
    }

    #[inline(always)]
    pub(super) fn head_backward(
        &self,
        s: &mut Scratch,
        (operands, log_sums, grad): (Operands<'_>, &[f32], &[f32]),
        (into, positions): (&mut GradPlaces<'_>, &mut PositionGrads),
        place: &Place,
    ) {
        let (d, h) = (self.hidden / self.heads, self.hidden);
        let (queries, len) = (place.rows.len(), place.tokens.len());
        let d_padded = round_up(d);
        let at = place.head * d;
        self.pack_keys(s, operands, place, true);
        let values = self.keys_and_values(operands, place).1;
        pack_transposed(&mut s.values, values, &place.tokens, d, 1.0);
        self.pack_queries(&mut s.queries, operands, place);
        pack(&mut s.grad, (grad, h, at), &place.rows, d, 1.0);
        if let Some(by) = self.disentangled() {
            self.pack_terms(s, by, operands, place);
            fit(&mut s.by.by_key_grad, len * round_up(by.reached.rows)).fill(0.0);
        }
        fit(&mut s.keys_grad, len * d_padded);
        fit(&mut s.values_grad, len * d_padded);
        let blocks: Vec<Block> = self.blocks(queries, len).collect();
        if blocks.len() > 1 {
            s.keys_grad.fill(0.0);
            s.values_grad.fill(0.0);
        }
        for block in &blocks {
            self.scores(s, block, len, place.head);
            self.block_backward(s, (log_sums, place), block, len, positions);
            let (of, keys, width) = (block.queries.len(), block.keys.len(), block.width);
            let (from, to) = (block.keys.start * d_padded, block.keys.end * d_padded);
            let asking = block.queries.start * d_padded;
            // Values: Pᵀ·dO. Keys: dSᵀ·Q/√d.
            for (into, scores, rows) in [
                (&mut s.values_grad, &s.probabilities, &s.grad),
                (&mut s.keys_grad, &s.scores_grad, &s.queries),
            ] {
                let shape = (keys, d_padded, of);
                if blocks.len() == 1 {
                    product(into, (scores, 1, width), (&rows[asking..], d_padded), shape);
                    continue;
                }
                fit(&mut s.out, keys * d_padded);
                product(&mut s.out, (scores, 1, width), (&rows[asking..], d_padded), shape);
                for (sum, part) in into[from..to].iter_mut().zip(&s.out) {
                    *sum += part;
                }
            }
            // Queries: dS·K/√d.
            fit(&mut s.out, of * d_padded);
            product(
                &mut s.out,
                (&s.scores_grad, width, 1),
                (&s.keys[from..], d_padded),
                (of, d_padded, keys),
            );
            if let Some(by) = self.disentangled() {
                self.query_terms_backward(s, by, block, (positions, place));
            }
            if let Some(rotary) = self.rotary() {
                rotary.turn(&mut s.out, block.queries.start, true);
            }
            for (b, i) in block.queries.clone().enumerate() {
                let row = &s.out[b * d_padded..][..d];
                let (q, width) = match into {
                    GradPlaces::Each([q, ..]) | GradPlaces::Apart(q, _) => (&mut **q, h),
                    GradPlaces::Together(qkv) => (&mut **qkv, 3 * h),
                };
                q[i * width + at..][..d].copy_from_slice(row);
            }
        }
        let scale = self.scale();
        s.keys_grad.iter_mut().for_each(|g| *g *= scale);
        if let Some(by) = self.disentangled() {
            self.key_terms_backward(s, by, (positions, place));
        }
        if let Some(rotary) = self.rotary() {
            rotary.turn(&mut s.keys_grad, 0, true);
        }
        let mut put = |j: usize, keys: &[f32], values: &[f32]| {
            let (k, v) = match into {
                GradPlaces::Each([_, k, v]) => (&mut k[j * h..][..h], &mut v[j * h..][..h]),
                GradPlaces::Apart(_, kv) => kv[j * 2 * h..][..2 * h].split_at_mut(h),
                GradPlaces::Together(qkv) => qkv[j * 3 * h + h..][..2 * h].split_at_mut(h),
            };
            k[at..at + d].copy_from_slice(keys);
            v[at..at + d].copy_from_slice(values);
        };
        for j in 0..len {
            let row = j * d_padded..j * d_padded + d;
            put(j, &s.keys_grad[row.clone()], &s.values_grad[row]);
        }
    }

    /// From scores in `s.probabilities` to dropped probabilities there, and the gradient of the scores in
    /// `s.scores_grad`.
    #[inline(always)]
    fn block_backward(
        &self,
        s: &mut Scratch,
        (log_sums, place): (&[f32], &Place),
        block: &Block,
        len: usize,
        positions: &mut PositionGrads,
    ) {
        let d = self.hidden / self.heads;
        let d_padded = round_up(d);
        fit(&mut s.scores_grad, block.queries.len() * block.width);
        product(
            &mut s.scores_grad,
            (&s.grad[block.queries.start * d_padded..], d_padded, 1),
            (&s.values[block.keys.start..], stride(len)),
            (block.queries.len(), block.width, d),
        );
        for (b, i) in block.queries.clone().enumerate() {
            let reach = self.reach(i, len);
            let row = b * block.width..(b + 1) * block.width;
            let p = within(&mut s.probabilities[row.clone()], block, &reach);
            let g = within(&mut s.scores_grad[row], block, &reach);
            let n = p.len();
            let g = &mut g[..n];
            let log_sum = log_sums[(place.rows.start + i) * self.heads + place.head];
            for p in p.iter_mut() {
                *p = exp(*p - log_sum);
            }
            // g ← gradient of the undropped probabilities, then of the scores; p ← dropped.
            let first = i * len + reach.start;
            if let Some(dropout) = place.dropout {
                for j in 0..n {
                    g[j] *= dropout.factor((first + j) as u32);
                }
            }
            let dot = sum(
                n,
                #[inline(always)]
                |j| p[j] * g[j],
            );
            for j in 0..n {
                g[j] = p[j] * (g[j] - dot);
            }
            if let Positions::Distances(distances) = self.positions {
                let at = distances.start(place.head, i) + reach.start;
                let sums = &mut positions.by_distance[at..at + n];
                sums.iter_mut().zip(&*g).for_each(|(sum, g)| *sum += g);
            }
            if let Some(dropout) = place.dropout {
                for j in 0..n {
                    p[j] *= dropout.factor((first + j) as u32);
                }
            }
        }
    }
}

/// The part of a block's row that is reached; 0 fills the rest.
#[inline(always)]
fn within<'x>(row: &'x mut [f32], block: &Block, reach: &Range<usize>) -> &'x mut [f32] {
    let (from, to) = (reach.start - block.keys.start, reach.end - block.keys.start);
    row[..from].fill(0.0);
    row[to..].fill(0.0);
    &mut row[from..to]
}
