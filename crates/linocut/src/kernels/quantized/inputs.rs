//! The rows of X in whole numbers.

use rayon::prelude::*;

use super::GROUP;
use crate::kernels::ROWS_PER_TASK;
use crate::kernels::simd::{LANES, dispatch};

/// Rows of X, each in 256 steps from its smallest entry (or 0) to its largest (or 0); made once and
/// multiplied with any number of matrices.
#[derive(Debug, Default)]
pub struct Inputs {
    /// `[m, cols / 4]`, the last of a row filled up with anything.
    entries: Vec<[u8; GROUP]>,
    /// What a step stands for, by row.
    scales: Vec<f32>,
    /// The whole number that stands for 0, by row.
    offsets: Vec<u8>,
    cols: usize,
}

/// Rows of a smaller range than this are all 0.
const SMALLEST: f32 = 1e-30;
/// Adding 1.5·2²³ rounds to the nearest integer, which then stands in the lowest bits.
const ROUND: f32 = 12_582_912.0;

impl Inputs {
    /// Becomes the rows of `x`, `[m, cols]`. A row with an entry that is not finite is NaN in every product.
    ///
    /// # Panics
    /// If `x` is not made of rows of `cols`.
    pub fn quantise(&mut self, x: &[f32], cols: usize) {
        let (rows, groups) = (x.len() / cols, cols.div_ceil(GROUP));
        assert_eq!(x.len(), rows * cols, "rows of {cols}");
        self.cols = cols;
        self.entries.resize(rows * groups, [0; GROUP]);
        self.scales.resize(rows, 0.0);
        self.offsets.resize(rows, 0);
        let some =
            |x: &[f32], entries: &mut [[u8; GROUP]], scales: &mut [f32], offsets: &mut [u8]| {
                dispatch(
                    #[inline(always)]
                    || {
                        let rows = x.chunks_exact(cols).zip(entries.chunks_exact_mut(groups));
                        for ((x, to), (scale, offset)) in rows.zip(scales.iter_mut().zip(offsets)) {
                            (*scale, *offset) = row(x, to.as_flattened_mut());
                        }
                    },
                );
            };
        let Self { entries, scales, offsets, .. } = self;
        if rows <= ROWS_PER_TASK {
            return some(x, entries, scales, offsets);
        }
        let x = x.par_chunks(ROWS_PER_TASK * cols);
        let entries = entries.par_chunks_mut(ROWS_PER_TASK * groups);
        let scales = scales.par_chunks_mut(ROWS_PER_TASK);
        let offsets = offsets.par_chunks_mut(ROWS_PER_TASK);
        let all = x.zip(entries).zip(scales.zip(offsets));
        all.for_each(|((x, entries), (scales, offsets))| some(x, entries, scales, offsets));
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        GROUP * self.entries.capacity() + 4 * self.scales.capacity() + self.offsets.capacity()
    }

    /// Columns of X.
    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    #[inline(always)]
    pub(super) fn scales(&self) -> &[f32] {
        &self.scales
    }

    #[inline(always)]
    pub(super) fn offset(&self, row: usize) -> i32 {
        i32::from(self.offsets[row])
    }

    /// The whole numbers of a row.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> &[[u8; GROUP]] {
        let groups = self.cols.div_ceil(GROUP);
        &self.entries[row * groups..(row + 1) * groups]
    }

    /// The whole numbers less their offset of some rows, `[rows, cols]`: what is multiplied with W.
    pub(in crate::kernels) fn put_rows(&self, rows: std::ops::Range<usize>, to: &mut Vec<i32>) {
        to.clear();
        for row in rows {
            let offset = self.offset(row);
            let entries = &self.row(row).as_flattened()[..self.cols];
            to.extend(entries.iter().map(|x| i32::from(*x) - offset));
        }
    }
}

/// Rounds a row to the nearest; its scale and offset.
#[inline(always)]
fn row(x: &[f32], to: &mut [u8]) -> (f32, u8) {
    // Side by side, which a single running extreme would not be.
    let (mut least, mut most, mut top) = ([0.0f32; LANES], [0.0f32; LANES], [0; LANES]);
    let (whole, rest) = x.as_chunks::<LANES>();
    let mut last = [0.0; LANES];
    last[..rest.len()].copy_from_slice(rest);
    for x in whole.iter().chain([&last]) {
        for l in 0..LANES {
            least[l] = if x[l] < least[l] { x[l] } else { least[l] };
            most[l] = if x[l] > most[l] { x[l] } else { most[l] };
            // The bits of |v| ascend as |v| does, those of infinity and NaN above all.
            let size = x[l].to_bits() & !(1 << 31);
            top[l] = if size > top[l] { size } else { top[l] };
        }
    }
    let finite = top.iter().all(|top| f32::from_bits(*top).is_finite());
    let least = least.iter().copied().fold(0.0, f32::min);
    let most = most.iter().copied().fold(0.0, f32::max);
    let range = most - least;
    if !finite || range < SMALLEST {
        to.fill(0);
        return (if finite { 0.0 } else { f32::NAN }, 0);
    }
    let inverse = 255.0 / range;
    let whole = |v: f32| (v * inverse + ROUND).to_bits().wrapping_sub(ROUND.to_bits()) as i32;
    let offset = whole(-least).clamp(0, 255);
    for (to, v) in to.iter_mut().zip(x) {
        *to = (whole(*v) + offset).clamp(0, 255) as u8;
    }
    (range / 255.0, offset as u8)
}
