//! How a product with a matrix laid out in panels is shared out over threads.

use rayon::prelude::*;

/// Rows of W side by side in a panel: two vectors of AVX2, one of AVX-512, four of NEON.
pub(super) const WIDTH: usize = 16;
/// Rows of X that go through a panel together: 6 · 2 sums, two vectors of W and one entry of X fill
/// the registers of AVX2.
pub(super) const HEIGHT: usize = 6;
/// Most rows of X that one thread takes through the panels.
const BLOCK: usize = 32 * HEIGHT;
/// Products of fewer multiply-adds stay on one thread.
const PARALLEL: usize = 250_000;

/// A block of rows through some panels.
pub(super) struct Job<'a, W, T> {
    /// The first of its rows of X.
    pub(super) row: usize,
    /// The first of its panels.
    pub(super) panel: usize,
    pub(super) panels: &'a [W],
    /// The columns of these panels, row by row.
    pub(super) y: Vec<&'a mut [T]>,
}

/// Has `run` fill `y`, `[m, n]`, in jobs that share no output, on as many threads as are worth it. A panel
/// is `panel` entries of `panels` and takes so many multiply-adds a row as 16 · `k`.
pub(super) fn share<W: Sync, T: Send>(
    (m, n, k): (usize, usize, usize),
    (panels, panel): (&[W], usize),
    y: &mut [T],
    run: impl Fn(Job<'_, W, T>) + Send + Sync,
) {
    if m == 0 {
        return;
    }
    let threads = if m * n * k < PARALLEL { 1 } else { rayon::current_num_threads() };
    // Blocks of rows alike in size, then as many of panels as give every thread some.
    let block = m.div_ceil(m.div_ceil(BLOCK)).next_multiple_of(HEIGHT);
    let count = n.div_ceil(WIDTH);
    let shares = if threads == 1 { 1 } else { (4 * threads).div_ceil(m.div_ceil(block)) };
    let wide = count.div_ceil(shares.min(count));

    let mut jobs = Vec::new();
    for (b, y) in y.chunks_mut(block * n).enumerate() {
        let first = jobs.len();
        for (s, panels) in panels[..count * panel].chunks(wide * panel).enumerate() {
            let y = Vec::with_capacity(y.len() / n);
            jobs.push(Job { row: b * block, panel: s * wide, panels, y });
        }
        // Each job has its columns of every row.
        for row in y.chunks_exact_mut(n) {
            for (job, y) in jobs[first..].iter_mut().zip(row.chunks_mut(wide * WIDTH)) {
                job.y.push(y);
            }
        }
    }
    if threads == 1 {
        jobs.into_iter().for_each(run);
    } else {
        jobs.into_par_iter().with_max_len(1).for_each(run);
    }
}
