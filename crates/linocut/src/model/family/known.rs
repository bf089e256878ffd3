//! What a model's file may hold beside its encoder: anything else is named, never left out in silence.

use super::Family;
use crate::model::Pooling;
use crate::{Error, ErrorKind};

/// The counts that Transformers once stored with the weights.
pub(crate) const POSITION_IDS: &str = "embeddings.position_ids";
const TYPE_IDS: &str = "embeddings.token_type_ids";

/// What the heads begin with of the classes of Transformers that are no text classifier of a known
/// family: language models, and those that label tokens, choose, or find answers.
const HEADS: [&str; 9] = [
    "classifier.",
    "cls.",
    "head.",
    "lm_head.",
    "pre_classifier.",
    "predictions.",
    "qa_outputs.",
    "score.",
    "sequence_summary.",
];

impl Family {
    /// The module of the last layer of its `…ForSequenceClassification`, or, where that does not pool so,
    /// of the class that `linocut export` writes.
    pub(crate) fn head_module(&self, pooling: Pooling) -> &'static str {
        if pooling == Pooling::Cls { self.head } else { "classifier" }
    }

    /// Matrix and bias of [`Family::head_module`].
    pub(crate) fn head_names(&self, pooling: Pooling) -> [String; 2] {
        ["weight", "bias"].map(|parameter| format!("{}.{parameter}", self.head_module(pooling)))
    }

    /// Whether a tensor of this name has a part in a text classifier of this family, or is known to
    /// have none.
    pub(crate) fn is_understood(&self, name: &str) -> bool {
        let prefixes = self.spelling.prefixes.iter();
        let plain = prefixes.filter_map(|prefix| name.strip_prefix(prefix)).next().unwrap_or(name);
        self.spelling.canonical(name).is_some()
            || self.head_names(Pooling::Cls).iter().any(|head| head == name)
            || self.is_by_product(plain)
            || [POSITION_IDS, TYPE_IDS].contains(&plain)
    }

    /// Whether what is called so, without prefix, is nothing that a text classifier computes with.
    pub(crate) fn is_by_product(&self, name: &str) -> bool {
        self.by_products.iter().any(|begin| name.starts_with(begin))
    }

    /// Whether the encoder may be taken without a tensor of this name: it is understood, or of the head
    /// of some other class.
    pub(crate) fn is_beside_encoder(&self, name: &str) -> bool {
        let head = HEADS.iter().any(|begin| name.starts_with(begin));
        self.is_understood(name) || head && !is_adapter(name)
    }
}

/// Whether a tensor belongs to an adapter, which changes what the encoder computes.
pub(crate) fn is_adapter(name: &str) -> bool {
    let name = name.to_lowercase();
    ["adapter", "lora_", "base_layer"].iter().any(|part| name.contains(part))
}

/// Names the first of the tensors that would be left out of `what`, in the folder `shown`.
pub(crate) fn not_understood(
    shown: &str,
    what: &str,
    mut unknown: Vec<&str>,
    hint: String,
) -> Error {
    unknown.sort_unstable();
    let (first, count) = (unknown[0], unknown.len());
    let hint = match unknown.iter().any(|name| is_adapter(name)) {
        true => {
            "merge adapters into the weights first (PEFT: merge_and_unload), and save the model then"
                .into()
        }
        false => hint,
    };
    let holds = match count {
        1 => format!("a tensor that is no part of {what}: {first}"),
        _ => format!("{count} tensors that are no part of {what}, the first of them {first}"),
    };
    Error::new(ErrorKind::Base, format!("{shown} holds {holds}")).with_hint(hint)
}
