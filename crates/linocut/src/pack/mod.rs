//! An existing fine-tuned model as a cut of its base: exactly, or to a budget of bytes.

mod budget;
mod build;
mod candidates;
mod ingest;
mod lossless;
mod restore;
mod survey;

pub use budget::to_budget;
pub use build::{Score, Scores};
pub use ingest::Tuned;
pub use lossless::lossless;
pub use restore::{check_restored, restore};
