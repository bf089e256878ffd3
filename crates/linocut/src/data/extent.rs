//! How much of a text is read, and which part of one that is longer.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::tokenize::Encoding;
use crate::{Error, ErrorKind, Result};

/// Which part of a text is read where it is longer than what is read at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Long {
    /// Its first tokens.
    #[serde(rename = "head")]
    Head,
    /// Its last tokens.
    #[serde(rename = "tail")]
    Tail,
    /// A quarter of the tokens from its beginning and three from its end, as Sun et al. 2019 did (128 and 382 of 510).
    #[serde(rename = "head+tail")]
    HeadTail,
    /// Overlapping windows from its beginning on, [`Long::WINDOWS`] at most, the last of them ending where it ends.
    /// What the head reads is the mean of their vectors, so that logits are the mean of the windows' logits.
    #[serde(rename = "windows")]
    Windows,
}

impl Long {
    /// Most windows of a text; what is longer is cut.
    pub const WINDOWS: usize = 8;

    /// All of them.
    pub const ALL: [Long; 4] = [Long::Head, Long::Tail, Long::HeadTail, Long::Windows];

    /// As it is written in cards and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Long::Head => "head",
            Long::Tail => "tail",
            Long::HeadTail => "head+tail",
            Long::Windows => "windows",
        }
    }

    /// Checks that pairs of texts, where it is about such, can be read so.
    ///
    /// # Errors
    /// Of pairs only the beginnings or the ends can be read.
    pub fn check_for(self, pairs: bool) -> Result<()> {
        match self {
            Long::HeadTail | Long::Windows if pairs => {
                let message =
                    format!("`long={}` is for texts alone, found pairs of texts", self.name());
                Err(Error::new(ErrorKind::Config, message)
                    .with_hint("head and tail are for pairs, too"))
            }
            _ => Ok(()),
        }
    }
}

/// How much of a text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Extent {
    /// Most tokens of a sequence, special ones included.
    pub max_length: usize,
    /// Which part; as the tokenizer's own files say, mostly the head, where nothing is said.
    pub long: Option<Long>,
}

impl Extent {
    /// Most tokens that are read of a text.
    pub fn most_tokens(&self) -> usize {
        let sequences = if self.long == Some(Long::Windows) { Long::WINDOWS } else { 1 };
        self.max_length * sequences
    }
}

impl fmt::Display for Extent {
    /// As people say it: `128 tokens`, `8 windows of 128 tokens`.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.long == Some(Long::Windows) {
            write!(out, "{} windows of ", Long::WINDOWS)?;
        }
        write!(out, "{} tokens", self.max_length)
    }
}

impl From<usize> for Extent {
    /// So many tokens, of the side that the tokenizer says.
    fn from(max_length: usize) -> Self {
        Self { max_length, long: None }
    }
}

/// Where windows of `room` tokens lie in `tokens` of them: a quarter of each is read again by the next.
pub(super) fn windows(tokens: usize, room: usize) -> Vec<Range<usize>> {
    let stride = stride(room);
    let beyond = tokens.saturating_sub(room);
    let starts = (0..=beyond.div_ceil(stride)).map(|i| (i * stride).min(beyond));
    starts.map(|start| start..(start + room).min(tokens)).collect()
}

/// Most tokens in windows of `room`.
pub(super) fn most_in_windows(room: usize) -> usize {
    room + (Long::WINDOWS - 1) * stride(room)
}

fn stride(room: usize) -> usize {
    room - room / 4
}

/// Texts in tokens.
#[derive(Debug)]
pub struct Texts {
    /// Of every text one sequence, or in windows some, one text's after the other's.
    pub sequences: Vec<Encoding>,
    /// Which sequence each text begins with, and the number of all: `[texts + 1]`.
    starts: Vec<usize>,
    /// Texts of which not all was read.
    pub cut: usize,
}

impl Texts {
    /// Those of each text.
    pub(crate) fn new(texts: Vec<Vec<Encoding>>) -> Self {
        let cut = texts.iter().filter(|text| text.iter().any(|sequence| sequence.cut)).count();
        let mut starts = vec![0];
        let mut sequences = Vec::with_capacity(texts.len());
        for text in texts {
            sequences.extend(text);
            starts.push(sequences.len());
        }
        Self { sequences, starts, cut }
    }

    /// These, and `more` after them.
    pub(crate) fn and(&self, more: &Self) -> Self {
        let sequences: Vec<Encoding> =
            self.sequences.iter().chain(&more.sequences).cloned().collect();
        let later = more.starts[1..].iter().map(|start| self.sequences.len() + start);
        let starts = self.starts.iter().copied().chain(later).collect();
        Self { sequences, starts, cut: self.cut + more.cut }
    }

    /// Tokens of each text.
    pub fn tokens(&self) -> impl Iterator<Item = usize> {
        let each = self.starts.windows(2).map(|of| &self.sequences[of[0]..of[1]]);
        each.map(|of| of.iter().map(|sequence| sequence.ids.len()).sum())
    }

    /// The sequences of text `i`.
    pub fn of(&self, i: usize) -> Range<usize> {
        self.starts[i]..self.starts[i + 1]
    }

    /// The means of `values`, `[sequences, width]`, over the sequences of each text, `[texts, width]`.
    pub fn means(&self, values: Vec<f32>, width: usize) -> Vec<f32> {
        if self.sequences.len() + 1 == self.starts.len() {
            return values;
        }
        let counts: Vec<usize> = self.starts.windows(2).map(|s| s[1] - s[0]).collect();
        means(&values, width, &counts)
    }
}

/// Means over groups of so many rows of `values`, `[rows, width]`, one after the other: `[groups, width]`.
pub(crate) fn means(values: &[f32], width: usize, counts: &[usize]) -> Vec<f32> {
    let mut rows = values.chunks_exact(width);
    let mut means = Vec::with_capacity(counts.len() * width);
    for &count in counts {
        let mut sum = vec![0f64; width];
        for row in rows.by_ref().take(count) {
            sum.iter_mut().zip(row).for_each(|(sum, &value)| *sum += f64::from(value));
        }
        means.extend(sum.iter().map(|sum| (sum / count as f64) as f32));
    }
    means
}

/// The gradient of the rows that [`means`] took, from that of the means, `[groups, width]`: each group's, by its size.
pub(crate) fn means_grad(grad: &[f32], width: usize, counts: &[usize]) -> Vec<f32> {
    let mut rows = Vec::with_capacity(counts.iter().sum::<usize>() * width);
    for (grad, &count) in grad.chunks_exact(width).zip(counts) {
        for _ in 0..count {
            rows.extend(grad.iter().map(|g| g / count as f32));
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_cover_a_text_and_overlap_by_a_quarter() {
        assert_eq!(windows(9, 8), [0..8, 1..9]);
        assert_eq!(windows(20, 8), [0..8, 6..14, 12..20]);
        assert_eq!(windows(21, 8), [0..8, 6..14, 12..20, 13..21]);
        assert_eq!(windows(3, 1), [0..1, 1..2, 2..3]);
        for room in 1..40 {
            let most = most_in_windows(room);
            assert_eq!(windows(most, room).len(), Long::WINDOWS);
            for tokens in 1..=most {
                let found = windows(tokens, room);
                assert!(found.len() <= Long::WINDOWS);
                assert_eq!((found[0].start, found[found.len() - 1].end), (0, tokens));
                assert!(found.windows(2).all(|w| w[1].start <= w[0].end && w[0].end < w[1].end));
                assert!(found.iter().all(|w| w.len() == room.min(tokens)));
            }
        }
    }

    #[test]
    fn means_and_their_gradient() {
        let values = [1.0, 2.0, 3.0, 4.0, 8.0, 0.0];
        assert_eq!(means(&values, 2, &[1, 2]), [1.0, 2.0, 5.5, 2.0]);
        assert_eq!(means_grad(&[1.0, 2.0, 4.0, 6.0], 2, &[1, 2]), [1.0, 2.0, 2.0, 3.0, 2.0, 3.0]);
    }
}
