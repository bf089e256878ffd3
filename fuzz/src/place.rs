//! A tiny base on which everything that is read is used.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use linocut::checkpoint::write_safetensors;
use linocut::kernels::random::normal;
use linocut::model::{Base, Encoder, Pooling};
use tempfile::TempDir;

/// A tiny base of one layer, its files and what stands on it.
pub struct Place {
    folder: TempDir,
}

impl Place {
    /// In memory where the system has such a folder: every input is written and read.
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let folder =
            if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() };
        let place = Self { folder: folder.expect("a temporary folder") };
        for folder in ["base", "cuts", "tuned", "study"] {
            std::fs::create_dir(place.path(folder)).expect("a folder in it");
        }
        place.write("base/config.json", CONFIG);
        place.write("base/tokenizer.json", TOKENIZER);
        let config = serde_json::from_slice(CONFIG).expect("JSON");
        let encoder = Encoder::new(&config, true, Pooling::Cls).expect("a config");
        let layout = encoder.layout();
        let values: Vec<f32> = (0..layout.len() as u32).map(|i| 0.1 * normal(1, i)).collect();
        let tensors = layout.tensors().iter();
        let tensors = tensors.map(|t| (t.name.clone(), t.shape.clone(), &values[t.range.clone()]));
        write_safetensors(&place.path("base/model.safetensors"), tensors).expect("weights");
        place
    }

    /// A file's or folder's path in it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file into it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, bytes).expect("a file in memory");
        path
    }

    /// The base, as its files are now.
    pub fn base(&self) -> linocut::Result<Base> {
        Base::open(&self.path("base"), Some(Pooling::Mean))
    }
}

/// `config.json` of the tiny base.
pub const CONFIG: &[u8] = br#"{"architectures":["BertModel"],"model_type":"bert","hidden_size":8,"num_attention_heads":2,"intermediate_size":16,"num_hidden_layers":1,"vocab_size":99,"max_position_embeddings":40,"type_vocab_size":2}"#;
/// Its `tokenizer.json`.
pub const TOKENIZER: &[u8] = include_bytes!("../../testdata/tiny/tokenizer.json");

/// Where this process reads and writes.
pub static PLACE: LazyLock<Place> = LazyLock::new(Place::new);
