//! Whether a cut fits a base: a card may claim what it likes.

use super::card::{BaseId, Card};
use super::content::{Cut, Probe};
use super::edit::TensorEdit;
use crate::data::{Encoding, Tokenizer};
use crate::model::{self, Base, Layout, ModelConfig, Pooling, TensorSpec, argmax};
use crate::{Error, ErrorKind, Result};

/// Logits of a probe may differ by this, relative to the largest of them or 1, whichever is more.
///
/// On the machine that trained the cut they agree to the bit. Another CPU sums products in another
/// order and width: a few float32 roundings (6e-8 each) a layer. PyTorch, which shares no code with
/// this engine, comes within 1.2e-6 on MiniLM (reference/results/export.md); this allows for deeper
/// bases too, and a wrong tensor, pooling or activation still moves logits by far more.
const TOLERANCE: f32 = 1e-5;

/// How far a probe's logits may be from those expected where a bank computes in int8, relative to the largest
/// of them or 1. Ten trained masks on MiniLM are 0.02 to 0.13 off: probes are tokens drawn at random, on which
/// bases are less sure than on texts; this is twice the most. A wrong matrix moves logits by their own size.
pub const INT8_TOLERANCE: f32 = 0.3;

/// What becomes of a cut's probes on another base.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MovedProbes {
    /// The largest difference of a logit, relative to the largest expected logit of its probe or 1.
    pub difference: f32,
    /// Probes whose highest logit is another one than expected.
    pub other_labels: usize,
}

impl Cut {
    /// Checks that the cut belongs to `base` and its tokenizer, and that everything in it fits:
    /// maximum length, what a slim task keeps, head, pooling, edited tensors and the probes' tokens.
    ///
    /// # Errors
    /// What does not fit, with what was found and expected.
    pub fn check_fits(&self, base: &Base) -> Result<()> {
        self.check_base(&base.name, &base.fingerprint.to_string())?;
        self.check_same_tokens(&base.tokenizer)?;
        let encoder = base.encoder.kept_by(self.card().slim.as_ref())?;
        let (card, config) = (self.card(), base.config());
        let misfit = |what: &str, found: usize, expected: String| {
            let message =
                format!("the cut {:?} has {what} {found}, expected {expected}", card.task);
            Err(Error::new(ErrorKind::Cut, message))
        };
        if card.max_length > config.positions {
            let most = format!("at most {}", config.positions);
            return misfit("a maximum length of", card.max_length, most);
        }
        if self.head().hidden != config.hidden {
            return misfit("a head of width", self.head().hidden, config.hidden.to_string());
        }
        let layout = encoder.layout();
        let absent = |(i, spec): &(usize, &TensorSpec)| {
            encoder.is_absent(*i) && !self.edits().contains_key(&spec.name)
        };
        let lacking = layout.tensors().iter().enumerate().find(absent);
        if let (Pooling::Cls, Some((_, spec))) = (card.pooling, lacking) {
            let message = format!(
                "the cut {:?} reads texts through {}, which neither it nor the base has",
                card.task, spec.name
            );
            return Err(Error::new(ErrorKind::Cut, message));
        }
        self.edits().iter().try_for_each(|(name, edit)| edit.place(name, layout).map(drop))?;
        self.probes().iter().try_for_each(|probe| probe.check_tokens(config))
    }

    /// As [`Cut::check_tokenizer`]; but a cut from when `tokenizer.json` alone counted is as good as ever
    /// where that made the same of its texts, and else is told why it is refused.
    fn check_same_tokens(&self, tokenizer: &Tokenizer) -> Result<()> {
        let card = self.card();
        let Some(earlier) = tokenizer.earlier() else {
            return self.check_tokenizer(&tokenizer.fingerprint().to_string());
        };
        if card.tokenizer != earlier.fingerprint.to_string() {
            return self.check_tokenizer(&tokenizer.fingerprint().to_string());
        }
        let others = match &earlier.parts[..] {
            [] if !card.pairs => return Ok(()),
            [] => "token types of pairs".to_string(),
            parts => parts.join(", "),
        };
        let message = format!(
            "the cut {:?} was made with tokenizer.json as it stands; with the files beside it \
             Transformers makes something else of its {others}, and so does linocut now",
            card.task
        );
        Err(Error::new(ErrorKind::Cut, message).with_hint(
            "train the cut anew; or, to have tokenizer.json as it stands, write \"tokenizer_class\": \
             \"PreTrainedTokenizerFast\" and \"model_input_names\": [\"input_ids\", \
             \"token_type_ids\", \"attention_mask\"] into tokenizer_config.json",
        ))
    }

    /// The probes' inputs, in their order.
    pub fn probe_inputs(&self) -> Vec<Encoding> {
        let input = |probe: &Probe| Encoding {
            ids: probe.input_ids.clone(),
            type_ids: probe.token_type_ids.clone(),
            cut: false,
        };
        self.probes().iter().map(input).collect()
    }

    /// Puts the cut on `base`, whose weights have the digest `before`, compares the logits of its probes as
    /// [`Cut::check_probes`] does and gives the largest difference, and takes it off again.
    ///
    /// # Errors
    /// If it does not belong to the base, a probe has other logits, or the base is not as it was, to the
    /// bit.
    pub fn verify(&self, base: &mut Base, before: blake3::Hash) -> Result<f32> {
        self.check_fits(base)?;
        if let (Some(slim), None) = (&self.card().slim, base.encoder.kept()) {
            let mut base = base.slim(slim)?;
            let before = base.weights.digest();
            return self.verify(&mut base, before);
        }
        let encoder = base.encoder.with_pooling(self.card().pooling);
        let applied = self.apply(&mut base.weights)?;
        let head = model::Head::from(self);
        let logits = model::logits(&encoder, &base.weights, &head, &self.probe_inputs(), |_| {});
        applied.undo(&mut base.weights);
        if base.weights.digest() != before {
            let message = "taking the cut off did not restore the base to the bit";
            return Err(Error::new(ErrorKind::Cut, message));
        }
        self.check_probes(&logits)
    }

    /// The same changes, head and probes, said to belong to `base`. Masks that count zeros among large entries
    /// count them among those of this base.
    ///
    /// # Errors
    /// If the shapes or the tokens do not fit the base; see [`Cut::check_fits`].
    pub fn on(&self, base: &Base) -> Result<Self> {
        let card = Card {
            base: BaseId { name: base.name.clone(), fingerprint: base.fingerprint.to_string() },
            tokenizer: base.tokenizer.fingerprint().to_string(),
            ..self.card().clone()
        };
        let cut = self.clone().with_card(card)?;
        cut.check_fits(base)?;
        Ok(cut)
    }

    /// How far the probes' logits are on `base` from those that the cut expects. The base comes back as it was.
    ///
    /// # Errors
    /// If the cut does not belong to it, or a logit is not a number.
    pub fn moved_probes(&self, base: &mut Base) -> Result<MovedProbes> {
        self.check_fits(base)?;
        if let (Some(slim), None) = (&self.card().slim, base.encoder.kept()) {
            return self.moved_probes(&mut base.slim(slim)?);
        }
        let encoder = base.encoder.with_pooling(self.card().pooling);
        let applied = self.apply(&mut base.weights)?;
        let head = model::Head::from(self);
        let found = model::logits(&encoder, &base.weights, &head, &self.probe_inputs(), |_| {});
        applied.undo(&mut base.weights);
        let outputs = self.card().outputs;
        let pairs = found.chunks_exact(outputs).zip(self.probes());
        let other_label = pairs.filter(|(found, probe)| argmax(found) != argmax(&probe.logits));
        let other_labels = other_label.count();
        let hint = "the base makes other numbers of this cut altogether";
        let difference = self.check_probes_within(&found, f32::INFINITY, hint)?;
        Ok(MovedProbes { difference, other_labels })
    }

    /// Compares `found`, `[probes, outputs]`, with the logits that the probes expect, and gives the
    /// largest difference, relative to the largest expected logit of its probe or 1.
    ///
    /// # Errors
    /// If a probe's logits differ by more than 1e-5 so measured, or are not numbers.
    ///
    /// # Panics
    /// If `found` has another length.
    pub fn check_probes(&self, found: &[f32]) -> Result<f32> {
        let hint = "the cut was made by another engine, or this one computes differently here";
        self.check_probes_within(found, TOLERANCE, hint)
    }

    /// The same for logits of a bank in int8: they may differ by [`INT8_TOLERANCE`].
    ///
    /// # Errors
    /// If a probe's logits differ by more, or are not numbers.
    ///
    /// # Panics
    /// If `found` has another length.
    pub fn check_int8_probes(&self, found: &[f32]) -> Result<f32> {
        let hint = "the cut is sound, and eight bits are too few for it: serve it in f32";
        self.check_probes_within(found, INT8_TOLERANCE, hint)
    }

    fn check_probes_within(&self, found: &[f32], tolerance: f32, hint: &str) -> Result<f32> {
        let outputs = self.card().outputs;
        assert_eq!(found.len(), self.probes().len() * outputs, "logits of every probe");
        let mut difference = 0.0f32;
        for (i, (probe, found)) in self.probes().iter().zip(found.chunks(outputs)).enumerate() {
            let largest = probe.logits.iter().fold(1.0f32, |m, z| m.max(z.abs()));
            for (expected, z) in probe.logits.iter().zip(found) {
                let off = (expected - z).abs() / largest;
                if off.is_nan() || off > tolerance {
                    let message = format!(
                        "probe {i}: logits {found:?}, expected {:?} within {tolerance:e}",
                        probe.logits
                    );
                    return Err(Error::new(ErrorKind::Cut, message).with_hint(hint));
                }
                difference = difference.max(off);
            }
        }
        Ok(difference)
    }
}

impl TensorEdit {
    /// Where in `layout` the tensor `name` that this edits stands.
    ///
    /// # Errors
    /// If there is none of that name and shape.
    pub(crate) fn place(&self, name: &str, layout: &Layout) -> Result<usize> {
        let Some(i) = layout.index(name) else {
            return Err(Error::new(
                ErrorKind::Cut,
                format!("the cut edits {name}, which the base does not have"),
            ));
        };
        let shape = &layout.tensors()[i].shape;
        if *shape != self.shape {
            return Err(Error::new(
                ErrorKind::Cut,
                format!(
                    "the cut edits {name} of shape {:?}, the base has it as {shape:?}",
                    self.shape
                ),
            ));
        }
        Ok(i)
    }
}

impl Probe {
    /// Checks that the base's embeddings have rows for the probe's tokens and their types.
    fn check_tokens(&self, config: &ModelConfig) -> Result<()> {
        let beyond = |ids: &[u32], rows: usize| ids.iter().any(|&id| id as usize >= rows);
        if beyond(&self.input_ids, config.vocab)
            || beyond(&self.token_type_ids, config.token_types.max(1))
        {
            return Err(Error::new(
                ErrorKind::Cut,
                "a probe has tokens that the base's embeddings do not know",
            ));
        }
        Ok(())
    }
}
