//! What is trained, and how.

pub mod metrics;
