//! Every tensor of a fine-tuned model, and what it is there for: none is left out in silence.

use std::collections::BTreeMap;

use safetensors::Dtype;
use serde_json::Value;

use super::ingest::tuned_error;
use crate::checkpoint::{StoredTensor, StoredTensors};
use crate::cut::StoreType;
use crate::model::family::{self, POSITION_IDS, is_adapter, not_understood};
use crate::model::{Encoder, Pooling};
use crate::{Error, Result};

/// Where everything is, as positions among the stored tensors.
pub(super) struct Contents {
    /// The encoder's tensors, by canonical name.
    pub(super) encoder: BTreeMap<String, usize>,
    /// The head's matrix.
    pub(super) weight: usize,
    /// The head's bias.
    pub(super) bias: usize,
    /// What is carried along.
    pub(super) others: Vec<usize>,
}

impl Contents {
    /// Accounts for all `tensors` of the model in the folder `shown`, and gives its encoder.
    ///
    /// # Errors
    /// No head of one linear layer, an encoder that is not what `config` says, element types other
    /// than F32, F16 and BF16, and any tensor that is none of what is understood: the first of them
    /// and their number.
    pub(super) fn of(
        shown: &str,
        tensors: &StoredTensors,
        config: &Value,
        pooling: Pooling,
    ) -> Result<(Self, Encoder)> {
        let family = family::of(config)?;
        let class = format!("{}ForSequenceClassification", family.class(config));
        let heads = family.head_names(pooling);
        let all = tensors.tensors();
        let mut encoder: BTreeMap<String, usize> = BTreeMap::new();
        let (mut head, mut others, mut unknown) = ([None; 2], Vec::new(), Vec::new());
        for (i, tensor) in all.iter().enumerate() {
            if let Some(name) = family.spelling.canonical(&tensor.name).map(|c| c.name) {
                if let Some(first) = encoder.insert(name.clone(), i) {
                    let (first, second) = (&all[first].name, &tensor.name);
                    return Err(tuned_error(format!(
                        "{shown} holds tensor {name} twice: as {first} and as {second}"
                    )));
                }
            } else if let Some(part) = heads.iter().position(|name| *name == tensor.name) {
                head[part] = Some(i);
            } else if family.is_understood(&tensor.name) {
                if tensor.name.ends_with(POSITION_IDS) {
                    check_position_ids(shown, tensor, &tensors.bytes(tensor)?)?;
                }
                others.push(i);
            } else {
                unknown.push(&tensor.name[..]);
            }
        }
        let [Some(weight), Some(bias)] = head else {
            if unknown.iter().any(|name| is_adapter(name)) {
                return Err(left_out(shown, &class, unknown));
            }
            let found = others.iter().map(|&i| &all[i].name[..]).chain(unknown.iter().copied());
            let found: Vec<&str> = found.take(4).collect();
            let found = if found.is_empty() { "none".into() } else { found.join(", ") };
            return Err(tuned_error(format!(
                "{shown} has no head: expected {} and {}, found beside the encoder: {found}",
                heads[0], heads[1]
            ))
            .with_hint(format!("a {class} has one")));
        };
        // Before anything is missing: what is of another name is the reason.
        if !unknown.is_empty() {
            return Err(left_out(shown, &class, unknown));
        }
        let shape = |name: &str| encoder.get(name).map(|&i| &all[i].shape[..]);
        let missing = family.poolers().find(|name| shape(name).is_none());
        if let (Pooling::Cls, Some(name)) = (pooling, missing) {
            return Err(tuned_error(format!(
                "{shown} has no {name}, through which {class} reads a text"
            ))
            .with_hint("Transformers would draw one at random; save the whole model"));
        }
        let fitting = Encoder::fitting(config, shape, encoder.len(), shown)?;
        // What other configs of the family compute with, and this one leaves out.
        encoder.retain(|name, i| {
            let left = fitting.layout().index(name).is_none() && family.is_by_product(name);
            if left {
                others.push(*i);
            }
            !left
        });
        let more = encoder.iter().filter(|(name, _)| fitting.layout().index(name).is_none());
        let more: Vec<&str> = more.map(|(_, &i)| &all[i].name[..]).collect();
        if !more.is_empty() {
            return Err(left_out(shown, &class, more));
        }
        let (shape, bias_shape) = (&all[weight].shape, &all[bias].shape);
        let outputs: usize = bias_shape.iter().product();
        let hidden = fitting.config().hidden;
        if shape[..] != [outputs, hidden] || bias_shape.len() != 1 || outputs == 0 {
            return Err(tuned_error(format!(
                "{shown}: {} is {shape:?} and {} {bias_shape:?}, \
                 expected [labels, {hidden}] and [labels]",
                heads[0], heads[1]
            )));
        }
        let floats = encoder.values().chain([&weight, &bias]).map(|&i| &all[i]);
        for tensor in floats {
            if StoreType::of(tensor.dtype).is_none() {
                return Err(tuned_error(format!(
                    "{shown}: tensor {} is {}, expected F32, F16 or BF16",
                    tensor.name, tensor.dtype
                ))
                .with_hint("pack the model as it was before its weights were quantised"));
            }
        }
        let contents = Self { encoder, weight, bias, others };
        Ok((contents, fitting.with_pooling(pooling)))
    }
}

/// Names the first of the tensors that would be left out.
fn left_out(shown: &str, class: &str, unknown: Vec<&str>) -> Error {
    let hint = format!("only what {class} computes with can be packed");
    not_understood(shown, &format!("a {class}"), unknown, hint)
}

/// Positions are counted from 0; a table that says otherwise was computed with, once.
fn check_position_ids(shown: &str, tensor: &StoredTensor, bytes: &[u8]) -> Result<()> {
    let counted = match tensor.dtype {
        Dtype::I64 => {
            let ids = bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b));
            ids.eq(0..(bytes.len() / 8) as i64)
        }
        Dtype::I32 => {
            let ids = bytes.as_chunks().0.iter().map(|b| i32::from_le_bytes(*b));
            ids.eq(0..(bytes.len() / 4) as i32)
        }
        _ => false,
    };
    if counted {
        return Ok(());
    }
    Err(tuned_error(format!(
        "{shown}: {} ({}) does not count 0, 1, 2 and so on, as positions do here",
        tensor.name, tensor.dtype
    )))
}
