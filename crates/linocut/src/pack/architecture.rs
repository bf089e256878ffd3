//! What a fine-tuned model's `config.json` makes of it: only what is understood is packed.

use crate::output::counted;
use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::adapter;
use super::ingest::tuned_error;
use crate::checkpoint::StoredTensors;
use crate::data::Problem;
use crate::model::Pooling;
use crate::model::family::{self, Family};
use crate::{Error, ErrorKind, Result};

/// The class that `linocut export` brings along for other poolings, and what stands before the
/// `model_type` then.
const EXPORTED: &str = "LinocutForSequenceClassification";
const EXPORTED_TYPE: &str = "linocut_";

/// The encoder's config and the pooling: the family's own, or what an export says.
///
/// # Errors
/// Anything but the two classes that are understood, with the reason; a config that makes more of the
/// model than its class does.
pub(super) fn architecture(folder: &Path, config: &Value) -> Result<(Value, Pooling)> {
    let shown = folder.display();
    let mut encoder = config.clone();
    let named = config["model_type"].as_str();
    let exported = named.and_then(|named| named.strip_prefix(EXPORTED_TYPE));
    if let Some(model_type) = exported {
        encoder["model_type"] = model_type.into();
    }
    let exported = exported.is_some();
    let family = family::of(&encoder).map_err(|e| e.at(folder.display()))?;
    encoder["model_type"] = family.model_type(&encoder).into();
    let plain = format!("{}ForSequenceClassification", family.class(&encoder));
    let supported = format!("supported: models fine-tuned as {plain}");
    let expected = if exported { EXPORTED } else { &plain };
    let classes = config["architectures"].as_array().map_or(&[][..], Vec::as_slice);
    match classes {
        [class] if class == expected => {}
        [] => {
            return Err(tuned_error(format!(
                "{shown}: config.json names no class in architectures"
            ))
            .with_hint(format!(
                "other classes have tensors of the same names; if it is one, write \
                     \"architectures\": [{expected:?}] into config.json"
            )));
        }
        _ => return Err(other_class(folder, family, classes, expected)),
    }
    let own_code = &config["auto_map"]["AutoModelForSequenceClassification"];
    let unfit = |what: String, hint: &str| {
        Err(tuned_error(format!("{shown}: {what}")).with_hint(hint.to_string()))
    };
    if !exported && !own_code.is_null() {
        return unfit(
            format!("config.json has its own code compute the model (auto_map {own_code})"),
            &supported,
        );
    }
    if !config["quantization_config"].is_null() {
        return unfit(
            "config.json says that the weights are quantised (quantization_config)".into(),
            "pack the model as it was before, in f32, f16 or bf16",
        );
    }
    if config["pruned_heads"].as_object().is_some_and(|heads| !heads.is_empty()) {
        return unfit(
            "attention heads were removed from it (pruned_heads)".into(),
            "a cut keeps the base's shapes; pack the model as it was before",
        );
    }
    if folder.join(adapter::CONFIG).exists() {
        return unfit(
            format!("{} says that adapters belong to the model", adapter::CONFIG),
            "pack the adapter with `adapter`; or merge it into the weights (PEFT: merge_and_unload) and \
             remove the file",
        );
    }
    let pooling = match (exported, config["linocut_pooling"].as_str()) {
        (false, _) => Pooling::Cls,
        (true, Some("mean")) => Pooling::Mean,
        (true, Some("first")) => Pooling::First,
        (true, other) => {
            return Err(tuned_error(format!(
                "{shown}: linocut_pooling is {other:?}, expected mean or first"
            )));
        }
    };
    Ok((encoder, pooling))
}

/// Why a model of another class cannot be packed.
fn other_class(folder: &Path, family: &Family, classes: &[Value], expected: &str) -> Error {
    let supported = format!("supported: models fine-tuned as {expected}");
    let supported = supported.as_str();
    let found: Vec<String> = classes.iter().map(Value::to_string).collect();
    let (shown, found) = (folder.display(), found.join(" and "));
    let class = classes[0].as_str().unwrap_or_default();
    let begins = family.models.iter().map(|(_, begins)| begins);
    let rest = begins.filter_map(|begins| class.strip_prefix(begins)).next();
    let (reason, hint) = match rest.unwrap_or_default() {
        "ForTokenClassification" => ("it labels every token, not a text".into(), supported),
        "ForMultipleChoice" => ("it scores choices against each other".into(), supported),
        "ForQuestionAnswering" => ("it finds answers within a text".into(), supported),
        "Model"
        | "ForMaskedLM"
        | "ForPreTraining"
        | "ForNextSentencePrediction"
        | "LMHeadModel" => (
            "it has no head that labels texts".into(),
            "a pretrained model is a base, on which a task is trained",
        ),
        _ => {
            let tensors = StoredTensors::open(folder).ok();
            let mut names = tensors.iter().flat_map(|t| t.tensors()).map(|t| &t.name);
            let unknown = names.find(|name| !family.is_understood(name));
            let what = unknown.map_or(String::new(), |name| format!(" (as its tensor {name})"));
            (format!("what that class computes{what} is not known here"), supported)
        }
    };
    tuned_error(format!("{shown} is a {found}, expected a {expected}: {reason}")).with_hint(hint)
}

/// What is predicted: `given`, else what `config.json` says, else as Transformers decides it.
///
/// # Errors
/// A problem that the head's outputs contradict.
pub(super) fn problem(
    shown: &str,
    config: &Value,
    outputs: usize,
    given: Option<Problem>,
) -> Result<Problem> {
    let stated = match config["problem_type"].as_str() {
        Some("regression") => Some(Problem::Regression),
        Some("single_label_classification") => Some(Problem::SingleLabel),
        Some("multi_label_classification") => Some(Problem::MultiLabel),
        None if config["problem_type"].is_null() => None,
        _ => {
            return Err(tuned_error(format!(
                "{shown}: problem_type {}, expected regression, single_label_classification or \
                 multi_label_classification",
                config["problem_type"]
            )));
        }
    };
    let by_outputs = if outputs == 1 { Problem::Regression } else { Problem::SingleLabel };
    let problem = given.or(stated).unwrap_or(by_outputs);
    let (name, expected) = match problem {
        Problem::Regression if outputs != 1 => ("a regression", "1: a cut predicts one number"),
        Problem::SingleLabel if outputs == 1 => ("a choice of one label", "2 or more"),
        _ => return Ok(problem),
    };
    let place = if given.is_some() { "`problem`" } else { "config.json" };
    let kind = if given.is_some() { ErrorKind::Config } else { ErrorKind::Base };
    let found = counted(outputs, "output");
    let message =
        format!("{shown}: {place} makes it {name}, and its head has {found}, expected {expected}");
    Err(Error::new(kind, message))
}

/// The names of the head's `outputs` labels: `id2label`, or where it is absent what Transformers
/// calls them.
///
/// # Errors
/// Another number of labels, gaps in their numbers, a name given twice or to another number in
/// `label2id`.
pub(super) fn labels(shown: &str, config: &Value, outputs: usize) -> Result<Vec<String>> {
    let wrong = |what: String| Err(tuned_error(format!("{shown}: {what}")));
    let map = match &config["id2label"] {
        Value::Object(map) => map,
        Value::Null => {
            if let Some(n) = config["num_labels"].as_u64().filter(|&n| n != outputs as u64) {
                return wrong(format!(
                    "num_labels is {n}, the head has {}",
                    counted(outputs, "output")
                ));
            }
            return Ok((0..outputs).map(|i| format!("LABEL_{i}")).collect());
        }
        other => return wrong(format!("id2label is {other}, expected names by number")),
    };
    let mut labels: BTreeMap<usize, &str> = BTreeMap::new();
    for (key, name) in map {
        let number = key.parse().ok().filter(|n: &usize| n.to_string() == *key);
        let Some(number) = number else {
            return wrong(format!("id2label has the key {key:?}, expected a number from 0"));
        };
        let Some(name) = name.as_str() else {
            return wrong(format!("id2label names {number} {name}, expected a text in quotes"));
        };
        labels.insert(number, name);
    }
    let missing = (0..outputs).find(|i| !labels.contains_key(i));
    if labels.len() != outputs {
        return wrong(format!(
            "id2label has {} labels, the head {}",
            labels.len(),
            counted(outputs, "output")
        ));
    }
    if let Some(missing) = missing {
        let last = labels.keys().last().copied().unwrap_or_default();
        return wrong(format!(
            "id2label lacks {missing} and goes up to {last}, expected 0 to {}",
            outputs - 1
        ));
    }
    let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
    for (&number, &name) in &labels {
        if let Some(first) = numbers.insert(name, number) {
            return wrong(format!("id2label names both {first} and {number} {name:?}"));
        }
    }
    // Names that stand in one of the two alone contradict nothing: LABEL_0 is often left there.
    for (name, number) in config["label2id"].as_object().into_iter().flatten() {
        if let Some(&own) = numbers.get(name.as_str())
            && number.as_u64() != Some(own as u64)
        {
            return wrong(format!("{name:?} is {own} in id2label, {number} in label2id"));
        }
    }
    Ok(labels.into_values().map(str::to_string).collect())
}
