//! A model that another learns from.

use std::path::Path;

use super::ingest::Tuned;
use super::lossless;
use crate::Result;
use crate::checkpoint::read_model_config;
use crate::cut::{Cut, TaskModel};
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
    let config = read_model_config(path)?;
    let said = config.as_ref().and_then(|config| config["linocut"]["pairs"].as_bool());
    tuned.outline.pairs = said.unwrap_or(pairs);
    // Its encoder is a base of its own, of which it changes nothing.
    let mut own = Base::open(path, Some(tuned.outline.pooling))?;
    let cut = lossless(&mut own, &tuned, None, &|_, _| {})?;
    TaskModel::new(own, cut)
}
