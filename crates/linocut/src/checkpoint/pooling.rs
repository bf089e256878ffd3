//! From hidden states to one vector.

use serde::{Deserialize, Serialize};

/// How the hidden states of one text become the one vector that the head reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pooling {
    /// First token, through the base's pooler: `tanh(W·h + b)`, as `BertForSequenceClassification`.
    Cls,
    /// First token as it is.
    First,
    /// Mean over all tokens, as sentence-transformers models.
    Mean,
}

impl Pooling {
    /// Every pooling, each at the place of its number.
    pub const ALL: [Pooling; 3] = [Pooling::Cls, Pooling::First, Pooling::Mean];

    /// The name used on the command line and in cards.
    pub fn name(self) -> &'static str {
        match self {
            Pooling::Cls => "cls",
            Pooling::First => "first",
            Pooling::Mean => "mean",
        }
    }
}
