//! The tokenizer of a model folder: what Transformers makes of the files there, as the JSON that one
//! `tokenizer.json` would hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::tokenizer_class::{Class, Reader};
use super::tokenizer_meaning::{added, around, same, same_field};
use super::vocabulary::{self, read, read_json, wrong};
use crate::{Error, ErrorKind, Result};

pub(super) const MAIN_FILE: &str = "tokenizer.json";
pub(super) const SETTINGS: &str = "tokenizer_config.json";
const SPECIAL_FILE: &str = "special_tokens_map.json";
const ADDED_FILE: &str = "added_tokens.json";
/// SentencePiece's own format, which is not read.
const SENTENCE_PIECE: [&str; 5] = [
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "spm.model",
    "sentencepiece.model",
];
/// What a special token is called.
const SPECIAL: [&str; 7] =
    ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const CONVERT: &str = "write tokenizer.json with Transformers: python -c \"from transformers import \
                       AutoTokenizer; AutoTokenizer.from_pretrained('.').save_pretrained('.')\"";

/// What a folder's files make of its tokenizer.
pub(super) struct Found {
    /// The file of its vocabulary.
    pub(super) path: PathBuf,
    /// What `tokenizer.json` would hold.
    pub(super) json: Value,
    /// `tokenizer.json` to the letter, where there is one.
    pub(super) bytes: Option<Vec<u8>>,
    /// `tokenizer_config.json`.
    pub(super) settings: Value,
    /// Whether tokens have the types that `json` gives, or all type 0.
    pub(super) typed: bool,
    /// The class that reads it.
    pub(super) class: String,
    pub(super) sources: Sources,
}

/// Which file says what, for messages.
#[derive(Debug, Default, Clone)]
pub(crate) struct Sources {
    /// The vocabulary, and all that no other file says.
    pub(crate) vocabulary: &'static str,
    /// Parts of `tokenizer.json` that other files, or the class that reads it, make something else of.
    pub(crate) parts: Vec<&'static str>,
    /// The tokens that the vocabulary's file does not add.
    pub(crate) tokens: BTreeMap<String, &'static str>,
    /// The side that is cut.
    pub(crate) side: &'static str,
}

impl Sources {
    /// The file that says what a part is.
    pub(crate) fn part(&self, part: &str) -> &'static str {
        if self.parts.contains(&part) { SETTINGS } else { self.vocabulary }
    }
}

/// The files beside the vocabulary.
struct Files {
    settings: Value,
    special: Value,
    added: Value,
}

/// Reads a model folder; `None` where it has no file of a tokenizer.
pub(super) fn find(folder: &Path) -> Result<Option<Found>> {
    let config = read_json(&folder.join("config.json"))?;
    let settings_file = folder.join(SETTINGS);
    let files = Files {
        settings: read_json(&settings_file)?,
        special: read_json(&folder.join(SPECIAL_FILE))?,
        added: read_json(&folder.join(ADDED_FILE))?,
    };
    let bert = json!({"model_type": "bert"});
    let main = folder.join(MAIN_FILE);
    let reader = match Reader::of(&config, &files.settings) {
        // As with `config.json`: what says nothing is from when there was BERT alone.
        Reader::Unknown(None) if !main.exists() => Reader::of(&bert, &Value::Null),
        reader => reader,
    };
    let mut sources = Sources { vocabulary: MAIN_FILE, ..Sources::default() };
    let (path, mut json, bytes) = match read(&main)? {
        Some(bytes) => {
            let json = serde_json::from_slice(&bytes)
                .map_err(|e| super::tokenizer_file::malformed(&main, &e).with_source(e))?;
            (main, json, Some(bytes))
        }
        None => match old_vocabulary(folder, reader)? {
            Some((name, model)) => {
                sources.vocabulary = name;
                (
                    folder.join(name),
                    json!({"version": "1.0", "added_tokens": [], "model": model}),
                    None,
                )
            }
            None => return Ok(None),
        },
    };
    let typed = match (&files.settings["model_input_names"], reader) {
        (Value::Array(names), _) => names.iter().any(|name| name == "token_type_ids"),
        (_, Reader::Own(class)) => class.typed,
        (_, Reader::Generic) => false,
        (_, Reader::Unknown(_)) => true,
    };
    match reader {
        // Nothing that could be made something of: what is wrong with it is said where it is parsed.
        _ if !json["model"].is_object() => {}
        Reader::Own(class) => {
            let make =
                Make { class, path: &path, settings_file: &settings_file, files: &files, typed };
            make.parts(&mut json, &mut sources)?;
        }
        Reader::Generic => set_tokens(None, &path, &files, &mut json, &mut sources)?,
        // What reads it is not known: it is taken as it is.
        Reader::Unknown(_) => {}
    }
    sources.side = match files.settings.get("truncation_side") {
        Some(_) => SETTINGS,
        None => sources.vocabulary,
    };
    Ok(Some(Found {
        path,
        json,
        bytes,
        typed,
        class: reader.name().to_string(),
        sources,
        settings: files.settings,
    }))
}

/// The error of a folder in which [`find`] finds nothing.
pub(super) fn nothing(folder: &Path) -> Error {
    let message =
        format!("{} has no tokenizer.json, and no vocabulary in its place", folder.display());
    Error::new(ErrorKind::Base, message).with_hint(CONVERT)
}

/// The vocabulary of a folder without `tokenizer.json` as its model, and its file.
fn old_vocabulary(folder: &Path, reader: Reader<'_>) -> Result<Option<(&'static str, Value)>> {
    let there = |name: &&str| folder.join(name).exists();
    let class = match reader {
        Reader::Own(class) => Some(class),
        _ => None,
    };
    let model = match class.map(Class::model) {
        Some("WordPiece") => vocabulary::word_piece(folder)?.map(|model| ("vocab.txt", model)),
        Some("BPE") => vocabulary::byte_pairs(folder)?.map(|model| ("vocab.json", model)),
        _ => None,
    };
    if model.is_some() {
        return Ok(model);
    }
    let place = folder.display();
    if let Some(name) = SENTENCE_PIECE.iter().find(|name| there(name)) {
        let message =
            format!("{place} has no tokenizer.json, and {name} is in SentencePiece's own format");
        return Err(Error::new(ErrorKind::Base, message).with_hint(CONVERT));
    }
    let others = ["vocab.txt", "vocab.json", "merges.txt"];
    let others: Vec<&str> = others.into_iter().filter(there).collect();
    if others.is_empty() {
        return Ok(None);
    }
    let expected = class.map_or("tokenizer.json", Class::vocabulary);
    let message = format!(
        "{place} has {} and no tokenizer.json; its tokenizer class {} reads {expected}",
        others.join(" and "),
        reader.name(),
    );
    Err(Error::new(ErrorKind::Base, message).with_hint(CONVERT))
}

/// What a class makes of a folder's vocabulary.
struct Make<'a> {
    class: &'static Class,
    /// The vocabulary's file.
    path: &'a Path,
    settings_file: &'a Path,
    files: &'a Files,
    /// Whether types of tokens count.
    typed: bool,
}

impl Make<'_> {
    /// Sets all parts in `json`. What means the same stays as it is written, so that its identity does.
    fn parts(&self, json: &mut Value, sources: &mut Sources) -> Result<()> {
        let (class, path, settings) = (self.class, self.path, &self.files.settings);
        self.check_kind(&json["model"])?;
        set_tokens(Some(class), path, self.files, json, sources)?;
        let unknown = named(class, self.files, "unk_token");
        let numbers = numbers(json);
        let missing = |text: &str| {
            let lacks =
                if sources.vocabulary == "vocab.txt" { "has no line" } else { "has no token" };
            wrong(path, format!("{lacks} {text:?}, which texts need"))
        };
        let token = |key: &str| {
            let text = named(class, self.files, key);
            let listed = json["added_tokens"].as_array().into_iter().flatten();
            let mut listed = listed.filter(|token| token["content"] == text);
            let number = numbers.get(&text[..]).copied();
            let number = number.or_else(|| listed.next()?["id"].as_u64());
            let number = number.ok_or_else(|| missing(&text))?;
            Ok((text, number))
        };
        let processor = class.post_processor(token, &json["post_processor"])?;
        let old = sources.vocabulary != MAIN_FILE;
        if old && class.model() == "WordPiece" && !numbers.contains_key(&unknown[..]) {
            return Err(missing(&unknown));
        }
        let fields = class.fields(&unknown, &json["model"]["vocab"], settings);
        let normalizer = class.normalizer(self.settings_file, settings, &json["normalizer"])?;
        let pre_tokenizer = class.pre_tokenizer(self.settings_file, settings)?;
        let splits = class.splits_at_space();
        let alike = |a: &Value| around(a, self.typed);
        let keeps = [
            same(&json["normalizer"], &normalizer, splits),
            same(&json["pre_tokenizer"], &pre_tokenizer, splits),
            processor.is_null() || alike(&processor) == alike(&json["post_processor"]),
        ];
        let parts = [
            ("normalizer", normalizer),
            ("pre_tokenizer", pre_tokenizer),
            ("post_processor", processor),
        ];
        for ((name, part), keep) in parts.into_iter().zip(keeps) {
            if old || !keep {
                json[name] = part;
                sources.parts.push(name);
            }
        }
        for (name, value) in fields {
            if old || !same_field(&json["model"][name], &value) {
                json["model"][name] = value;
                sources.parts.push("model");
            }
        }
        sources.parts.dedup();
        if old {
            // A setting that is there says what the class would not.
            let stated = |names: &[&str]| names.iter().any(|name| settings.get(*name).is_some());
            let words = ["do_lower_case", "strip_accents", "tokenize_chinese_chars"];
            sources.parts.clear();
            sources.parts.extend(stated(&words).then_some("normalizer"));
            sources.parts.extend(stated(&["add_prefix_space"]).then_some("pre_tokenizer"));
        }
        Ok(())
    }

    /// Checks that the file holds the kind of model that the class makes.
    fn check_kind(&self, model: &Value) -> Result<()> {
        let kind = match model["type"].as_str() {
            Some(kind) => kind,
            // Files from before it was written down.
            None if !model["merges"].is_null() => "BPE",
            None if model["vocab"].is_array() => "Unigram",
            None => "WordPiece",
        };
        let (class, makes) = (self.class.names[0], self.class.model());
        if kind == makes {
            return Ok(());
        }
        let message =
            format!("its model is {kind}, and {class}, which would read it, makes {makes}");
        Err(wrong(self.path, message).with_hint(
            "if it is right as it stands, write \"tokenizer_class\": \"PreTrainedTokenizerFast\" into \
             tokenizer_config.json",
        ))
    }
}

/// The text of a special token: what files name, else the class's own.
fn named(class: &Class, files: &Files, key: &str) -> String {
    let usual = class.special.iter().find(|(name, _)| *name == key).map_or("", |(_, text)| text);
    files.named(key).and_then(|(token, _)| content(token)).unwrap_or(usual).to_string()
}

impl Files {
    /// Whether the newer list of added tokens is there, which makes the older files count for nothing.
    fn lists_added(&self) -> bool {
        self.settings["added_tokens_decoder"].is_object()
    }

    /// A special token as a file names it, and the file.
    fn named(&self, key: &str) -> Option<(&Value, &'static str)> {
        let older = if self.lists_added() { &Value::Null } else { &self.special[key] };
        [(older, SPECIAL_FILE), (&self.settings[key], SETTINGS)]
            .into_iter()
            .find(|(token, _)| content(token).is_some())
    }

    /// What is special beside the named tokens.
    fn extra(&self) -> Vec<(&Value, &'static str)> {
        let older = if self.lists_added() { &Value::Null } else { &self.special };
        let lists = [
            (&self.settings["extra_special_tokens"], SETTINGS),
            (&self.settings["additional_special_tokens"], SETTINGS),
            (&older["extra_special_tokens"], SPECIAL_FILE),
            (&older["additional_special_tokens"], SPECIAL_FILE),
        ];
        let list = lists.into_iter().find(|(list, _)| !list.is_null());
        list.map_or(Vec::new(), |(list, file)| match list {
            Value::Array(tokens) => tokens.iter().map(|token| (token, file)).collect(),
            Value::Object(tokens) => tokens.values().map(|token| (token, file)).collect(),
            _ => Vec::new(),
        })
    }
}

/// Lists the tokens that are taken whole: of a class of its own those that files name and it knows
/// itself, of the generic class the file's and those that others add.
fn set_tokens(
    class: Option<&Class>,
    path: &Path,
    files: &Files,
    json: &mut Value,
    sources: &mut Sources,
) -> Result<()> {
    let whole = json["added_tokens"].as_array().cloned().unwrap_or_default();
    if let Some(token) = whole.iter().find(|token| content(token).is_none()) {
        return Err(wrong(
            path,
            format!("added_tokens has {token}, expected an object with content"),
        ));
    }
    let vocabulary = sources.vocabulary;
    let mut listed: Vec<(u64, Value, &'static str)> = Vec::new();
    if let Some(tokens) = files.settings["added_tokens_decoder"].as_object() {
        for (number, token) in tokens {
            listed.push((number.parse().unwrap_or(u64::MAX), token.clone(), SETTINGS));
        }
    } else {
        let special: HashSet<&str> = SPECIAL
            .iter()
            .filter_map(|key| content(files.named(key)?.0))
            .chain(files.extra().into_iter().filter_map(|(token, _)| content(token)))
            .collect();
        for (text, number) in files.added.as_object().into_iter().flatten() {
            let plain = !special.contains(&text[..]);
            let token = json!({"content": text, "normalized": plain, "special": !plain});
            listed.push((number.as_u64().unwrap_or(u64::MAX), token, ADDED_FILE));
        }
        if class.is_some() {
            let id = |token: &Value| token["id"].as_u64().unwrap_or(u64::MAX);
            let ids: HashSet<u64> = whole.iter().map(id).collect();
            listed.retain(|(number, ..)| !ids.contains(number));
            let own = whole.iter().map(|token| (id(token), token.clone(), vocabulary));
            listed.extend(own);
        }
    }
    listed.sort_by_key(|(number, ..)| *number);
    let mut tokens: Vec<(Value, &'static str)> = Vec::new();
    if class.is_none() {
        tokens.extend(whole.iter().map(|token| (token.clone(), vocabulary)));
    }
    tokens.extend(listed.into_iter().map(|(_, token, file)| (token, file)));
    let numbers = numbers(json);
    // A special token that no vocabulary has would get a number that no embedding has a row for.
    let known = |token: &Value| content(token).is_some_and(|text| numbers.contains_key(text));
    for key in SPECIAL {
        let usual = class.and_then(|c| c.special.iter().find(|(name, _)| *name == key));
        let (mut token, file) = match (files.named(key), usual) {
            (Some((token, file)), _) => (token.clone(), file),
            (None, Some((_, text))) => (json!(text), vocabulary),
            (None, None) => continue,
        };
        if token.is_string() && class.is_some_and(|class| class.takes_space(key)) {
            token = json!({"content": token, "lstrip": true, "special": true});
        }
        tokens.extend(known(&token).then_some((token, file)));
    }
    let others = files.settings.as_object().into_iter().flatten();
    let others = others.filter(|(key, token)| {
        key.ends_with("_token") && !SPECIAL.contains(&&key[..]) && known(token)
    });
    tokens.extend(others.map(|(_, token)| (token.clone(), SETTINGS)));
    let extra = files.extra();
    if extra.is_empty() {
        let usual = class.map_or(&[][..], Class::extra).iter().map(|text| json!(text));
        tokens.extend(usual.filter(known).map(|token| (token, vocabulary)));
    }
    tokens.extend(extra.into_iter().map(|(token, file)| (token.clone(), file)));

    let mut next = numbers.len() as u64;
    let mut list: Vec<Value> = Vec::new();
    let mut there: HashMap<String, usize> = HashMap::new();
    let mut from = BTreeMap::new();
    for (token, file) in &tokens {
        let Some(text) = content(token).filter(|text| !text.is_empty()) else { continue };
        if there.contains_key(text) {
            continue;
        }
        let number = numbers.get(text).copied().unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        there.insert(text.to_string(), list.len());
        if *file != vocabulary {
            from.insert(text.to_string(), *file);
        }
        list.push(added_token(token, number));
    }
    let alike = added(&list, &numbers) == added(&whole, &numbers);
    drop(numbers);
    if !alike {
        list.sort_by_key(|token| token["id"].as_u64());
        json["added_tokens"] = list.into();
        sources.tokens = from;
        sources.parts.push("added_tokens");
    }
    Ok(())
}

/// The numbers of a vocabulary's tokens.
fn numbers(json: &Value) -> HashMap<&str, u64> {
    match &json["model"]["vocab"] {
        Value::Object(tokens) => {
            tokens.iter().filter_map(|(token, id)| Some((&token[..], id.as_u64()?))).collect()
        }
        Value::Array(pieces) => {
            let pieces = pieces.iter().zip(0..);
            pieces.filter_map(|(piece, number)| Some((piece[0].as_str()?, number))).collect()
        }
        _ => HashMap::new(),
    }
}

/// The text of a token: a string, or an object with its `content`.
fn content(token: &Value) -> Option<&str> {
    token.as_str().or_else(|| token["content"].as_str())
}

/// A token as `tokenizer.json` lists it.
fn added_token(token: &Value, number: u64) -> Value {
    let flag = |name: &str| token[name].as_bool().unwrap_or(false);
    json!({
        "id": number,
        "content": content(token),
        "single_word": flag("single_word"),
        "lstrip": flag("lstrip"),
        "rstrip": flag("rstrip"),
        "normalized": flag("normalized"),
        "special": token["special"].as_bool().unwrap_or(true),
    })
}
