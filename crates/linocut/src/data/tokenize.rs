//! Texts to token ids, cut to a length as Hugging Face does, never padded.

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::{
    TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

use crate::checkpoint::Fingerprint;
use crate::{Error, ErrorKind, Result};

/// The tokens of one text, or of a pair of texts, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Segment of each token: 0 for the first text, 1 for the second.
    pub type_ids: Vec<u32>,
    /// Whether tokens were dropped to keep within the length asked for.
    pub cut: bool,
}

/// The tokenizer of a base: its `tokenizer.json` with truncation and padding switched off.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    direction: TruncationDirection,
    fingerprint: Fingerprint,
}

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn open(folder: &Path) -> Result<Self> {
        let path = folder.join("tokenizer.json");
        if !path.exists() {
            let message = format!("{} has no tokenizer.json", folder.display());
            return Err(Error::new(ErrorKind::Base, message).with_hint(
                "write one with: python -c \"from transformers import AutoTokenizer; \
                 AutoTokenizer.from_pretrained('.').save_pretrained('.')\"",
            ));
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let malformed = |problem: &dyn std::fmt::Display| {
            let message = format!("{} is not a tokenizer: {problem}", path.display());
            Error::new(ErrorKind::Base, message)
        };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&bytes).map_err(|e| malformed(&e).with_source(e))?;
        let direction = inner.get_truncation().map_or(TruncationDirection::Right, |t| t.direction);
        inner.with_truncation(None).map_err(|e| malformed(&e))?;
        inner.with_padding(None);
        let mut json: Value =
            serde_json::from_slice(&bytes).map_err(|e| malformed(&e).with_source(e))?;
        if let Some(fields) = json.as_object_mut() {
            fields.remove("truncation");
            fields.remove("padding");
        }
        let mut canonical = Vec::with_capacity(bytes.len());
        write_sorted(&json, &mut canonical);
        let fingerprint = Fingerprint(*blake3::hash(&canonical).as_bytes());
        Ok(Self { inner, direction, fingerprint })
    }

    /// The identity of this tokenizer: BLAKE3 of its JSON with sorted keys and no spaces, without
    /// `truncation` and `padding`, which say how it was last used and not what it is.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Number of tokens it knows, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The tokens of `text`, or of `text` and `pair`, at most `max_length` of them.
    ///
    /// A text too long keeps its first tokens; of a pair the longer text is cut first, as
    /// `truncation="longest_first"`. That `max_length` fits the base's positions is for the caller
    /// to check.
    ///
    /// # Errors
    /// A `max_length` that leaves no room for text, or a text that the tokenizer rejects.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        let processor = self.inner.get_post_processor();
        let special = processor.map_or(0, |p| p.added_tokens(pair.is_some()));
        let texts = 1 + usize::from(pair.is_some());
        if max_length < special + texts {
            let message = format!(
                "a maximum length of {max_length} leaves no room for {}: expected at least {}",
                if texts == 1 { "text" } else { "two texts" },
                special + texts,
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let attempt = || -> tokenizers::Result<Encoding> {
            // Special tokens come after cutting, as they are never cut.
            let first = self.inner.encode_fast(text, false)?;
            let second = match pair {
                None => None,
                Some(pair) => {
                    let mut second = self.inner.encode_fast(pair, false)?;
                    second.set_type_ids(vec![1; second.len()]);
                    Some(second)
                }
            };
            let tokens = first.len() + second.as_ref().map_or(0, |s| s.len());
            let room = max_length - special;
            let params = TruncationParams {
                direction: self.direction,
                max_length: room,
                strategy: TruncationStrategy::LongestFirst,
                stride: 0,
            };
            let (first, second) = truncate_encodings(first, second, &params)?;
            let whole = match processor {
                Some(processor) => processor.process(first, second, true)?,
                None => tokenizers::Encoding::merge(std::iter::once(first).chain(second), false),
            };
            Ok(Encoding {
                ids: whole.get_ids().to_vec(),
                type_ids: whole.get_type_ids().to_vec(),
                cut: tokens > room,
            })
        };
        attempt().map_err(|e| {
            let start: String = text.chars().take(60).collect();
            Error::new(ErrorKind::Data, format!("cannot tokenise {start:?}: {e}")).with_source(e)
        })
    }

    /// [`Tokenizer::encode`] of many texts on all threads, in their order, and how many were cut.
    ///
    /// # Errors
    /// As for one text; the first one in order of rows.
    ///
    /// # Panics
    /// If there are pairs, and not one for each text.
    pub fn encode_all(
        &self,
        texts: &[String],
        pairs: Option<&[String]>,
        max_length: usize,
    ) -> Result<(Vec<Encoding>, usize)> {
        assert!(pairs.is_none_or(|p| p.len() == texts.len()), "every text needs its pair");
        let encoded: Vec<Result<Encoding>> = (0..texts.len())
            .into_par_iter()
            .with_min_len(64)
            .map(|i| self.encode(&texts[i], pairs.map(|p| p[i].as_str()), max_length))
            .collect();
        let encoded = encoded.into_iter().collect::<Result<Vec<_>>>()?;
        let cut = encoded.iter().filter(|e| e.cut).count();
        Ok((encoded, cut))
    }
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
