//! Which panels of a matrix a product takes, and how they are shared out over threads.

use std::ops::Range;

use rayon::prelude::*;

/// Rows of W side by side in a panel: two vectors of AVX2, one of AVX-512, four of NEON.
pub(super) const WIDTH: usize = 16;
/// Rows of X that go through a panel together: 6 · 2 sums, two vectors of W and one entry of X fill
/// the registers of AVX2.
pub(super) const HEIGHT: usize = 6;
/// Columns that are summed before the next panel's turn: 24 KB of a panel of floats stay in the first
/// cache.
pub(super) const DEPTH: usize = 384;
/// Most rows of X that one thread takes through the panels: with `DEPTH` they fit the second cache.
const BLOCK: usize = 32 * HEIGHT;
/// Products of fewer multiply-adds stay on one thread.
const PARALLEL: usize = 250_000;

/// The rows and columns of a matrix that a product takes: X has a column for each of these columns, Y
/// one for each of these rows, in their order.
#[derive(Debug, Clone, PartialEq)]
pub struct Choice {
    panels: Vec<Panel>,
    runs: Vec<Run>,
    /// Of the runs, which are summed before the next panel's turn.
    blocks: Vec<Range<usize>>,
    rows: usize,
    cols: usize,
    /// Rows and columns of the matrix.
    of: (usize, usize),
}

/// A panel of which some rows are taken.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Panel {
    pub(super) number: usize,
    /// A bit for each row that is taken, the lowest for the first.
    pub(super) lanes: u16,
    /// The column of Y for the first of them.
    pub(super) column: usize,
}

/// Columns of W that follow each other.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Run {
    /// The first, in W and in X.
    pub(super) w: usize,
    pub(super) x: usize,
    pub(super) len: usize,
}

impl Choice {
    /// Those `rows` and `cols`, each ascending, or all, of a matrix of this size.
    ///
    /// # Panics
    /// If the matrix does not have them.
    pub fn new(of: (usize, usize), rows: Option<&[u32]>, cols: Option<&[u32]>) -> Self {
        let mut panels: Vec<Panel> = vec![];
        let mut take = |row: usize, column: usize| {
            assert!(row < of.0, "row {row} of {}", of.0);
            let (number, lane) = (row / WIDTH, 1 << (row % WIDTH));
            match panels.last_mut() {
                Some(last) if last.number == number => last.lanes |= lane,
                _ => panels.push(Panel { number, lanes: lane, column }),
            }
        };
        match rows {
            Some(rows) => rows.iter().enumerate().for_each(|(i, row)| take(*row as usize, i)),
            None => (0..of.0).for_each(|row| take(row, row)),
        }
        let mut runs: Vec<Run> = vec![];
        let mut take = |col: usize, x: usize| {
            assert!(col < of.1, "column {col} of {}", of.1);
            match runs.last_mut() {
                // A run lies in one block.
                Some(last) if last.w + last.len == col && !x.is_multiple_of(DEPTH) => last.len += 1,
                _ => runs.push(Run { w: col, x, len: 1 }),
            }
        };
        match cols {
            Some(cols) => cols.iter().enumerate().for_each(|(x, col)| take(*col as usize, x)),
            None => (0..of.1).for_each(|col| take(col, col)),
        }
        let (rows, cols) = (rows.map_or(of.0, <[u32]>::len), cols.map_or(of.1, <[u32]>::len));
        let block = |start: usize| {
            let at = |x: usize| runs.partition_point(|run| run.x < x);
            at(start)..at(start + DEPTH)
        };
        // Where no column is taken, sums are 0 all the same.
        let blocks = (0..cols.max(1)).step_by(DEPTH).map(block).collect();
        Self { panels, runs, blocks, rows, cols, of }
    }

    /// How many rows are taken: the columns of Y.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns are taken: those of X.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Rows and columns of the matrix.
    pub(super) fn of(&self) -> (usize, usize) {
        self.of
    }

    /// Whether all of the matrix is taken.
    pub(super) fn is_whole(&self) -> bool {
        (self.rows, self.cols) == self.of
    }

    /// The columns.
    pub(super) fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The columns, those in a block summed before the next panel's turn.
    pub(super) fn blocks(&self) -> impl Iterator<Item = &[Run]> {
        self.blocks.iter().map(|block| &self.runs[block.clone()])
    }

    /// The rows, ascending.
    pub(super) fn taken_rows(&self) -> impl Iterator<Item = usize> {
        self.panels.iter().flat_map(|panel| {
            let lanes = (0..WIDTH).filter(move |lane| panel.lanes >> lane & 1 == 1);
            lanes.map(move |lane| panel.number * WIDTH + lane)
        })
    }
}

impl Panel {
    /// Puts what was found of all its rows into the columns of those that are taken.
    #[inline(always)]
    pub(super) fn put<F: Copy, T>(
        self,
        found: &[F; WIDTH],
        y: &mut [T],
        mut put: impl FnMut(usize, F, &mut T),
    ) {
        if let (u16::MAX, Some(y)) = (self.lanes, y.first_chunk_mut::<WIDTH>()) {
            // So many that the compiler knows it.
            for i in 0..WIDTH {
                put(i, found[i], &mut y[i]);
            }
            return;
        }
        let count = self.lanes.count_ones() as usize;
        let mut lanes = self.lanes;
        for (i, y) in y[..count].iter_mut().enumerate() {
            put(i, found[lanes.trailing_zeros() as usize], y);
            lanes &= lanes - 1;
        }
    }
}

/// A block of rows through some panels.
pub(super) struct Job<'a, T> {
    /// The first of its rows of X.
    pub(super) row: usize,
    pub(super) panels: &'a [Panel],
    /// The columns of these panels, row by row.
    pub(super) y: Vec<&'a mut [T]>,
}

/// Has `run` fill `y`, `[m, rows taken]`, in jobs that share no output, on as many threads as are worth it.
pub(super) fn share<T: Send>(
    m: usize,
    choice: &Choice,
    y: &mut [T],
    run: impl Fn(Job<'_, T>) + Send + Sync,
) {
    let (n, k) = (choice.rows, choice.cols);
    if m == 0 || n == 0 {
        return;
    }
    let threads = if m * n * k < PARALLEL { 1 } else { rayon::current_num_threads() };
    // Blocks of rows alike in size, then as many of panels as give every thread some.
    let block = m.div_ceil(m.div_ceil(BLOCK)).next_multiple_of(HEIGHT);
    let count = choice.panels.len();
    let shares = if threads == 1 { 1 } else { (4 * threads).div_ceil(m.div_ceil(block)) };
    let wide = count.div_ceil(shares.min(count));

    let mut jobs = Vec::new();
    for (b, y) in y.chunks_mut(block * n).enumerate() {
        let first = jobs.len();
        for panels in choice.panels.chunks(wide) {
            jobs.push(Job { row: b * block, panels, y: Vec::with_capacity(y.len() / n) });
        }
        // Each job has its columns of every row.
        for mut row in y.chunks_exact_mut(n) {
            for j in first..jobs.len() {
                let end = jobs.get(j + 1).map_or(n, |next| next.panels[0].column);
                let (mine, rest) = row.split_at_mut(end - jobs[j].panels[0].column);
                jobs[j].y.push(mine);
                row = rest;
            }
        }
    }
    if threads == 1 {
        jobs.into_iter().for_each(run);
    } else {
        jobs.into_par_iter().with_max_len(1).for_each(run);
    }
}
