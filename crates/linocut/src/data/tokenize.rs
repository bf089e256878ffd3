//! Texts to token ids, cut to a length as Hugging Face does, never padded.

mod reading;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;
use serde_json::Value;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::TruncationDirection;

use reading::Reading;

use super::extent::{Extent, Long, Texts, most_in_windows, windows};
use super::sure::SurePlaces;
use super::table::data_error;
use super::tokenizer_folder::{self, Sources};
use super::tokenizer_meaning::around;
use super::{tokenizer_file, vocabulary};
use crate::checkpoint::Fingerprint;
use crate::{Error, ErrorKind, Result, contained};

/// Bytes that are tokenised at one time where tokens are only counted.
const COUNTED_AT_ONCE: usize = 4096;

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

/// What was read of a text, or of two: the tokens that may be kept, and one more where there are more.
struct Tokens {
    first: Vec<u32>,
    second: Option<Vec<u32>>,
    first_is_longer: bool,
    /// The side that is cut.
    cut: TruncationDirection,
}

/// The tokenizer of a model folder, with truncation and padding switched off.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    direction: TruncationDirection,
    /// Where texts may be parted before they are tokenised.
    places: Option<SurePlaces>,
    fingerprint: Fingerprint,
    /// The identity with token types all 0, where the file gives others and its class none.
    untyped: Option<Fingerprint>,
    earlier: Option<Earlier>,
    /// What `tokenizer.json` would hold, where there is none.
    made: Option<Value>,
    class: String,
    typed: bool,
    /// Ids and token types that the base's embeddings have rows for.
    rows: usize,
    types: usize,
}

/// What a tokenizer was taken for before linocut read all of its folder: `tokenizer.json` alone.
pub(crate) struct Earlier {
    pub(crate) fingerprint: Fingerprint,
    /// What of it is otherwise now; nothing where the types of pairs are all.
    pub(crate) parts: Vec<&'static str>,
}

const OTHER_MODEL: &str = "tokenizer and weights come from different models";

impl Tokenizer {
    /// Reads the tokenizer of a model folder as Transformers does: `tokenizer.json`, or in its place
    /// `vocab.txt`, or `vocab.json` and `merges.txt`; and on top of either what
    /// `tokenizer_config.json`, `special_tokens_map.json` and `added_tokens.json` say, as far as the class
    /// that reads it heeds them.
    ///
    /// # Errors
    /// A missing or malformed file, or a kind of vocabulary that is not read.
    pub fn open(folder: &Path) -> Result<Self> {
        let found = Self::find(folder)?;
        found.map(|(tokenizer, _)| tokenizer).ok_or_else(|| tokenizer_folder::nothing(folder))
    }

    /// The same with where everything is said; `None` where the folder has no tokenizer at all.
    pub(crate) fn find(folder: &Path) -> Result<Option<(Self, Sources)>> {
        let Some(found) = tokenizer_folder::find(folder)? else { return Ok(None) };
        let (path, mut json) = (found.path, found.json);
        let side = tokenizer_file::side(&folder.join(tokenizer_folder::SETTINGS), &found.settings)?;
        let changed = !found.sources.parts.is_empty();
        let old = found.bytes.is_none();
        let (inner, direction) = match &found.bytes {
            Some(bytes) if !changed => tokenizer_file::parse(&path, bytes, side)?,
            _ => tokenizer_file::parse(&path, json.to_string().as_bytes(), side)?,
        };
        let earlier = match found.bytes.filter(|_| changed) {
            Some(_) => {
                let mut file = vocabulary::read_json(&path)?;
                let fingerprint = tokenizer_file::identity(&mut file, direction, true);
                Some(Earlier { fingerprint, parts: found.sources.parts.clone() })
            }
            None => None,
        };
        let has_types =
            around(&json["post_processor"], true) != around(&json["post_processor"], false);
        let made = old.then(|| json.clone());
        let fingerprint = tokenizer_file::identity(&mut json, direction, true);
        let untyped = (has_types && !found.typed)
            .then(|| tokenizer_file::identity(&mut json, direction, false));
        let tokenizer = Self {
            places: SurePlaces::of(&inner),
            inner,
            direction,
            fingerprint,
            untyped,
            earlier,
            made,
            class: found.class,
            typed: found.typed,
            rows: usize::MAX,
            types: usize::MAX,
        };
        Ok(Some((tokenizer, found.sources)))
    }

    /// What its `tokenizer.json` would hold, where its folder has another vocabulary alone.
    pub fn made(&self) -> Option<&Value> {
        self.made.as_ref()
    }

    /// What its `tokenizer.json` holds, or would, every field in today's spelling.
    pub(crate) fn to_json(&self) -> Value {
        serde_json::to_value(&self.inner).unwrap_or_default()
    }

    /// The class of Transformers that reads its folder.
    pub fn class(&self) -> &str {
        &self.class
    }

    /// Whether tokens have types, as far as the base has any.
    pub fn is_typed(&self) -> bool {
        self.typed
    }

    /// What it was taken for before all of its folder was read, where that is something else.
    pub(crate) fn earlier(&self) -> Option<&Earlier> {
        self.earlier.as_ref()
    }

    /// The side of texts too long that is cut: `left` or `right`.
    pub(crate) fn cut_side(&self) -> &str {
        self.direction.as_ref()
    }

    /// The same for the base in `folder`, whose embeddings have `rows` tokens and `types` token types;
    /// with none, all are of type 0, which nothing reads.
    ///
    /// # Errors
    /// An id or a type of a text alone that has no row. Types of pairs are for
    /// [`Tokenizer::encode`] to check: a base without them takes texts alone.
    pub fn for_tables(mut self, rows: usize, types: usize, folder: &Path) -> Result<Self> {
        (self.rows, self.types) = (rows, types);
        // Without types in the base it does not matter whether a tokenizer gives any.
        if let Some(untyped) = self.untyped.filter(|_| types > 1) {
            let fingerprint = std::mem::replace(&mut self.fingerprint, untyped);
            self.earlier.get_or_insert(Earlier { fingerprint, parts: Vec::new() });
        }
        let largest = self.inner.get_vocab(true).into_iter().max_by_key(|&(_, id)| id);
        if let Some((token, id)) = largest.filter(|&(_, id)| id as usize >= rows) {
            let message = format!(
                "{}: its tokenizer gives {token:?} the id {id}, expected less than {rows}, the rows \
                 of the word embeddings",
                folder.display()
            );
            return Err(Error::new(ErrorKind::Base, message).with_hint(OTHER_MODEL));
        }
        // Any text shows what comes around every text.
        match contained(|| self.encode("a", None, 1 << 16)) {
            Ok(Err(error)) if error.kind() != ErrorKind::Data => Err(error),
            Ok(_) => Ok(self),
            Err(panic) => {
                Err(tokenizer_file::malformed(&folder.join(tokenizer_folder::MAIN_FILE), &panic))
            }
        }
    }

    /// The same for a model without token types, which all its tokens' are 0 for.
    pub(crate) fn without_types(self) -> Self {
        Self { types: 0, ..self }
    }

    /// The identity of this tokenizer: BLAKE3 of its JSON with sorted keys and no spaces, without
    /// `truncation` and `padding`, which say how it was last used and not what it is. One that cuts
    /// the left side of texts has `"truncation":{"direction":"Left"}` there, and one of a base with token
    /// types whose class hands on none, though the file gives some, `"types":0`.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// Number of tokens it knows, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The tokens of `text`, or of `text` and `pair`, at most `max_length` of them.
    ///
    /// A text too long keeps its first tokens, or its last where the tokenizer's file says so; of a
    /// pair the longer text is cut first, as `truncation="longest_first"`. That `max_length` fits the
    /// base's positions is for the caller to check.
    ///
    /// # Errors
    /// A text without a token of its own (blank, or nothing but invisible characters), one that the
    /// tokenizer rejects or panics on, a `max_length` that leaves no room for text, a tokenizer that fails to add its
    /// special tokens, or an id or a token type that the base has no row for.
    pub fn encode(&self, text: &str, pair: Option<&str>, max_length: usize) -> Result<Encoding> {
        let room = self.room(pair.is_some(), max_length)?;
        self.cut(&self.read(text, pair, room, self.direction)?, room)
    }

    /// As many tokens of `text`, or of `text` and `pair`, as `room` for them needs where `cut` is the side that is
    /// cut. What lies beyond is not tokenised, but for two exceptions: tokenizers of another kind than BERT's, and the
    /// shorter of two texts that are both cut, since the longer may keep one token more.
    fn read(
        &self,
        text: &str,
        pair: Option<&str>,
        room: usize,
        cut: TruncationDirection,
    ) -> Result<Tokens> {
        let mut first = Reading::new(self, text, room, cut);
        first.beyond_room()?;
        let mut second = pair.map(|pair| Reading::new(self, pair, room, cut));
        if let Some(second) = &mut second {
            second.beyond_room()?;
            // Until one is known to be the longer, or both are read whole.
            loop {
                let behind = match first.count <= second.count {
                    true if !first.is_done() => &mut first,
                    false if !second.is_done() => second,
                    true if first.count == second.count && !second.is_done() => second,
                    _ => break,
                };
                behind.advance(COUNTED_AT_ONCE)?;
            }
        }
        let first_is_longer = second.as_ref().is_some_and(|second| first.count > second.count);
        let second = second.map(|second| second.ids);
        Ok(Tokens { first: first.ids, second, first_is_longer, cut })
    }

    /// As many tokens as there is `room` for, of what was read for this room or more.
    fn cut(&self, tokens: &Tokens, room: usize) -> Result<Encoding> {
        let Tokens { first, second, first_is_longer, cut } = tokens;
        let (one, two) = (first.len(), second.as_ref().map_or(0, Vec::len));
        let (keep_one, keep_two) = match second {
            _ if one + two <= room => (one, two),
            None => (room, 0),
            Some(_) if *first_is_longer => {
                let (two, one) = longest_first(two, room);
                (one, two)
            }
            Some(_) => longest_first(one, room),
        };
        let part = |ids: &[u32], keep: usize| match cut {
            TruncationDirection::Right => ids[..keep].to_vec(),
            TruncationDirection::Left => ids[ids.len() - keep..].to_vec(),
        };
        let second = second.as_ref().map(|ids| part(ids, keep_two));
        self.whole(part(first, keep_one), second, one + two > room)
    }

    /// The sequence of these tokens of a text or two. Special tokens come here, as they are never cut.
    fn whole(&self, first: Vec<u32>, second: Option<Vec<u32>>, cut: bool) -> Result<Encoding> {
        let is_pair = second.is_some();
        let parts = (plain(first, 0), second.map(|ids| plain(ids, 1)));
        let whole = self.contained(|| match self.inner.get_post_processor() {
            Some(processor) => processor.process(parts.0, parts.1, true),
            None => Ok(tokenizers::Encoding::merge(std::iter::once(parts.0).chain(parts.1), false)),
        });
        let whole = whole.map_err(|problem| {
            let what = if is_pair { "two texts" } else { "a text" };
            data_error(format!("the tokenizer cannot add its special tokens to {what}: {problem}"))
                .with_hint(
                    "its tokenizer.json is damaged, or of another kind than this library knows",
                )
        })?;
        let encoding =
            Encoding { ids: whole.get_ids().to_vec(), type_ids: self.type_ids(&whole), cut };
        self.check_rows(&encoding, is_pair)?;
        Ok(encoding)
    }

    /// What is read of `text`, or of `text` and `pair`, in each of the `extents`: a sequence, or of a longer text
    /// in windows some. Each text is tokenised once from each end that is read, as far as the greatest extent goes.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; pairs of which other parts are to be read than the beginnings or the ends.
    pub fn sequences(
        &self,
        text: &str,
        pair: Option<&str>,
        extents: &BTreeSet<Extent>,
    ) -> Result<BTreeMap<Extent, Vec<Encoding>>> {
        let is_pair = pair.is_some();
        // What is cut, the most tokens that are kept at the other end, and what was read there.
        let (mut right, mut left) = (None::<usize>, None::<usize>);
        for extent in extents {
            let room = self.room(is_pair, extent.max_length)?;
            let long = self.long(extent);
            long.check_for(is_pair)?;
            let (from_head, from_tail) = match long {
                Long::Head => (Some(room), None),
                Long::Tail => (None, Some(room)),
                Long::HeadTail => (Some(room), Some(room)),
                Long::Windows => (Some(most_in_windows(room)), None),
            };
            (right, left) = (right.max(from_head), left.max(from_tail));
        }
        let read = |room: Option<usize>, cut| {
            room.map(|room| self.read(text, pair, room, cut)).transpose()
        };
        let head = read(right, TruncationDirection::Right)?;
        let tail = read(left, TruncationDirection::Left)?;
        let sequences = |extent: &Extent| -> Result<Vec<Encoding>> {
            let room = self.room(is_pair, extent.max_length)?;
            match (self.long(extent), &head, &tail) {
                (Long::Head, Some(tokens), _) | (Long::Tail, _, Some(tokens)) => {
                    Ok(vec![self.cut(tokens, room)?])
                }
                (Long::HeadTail, Some(head), Some(tail)) => {
                    let (head, tail) = (&head.first, &tail.first);
                    if head.len() <= room {
                        return Ok(vec![self.whole(head.clone(), None, false)?]);
                    }
                    let first = room / 4;
                    let ids = [&head[..first], &tail[tail.len() - (room - first)..]].concat();
                    Ok(vec![self.whole(ids, None, true)?])
                }
                (Long::Windows, Some(head), _) => {
                    let kept = head.first.len().min(most_in_windows(room));
                    let cut = head.first.len() > kept;
                    let part = |at: Range<usize>| self.whole(head.first[at].to_vec(), None, cut);
                    windows(kept, room).into_iter().map(part).collect()
                }
                _ => unreachable!("every end that is kept was read"),
            }
        };
        extents.iter().map(|extent| Ok((*extent, sequences(extent)?))).collect()
    }

    /// The part that is read of a longer text.
    fn long(&self, extent: &Extent) -> Long {
        extent.long.unwrap_or(match self.direction {
            TruncationDirection::Right => Long::Head,
            TruncationDirection::Left => Long::Tail,
        })
    }

    /// The token types, all 0 where base or tokenizer have none.
    fn type_ids(&self, whole: &tokenizers::Encoding) -> Vec<u32> {
        let types = whole.get_type_ids();
        if self.types == 0 || !self.typed { vec![0; types.len()] } else { types.to_vec() }
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
        let Some(id) = beyond(&encoding.type_ids, self.types.max(1)) else { return Ok(()) };
        let message = format!(
            "the tokenizer gives the token type {id}, expected less than {}, the rows of the token \
             type embeddings",
            self.types
        );
        let error = Error::new(ErrorKind::Base, message);
        Err(if pair { error.with_hint("this base takes texts alone, no pairs") } else { error })
    }

    /// Tokens of the texts themselves among `max_length`.
    fn room(&self, pair: bool, max_length: usize) -> Result<usize> {
        let processor = self.inner.get_post_processor();
        let special = processor.map_or(0, |p| p.added_tokens(pair));
        let texts = 1 + usize::from(pair);
        if max_length >= special + texts {
            return Ok(max_length - special);
        }
        let message = format!(
            "a maximum length of {max_length} leaves no room for {}: expected at least {}",
            if pair { "two texts" } else { "text" },
            special + texts,
        );
        Err(Error::new(ErrorKind::Config, message))
    }

    /// What `work` of the tokenizers library gives, its errors and panics as text.
    fn contained<T>(
        &self,
        work: impl FnOnce() -> tokenizers::Result<T>,
    ) -> std::result::Result<T, String> {
        match contained(work) {
            Ok(outcome) => outcome.map_err(|e| e.to_string()),
            Err(panic) => Err(format!("its library ended with a panic: {panic}")),
        }
    }

    /// What is read in `extent` of many texts on all threads, in their order.
    ///
    /// # Errors
    /// As [`Tokenizer::sequences`]; of a text the first one in order of rows, which it names by its number among them,
    /// from 1.
    ///
    /// # Panics
    /// If there are pairs, and not one for each text.
    pub fn encode_all(
        &self,
        texts: &[String],
        pairs: Option<&[String]>,
        extent: impl Into<Extent>,
    ) -> Result<Texts> {
        assert!(pairs.is_none_or(|p| p.len() == texts.len()), "every text needs its pair");
        let extents = BTreeSet::from([extent.into()]);
        let one = |i: usize| {
            let found = self.sequences(&texts[i], pairs.map(|p| p[i].as_str()), &extents)?;
            Ok(found.into_values().flatten().collect())
        };
        let encoded: Vec<Result<Vec<Encoding>>> =
            (0..texts.len()).into_par_iter().with_min_len(64).map(one).collect();
        let placed = |(i, encoded): (usize, Result<Vec<Encoding>>)| {
            encoded.map_err(|e| match e.kind() {
                ErrorKind::Data => e.at(format!("text {} of {}", i + 1, texts.len())),
                _ => e,
            })
        };
        let encoded = encoded.into_iter().enumerate().map(placed).collect::<Result<Vec<_>>>()?;
        Ok(Texts::new(encoded))
    }
}

/// How many tokens of the shorter text, of `shorter`, and of the longer are kept of two that have
/// more than `room` together.
fn longest_first(shorter: usize, room: usize) -> (usize, usize) {
    if 2 * shorter <= room { (shorter, room - shorter) } else { (room / 2, room.div_ceil(2)) }
}

/// Tokens as the library has them, without what it would need to find them in the text.
fn plain(ids: Vec<u32>, segment: u32) -> tokenizers::Encoding {
    let n = ids.len();
    tokenizers::Encoding::new(
        ids,
        vec![segment; n],
        vec![String::new(); n],
        vec![None; n],
        vec![(0, 0); n],
        vec![0; n],
        vec![1; n],
        vec![],
        Default::default(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// However long a text is, and whatever it is a flood of.
    #[test]
    fn what_is_not_needed_is_not_read() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/tiny");
        let tokenizer = Tokenizer::open(Path::new(folder)).unwrap();
        for direction in [TruncationDirection::Right, TruncationDirection::Left] {
            for piece in ["rain ", ".", "]", "[", "a.", "]é", "漢", "。", "a\u{3000}", "_"] {
                let text = piece.repeat(30_000);
                let mut reading = Reading::new(&tokenizer, &text, 10, direction);
                reading.beyond_room().unwrap();
                let read = text.len() - reading.rest.len();
                assert!(read < 400 && reading.ids.len() == 11, "{piece:?}: {read}");
            }
        }
    }
}
