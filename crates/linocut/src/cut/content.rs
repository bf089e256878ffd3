//! A cut in memory.

use std::collections::BTreeMap;

use super::card::{Card, FORMAT, TensorNote};
use super::decision::Decision;
use super::edit::{Edit, Head, TensorEdit};
use super::source::{Other, Source};
use crate::{Error, ErrorKind, Result};

/// Most probes of a cut, and most tokens of all of them: whoever takes a cut computes them.
const PROBES: usize = 64;
const PROBE_TOKENS: usize = 16_384;

/// One task as a cut of one base. Its parts always fit each other: [`Cut::new`] and the readers see
/// to that, and nothing changes afterwards.
#[derive(Debug, Clone, PartialEq)]
pub struct Cut {
    card: Card,
    head: Head,
    edits: BTreeMap<String, TensorEdit>,
    probes: Vec<Probe>,
    others: BTreeMap<String, Other>,
}

/// An input with the logits expected of it, to be checked on the machine that uses the cut.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// Token ids, special tokens included; at least one, each at most `i32::MAX`.
    pub input_ids: Vec<u32>,
    /// As many token types.
    pub token_type_ids: Vec<u32>,
    /// One for each output.
    pub logits: Vec<f32>,
}

impl Cut {
    /// A cut of these parts; `edits` is by canonical tensor name. Sets `card.format` and `card.tensors`.
    ///
    /// # Errors
    /// If the card, the head and the probes do not fit each other, there are more than 64 probes or
    /// 16,384 tokens of them, a name or a shape is impossible, or
    /// a value is not finite or not one that its store type holds exactly (see
    /// [`StoreType::round`](super::StoreType::round)).
    pub fn new(
        mut card: Card,
        head: Head,
        edits: BTreeMap<String, TensorEdit>,
        probes: Vec<Probe>,
    ) -> Result<Self> {
        let large = edits.values().any(|edit| matches!(edit.edit, Edit::LargeZeros(_)));
        card.format = match (&card.decision, &card.slim, large) {
            _ if card.long.is_some() || card.unit => FORMAT,
            (Some(_), _, _) => 4,
            (None, Some(_), _) => 3,
            (None, None, true) => 2,
            (None, None, false) => 1,
        };
        card.tensors =
            edits.iter().map(|(name, edit)| (name.clone(), TensorNote::of(edit))).collect();
        card.check(&head)?;
        head.check()?;
        for (name, edit) in &edits {
            edit.check(name)?;
        }
        let tokens: usize = probes.iter().map(|probe| probe.input_ids.len()).sum();
        if probes.len() > PROBES || tokens > PROBE_TOKENS {
            let found = format!("{} probes of {tokens} tokens", probes.len());
            let message = format!("{found}, expected at most {PROBES} of {PROBE_TOKENS}");
            return Err(Error::new(ErrorKind::Cut, message));
        }
        for (i, probe) in probes.iter().enumerate() {
            probe.check(i, &card)?;
        }
        Ok(Self { card, head, edits, probes, others: BTreeMap::new() })
    }

    /// The cut of a model packed without loss: how it spells its tensors, and those that are
    /// neither the encoder's nor the head's, by name.
    ///
    /// # Errors
    /// If a name is impossible or a tensor's bytes do not fill its shape.
    pub fn with_source(mut self, source: Source, others: BTreeMap<String, Other>) -> Result<Self> {
        source.check()?;
        self.card.source = Some(source);
        self.with_others(others)
    }

    /// The cut with these tensors kept beside the encoder's and the head's.
    pub(super) fn with_others(mut self, others: BTreeMap<String, Other>) -> Result<Self> {
        others.iter().try_for_each(|(name, other)| other.check(name))?;
        self.others = others;
        Ok(self)
    }

    /// The cut with another decision, or none.
    ///
    /// # Errors
    /// A decision that does not fit the task.
    pub fn with_decision(self, decision: Option<Decision>) -> Result<Self> {
        let card = Card { decision, ..self.card.clone() };
        self.with_card(card)
    }

    /// The cut with another card of the same task.
    ///
    /// # Errors
    /// As [`Cut::new`].
    pub(crate) fn with_card(self, card: Card) -> Result<Self> {
        Self::new(card, self.head, self.edits, self.probes)?.with_others(self.others)
    }

    /// Everything but the tensors.
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// The head.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The edited tensors by canonical name.
    pub fn edits(&self) -> &BTreeMap<String, TensorEdit> {
        &self.edits
    }

    /// Inputs with their expected logits.
    pub fn probes(&self) -> &[Probe] {
        &self.probes
    }

    /// Tensors of a packed model that are neither the encoder's nor the head's, by name.
    pub fn others(&self) -> &BTreeMap<String, Other> {
        &self.others
    }

    /// Checks that the cut belongs to the base with this fingerprint; `name` is for the message.
    ///
    /// # Errors
    /// If it belongs to another.
    pub fn check_base(&self, name: &str, fingerprint: &str) -> Result<()> {
        let base = &self.card.base;
        if base.fingerprint == fingerprint {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Cut,
            format!(
                "the cut {:?} belongs to the base {:?} with fingerprint {}, found {name:?} with {fingerprint}",
                self.card.task, base.name, base.fingerprint
            ),
        )
        .with_hint("use the very base folder that the cut was trained on, its config.json included"))
    }

    /// Checks that the cut was made with the tokenizer of this fingerprint.
    ///
    /// # Errors
    /// If it was made with another.
    pub fn check_tokenizer(&self, fingerprint: &str) -> Result<()> {
        if self.card.tokenizer == fingerprint {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Cut,
            format!(
                "the cut {:?} was made with the tokenizer of fingerprint {}, found {fingerprint}",
                self.card.task, self.card.tokenizer
            ),
        )
        .with_hint("use the tokenizer.json of the base that the cut was trained on"))
    }
}

impl Probe {
    fn check(&self, i: usize, card: &Card) -> Result<()> {
        let wrong = |what: String| Err(Error::new(ErrorKind::Cut, format!("probe {i}: {what}")));
        let tokens = self.input_ids.len();
        if tokens == 0 || tokens > card.max_length {
            return wrong(format!("{tokens} tokens, expected 1 to {}", card.max_length));
        }
        if self.token_type_ids.len() != tokens {
            return wrong(format!("{} token types for {tokens} tokens", self.token_type_ids.len()));
        }
        let ids = || self.input_ids.iter().chain(&self.token_type_ids);
        if let Some(id) = ids().find(|&&id| id > i32::MAX as u32) {
            return wrong(format!("token id or type {id}"));
        }
        if self.logits.len() != card.outputs {
            return wrong(format!("{} logits, expected {}", self.logits.len(), card.outputs));
        }
        match self.logits.iter().find(|l| !l.is_finite()) {
            Some(logit) => wrong(format!("the logit {logit}")),
            None => Ok(()),
        }
    }
}
