//! Dense kernels: slices of `f32` in and out, forward and backward of a layer in one file.
//!
//! Activations are packed, `[tokens, width]` row-major, without padding. Every kernel gives the
//! same bits at any number of threads: work is split over outputs, never over a summed dimension.

pub mod activation;
pub mod adamw;
pub mod attention;
pub mod difference;
pub mod gather;
pub mod gemm;
pub mod layernorm;
pub mod loss;
pub mod mask;
pub mod packed;
pub mod panels;
pub(crate) mod pool;
pub mod quantized;
pub mod random;
pub mod select;
mod simd;
pub mod sparse;
pub mod sums;
pub mod table;
pub mod thin;
mod tiles;

/// Rows of an activation matrix that one rayon task handles in element-wise passes.
const ROWS_PER_TASK: usize = 32;
