//! A base with one cut applied to it: what evaluating, predicting and exporting work with.

use super::{Cut, Explanation, Head, LeftOut};
use crate::data::Encoding;
use crate::model::{self, Base, logits_while};
use crate::{Error, ErrorKind, Result};

/// One task ready for use.
pub struct TaskModel {
    /// The base, or what a slim task keeps of it, its weights edited by the cut.
    pub base: Base,
    /// The cut.
    pub cut: Cut,
    /// Its head.
    pub head: model::Head,
}

/// Logits of some texts.
pub struct Logits {
    /// `[texts, outputs]`
    pub values: Vec<f32>,
    /// Texts longer than what the cut reads.
    pub texts_cut: usize,
}

impl From<&Cut> for model::Head {
    fn from(cut: &Cut) -> Self {
        let Head { weight, bias, .. } = cut.head().clone();
        Self { weight, bias, unit: cut.card().unit }
    }
}

impl TaskModel {
    /// Puts a cut on a base, if it belongs there.
    ///
    /// # Errors
    /// As [`Cut::check_fits`].
    pub fn new(mut base: Base, cut: Cut) -> Result<Self> {
        cut.check_fits(&base)?;
        if let (Some(slim), None) = (&cut.card().slim, base.encoder.kept()) {
            base = base.slim(slim)?;
        }
        base.encoder = base.encoder.with_pooling(cut.card().pooling);
        // The cut stays on: what it overwrote is not needed again.
        drop(cut.apply(&mut base.weights)?);
        let head = (&cut).into();
        Ok(Self { base, cut, head })
    }

    /// Logits of texts, or pairs of texts, in their order; `goes_on` hears of every batch how many sequences
    /// are done, and stops by `false`.
    ///
    /// # Errors
    /// A text that the tokenizer rejects, or as many pairs as there are not texts;
    /// [`ErrorKind::Interrupted`] if stopped.
    pub fn logits(
        &self,
        texts: &[String],
        pairs: Option<&[String]>,
        goes_on: impl FnMut(usize) -> bool,
    ) -> Result<Logits> {
        let card = self.cut.card();
        let texts = self.base.tokenizer.encode_all(texts, pairs, card.extent())?;
        let values = self.logits_of(&texts.sequences, goes_on)?;
        Ok(Logits { values: texts.means(values, card.outputs), texts_cut: texts.cut })
    }

    fn logits_of(
        &self,
        texts: &[Encoding],
        goes_on: impl FnMut(usize) -> bool,
    ) -> Result<Vec<f32>> {
        let (encoder, weights) = (&self.base.encoder, &self.base.weights);
        let values = logits_while(encoder, weights, &self.head, texts, goes_on);
        values.ok_or_else(|| Error::new(ErrorKind::Interrupted, "interrupted"))
    }

    /// What each word of a text, or of a pair of texts, adds to the probability of `label`, as [`LeftOut::explain`] has
    /// it; `goes_on` as of [`TaskModel::logits`].
    ///
    /// # Errors
    /// As [`TaskModel::logits`]; a label that the task does not have.
    pub fn explain(
        &self,
        text: &str,
        pair: Option<&str>,
        label: Option<&str>,
        goes_on: impl FnMut(usize) -> bool,
    ) -> Result<Explanation> {
        let card = self.cut.card();
        let left_out = LeftOut::of(card, &self.base.tokenizer, (text, pair), label)?;
        let logits = self.logits_of(left_out.sequences(), goes_on)?;
        Ok(left_out.explain(card, logits))
    }

    /// Checks that texts come alone or in pairs, as the task was trained. `given` says whether they are
    /// pairs, `place` where they were found, and `hint` what to do where the card says nothing.
    ///
    /// # Errors
    /// The other of the two.
    pub fn check_pairs(&self, given: bool, place: &str, hint: &str) -> Result<()> {
        self.cut.check_pairs(given, place, hint)
    }
}

impl Cut {
    /// As [`TaskModel::check_pairs`].
    ///
    /// # Errors
    /// The other of the two.
    pub fn check_pairs(&self, given: bool, place: &str, hint: &str) -> Result<()> {
        let card = self.card();
        card.check_pairs(&card.task, given).map_err(|e| {
            let hint = e.hint().unwrap_or(hint).to_string();
            e.at(place).with_hint(hint)
        })
    }
}
