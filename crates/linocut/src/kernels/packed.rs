//! Y = X·Wᵀ with a W that is laid out for it once: nothing of W is rearranged per product, which for
//! few rows of X would cost as much as the product itself.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};

use super::panels::{self, HEIGHT, WIDTH};

/// Columns that are summed before the next panel's turn: 24 KB of a panel stay in the first cache.
const DEPTH: usize = 384;
/// Steps along k between fetches of the next panel's cache lines.
const STEPS: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;

/// A matrix W, `[rows, cols]`, as panels of 16 rows, each `[cols, 16]`.
pub struct Packed {
    /// The panels from `start` on, which is where a cache line begins; rows that there are not are 0.
    data: Vec<f32>,
    start: usize,
    rows: usize,
    cols: usize,
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
        Self { data, start, rows, cols }
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
        let (n, k) = (self.rows, self.cols);
        let m = x.len() / k;
        assert!(x.len() == m * k && y.len() == m * n, "X of {m} × {k}, Y of {m} × {n}");
        panels::share((m, n, k), (&self.data[self.start..], k * WIDTH), y, |job| {
            let x = &x[job.row * k..(job.row + job.y.len()) * k];
            Arch::new().dispatch(Job { x, panels: job.panels, y: job.y, k });
        });
    }
}

/// A block of rows through some panels.
struct Job<'a> {
    /// `[rows, k]`
    x: &'a [f32],
    /// `[panels, k, 16]`
    panels: &'a [f32],
    /// The columns of these panels, row by row.
    y: Vec<&'a mut [f32]>,
    k: usize,
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
        let (k, rows) = (self.k, self.y.len());
        let tiles = rows.div_ceil(HEIGHT);
        for start in (0..k).step_by(DEPTH) {
            let depth = start..(start + DEPTH).min(k);
            let (from, len) = (start * WIDTH, depth.len() * WIDTH);
            for (p, panel) in self.panels.chunks_exact(k * WIDTH).enumerate() {
                let panel = &panel[from..from + len];
                let next = self.panels.get((p + 1) * k * WIDTH + from..).unwrap_or_default();
                for (t, i) in (0..rows).step_by(HEIGHT).enumerate() {
                    let height = HEIGHT.min(rows - i);
                    let y = &mut self.y[i..i + height];
                    let columns = p * WIDTH..((p + 1) * WIDTH).min(y[0].len());
                    // The first tiles together fetch the next panel.
                    let lines = STEPS.div_ceil(tiles.min(STEPS));
                    let ahead = next.get(t * lines * (len / STEPS)..len.min(next.len()));
                    let part = Part {
                        x: &self.x[i * k..(i + height) * k],
                        depth: &depth,
                        panel,
                        ahead: ahead.unwrap_or_default(),
                        lines,
                        add: start > 0,
                    };
                    match height {
                        6 => part.tile::<S, V, 6>(simd, y, columns),
                        5 => part.tile::<S, V, 5>(simd, y, columns),
                        4 => part.tile::<S, V, 4>(simd, y, columns),
                        3 => part.tile::<S, V, 3>(simd, y, columns),
                        2 => part.tile::<S, V, 2>(simd, y, columns),
                        _ => part.tile::<S, V, 1>(simd, y, columns),
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
