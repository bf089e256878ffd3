//! The encoder layer as BERT has it, which most families share under other names: attention, then a
//! feed-forward block, each added to what it read and normed after.

use crate::Result;
use crate::checkpoint::LayerNames;
use crate::kernels::activation::Activation;
use crate::model::config::Fields;
use crate::model::dropout::{DropoutPlace, Dropped};
use crate::model::op::{Add, Ids, Norm, Positions, Value};
use crate::model::program::Builder;
use crate::model::{ModelConfig, Place};
use serde_json::Value as Json;

/// All layers, alike but for their tensors.
pub(super) struct Layers<'a> {
    pub(super) names: &'a LayerNames,
    pub(super) sizes: &'a ModelConfig,
    pub(super) activation: Activation,
    /// ε of the norms.
    pub(super) eps: f32,
    /// Whether training drops what attention gives, and what the feed-forward block gives.
    pub(super) drops: [bool; 2],
    /// How attention knows where tokens are.
    pub(super) positions: Positions,
}

impl Layers<'_> {
    /// The layers over `x`; gives the states of the last.
    pub(super) fn write(&self, b: &mut Builder, mut x: Value) -> Value {
        for number in 0..self.sizes.layers {
            b.at(Place::Layer(self.sizes.own_layer(number)));
            x = self.layer(b, x, number + 1 == self.sizes.layers);
            b.end_layer(x);
        }
        x
    }

    /// One layer; where the `last` one is read at first tokens alone, all but keys and values is
    /// computed for them alone.
    fn layer(&self, b: &mut Builder, x: Value, last: bool) -> Value {
        let (names, h) = (self.names, self.sizes.hidden);
        let q_weight = b.weights(&[names.query], [h, h]);
        let kv_weight = b.weights(&[names.key, names.value], [h, h]);
        let q_bias = b.biases(&[names.query], h);
        let kv_bias = b.biases(&[names.key, names.value], h);
        b.stage();
        // Gradients add up from the last operation to the first: this order is part of every cut.
        let (asking, q, kv) = if last && b.reads_first() {
            let first = b.first(x);
            let q = b.linear(q_weight, Some(q_bias), first);
            (first, q, b.linear(kv_weight, Some(kv_bias), x))
        } else {
            let kv = b.linear(kv_weight, Some(kv_bias), x);
            (x, b.linear(q_weight, Some(q_bias), x), kv)
        };
        let drop = b.drop(Dropped::Attention);
        let single = last && b.reads_first();
        let positions = (self.positions, None);
        let context = b.attend(self.sizes.heads, positions, [q, kv, kv], single, drop);
        self.after_attention(b, context, asking)
    }

    /// The rest of a layer, from what attention gave and what went around it.
    pub(super) fn after_attention(&self, b: &mut Builder, context: Value, asking: Value) -> Value {
        let (names, h, f) = (self.names, self.sizes.hidden, self.sizes.intermediate);
        let attention = (names.attention_output, names.attention_norm);
        // The place is counted whether it drops or not.
        let drop = Some(b.drop(Dropped::Hidden)).filter(|_| self.drops[0]);
        let middle = self.matrix_and_norm(b, attention, h, (context, asking), drop);

        let weight = b.weights(&[names.intermediate], [f, h]);
        let bias = b.biases(&[names.intermediate], f);
        b.stage();
        let wide = b.linear(weight, None, middle);
        let wide = b.activate(self.activation, Some(bias), wide);
        let drop = Some(b.drop(Dropped::Hidden)).filter(|_| self.drops[1]);
        let output = (names.output, names.output_norm);
        self.matrix_and_norm(b, output, f, (wide, middle), drop)
    }

    /// LayerNorm(residual + dropout(from·Wᵀ + bias)), `from` of this width.
    fn matrix_and_norm(
        &self,
        b: &mut Builder,
        (dense, norm): (&str, &str),
        width: usize,
        (from, residual): (Value, Value),
        drop: Option<DropoutPlace>,
    ) -> Value {
        let h = self.sizes.hidden;
        let weight = b.weights(&[dense], [h, width]);
        let bias = b.biases(&[dense], h);
        let norm = b.norm(norm, h, self.eps);
        b.stage();
        let sum = b.linear(weight, None, from);
        let add = Add { bias: Some(bias), drop, residual };
        b.add_and_norm(Some(add), norm, sum, None)
    }
}

/// LayerNorm of the sum of rows of `tables`, and dropout.
pub(super) fn embeddings(b: &mut Builder, tables: Vec<(usize, Ids)>, norm: Norm) -> Value {
    let x = b.embed(tables);
    let drop = b.drop(Dropped::Hidden);
    b.add_and_norm(None, norm, x, Some(drop))
}

/// activation(W·row + b), through which texts are read under `cls`.
pub(super) fn dense_pooler(
    b: &mut Builder,
    module: &str,
    hidden: usize,
    activation: Activation,
    row: Value,
) {
    let weight = b.weights(&[module], [hidden, hidden]);
    let bias = b.biases(&[module], hidden);
    if b.reads_pooler() {
        b.stage();
        let pooled = b.linear(weight, None, row);
        b.activate(activation, Some(bias), pooled);
    }
}

/// The sizes and dropout under the names that most families have for them.
pub(super) fn sizes(config: Fields<'_>, default: &ModelConfig) -> Result<ModelConfig> {
    config.only("position_embedding_type", "absolute")?;
    config.unset("is_decoder")?;
    config.unset("add_cross_attention")?;
    let hidden_dropout = config.share("hidden_dropout_prob", default.hidden_dropout)?;
    let layers = config.size("num_hidden_layers", default.layers)?;
    let sizes = ModelConfig {
        hidden: config.size("hidden_size", default.hidden)?,
        layers,
        own_layers: layers,
        sharing: 1.0,
        heads: config.size("num_attention_heads", default.heads)?,
        intermediate: config.size("intermediate_size", default.intermediate)?,
        vocab: config.size("vocab_size", default.vocab)?,
        positions: config.size("max_position_embeddings", default.positions)?,
        token_types: config.count("type_vocab_size", default.token_types)?,
        reads_mean: false,
        hidden_dropout,
        inner_dropout: 0.0,
        attention_dropout: config
            .share("attention_probs_dropout_prob", default.attention_dropout)?,
        head_dropout: config.share("classifier_dropout", hidden_dropout)?,
    };
    divides(config, "num_attention_heads", ("hidden_size", sizes.hidden), sizes.heads)?;
    Ok(sizes)
}

/// Checks that the number of heads divides the width.
pub(super) fn divides(
    config: Fields<'_>,
    heads: &str,
    (hidden, width): (&str, usize),
    number: usize,
) -> Result<()> {
    match width.is_multiple_of(number) {
        true => Ok(()),
        false => Err(config.wrong(heads, &format!("a divisor of {hidden} {width}"))),
    }
}

/// Most families' sizes where `config.json` does not say them: those of BERT-base.
pub(super) const BASE: ModelConfig = ModelConfig {
    hidden: 768,
    layers: 12,
    own_layers: 12,
    sharing: 1.0,
    heads: 12,
    intermediate: 3072,
    vocab: 30522,
    positions: 512,
    token_types: 2,
    reads_mean: false,
    hidden_dropout: 0.1,
    inner_dropout: 0.0,
    attention_dropout: 0.1,
    head_dropout: 0.1,
};

/// Checks that heads have a whole number of pairs to turn.
pub(super) fn even_heads(config: Fields<'_>, sizes: &ModelConfig) -> Result<()> {
    let d = sizes.hidden / sizes.heads;
    if !d.is_multiple_of(2) {
        return Err(config.wrong("num_attention_heads", "heads of an even width"));
    }
    match config.size("head_dim", d)? == d {
        true => Ok(()),
        false => Err(config.wrong("head_dim", &format!("{d}, hidden_size by num_attention_heads"))),
    }
}

/// Puts θ of rotary positions, from the parameters that name it where they do, under `field`; another type
/// of them under `rope_type`.
pub(super) fn rotary(fields: &mut Json, parameters: &Json, field: &str) {
    if !parameters["rope_theta"].is_null() {
        fields[field] = parameters["rope_theta"].clone();
    }
    let kind = &parameters["rope_type"];
    if !kind.is_null() && kind != "default" {
        fields["rope_type"] = kind.clone();
    }
}

/// Checks that positions turn by plain angles.
pub(super) fn plain_angles(config: Fields<'_>) -> Result<()> {
    config.only("rope_type", "default")?;
    config.unset("rope_scaling")
}
