//! Where a cut file's bytes go.

use std::collections::BTreeMap;

use super::content::Cut;
use super::format::file_size;

/// Bytes of a cut file by part. `file` is the sum of all others but `tensors`.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
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
    /// All exact, sparse, one-bit and low-rank differences.
    pub differences: u64,
    /// Tensors kept as they are beside the encoder's and the head's.
    pub others: u64,
    /// All probes.
    pub probes: u64,
    /// Each edited tensor's zeros, values or difference, by canonical name.
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
            differences: 0,
            others: 0,
            probes: 0,
            tensors: BTreeMap::new(),
        };
        for tensor in &stored {
            let size = tensor.size() as u64;
            sizes.container -= size;
            // An edited tensor's or another's name follows the first slash; no other name has one.
            let Some((part, name)) = tensor.name.split_once('/') else {
                let head = tensor.name.starts_with("head.");
                *(if head { &mut sizes.head } else { &mut sizes.probes }) += size;
                continue;
            };
            match part {
                "zeros" | "largezeros" => sizes.zeros += size,
                "replace" => sizes.replaced += size,
                "other" => sizes.others += size,
                _ => sizes.differences += size,
            }
            if part != "other" {
                sizes.tensors.insert(name.into(), size);
            }
        }
        sizes
    }
}
