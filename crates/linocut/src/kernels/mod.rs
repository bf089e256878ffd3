//! Dense and sparse kernels: slices of `f32` in and out, forward and backward of a layer in one file.
