//! Whether what a cut gives back is the model that was packed.

use std::path::Path;

use super::ingest::Tuned;
use super::outline::Outline;
use crate::checkpoint::StoredTensors;
use crate::data::{Encoding, Tokenizer};
use crate::model::{self, Base, Head};
use crate::{Error, ErrorKind, Result};

/// Texts on which tokenizers and lengths part: letters of all kinds, marks, spaces, words that are
/// special or unknown.
const PROBES: [&str; 11] = [
    "The quick brown fox jumps over the lazy dog.",
    "UPPER lower MiXeD, and 3.14 + 2,718 = 5.86?",
    "Caf\u{e9} na\u{ef}ve \u{fc}ber Stra\u{df}e, cafe\u{301}",
    "\u{41f}\u{440}\u{438}\u{432}\u{435}\u{442} \u{4e16}\u{754c}\u{3053}\u{3093} \u{645}\u{631}\u{62d}\u{628}\u{627}",
    "[CLS] [SEP] [MASK] [PAD] [UNK] [unused1] <s> </s>",
    "don't e-mail me@example.org #tag @name http://example.org/a?b=c",
    "\u{1f600}\u{1f44d}\u{1f3fd} \u{2764}\u{fe0f}",
    " spaces \t tab \u{a0} no-break \u{200b}zero-width ",
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "a",
    "?",
];

/// Checks that the safetensors of the folder `restored` are those of `tuned`: names, types, shapes,
/// and every bit. Returns how many tensors there are.
///
/// # Errors
/// If they cannot be read, or naming the first tensor that differs.
pub fn check_restored(tuned: &Tuned, restored: &Path) -> Result<usize> {
    let restored = StoredTensors::open(restored)?;
    let (before, after) = (tuned.tensors(), &restored);
    let wrong = |what: String| {
        Err(Error::new(ErrorKind::Cut, format!("the exported model is not the packed one: {what}")))
    };
    if before.tensors().len() != after.tensors().len() {
        return wrong(format!(
            "{} tensors, expected {}",
            after.tensors().len(),
            before.tensors().len()
        ));
    }
    for (a, b) in before.tensors().iter().zip(after.tensors()) {
        if (&a.name, a.dtype, &a.shape) != (&b.name, b.dtype, &b.shape) {
            return wrong(format!(
                "{} {} {:?}, expected {} {} {:?}",
                b.name, b.dtype, b.shape, a.name, a.dtype, a.shape
            ));
        }
        if before.bytes(a)? != after.bytes(b)? {
            return wrong(format!("other bits in {}", a.name));
        }
    }
    Ok(after.tensors().len())
}

/// Texts to compare a cut and its model on.
pub(super) struct ProbeTexts<'o> {
    outline: &'o Outline,
    texts: Vec<String>,
    pairs: Option<Vec<String>>,
}

impl<'o> ProbeTexts<'o> {
    /// Some built-in texts, among them one that is too long, and `texts`; all with their pairs if the task has
    /// pairs.
    pub(super) fn new(
        tokenizer: &Tokenizer,
        outline: &'o Outline,
        texts: &[String],
        pairs: Option<&[String]>,
    ) -> Self {
        let mut probes: Vec<String> = PROBES.iter().map(|text| text.to_string()).collect();
        probes.push(PROBES[..3].join(" ").repeat(outline.max_length.div_ceil(16)));
        let mut seconds = probes.clone();
        seconds.rotate_left(1);
        // A tokenizer may find nothing in some of them.
        let known = |(text, pair): &(String, String)| {
            let pair = outline.pairs.then_some(&pair[..]);
            tokenizer.encode(text, pair, outline.max_length).is_ok()
        };
        let probes = probes.into_iter().zip(seconds).filter(known);
        let (mut all, mut seconds): (Vec<String>, Vec<String>) = probes.unzip();
        all.extend_from_slice(texts);
        seconds.extend_from_slice(pairs.unwrap_or_default());
        Self { outline, texts: all, pairs: outline.pairs.then_some(seconds) }
    }

    /// The text of this number.
    pub(super) fn text(&self, i: usize) -> &str {
        &self.texts[i]
    }

    /// All in tokens.
    pub(super) fn encode(&self, tokenizer: &Tokenizer) -> Result<Vec<Encoding>> {
        let pairs = self.pairs.as_deref();
        Ok(tokenizer.encode_all(&self.texts, pairs, self.outline.max_length)?.sequences)
    }
}

/// Checks that `base`, with the cut on, and its head give the logits that the model gives: computed
/// from its own files, its config, tokenizer and tensors, and not through the cut. Takes some
/// built-in texts, among them one that is too long, and `texts`, all with their pairs if the task has
/// pairs. Returns how many texts were compared.
///
/// # Errors
/// The first text with other tokens or other logits, to the bit.
///
/// # Panics
/// If there are pairs, and not one for each text.
pub fn check_logits(
    tuned: &Tuned,
    base: &Base,
    head: &Head,
    texts: &[String],
    pairs: Option<&[String]>,
) -> Result<usize> {
    let probes = ProbeTexts::new(&base.tokenizer, &tuned.outline, texts, pairs);
    let through_cut = probes.encode(&base.tokenizer)?;
    let own = probes.encode(tuned.tokenizer().unwrap_or(&base.tokenizer))?;
    let wrong = |i: usize, what: String| {
        let start: String = probes.text(i).chars().take(60).collect();
        Err(Error::new(
            ErrorKind::Cut,
            format!("the cut is not the packed model: {start:?} {what}"),
        ))
    };
    if let Some(i) = (0..own.len()).find(|&i| own[i] != through_cut[i]) {
        let (a, b) = (&own[i].ids, &through_cut[i].ids);
        return wrong(i, format!("is {a:?} to the model's tokenizer, {b:?} to the base's"));
    }
    let found = model::logits(&base.encoder, &base.weights, head, &through_cut, |_| {});
    let (encoder, weights, head) = tuned.model()?;
    let expected = model::logits(&encoder, &weights, &head, &own, |_| {});
    let rows = found.chunks(head.outputs()).zip(expected.chunks(head.outputs()));
    let bits = |row: &[f32]| row.iter().map(|z| z.to_bits()).collect::<Vec<_>>();
    for (i, (found, expected)) in rows.enumerate() {
        if bits(found) != bits(expected) {
            return wrong(i, format!("has the logits {found:?}, expected {expected:?}"));
        }
    }
    Ok(own.len())
}
