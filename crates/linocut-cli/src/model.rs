//! A base with one cut applied to it: what eval, predict and export work with.

use crate::args::BaseArgs;
use crate::output::say;
use linocut::Error;
use linocut::Result;
use linocut::cut::Cut;
use linocut::model::{self, Base, Head, Pooling};
use std::path::Path;

/// One task ready for use.
pub(crate) struct TaskModel {
    /// The base, its weights edited by the cut.
    pub base: Base,
    pub cut: Cut,
    pub head: Head,
}

/// Logits of some texts.
pub(crate) struct Logits {
    /// `[texts, outputs]`
    pub values: Vec<f32>,
    /// Texts longer than the cut's limit, of which only the first tokens were read.
    pub texts_cut: usize,
}

impl TaskModel {
    /// Reads the cut, opens the base and puts the one on the other, if it belongs there.
    pub(crate) fn open(cut: &Path, base: &BaseArgs) -> Result<Self> {
        // The cut first: it is small, and its errors are worth more before a base is loaded.
        let cut = Cut::read(cut)?;
        // Any pooling opens; the cut's own comes once the base is known to be the right one.
        let base = base.open(Some(Pooling::First))?;
        Self::on(base, cut)
    }

    /// Puts a cut on a base, if it belongs there.
    pub(crate) fn on(mut base: Base, cut: Cut) -> Result<Self> {
        cut.check_fits(&base)?;
        base.encoder = base.encoder.with_pooling(cut.card().pooling);
        // The process ends with this cut on: what it overwrote is not needed again.
        drop(cut.apply(&mut base.weights)?);
        let head = head(&cut);
        Ok(Self { base, cut, head })
    }

    /// Logits of texts in their order.
    pub(crate) fn logits(
        &self,
        texts: &[String],
        pairs: Option<&[String]>,
        progress: impl FnMut(usize),
    ) -> Result<Logits> {
        let card = self.cut.card();
        let (encodings, texts_cut) =
            self.base.tokenizer.encode_all(texts, pairs, card.max_length)?;
        let (encoder, weights) = (&self.base.encoder, &self.base.weights);
        let values = model::logits(encoder, weights, &self.head, &encodings, progress);
        Ok(Logits { values, texts_cut })
    }

    /// Checks that texts come alone or in pairs, as the task was trained. `given` says whether
    /// they are pairs and `place` where they were found.
    pub(crate) fn check_pairs(&self, given: bool, place: &str, hint: &str) -> Result<()> {
        let card = self.cut.card();
        card.check_pairs(&card.task, given).map_err(|e| {
            let hint = e.hint().unwrap_or(hint);
            Error::new(e.kind(), format!("{place}: {}", e.message())).with_hint(hint)
        })
    }
}

/// The cut's head as the engine takes it.
pub(crate) fn head(cut: &Cut) -> Head {
    Head { weight: cut.head().weight.clone(), bias: cut.head().bias.clone() }
}

/// Says on standard error how many texts were longer than the limit.
pub(crate) fn note_texts_cut(count: usize, max_length: usize) {
    if count > 0 {
        let (are, were) = if count == 1 { ("text is", "was") } else { ("texts are", "were") };
        say(&format!("note: {count} {are} longer than {max_length} tokens and {were} cut"));
    }
}
