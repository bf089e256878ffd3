//! What decides a run's steps: a state that is resumed must be of the same.

use super::TrainOptions;
use crate::data::Dataset;
use crate::model::{Base, ModelConfig};
use serde_json::Value;
use std::collections::BTreeMap;

/// Raised whenever equal options, rows and base come to be trained otherwise than before: a run or a
/// study that one version began is not gone on with by another.
pub const TRAINING_VERSION: u32 = 4;

/// Version of the training, and digest of everything that decides the run's steps.
pub(super) fn identity(base: &Base, train: &Dataset, options: &TrainOptions) -> String {
    let mut hash = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hash.update(&(bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    };
    field(base.fingerprint.to_string().as_bytes());
    field(base.tokenizer.fingerprint().to_string().as_bytes());
    field(base.encoder.pooling().name().as_bytes());
    field(format!("{options:?}").as_bytes());
    // No part of the fingerprint: it changes how a base is trained, not what it computes.
    let ModelConfig { hidden_dropout, attention_dropout, head_dropout, .. } = base.config();
    field(format!("{hidden_dropout} {attention_dropout} {head_dropout}").as_bytes());
    field(format!("{:?} {:?}", train.problem, train.labels).as_bytes());
    for text in train.texts.iter().chain(train.pairs.iter().flatten()) {
        field(text.as_bytes());
    }
    field(format!("{:?}", train.targets).as_bytes());
    if let Some(weights) = &train.weights {
        field(format!("{weights:?}").as_bytes());
    }
    if let Some(taught) = &train.taught {
        field(taught.digest().as_bytes());
    }
    format!("{TRAINING_VERSION} {}", hash.finalize())
}

/// What of a run people choose, by the option's name, for the message that a state is of another run.
pub(super) fn choices(
    base: &Base,
    train: &Dataset,
    options: &TrainOptions,
) -> BTreeMap<String, String> {
    let plain = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    let mut choices = BTreeMap::new();
    let options = serde_json::json!(options);
    for (name, value) in options.as_object().into_iter().flatten() {
        match value.as_object() {
            // The method's own options stand beside its name.
            Some(inner) if name == "method" => {
                for (name, value) in inner {
                    let name = if name == "name" { "method" } else { name };
                    choices.insert(format!("--{}", name.replace('_', "-")), plain(value));
                }
            }
            _ => {
                choices.insert(format!("--{}", name.replace('_', "-")), plain(value));
            }
        }
    }
    choices.insert("--pooling".into(), base.encoder.pooling().name().into());
    choices.insert("the base's weights or settings".into(), base.fingerprint.to_string());
    let ModelConfig { hidden_dropout, attention_dropout, head_dropout, .. } = base.config();
    let dropout = format!("{hidden_dropout} {attention_dropout} {head_dropout}");
    choices.insert("the dropout probabilities of the base's config.json".into(), dropout);
    let tokenizer = base.tokenizer.fingerprint().to_string();
    choices.insert("the tokenizer's settings".into(), tokenizer);
    let mut rows = blake3::Hasher::new();
    for text in train.texts.iter().chain(train.pairs.iter().flatten()) {
        rows.update(text.as_bytes()).update(b"\0");
    }
    rows.update(format!("{:?} {:?} {:?}", train.problem, train.labels, train.targets).as_bytes());
    rows.update(format!("{:?}", train.weights).as_bytes());
    choices.insert("the training rows".into(), rows.finalize().to_string());
    if let Some(taught) = &train.taught {
        let digest = taught.digest().to_string();
        choices.insert("the answers of the teacher".into(), digest);
    }
    choices
}
