//! The encoder: forward and backward over the kernels.

mod base;
mod config;
mod dropout;
mod embeddings;
mod encoder;
mod grads;
mod head;
mod layer;
pub(crate) mod layout;
mod predict;
mod weights;

pub use crate::checkpoint::{Kind, Pooling};
pub use base::Base;
pub use config::ModelConfig;
pub use dropout::DropoutStep;
pub use encoder::{Encoder, Input, Tape};
pub use grads::Grads;
pub use head::{Head, Loss, LossTargets};
pub use predict::{logits, probabilities};
pub use weights::{Layout, TensorSpec, Weights};
