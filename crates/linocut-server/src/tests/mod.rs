//! The server on a tiny base: called without a port, and by its own sockets.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod answers;
mod changes;
mod edge;
mod explain;
mod fleet;
mod keys;
mod observe;
mod place;
mod predict;
mod queue;
mod refusals;
mod socket;
mod traces;
