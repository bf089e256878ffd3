//! Texts to token ids, cut to a length as Hugging Face does, never padded.

use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::{
    TruncationDirection, TruncationParams, TruncationStrategy, truncate_encodings,
};

use super::tokenizer_file;
use crate::checkpoint::Fingerprint;
use crate::{Error, ErrorKind, Result, contained};

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
    /// Ids and token types that the base's embeddings have rows for.
    rows: usize,
    types: usize,
}

const OTHER_MODEL: &str = "tokenizer and weights come from different models";

impl Tokenizer {
    /// Reads `tokenizer.json` of a model folder, and from `tokenizer_config.json`, where there is
    /// one, which side of a text too long is cut.
    ///
    /// # Errors
    /// A missing or malformed file.
    pub fn open(folder: &Path) -> Result<Self> {
        let (inner, direction, fingerprint) = tokenizer_file::open(folder)?;
        Ok(Self { inner, direction, fingerprint, rows: usize::MAX, types: usize::MAX })
    }

    /// The tokenizer of the JSON that `tokenizer.json` would hold, `settings` being those of
    /// `tokenizer_config.json`; `path` is for errors.
    pub(crate) fn from_json(path: &Path, json: &Value, settings: &Value) -> Result<Self> {
        let side = tokenizer_file::side(path, settings)?;
        let (inner, direction, fingerprint) =
            tokenizer_file::parse(path, json.to_string().as_bytes(), side)?;
        Ok(Self { inner, direction, fingerprint, rows: usize::MAX, types: usize::MAX })
    }

    /// What `tokenizer.json` holds, every field in today's spelling.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(&self.inner).unwrap_or_default()
    }

    /// The side of texts too long that is cut: `left` or `right`.
    pub(crate) fn cut_side(&self) -> &str {
        self.direction.as_ref()
    }

    /// The same for the base in `folder`, whose embeddings have `rows` tokens and `types` token types.
    ///
    /// # Errors
    /// An id or a type of a text alone that has no row. Types of pairs are for
    /// [`Tokenizer::encode`] to check: a base without them takes texts alone.
    pub fn for_tables(mut self, rows: usize, types: usize, folder: &Path) -> Result<Self> {
        (self.rows, self.types) = (rows, types);
        let largest = self.inner.get_vocab(true).into_iter().max_by_key(|&(_, id)| id);
        if let Some((token, id)) = largest.filter(|&(_, id)| id as usize >= rows) {
            let message = format!(
                "{}: tokenizer.json gives {token:?} the id {id}, expected less than {rows}, the rows \
                 of the word embeddings",
                folder.display()
            );
            return Err(Error::new(ErrorKind::Base, message).with_hint(OTHER_MODEL));
        }
        // Any text shows what comes around every text.
        match contained(|| self.encode("a", None, 1 << 16)) {
            Ok(Err(error)) if error.kind() != ErrorKind::Data => Err(error),
            Ok(_) => Ok(self),
            Err(panic) => Err(tokenizer_file::malformed(&folder.join("tokenizer.json"), &panic)),
        }
    }

    /// The identity of this tokenizer: BLAKE3 of its JSON with sorted keys and no spaces, without
    /// `truncation` and `padding`, which say how it was last used and not what it is. One that cuts
    /// the left side of texts has `"truncation":{"direction":"Left"}` there.
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
    /// A `max_length` that leaves no room for text, a text that the tokenizer rejects, or one with an
    /// id or a token type that the base has no row for.
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
        let encoding = attempt().map_err(|e| {
            let start: String = text.chars().take(60).collect();
            Error::new(ErrorKind::Data, format!("cannot tokenise {start:?}: {e}")).with_source(e)
        })?;
        self.check_rows(&encoding, pair.is_some())?;
        Ok(encoding)
    }

    /// Checks that the base has a row for every id and type.
    fn check_rows(&self, encoding: &Encoding, pair: bool) -> Result<()> {
        let beyond = |ids: &[u32], rows: usize| ids.iter().copied().find(|&id| id as usize >= rows);
        if let Some(id) = beyond(&encoding.ids, self.rows) {
            let message = format!(
                "the tokenizer gives the id {id}, expected less than {}, the rows of the word \
                 embeddings",
                self.rows
            );
            return Err(Error::new(ErrorKind::Base, message).with_hint(OTHER_MODEL));
        }
        let Some(id) = beyond(&encoding.type_ids, self.types) else { return Ok(()) };
        let message = format!(
            "the tokenizer gives the token type {id}, expected less than {}, the rows of the token \
             type embeddings",
            self.types
        );
        let error = Error::new(ErrorKind::Base, message);
        Err(if pair { error.with_hint("this base takes texts alone, no pairs") } else { error })
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
