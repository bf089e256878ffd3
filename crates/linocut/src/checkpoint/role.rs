//! What a tensor is for.

/// A group of tensors, as `measure` and `--only` name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Tables of embeddings: words, positions, token types.
    Embeddings,
    /// From embeddings to hidden states of another width, `[hidden, width]`.
    Projection,
    /// Query projection, `[hidden, hidden]`.
    Query,
    /// Key projection, `[hidden, hidden]`.
    Key,
    /// Value projection, `[hidden, hidden]`.
    Value,
    /// Query, key and value projections in one, `[3·hidden, hidden]`.
    QueryKeyValue,
    /// Projection of the attention's output, `[hidden, hidden]`.
    AttentionOutput,
    /// First matrix of the feed-forward block, `[intermediate, hidden]`, or two of them where one gates
    /// the other.
    Intermediate,
    /// Second matrix of the feed-forward block, `[hidden, intermediate]`.
    Output,
    /// Scale or shift of a LayerNorm, `[hidden]`.
    LayerNorm,
    /// Bias of any matrix above or of the pooler.
    Bias,
    /// The pooler's matrix, `[hidden, hidden]`.
    Pooler,
}

impl Kind {
    /// Every kind, in the order in which tables list them.
    pub const ALL: [Kind; 12] = [
        Kind::Embeddings,
        Kind::Projection,
        Kind::Query,
        Kind::Key,
        Kind::Value,
        Kind::QueryKeyValue,
        Kind::AttentionOutput,
        Kind::Intermediate,
        Kind::Output,
        Kind::LayerNorm,
        Kind::Bias,
        Kind::Pooler,
    ];

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Embeddings => "embeddings",
            Kind::Projection => "projection",
            Kind::Query => "query",
            Kind::Key => "key",
            Kind::Value => "value",
            Kind::QueryKeyValue => "query-key-value",
            Kind::AttentionOutput => "attention-output",
            Kind::Intermediate => "intermediate",
            Kind::Output => "output",
            Kind::LayerNorm => "layernorm",
            Kind::Bias => "bias",
            Kind::Pooler => "pooler",
        }
    }
}

/// What an encoder does with a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Rows that ids of tokens, positions or token types choose, `[ids, width]`.
    Table,
    /// A matrix `[out, in]` of this kind.
    Matrix(Kind),
    /// Bias of a matrix.
    Bias,
    /// γ of a LayerNorm.
    Scale,
    /// β of a LayerNorm.
    Shift,
}

impl Role {
    /// The group that it is named by.
    pub fn kind(self) -> Kind {
        match self {
            Role::Table => Kind::Embeddings,
            Role::Matrix(kind) => kind,
            Role::Bias => Kind::Bias,
            Role::Scale | Role::Shift => Kind::LayerNorm,
        }
    }

    /// Whether masks and low-rank factors are for it.
    pub fn is_matrix(self) -> bool {
        matches!(self, Role::Matrix(_))
    }

    /// Whether weight decay applies.
    pub fn decays(self) -> bool {
        matches!(self, Role::Table | Role::Matrix(_))
    }
}
