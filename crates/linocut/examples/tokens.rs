//! The tokens of texts by the tokenizer of a model folder, to compare with those of other programs.
//!
//! `tokens FOLDER`: reads a JSON list of one or two texts a line, and writes a line
//! `[[ids], [types]]` for each.

use std::io::{Write, stdin, stdout};

use linocut::data::Tokenizer;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1).ok_or("usage: tokens FOLDER")?;
    let tokenizer = Tokenizer::open(folder.as_ref())?;
    let mut out = stdout().lock();
    for line in stdin().lines() {
        let texts: Vec<String> = serde_json::from_str(&line?)?;
        let [text, pair @ ..] = &texts[..] else { return Err("expected one text or two".into()) };
        let encoding = tokenizer.encode(text, pair.first().map(String::as_str), 1 << 20)?;
        writeln!(out, "{}", serde_json::json!([encoding.ids, encoding.type_ids]))?;
    }
    Ok(())
}
