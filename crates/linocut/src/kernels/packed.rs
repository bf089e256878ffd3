//! Y = X·Wᵀ with a W that is laid out for it once: nothing of W is rearranged per product, which for
//! few rows of X would cost as much as the product itself.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::panels::{self, Choice, HEIGHT, Panel, Run, WIDTH};

/// Steps along k between fetches of the next panel's cache lines.
const STEPS: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;

/// A matrix W, `[rows, cols]`, as panels of 16 rows, each `[cols, 16]`.
pub struct Packed {
    /// The panels from `start` on, which is where a cache line begins; rows that there are not are 0.
    data: Vec<f32>,
    start: usize,
    all: Choice,
}

impl Packed {
    /// Lays out `w`, `[rows, cols]` row-major.
    ///
    /// # Panics
    /// If `w` is empty or has not exactly `rows · cols` entries.
    pub fn new(w: &[f32], rows: usize, cols: usize) -> Self {
        assert!(!w.is_empty() && w.len() == rows * cols, "matrix of {rows} × {cols}");
        let mut data = vec![0.0; rows.div_ceil(WIDTH) * cols * WIDTH + LINE / 4];
        let start = data.as_ptr().align_offset(LINE).min(LINE / 4);
        let panels = data[start..].chunks_exact_mut(cols * WIDTH);
        for (panel, rows) in panels.zip(w.chunks(WIDTH * cols)) {
            for (lane, row) in rows.chunks_exact(cols).enumerate() {
                panel.iter_mut().skip(lane).step_by(WIDTH).zip(row).for_each(|(to, v)| *to = *v);
            }
        }
        Self { data, start, all: Choice::new((rows, cols), None, None) }
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        4 * self.data.capacity()
    }

    /// Y = X·Wᵀ for X, `[m, cols]`, and Y, `[m, rows]`, whose entries do not matter before. Each row
    /// of Y depends on its own row of X alone, to the bit: not on m, nor on the number of threads.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn multiply(&self, x: &[f32], y: &mut [f32]) {
        self.multiply_some(&self.all, x, y);
    }

    /// The same with the rows and columns of W that `choice` takes, and with no others' work: X is
    /// `[m, columns taken]`, Y `[m, rows taken]`.
    ///
    /// # Panics
    /// If the lengths do not fit, or the choice is of a matrix of another size.
    pub fn multiply_some(&self, choice: &Choice, x: &[f32], y: &mut [f32]) {
        assert_eq!(choice.of(), self.all.of(), "a choice of a matrix of this size");
        let (n, k) = (choice.rows(), choice.cols());
        let m = y.len().checked_div(n).unwrap_or(0);
        assert!(y.len() == m * n, "Y of {m} × {n}");
        assert!(n == 0 || x.len() == m * k, "X of {m} × {k}, found {} entries", x.len());
        panels::share(m, choice, y, |job| {
            let x = &x[job.row * k..(job.row + job.y.len()) * k];
            Arch::new().dispatch(Job { matrix: self, choice, x, panels: job.panels, y: job.y });
        });
    }

    /// The entries of a row of W by their column.
    #[inline(always)]
    pub(super) fn row(&self, row: usize) -> impl Fn(usize) -> f32 {
        let panel = self.panel(row / WIDTH);
        move |col| panel[col * WIDTH + row % WIDTH]
    }

    /// A panel, `[cols, 16]`.
    #[inline(always)]
    fn panel(&self, number: usize) -> &[f32] {
        let len = self.all.cols() * WIDTH;
        &self.data[self.start + number * len..][..len]
    }
}

/// A block of rows through some panels.
struct Job<'a> {
    matrix: &'a Packed,
    choice: &'a Choice,
    /// `[rows, k]`
    x: &'a [f32],
    panels: &'a [Panel],
    /// The columns of these panels, row by row.
    y: Vec<&'a mut [f32]>,
}

impl WithSimd for Job<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        match S::F32_LANES {
            16 => self.run::<S, 1>(simd),
            8 => self.run::<S, 2>(simd),
            4 => self.run::<S, 4>(simd),
            _ => self.run::<S, 16>(simd),
        }
    }
}

impl Job<'_> {
    /// With `V` vectors to a panel's width.
    #[inline(always)]
    fn run<S: Simd, const V: usize>(mut self, simd: S) {
        let (k, rows) = (self.choice.cols(), self.y.len());
        let tiles = rows.div_ceil(HEIGHT);
        // The first tiles together fetch the next panel.
        let lines = STEPS.div_ceil(tiles.min(STEPS));
        let whole = self.choice.is_whole();
        let first = self.panels[0].column;
        for (b, runs) in self.choice.blocks().enumerate() {
            for (p, panel) in self.panels.iter().enumerate() {
                let next = self.panels.get(p + 1).map(|next| self.matrix.panel(next.number));
                let (next, mine) = (next.unwrap_or_default(), self.matrix.panel(panel.number));
                let column = panel.column - first;
                for (t, i) in (0..rows).step_by(HEIGHT).enumerate() {
                    let height = HEIGHT.min(rows - i);
                    let y = &mut self.y[i..i + height];
                    let x = &self.x[i * k..(i + height) * k];
                    if let ([run], true) = (runs, whole) {
                        let depth = run.w..run.w + run.len;
                        let range = depth.start * WIDTH..depth.end * WIDTH;
                        let ahead = next.get(range.clone()).unwrap_or_default();
                        let ahead = ahead.get(t * lines * (range.len() / STEPS)..);
                        let part = Part {
                            x,
                            depth: &depth,
                            panel: &mine[range],
                            ahead: ahead.unwrap_or_default(),
                            lines,
                            add: b > 0,
                        };
                        let columns = column..(column + WIDTH).min(y[0].len());
                        match height {
                            6 => part.tile::<S, V, 6>(simd, y, columns),
                            5 => part.tile::<S, V, 5>(simd, y, columns),
                            4 => part.tile::<S, V, 4>(simd, y, columns),
                            3 => part.tile::<S, V, 3>(simd, y, columns),
                            2 => part.tile::<S, V, 2>(simd, y, columns),
                            _ => part.tile::<S, V, 1>(simd, y, columns),
                        }
                        continue;
                    }
                    let next = if t * lines < STEPS { next } else { &[] };
                    let lines = t * lines..(t + 1) * lines;
                    let part = SomePart { x, runs, panel: mine, next, lines, add: b > 0 };
                    match height {
                        6 => part.tile::<S, V, 6>(simd, *panel, column, y),
                        5 => part.tile::<S, V, 5>(simd, *panel, column, y),
                        4 => part.tile::<S, V, 4>(simd, *panel, column, y),
                        3 => part.tile::<S, V, 3>(simd, *panel, column, y),
                        2 => part.tile::<S, V, 2>(simd, *panel, column, y),
                        _ => part.tile::<S, V, 1>(simd, *panel, column, y),
                    }
                }
            }
        }
    }
}

/// What a tile of Y is made of.
struct Part<'a> {
    /// Its rows of X, `[H, k]`.
    x: &'a [f32],
    /// Which of the k columns.
    depth: &'a Range<usize>,
    /// `[depth, 16]`
    panel: &'a [f32],
    /// What to fetch of the next panel meanwhile, so many cache lines every `STEPS` steps.
    ahead: &'a [f32],
    lines: usize,
    /// Whether the tile gains the product, or becomes it.
    add: bool,
}

impl Part<'_> {
    /// Columns of `H` rows of Y become, or gain, the product with the panel.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const H: usize>(
        &self,
        simd: S,
        y: &mut [&mut [f32]],
        columns: Range<usize>,
    ) {
        let mut sums = [[simd.splat_f32s(0.0); V]; H];
        let panel = S::as_simd_f32s(self.panel).0.as_chunks::<V>().0;
        let k = self.x.len() / H;
        // As long as the panel: the compiler then knows that no index below is out of bounds.
        let x: [&[f32]; H] =
            std::array::from_fn(|r| &self.x[r * k + self.depth.start..][..panel.len()]);
        let whole = panel.len() / STEPS * STEPS;
        let mut line = 0;
        for p in (0..whole).step_by(STEPS) {
            for _ in 0..self.lines {
                fetch(self.ahead, line);
                line += WIDTH;
            }
            for p in p..p + STEPS {
                add(simd, &mut sums, &x, p, &panel[p]);
            }
        }
        for p in whole..panel.len() {
            add(simd, &mut sums, &x, p, &panel[p]);
        }
        for (row, sums) in y.iter_mut().zip(sums) {
            let mut found = [0.0; WIDTH];
            S::as_mut_simd_f32s(&mut found).0.copy_from_slice(&sums);
            let row = &mut row[columns.clone()];
            if self.add {
                row.iter_mut().zip(&found).for_each(|(y, v)| *y += v);
            } else {
                row.copy_from_slice(&found[..row.len()]);
            }
        }
    }
}

/// What a tile of some columns of Y is made of.
struct SomePart<'a> {
    /// Its rows of X, `[H, k]`.
    x: &'a [f32],
    /// Which of the columns.
    runs: &'a [Run],
    /// `[cols, 16]`
    panel: &'a [f32],
    /// The next panel, of which these of every `STEPS` cache lines are fetched meanwhile.
    next: &'a [f32],
    lines: Range<usize>,
    /// Whether the tile gains the product, or becomes it.
    add: bool,
}

impl SomePart<'_> {
    /// Columns from `column` on of `H` rows of Y become, or gain, the product with the panel.
    #[inline(always)]
    fn tile<S: Simd, const V: usize, const H: usize>(
        &self,
        simd: S,
        panel: Panel,
        column: usize,
        y: &mut [&mut [f32]],
    ) {
        let mut sums = [[simd.splat_f32s(0.0); V]; H];
        let k = self.x.len() / H;
        for run in self.runs {
            let range = run.w * WIDTH..(run.w + run.len) * WIDTH;
            let next = self.next.get(range.clone()).unwrap_or_default();
            let panel = S::as_simd_f32s(&self.panel[range]).0.as_chunks::<V>().0;
            // As long as the panel: the compiler then knows that no index below is out of bounds.
            let x: [&[f32]; H] = std::array::from_fn(|r| &self.x[r * k + run.x..][..panel.len()]);
            let whole = panel.len() / STEPS * STEPS;
            for p in (0..whole).step_by(STEPS) {
                for line in self.lines.clone() {
                    fetch(next, (p + line) * WIDTH);
                }
                for p in p..p + STEPS {
                    add(simd, &mut sums, &x, p, &panel[p]);
                }
            }
            for p in whole..panel.len() {
                add(simd, &mut sums, &x, p, &panel[p]);
            }
        }
        for (row, sums) in y.iter_mut().zip(sums) {
            let mut found = [0.0; WIDTH];
            S::as_mut_simd_f32s(&mut found).0.copy_from_slice(&sums);
            let row = &mut row[column..];
            if self.add {
                panel.put(&found, row, |_, found, y| *y += found);
            } else {
                panel.put(&found, row, |_, found, y| *y = found);
            }
        }
    }
}

/// Adds column `p` of the rows of X times a line of a panel.
#[inline(always)]
fn add<S: Simd, const V: usize, const H: usize>(
    simd: S,
    sums: &mut [[S::f32s; V]; H],
    x: &[&[f32]; H],
    p: usize,
    line: &[S::f32s; V],
) {
    for (sums, x) in sums.iter_mut().zip(x) {
        let x = simd.splat_f32s(x[p]);
        for (sum, w) in sums.iter_mut().zip(line) {
            *sum = simd.mul_add_e_f32s(x, *w, *sum);
        }
    }
}

/// Has the cache line of `data[at]`, if there is one, fetched without waiting for it.
#[inline(always)]
#[allow(unsafe_code)]
fn fetch(data: &[f32], at: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(v) = data.get(at) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 CPU has the instruction (SSE); it reads and writes nothing that a
        // program can see, and the address is that of a live reference.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(v).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (data, at);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::normal;

    fn draw(key: u64, len: usize) -> Vec<f32> {
        (0..len as u32).map(|i| normal(key, i)).collect()
    }

    /// Sizes around the tile's, the block's and the depth's edges.
    const SIZES: [(usize, usize, usize); 9] = [
        (1, 1, 1),
        (6, 16, 8),
        (7, 17, 9),
        (5, 36, 50),
        (13, 31, 385),
        (1, 384, 384),
        (32, 384, 768),
        (193, 40, 36),
        (400, 99, 70),
    ];

    #[test]
    fn agrees_with_float64() {
        for (m, n, k) in SIZES {
            let (x, w) = (draw(1, m * k), draw(2, n * k));
            let mut y = vec![f32::NAN; m * n];
            Packed::new(&w, n, k).multiply(&x, &mut y);
            for (i, found) in y.iter().enumerate() {
                let (x, w) = (&x[i / n * k..][..k], &w[i % n * k..][..k]);
                let dot: f64 = x.iter().zip(w).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
                assert!((f64::from(*found) - dot).abs() < 2e-6 * (k as f64 + 4.0), "{m} {n} {k}");
            }
        }
    }

    /// What is not taken has no part in it, and what is taken need not fill panels.
    #[test]
    fn rows_and_columns_that_are_taken_make_the_product_alone() {
        for (m, n, k) in SIZES {
            let (x, w) = (draw(1, m * k), draw(2, n * k));
            let packed = Packed::new(&w, n, k);
            let some = |of: usize, key: u64| -> Vec<u32> {
                (0..of as u32).filter(|i| normal(key, i / 3) > -0.3).collect()
            };
            for (rows, cols) in [(some(n, 3), some(k, 4)), (some(n, 5), vec![]), (vec![], vec![])] {
                let choice = Choice::new((n, k), Some(&rows), Some(&cols));
                let narrow = |x: &[f32], cols: &[u32]| -> Vec<f32> {
                    let row = |row: &[f32]| cols.iter().map(|&c| row[c as usize]).collect();
                    x.chunks(k).flat_map(|x| -> Vec<f32> { row(x) }).collect()
                };
                let mut y = vec![f32::NAN; m * rows.len()];
                packed.multiply_some(&choice, &narrow(&x, &cols), &mut y);
                for (i, found) in y.iter().enumerate() {
                    let (x, row) = (&x[i / rows.len() * k..], rows[i % rows.len()] as usize);
                    let product = |&c: &u32| f64::from(x[c as usize] * w[row * k + c as usize]);
                    let dot: f64 = cols.iter().map(product).sum();
                    assert!((f64::from(*found) - dot).abs() < 2e-6 * (k as f64 + 4.0));
                }
                // As a matrix of these alone, to the bit, where the columns are one run.
                let choice = Choice::new((n, k), Some(&rows), None);
                let own: Vec<f32> =
                    rows.iter().flat_map(|&r| &w[r as usize * k..][..k]).copied().collect();
                let (mut some, mut alone) = (vec![0.0; m * rows.len()], vec![1.0; m * rows.len()]);
                packed.multiply_some(&choice, &x, &mut some);
                if !rows.is_empty() {
                    Packed::new(&own, rows.len(), k).multiply(&x, &mut alone);
                    assert_eq!(some, alone);
                }
            }
        }
    }

    #[test]
    fn bits_depend_neither_on_threads_nor_on_other_rows() {
        let (m, n, k) = (401, 384, 1000);
        let (x, w) = (draw(1, m * k), Packed::new(&draw(2, n * k), n, k));
        let run = |threads, rows: Range<usize>| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let mut y = vec![0.0; rows.len() * n];
            pool.install(|| w.multiply(&x[rows.start * k..rows.end * k], &mut y));
            y
        };
        let all = run(1, 0..m);
        assert_eq!(run(2, 0..m), all);
        assert_eq!(run(3, 0..m), all);
        for rows in [0..1, 5..18, 200..393, 400..401] {
            assert_eq!(run(2, rows.clone()), all[rows.start * n..rows.end * n]);
        }
    }
}
