//! Which stream of random numbers drops what, at one training step.

use super::ModelConfig;
use crate::kernels::random::{Dropout, Purpose, key};

/// Dropout of one training step: probabilities, seed and step.
#[derive(Debug, Clone, Copy)]
pub struct DropoutStep {
    hidden: f32,
    attention: f32,
    head: f32,
    seed: u64,
    step: u64,
}

impl DropoutStep {
    /// The model's own probabilities at `step` of the run with `seed`.
    pub fn new(config: &ModelConfig, seed: u64, step: u64) -> Self {
        Self {
            hidden: config.hidden_dropout,
            attention: config.attention_dropout,
            head: config.head_dropout,
            seed,
            step,
        }
    }

    fn place(self, probability: f32, place: usize) -> Option<Dropout> {
        Dropout::new(probability, key(self.seed, Purpose::Dropout, self.step, place as u64))
    }

    pub(super) fn head(self) -> Option<Dropout> {
        self.place(self.head, 0)
    }

    pub(super) fn embeddings(self) -> Option<Dropout> {
        self.place(self.hidden, 1)
    }

    pub(super) fn attention(self, layer: usize) -> Option<Dropout> {
        self.place(self.attention, 2 + 3 * layer)
    }

    pub(super) fn attention_output(self, layer: usize) -> Option<Dropout> {
        self.place(self.hidden, 3 + 3 * layer)
    }

    pub(super) fn output(self, layer: usize) -> Option<Dropout> {
        self.place(self.hidden, 4 + 3 * layer)
    }
}
