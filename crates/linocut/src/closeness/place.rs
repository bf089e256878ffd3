//! Which layer and kind a tensor of any architecture belongs to.

use std::fmt;

use crate::checkpoint::{Kind, Role};
use crate::model::family::canonical;

/// The part of a network that a tensor lies in.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// Embeddings and their LayerNorm.
    Embeddings,
    /// A layer of a stack such as `encoder.layer` or `decoder.block`.
    Layer(String, usize),
    /// The pooler.
    Pooler,
    /// Anything else: a language model's head, a final norm.
    Other,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Embeddings => f.write_str("embeddings"),
            // The usual stack needs no name.
            Part::Layer(stack, number) if stack == ENCODER => write!(f, "{number}"),
            Part::Layer(stack, number) => write!(f, "{stack}.{number}"),
            Part::Pooler => f.write_str("pooler"),
            Part::Other => f.write_str("other"),
        }
    }
}

const ENCODER: &str = "encoder.layer";

/// Part and kind of the tensor `name`; no kind where none fits.
pub fn place(name: &str) -> (Part, Option<Kind>) {
    let part = |layer: Option<(String, usize)>| match layer {
        Some((stack, number)) => Part::Layer(stack, number),
        None if name.contains("pooler") => Part::Pooler,
        None if name.split('.').any(is_embedding) => Part::Embeddings,
        None => Part::Other,
    };
    match canonical(name) {
        Some(known) if known.role == Role::Matrix(Kind::Pooler) => {
            (Part::Pooler, Some(Kind::Pooler))
        }
        Some(known) => (part(known.layer.map(|n| (ENCODER.into(), n))), Some(known.role.kind())),
        None => (part(layer(name)), kind(name)),
    }
}

/// Where a kind stands among all; what has none comes last.
pub(super) fn kind_order(kind: Option<Kind>) -> usize {
    Kind::ALL.iter().position(|k| Some(*k) == kind).unwrap_or(Kind::ALL.len())
}

/// Name of the kind that stands at `order`.
pub(super) fn kind_name(order: usize) -> String {
    Kind::ALL.get(order).map_or("other", |kind| kind.name()).to_string()
}

fn is_embedding(word: &str) -> bool {
    word.contains("embed") || word == "wte" || word == "wpe"
}

/// What stands before the first number in a name, and the number.
fn layer(name: &str) -> Option<(String, usize)> {
    let words: Vec<&str> = name.split('.').collect();
    let at = words.iter().position(|w| !w.is_empty() && w.bytes().all(|b| b.is_ascii_digit()))?;
    Some((words[..at].join("."), words[at].parse().ok()?))
}

/// The names that the common architectures have for BERT's kinds.
fn kind(name: &str) -> Option<Kind> {
    let (module, parameter) = name.rsplit_once('.')?;
    let last = module.rsplit('.').next().unwrap_or(module);
    let norm = last.to_lowercase().contains("norm") || last.starts_with("ln");
    if norm {
        return Some(Kind::LayerNorm);
    }
    if parameter.ends_with("bias") {
        return Some(Kind::Bias);
    }
    if name.contains("pooler") {
        return Some(Kind::Pooler);
    }
    let attention = module.to_lowercase().contains("att");
    match last {
        "query" | "query_proj" | "q_proj" | "q_lin" | "q" => Some(Kind::Query),
        "key" | "key_proj" | "k_proj" | "k_lin" | "k" => Some(Kind::Key),
        "value" | "value_proj" | "v_proj" | "v_lin" | "v" => Some(Kind::Value),
        "Wqkv" | "qkv" | "qkv_proj" => Some(Kind::QueryKeyValue),
        "o_proj" | "out_proj" | "out_lin" | "o" => Some(Kind::AttentionOutput),
        "c_proj" | "Wo" | "dense" if attention => Some(Kind::AttentionOutput),
        "lin1" | "fc1" | "c_fc" | "up_proj" | "gate_proj" | "Wi" | "wi" | "wi_0" | "wi_1" => {
            Some(Kind::Intermediate)
        }
        "lin2" | "fc2" | "c_proj" | "down_proj" | "Wo" | "wo" => Some(Kind::Output),
        _ if name.split('.').any(is_embedding) => Some(Kind::Embeddings),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_in_several_architectures() {
        for (name, part, kind) in [
            ("encoder.layer.3.output.dense.weight", "3", Some(Kind::Output)),
            ("embeddings.LayerNorm.weight", "embeddings", Some(Kind::LayerNorm)),
            ("pooler.dense.bias", "pooler", Some(Kind::Bias)),
            ("transformer.layer.1.attention.q_lin.weight", "1", Some(Kind::Query)),
            ("transformer.layer.1.sa_layer_norm.bias", "1", Some(Kind::LayerNorm)),
            ("classifier.dense.weight", "pooler", Some(Kind::Pooler)),
            ("h.10.attn.c_proj.weight", "h.10", Some(Kind::AttentionOutput)),
            ("h.10.mlp.c_proj.weight", "h.10", Some(Kind::Output)),
            ("h.10.ln_1.weight", "h.10", Some(Kind::LayerNorm)),
            ("wte.weight", "embeddings", Some(Kind::Embeddings)),
            ("model.layers.2.self_attn.v_proj.weight", "model.layers.2", Some(Kind::Value)),
            ("model.layers.2.mlp.up.weight", "model.layers.2", None),
            ("layers.0.attn.Wo.weight", "0", Some(Kind::AttentionOutput)),
            (
                "decoder.block.4.layer.0.SelfAttention.o.weight",
                "decoder.block.4",
                Some(Kind::AttentionOutput),
            ),
            ("lm_head.weight", "other", None),
            ("x", "other", None),
            ("a.99999999999999999999999.b", "other", None),
        ] {
            let (found, found_kind) = place(name);
            assert_eq!((found.to_string().as_str(), found_kind), (part, kind), "{name}");
        }
    }

    #[test]
    fn parts_come_in_the_order_of_the_network() {
        let layer = |n| Part::Layer("encoder.layer".into(), n);
        assert!(Part::Embeddings < layer(2) && layer(2) < layer(10) && layer(10) < Part::Pooler);
    }
}
