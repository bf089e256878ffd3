//! Whether a fine-tuned model's tokenizer makes the base's tokens of every text.
//!
//! A cut is used with its base's tokenizer. The model's own is what Transformers makes of its files:
//! `tokenizer.json`, or without one `vocab.txt`; and on top of either what `tokenizer_config.json` and
//! `special_tokens_map.json` say.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::ingest::tuned_error;
use crate::data::Tokenizer;
use crate::model::Base;
use crate::{Error, Result};

/// Files of vocabularies that BERT's tokenizer does not use.
const OTHER_VOCABULARIES: [&str; 4] =
    ["vocab.json", "spiece.model", "tokenizer.model", "merges.txt"];
/// What a special token is called.
const SPECIAL: [&str; 7] =
    ["bos_token", "cls_token", "eos_token", "mask_token", "pad_token", "sep_token", "unk_token"];
const SETTINGS: &str = "tokenizer_config.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";
const ADDED_FILE: &str = "added_tokens.json";

/// A model's own tokenizer, and the files that it is from.
pub(super) struct Own {
    pub(super) tokenizer: Tokenizer,
    /// Of its vocabulary, and of all that no other file says.
    vocabulary: &'static str,
    /// Of its normalizer.
    normalizer: &'static str,
    /// Of the side that it cuts.
    side: &'static str,
    /// Of tokens that the vocabulary's file does not add.
    tokens: BTreeMap<String, &'static str>,
}

impl Own {
    /// The same of a model without token types.
    pub(super) fn without_types(self) -> Self {
        Self { tokenizer: self.tokenizer.without_types(), ..self }
    }

    /// The tokenizer of a model folder; `None` where it has no vocabulary.
    ///
    /// # Errors
    /// A malformed file, or a kind of tokenizer that cannot be compared.
    pub(super) fn open(folder: &Path) -> Result<Option<Self>> {
        let place = |name: &str| folder.join(name).display().to_string();
        let settings = read(folder, SETTINGS)?.unwrap_or_default();
        let special = read(folder, SPECIAL_FILE)?.unwrap_or_default();
        let (vocabulary, mut json) = match read(folder, "tokenizer.json")? {
            Some(json) => ("tokenizer.json", json),
            None if folder.join("vocab.txt").exists() => {
                ("vocab.txt", from_vocabulary(folder, &settings, &special)?)
            }
            None => {
                let other = OTHER_VOCABULARIES.iter().find(|name| folder.join(name).exists());
                let Some(other) = other else { return Ok(None) };
                return Err(tuned_error(format!(
                    "{}: the model's tokenizer cannot be compared with the base's",
                    place(other)
                ))
                .with_hint("save it as tokenizer.json"));
            }
        };
        let class = settings["tokenizer_class"].as_str().unwrap_or("BertTokenizer");
        // The generic classes take the normalizer as it is.
        let generic = ["PreTrainedTokenizerFast", "TokenizersBackend"].contains(&class);
        let set = !generic && set_normalizer(&mut json, &settings);
        let mut files = vec![(SETTINGS, stated(&settings)), (SPECIAL_FILE, stated(&special))];
        if vocabulary == "vocab.txt" {
            // Words to numbers; in tokenizer.json they stand themselves.
            let words = read(folder, ADDED_FILE)?.unwrap_or_default();
            let words = words.as_object().into_iter().flatten();
            let words = words.map(|(word, _)| json!({"content": word, "normalized": true}));
            files.push((ADDED_FILE, words.collect()));
        }
        let tokens = add_tokens(&mut json, files);
        let side = settings.get("truncation_side").map_or(vocabulary, |_| SETTINGS);
        let tokenizer = Tokenizer::from_json(&folder.join(vocabulary), &json, &settings)?;
        let normalizer = if set { SETTINGS } else { vocabulary };
        Ok(Some(Self { tokenizer, vocabulary, normalizer, side, tokens }))
    }

    /// Checks that it makes of every text what the base's makes.
    ///
    /// # Errors
    /// What differs, and where.
    pub(super) fn check_same(&self, folder: &Path, base: &Base) -> Result<()> {
        let (own, its) = (self.tokenizer.to_json(), base.tokenizer.to_json());
        let differ = |file: &str, what: String| {
            Err(tuned_error(format!(
                "{}: the model's tokenizer is not the base's: {what}",
                folder.join(file).display()
            ))
            .with_hint(format!(
                "a cut is used with its base's tokenizer, that of {}; give the base of this model",
                base.name
            )))
        };
        if let Some(what) = vocabularies(&own["model"]["vocab"], &its["model"]["vocab"]) {
            return differ(self.vocabulary, what);
        }
        for (part, file) in [
            ("model", self.vocabulary),
            ("normalizer", self.normalizer),
            ("pre_tokenizer", self.vocabulary),
        ] {
            let [a, b] = [&own, &its].map(|json| plain(&json[part]));
            if a != b {
                let (field, a, b) = first_difference(part, &a, &b);
                return differ(file, format!("{field} is {a}, the base's {b}"));
            }
        }
        if let Some((token, what)) = added(&own["added_tokens"], &its["added_tokens"]) {
            return differ(self.tokens.get(&token).unwrap_or(&self.vocabulary), what);
        }
        // With all else the same, one text and one pair show what is put around them.
        for pair in [None, Some("b")] {
            let [a, b] = [&self.tokenizer, &base.tokenizer].map(|t| t.encode("a", pair, 1 << 10));
            let (a, b) = (a?, b?);
            if a != b {
                let of = if pair.is_some() { "a pair" } else { "a text" };
                let shown = |ids: &[u32], types: &[u32]| format!("{ids:?} of types {types:?}");
                let (a, b) = (shown(&a.ids, &a.type_ids), shown(&b.ids, &b.type_ids));
                return differ(
                    self.vocabulary,
                    format!("its post_processor makes of {of} {a}, the base's {b}"),
                );
            }
        }
        let [a, b] = [&self.tokenizer, &base.tokenizer].map(Tokenizer::cut_side);
        if a != b {
            return differ(
                self.side,
                format!("it cuts the {a} of texts too long, the base's the {b}"),
            );
        }
        Ok(())
    }
}

fn read(folder: &Path, name: &str) -> Result<Option<Value>> {
    let path = folder.join(name);
    if !path.exists() {
        return Ok(None);
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    let wrong = |e: serde_json::Error| {
        tuned_error(format!("{} is not JSON: {e}", path.display())).with_source(e)
    };
    serde_json::from_slice(&bytes).map(Some).map_err(wrong)
}

/// `tokenizer.json` of BERT's tokenizer with the words of `vocab.txt`.
fn from_vocabulary(folder: &Path, settings: &Value, special: &Value) -> Result<Value> {
    let class = settings["tokenizer_class"].as_str().unwrap_or("BertTokenizer");
    let path = folder.join("vocab.txt");
    if !["BertTokenizer", "BertTokenizerFast"].contains(&class) {
        return Err(tuned_error(format!(
            "{}: a {class} cannot be compared with the base's tokenizer",
            folder.join(SETTINGS).display()
        ))
        .with_hint("save it as tokenizer.json"));
    }
    let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
    let text = String::from_utf8(bytes)
        .map_err(|e| tuned_error(format!("{} is not UTF-8: {e}", path.display())).with_source(e))?;
    let words = text.lines().zip(0u32..).map(|(word, id)| (word.to_string(), id.into()));
    let words: serde_json::Map<String, Value> = words.collect();
    let name = |key: &str, default: &str| {
        let stated = [settings, special].into_iter().find_map(|file| content(&file[key]));
        stated.unwrap_or(default).to_string()
    };
    let (unknown, first, last) =
        (name("unk_token", "[UNK]"), name("cls_token", "[CLS]"), name("sep_token", "[SEP]"));
    let id = |token: &str| -> Result<Value> {
        words.get(token).cloned().ok_or_else(|| {
            tuned_error(format!("{}: has no line {token:?}, which texts need", path.display()))
        })
    };
    let processor = json!({"type": "BertProcessing", "sep": [last, id(&last)?],
        "cls": [first, id(&first)?]});
    let tokens = ["pad_token", "mask_token"].map(|key| {
        let default = if key == "pad_token" { "[PAD]" } else { "[MASK]" };
        name(key, default)
    });
    let added = tokens.into_iter().chain([unknown.clone(), first, last]);
    let added: Vec<Value> = added.map(|token| added_token(&json!(token))).collect();
    // Without basic tokenising nothing is normalised at all.
    let on = settings["do_basic_tokenize"] != Value::Bool(false);
    Ok(json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": on,
            "strip_accents": null, "lowercase": on},
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": processor,
        "decoder": null,
        "model": {"type": "WordPiece", "unk_token": unknown, "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100, "vocab": words},
    }))
}

/// What `tokenizer_config.json` states of BERT's normalizer goes before `tokenizer.json`. Whether it
/// states anything else.
fn set_normalizer(json: &mut Value, settings: &Value) -> bool {
    let normalizer = &mut json["normalizer"];
    if normalizer["type"] != "BertNormalizer" {
        return false;
    }
    let before = normalizer.clone();
    for (stated, field) in [
        ("do_lower_case", "lowercase"),
        ("strip_accents", "strip_accents"),
        ("tokenize_chinese_chars", "handle_chinese_chars"),
    ] {
        if let Some(value) = settings.get(stated) {
            normalizer[field] = value.clone();
        }
    }
    *normalizer != before
}

/// The text of a token: a string, or an object with its `content`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// A token as `tokenizer.json` lists it; its number follows from the vocabulary.
fn added_token(token: &Value) -> Value {
    let flag = |name: &str| token[name].as_bool().unwrap_or(false);
    json!({
        "id": 0,
        "content": content(token),
        "single_word": flag("single_word"),
        "lstrip": flag("lstrip"),
        "rstrip": flag("rstrip"),
        "normalized": flag("normalized"),
        "special": true,
    })
}

/// The tokens that a file names to be tokens of their own.
fn stated(file: &Value) -> Vec<Value> {
    let mut stated: Vec<Value> = SPECIAL.iter().map(|name| file[name].clone()).collect();
    for list in ["additional_special_tokens", "extra_special_tokens", "added_tokens_decoder"] {
        match &file[list] {
            Value::Array(tokens) => stated.extend(tokens.iter().cloned()),
            Value::Object(tokens) => stated.extend(tokens.values().cloned()),
            _ => {}
        }
    }
    stated
}

/// Adds the tokens that other files name, so far as they are not there; gives each one's file.
fn add_tokens(
    json: &mut Value,
    files: Vec<(&'static str, Vec<Value>)>,
) -> BTreeMap<String, &'static str> {
    let mut from = BTreeMap::new();
    let Some(fields) = json.as_object_mut() else { return from };
    let Value::Array(added) = fields.entry("added_tokens").or_insert_with(|| json!([])) else {
        return from;
    };
    for (name, stated) in files {
        for token in &stated {
            let Some(text) = content(token) else { continue };
            if !added.iter().any(|t| t["content"] == text) {
                added.push(added_token(token));
                from.insert(text.to_string(), name);
            }
        }
    }
    from
}

/// The first token, in the order of numbers, that is not the same in both vocabularies.
fn vocabularies(own: &Value, its: &Value) -> Option<String> {
    if own == its {
        return None;
    }
    let (Some(own), Some(its)) = (own.as_object(), its.as_object()) else {
        return Some("its vocabulary is another".into());
    };
    let number = |id: Option<&Value>| id.and_then(Value::as_u64);
    let differing = own.iter().filter(|(token, id)| its.get(*token) != Some(id));
    let missing = its.keys().filter(|token| !own.contains_key(*token));
    let first = differing.map(|(token, _)| token).chain(missing).min_by_key(|token| {
        let ids = [own.get(*token), its.get(*token)].map(number);
        ids.into_iter().flatten().min()
    })?;
    let place = |id: Option<&Value>| id.map_or("absent".into(), |id| format!("number {id}"));
    let (own, its) = (place(own.get(first)), place(its.get(first)));
    Some(format!("in its vocabulary {first:?} is {own}, in the base's {its}"))
}

/// Without what is compared elsewhere, and with one spelling of what means the same.
fn plain(part: &Value) -> Value {
    let mut part = part.clone();
    if let Some(fields) = part.as_object_mut() {
        fields.remove("vocab");
        // Absent, accents go where letters become small.
        if fields.get("type").is_some_and(|kind| kind == "BertNormalizer")
            && fields.get("strip_accents").is_some_and(Value::is_null)
        {
            fields["strip_accents"] = fields.get("lowercase").cloned().unwrap_or_default();
        }
    }
    part
}

/// The first field, by name, that is not the same in both, and what it is in each.
fn first_difference(part: &str, own: &Value, its: &Value) -> (String, String, String) {
    let shown = |value: &Value| {
        let text = value.to_string();
        let short: String = text.chars().take(60).collect();
        if short.len() < text.len() { short + "…" } else { short }
    };
    if let (Some(a), Some(b)) = (own.as_object(), its.as_object()) {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort_unstable_by_key(|name| (*name != "type", *name));
        if let Some(name) = names.into_iter().find(|name| a.get(*name) != b.get(*name)) {
            let of = |fields: &serde_json::Map<String, Value>| {
                fields.get(name).map_or("absent".into(), shown)
            };
            return (format!("{part}.{name}"), of(a), of(b));
        }
    }
    (part.to_string(), shown(own), shown(its))
}

/// The first token that is added in one of the two alone, or differently. That it counts as special
/// changes no number.
fn added(own: &Value, its: &Value) -> Option<(String, String)> {
    let by_content = |list: &Value| -> BTreeMap<String, Value> {
        let tokens = list.as_array().into_iter().flatten().filter_map(|token| {
            let mut token = token.clone();
            token.as_object_mut()?.remove("special");
            Some((token["content"].as_str()?.to_string(), token))
        });
        tokens.collect()
    };
    let (own, its) = (by_content(own), by_content(its));
    let text = own.keys().chain(its.keys()).find(|text| own.get(*text) != its.get(*text))?;
    let what = match (own.get(text), its.get(text)) {
        (Some(_), None) => format!("it takes {text:?} as one token, which the base's does not"),
        (None, Some(_)) => format!("the base's takes {text:?} as one token, which it does not"),
        (a, b) => {
            let (a, b) = (a.cloned().unwrap_or_default(), b.cloned().unwrap_or_default());
            let (field, a, b) = first_difference("added_tokens", &a, &b);
            format!("of {text:?} {field} is {a}, the base's {b}")
        }
    };
    Some((text.clone(), what))
}
