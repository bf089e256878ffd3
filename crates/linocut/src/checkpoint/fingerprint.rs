//! The identity of a base: what a cut was made for, whatever file it came from.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;

use super::names::Field;
use super::read::Checkpoint;
use crate::{Error, ErrorKind, Result};

/// A BLAKE3 digest; shown as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digest = blake3::Hash::from_hex(text).map_err(|e| {
            Error::new(
                ErrorKind::Data,
                format!("not a fingerprint: expected 64 hexadecimal digits, found {text:?}"),
            )
            .with_source(e)
        })?;
        Ok(Self(*digest.as_bytes()))
    }
}

/// Hashes the tensors by canonical name and the config fields that the family's spelling names.
///
/// Each field is preceded by its length, so that no two inputs run together to the same bytes.
/// Sharding, file order, name prefix, gamma/beta spelling, heads, `position_ids` and dropout
/// do not matter. This order of fields is part of every cut file and never changes.
pub(super) fn of(checkpoint: &Checkpoint) -> Result<Fingerprint> {
    let mut hasher = blake3::Hasher::new();
    field(&mut hasher, b"linocut base 1");
    let spelling = checkpoint.spelling();
    for (name, value) in config_fields(&(spelling.fields)(checkpoint.config()), spelling.identity)?
    {
        field(&mut hasher, name.as_bytes());
        field(&mut hasher, &value);
    }
    for (i, tensor) in checkpoint.tensors().iter().enumerate() {
        field(&mut hasher, tensor.name.as_bytes());
        field(&mut hasher, tensor.dtype.to_string().as_bytes());
        let shape: Vec<u8> = tensor.shape.iter().flat_map(|&d| (d as u64).to_le_bytes()).collect();
        field(&mut hasher, &shape);
        hasher.update(&(checkpoint.size(i) as u64).to_le_bytes());
        checkpoint.chunks(i, |bytes| update(&mut hasher, bytes))?;
    }
    Ok(Fingerprint(*hasher.finalize().as_bytes()))
}

fn field(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hasher.update(&(bytes.len() as u64).to_le_bytes());
    update(hasher, bytes);
}

fn update(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    // Below this size handing the work to other threads costs more than it saves.
    if bytes.len() < 128 * 1024 {
        hasher.update(bytes);
    } else {
        hasher.update_rayon(bytes);
    }
}

fn config_fields(
    config: &Value,
    identity: &'static [(&'static str, Field)],
) -> Result<Vec<(&'static str, Vec<u8>)>> {
    let field = |(name, default): &(&'static str, Field)| {
        let wrong = |expected: &str| {
            Error::new(
                ErrorKind::Base,
                format!("config.json: expected {name} to be {expected}, found {}", config[*name]),
            )
        };
        let found = &config[*name];
        let bytes = match *default {
            Field::Count(default) => match found {
                Value::Null => default,
                found => found.as_u64().ok_or_else(|| wrong("a whole number"))?,
            }
            .to_le_bytes()
            .to_vec(),
            Field::Word(default) => match found {
                Value::Null => default,
                found => found.as_str().ok_or_else(|| wrong("a string"))?,
            }
            .as_bytes()
            .to_vec(),
            Field::Flag(default) => vec![u8::from(match found {
                Value::Null => default,
                found => found.as_bool().ok_or_else(|| wrong("true or false"))?,
            })],
            Field::Real(default) => match found {
                Value::Null => default,
                found => found.as_f64().ok_or_else(|| wrong("a number"))?,
            }
            .to_bits()
            .to_le_bytes()
            .to_vec(),
        };
        Ok((*name, bytes))
    };
    identity.iter().map(field).collect()
}
