//! Rows and columns of one head, laid out for products of small matrices.

use super::super::simd::LANES;
use super::round_up;
use std::ops::Range;

/// Columns of a matrix: its entries, row-major, their number in a row, and the first of the columns.
pub(super) type Columns<'a> = (&'a [f32], usize, usize);

/// Gives `x` the length `len`; what is new is zero, what was there stays.
#[inline(always)]
pub(super) fn fit(x: &mut Vec<f32>, len: usize) -> &mut [f32] {
    x.resize(len, 0.0);
    x
}

/// Columns `at..at + d` of `to`, `[rows, stride]`, gain scale · rows, `[rows, d]`.
#[inline(always)]
pub(super) fn add_rows(
    rows: &[f32],
    (to, stride, at): (&mut [f32], usize, usize),
    d: usize,
    scale: f32,
) {
    for (row, to) in rows.chunks_exact(round_up(d)).zip(to.chunks_exact_mut(stride)) {
        for (to, v) in to[at..at + d].iter_mut().zip(row) {
            *to += scale * v;
        }
    }
}

/// `out[i, ..d]` = scale · x[rows[i], at..at + d]; padding columns are zero.
#[inline(always)]
pub(super) fn pack(
    out: &mut Vec<f32>,
    (x, stride, at): Columns<'_>,
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

/// Length of a row of `n` entries in matrices that are read down their columns: never a multiple of 64, so
/// that the entries of a column do not lie in one set of the cache.
#[inline(always)]
pub(super) fn stride(n: usize) -> usize {
    let padded = round_up(n);
    if padded.is_multiple_of(64) { padded + LANES } else { padded }
}

/// `out[c, i]` = scale · x[rows[i], at + c], `[d, rows]` with rows of [`stride`] and padding columns zero.
#[inline(always)]
pub(super) fn pack_transposed(
    out: &mut Vec<f32>,
    (x, wide, at): Columns<'_>,
    rows: &Range<usize>,
    d: usize,
    scale: f32,
) {
    let padded = stride(rows.len());
    fit(out, d * padded);
    for (i, row) in rows.clone().enumerate() {
        let x = &x[row * wide + at..][..d];
        for (o, v) in out[i..].iter_mut().step_by(padded).zip(x) {
            *o = v * scale;
        }
    }
    for c in 0..d {
        out[c * padded + rows.len()..(c + 1) * padded].fill(0.0);
    }
}
