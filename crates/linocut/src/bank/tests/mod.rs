#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod change;
mod int8;
mod planned;
mod same;
mod samples;
mod slim;
