//! The architecture of a base: sizes, activation, dropout.

use crate::kernels::gelu::Activation;
use crate::{Error, ErrorKind, Result};
use serde_json::Value;

/// What `config.json` says about a BERT encoder.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Width of the hidden states.
    pub hidden: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Rows of the word embeddings.
    pub vocab: usize,
    /// Longest text in tokens.
    pub positions: usize,
    /// Rows of the token-type embeddings.
    pub token_types: usize,
    /// ε of every LayerNorm.
    pub eps: f32,
    /// Dropout of hidden states in training.
    pub hidden_dropout: f32,
    /// Dropout of attention probabilities in training.
    pub attention_dropout: f32,
    /// Dropout of the pooled vector before the head in training.
    pub head_dropout: f32,
    /// Activation of the feed-forward block.
    pub activation: Activation,
}

impl ModelConfig {
    /// Reads a Hugging Face `config.json`; absent fields take `BertConfig`'s defaults.
    ///
    /// # Errors
    /// An architecture other than BERT, a field of the wrong type or out of range.
    pub fn from_json(config: &Value) -> Result<Self> {
        let wrong = |field: &str, expected: &str| {
            let found = config.get(field).map_or("nothing".into(), Value::to_string);
            Error::new(
                ErrorKind::Base,
                format!("config.json: {field} is {found}, expected {expected}"),
            )
        };
        let size = |field: &str, default: usize| match config.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(v) => v
                .as_u64()
                .filter(|n| (1..=1 << 24).contains(n))
                .map(|n| n as usize)
                .ok_or_else(|| wrong(field, "a whole number from 1 to 16777216")),
        };
        let share = |field: &str, default: f32| match config.get(field) {
            None | Some(Value::Null) => Ok(default),
            Some(v) => v
                .as_f64()
                .map(|p| p as f32)
                .filter(|p| (0.0..1.0).contains(p))
                .ok_or_else(|| wrong(field, "a number in [0, 1)")),
        };
        let text = |field: &str, default: &'static str| match config.get(field) {
            None | Some(Value::Null) => Ok(default.to_string()),
            Some(v) => v.as_str().map(str::to_string).ok_or_else(|| wrong(field, "a string")),
        };
        if text("model_type", "bert")? != "bert" {
            return Err(wrong("model_type", "\"bert\"").with_hint(
                "linocut knows the BERT architecture: BERT, MiniLM, BGE, E5, GTE and the like",
            ));
        }
        if text("position_embedding_type", "absolute")? != "absolute" {
            return Err(wrong("position_embedding_type", "\"absolute\""));
        }
        for field in ["is_decoder", "add_cross_attention"] {
            // As Python has it, anything but these is true.
            let value = config.get(field).unwrap_or(&Value::Null);
            if ![Value::Null, false.into(), 0.into()].contains(value) {
                return Err(wrong(field, "false"));
            }
        }
        let activation = match text("hidden_act", "gelu")?.as_str() {
            "gelu" => Activation::Gelu,
            "gelu_new" | "gelu_pytorch_tanh" => Activation::GeluTanh,
            "relu" => Activation::Relu,
            _ => return Err(wrong("hidden_act", "gelu, gelu_new, gelu_pytorch_tanh or relu")),
        };
        let eps = match config.get("layer_norm_eps") {
            None | Some(Value::Null) => 1e-12,
            Some(v) => v
                .as_f64()
                .map(|e| e as f32)
                .filter(|e| *e > 0.0 && *e < 1.0)
                .ok_or_else(|| wrong("layer_norm_eps", "a number in (0, 1)"))?,
        };
        let hidden_dropout = share("hidden_dropout_prob", 0.1)?;
        let read = Self {
            hidden: size("hidden_size", 768)?,
            layers: size("num_hidden_layers", 12)?,
            heads: size("num_attention_heads", 12)?,
            intermediate: size("intermediate_size", 3072)?,
            vocab: size("vocab_size", 30522)?,
            positions: size("max_position_embeddings", 512)?,
            token_types: size("type_vocab_size", 2)?,
            eps,
            hidden_dropout,
            attention_dropout: share("attention_probs_dropout_prob", 0.1)?,
            head_dropout: share("classifier_dropout", hidden_dropout)?,
            activation,
        };
        if !read.hidden.is_multiple_of(read.heads) {
            return Err(wrong(
                "num_attention_heads",
                &format!("a divisor of hidden_size {}", read.hidden),
            ));
        }
        Ok(read)
    }
}
