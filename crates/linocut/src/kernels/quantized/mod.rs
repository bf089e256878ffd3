//! Y = X·Wᵀ in whole numbers of eight bits: W a row and X a row with a scale each, sums in i32.
//!
//! An entry of W is w·scale, one of X is (x − offset)·scale with x in 0..=255. AVX2 bounds W: `vpmaddubsw` adds
//! the products of two neighbours in 16 bits, so a row's scale is such that |w| of two neighbours are at most
//! 128 together, and 255·128 = 32,640 fits there whatever X is. Eight bits for a row of one large entry, seven
//! for one of equal ones. All sums are exact, so every set of instructions gives the same bits.

mod inputs;
#[cfg(test)]
mod tests;
mod tile;

use std::hash::{Hash, Hasher};
use std::ops::Range;

use rayon::prelude::*;

use super::panels::{self, HEIGHT, Job, WIDTH};
use super::simd::dispatch;
pub use inputs::Inputs;
use tile::{Isa, Line};

/// |w| of two neighbours before they are rounded, which adds at most ½ to each.
const PAIR: f32 = 127.0;
/// Columns of W that lie side by side, as the instructions take them.
const GROUP: usize = 4;
/// Most columns: 255·128·2¹⁶ pairs < 2³¹, so no sum, with or without offset, leaves i32.
pub const MOST_COLUMNS: usize = 1 << 17;

/// A matrix W, `[rows, cols]`, as panels of 16 rows, each `[cols / 4, 16, 4]`.
#[derive(Debug, PartialEq)]
pub struct Quantized {
    /// The panels; rows and columns that there are not are 0.
    lines: Vec<Line>,
    /// What 1 stands for, by row; 0 for a row of zeros.
    scales: Vec<f32>,
    /// Σ w of each row: what an offset of 1 adds.
    sums: Vec<i32>,
    rows: usize,
    cols: usize,
}

impl Quantized {
    /// Rounds `w`, `[rows, cols]` row-major, to the nearest.
    ///
    /// # Panics
    /// If `w` is empty, has not exactly `rows · cols` entries or more than [`MOST_COLUMNS`] columns.
    pub fn new(w: &[f32], rows: usize, cols: usize) -> Self {
        assert!(!w.is_empty() && w.len() == rows * cols, "matrix of {rows} × {cols}");
        assert!(cols <= MOST_COLUMNS, "{cols} columns");
        let groups = cols.div_ceil(GROUP);
        let mut lines = vec![Line::default(); rows.div_ceil(WIDTH) * groups];
        let (mut scales, mut sums) = (vec![0.0; rows], vec![0; rows]);
        let panels = lines.par_chunks_mut(groups).zip(w.par_chunks(WIDTH * cols));
        let params = scales.par_chunks_mut(WIDTH).zip(sums.par_chunks_mut(WIDTH));
        panels.zip(params).for_each(|((panel, w), (scales, sums))| {
            for (lane, row) in w.chunks_exact(cols).enumerate() {
                // One that is not finite makes the whole row NaN.
                let scale = largest_pair(row) / (PAIR / 2.0);
                for (line, group) in panel.iter_mut().zip(row.chunks(GROUP)) {
                    for (to, v) in line.0[lane * GROUP..].iter_mut().zip(group) {
                        // NaN, of 0 / 0, becomes 0.
                        *to = (v / scale).round_ties_even() as i8;
                        sums[lane] += i32::from(*to);
                    }
                }
                scales[lane] = scale;
            }
        });
        Self { lines, scales, sums, rows, cols }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of::<Line>() * self.lines.capacity()
            + 4 * (self.scales.capacity() + self.sums.capacity())
    }

    /// The whole numbers of a row, by column.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> impl Fn(usize) -> i32 {
        let groups = self.cols.div_ceil(GROUP);
        let panel = &self.lines[row / WIDTH * groups..][..groups];
        let lane = row % WIDTH * GROUP;
        move |col| i32::from(panel[col / GROUP].0[lane + col % GROUP])
    }

    /// Y = X·Wᵀ for `rows` of X, `[m, cols]`, and Y, `[m, rows]`, whose entries do not matter before. Each
    /// row of Y depends on its own row of X alone, to the bit: not on m, nor on the number of threads.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn multiply(&self, x: &Inputs, rows: Range<usize>, y: &mut [f32]) {
        self.run(Isa::found(), x, rows, y, scaled);
    }

    /// The same in whole numbers, to be put right and then scaled by [`Quantized::scale`].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn multiply_sums(&self, x: &Inputs, rows: Range<usize>, y: &mut [i32]) {
        self.run(Isa::found(), x, rows, y, |sum, _| sum);
    }

    /// What whole numbers of Y, `[m, rows]`, stand for, in their place.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn scale(&self, x: &Inputs, rows: Range<usize>, y: &mut [f32]) {
        assert_eq!(y.len(), rows.len() * self.rows, "as many rows of X as of Y");
        dispatch(
            #[inline(always)]
            || {
                for (y, by) in y.chunks_exact_mut(self.rows).zip(&x.scales()[rows]) {
                    for (y, scale) in y.iter_mut().zip(&self.scales) {
                        *y = scaled(y.to_bits() as i32, by * scale);
                    }
                }
            },
        );
    }

    /// Fills `y` with what `entry` makes of each sum and its scale.
    fn run<T: Copy + Send>(
        &self,
        isa: Isa,
        x: &Inputs,
        rows: Range<usize>,
        y: &mut [T],
        entry: impl Fn(i32, f32) -> T + Copy + Send + Sync,
    ) {
        let (m, n, k) = (rows.len(), self.rows, self.cols);
        assert!(x.cols() == k && y.len() == m * n, "X of {m} × {}, W of {n} × {k}", x.cols());
        panels::share((m, n, k), (&self.lines, k.div_ceil(GROUP)), y, |job| {
            dispatch(
                #[inline(always)]
                || self.job(isa, x, rows.start, job, entry),
            );
        });
    }

    #[inline(always)]
    fn job<T: Copy>(
        &self,
        isa: Isa,
        x: &Inputs,
        first: usize,
        mut job: Job<'_, Line, T>,
        entry: impl Fn(i32, f32) -> T + Copy,
    ) {
        let rows = job.y.len();
        for (p, panel) in job.panels.chunks_exact(self.cols.div_ceil(GROUP)).enumerate() {
            for i in (0..rows).step_by(HEIGHT) {
                let height = HEIGHT.min(rows - i);
                let part = Part {
                    matrix: self,
                    x,
                    row: first + job.row + i,
                    panel,
                    number: job.panel + p,
                };
                let y = &mut job.y[i..i + height];
                let column = p * WIDTH;
                match height {
                    6 => part.tile::<6, T>(isa, y, column, entry),
                    5 => part.tile::<5, T>(isa, y, column, entry),
                    4 => part.tile::<4, T>(isa, y, column, entry),
                    3 => part.tile::<3, T>(isa, y, column, entry),
                    2 => part.tile::<2, T>(isa, y, column, entry),
                    _ => part.tile::<1, T>(isa, y, column, entry),
                }
            }
        }
    }
}

impl Hash for Quantized {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lines.hash(state);
        self.scales.iter().for_each(|scale| state.write_u32(scale.to_bits()));
    }
}

/// What a sum stands for.
#[inline(always)]
fn scaled(sum: i32, scale: f32) -> f32 {
    sum as f32 * scale
}

/// The largest mean |v| of two neighbours, infinite or NaN if an entry is.
fn largest_pair(row: &[f32]) -> f32 {
    // Halved first: a sum of finite entries then is finite. Bits of what is not negative ascend as it does,
    // those of NaN above all.
    let mean = |pair: &[f32]| pair.iter().map(|v| 0.5 * v.abs()).sum::<f32>().to_bits();
    f32::from_bits(row.chunks(2).map(mean).max().unwrap_or(0))
}

/// What a tile of Y is made of.
struct Part<'a> {
    matrix: &'a Quantized,
    x: &'a Inputs,
    /// The first row of X.
    row: usize,
    panel: &'a [Line],
    /// Which panel of the matrix that is.
    number: usize,
}

impl Part<'_> {
    /// Columns from `column` on of `H` rows of Y become what `entry` makes of the product with the panel.
    #[inline(always)]
    fn tile<const H: usize, T: Copy>(
        &self,
        isa: Isa,
        y: &mut [&mut [T]],
        column: usize,
        entry: impl Fn(i32, f32) -> T,
    ) {
        let x: [&[[u8; GROUP]]; H] = std::array::from_fn(|r| self.x.row(self.row + r));
        let mut found = [[0; WIDTH]; H];
        tile::sums(isa, &x, self.panel, &mut found);
        let own = self.number * WIDTH..((self.number + 1) * WIDTH).min(self.matrix.rows);
        let (scales, sums) = (&self.matrix.scales[own.clone()], &self.matrix.sums[own]);
        for (r, (found, y)) in found.iter().zip(y).enumerate() {
            let (by, offset) = (self.x.scales()[self.row + r], self.x.offset(self.row + r));
            let y = &mut y[column..column + scales.len()];
            for ((y, found), (scale, sum)) in y.iter_mut().zip(found).zip(scales.iter().zip(sums)) {
                *y = entry(found - offset * sum, by * scale);
            }
        }
    }
}
