//! The JSON files and the README of an exported folder.

use super::{Format, onnx};
use crate::cut::{Card, StoreType};
use crate::data::{Long, Problem};
use crate::model::{Base, Encoder, Pooling};
use serde_json::{Map, Value, json};

/// Key in config.json that marks a folder as an export, with the cut's identity below it.
pub(super) const MARK: &str = "linocut";

/// The class that loads the folder.
pub(super) fn class(encoder: &Encoder, pooling: Pooling) -> String {
    let own = encoder.family().class(encoder.json());
    let begins = if pooling == Pooling::Cls { own } else { "Linocut" };
    format!("{begins}ForSequenceClassification")
}

/// The Python module of a folder with another pooling than its family's.
pub(super) fn module(encoder: &Encoder) -> String {
    let (family, config) = (encoder.family(), encoder.json());
    let attribute = family.spelling.prefixes[0].trim_end_matches('.');
    // Not every class has a pooler that it can do without.
    let takes = ["Bert", "Roberta", "XLMRoberta", "Camembert", "MPNet", "Albert", "NomicBert"];
    let bare = if takes.contains(&family.class(config)) { ", add_pooling_layer=False" } else { "" };
    include_str!("modeling_linocut.py")
        .replace("Bert", family.class(config))
        .replace("linocut_bert", &format!("linocut_{}", family.model_type(config)))
        .replace("\"bert\"", &format!("{:?}", family.model_type(config)))
        .replace("self.bert", &format!("self.{attribute}"))
        .replace(", add_pooling_layer=False", bare)
}

/// The base's config.json with the task's labels and the class that computes it. Of a model of ONNX, which needs
/// none, the class is the family's own, whatever the pooling: readers take tokenizer and labels by it.
pub(super) fn config(mut config: Value, encoder: &Encoder, card: &Card, format: Format) -> Value {
    let Some(fields) = config.as_object_mut() else { return config };
    // The weights are written as float32, wherever the base came from; a packed model's as they were.
    for field in ["_name_or_path", "torch_dtype", "dtype", "transformers_version", "auto_map"] {
        fields.remove(field);
    }
    let mut set = |field: &str, value: Value| drop(fields.insert(field.into(), value));
    let (store, pooling) = match format {
        Format::Transformers => (card.source.as_ref().map(|source| source.store), card.pooling),
        Format::Onnx => (None, Pooling::Cls),
    };
    match store {
        None | Some(StoreType::F32) => {}
        Some(StoreType::Bf16) => set("torch_dtype", json!("bfloat16")),
        Some(StoreType::F16) => set("torch_dtype", json!("float16")),
    }
    let model_type = encoder.family().model_type(encoder.json());
    set("architectures", json!([class(encoder, pooling)]));
    set("model_type", json!(model_type));
    if pooling != Pooling::Cls {
        set("model_type", json!(format!("linocut_{model_type}")));
        set("linocut_pooling", json!(pooling.name()));
        if card.unit {
            set("linocut_unit", json!(true));
        }
        set(
            "auto_map",
            json!({
                "AutoConfig": "modeling_linocut.LinocutConfig",
                "AutoModelForSequenceClassification":
                    "modeling_linocut.LinocutForSequenceClassification",
            }),
        );
    }
    let label2id: Map<String, Value> =
        labels(card).into_iter().enumerate().map(|(i, label)| (label, json!(i))).collect();
    set("id2label", Value::Object(id2label(card)));
    set("label2id", Value::Object(label2id));
    set("problem_type", json!(problem_type(card.problem)));
    set(
        MARK,
        json!({
            "task": card.task,
            "pairs": card.pairs,
            "base": card.base,
            "method": card.method,
            "format": card.format,
        }),
    );
    config
}

/// Names of the outputs. Transformers takes the number of outputs from the number of labels.
fn labels(card: &Card) -> Vec<String> {
    match card.problem {
        Problem::Regression => vec!["value".to_string()],
        _ => card.labels.clone(),
    }
}

/// The names of the outputs by their numbers.
pub(super) fn id2label(card: &Card) -> Map<String, Value> {
    let numbered = labels(card).into_iter().enumerate();
    numbered.map(|(i, label)| (i.to_string(), json!(label))).collect()
}

pub(super) fn problem_type(problem: Problem) -> &'static str {
    match problem {
        Problem::SingleLabel => "single_label_classification",
        Problem::MultiLabel => "multi_label_classification",
        Problem::Regression => "regression",
    }
}

/// The side of longer texts that is cut, where the task says so and one side is.
fn cut_side(card: &Card) -> Option<&'static str> {
    match card.long? {
        Long::Head => Some("Right"),
        Long::Tail => Some("Left"),
        Long::HeadTail | Long::Windows => None,
    }
}

/// What is not done with longer texts that the task does, for people.
pub(super) fn unread_in_words(card: &Card, format: Format) -> Option<String> {
    let reads = match card.long? {
        Long::Head | Long::Tail => return None,
        Long::HeadTail => {
            "a quarter of a longer text's tokens from its beginning and three from its end"
        }
        Long::Windows => "a longer text in overlapping windows and averages their logits",
    };
    let cuts = match format {
        Format::Transformers => "Transformers",
        Format::Onnx => "the folder's tokenizer",
    };
    Some(format!("The task reads {reads}; {cuts} cuts such texts at {}", card.max_length))
}

/// tokenizer.json that cuts texts where the cut does, and does not pad.
pub(super) fn tokenizer(mut tokenizer: Value, card: &Card) -> Value {
    let direction = match (cut_side(card), &tokenizer["truncation"]["direction"]) {
        (Some(side), _) => json!(side),
        (None, Value::Null) => json!("Right"),
        (None, given) => given.clone(),
    };
    tokenizer["truncation"] = json!({
        "direction": direction,
        "max_length": card.max_length,
        "strategy": "LongestFirst",
        "stride": 0,
    });
    tokenizer["padding"] = Value::Null;
    tokenizer
}

/// tokenizer_config.json, `truncation=True` meaning the cut's length.
pub(super) fn tokenizer_config(mut settings: Value, base: &Base, card: &Card) -> Value {
    // The class that reads the base; an export's own model_type tells Transformers none.
    if settings["tokenizer_class"].is_null() {
        settings["tokenizer_class"] = json!(base.tokenizer.class());
    }
    settings["model_max_length"] = json!(card.max_length);
    if let Some(side) = cut_side(card) {
        settings["truncation_side"] = json!(side.to_lowercase());
    }
    // Not every class of Transformers hands types on by itself, and a pair needs them.
    if base.config().token_types > 1 && base.tokenizer.is_typed() {
        settings["model_input_names"] = json!(["input_ids", "token_type_ids", "attention_mask"]);
    }
    settings
}

/// `slim` says what became of what a slim task leaves out.
pub(super) fn readme(encoder: &Encoder, card: &Card, slim: Option<&str>) -> String {
    let own = card.pooling != Pooling::Cls;
    let trust = if own { ", trust_remote_code=True" } else { "" };
    let (pooling, class) = (card.pooling.name(), class(encoder, card.pooling));
    let mut text = begin(card, "Hugging Face Transformers");
    text += &format!(
        "- class: `{class}`\n\
         - pooling: {pooling}\n\
         - longest text: {length} tokens\n\n",
        length = card.max_length,
    );
    if let Some(unread) = unread_in_words(card, Format::Transformers) {
        text += &format!("{unread}.\n\n");
    }
    if let Some(slim) = slim {
        text += &format!("A slim task of its base: {slim}.\n\n");
    }
    if own {
        text += "Transformers has no class with this pooling: `modeling_linocut.py` brings one, hence\n\
                 `trust_remote_code=True`.\n\n";
    }
    text += &format!(
        "```python\n\
         from transformers import AutoModelForSequenceClassification, AutoTokenizer\n\n\
         folder = \".\"\n\
         tokenizer = AutoTokenizer.from_pretrained(folder{trust})\n\
         model = AutoModelForSequenceClassification.from_pretrained(folder{trust}).eval()\n\
         logits = model(**tokenizer({call}, truncation=True, return_tensors=\"pt\")).logits\n\
         ```\n",
        call = if card.pairs { "\"first text\", \"second text\"" } else { "\"some text\"" },
    );
    text + &end(card)
}

/// The README of a folder with a model of ONNX, which reads `inputs`; `notes` say what of the task is not in it.
pub(super) fn onnx_readme(card: &Card, inputs: &[&str], notes: &[String]) -> String {
    let mut text = begin(card, "ONNX");
    let (outputs, length) = (card.outputs, card.max_length);
    text += &format!(
        "- model: `{file}`, operators of version {opset}\n\
         - inputs: {inputs}; int64 `[batch, tokens]`, padded on the right\n\
         - output: `logits`; float32 `[batch, {outputs}]`\n\
         - longest text: {length} tokens\n\n",
        file = onnx::FILE,
        opset = onnx::OPSET,
        inputs = inputs.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", "),
    );
    notes.iter().for_each(|note| text += &format!("{note}.\n\n"));
    text += &format!(
        "```python\n\
         import onnxruntime\n\
         from transformers import AutoTokenizer\n\n\
         tokenizer = AutoTokenizer.from_pretrained(\".\")\n\
         session = onnxruntime.InferenceSession(\"{file}\")\n\
         batch = tokenizer({call}, truncation=True, padding=True, return_tensors=\"np\")\n\
         names = [i.name for i in session.get_inputs()]\n\
         logits = session.run([\"logits\"], {{n: batch[n] for n in names}})[0]\n\
         ```\n",
        file = onnx::FILE,
        call = match card.pairs {
            true => "[\"first text\"], [\"second text\"]",
            false => "[\"some text\", \"another\"]",
        },
    );
    text + &end(card)
}

/// How a README begins: what the task is, merged for what reads it.
fn begin(card: &Card, reader: &str) -> String {
    let predicts = match card.problem {
        Problem::SingleLabel => "one of the labels below for",
        Problem::MultiLabel => "any of the labels below for",
        Problem::Regression => "a number for",
    };
    let texts = if card.pairs { "a pair of texts" } else { "a text" };
    let index = model_index(card);
    format!(
        "{index}# {task}\n\n\
         Predicts {predicts} {texts}: a linocut cut of `{base}` and that base,\n\
         merged into one model for {reader}.\n\n",
        task = card.task,
        base = card.base.name,
    )
}

/// What the Hugging Face hub reads of a model card: kind, base, and scores in the form of its index.
fn model_index(card: &Card) -> String {
    let quoted = |text: &str| json!(text).to_string(); // YAML takes JSON's strings
    let mut text = "---\npipeline_tag: text-classification\ntags:\n- linocut\n".to_string();
    // The hub takes no other name than that of one of its own models.
    if card.base.name.split('/').count() == 2 {
        text += &format!("base_model: {}\n", quoted(&card.base.name));
    }
    if !card.metrics.is_empty() {
        let name = quoted(&card.task);
        text += &format!(
            "model-index:\n- name: {name}\n  results:\n  - task:\n      type: text-classification\n    \
             dataset:\n      name: {name}\n      type: {name}\n    metrics:\n"
        );
        for (metric, value) in &card.metrics {
            text += &format!("    - type: {}\n      value: {value}\n", quoted(metric));
        }
    }
    text + "---\n\n"
}

/// How it ends: labels, scores and where it comes from.
fn end(card: &Card) -> String {
    let mut text = String::new();
    if !card.labels.is_empty() {
        text += "\nLabels:\n\n";
        card.labels.iter().enumerate().for_each(|(i, label)| text += &format!("- {i}: {label}\n"));
    }
    if !card.metrics.is_empty() {
        text += "\nScores on the evaluation rows:\n\n";
        card.metrics.iter().for_each(|(name, value)| text += &format!("- {name}: {value:.4}\n"));
    }
    text + &format!("\nBase fingerprint: `{}`\n", card.base.fingerprint)
}
