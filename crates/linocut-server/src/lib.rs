//! The bank over HTTP: many tasks on one base model, with batches across requests and tasks.
//!
//! [`State::open`] loads a folder of cuts, or knows those of a store, and starts the compute thread, [`app`] is the router, and
//! [`serve`] answers on a listener until it is told to stop.

mod answer;
mod app;
mod batch;
mod body;
mod connections;
mod error;
mod explain;
mod fleet;
mod folder;
mod input;
mod keys;
mod linger;
mod log;
mod metrics;
mod openapi;
mod origin;
mod page;
mod predict;
mod room;
mod schedule;
mod serve;
mod source;
mod standby;
mod state;
mod status;
mod tasks;
mod tei;
#[cfg(test)]
mod tests;
mod traces;

pub use app::app;
pub use keys::Keys;
pub use log::Log;
pub use serve::serve;
pub use source::Cuts;
pub use standby::{held, stand_by};
pub use state::{Limits, Settings, State};
pub use traces::Traces;
