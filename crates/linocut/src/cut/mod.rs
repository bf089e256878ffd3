//! The cut file: what one task changes in one base.

mod apply;
mod card;
mod check;
mod codec;
mod content;
mod delta;
mod edit;
mod file;
mod format;
mod large;
mod lowrank;
mod model;
mod probe;
mod sign;
mod sizes;
mod slim;
mod source;
mod sparse;

pub use apply::Applied;
pub use card::{BaseId, Card, EditKind, FORMAT, TensorNote};
pub use check::INT8_TOLERANCE;
pub use codec::{decode as decode_zeros, encode as encode_zeros};
pub use content::{Cut, Probe};
pub use delta::Delta;
pub use edit::{Edit, HEAD_TENSORS, Head, StoreType, TensorEdit, Zeros};
pub(crate) use large::Candidates;
pub use large::LargeZeros;
pub use lowrank::LowRank;
pub(crate) use lowrank::add_product;
pub use model::{Logits, TaskModel};
pub use sign::Sign;
pub use sizes::Sizes;
pub use source::{Other, Source};
pub use sparse::Sparse;
