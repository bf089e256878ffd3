//! Model folders: reading, writing, tensor names, fingerprints.

mod file;
mod fingerprint;
mod names;
mod pooling;
mod read;
mod role;
mod stored;
mod write;

pub use fingerprint::Fingerprint;
pub use names::{Canonical, Field, LayerNames, Module, Spelling};
pub use pooling::Pooling;
pub(crate) use read::json_object;
pub use read::{Checkpoint, TensorInfo};
pub use role::{Kind, Role};
pub use stored::{StoredTensor, StoredTensors, read_model_config};
pub use write::{write_atomically, write_file, write_safetensors};
pub(crate) use write::{write_stored, write_with_metadata};
