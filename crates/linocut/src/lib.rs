//! One pretrained language model, a thousand tasks: each stored as a *cut* of the shared base —
//! the few entries set to zero, the few layers replaced, and the head.
//!
//! Implements and goes beyond *How fine can fine-tuning be? Learning efficient language models*
//! (Radiya-Dixit & Wang, AISTATS 2020).
//!
//! A cut is a small file that says all of itself:
//!
//! ```
//! use linocut::cut::Cut;
//!
//! let cut = Cut::read("../../testdata/cut/v1-zeros.cut")?;
//! let card = cut.card();
//! assert_eq!((card.outputs, card.max_length), (3, 128));
//! assert_eq!(card.tensors.values().filter_map(|note| note.zeros).sum::<u64>(), 18);
//! # Ok::<(), linocut::Error>(())
//! ```
//!
//! [`tune`] trains one, [`bank`] asks many of one base in memory, [`pack`] makes one of a fine-tuned model and
//! [`export`] the other way round; [`model::Base`] is the pretrained model that they belong to:
//!
//! ```no_run
//! use linocut::bank::{Bank, Options, Request};
//! use linocut::cut::Cut;
//!
//! let bank = Bank::open("models/all-minilm-l6-v2".as_ref(), Options::default())?;
//! bank.add("queue", &Cut::read("queue.cut")?)?;
//! let request = Request {
//!     text: "where is my parcel?".into(),
//!     pair: None,
//!     tasks: vec!["queue".into()],
//! };
//! for answer in bank.predict(&[request]).remove(0)? {
//!     println!("{}: {:?}", answer.task.name(), answer.logits);
//! }
//! # Ok::<(), linocut::Error>(())
//! ```

pub mod bank;
pub mod checkpoint;
pub mod closeness;
pub mod cut;
pub mod data;
mod error;
pub mod export;
pub mod hub;
// Public for this project's own benchmarks alone: no part of the interface.
#[doc(hidden)]
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
