//! Opening a base with one cut applied to it.

use crate::args::BaseArgs;
use crate::output::say;
use linocut::bank::{Bank, Dtype, Options, Task};
use linocut::cut::{Cut, Explanation, LeftOut, Logits, TaskModel};
use linocut::data::Extent;
use linocut::model::Pooling;
use linocut::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

/// Reads the cut, opens the base and puts the one on the other, if it belongs there.
pub(crate) fn open(cut: &Path, base: &BaseArgs) -> Result<TaskModel> {
    // The cut first: it is small, and its errors are worth more before a base is loaded.
    let cut = Cut::read(cut)?;
    // Any pooling opens; the cut's own comes once the base is known to be the right one.
    let base = base.open(Some(Pooling::First))?;
    TaskModel::new(base, cut)
}

/// One task ready to label texts.
pub(crate) enum Model {
    /// The base itself, edited.
    F32(Box<TaskModel>),
    /// A bank of this task alone.
    Int8 { cut: Box<Cut>, bank: Box<Bank>, task: Arc<Task> },
}

impl Model {
    /// As [`open`], computing in `dtype`.
    pub(crate) fn open(path: &Path, base: &BaseArgs, dtype: Dtype) -> Result<Self> {
        if dtype == Dtype::F32 {
            return open(path, base).map(|model| Self::F32(Box::new(model)));
        }
        let cut = Box::new(Cut::read(path)?);
        let options = Options { dtype, ..Options::default() };
        let bank = Box::new(Bank::new(base.open(Some(Pooling::First))?, options)?);
        let task = bank.prepare(&cut.card().task, &cut)?;
        Ok(Self::Int8 { cut, bank, task })
    }

    pub(crate) fn cut(&self) -> &Cut {
        match self {
            Self::F32(model) => &model.cut,
            Self::Int8 { cut, .. } => cut,
        }
    }

    /// As [`TaskModel::check_pairs`].
    pub(crate) fn check_pairs(&self, given: bool, place: &str, hint: &str) -> Result<()> {
        self.cut().check_pairs(given, place, hint)
    }

    /// As [`TaskModel::logits`].
    pub(crate) fn logits(
        &self,
        texts: &[String],
        pairs: Option<&[String]>,
        goes_on: impl FnMut(usize) -> bool,
    ) -> Result<Logits> {
        match self {
            Self::F32(model) => model.logits(texts, pairs, goes_on),
            Self::Int8 { cut, bank, task } => {
                let card = cut.card();
                let texts = bank.base().tokenizer.encode_all(texts, pairs, card.extent())?;
                let values = bank.logits(task, &texts.sequences, goes_on).ok_or_else(stopped)?;
                Ok(Logits { values: texts.means(values, card.outputs), texts_cut: texts.cut })
            }
        }
    }

    /// As [`TaskModel::explain`].
    pub(crate) fn explain(
        &self,
        text: &str,
        pair: Option<&str>,
        label: Option<&str>,
    ) -> Result<Explanation> {
        match self {
            Self::F32(model) => model.explain(text, pair, label, |_| true),
            Self::Int8 { cut, bank, task } => {
                let left_out =
                    LeftOut::of(cut.card(), &bank.base().tokenizer, (text, pair), label)?;
                let logits = bank.logits(task, left_out.sequences(), |_| true);
                Ok(left_out.explain(cut.card(), logits.ok_or_else(stopped)?))
            }
        }
    }
}

fn stopped() -> Error {
    Error::new(ErrorKind::Interrupted, "interrupted")
}

/// Says on standard error how many texts were longer than what is read.
pub(crate) fn note_texts_cut(count: usize, extent: Extent) {
    if count > 0 {
        let (are, were) = if count == 1 { ("text is", "was") } else { ("texts are", "were") };
        say(&format!("note: {count} {are} longer than {extent} and {were} cut"));
    }
}
