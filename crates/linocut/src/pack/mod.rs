//! An existing fine-tuned model as a cut of its base: exactly, or to a budget of bytes; or an adapter.

mod adapter;
mod architecture;
mod budget;
mod build;
mod candidates;
mod contents;
mod ingest;
mod lossless;
mod outline;
mod restore;
mod survey;
mod teacher;
mod tokenizer;
mod verify;

pub use adapter::{Adapter, AdapterFolder};
pub use budget::to_budget;
pub use build::{Score, Scores};
pub use ingest::Tuned;
pub use lossless::lossless;
pub use outline::Outline;
pub use restore::restore;
pub use teacher::teacher;
pub use verify::{check_logits, check_restored};
