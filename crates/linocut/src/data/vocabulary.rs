//! Files of tokenizers, which anyone may have written: read up to a size, and the vocabularies from
//! before `tokenizer.json` as the model that it would hold.

use crate::checkpoint::json_object;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::{Error, ErrorKind, Result};

/// No tokenizer is near that size, and what is read takes several times its bytes.
const MOST_BYTES: u64 = 1 << 28;

/// A file's bytes; `None` where it is not there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>> {
    if !path.exists() {
        return Ok(None);
    }
    let io = |e| Error::io(path, "read", e);
    let mut bytes = Vec::new();
    File::open(path).map_err(io)?.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(io)?;
    if bytes.len() as u64 > MOST_BYTES {
        return Err(wrong(path, format!("larger than {} MB", MOST_BYTES >> 20)));
    }
    Ok(Some(bytes))
}

/// A file's JSON; null where it is not there.
pub(super) fn read_json(path: &Path) -> Result<Value> {
    let Some(bytes) = read(path)? else { return Ok(Value::Null) };
    json_object(path, &bytes)
}

/// WordPiece of `vocab.txt`: a token a line, its number the line's.
pub(super) fn word_piece(folder: &Path) -> Result<Option<Value>> {
    let path = folder.join("vocab.txt");
    let Some(text) = read_text(&path)? else { return Ok(None) };
    let mut words = Map::new();
    for (number, line) in text.lines().enumerate() {
        let word = line.trim_end();
        // No text has a blank word.
        if let Some(first) = words.insert(word.to_string(), number.into())
            && !word.is_empty()
        {
            let lines = format!("lines {} and {}", first.as_u64().unwrap_or(0) + 1, number + 1);
            return Err(wrong(&path, format!("{lines} are both {word:?}")));
        }
    }
    Ok(Some(json!({"type": "WordPiece", "vocab": words})))
}

/// Byte pairs of `vocab.json` and `merges.txt`.
pub(super) fn byte_pairs(folder: &Path) -> Result<Option<Value>> {
    let (path, beside) = (folder.join("vocab.json"), folder.join("merges.txt"));
    let Value::Object(tokens) = read_json(&path)? else { return Ok(None) };
    let mut numbers = Vec::with_capacity(tokens.len());
    for (token, number) in &tokens {
        let number = number.as_u64().and_then(|number| u32::try_from(number).ok());
        let Some(number) = number else {
            return Err(wrong(&path, format!("{token:?} has the number {}", tokens[token])));
        };
        numbers.push((number, token));
    }
    numbers.sort_unstable();
    if let Some(pair) = numbers.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        let [(number, a), (_, b)] = pair else { unreachable!("windows of two") };
        return Err(wrong(&path, format!("{a:?} and {b:?} both have the number {number}")));
    }
    let Some(text) = read_text(&beside)? else {
        return Err(wrong(&path, "there is no merges.txt beside it".into()));
    };
    let mut merges = Vec::new();
    for (line, text) in text.lines().enumerate().filter(|(_, text)| !text.starts_with("#version")) {
        let wrong = |what: String| wrong(&beside, format!("line {}: {what}", line + 1));
        let parts: Vec<&str> = text.split(' ').collect();
        let [a, b] = parts[..] else {
            return Err(wrong(format!("{text:?}, expected two tokens with one space between")));
        };
        let joined = format!("{a}{b}");
        let missing = [a, b, &joined].into_iter().find(|token| !tokens.contains_key(*token));
        if let Some(missing) = missing {
            return Err(wrong(format!("vocab.json has no token {missing:?}")));
        }
        merges.push(json!([a, b]));
    }
    Ok(Some(json!({"type": "BPE", "vocab": tokens, "merges": merges})))
}

fn read_text(path: &Path) -> Result<Option<String>> {
    let Some(bytes) = read(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes).map_err(|e| {
        wrong(path, format!("not UTF-8 at byte {}", e.utf8_error().valid_up_to())).with_source(e)
    })?;
    Ok(Some(text))
}

pub(super) fn wrong(path: &Path, what: String) -> Error {
    Error::new(ErrorKind::Base, format!("{}: {what}", path.display()))
}
