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
