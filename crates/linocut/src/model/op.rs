//! The operations that an encoder is made of: few, and as coarse as the kernels.

use super::dropout::DropoutPlace;
use crate::kernels::activation::Activation;

/// A buffer of rows that one operation fills and others read, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(pub(crate) usize);

/// What stands in the rows of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// One row a token.
    Tokens,
    /// One row a sequence.
    Sequences,
}

/// What chooses the rows of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ids {
    /// The token's id.
    Words,
    /// Its token type.
    Types,
    /// Its place in its sequence, from 0.
    Positions,
    /// Its place among the tokens of its sequence that are not this padding, from the padding's id + 1;
    /// of the padding its id. (`create_position_ids_from_input_ids` of Transformers)
    PositionsAfter(u32),
}

/// The LayerNorm over the rows of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Norm {
    /// Part of γ.
    pub scale: usize,
    /// Part of β.
    pub shift: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// What is added to a value before its LayerNorm: value ← residual + dropout(value + bias).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Add {
    /// Part of the bias.
    pub bias: usize,
    /// Dropout in training.
    pub drop: Option<DropoutPlace>,
    /// The value that went around.
    pub residual: Value,
}

/// One operation. Parts are those of the [layout](super::Layout::parts), shapes are `[rows, width]`.
#[derive(Debug, Clone, PartialEq)]
pub enum Op {
    /// to = `Σ table[ids]`, one row a token.
    Embed {
        /// Parts of tables, and what chooses their rows, in the order of the sum.
        tables: Vec<(usize, Ids)>,
        /// `[tokens, width]`
        to: Value,
    },
    /// to = from·Wᵀ + bias
    Linear {
        /// Part of W, `[out, in]`.
        weight: usize,
        /// Part of the bias; `None` where the next operation adds it.
        bias: Option<usize>,
        /// `[rows, in]`
        from: Value,
        /// `[rows, out]`
        to: Value,
    },
    /// Softmax(q·kᵀ/√d + bias of the distance)·v of every head and sequence.
    Attend {
        /// Number of heads.
        heads: usize,
        /// Part of the table of biases by distance, `[buckets, heads]`; see
        /// [`Distances`](crate::kernels::attention::Distances).
        distances: Option<usize>,
        /// Queries, `[rows, hidden]`: of every token, or of the first of every sequence.
        q: Value,
        /// Keys beside values, `[tokens, 2·hidden]`.
        kv: Value,
        /// Dropout of the probabilities in training.
        drop: DropoutPlace,
        /// `[rows, hidden]`
        to: Value,
    },
    /// from ← from + bias, to = activation(from). What reads `to` is the next operation; training makes
    /// it again for its gradient.
    Activate {
        /// The function.
        activation: Activation,
        /// Part of the bias.
        bias: usize,
        /// `[rows, width]`
        from: Value,
        /// `[rows, width]`
        to: Value,
    },
    /// to = LayerNorm(from), after from ← residual + dropout(from + bias) where there is one.
    Norm {
        /// Its parameters.
        norm: Norm,
        /// What comes before.
        add: Option<Add>,
        /// Dropout after it in training.
        drop: Option<DropoutPlace>,
        /// `[rows, width]`
        from: Value,
        /// `[rows, width]`
        to: Value,
    },
    /// to = the first row of every sequence.
    First {
        /// `[tokens, width]`
        from: Value,
        /// `[sequences, width]`
        to: Value,
    },
    /// to = the mean of the rows of every sequence.
    Mean {
        /// `[tokens, width]`
        from: Value,
        /// `[sequences, width]`
        to: Value,
    },
}

impl Ids {
    /// The rows that the tokens of one sequence choose, given their ids and types.
    pub(crate) fn rows(self, ids: &[u32], types: &[u32]) -> Vec<u32> {
        match self {
            Ids::Words => ids.to_vec(),
            Ids::Types => types.to_vec(),
            Ids::Positions => (0..ids.len() as u32).collect(),
            Ids::PositionsAfter(padding) => {
                let mut last = padding;
                let mut row = |&id: &u32| {
                    if id == padding {
                        return padding;
                    }
                    last += 1;
                    last
                };
                ids.iter().map(&mut row).collect()
            }
        }
    }
}

impl Op {
    /// Parts that it reads, in the order of the layout.
    pub fn parts(&self) -> Vec<usize> {
        match self {
            Op::Embed { tables, .. } => {
                let mut parts: Vec<usize> = tables.iter().map(|(part, _)| *part).collect();
                parts.sort_unstable();
                parts
            }
            Op::Linear { weight, bias, .. } => [*weight].into_iter().chain(*bias).collect(),
            Op::Activate { bias, .. } => vec![*bias],
            Op::Norm { norm, add, .. } => {
                let bias = add.iter().map(|add| add.bias);
                bias.chain([norm.scale, norm.shift]).collect()
            }
            Op::Attend { distances, .. } => distances.iter().copied().collect(),
            Op::First { .. } | Op::Mean { .. } => vec![],
        }
    }

    /// Values that it reads.
    pub fn reads(&self) -> Vec<Value> {
        match self {
            Op::Embed { .. } => vec![],
            Op::Linear { from, .. }
            | Op::Activate { from, .. }
            | Op::First { from, .. }
            | Op::Mean { from, .. } => vec![*from],
            Op::Attend { q, kv, .. } => vec![*q, *kv],
            Op::Norm { add, from, .. } => {
                [*from].into_iter().chain(add.as_ref().map(|add| add.residual)).collect()
            }
        }
    }

    /// The value that it fills.
    pub fn to(&self) -> Value {
        match self {
            Op::Embed { to, .. }
            | Op::Linear { to, .. }
            | Op::Attend { to, .. }
            | Op::Activate { to, .. }
            | Op::Norm { to, .. }
            | Op::First { to, .. }
            | Op::Mean { to, .. } => *to,
        }
    }
}
