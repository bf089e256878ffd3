//! A text read bit by bit, no further than it is kept.

use std::ops::Range;

use tokenizers::utils::truncation::TruncationDirection;

use super::super::table::data_error;
use super::Tokenizer;
use crate::Result;

/// One text, read from one end.
pub(super) struct Reading<'a> {
    tokenizer: &'a Tokenizer,
    text: &'a str,
    /// The end that is cut, at the other of which reading begins.
    cut: TruncationDirection,
    /// What is not read yet.
    pub(super) rest: Range<usize>,
    /// Tokens that a text may keep.
    room: usize,
    /// The tokens read, but of those beyond the room only one.
    pub(super) ids: Vec<u32>,
    /// How many were read.
    pub(super) count: usize,
}

impl<'a> Reading<'a> {
    pub(super) fn new(
        tokenizer: &'a Tokenizer,
        text: &'a str,
        room: usize,
        cut: TruncationDirection,
    ) -> Self {
        Self { tokenizer, text, cut, rest: 0..text.len(), room, ids: Vec::new(), count: 0 }
    }

    pub(super) fn is_done(&self) -> bool {
        self.rest.is_empty()
    }

    /// Reads until there are more tokens than there is room for, or all.
    pub(super) fn beyond_room(&mut self) -> Result<()> {
        while self.count <= self.room && !self.is_done() {
            // A word and its space take about so many bytes a token.
            self.advance(64 + 6 * (self.room - self.count))?;
        }
        if self.count > 0 {
            return Ok(());
        }
        let message = match self.text.trim().is_empty() {
            true => "empty text".to_string(),
            false => format!("the tokenizer finds no token in {}", self.shown()),
        };
        Err(data_error(message).with_hint("there is nothing to label in an empty text"))
    }

    /// Reads `bytes` more, and on to a place where the text may be parted.
    pub(super) fn advance(&mut self, bytes: usize) -> Result<()> {
        let Range { start, end } = self.rest.clone();
        let whole = bytes >= end - start;
        let part = match (&self.tokenizer.places, self.cut) {
            (Some(places), TruncationDirection::Right) if !whole => {
                start..places.next(&self.text[..end], start + bytes)
            }
            (Some(places), TruncationDirection::Left) if !whole => {
                places.last(&self.text[start..], end - start - bytes) + start..end
            }
            _ => start..end,
        };
        let tokens = self
            .tokenizer
            .contained(|| self.tokenizer.inner.encode_fast(&self.text[part.clone()], false));
        let tokens = tokens.map_err(|problem| {
            data_error(format!("cannot tokenise {}: {problem}", self.shown())).with_hint(
                "change the text; or the added tokens in the base's tokenizer.json, if it was altered",
            )
        })?;
        let new = tokens.get_ids();
        self.count += new.len();
        let missing = (self.room + 1).saturating_sub(self.ids.len()).min(new.len());
        match self.cut {
            TruncationDirection::Right => {
                self.ids.extend_from_slice(&new[..missing]);
                self.rest.start = part.end;
            }
            TruncationDirection::Left => {
                self.ids.splice(0..0, new[new.len() - missing..].iter().copied());
                self.rest.end = part.start;
            }
        }
        Ok(())
    }

    /// The text's start, for messages.
    pub(super) fn shown(&self) -> String {
        format!("{:?}", self.text.chars().take(60).collect::<String>())
    }
}
