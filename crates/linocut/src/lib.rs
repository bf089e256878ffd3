//! One pretrained language model, a thousand tasks: each stored as a *cut* of the shared base —
//! the few entries set to zero, the few layers replaced, and the head.
//!
//! Implements and goes beyond *How fine can fine-tuning be? Learning efficient language models*
//! (Radiya-Dixit & Wang, AISTATS 2020).

pub mod bank;
pub mod checkpoint;
pub mod closeness;
pub mod cut;
pub mod data;
mod error;
pub mod export;
pub mod hub;
pub mod kernels;
pub mod model;
mod nearest;
pub mod output;
pub mod pack;
#[cfg(feature = "store")]
pub mod store;
pub mod study;
pub mod tune;

pub use error::{Error, ErrorKind, Result, contained};
