//! What kind of tensor a name stands for.

/// The role of a tensor in the encoder; `measure` and `--only` group by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// Word, position and token-type embeddings.
    Embeddings,
    /// Query projection, `[hidden, hidden]`.
    Query,
    /// Key projection, `[hidden, hidden]`.
    Key,
    /// Value projection, `[hidden, hidden]`.
    Value,
    /// Projection of the attention's output, `[hidden, hidden]`.
    AttentionOutput,
    /// First matrix of the feed-forward block, `[intermediate, hidden]`.
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
    pub const ALL: [Kind; 10] = [
        Kind::Embeddings,
        Kind::Query,
        Kind::Key,
        Kind::Value,
        Kind::AttentionOutput,
        Kind::Intermediate,
        Kind::Output,
        Kind::LayerNorm,
        Kind::Bias,
        Kind::Pooler,
    ];

    /// Those that encoder layers have.
    pub fn of_layers() -> impl Iterator<Item = Kind> {
        Self::ALL.into_iter().filter(|kind| !matches!(kind, Kind::Embeddings | Kind::Pooler))
    }

    /// The name used on the command line and in reports.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Embeddings => "embeddings",
            Kind::Query => "query",
            Kind::Key => "key",
            Kind::Value => "value",
            Kind::AttentionOutput => "attention-output",
            Kind::Intermediate => "intermediate",
            Kind::Output => "output",
            Kind::LayerNorm => "layernorm",
            Kind::Bias => "bias",
            Kind::Pooler => "pooler",
        }
    }
}
