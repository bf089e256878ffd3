//! What a model packed without loss had of its own, so that export gives it back.

use std::collections::{BTreeMap, BTreeSet};

use safetensors::Dtype;
use serde::{Deserialize, Serialize};

use super::card::check_tensor_name;
use super::edit::{StoreType, entries};
use crate::{Error, ErrorKind, Result};

/// How the packed model spells and stores its encoder and its head.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What stands before an encoder tensor's canonical name: `bert.` or nothing.
    pub prefix: String,
    /// Names that are not the prefix and the canonical name, by canonical name.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub names: BTreeMap<String, String>,
    /// The element type of most tensors.
    pub store: StoreType,
    /// The element types of the others, by canonical name; the head's are `head.weight` and
    /// `head.bias`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub stores: BTreeMap<String, StoreType>,
    /// Canonical names of the base's tensors that the model does without.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub absent: BTreeSet<String>,
}

impl Source {
    /// The name in the model of the encoder's tensor `canonical`; `None` where it has none.
    pub fn name(&self, canonical: &str) -> Option<String> {
        if self.absent.contains(canonical) {
            return None;
        }
        let given = self.names.get(canonical);
        Some(given.cloned().unwrap_or_else(|| format!("{}{canonical}", self.prefix)))
    }

    /// The element type of the tensor `canonical`, or of `head.weight` or `head.bias`.
    pub fn store(&self, canonical: &str) -> StoreType {
        self.stores.get(canonical).copied().unwrap_or(self.store)
    }

    pub(super) fn check(&self) -> Result<()> {
        let named = self.names.iter().flat_map(|(name, stored)| [name, stored]);
        let names = named.chain(self.stores.keys()).chain(&self.absent);
        names
            .chain((!self.prefix.is_empty()).then_some(&self.prefix))
            .try_for_each(|name| check_tensor_name(name))
    }
}

/// A tensor that is neither the encoder's nor the head's, kept as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Other {
    /// Element type.
    pub dtype: Dtype,
    /// Dimensions.
    pub shape: Vec<usize>,
    /// Its bytes: row-major, little-endian.
    pub bytes: Vec<u8>,
}

impl Other {
    pub(super) fn check(&self, name: &str) -> Result<()> {
        check_tensor_name(name)?;
        let bits = entries(&self.shape).and_then(|n| n.checked_mul(self.dtype.bitsize()));
        if bits != self.bytes.len().checked_mul(8) {
            return Err(Error::new(
                ErrorKind::Cut,
                format!(
                    "{name}: {} bytes do not fill {} {:?}",
                    self.bytes.len(),
                    self.dtype,
                    self.shape
                ),
            ));
        }
        Ok(())
    }
}
