//! Base and cut together as a Hugging Face model folder.

mod folder;
mod slim;
mod texts;

use crate::checkpoint::{write_atomically, write_safetensors};
use crate::cut::TaskModel;
use crate::model::{Place, Pooling, TensorSpec};
use crate::output::check_room;
use crate::pack;
use crate::{Error, ErrorKind, Result};
pub use folder::claim;
use serde_json::Value;
use std::path::Path;

/// Tokenizer files that are copied as they are, where the base has them.
const COPIED: [&str; 3] = ["special_tokens_map.json", "vocab.txt", "added_tokens.json"];

/// Writes the folder `out`, which appears whole or not at all and takes an earlier export's place: see
/// [`claim`]. `transformers` loads it and computes the same logits. With `cls` pooling it is of the base's
/// own class; with mean or first-token pooling the folder brings its own.
///
/// # Errors
/// If the base's files cannot be read, or it cannot be written.
pub fn write(model: &TaskModel, out: &Path) -> Result<()> {
    // A packed model may have been stored in fewer bytes a number.
    if model.cut.card().source.is_none() {
        check_room(out, model.base.encoder.layout().len() as u64 * 4)?;
    }
    folder::write(out, |to| fill(model, to))
}

/// What an export makes of what a slim task leaves out; nothing where it leaves nothing out.
pub fn slim_in_words(model: &TaskModel) -> Option<String> {
    let encoder = &model.base.encoder;
    encoder.kept().map(|kept| slim::in_words(encoder, kept))
}

/// What of a task's decision an export does not do, if there is any.
pub fn undecided_in_words(model: &TaskModel) -> Option<String> {
    let card = model.cut.card();
    let decision = card.decision.as_ref()?;
    let thresholds = !decision.thresholds.is_empty();
    let temperature = card.source.is_some() && decision.temperature != 1.0;
    let what = match (temperature, thresholds) {
        (true, true) => "temperature and thresholds",
        (true, false) => "temperature",
        (false, true) => "thresholds",
        (false, false) => return None,
    };
    Some(format!("the cut's {what} are not in the folder: Transformers has no place for them"))
}

/// What of long texts an export does not read as the task does, if there is any.
pub fn unread_in_words(model: &TaskModel) -> Option<String> {
    texts::unread_in_words(model.cut.card())
}

/// The class that loads an export of the model.
pub fn class(model: &TaskModel) -> String {
    texts::class(&model.base.encoder, model.cut.card().pooling)
}

/// Writes all files into the folder `to`, which is there.
///
/// # Errors
/// As [`write()`].
pub fn fill(model: &TaskModel, to: &Path) -> Result<()> {
    let (mut base, cut) = (&model.base, &model.cut);
    let card = cut.card();
    let mut config = read_json(&base.folder, "config.json")?;
    let widened;
    let mut note = None;
    if let Some(kept) = base.encoder.kept() {
        config = slim::config(config, &base.encoder, kept);
        note = Some(slim::in_words(&base.encoder, kept));
        widened = slim::widened(base, &config)?;
        base = &widened;
    }
    let config = texts::config(config, &base.encoder, card);
    write_json(&to.join("config.json"), &config)?;
    let tokenizer = match base.tokenizer.made() {
        Some(made) => made.clone(),
        None => read_json(&base.folder, "tokenizer.json")?,
    };
    write_json(&to.join("tokenizer.json"), &texts::tokenizer(tokenizer, card))?;
    let settings = match base.folder.join("tokenizer_config.json").exists() {
        true => read_json(&base.folder, "tokenizer_config.json")?,
        false => Value::Object(Default::default()),
    };
    let settings = texts::tokenizer_config(settings, base, card);
    write_json(&to.join("tokenizer_config.json"), &settings)?;
    for name in COPIED {
        let from = base.folder.join(name);
        if from.exists() {
            let content = std::fs::read(&from).map_err(|e| Error::io(&from, "read", e))?;
            write_atomically(&to.join(name), |out| out.write_all(&content))?;
        }
    }
    if card.pooling != Pooling::Cls {
        write_text(&to.join("modeling_linocut.py"), &texts::module(&base.encoder))?;
    }
    write_text(&to.join("README.md"), &texts::readme(&base.encoder, card, note.as_deref()))?;

    if let Some(source) = &card.source {
        let head = base.encoder.family().head_module(card.pooling);
        return pack::restore(&to.join("model.safetensors"), source, head, cut, &base.weights);
    }
    let family = base.encoder.family();
    // A pooler that is not read would be an unexpected tensor to the class that does without.
    let read = |spec: &TensorSpec| card.pooling == Pooling::Cls || spec.place != Place::Above;
    let tensors = base.weights.layout().tensors().iter().enumerate();
    let encoder = tensors.filter(|(_, spec)| read(spec)).map(|(i, spec)| {
        let name = format!("{}{}", family.prefix(spec), spec.name);
        (name, spec.shape.clone(), base.weights.at(i))
    });
    // Transformers has no place for a temperature: its logits are those that probabilities are made of here.
    let temperature = card.decision.as_ref().map_or(1.0, |decision| decision.temperature);
    let cooled = |values: &[f32]| -> Vec<f32> {
        values.iter().map(|&value| (f64::from(value) / temperature) as f32).collect()
    };
    let (weight, bias) = (&cooled(&model.head.weight)[..], &cooled(&model.head.bias)[..]);
    let module = family.head_module(card.pooling);
    let last = |parameter: &str| format!("{module}.{parameter}");
    let head = [
        (last("weight"), vec![card.outputs, base.config().hidden], weight),
        (last("bias"), vec![card.outputs], bias),
    ];
    write_safetensors(&to.join("model.safetensors"), encoder.chain(head))
}

fn read_json(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    let content = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    serde_json::from_slice(&content).map_err(|e| {
        let message = format!("{} is not JSON: {e}", path.display());
        Error::new(ErrorKind::Base, message).with_source(e)
    })
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_text(path, &format!("{value:#}\n"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |out| out.write_all(text.as_bytes()))
}
