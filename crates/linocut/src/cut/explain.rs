//! Which words moved a decision: each is left out in turn.

use crate::output::counted;
use std::collections::BTreeSet;
use std::ops::Range;

use serde::Serialize;
use unicode_segmentation::UnicodeSegmentation;

use super::Card;
use crate::data::{Encoding, Long, Problem, Texts, Tokenizer, unknown_label};
use crate::model::argmax;
use crate::{Error, ErrorKind, Result};

/// Most words of a text that are left out: the first ones, or the last ones where the tail is read.
pub const WORDS: usize = 256;

/// What each word of a text adds to its prediction.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The label whose probability the words change; none of a regression, of which they change the number.
    pub label: Option<String>,
    /// That probability of the whole text (0 to 1), or the number.
    pub score: f32,
    /// The words in their order, those of a second text after those of the first.
    pub words: Vec<Word>,
    /// Words beyond [`WORDS`] of a text, which were not tried.
    pub untried: usize,
}

/// A word, or a mark, and what it adds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Word {
    /// As it is written.
    pub word: String,
    /// Bytes of the text before it.
    pub start: usize,
    /// Bytes of the text up to its end.
    pub end: usize,
    /// Of a pair of texts the one that it stands in: `text` or `pair`.
    #[serde(rename = "in", skip_serializing_if = "Option::is_none")]
    pub within: Option<&'static str>,
    /// The label's probability (0 to 1), or the number, less what it is without the word: above 0 if the word speaks
    /// for it. None where nothing is left to read without the word.
    pub change: Option<f32>,
}

/// A text, and the same text without each of its words, as a task reads them.
#[derive(Debug)]
pub struct LeftOut {
    texts: Texts,
    words: Vec<Word>,
    /// For each word the place in `texts` of the text without it, where there is one.
    places: Vec<Option<usize>>,
    untried: usize,
    /// Which output is explained; the highest one where `None`.
    output: Option<usize>,
}

impl LeftOut {
    /// Of one text, or of a pair of texts, as `card`'s task reads them: at most 1 + 2 · [`WORDS`] texts, each of as many
    /// sequences as the task reads. What is explained is `label`, or the most probable one where none is named.
    ///
    /// Words are those of Unicode (UAX 29), marks among them. A mask in a word's place says as much (`bench/explain.py`),
    /// but not every tokenizer has one.
    ///
    /// # Errors
    /// A label that the task does not have, or a text that the tokenizer rejects.
    pub fn of(
        card: &Card,
        tokenizer: &Tokenizer,
        (text, pair): (&str, Option<&str>),
        label: Option<&str>,
    ) -> Result<Self> {
        let output = label.map(|label| output_of(card, label)).transpose()?;
        let extents = BTreeSet::from([card.extent()]);
        let encode = |text: &str, pair: Option<&str>| -> Result<Vec<Encoding>> {
            Ok(tokenizer.sequences(text, pair, &extents)?.into_values().flatten().collect())
        };
        let (mut words, mut untried) = (vec![], 0);
        let mut texts = vec![encode(text, pair)?];
        let mut places = vec![];
        for (of, within) in [(Some(text), "text"), (pair, "pair")] {
            let Some(of) = of else { continue };
            let all = of.split_word_bound_indices().filter(|(_, word)| !word.trim().is_empty());
            let all: Vec<_> = all.collect();
            let tried = tried(all.len(), card.long);
            untried += all.len() - tried.iter().map(ExactSizeIterator::len).sum::<usize>();
            for (start, word) in tried.into_iter().flatten().map(|at| all[at]) {
                let end = start + word.len();
                let less = without(of, start, end);
                let found = match within {
                    "text" => encode(&less, pair),
                    _ => encode(text, Some(&less)),
                };
                places.push(match found {
                    // A word that is not read at all changes nothing.
                    Ok(found) if same(&found, &texts[0]) => Some(0),
                    Ok(found) => {
                        texts.push(found);
                        Some(texts.len() - 1)
                    }
                    Err(error) if error.kind() == ErrorKind::Data => None,
                    Err(error) => return Err(error),
                });
                let within = pair.is_some().then_some(within);
                words.push(Word { word: word.into(), start, end, within, change: None });
            }
        }
        Ok(Self { texts: Texts::new(texts), words, places, untried, output })
    }

    /// What the task must be asked.
    pub fn sequences(&self) -> &[Encoding] {
        &self.texts.sequences
    }

    /// Tokens that are read of the text as it is, and whether it has more than that.
    pub fn read(&self) -> (usize, bool) {
        let text = &self.texts.sequences[self.texts.of(0)];
        (text.iter().map(|sequence| sequence.ids.len()).sum(), text.iter().any(|of| of.cut))
    }

    /// What each word adds, by the `logits` of [`LeftOut::sequences`], `[sequences, outputs]`.
    pub fn explain(mut self, card: &Card, logits: Vec<f32>) -> Explanation {
        let logits = self.texts.means(logits, card.outputs);
        let scores = card.probabilities(&logits);
        let of = self.output.unwrap_or_else(|| argmax(&logits[..card.outputs]));
        for (word, place) in self.words.iter_mut().zip(self.places) {
            word.change = place.map(|place| scores[of] - scores[place * card.outputs + of]);
        }
        let (label, words, untried) = (card.labels.get(of).cloned(), self.words, self.untried);
        Explanation { label, score: scores[of], words, untried }
    }
}

/// Which output of a task is a label's.
fn output_of(card: &Card, label: &str) -> Result<usize> {
    if card.problem == Problem::Regression {
        let message = format!("label {label:?}: {:?} has a number, no labels", card.task);
        return Err(Error::new(ErrorKind::Config, message)
            .with_hint("leave the label out: words then change the number"));
    }
    card.labels.iter().position(|known| known == label).ok_or_else(|| {
        unknown_label("to explain", label, &card.labels, &format!("the task {:?}", card.task))
    })
}

impl Explanation {
    /// What there is to say of so many words untried, of one text or several.
    pub fn note(untried: usize) -> Option<String> {
        let words = counted(untried, "word");
        let note = || format!("{words} beyond {WORDS} of a text were not tried");
        (untried > 0).then(note)
    }

    /// At most `most` words that change most, either way, the greatest change first.
    pub fn strongest(&self, most: usize) -> Vec<&Word> {
        let size = |word: &&Word| word.change.unwrap_or(0.0).abs();
        let mut words: Vec<&Word> = self.words.iter().filter(|word| size(word) > 0.0).collect();
        words.sort_by(|a, b| size(b).total_cmp(&size(a)));
        words.truncate(most);
        words
    }
}

/// Which of so many words are left out: those that are read, as far as that is known before.
fn tried(words: usize, long: Option<Long>) -> [Range<usize>; 2] {
    let most = words.min(WORDS);
    let first = match long {
        Some(Long::Tail) => 0,
        Some(Long::HeadTail) => most / 4,
        None | Some(Long::Head | Long::Windows) => most,
    };
    [0..first, words - (most - first)..words]
}

/// The text without what stands from `start` to `end`. What stood beside it does not become one word.
fn without(text: &str, start: usize, end: usize) -> String {
    format!("{} {}", text[..start].trim_end(), text[end..].trim_start())
}

fn same(one: &[Encoding], other: &[Encoding]) -> bool {
    let read = |sequence: &Encoding| (sequence.ids.clone(), sequence.type_ids.clone());
    one.iter().map(read).eq(other.iter().map(read))
}

#[cfg(test)]
mod tests;
