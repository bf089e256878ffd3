//! The sizes of a base, and reading them from `config.json`.

use crate::kernels::activation::Activation;
use crate::{Error, ErrorKind, Result};
use serde_json::Value;

/// The sizes of an encoder and its dropout.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelConfig {
    /// Width of the hidden states.
    pub hidden: usize,
    /// Encoder layers.
    pub layers: usize,
    /// Layers that have tensors of their own; fewer where layers share theirs.
    pub own_layers: usize,
    /// Layers that share the tensors of each of these; 1 but where they do.
    pub sharing: f64,
    /// Attention heads; divides `hidden`.
    pub heads: usize,
    /// Width of the feed-forward block.
    pub intermediate: usize,
    /// Rows of the word embeddings.
    pub vocab: usize,
    /// Longest text in tokens.
    pub positions: usize,
    /// Rows of the token-type embeddings; 0 where there are none.
    pub token_types: usize,
    /// Whether the family's own classifier reads the mean of the tokens, not the first.
    pub reads_mean: bool,
    /// Dropout of hidden states in training.
    pub hidden_dropout: f32,
    /// Dropout between the matrices of a feed-forward block in training.
    pub inner_dropout: f32,
    /// Dropout of attention probabilities in training.
    pub attention_dropout: f32,
    /// Dropout of the pooled vector before the head in training.
    pub head_dropout: f32,
}

impl ModelConfig {
    /// Which of the layers that have tensors of their own layer `number` computes with. (As
    /// `AlbertTransformer` of Transformers groups them.)
    pub(crate) fn own_layer(&self, number: usize) -> usize {
        (number as f64 / self.sharing) as usize
    }

    /// The same sizes with the lowest `depth` layers alone.
    pub(super) fn up_to(self, depth: usize) -> Self {
        let own_layers = self.own_layer(depth - 1) + 1;
        Self { layers: depth, own_layers, ..self }
    }
}

/// The fields of a `config.json`; absent ones take the default that is given with the name.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a Value);

impl<'a> Fields<'a> {
    /// The error of a field that is not what was expected.
    pub(super) fn wrong(self, field: &str, expected: &str) -> Error {
        let found = self.0.get(field).map_or("nothing".into(), Value::to_string);
        let message = format!("config.json: {field} is {found}, expected {expected}");
        Error::new(ErrorKind::Base, message)
    }

    fn get(self, field: &str) -> Option<&'a Value> {
        self.0.get(field).filter(|value| !value.is_null())
    }

    /// A whole number from 1 to 2²⁴.
    pub(super) fn size(self, field: &str, default: usize) -> Result<usize> {
        let Some(found) = self.get(field) else { return Ok(default) };
        let size = found.as_u64().filter(|n| (1..=1 << 24).contains(n));
        let wrong = || self.wrong(field, "a whole number from 1 to 16777216");
        size.map(|n| n as usize).ok_or_else(wrong)
    }

    /// A whole number from 0 to 2²⁴.
    pub(super) fn count(self, field: &str, default: usize) -> Result<usize> {
        let Some(found) = self.get(field) else { return Ok(default) };
        let count = found.as_u64().filter(|n| (0..=1 << 24).contains(n));
        let wrong = || self.wrong(field, "a whole number from 0 to 16777216");
        count.map(|n| n as usize).ok_or_else(wrong)
    }

    /// Yes or no.
    pub(super) fn flag(self, field: &str, default: bool) -> Result<bool> {
        let Some(found) = self.get(field) else { return Ok(default) };
        found.as_bool().ok_or_else(|| self.wrong(field, "true or false"))
    }

    /// A number above 0.
    pub(super) fn positive(self, field: &str, default: f32) -> Result<f32> {
        let Some(found) = self.get(field) else { return Ok(default) };
        let number = found.as_f64().map(|v| v as f32).filter(|v| *v > 0.0 && v.is_finite());
        number.ok_or_else(|| self.wrong(field, "a number above 0"))
    }

    /// A number in [0, 1).
    pub(super) fn share(self, field: &str, default: f32) -> Result<f32> {
        let Some(found) = self.get(field) else { return Ok(default) };
        let share = found.as_f64().map(|p| p as f32).filter(|p| (0.0..1.0).contains(p));
        share.ok_or_else(|| self.wrong(field, "a number in [0, 1)"))
    }

    /// The ε of norms.
    pub(super) fn eps(self, field: &str, default: f32) -> Result<f32> {
        let Some(found) = self.get(field) else { return Ok(default) };
        let eps = found.as_f64().map(|e| e as f32).filter(|e| *e > 0.0 && *e < 1.0);
        eps.ok_or_else(|| self.wrong(field, "a number in (0, 1)"))
    }

    pub(super) fn text(self, field: &str, default: &str) -> Result<String> {
        let Some(found) = self.get(field) else { return Ok(default.to_string()) };
        found.as_str().map(str::to_string).ok_or_else(|| self.wrong(field, "a string"))
    }

    pub(super) fn activation(self, field: &str, default: &str) -> Result<Activation> {
        match self.text(field, default)?.as_str() {
            "gelu" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            "tanh" => Ok(Activation::Tanh),
            _ => Err(self.wrong(field, "gelu, gelu_new, gelu_pytorch_tanh, relu, silu or tanh")),
        }
    }

    /// Checks that a field has the one value that is computed here.
    pub(super) fn only(self, field: &str, value: &str) -> Result<()> {
        if self.text(field, value)? == value {
            Ok(())
        } else {
            Err(self.wrong(field, &format!("{value:?}")))
        }
    }

    /// Checks that a field is not set.
    pub(super) fn unset(self, field: &str) -> Result<()> {
        // As Python has it, anything but these is true.
        let value = self.0.get(field).unwrap_or(&Value::Null);
        match [Value::Null, false.into(), 0.into()].contains(value) {
            true => Ok(()),
            false => Err(self.wrong(field, "false")),
        }
    }
}
