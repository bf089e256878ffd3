//! Model folders: reading, writing, tensor names, fingerprints.

mod fingerprint;
mod names;
mod read;
mod write;

pub use fingerprint::Fingerprint;
pub use names::{Canonical, canonical};
pub use read::{Checkpoint, TensorInfo};
pub use write::{write_atomically, write_safetensors};
