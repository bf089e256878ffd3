//! From edits to a cut: head, card, scores, probes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ingest::Tuned;
use super::survey::Survey;
use crate::Result;
use crate::cut::{self, BaseId, Card, Cut, Probe, StoreType, TensorEdit};
use crate::model::{Base, Encoder, Head, Weights};

/// Scores by metric name.
pub type Scores = BTreeMap<String, f64>;

/// Scores a model: its encoder, weights and head.
pub type Score<'a> = &'a dyn Fn(&Encoder, &Weights, &Head) -> Result<Scores>;

/// What a cut says of how it was made.
pub(super) struct Story {
    pub(super) method: Value,
    pub(super) training: Value,
    pub(super) metrics: Scores,
}

/// A model being packed.
pub(super) struct Packing<'a> {
    pub(super) base: &'a mut Base,
    pub(super) tuned: &'a Tuned,
    pub(super) encoder: Encoder,
    pub(super) head: Head,
    pub(super) survey: Survey,
    /// Scores of the model as it came.
    pub(super) before: Option<Scores>,
}

impl<'a> Packing<'a> {
    /// Compares `tuned` with `base`, which it must have come from, and scores it as it came where
    /// `score` is given.
    pub(super) fn new(
        base: &'a mut Base,
        tuned: &'a Tuned,
        score: Option<Score<'_>>,
    ) -> Result<Self> {
        tuned.check_fits(base)?;
        let encoder = base.encoder.with_pooling(tuned.pooling);
        let head = tuned.head()?;
        let survey = Survey::of(base, tuned)?;
        tuned.check_related(base, &survey)?;
        let before = match score {
            Some(score) => {
                let (encoder, weights, head) = tuned.model()?;
                Some(score(&encoder, &weights, &head)?)
            }
            None => None,
        };
        Ok(Self { base, tuned, encoder, head, survey, before })
    }

    /// The cut of these edits, and its scores where `score` is given; the base is afterwards as before.
    pub(super) fn cut(
        &mut self,
        edits: BTreeMap<String, TensorEdit>,
        story: Story,
        score: Option<Score<'_>>,
    ) -> Result<Cut> {
        let (tuned, head) = (self.tuned, self.head.clone());
        let mut card = Card {
            format: cut::FORMAT,
            task: tuned.name.clone(),
            problem: tuned.problem,
            labels: tuned.labels.clone(),
            outputs: head.outputs(),
            pooling: tuned.pooling,
            max_length: tuned.max_length,
            pairs: tuned.pairs,
            base: BaseId {
                name: self.base.name.clone(),
                fingerprint: self.base.fingerprint.to_string(),
            },
            tokenizer: self.base.tokenizer.fingerprint().to_string(),
            method: story.method,
            training: story.training,
            metric: tuned.metric.clone(),
            metrics: story.metrics,
            tensors: BTreeMap::new(),
            source: None,
        };
        let stored = cut::Head {
            store: head_store(&head),
            hidden: self.base.config().hidden,
            weight: head.weight.clone(),
            bias: head.bias.clone(),
        };
        // Without probes first, to be applied for them.
        let bare = Cut::new(card.clone(), stored.clone(), edits.clone(), Vec::new())?;
        let applied = bare.apply(&mut self.base.weights)?;
        let weights = &self.base.weights;
        let probes = Probe::draw(&self.encoder, weights, &head, tuned.max_length, tuned.pairs);
        let scores = score.map(|score| score(&self.encoder, weights, &head)).transpose();
        applied.undo(&mut self.base.weights);
        if let Some(scores) = scores? {
            card.metrics = scores;
        }
        Cut::new(card, stored, edits, probes)
    }
}

/// The smallest format that holds every value of the head.
fn head_store(head: &Head) -> StoreType {
    let values = || head.weight.iter().chain(&head.bias).copied();
    [StoreType::Bf16, StoreType::F16]
        .into_iter()
        .find(|store| values().all(|v| store.holds(v)))
        .unwrap_or(StoreType::F32)
}
