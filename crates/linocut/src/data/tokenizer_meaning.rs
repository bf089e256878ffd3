//! Whether parts of a `tokenizer.json` mean the same, however they are written.

use std::collections::HashMap;

use serde_json::{Value, json};

/// Whether two normalizers, or two pre-tokenizers, do the same to every text; `splits` says whether
/// words are split wherever there is white space.
pub(super) fn same(a: &Value, b: &Value, splits: bool) -> bool {
    meaning(a, splits) == meaning(b, splits)
}

/// One way to write what means the same.
fn meaning(part: &Value, splits: bool) -> Value {
    for list in ["normalizers", "pretokenizers"] {
        if part["type"] == "Sequence"
            && let Some(steps) = part[list].as_array()
        {
            let mut steps: Vec<Value> = steps.iter().map(|step| meaning(step, splits)).collect();
            // How much white space there is does not matter then.
            let spaces =
                |step: &Value| step["type"] == "Replace" && step["pattern"]["Regex"] == " {2,}";
            steps.retain(|step| !(splits && spaces(step)));
            return match steps.len() {
                0 => Value::Null,
                1 => steps.remove(0),
                _ => steps.into(),
            };
        }
    }
    let given = |name: &str, default: bool| part[name].as_bool().unwrap_or(default);
    match part["type"].as_str() {
        Some("BertNormalizer") => json!({
            "type": "BertNormalizer",
            "clean_text": part["clean_text"],
            "handle_chinese_chars": part["handle_chinese_chars"],
            // Absent, accents go where letters become small.
            "strip_accents": given("strip_accents", given("lowercase", true)),
            "lowercase": part["lowercase"],
        }),
        Some("ByteLevel") => json!({
            "type": "ByteLevel",
            "add_prefix_space": given("add_prefix_space", true),
            "use_regex": given("use_regex", true),
        }),
        Some("Metaspace") => {
            let scheme = if given("add_prefix_space", true) { "always" } else { "never" };
            json!({
                "type": "Metaspace",
                "replacement": part["replacement"],
                "prepend_scheme": part["prepend_scheme"].as_str().unwrap_or(scheme),
                "split": given("split", true),
            })
        }
        _ => part.clone(),
    }
}

/// What a post-processor puts around a text and around two: numbers of tokens, the texts and, if
/// `typed`, their types. `None` where it is of another kind.
pub(super) fn around(processor: &Value, typed: bool) -> Option<Value> {
    if processor["type"] == "Sequence" {
        let steps = processor["processors"].as_array()?;
        // Of a byte level only the places in the text change.
        let mut steps = steps.iter().filter(|step| step["type"] != "ByteLevel");
        let first = around(steps.next()?, typed)?;
        return steps.next().is_none().then_some(first);
    }
    let (first, last) = (&processor["cls"][1], &processor["sep"][1]);
    let shown = |pieces: &[(Value, u64)]| -> Value {
        pieces.iter().map(|(what, kind)| json!([what, if typed { *kind } else { 0 }])).collect()
    };
    let token = |id: &Value| json!([id]);
    let (a, b) = (json!("A"), json!("B"));
    match processor["type"].as_str()? {
        "BertProcessing" => {
            let single = [(token(first), 0), (a, 0), (token(last), 0)];
            let second = [(b, 1), (token(last), 1)];
            Some(json!([shown(&single), shown(&[&single[..], &second].concat())]))
        }
        "RobertaProcessing" => {
            let single = [(token(first), 0), (a, 0), (token(last), 0)];
            let second = [(token(last), 0), (b, 0), (token(last), 0)];
            Some(json!([shown(&single), shown(&[&single[..], &second].concat())]))
        }
        "TemplateProcessing" => {
            let pieces = |name: &str| -> Option<Value> {
                let pieces = processor[name].as_array()?.iter().map(|piece| {
                    if let Some(text) = piece.get("Sequence") {
                        return Some((text["id"].clone(), text["type_id"].as_u64()?));
                    }
                    let token = &piece["SpecialToken"];
                    let ids = &processor["special_tokens"][token["id"].as_str()?]["ids"];
                    Some((ids.clone(), token["type_id"].as_u64()?))
                });
                Some(shown(&pieces.collect::<Option<Vec<_>>>()?))
            };
            Some(json!([pieces("single")?, pieces("pair")?]))
        }
        _ => None,
    }
}

/// Whether two values of a model's field mean the same: there is more than one way to say nothing.
pub(super) fn same_field(a: &Value, b: &Value) -> bool {
    let empty = |value: &Value| value.is_null() || *value == "" || *value == false;
    a == b || empty(a) && empty(b)
}

/// The tokens that are taken whole, in the order in which those that the vocabulary has not are
/// numbered. That a token counts as special changes no number.
pub(super) fn added(tokens: &[Value], numbers: &HashMap<&str, u64>) -> Vec<(Option<u64>, Value)> {
    let mut plain: Vec<(Option<u64>, Value)> = Vec::with_capacity(tokens.len());
    for token in tokens {
        let flag = |name: &str| token[name].as_bool().unwrap_or(false);
        let number = numbers.get(token["content"].as_str().unwrap_or_default()).copied();
        let flags = ["single_word", "lstrip", "rstrip", "normalized"].map(flag);
        plain.push((number, json!([token["content"], flags])));
    }
    plain.sort_by_key(|(number, _)| number.unwrap_or(u64::MAX));
    plain
}
