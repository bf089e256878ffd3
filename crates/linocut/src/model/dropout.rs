//! Which stream of random numbers drops what, at one training step.

use super::ModelConfig;
use crate::kernels::random::{Dropout, Purpose, key};

/// Dropout of one training step: probabilities, seed and step.
#[derive(Debug, Clone, Copy)]
pub struct DropoutStep {
    hidden: f32,
    inner: f32,
    attention: f32,
    head: f32,
    seed: u64,
    step: u64,
}

/// A place where training drops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DropoutPlace {
    /// With which of the model's probabilities.
    pub of: Dropped,
    /// Its number, different from all others of a program; 0 is the head's.
    pub number: usize,
}

/// What is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dropped {
    /// Entries of hidden states.
    Hidden,
    /// Entries between the matrices of a feed-forward block.
    Inner,
    /// Attention probabilities.
    Attention,
}

impl DropoutStep {
    /// The model's own probabilities at `step` of the run with `seed`.
    pub fn new(config: &ModelConfig, seed: u64, step: u64) -> Self {
        Self {
            hidden: config.hidden_dropout,
            inner: config.inner_dropout,
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

    pub(super) fn at(self, drop: DropoutPlace) -> Option<Dropout> {
        let probability = match drop.of {
            Dropped::Hidden => self.hidden,
            Dropped::Inner => self.inner,
            Dropped::Attention => self.attention,
        };
        self.place(probability, drop.number)
    }
}
