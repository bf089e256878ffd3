//! Tables of texts and labels, tokenised into packed batches.

use serde::{Deserialize, Serialize};

/// What a task predicts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Problem {
    /// Exactly one of the labels: softmax, cross-entropy.
    SingleLabel,
    /// Any subset of the labels: sigmoid per label, binary cross-entropy.
    MultiLabel,
    /// A number: mean squared error.
    Regression,
}
