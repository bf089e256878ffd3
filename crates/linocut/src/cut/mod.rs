//! The cut file: what one task changes in one base.

mod apply;
mod card;
mod check;
mod codec;
mod content;
mod edit;
mod file;
mod format;
mod sizes;

pub use apply::Applied;
pub use card::{BaseId, Card, EditKind, FORMAT, TensorNote};
pub use codec::{decode as decode_zeros, encode as encode_zeros};
pub use content::{Cut, Probe};
pub use edit::{Edit, Head, StoreType, TensorEdit, Zeros};
pub use sizes::Sizes;
