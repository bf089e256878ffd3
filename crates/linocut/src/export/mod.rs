//! Base and cut together as a folder that others read: a Hugging Face model, or one of ONNX.

mod folder;
pub mod onnx;
mod slim;
mod texts;

use crate::checkpoint::{json_object, write_atomically, write_safetensors};
use crate::cut::{Card, TaskModel};
use crate::model::{Base, Place, Pooling, TensorSpec};
use crate::output::check_room;
use crate::pack;
use crate::{Error, ErrorKind, Result};
pub use folder::claim;
use serde_json::Value;
use std::path::Path;
use std::str::FromStr;

/// Tokenizer files that are copied as they are, where the base has them.
const COPIED: [&str; 3] = ["special_tokens_map.json", "vocab.txt", "added_tokens.json"];

/// What a folder is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// A Hugging Face model folder: `transformers` loads it. With `cls` pooling it is of the base's own class; with
    /// mean or first-token pooling it brings its own.
    Transformers,
    /// `model.onnx` with a tokenizer beside it: any runtime of ONNX loads it.
    Onnx,
}

impl Format {
    /// All of them.
    pub const ALL: [Format; 2] = [Format::Transformers, Format::Onnx];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Format::Transformers => "transformers",
            Format::Onnx => "onnx",
        }
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|format| format.name() == name).ok_or_else(|| {
            let known = Self::ALL.map(Self::name).join(" or ");
            let message = format!("`format` is {name:?}, expected {known}");
            Error::new(ErrorKind::Config, message)
        })
    }
}

/// Writes the folder `out`, which appears whole or not at all and takes an earlier export's place: see
/// [`claim`]. What loads it computes the same logits, after the task's temperature where it has one.
///
/// # Errors
/// If the base's files cannot be read, or it cannot be written.
pub fn write(model: &TaskModel, out: &Path, format: Format) -> Result<()> {
    // A packed model may have been stored in fewer bytes a number.
    if format == Format::Onnx || model.cut.card().source.is_none() {
        check_room(out, model.base.encoder.layout().len() as u64 * 4)?;
    }
    folder::write(out, |to| match format {
        Format::Transformers => fill(model, to),
        Format::Onnx => fill_onnx(model, to),
    })
}

/// What of the task is not, or not as it was, in an export, for people: a line each.
pub fn notes(model: &TaskModel, format: Format) -> Vec<String> {
    let (encoder, card) = (&model.base.encoder, model.cut.card());
    let slim = encoder.kept().map(|kept| match format {
        Format::Transformers => slim::in_words(encoder, kept),
        Format::Onnx => slim::narrowed_in_words(encoder, kept),
    });
    let unread = texts::unread_in_words(card, format);
    [slim, unread, undecided_in_words(card, format)].into_iter().flatten().collect()
}

/// What of a task's decision an export does not do, if there is any.
fn undecided_in_words(card: &Card, format: Format) -> Option<String> {
    let decision = card.decision.as_ref()?;
    let thresholds = !decision.thresholds.is_empty();
    if format == Format::Onnx {
        let words =
            "the cut's thresholds are not in the graph: they are the model's metadata `thresholds`";
        return thresholds.then(|| words.into());
    }
    let temperature = card.source.is_some() && decision.temperature != 1.0;
    let what = match (temperature, thresholds) {
        (true, true) => "temperature and thresholds",
        (true, false) => "temperature",
        (false, true) => "thresholds",
        (false, false) => return None,
    };
    Some(format!("the cut's {what} are not in the folder: Transformers has no place for them"))
}

/// The class that loads an export of the model.
pub fn class(model: &TaskModel) -> String {
    texts::class(&model.base.encoder, model.cut.card().pooling)
}

/// Writes all files of a Hugging Face folder into `to`, which is there.
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
    let config = texts::config(config, &base.encoder, card, Format::Transformers);
    write_json(&to.join("config.json"), &config)?;
    write_tokenizer(base, card, to)?;
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
    let (weight, bias) =
        (&cooled(&model.head.weight, card)[..], &cooled(&model.head.bias, card)[..]);
    let module = family.head_module(card.pooling);
    let last = |parameter: &str| format!("{module}.{parameter}");
    let head = [
        (last("weight"), vec![card.outputs, base.config().hidden], weight),
        (last("bias"), vec![card.outputs], bias),
    ];
    write_safetensors(&to.join("model.safetensors"), encoder.chain(head))
}

/// Writes all files of an ONNX folder into `to`, which is there.
fn fill_onnx(model: &TaskModel, to: &Path) -> Result<()> {
    let (base, card) = (&model.base, model.cut.card());
    let mut config = read_json(&base.folder, "config.json")?;
    if let Some(kept) = base.encoder.kept() {
        config = slim::config(config, &base.encoder, kept);
    }
    let config = texts::config(config, &base.encoder, card, Format::Onnx);
    write_json(&to.join("config.json"), &config)?;
    write_tokenizer(base, card, to)?;
    let readme = texts::onnx_readme(card, &onnx::inputs(model), &notes(model, Format::Onnx));
    write_text(&to.join("README.md"), &readme)?;
    onnx::write(model, to)
}

/// Parameters of a head whose logits are those that probabilities are made of: nothing that is exported to has
/// a place for a temperature.
fn cooled(values: &[f32], card: &Card) -> Vec<f32> {
    let temperature = card.decision.as_ref().map_or(1.0, |decision| decision.temperature);
    values.iter().map(|&value| (f64::from(value) / temperature) as f32).collect()
}

/// Writes the files of the base's tokenizer, which cuts texts where the task does.
fn write_tokenizer(base: &Base, card: &Card, to: &Path) -> Result<()> {
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
    Ok(())
}

fn read_json(folder: &Path, name: &str) -> Result<Value> {
    let path = folder.join(name);
    let content = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    json_object(&path, &content)
}

fn write_json(path: &Path, value: &Value) -> Result<()> {
    write_text(path, &format!("{value:#}\n"))
}

fn write_text(path: &Path, text: &str) -> Result<()> {
    write_atomically(path, |out| out.write_all(text.as_bytes()))
}
