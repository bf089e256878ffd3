//! Rows of embedding tables, forward and backward.

use rayon::prelude::*;

const ROWS_PER_TASK: usize = 64;
/// Columns of the tables that one task of the backward owns.
const COLUMNS_PER_TASK: usize = 64;

/// out = `Σ table[ids]`, in the order of `tables`: each `[entries, width]` with its ids, one a row of
/// `out`, `[rows, width]`.
pub fn sum(tables: &[(&[f32], &[u32])], width: usize, out: &mut [f32]) {
    let Some(((first, first_ids), others)) = tables.split_first() else { return };
    out.par_chunks_mut(width * ROWS_PER_TASK).enumerate().for_each(|(task, rows)| {
        for (i, row) in rows.chunks_exact_mut(width).enumerate() {
            let t = task * ROWS_PER_TASK + i;
            row.copy_from_slice(&first[first_ids[t] as usize * width..][..width]);
            for (table, ids) in others {
                let entry = &table[ids[t] as usize * width..][..width];
                for j in 0..width {
                    row[j] += entry[j];
                }
            }
        }
    });
}

/// table ← 0, then `table[ids[t]]` += `grad[t]`, rows in order; tasks own columns, so threads
/// cannot change the result.
pub fn scatter(table: &mut [f32], width: usize, ids: &[u32], grad: &[f32]) {
    let mut columns: Vec<Vec<&mut [f32]>> = (0..width.div_ceil(COLUMNS_PER_TASK))
        .map(|_| Vec::with_capacity(table.len() / width))
        .collect();
    for row in table.chunks_exact_mut(width) {
        for (column, part) in columns.iter_mut().zip(row.chunks_mut(COLUMNS_PER_TASK)) {
            column.push(part);
        }
    }
    columns.into_par_iter().enumerate().for_each(|(task, mut table)| {
        for row in &mut table {
            row.fill(0.0);
        }
        for (t, &id) in ids.iter().enumerate() {
            let into = &mut table[id as usize];
            let from = &grad[t * width + task * COLUMNS_PER_TASK..][..into.len()];
            for j in 0..into.len() {
                into[j] += from[j];
            }
        }
    });
}
