//! Whole commands on a tiny base and a made-up task: exit code and both streams.
//!
//! Numbers that follow from floating-point sums differ between kinds of CPU: `rough` shows them
//! as `#`. Everything else is compared to the letter.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod adapter;
mod adapter_refusals;
mod browser;
mod calibrate;
mod data;
mod decisions;
mod export;
mod hub;
mod inspect;
mod labels;
mod look;
mod measure;
mod mistakes;
mod pack;
mod pack_refusals;
mod page;
mod place;
mod plan;
mod problems;
mod serve;
mod slim;
mod stop;
mod store;
mod study;
mod study_files;
mod study_refusals;
mod teach;
mod train;
mod usage;
mod using;
