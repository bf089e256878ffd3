//! Where a cut file's bytes go.

use std::collections::BTreeMap;

use super::content::Cut;
use super::format::file_size;

/// Bytes of a cut file by part. `file` is the sum of all others but `tensors`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sizes {
    /// The whole file.
    pub file: u64,
    /// The card's JSON.
    pub card: u64,
    /// The rest of the container: names, offsets, padding and the digest.
    pub container: u64,
    /// The head.
    pub head: u64,
    /// All coded zeros.
    pub zeros: u64,
    /// All replaced tensors.
    pub replaced: u64,
    /// All probes.
    pub probes: u64,
    /// Each edited tensor's zeros or values, by canonical name.
    pub tensors: BTreeMap<String, u64>,
}

impl Cut {
    /// The size of the file that [`Cut::to_bytes`] gives, by part. Codes all zeros to see.
    pub fn sizes(&self) -> Sizes {
        let stored = self.stored();
        let file = file_size(&self.header(&stored), &stored) as u64;
        let card = self.card_json().len() as u64;
        let mut sizes = Sizes {
            file,
            card,
            container: file - card,
            head: 0,
            zeros: 0,
            replaced: 0,
            probes: 0,
            tensors: BTreeMap::new(),
        };
        for tensor in &stored {
            let size = tensor.size() as u64;
            sizes.container -= size;
            if let Some(name) = tensor.name.strip_prefix("zeros/") {
                sizes.zeros += size;
                sizes.tensors.insert(name.into(), size);
            } else if let Some(name) = tensor.name.strip_prefix("replace/") {
                sizes.replaced += size;
                sizes.tensors.insert(name.into(), size);
            } else if tensor.name.starts_with("head.") {
                sizes.head += size;
            } else {
                sizes.probes += size;
            }
        }
        sizes
    }
}
