//! Word + position + token-type embeddings, LayerNorm, dropout.

use super::layout::embedding::{COUNT, NORM_BIAS, NORM_WEIGHT, POSITION, TOKEN_TYPE, WORD};
use super::{DropoutStep, Grads, ModelConfig, Weights};
use crate::data::Batch;
use crate::kernels::layernorm::{self, LayerNorm};
use rayon::prelude::*;

/// What the backward pass needs of the embeddings' forward.
#[derive(Debug, Default)]
pub(super) struct EmbeddingTape {
    /// Sum of the three embeddings, `[tokens, hidden]`.
    sum: Vec<f32>,
    stats: Vec<f32>,
    normed: Vec<f32>,
}

const ROWS_PER_TASK: usize = 64;
/// Columns of the tables that one task of the backward owns.
const COLUMNS_PER_TASK: usize = 64;

fn norm<'a>(config: &ModelConfig, weights: &'a Weights) -> LayerNorm<'a> {
    LayerNorm { scale: weights.at(NORM_WEIGHT), shift: weights.at(NORM_BIAS), eps: config.eps }
}

/// Position of every token in its sequence.
fn positions(batch: &Batch) -> Vec<u32> {
    batch.offsets.windows(2).flat_map(|w| 0..(w[1] - w[0]) as u32).collect()
}

/// Hidden states before the first layer into `out`, `[tokens, hidden]`.
pub(super) fn forward(
    config: &ModelConfig,
    weights: &Weights,
    batch: &Batch,
    dropout: Option<DropoutStep>,
    tape: &mut EmbeddingTape,
    out: &mut Vec<f32>,
) {
    let (h, tokens) = (config.hidden, batch.ids.len());
    let (word, position) = (weights.at(WORD), weights.at(POSITION));
    let token_type = weights.at(TOKEN_TYPE);
    for buffer in [&mut tape.sum, &mut tape.normed, out] {
        buffer.resize(tokens * h, 0.0);
    }
    tape.stats.resize(tokens * 2, 0.0);
    let positions = positions(batch);
    tape.sum.par_chunks_mut(h * ROWS_PER_TASK).enumerate().for_each(|(task, rows)| {
        for (i, row) in rows.chunks_exact_mut(h).enumerate() {
            let t = task * ROWS_PER_TASK + i;
            let word = &word[batch.ids[t] as usize * h..][..h];
            let position = &position[positions[t] as usize * h..][..h];
            let token_type = &token_type[batch.type_ids[t] as usize * h..][..h];
            for j in 0..h {
                row[j] = word[j] + token_type[j] + position[j];
            }
        }
    });
    match dropout.and_then(DropoutStep::embeddings) {
        Some(d) => {
            norm(config, weights).forward(&tape.sum, &mut tape.normed, &mut tape.stats);
            layernorm::dropout(&tape.normed, h, d, out);
        }
        None => norm(config, weights).forward(&tape.sum, out, &mut tape.stats),
    }
}

/// Gradients of the five tensors; `grad`, that of the output, is used up.
pub(super) fn backward(
    config: &ModelConfig,
    weights: &Weights,
    batch: &Batch,
    dropout: Option<DropoutStep>,
    tape: &mut EmbeddingTape,
    grad: &mut [f32],
    grads: &mut Grads,
) {
    let h = config.hidden;
    if let Some(d) = dropout.and_then(DropoutStep::embeddings) {
        layernorm::dropout(grad, h, d, &mut tape.normed);
        grad.copy_from_slice(&tape.normed);
    }
    if grads.wants(NORM_WEIGHT) || grads.wants(NORM_BIAS) {
        super::layer::norm_grads(&tape.sum, &tape.stats, grad, h, NORM_WEIGHT, grads);
    }
    if !(WORD..COUNT - 2).any(|i| grads.wants(i)) {
        return;
    }
    norm(config, weights).backward(&tape.sum, &tape.stats, grad);
    if grads.wants(POSITION) {
        scatter(grads.tensor_mut(POSITION), h, &positions(batch), grad);
    }
    if grads.wants(TOKEN_TYPE) {
        scatter(grads.tensor_mut(TOKEN_TYPE), h, &batch.type_ids, grad);
    }
    if grads.wants(WORD) {
        grads.word_rows.clone_from(&batch.ids);
        grads.word_rows.sort_unstable();
        grads.word_rows.dedup();
        let rows = &grads.word_rows;
        let place: Vec<u32> = batch
            .ids
            .iter()
            .map(|id| rows.binary_search(id).expect("every id of the batch is listed") as u32)
            .collect();
        grads.word_values.resize(rows.len() * h, 0.0);
        scatter(&mut grads.word_values, h, &place, grad);
    }
}

/// table ← 0, then `table[rows[t]]` += `grad[t]`, tokens in order; tasks own columns, so threads
/// cannot change the result.
fn scatter(table: &mut [f32], h: usize, rows: &[u32], grad: &[f32]) {
    let mut columns: Vec<Vec<&mut [f32]>> =
        (0..h.div_ceil(COLUMNS_PER_TASK)).map(|_| Vec::with_capacity(table.len() / h)).collect();
    for row in table.chunks_exact_mut(h) {
        for (column, part) in columns.iter_mut().zip(row.chunks_mut(COLUMNS_PER_TASK)) {
            column.push(part);
        }
    }
    columns.into_par_iter().enumerate().for_each(|(task, mut table)| {
        for row in &mut table {
            row.fill(0.0);
        }
        for (t, &row) in rows.iter().enumerate() {
            let into = &mut table[row as usize];
            let from = &grad[t * h + task * COLUMNS_PER_TASK..][..into.len()];
            for j in 0..into.len() {
                into[j] += from[j];
            }
        }
    });
}
