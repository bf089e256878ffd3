//! What is trained, and how.

mod masks;
pub mod metrics;
mod optimizer;
mod schedule;
mod select;
mod trainer;

pub use masks::{Masks, Sampling};
pub use select::Selection;
pub use trainer::{Rates, Trained, Trainer};
