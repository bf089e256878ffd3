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

use super::panels::{self, Choice, HEIGHT, Job, Panel, WIDTH};
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
    all: Selected,
}

/// Rows and columns that a product takes, and what it needs to know of these rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Selected {
    choice: Choice,
    /// What 1 stands for, by row; 0 for a row of zeros.
    scales: Vec<f32>,
    /// Σ w of each row over the columns: what an offset of 1 adds.
    sums: Vec<i32>,
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
        let choice = Choice::new((rows, cols), None, None);
        Self { lines, all: Selected { choice, scales, sums } }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        size_of::<Line>() * self.lines.capacity()
            + 4 * (self.all.scales.capacity() + self.all.sums.capacity())
    }

    /// What a product with some rows and columns takes; `None` where the columns do not come by fours.
    ///
    /// # Panics
    /// If the choice is of a matrix of another size.
    pub fn select(&self, choice: Choice) -> Option<Selected> {
        let (of, k) = (self.all.choice.of(), choice.cols());
        assert_eq!(choice.of(), of, "a choice of a matrix of this size");
        let by_fours = choice.runs().iter().all(|run| {
            let ends = run.w + run.len == of.1 && run.x + run.len == k;
            [run.w, run.x].iter().all(|at| at.is_multiple_of(GROUP))
                && (ends || run.len.is_multiple_of(GROUP))
        });
        if !by_fours {
            return None;
        }
        let cols = || choice.runs().iter().flat_map(|run| run.w..run.w + run.len);
        let scales = choice.taken_rows().map(|row| self.all.scales[row]).collect();
        let sums = choice.taken_rows().map(|row| cols().map(self.row(row)).sum()).collect();
        Some(Selected { choice, scales, sums })
    }

    /// Sets an entry to zero.
    #[inline(always)]
    pub(super) fn clear(&mut self, row: usize, col: usize) {
        let line = row / WIDTH * self.groups() + col / GROUP;
        let entry = &mut self.lines[line].0[row % WIDTH * GROUP + col % GROUP];
        self.all.sums[row] -= i32::from(std::mem::take(entry));
    }

    /// A matrix of what is selected of it.
    pub(super) fn taken(&self, selected: &Selected) -> Self {
        let choice = &selected.choice;
        let (rows, cols) = (choice.rows(), choice.cols());
        let (scales, sums) = (selected.scales.clone(), selected.sums.clone());
        let all = Selected { choice: Choice::new((rows, cols), None, None), scales, sums };
        if choice.is_whole() {
            return Self { lines: self.lines.clone(), all };
        }
        let groups = cols.div_ceil(GROUP);
        let mut lines = vec![Line::default(); rows.div_ceil(WIDTH) * groups];
        for (to, from) in choice.taken_rows().enumerate() {
            let panel = &self.lines[from / WIDTH * self.groups()..][..self.groups()];
            let own = &mut lines[to / WIDTH * groups..][..groups];
            let lanes = |row: usize| row % WIDTH * GROUP..(row % WIDTH + 1) * GROUP;
            for run in choice.runs() {
                let panel = &panel[run.w / GROUP..][..run.len.div_ceil(GROUP)];
                for (own, line) in own[run.x / GROUP..].iter_mut().zip(panel) {
                    own.0[lanes(to)].copy_from_slice(&line.0[lanes(from)]);
                }
            }
        }
        Self { lines, all }
    }

    /// Bytes of memory of a matrix of this size.
    pub fn bytes_of(rows: usize, cols: usize) -> usize {
        size_of::<Line>() * rows.div_ceil(WIDTH) * cols.div_ceil(GROUP) + 8 * rows
    }

    /// The whole numbers of a row, by column.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> impl Fn(usize) -> i32 {
        let groups = self.groups();
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
        self.multiply_some(&self.all, x, rows, y);
    }

    /// The same with what [`Quantized::select`] chose of this matrix alone.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn multiply_some(
        &self,
        selected: &Selected,
        x: &Inputs,
        rows: Range<usize>,
        y: &mut [f32],
    ) {
        self.run(Isa::found(), selected, x, rows, y, scaled);
    }

    /// The same in whole numbers, to be put right and then scaled by [`Selected::scale`].
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn sums_of_some(&self, selected: &Selected, x: &Inputs, rows: Range<usize>, y: &mut [i32]) {
        self.run(Isa::found(), selected, x, rows, y, |sum, _| sum);
    }

    /// All rows and columns.
    pub fn all(&self) -> &Selected {
        &self.all
    }

    /// Groups of columns in a row.
    #[inline(always)]
    fn groups(&self) -> usize {
        self.all.choice.cols().div_ceil(GROUP)
    }

    /// Fills `y` with what `entry` makes of each sum and its scale.
    fn run<T: Copy + Send>(
        &self,
        isa: Isa,
        selected: &Selected,
        x: &Inputs,
        rows: Range<usize>,
        y: &mut [T],
        entry: impl Fn(i32, f32) -> T + Copy + Send + Sync,
    ) {
        let (m, n, k) = (rows.len(), selected.choice.rows(), selected.choice.cols());
        assert!(x.cols() == k && y.len() == m * n, "X of {m} × {}, W of {n} × {k}", x.cols());
        panels::share(m, &selected.choice, y, |job| {
            dispatch(
                #[inline(always)]
                || self.job(isa, selected, (x, rows.start), job, entry),
            );
        });
    }

    #[inline(always)]
    fn job<T: Copy>(
        &self,
        isa: Isa,
        selected: &Selected,
        (x, first): (&Inputs, usize),
        mut job: Job<'_, T>,
        entry: impl Fn(i32, f32) -> T + Copy,
    ) {
        let rows = job.y.len();
        let (groups, start) = (self.groups(), job.panels[0].column);
        for &panel in job.panels {
            let lines = &self.lines[panel.number * groups..][..groups];
            for i in (0..rows).step_by(HEIGHT) {
                let height = HEIGHT.min(rows - i);
                let part = Part { selected, x, row: first + job.row + i, lines, panel };
                let y = &mut job.y[i..i + height];
                let column = panel.column - start;
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

impl Selected {
    /// Rows and columns.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.choice.rows(), self.choice.cols())
    }

    /// What whole numbers of Y, `[m, rows]`, stand for, in their place.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn scale(&self, x: &Inputs, rows: Range<usize>, y: &mut [f32]) {
        let n = self.choice.rows();
        assert_eq!(y.len(), rows.len() * n, "as many rows of X as of Y");
        dispatch(
            #[inline(always)]
            || {
                for (y, by) in y.chunks_exact_mut(n).zip(&x.scales()[rows]) {
                    for (y, scale) in y.iter_mut().zip(&self.scales) {
                        *y = scaled(y.to_bits() as i32, by * scale);
                    }
                }
            },
        );
    }
}

impl Hash for Quantized {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.lines.hash(state);
        self.all.scales.iter().for_each(|scale| state.write_u32(scale.to_bits()));
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
    selected: &'a Selected,
    x: &'a Inputs,
    /// The first row of X.
    row: usize,
    panel: Panel,
    /// All of the panel.
    lines: &'a [Line],
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
        for run in self.selected.choice.runs() {
            let groups = run.len.div_ceil(GROUP);
            let x = x.map(|x| &x[run.x / GROUP..][..groups]);
            tile::add_sums(isa, &x, &self.lines[run.w / GROUP..][..groups], &mut found);
        }
        let own = self.panel.column..self.panel.column + self.panel.lanes.count_ones() as usize;
        let (scales, sums) = (&self.selected.scales[own.clone()], &self.selected.sums[own]);
        for (r, (found, y)) in found.iter().zip(y).enumerate() {
            let (by, offset) = (self.x.scales()[self.row + r], self.x.offset(self.row + r));
            self.panel.put(found, &mut y[column..], |i, found, y| {
                *y = entry(found - offset * sums[i], by * scales[i]);
            });
        }
    }
}
