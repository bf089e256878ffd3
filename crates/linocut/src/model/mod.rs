//! The encoder: a short program of operations, walked forward and backward over the kernels.

mod backward;
mod base;
mod config;
mod dropout;
mod encoder;
pub mod family;
mod forward;
mod grads;
mod head;
pub mod op;
mod paged;
mod predict;
pub(crate) mod program;
mod slim;
mod tensors;

pub use crate::checkpoint::{Kind, Pooling, Role};
pub use base::Base;
pub use config::ModelConfig;
pub use dropout::DropoutStep;
pub use encoder::{Encoder, Input};
pub use forward::Tape;
pub(crate) use forward::operands;
pub use grads::Grads;
pub use head::{Head, Loss, LossTargets, TEACHER_SHARE, TEMPERATURE, unit_rows};
pub use predict::{argmax, logits, logits_while, probabilities};
pub use program::Program;
pub(crate) use slim::Chosen;
pub use slim::{COMPUTE_TOKENS, GROUP, Slim, SlimLayer};
pub use tensors::{Layout, Part, Place, TensorSpec, Weights};
