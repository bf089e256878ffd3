//! Products with the zeroed entries of a matrix: what a dense product with the unedited weights has
//! too much of.

use std::ops::Range;

use super::packed::Packed;
use super::quantized::{Inputs, Quantized, Selected};
use super::simd::dispatch;

/// Rows of the matrix between two places in the streams that a reader can start from.
const BLOCK: usize = 64;
/// Rows of the matrix whose results are gathered before they are turned back into rows of Y.
const TILE: usize = 8;
/// A count of this many columns says that the row goes on in the next count.
const FULL: u8 = u8::MAX;

/// Most rows of X that one pass over the pattern corrects.
pub const LANES: usize = 64;

/// The zeroed entries of one matrix `[rows, cols]`: compressed rows of 2 bytes an entry and about
/// one a row. Values are not kept; they are the unedited matrix's own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ZeroPattern {
    rows: usize,
    cols: usize,
    /// Columns of the zeros, row after row, ascending in each.
    columns: Vec<u16>,
    /// How many of them each row has; a row of 255 or more takes several counts.
    counts: Vec<u8>,
    /// Where in `columns` and `counts` every [`BLOCK`]-th row starts.
    starts: Vec<(u32, u32)>,
}

/// Which rows and columns of a matrix a pattern is of: these, ascending, or all.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Taken<'a> {
    /// The rows.
    pub rows: Option<&'a [u32]>,
    /// The columns.
    pub cols: Option<&'a [u32]>,
}

/// All of them.
pub const WHOLE: Taken<'static> = Taken { rows: None, cols: None };

impl Taken<'_> {
    #[inline(always)]
    fn row(self, row: usize) -> usize {
        self.rows.map_or(row, |rows| rows[row] as usize)
    }
}

/// Room for a chunk of X turned on its side, kept from call to call.
#[derive(Debug, Default)]
pub struct Scratch {
    turned: Vec<f32>,
    /// The same in whole numbers.
    turned_whole: Vec<i32>,
    whole: Vec<i32>,
}

/// What an entry may be: a float, or a whole number.
trait Entry: Copy + Default + std::ops::Sub<Output = Self> {
    /// `self` + `a`·`b`
    fn add_product(self, a: Self, b: Self) -> Self;
    fn transposed(block: &Block<Self>) -> Block<Self>;
}

impl Entry for f32 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        a.mul_add(b, self)
    }

    #[inline(always)]
    fn transposed(block: &Block<Self>) -> Block<Self> {
        transposed(block)
    }
}

impl Entry for i32 {
    #[inline(always)]
    fn add_product(self, a: Self, b: Self) -> Self {
        self.wrapping_add(a.wrapping_mul(b))
    }

    #[inline(always)]
    fn transposed(block: &Block<Self>) -> Block<Self> {
        pulp::bytemuck::cast(transposed(&pulp::bytemuck::cast(*block)))
    }
}

impl ZeroPattern {
    /// The zeros at `positions`, flat (row-major) and ascending, of a `[rows, cols]` matrix; `None`
    /// if it is wider than a 16-bit column can say.
    ///
    /// # Panics
    /// If a position lies outside the matrix.
    pub fn new(rows: usize, cols: usize, positions: &[u32]) -> Option<Self> {
        if cols > 1 << 16 {
            return None;
        }
        let columns = positions.iter().map(|&p| (p as usize % cols) as u16).collect();
        let mut counts = Vec::with_capacity(rows + positions.len() / usize::from(FULL));
        let mut starts = Vec::with_capacity(rows.div_ceil(BLOCK));
        let mut at = 0;
        for row in 0..rows {
            if row % BLOCK == 0 {
                starts.push((at as u32, counts.len() as u32));
            }
            let end = ((row + 1) * cols) as u64;
            let mut rest = positions[at..].iter().take_while(|&&p| u64::from(p) < end).count();
            at += rest;
            while rest >= usize::from(FULL) {
                counts.push(FULL);
                rest -= usize::from(FULL);
            }
            counts.push(rest as u8);
        }
        assert_eq!(at, positions.len(), "a position outside the matrix");
        counts.shrink_to_fit();
        Some(Self { rows, cols, columns, counts, starts })
    }

    /// Number of zeros.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether no entry is zero.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }

    /// Bytes of memory it holds.
    pub fn bytes(&self) -> usize {
        2 * self.columns.capacity() + self.counts.capacity() + 8 * self.starts.capacity()
    }

    /// Sets the zeros of `matrix`, `[rows, cols]`.
    ///
    /// # Panics
    /// If it has another size.
    pub fn clear(&self, matrix: &mut [f32]) {
        assert_eq!(matrix.len(), self.rows * self.cols, "the pattern's own matrix");
        self.for_each(|row, column| matrix[row * self.cols + column] = 0.0);
    }

    /// Hands row and column of every zero to `f`, row by row.
    #[inline(always)]
    pub(super) fn for_each(&self, mut f: impl FnMut(usize, usize)) {
        let mut reader = self.reader(0);
        for row in 0..self.rows {
            reader.next_row(|columns| columns.iter().for_each(|&c| f(row, usize::from(c))));
        }
    }

    /// Sets the zeros of one `row`, `[cols]`, of the matrix.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn clear_row(&self, number: usize, row: &mut [f32]) {
        let mut reader = self.reader(number / BLOCK);
        for _ in 0..number % BLOCK {
            reader.next_row(|_| {});
        }
        reader.next_row(|columns| columns.iter().for_each(|&c| row[usize::from(c)] = 0.0));
    }

    /// Y −= X·(W∘zeros)ᵀ on this thread, for `x` `[n, cols]`, the unedited `w` and `y` `[n, rows]`. The
    /// pattern's rows and columns are those that `taken` names of the matrix.
    ///
    /// Vectorised over rows of X, which are turned on their side [`LANES`] at a time: every zero is
    /// then one broadcast value times one contiguous row, and costs the same wherever it lies.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn correct(
        &self,
        w: &Packed,
        taken: Taken<'_>,
        x: &[f32],
        y: &mut [f32],
        scratch: &mut Scratch,
    ) {
        let n = y.len() / self.rows;
        assert_eq!(y.len(), n * self.rows, "whole rows of Y");
        assert_eq!(x.len(), n * self.cols, "as many rows of X as of Y");
        // From the panels, which the product has just been through.
        self.correct_taken(|row| w.row(taken.row(row)), taken, x, y, &mut scratch.turned);
    }

    /// The same on the whole numbers of Y, for `rows` of X and Y, `[rows, rows of W]`, before they are scaled:
    /// what is left is exactly the product with a W whose zeros are in place.
    ///
    /// # Panics
    /// If the sizes do not fit.
    pub fn correct_sums(
        &self,
        w: &Quantized,
        taken: Taken<'_>,
        x: &Inputs,
        rows: Range<usize>,
        y: &mut [i32],
        scratch: &mut Scratch,
    ) {
        assert_eq!(y.len(), rows.len() * self.rows, "as many rows of X as of Y");
        let Scratch { turned_whole, whole, .. } = scratch;
        x.put_rows(rows, whole);
        self.correct_taken(|row| w.row(taken.row(row)), taken, whole, y, turned_whole);
    }

    /// What is selected of `w`, as a matrix of its own with the zeros set: its products are what
    /// [`ZeroPattern::correct_sums`] leaves, once that is scaled, to the bit.
    ///
    /// # Panics
    /// If that has another size than the pattern.
    pub fn set_in(&self, w: &Quantized, selected: &Selected) -> Quantized {
        let mut own = w.taken(selected);
        assert_eq!(own.all().size(), (self.rows, self.cols), "the pattern's own matrix");
        self.for_each(|row, col| own.clear(row, col));
        own
    }

    /// Either, with the entries of W by row of the pattern and column of W.
    fn correct_taken<T: Entry, R: Fn(usize) -> T>(
        &self,
        w: impl Fn(usize) -> R + Copy,
        taken: Taken<'_>,
        x: &[T],
        y: &mut [T],
        turned: &mut Vec<T>,
    ) {
        match taken.cols {
            None => self.correct_by(w, x, y, turned),
            Some(cols) => {
                assert_eq!(cols.len(), self.cols, "the pattern's columns");
                let row = |row: usize| {
                    let w = w(row);
                    move |col: usize| w(cols[col] as usize)
                };
                self.correct_by(row, x, y, turned);
            }
        }
    }

    /// Either, with the entries of W by row and column of the pattern.
    fn correct_by<T: Entry, R: Fn(usize) -> T>(
        &self,
        w: impl Fn(usize) -> R + Copy,
        x: &[T],
        y: &mut [T],
        turned: &mut Vec<T>,
    ) {
        for (x, y) in x.chunks(LANES * self.cols).zip(y.chunks_mut(LANES * self.rows)) {
            let lanes = y.len() / self.rows;
            match lanes {
                0..=8 => self.correct_chunk::<8, T, R>(w, x, y, lanes, turned),
                9..=16 => self.correct_chunk::<16, T, R>(w, x, y, lanes, turned),
                17..=24 => self.correct_chunk::<24, T, R>(w, x, y, lanes, turned),
                25..=32 => self.correct_chunk::<32, T, R>(w, x, y, lanes, turned),
                33..=48 => self.correct_chunk::<48, T, R>(w, x, y, lanes, turned),
                _ => self.correct_chunk::<64, T, R>(w, x, y, lanes, turned),
            }
        }
    }

    /// [`ZeroPattern::correct_by`] for `n` ≤ `L` rows.
    fn correct_chunk<const L: usize, T: Entry, R: Fn(usize) -> T>(
        &self,
        w: impl Fn(usize) -> R,
        x: &[T],
        y: &mut [T],
        n: usize,
        turned: &mut Vec<T>,
    ) {
        dispatch(
            #[inline(always)]
            || {
                let (cols, rows) = (self.cols, self.rows);
                turned.resize(cols * L, T::default());
                let turned = &mut turned.as_chunks_mut::<L>().0[..cols];
                turn(x, turned, n);
                let mut reader = self.reader(0);
                for first in (0..rows).step_by(TILE) {
                    let height = TILE.min(rows - first);
                    let mut tile = [[T::default(); L]; TILE];
                    for (t, sums) in tile[..height].iter_mut().enumerate() {
                        let w = w(first + t);
                        let mut acc = [T::default(); L];
                        reader.next_row(
                            #[inline(always)]
                            |columns| {
                                for &c in columns {
                                    let c = usize::from(c);
                                    let (value, x) = (w(c), &turned[c]);
                                    for l in 0..L {
                                        acc[l] = acc[l].add_product(value, x[l]);
                                    }
                                }
                            },
                        );
                        *sums = acc;
                    }
                    for l in (0..n).step_by(TILE) {
                        let block: Block<T> = std::array::from_fn(
                            #[inline(always)]
                            |t| *tile[t][l..].first_chunk().unwrap_or(&[T::default(); TILE]),
                        );
                        let block = T::transposed(&block);
                        for (i, sums) in block[..TILE.min(n - l)].iter().enumerate() {
                            let y = &mut y[(l + i) * rows + first..][..height];
                            match y.first_chunk_mut::<TILE>() {
                                Some(y) => (0..TILE).for_each(|t| y[t] = y[t] - sums[t]),
                                None => (0..height).for_each(|t| y[t] = y[t] - sums[t]),
                            }
                        }
                    }
                }
            },
        );
    }

    fn reader(&self, block: usize) -> Reader<'_> {
        let (columns, counts) = self.starts.get(block).copied().unwrap_or_default();
        Reader {
            columns: &self.columns[columns as usize..],
            counts: &self.counts[counts as usize..],
        }
    }
}

/// The rows of a pattern, one after the other.
struct Reader<'a> {
    columns: &'a [u16],
    counts: &'a [u8],
}

impl Reader<'_> {
    /// Hands the columns of the next row to `f`, at most 255 at a time.
    #[inline(always)]
    fn next_row(&mut self, mut f: impl FnMut(&[u16])) {
        while let Some((&count, counts)) = self.counts.split_first() {
            let (mine, columns) = self.columns.split_at(usize::from(count));
            (self.counts, self.columns) = (counts, columns);
            f(mine);
            if count < FULL {
                return;
            }
        }
    }
}

/// `turned[c][l] = x[l, c]` for the `n` rows of `x`; lanes from `n` on are zero.
#[inline(always)]
fn turn<const L: usize, T: Entry>(x: &[T], turned: &mut [[T; L]], n: usize) {
    let cols = turned.len();
    let whole = cols / TILE * TILE;
    // Column by column: a line of `turned` is then written whole.
    for c in (0..whole).step_by(TILE) {
        for first in (0..L).step_by(TILE) {
            let block: Block<T> = std::array::from_fn(
                #[inline(always)]
                |i| match x.get((first + i) * cols + c..) {
                    Some(row) if first + i < n => {
                        *row.first_chunk().unwrap_or(&[T::default(); TILE])
                    }
                    _ => [T::default(); TILE],
                },
            );
            let block = T::transposed(&block);
            for (turned, column) in turned[c..c + TILE].iter_mut().zip(&block) {
                turned[first..first + TILE].copy_from_slice(column);
            }
        }
    }
    for c in whole..cols {
        for l in 0..L {
            turned[c][l] = if l < n { x[l * cols + c] } else { T::default() };
        }
    }
}

/// A square of entries that fits the vector registers.
type Block<T> = [[T; TILE]; TILE];

/// The transpose: by shuffles where the machine has AVX, which compilers do not find by themselves.
#[inline(always)]
fn transposed(block: &Block<f32>) -> Block<f32> {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx") {
        // SAFETY: the machine has AVX.
        #[allow(unsafe_code)]
        return unsafe { transposed_avx(block) };
    }
    std::array::from_fn(
        #[inline(always)]
        |i| {
            std::array::from_fn(
                #[inline(always)]
                |j| block[j][i],
            )
        },
    )
}

/// The transpose in three rounds: pairs of entries, quadruples, halves.
#[cfg(target_arch = "x86_64")]
#[inline]
#[target_feature(enable = "avx")]
#[allow(unsafe_code)]
fn transposed_avx(block: &Block<f32>) -> Block<f32> {
    use std::arch::x86_64::*;
    // SAFETY (both): eight f32 have the size of a vector, and any bits are valid in both.
    let load = |row: &[f32; TILE]| unsafe { _mm256_loadu_ps(row.as_ptr()) };
    let store = |row: &mut [f32; TILE], v| unsafe { _mm256_storeu_ps(row.as_mut_ptr(), v) };
    let pairs: [(__m256, __m256); 4] = std::array::from_fn(|i| {
        let (a, b) = (load(&block[2 * i]), load(&block[2 * i + 1]));
        (_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b))
    });
    // Of rows 0 to 3, and of 4 to 7: columns 0 to 3 and, in the upper halves, 4 to 7.
    let quads: [[__m256; 4]; 2] = std::array::from_fn(|i| {
        let ((a0, a1), (b0, b1)) = (pairs[2 * i], pairs[2 * i + 1]);
        [
            _mm256_shuffle_ps(a0, b0, 0x44),
            _mm256_shuffle_ps(a0, b0, 0xee),
            _mm256_shuffle_ps(a1, b1, 0x44),
            _mm256_shuffle_ps(a1, b1, 0xee),
        ]
    });
    let mut out = [[0.0; TILE]; TILE];
    for c in 0..4 {
        let (upper, lower) = (quads[0][c], quads[1][c]);
        store(&mut out[c], _mm256_permute2f128_ps(upper, lower, 0x20));
        store(&mut out[c + 4], _mm256_permute2f128_ps(upper, lower, 0x31));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::random::{normal, uniform};

    fn draw(key: u64, len: usize) -> Vec<f32> {
        (0..len as u32).map(|i| normal(key, i)).collect()
    }

    fn positions(len: usize, density: f32) -> Vec<u32> {
        (0..len as u32).filter(|&i| uniform(7, i) < density).collect()
    }

    /// Against float64, at every number of lanes, with empty and full rows, and rows of more than
    /// 255 zeros.
    #[test]
    fn corrects_as_float64_does() {
        let shapes = [(1, 1), (3, 5), (8, 300), (70, 64), (130, 600)];
        for (rows, cols) in shapes {
            for density in [0.0, 0.02, 0.5, 1.0] {
                let zeros = positions(rows * cols, density);
                let pattern = ZeroPattern::new(rows, cols, &zeros).unwrap();
                assert_eq!(pattern.len(), zeros.len());
                for n in [1, 7, 8, 15, 17, 25, 32, 33, 70] {
                    let (w, x, before) =
                        (draw(1, rows * cols), draw(2, n * cols), draw(3, n * rows));
                    let mut y = before.clone();
                    let packed = Packed::new(&w, rows, cols);
                    pattern.correct(&packed, WHOLE, &x, &mut y, &mut Scratch::default());
                    let mut want: Vec<f64> = before.iter().map(|&v| f64::from(v)).collect();
                    for &p in &zeros {
                        let (o, c) = (p as usize / cols, p as usize % cols);
                        for r in 0..n {
                            want[r * rows + o] -=
                                f64::from(x[r * cols + c]) * f64::from(w[p as usize]);
                        }
                    }
                    for (got, want) in y.iter().zip(&want) {
                        let bound = 1e-6 * (cols as f64 + 4.0);
                        assert!((f64::from(*got) - want).abs() < bound, "{rows} {cols} {n}");
                    }
                }
            }
        }
    }

    #[test]
    fn clears_the_same_entries_whole_and_by_row() {
        let (rows, cols) = (150, 520);
        let zeros = positions(rows * cols, 0.6);
        let pattern = ZeroPattern::new(rows, cols, &zeros).unwrap();
        let mut want = draw(1, rows * cols);
        let mut by_row = want.clone();
        let mut whole = want.clone();
        zeros.iter().for_each(|&p| want[p as usize] = 0.0);
        pattern.clear(&mut whole);
        for (i, row) in by_row.chunks_exact_mut(cols).enumerate() {
            pattern.clear_row(i, row);
        }
        assert_eq!(whole, want);
        assert_eq!(by_row, want);
        assert!(ZeroPattern::new(1, 70_000, &[3]).is_none());
    }

    #[test]
    fn transposes() {
        let block: Block<f32> =
            std::array::from_fn(|i| std::array::from_fn(|j| (8 * i + j) as f32));
        let turned = transposed(&block);
        for i in 0..TILE {
            for j in 0..TILE {
                assert_eq!(turned[i][j], block[j][i]);
            }
        }
    }

    #[test]
    fn a_zero_takes_two_bytes_and_a_row_one() {
        let (rows, cols) = (1536, 384);
        let zeros = positions(rows * cols, 0.01);
        let pattern = ZeroPattern::new(rows, cols, &zeros).unwrap();
        assert!(pattern.bytes() <= 2 * zeros.len() + rows + rows / 8, "{}", pattern.bytes());
    }
}
