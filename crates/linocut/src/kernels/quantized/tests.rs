use proptest::prelude::*;

use super::*;
use crate::kernels::random::{normal, uniform};
use crate::kernels::sparse::{Scratch, WHOLE, ZeroPattern};

fn draw(key: u64, len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| normal(key, i)).collect()
}

fn inputs(x: &[f32], cols: usize) -> Inputs {
    let mut inputs = Inputs::default();
    inputs.quantise(x, cols);
    inputs
}

fn product(isa: Isa, w: &Quantized, x: &Inputs, m: usize) -> Vec<f32> {
    let mut y = vec![f32::NAN; m * w.all.choice.rows()];
    w.run(isa, &w.all, x, 0..m, &mut y, scaled);
    y
}

/// Bits, so that NaN is itself.
fn bits(y: &[f32]) -> Vec<u32> {
    y.iter().map(|v| v.to_bits()).collect()
}

/// Sizes around the tile's, the block's and the group's edges.
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
fn every_way_gives_the_bits_of_the_portable_one() {
    for (m, n, k) in SIZES {
        let (x, w) = (inputs(&draw(1, m * k), k), Quantized::new(&draw(2, n * k), n, k));
        let want = bits(&product(Isa::Portable, &w, &x, m));
        for isa in Isa::all() {
            assert_eq!(bits(&product(isa, &w, &x, m)), want, "{isa:?} {m} {n} {k}");
        }
    }
}

/// All entries at the ends of their range, and signs that add up: 16-bit sums of two would saturate here if
/// they could.
#[test]
fn nothing_saturates() {
    let k = 3072;
    let w: Vec<f32> = [1.0, -1.0].into_iter().flat_map(|v| vec![v; k]).collect();
    let w = Quantized::new(&w, 2, k);
    for x in [vec![2.0; k], vec![-2.0; k]] {
        let x = inputs(&x, k);
        for isa in Isa::all() {
            let mut sums = [0; 2];
            w.run(isa, &w.all, &x, 0..1, &mut sums, |sum, _| sum);
            assert_eq!(sums.map(i32::abs), [255 * 64 * k as i32; 2], "{isa:?}");
            assert_eq!(sums[0], -sums[1]);
        }
    }
    // The widest there may be: the sum is the bound's own.
    let k = MOST_COLUMNS;
    let (w, x) = (Quantized::new(&vec![-1.0; k], 1, k), inputs(&vec![-1.0; k], k));
    for isa in Isa::all() {
        assert_eq!(product(isa, &w, &x, 1).len(), 1);
        let mut sums = [0];
        w.run(isa, &w.all, &x, 0..1, &mut sums, |sum, _| sum);
        assert_eq!(sums, [255 * 64 * (1 << 17)], "{isa:?}");
    }
}

/// |y − ŷ| ≤ Σ |x|·½w' + |ŵ|·½x' for steps w' of the row of W and x' of the row of X.
#[test]
fn agrees_with_float64_within_half_a_step() {
    for (m, n, k) in SIZES {
        let (x, w) = (draw(1, m * k), draw(2, n * k));
        let (whole_x, whole_w) = (inputs(&x, k), Quantized::new(&w, n, k));
        let y = product(Isa::found(), &whole_w, &whole_x, m);
        for (at, found) in y.iter().enumerate() {
            let (i, j) = (at / n, at % n);
            let (x, w) = (&x[i * k..][..k], &w[j * k..][..k]);
            let (step_x, step_w) = (whole_x.scales()[i], whole_w.all.scales[j]);
            let whole = whole_w.row(j);
            let (mut dot, mut bound) = (0.0, 1e-6);
            for (c, (x, w)) in x.iter().zip(w).enumerate() {
                dot += f64::from(*x) * f64::from(*w);
                bound += f64::from(x.abs() * step_w + (whole(c) as f32 * step_w).abs() * step_x);
            }
            let off = (f64::from(*found) - dot).abs();
            assert!(off <= 0.5001 * bound, "{m} {n} {k}: {off}, bound {bound}");
        }
    }
}

#[test]
fn bits_depend_neither_on_threads_nor_on_other_rows() {
    let (m, n, k) = (401, 384, 1000);
    let (x, w) = (draw(1, m * k), Quantized::new(&draw(2, n * k), n, k));
    let run = |threads, rows: Range<usize>| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut y = vec![0.0; rows.len() * n];
        pool.install(|| {
            // Quantised alone, and as a part of all.
            let mut other = y.clone();
            w.multiply(&inputs(&x, k), rows.clone(), &mut other);
            let mine = inputs(&x[rows.start * k..rows.end * k], k);
            w.multiply(&mine, 0..rows.len(), &mut y);
            assert_eq!(y, other);
        });
        y
    };
    let all = run(1, 0..m);
    assert_eq!(run(2, 0..m), all);
    assert_eq!(run(3, 0..m), all);
    for rows in [0..1, 5..18, 200..393, 400..401] {
        assert_eq!(run(2, rows.clone()), all[rows.start * n..rows.end * n]);
    }
}

/// Zeros put right in whole numbers leave what the matrix with its zeros in place gives, with the scales of
/// the matrix without.
#[test]
fn zeros_are_exact() {
    for (rows, cols) in [(3, 5), (70, 64), (130, 600)] {
        for density in [0.0, 0.02, 0.5, 1.0] {
            let w = draw(1, rows * cols);
            let zeros: Vec<u32> =
                (0..w.len() as u32).filter(|&i| uniform(7, i) < density).collect();
            let pattern = ZeroPattern::new(rows, cols, &zeros).unwrap();
            let whole = Quantized::new(&w, rows, cols);
            let cleared = pattern.set_in(&whole, whole.all());
            for (p, zero) in (0..w.len() as u32).map(|p| (p as usize, zeros.contains(&p))) {
                let (row, col) = (p / cols, p % cols);
                let want = if zero { 0 } else { whole.row(row)(col) };
                assert_eq!(cleared.row(row)(col), want);
            }
            for n in [1, 8, 17, 70] {
                let x = inputs(&draw(2, (n + 3) * cols), cols);
                let mut sums = vec![0; n * rows];
                whole.sums_of_some(whole.all(), &x, 3..n + 3, &mut sums);
                pattern.correct_sums(
                    &whole,
                    WHOLE,
                    &x,
                    3..n + 3,
                    &mut sums,
                    &mut Scratch::default(),
                );
                let mut y: Vec<f32> = sums.iter().map(|sum| f32::from_bits(*sum as u32)).collect();
                whole.all().scale(&x, 3..n + 3, &mut y);
                let mut want = vec![0.0; n * rows];
                cleared.multiply(&x, 3..n + 3, &mut want);
                assert_eq!(bits(&y), bits(&want), "{rows} {cols} {density} {n}");
            }
        }
    }
}

/// Neighbours are bounded together, as 16 bits ask for, and a row with one large entry has eight bits.
#[test]
fn neighbours_are_at_most_128_together() {
    let k = 385;
    let mut w = draw(5, 40 * k);
    w.iter_mut().take(k).for_each(|v| *v = v.signum() * 0.7);
    w[k + 4] = 1e3;
    w[3 * k..4 * k].iter_mut().for_each(|v| *v *= 5e37);
    let whole = Quantized::new(&w, 40, k);
    for row in 0..40 {
        let at = whole.row(row);
        let pair = |c: usize| at(c).abs() + if c + 1 < k { at(c + 1).abs() } else { 0 };
        let most = (0..k).step_by(2).map(pair).max().unwrap();
        assert!((126..=128).contains(&most), "row {row}: {most}");
    }
    assert_eq!(whole.row(1)(4), 127);
}

#[test]
fn rows_of_zeros_are_zero_and_bad_rows_are_nan() {
    let k = 40;
    let mut w = draw(1, 5 * k);
    w[..k].fill(0.0);
    w[k..2 * k].fill(-0.0);
    w[2 * k] = f32::NAN;
    w[3 * k + 7] = f32::NEG_INFINITY;
    let w = Quantized::new(&w, 5, k);
    let y = product(Isa::found(), &w, &inputs(&draw(2, k), k), 1);
    assert_eq!(y[..2], [0.0; 2]);
    assert!(y[2].is_nan() && !y[3].is_finite() && y[4].is_finite());
    let mut x = draw(3, 5 * k);
    x[..k].fill(0.0);
    x[k] = f32::INFINITY;
    x[2 * k + 39] = f32::NAN;
    x[3 * k..4 * k].fill(1e-40);
    let good = Quantized::new(&draw(1, k), 1, k);
    let y = product(Isa::found(), &good, &inputs(&x, k), 5);
    assert!(y[0] == 0.0 && y[1].is_nan() && y[2].is_nan() && y[3] == 0.0 && y[4].is_finite());
}

#[test]
fn takes_about_a_byte_an_entry() {
    let (n, k) = (1536, 384);
    let bytes = Quantized::new(&draw(1, n * k), n, k).bytes();
    assert_eq!(bytes, n * k + 8 * n);
}

proptest! {
    #[test]
    fn every_way_agrees_on_any_numbers(
        (m, n, k) in (1usize..20, 1usize..40, 1usize..80),
        key in any::<u64>(),
        size in -30i32..30,
    ) {
        let scale = 2f32.powi(size);
        let x: Vec<f32> = draw(key, m * k).iter().map(|v| v * scale).collect();
        let (x, w) = (inputs(&x, k), Quantized::new(&draw(!key, n * k), n, k));
        let want = bits(&product(Isa::Portable, &w, &x, m));
        for isa in Isa::all() {
            prop_assert_eq!(&bits(&product(isa, &w, &x, m)), &want);
        }
    }
}

/// Rows and columns that are taken make the product of a matrix of them alone, with the whole one's scales.
#[test]
fn what_is_not_taken_has_no_part() {
    for (m, n, k) in [(7, 17, 40), (13, 64, 1000), (5, 36, 50)] {
        let (x, w) = (draw(1, m * k), draw(2, n * k));
        let quantized = Quantized::new(&w, n, k);
        let rows: Vec<u32> = (0..n as u32).filter(|i| i % 5 < 3).collect();
        // Without them the rest of a row is 0 in X, which its product with W is then, too.
        let cols: Vec<u32> = (0..k as u32).filter(|i| i / 8 % 3 > 0).collect();
        let choice = Choice::new((n, k), Some(&rows), Some(&cols));
        let selected = quantized.select(choice).unwrap();
        let kept = |i: usize| if cols.contains(&((i % k) as u32)) { x[i] } else { 0.0 };
        let spread: Vec<f32> = (0..m * k).map(kept).collect();
        let narrow: Vec<f32> =
            x.chunks(k).flat_map(|x| cols.iter().map(|&c| x[c as usize])).collect();
        let want = product(Isa::Portable, &quantized, &inputs(&spread, k), m);
        for isa in Isa::all() {
            let mut y = vec![f32::NAN; m * rows.len()];
            quantized.run(isa, &selected, &inputs(&narrow, cols.len()), 0..m, &mut y, scaled);
            for (y, want) in y.chunks(rows.len()).zip(want.chunks(n)) {
                let want: Vec<f32> = rows.iter().map(|&row| want[row as usize]).collect();
                assert_eq!(bits(y), bits(&want), "{isa:?} {m} {n} {k}");
            }
            let own = quantized.taken(&selected);
            assert_eq!(bits(&product(isa, &own, &inputs(&narrow, cols.len()), m)), bits(&y));
        }
        let odd: Vec<u32> = (1..k as u32).collect();
        assert!(quantized.select(Choice::new((n, k), None, Some(&odd))).is_none());
    }
}
