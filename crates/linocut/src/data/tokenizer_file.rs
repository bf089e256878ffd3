//! Reading `tokenizer.json`, which anyone may have written.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Value, json};
use tokenizers::utils::truncation::TruncationDirection;

use crate::checkpoint::Fingerprint;
use crate::{Error, ErrorKind, Result, contained};

/// A tokenizer without truncation and padding, and the side it cuts.
pub(super) type Parts = (tokenizers::Tokenizer, TruncationDirection);

/// The side of texts too long that settings say to cut; it goes before `tokenizer.json`'s.
pub(super) fn side(path: &Path, settings: &Value) -> Result<Option<TruncationDirection>> {
    match &settings["truncation_side"] {
        Value::Null => Ok(None),
        Value::String(side) if side == "right" => Ok(Some(TruncationDirection::Right)),
        Value::String(side) if side == "left" => Ok(Some(TruncationDirection::Left)),
        other => {
            let path = path.display();
            let message = format!("{path}: truncation_side is {other}, expected left or right");
            Err(Error::new(ErrorKind::Base, message))
        }
    }
}

/// Makes a tokenizer of its JSON, as text; `side` goes before what that says. `path` is for errors.
pub(super) fn parse(path: &Path, bytes: &[u8], side: Option<TruncationDirection>) -> Result<Parts> {
    let malformed = |problem: &dyn Display| malformed(path, problem);
    let read = contained(|| tokenizers::Tokenizer::from_bytes(bytes));
    let mut inner =
        read.map_err(|panic| malformed(&panic))?.map_err(|e| malformed(&e).with_source(e))?;
    let its = inner.get_truncation().map_or(TruncationDirection::Right, |t| t.direction);
    let direction = side.unwrap_or(its);
    inner.with_truncation(None).map_err(|e| malformed(&e))?;
    inner.with_padding(None);
    if let Some(processor) = inner.get_post_processor() {
        let processor = serde_json::to_value(processor).unwrap_or_default();
        check_templates(&processor).map_err(|problem| malformed(&problem))?;
    }
    Ok((inner, direction))
}

/// The identity of the tokenizer that `json` describes and that cuts this side of texts; see
/// [`super::Tokenizer::fingerprint`]. `typed` says whether its tokens have the types that it gives.
pub(super) fn identity(
    json: &mut Value,
    direction: TruncationDirection,
    typed: bool,
) -> Fingerprint {
    if let Some(fields) = json.as_object_mut() {
        fields.remove("truncation");
        fields.remove("padding");
        if direction == TruncationDirection::Left {
            fields.insert("truncation".into(), json!({"direction": "Left"}));
        }
        if !typed {
            fields.insert("types".into(), json!(0));
        }
    }
    let mut canonical = Vec::new();
    write_sorted(json, &mut canonical);
    Fingerprint(*blake3::hash(&canonical).as_bytes())
}

/// What is not a tokenizer, and why.
pub(super) fn malformed(path: &Path, problem: &dyn Display) -> Error {
    Error::new(ErrorKind::Base, format!("{} is not a tokenizer: {problem}", path.display()))
}

/// Checks that templates take the texts they are given, and that the one of single texts defines the
/// tokens it names: the `tokenizers` crate finds out at the first text, with a panic. A pair's
/// undefined token is an error of the pair, since single texts do well without.
fn check_templates(processor: &Value) -> std::result::Result<(), String> {
    for part in processor["processors"].as_array().into_iter().flatten() {
        check_templates(part)?;
    }
    let defined = &processor["special_tokens"];
    for (name, texts) in [("single", &["A"][..]), ("pair", &["A", "B"])] {
        let Some(pieces) = processor[name].as_array() else { continue };
        for token in pieces.iter().filter_map(|piece| piece["SpecialToken"]["id"].as_str()) {
            if name == "single" && defined.get(token).is_none() {
                return Err(format!(
                    "its post_processor's template for {name} has the token {token:?}, which its \
                     special_tokens do not define"
                ));
            }
        }
        let mut found: Vec<&str> =
            pieces.iter().filter_map(|piece| piece["Sequence"]["id"].as_str()).collect();
        found.sort_unstable();
        if found != texts {
            return Err(format!(
                "its post_processor's template for {name} has the texts {found:?}, expected {texts:?}"
            ));
        }
    }
    Ok(())
}

/// JSON without spaces and with the keys of every object sorted bytewise.
fn write_sorted(value: &Value, out: &mut Vec<u8>) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(key, _)| key.as_str());
            out.push(b'{');
            for (i, (key, field)) in fields.into_iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                out.extend_from_slice(Value::from(key.as_str()).to_string().as_bytes());
                out.push(b':');
                write_sorted(field, out);
            }
            out.push(b'}');
        }
        Value::Array(items) => {
            out.push(b'[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(b',');
                }
                write_sorted(item, out);
            }
            out.push(b']');
        }
        plain => out.extend_from_slice(plain.to_string().as_bytes()),
    }
}
