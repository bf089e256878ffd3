//! The encoder: forward and backward over the kernels.

mod config;
mod weights;

pub use config::Pooling;
pub use weights::{Kind, Layout, TensorSpec, Weights};
