//! The operations that an encoder is made of: few, and as coarse as the kernels.

use super::dropout::DropoutPlace;
use crate::kernels::activation::Activation;
use crate::kernels::attention::Buckets;

/// A buffer of rows that one operation fills and others read, by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Value(pub(crate) usize);

/// What stands in the rows of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rows {
    /// One row a token.
    Tokens,
    /// One row a sequence.
    Sequences,
    /// One row for each group of distances that two tokens of one sequence have.
    Distances(Buckets),
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
    pub shift: Option<usize>,
    /// Added to the variance.
    pub eps: f32,
}

/// What is added to a value: value ← residual + dropout(value + bias).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Add {
    /// Part of the bias.
    pub bias: Option<usize>,
    /// Dropout in training.
    pub drop: Option<DropoutPlace>,
    /// The value that went around.
    pub residual: Value,
}

/// How attention knows where tokens are.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Positions {
    /// Embeddings say it.
    Embedded,
    /// By the part of a table of biases by distance, `[buckets, heads]`; see
    /// [`Distances`](crate::kernels::attention::Distances).
    Distances(usize),
    /// By turning queries and keys, with this θ; see [`Rotary`](crate::kernels::attention::Rotary).
    Rotary(f32),
    /// By keys and queries of distances, `[distances, hidden]` each; see
    /// [`Disentangled`](crate::kernels::attention::Disentangled).
    Disentangled {
        /// What queries of tokens are multiplied with.
        keys: Option<Value>,
        /// What keys of tokens are multiplied with.
        queries: Option<Value>,
    },
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
    /// Rows of a table that stand for the distances between the tokens of the texts.
    Distances {
        /// Part of the table, `[2·span, width]`.
        table: usize,
        /// `[distances, width]`
        to: Value,
    },
    /// Softmax(q·kᵀ/√d + what positions bring)·v of every head and sequence.
    Attend {
        /// Number of heads.
        heads: usize,
        /// How it knows where tokens are.
        positions: Positions,
        /// How far a token attends, either way; without, to its whole sequence.
        window: Option<usize>,
        /// Queries, `[rows, hidden]`: of every token, or of the first of every sequence.
        q: Value,
        /// Keys, `[tokens, hidden]`.
        k: Value,
        /// Values, `[tokens, hidden]`. What is one value with others stands beside them in its rows, in
        /// this order: keys and values, or all three.
        v: Value,
        /// Dropout of the probabilities in training.
        drop: DropoutPlace,
        /// `[rows, hidden]`
        to: Value,
    },
    /// from ← from + bias, to = activation(from), or where it is gated the activation of the first half
    /// of each row times the second. What reads `to` is the next operation; training makes it again for
    /// its gradient.
    Activate {
        /// The function.
        activation: Activation,
        /// Whether the second half of a row gates the first.
        gated: bool,
        /// Part of the bias.
        bias: Option<usize>,
        /// `[rows, width]`, or `[rows, 2·width]`
        from: Value,
        /// `[rows, width]`
        to: Value,
    },
    /// to = from with what is added.
    Add {
        /// What comes to it.
        add: Add,
        /// `[rows, width]`
        from: Value,
        /// `[rows, width]`
        to: Value,
    },
    /// to = dropout(from) in training, else from.
    Drop {
        /// The dropout.
        drop: DropoutPlace,
        /// `[rows, width]`
        from: Value,
        /// `[rows, width]`
        to: Value,
    },
    /// to = the rows of the `size` tokens around each, side by side: entry c of the k-th stands at
    /// c·size + k, and is 0 beyond the sequence.
    Around {
        /// How many, an odd number.
        size: usize,
        /// `[tokens, width]`
        from: Value,
        /// `[tokens, width·size]`
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
            Op::Distances { table, .. } => vec![*table],
            Op::Activate { bias, .. } => bias.iter().copied().collect(),
            Op::Add { add, .. } => add.bias.iter().copied().collect(),
            Op::Norm { norm, add, .. } => {
                let bias = add.and_then(|add| add.bias);
                bias.into_iter().chain([norm.scale]).chain(norm.shift).collect()
            }
            Op::Attend { positions: Positions::Distances(table), .. } => vec![*table],
            Op::Attend { .. }
            | Op::Drop { .. }
            | Op::Around { .. }
            | Op::First { .. }
            | Op::Mean { .. } => vec![],
        }
    }

    /// Values that it reads.
    pub fn reads(&self) -> Vec<Value> {
        match self {
            Op::Embed { .. } | Op::Distances { .. } => vec![],
            Op::Linear { from, .. }
            | Op::Activate { from, .. }
            | Op::Drop { from, .. }
            | Op::Around { from, .. }
            | Op::First { from, .. }
            | Op::Mean { from, .. } => vec![*from],
            Op::Attend { q, k, v, positions, .. } => {
                let of_distances = match *positions {
                    Positions::Disentangled { keys, queries } => [keys, queries],
                    _ => [None, None],
                };
                let mut values = vec![*q, *k, *v];
                values.dedup();
                values.extend(of_distances.into_iter().flatten());
                values
            }
            Op::Add { add, from, .. } => vec![*from, add.residual],
            Op::Norm { add, from, .. } => {
                [*from].into_iter().chain(add.as_ref().map(|add| add.residual)).collect()
            }
        }
    }

    /// The value that it fills.
    pub fn to(&self) -> Value {
        match self {
            Op::Embed { to, .. }
            | Op::Distances { to, .. }
            | Op::Add { to, .. }
            | Op::Drop { to, .. }
            | Op::Around { to, .. }
            | Op::Linear { to, .. }
            | Op::Attend { to, .. }
            | Op::Activate { to, .. }
            | Op::Norm { to, .. }
            | Op::First { to, .. }
            | Op::Mean { to, .. } => *to,
        }
    }
}
