//! From edits to a cut: head, card, scores, probes.

use std::collections::BTreeMap;

use serde_json::Value;

use super::ingest::Tuned;
use super::outline::Outline;
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
        Ok(Self { base, tuned, head, survey, before })
    }

    /// The cut of these edits, and its scores where `score` is given; the base is afterwards as before.
    pub(super) fn cut(
        &mut self,
        edits: BTreeMap<String, TensorEdit>,
        story: Story,
        score: Option<Score<'_>>,
    ) -> Result<Cut> {
        cut(self.base, &self.tuned.outline, &self.head, edits, story, score)
    }
}

/// The cut of these edits, and its scores where `score` is given; the base is afterwards as before.
pub(super) fn cut(
    base: &mut Base,
    outline: &Outline,
    head: &Head,
    edits: BTreeMap<String, TensorEdit>,
    story: Story,
    score: Option<Score<'_>>,
) -> Result<Cut> {
    let Outline { name, problem, labels, pooling, max_length, pairs, metric } = outline.clone();
    let mut card = Card {
        format: cut::FORMAT,
        task: name,
        problem,
        labels,
        outputs: head.outputs(),
        pooling,
        max_length,
        long: None,
        unit: false,
        pairs,
        base: BaseId { name: base.name.clone(), fingerprint: base.fingerprint.to_string() },
        tokenizer: base.tokenizer.fingerprint().to_string(),
        method: story.method,
        training: story.training,
        metric,
        metrics: story.metrics,
        tensors: BTreeMap::new(),
        slim: None,
        decision: None,
        source: None,
    };
    let stored = cut::Head {
        store: narrowest(head.weight.iter().chain(&head.bias)),
        hidden: base.config().hidden,
        weight: head.weight.clone(),
        bias: head.bias.clone(),
    };
    // Without probes first, to be applied for them.
    let bare = Cut::new(card.clone(), stored.clone(), edits.clone(), Vec::new())?;
    let encoder = base.encoder.with_pooling(pooling);
    let applied = bare.apply(&mut base.weights)?;
    let probes = Probe::draw(&encoder, &base.weights, head, max_length, pairs);
    let scores = score.map(|score| score(&encoder, &base.weights, head)).transpose();
    applied.undo(&mut base.weights);
    if let Some(scores) = scores? {
        card.metrics = scores;
    }
    Cut::new(card, stored, edits, probes)
}

/// The smallest format that holds all of these values.
pub(super) fn narrowest<'v>(values: impl Iterator<Item = &'v f32> + Clone) -> StoreType {
    let holds = |store: &StoreType| values.clone().all(|v| store.holds(*v));
    [StoreType::Bf16, StoreType::F16].into_iter().find(holds).unwrap_or(StoreType::F32)
}
