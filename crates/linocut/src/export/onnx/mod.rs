//! Base and cut together as one ONNX model: another walker of the encoder's program.

mod attention;
mod graph;
mod nodes;
mod proto;
#[cfg(test)]
mod tests;
mod write;

use super::cooled;
use super::texts;
use crate::Result;
use crate::cut::{Card, TaskModel};
use crate::model::Head;
use proto::{Dimension, Entry, GraphProto, Model, OperatorSet, ValueInfo};
use serde_json::{Value, json};
use std::path::Path;

/// The version of ONNX's operators that a model is made of.
pub const OPSET: i64 = 17;
/// The version of the file's messages, that of ONNX 1.12, which brought these operators.
const IR_VERSION: i64 = 8;
/// The model's file within the folder.
pub const FILE: &str = "model.onnx";
/// The file with its tensors, where one alone would be longer than the 2 GiB that ONNX allows.
pub const DATA: &str = "model.onnx.data";

/// The names of what a model reads.
pub fn inputs(model: &TaskModel) -> Vec<&'static str> {
    inputs_of(is_typed(model))
}

fn inputs_of(typed: bool) -> Vec<&'static str> {
    let types = typed.then_some(nodes::TYPES);
    [nodes::IDS, nodes::MASK].into_iter().chain(types).collect()
}

/// Whether tokens have types that differ.
fn is_typed(model: &TaskModel) -> bool {
    model.base.config().token_types > 1 && model.base.tokenizer.is_typed()
}

/// Writes the model into the folder `to`.
///
/// # Errors
/// If it cannot be written.
pub(super) fn write(model: &TaskModel, to: &Path) -> Result<()> {
    let card = model.cut.card();
    let (weight, bias) = (cooled(&model.head.weight, card), cooled(&model.head.bias, card));
    let head = Head { weight, bias, unit: model.head.unit };
    let weights = model.base.weights.data();
    let typed = is_typed(model);
    let graph = nodes::of(&model.base.encoder, weights, &head, typed);
    let tensors = &graph.tensors;
    let graph = message(graph.nodes, card, typed);
    write::write((to, FILE, DATA), (&about(card), &graph), (tensors, weights), write::MOST)
}

/// The graph without its tensors.
fn message(node: Vec<proto::Node>, card: &Card, typed: bool) -> GraphProto {
    let (batch, tokens) = (Dimension::free("batch"), Dimension::free("tokens"));
    let read = [batch.clone(), tokens];
    let read = |name| ValueInfo::new(name, proto::INT64, &read);
    let given = [batch, Dimension::of(card.outputs)];
    GraphProto {
        node,
        name: Some(card.task.clone()),
        initializer: vec![],
        input: inputs_of(typed).into_iter().map(read).collect(),
        output: vec![ValueInfo::new(nodes::LOGITS, proto::FLOAT, &given)],
    }
}

/// The model without its graph: who made it, and what it is.
fn about(card: &Card) -> Model {
    let labels = texts::id2label(card);
    let mut entries = vec![
        ("task", card.task.clone()),
        ("problem", texts::problem_type(card.problem).into()),
        ("id2label", Value::Object(labels).to_string()),
        ("max_length", card.max_length.to_string()),
        ("pairs", card.pairs.to_string()),
        ("base", card.base.name.clone()),
        ("base_fingerprint", card.base.fingerprint.clone()),
        ("linocut_version", env!("CARGO_PKG_VERSION").into()),
    ];
    if let Some(decision) = card.decision.as_ref().filter(|d| !d.thresholds.is_empty()) {
        entries.push(("thresholds", json!(decision.thresholds).to_string()));
    }
    Model {
        ir_version: Some(IR_VERSION),
        producer_name: Some("linocut".into()),
        producer_version: Some(env!("CARGO_PKG_VERSION").into()),
        graph: None,
        opset_import: vec![OperatorSet { domain: Some(String::new()), version: Some(OPSET) }],
        metadata_props: entries.into_iter().map(|(key, value)| Entry::new(key, value)).collect(),
    }
}
