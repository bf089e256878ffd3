//! A model that another learns from.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;

use super::build::{Story, cut};
use super::ingest::Tuned;
use crate::Result;
use crate::checkpoint::{Fingerprint, read_model_config};
use crate::cut::{Cut, TaskModel};
use crate::data::Tokenizer;
use crate::model::Base;

/// The teacher at `path`: a cut of `base`, or the folder of a fine-tuned model as [`Tuned`] reads it, of any base, with
/// the tokenizer in it. `pairs` says whether it will read pairs of texts, where its files do not.
///
/// # Errors
/// A cut that is of another base; a folder without a tokenizer, or what [`Tuned::open`] says of it.
pub fn teacher(path: &Path, base: &Base, pairs: bool) -> Result<TaskModel> {
    if !path.is_dir() {
        return TaskModel::new(base.clone(), Cut::read(path)?);
    }
    let mut tuned = Tuned::open(path, None)?;
    let config = read_model_config(path)?.unwrap_or_default();
    tuned.outline.pairs = config["linocut"]["pairs"].as_bool().unwrap_or(pairs);
    let (encoder, weights, head) = tuned.model()?;
    let (vocab, types) = (encoder.config().vocab, encoder.config().token_types);
    let tokenizer = Tokenizer::open(path)?.for_tables(vocab, types, path)?;
    let mut digest = blake3::Hasher::new();
    digest.update(weights.digest().as_bytes()).update(config.to_string().as_bytes());
    // Its encoder is a base of its own, of which it changes nothing.
    let mut own = Base {
        name: tuned.outline.name.clone(),
        folder: path.to_path_buf(),
        fingerprint: Fingerprint(*digest.finalize().as_bytes()),
        encoder,
        weights,
        tokenizer: Arc::new(tokenizer),
    };
    let (method, training) = (json!({"name": "model"}), json!({}));
    let story = Story { method, training, metrics: BTreeMap::new() };
    let cut = cut(&mut own, &tuned.outline, &head, BTreeMap::new(), story, None)?;
    TaskModel::new(own, cut)
}
