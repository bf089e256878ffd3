//! One row a sequence out of its tokens' rows, forward and backward.
//!
//! `offsets` are the cumulative lengths of the sequences, `[sequences + 1]`; none is empty.

/// out = the first row of every sequence: `x` `[tokens, width]`, `out` `[sequences, width]`.
pub fn first(x: &[f32], width: usize, offsets: &[usize], out: &mut [f32]) {
    for (out, &start) in out.chunks_exact_mut(width).zip(offsets) {
        out.copy_from_slice(&x[start * width..(start + 1) * width]);
    }
}

/// x_grad += the gradient of `x`, given that of [`first`]'s `out`.
pub fn first_backward(grad: &[f32], width: usize, offsets: &[usize], x_grad: &mut [f32]) {
    for (grad, &start) in grad.chunks_exact(width).zip(offsets) {
        let row = &mut x_grad[start * width..(start + 1) * width];
        row.iter_mut().zip(grad).for_each(|(x, g)| *x += g);
    }
}

/// out = the mean of the rows of every sequence: `x` `[tokens, width]`, `out` `[sequences, width]`.
pub fn mean(x: &[f32], width: usize, offsets: &[usize], out: &mut [f32]) {
    for (out, span) in out.chunks_exact_mut(width).zip(offsets.windows(2)) {
        out.fill(0.0);
        for row in x[span[0] * width..span[1] * width].chunks_exact(width) {
            out.iter_mut().zip(row).for_each(|(sum, v)| *sum += v);
        }
        let share = 1.0 / (span[1] - span[0]) as f32;
        out.iter_mut().for_each(|v| *v *= share);
    }
}

/// x_grad += the gradient of `x`, given that of [`mean`]'s `out`.
pub fn mean_backward(grad: &[f32], width: usize, offsets: &[usize], x_grad: &mut [f32]) {
    for (grad, span) in grad.chunks_exact(width).zip(offsets.windows(2)) {
        let share = 1.0 / (span[1] - span[0]) as f32;
        for row in x_grad[span[0] * width..span[1] * width].chunks_exact_mut(width) {
            row.iter_mut().zip(grad).for_each(|(x, g)| *x += g * share);
        }
    }
}

/// out = the rows of the `size` tokens around each, 0 beyond its sequence: entry c of the k-th of them at
/// c·size + k. `x` `[tokens, width]`, `out` `[tokens, width·size]`.
pub fn around(x: &[f32], width: usize, size: usize, offsets: &[usize], out: &mut [f32]) {
    out.fill(0.0);
    each_around(size, offsets, |token, k, other| {
        let out = &mut out[token * width * size..][..width * size];
        let row = &x[other * width..][..width];
        out.iter_mut().skip(k).step_by(size).zip(row).for_each(|(out, v)| *out = *v);
    });
}

/// x_grad += the gradient of `x`, given that of [`around`]'s `out`.
pub fn around_backward(
    grad: &[f32],
    width: usize,
    size: usize,
    offsets: &[usize],
    x_grad: &mut [f32],
) {
    each_around(size, offsets, |token, k, other| {
        let grad = &grad[token * width * size..][..width * size];
        let row = &mut x_grad[other * width..][..width];
        row.iter_mut().zip(grad.iter().skip(k).step_by(size)).for_each(|(x, g)| *x += g);
    });
}

/// Every token with the `size` around it in its sequence, by number.
fn each_around(size: usize, offsets: &[usize], mut with: impl FnMut(usize, usize, usize)) {
    for span in offsets.windows(2) {
        for token in span[0]..span[1] {
            for k in 0..size {
                let other = (token + k).checked_sub(size / 2);
                if let Some(other) = other.filter(|other| (span[0]..span[1]).contains(other)) {
                    with(token, k, other);
                }
            }
        }
    }
}
