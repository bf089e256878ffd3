//! What scores gain from keys and queries of distances, in one sequence and head, forward and backward.

use super::super::tiles::product;
use super::head::{Block, Place, Scratch};
use super::pack::{add_rows, fit, pack, pack_transposed, stride};
use super::{Attention, Disentangled, Operands, PositionGrads, round_up};

/// Products with keys and queries of distances.
#[derive(Default)]
pub(super) struct Terms {
    /// (Keys of distances)ᵀ scaled, `[d, reached]`, and the queries' likewise.
    keys_t: Vec<f32>,
    queries_t: Vec<f32>,
    /// Queries of a block with keys of distances, `[block, reached]`.
    by_query: Vec<f32>,
    /// Keys with queries of distances, `[len, reached]`.
    by_key: Vec<f32>,
    /// Gradients of these two.
    by_query_grad: Vec<f32>,
    pub(super) by_key_grad: Vec<f32>,
    /// Rows of a head, as keys or queries of distances, `[reached, d]`.
    rows: Vec<f32>,
    /// A part of the queries' or keys' gradient, `[block or len, d]`.
    sum: Vec<f32>,
}

impl Attention<'_> {
    /// Keys and queries of distances of one head, and the products that all queries share.
    #[inline(always)]
    pub(super) fn pack_terms(
        &self,
        s: &mut Scratch,
        by: Disentangled<'_>,
        operands: Operands<'_>,
        place: &Place,
    ) {
        let (d, h) = (self.hidden / self.heads, self.hidden);
        let (at, rows, scale) = (place.head * d, 0..by.reached.rows, self.scale());
        let reached = round_up(by.reached.rows);
        if let Some(keys) = by.keys {
            pack_transposed(&mut s.by.keys_t, (keys, h, at), &rows, d, scale);
        }
        if let Some(queries) = by.queries {
            pack_transposed(&mut s.by.queries_t, (queries, h, at), &rows, d, scale);
            let keys = self.keys_and_values(operands, place).0;
            pack(&mut s.by.rows, keys, &place.tokens, d, 1.0);
            let len = place.tokens.len();
            fit(&mut s.by.by_key, len * reached);
            product(
                &mut s.by.by_key,
                (&s.by.rows, round_up(d), 1),
                (&s.by.queries_t, stride(by.reached.rows)),
                (len, reached, d),
            );
        }
    }

    /// Adds to the scores of a block what distances bring.
    #[inline(always)]
    pub(super) fn add_terms(
        &self,
        s: &mut Scratch,
        by: Disentangled<'_>,
        block: &Block,
        len: usize,
    ) {
        let d = self.hidden / self.heads;
        let d_padded = round_up(d);
        let (t, reached) = (&mut s.by, round_up(by.reached.rows));
        if by.keys.is_some() {
            fit(&mut t.by_query, block.queries.len() * reached);
            product(
                &mut t.by_query,
                (&s.queries[block.queries.start * d_padded..], d_padded, 1),
                (&t.keys_t, stride(by.reached.rows)),
                (block.queries.len(), reached, d),
            );
        }
        for (b, i) in block.queries.clone().enumerate() {
            let row = &mut s.probabilities[b * block.width..][..len];
            let rows = by.reached.row(i, len);
            // The distances of the last token come first.
            if by.keys.is_some() {
                let terms = &t.by_query[b * reached..][..reached];
                for (p, &r) in row.iter_mut().rev().zip(rows) {
                    *p += terms[r as usize];
                }
            }
            if by.queries.is_some() {
                for (j, &r) in (0..len).rev().zip(rows) {
                    row[j] += t.by_key[j * reached + r as usize];
                }
            }
        }
    }

    /// What scores of a block gain from keys of distances: adds to the gradient of the queries, in `s.out`,
    /// and of these keys; and gathers that of the products of keys with queries of distances.
    #[inline(always)]
    pub(super) fn query_terms_backward(
        &self,
        s: &mut Scratch,
        by: Disentangled<'_>,
        block: &Block,
        (positions, place): (&mut PositionGrads, &Place),
    ) {
        let (d, h) = (self.hidden / self.heads, self.hidden);
        let (len, of, d_padded) = (place.tokens.len(), block.queries.len(), round_up(d));
        let (reached, scale) = (round_up(by.reached.rows), self.scale());
        let t = &mut s.by;
        fit(&mut t.by_query_grad, of * reached).fill(0.0);
        for (b, i) in block.queries.clone().enumerate() {
            let g = &s.scores_grad[b * block.width..][..len];
            let rows = by.reached.row(i, len);
            let terms = &mut t.by_query_grad[b * reached..][..reached];
            for (g, &r) in g.iter().rev().zip(rows) {
                terms[r as usize] += g;
            }
            for (j, &r) in (0..len).rev().zip(rows) {
                t.by_key_grad[j * reached + r as usize] += g[j];
            }
        }
        let Some(keys) = by.keys else { return };
        let queries = &s.queries[block.queries.start * d_padded..];
        let at = place.head * d;
        fit(&mut t.rows, by.reached.rows * d_padded);
        let shape = (by.reached.rows, d_padded, of);
        product(&mut t.rows, (&t.by_query_grad, 1, reached), (queries, d_padded), shape);
        add_rows(&t.rows, (&mut positions.keys, h, at), d, scale);
        pack(&mut t.rows, (keys, h, at), &(0..by.reached.rows), d, scale);
        fit(&mut t.sum, of * d_padded);
        let shape = (of, d_padded, by.reached.rows);
        product(&mut t.sum, (&t.by_query_grad, reached, 1), (&t.rows, d_padded), shape);
        s.out.iter_mut().zip(&t.sum).for_each(|(out, sum)| *out += sum);
    }

    /// What scores gain from queries of distances: adds to the gradient of the keys, in `s.keys_grad`, and of
    /// these queries.
    #[inline(always)]
    pub(super) fn key_terms_backward(
        &self,
        s: &mut Scratch,
        by: Disentangled<'_>,
        (positions, place): (&mut PositionGrads, &Place),
    ) {
        let Some(queries) = by.queries else { return };
        let (d, h) = (self.hidden / self.heads, self.hidden);
        let (len, d_padded, reached) = (place.tokens.len(), round_up(d), round_up(by.reached.rows));
        let at = place.head * d;
        let t = &mut s.by;
        fit(&mut t.rows, by.reached.rows * d_padded);
        let shape = (by.reached.rows, d_padded, len);
        // The keys are scaled.
        product(&mut t.rows, (&t.by_key_grad, 1, reached), (&s.keys, d_padded), shape);
        add_rows(&t.rows, (&mut positions.queries, h, at), d, 1.0);
        pack(&mut t.rows, (queries, h, at), &(0..by.reached.rows), d, self.scale());
        fit(&mut t.sum, len * d_padded);
        let shape = (len, d_padded, by.reached.rows);
        product(&mut t.sum, (&t.by_key_grad, reached, 1), (&t.rows, d_padded), shape);
        s.keys_grad.iter_mut().zip(&t.sum).for_each(|(grad, sum)| *grad += sum);
    }
}
