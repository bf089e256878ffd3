//! Names, shapes and order of a BERT encoder's tensors.

use super::{Kind, Layout, ModelConfig};
use crate::{Error, ErrorKind, Result};

/// Positions of the embeddings' tensors in the layout.
pub(crate) mod embedding {
    pub(crate) const WORD: usize = 0;
    pub(crate) const POSITION: usize = 1;
    pub(crate) const TOKEN_TYPE: usize = 2;
    pub(crate) const NORM_WEIGHT: usize = 3;
    pub(crate) const NORM_BIAS: usize = 4;
    pub(crate) const COUNT: usize = 5;
}

/// Positions of a layer's tensors, relative to its first. Query, key and value stand side by side
/// so that keys and values are one product.
pub(crate) mod slot {
    pub(crate) const QUERY: usize = 0;
    pub(crate) const KEY: usize = 1;
    pub(crate) const VALUE: usize = 2;
    pub(crate) const QUERY_BIAS: usize = 3;
    pub(crate) const KEY_BIAS: usize = 4;
    pub(crate) const VALUE_BIAS: usize = 5;
    pub(crate) const ATTENTION_OUTPUT: usize = 6;
    pub(crate) const ATTENTION_OUTPUT_BIAS: usize = 7;
    pub(crate) const ATTENTION_NORM_WEIGHT: usize = 8;
    pub(crate) const INTERMEDIATE: usize = 10;
    pub(crate) const INTERMEDIATE_BIAS: usize = 11;
    pub(crate) const OUTPUT: usize = 12;
    pub(crate) const OUTPUT_BIAS: usize = 13;
    pub(crate) const OUTPUT_NORM_WEIGHT: usize = 14;
    pub(crate) const COUNT: usize = 16;
}

/// Index of `slot` of `layer` in the layout.
pub(crate) fn layer_tensor(layer: usize, slot: usize) -> usize {
    embedding::COUNT + layer * slot::COUNT + slot
}

/// Index of the pooler's matrix in the layout (its bias follows), whether it is there or not.
pub(crate) fn pooler_tensor(layers: usize) -> usize {
    layer_tensor(layers, 0)
}

impl Layout {
    /// The tensors of a BERT encoder: word, position and token-type embeddings, their LayerNorm,
    /// the layers, and the pooler if there is one.
    pub fn bert(config: &ModelConfig, pooler: bool) -> Self {
        Self::new(tensors(config, pooler))
    }
}

/// Checks that a file's tensors have the shapes that its config says, before anything of those sizes
/// is made. `shape` gives the shape of a tensor by canonical name, `count` says how many there are,
/// and `place` is the model's folder, for errors.
///
/// # Errors
/// More layers than the file can have, or the first tensor that is missing or of another shape.
pub(crate) fn check_shapes<'a>(
    config: &ModelConfig,
    pooler: bool,
    shape: impl Fn(&str) -> Option<&'a [usize]>,
    count: usize,
    place: &str,
) -> Result<()> {
    let refuse = |message: String| Error::new(ErrorKind::Base, format!("{place}: {message}"));
    if config.layers > count / slot::COUNT {
        return Err(refuse(format!(
            "config.json makes it {} layers of {} tensors, the weights have {count} tensors",
            config.layers,
            slot::COUNT
        )));
    }
    for (name, expected, ..) in tensors(config, pooler) {
        match shape(&name) {
            Some(found) if found == expected => {}
            Some(found) => {
                return Err(refuse(format!(
                    "tensor {name} has shape {found:?}, config.json makes it {expected:?}"
                )));
            }
            None => {
                return Err(refuse(format!("tensor {name} is missing")).with_hint(
                    "is this folder an encoder of the architecture its config.json says?",
                ));
            }
        }
    }
    Ok(())
}

/// Name, shape, kind and layer of every tensor, in the layout's order.
type Tensors = Vec<(String, Vec<usize>, Kind, Option<usize>)>;

fn tensors(config: &ModelConfig, pooler: bool) -> Tensors {
    let (h, f) = (config.hidden, config.intermediate);
    let mut tensors = Vec::new();
    let mut add = |name: String, shape: &[usize], kind, layer| {
        tensors.push((name, shape.to_vec(), kind, layer));
    };
    for (name, rows) in [
        ("word_embeddings", config.vocab),
        ("position_embeddings", config.positions),
        ("token_type_embeddings", config.token_types),
    ] {
        add(format!("embeddings.{name}.weight"), &[rows, h], Kind::Embeddings, None);
    }
    add("embeddings.LayerNorm.weight".into(), &[h], Kind::LayerNorm, None);
    add("embeddings.LayerNorm.bias".into(), &[h], Kind::LayerNorm, None);
    for layer in 0..config.layers {
        let mut add = |suffix: &str, shape: &[usize], kind| {
            add(format!("encoder.layer.{layer}.{suffix}"), shape, kind, Some(layer));
        };
        for (name, kind) in [("query", Kind::Query), ("key", Kind::Key), ("value", Kind::Value)] {
            add(&format!("attention.self.{name}.weight"), &[h, h], kind);
        }
        for name in ["query", "key", "value"] {
            add(&format!("attention.self.{name}.bias"), &[h], Kind::Bias);
        }
        add("attention.output.dense.weight", &[h, h], Kind::AttentionOutput);
        add("attention.output.dense.bias", &[h], Kind::Bias);
        add("attention.output.LayerNorm.weight", &[h], Kind::LayerNorm);
        add("attention.output.LayerNorm.bias", &[h], Kind::LayerNorm);
        add("intermediate.dense.weight", &[f, h], Kind::Intermediate);
        add("intermediate.dense.bias", &[f], Kind::Bias);
        add("output.dense.weight", &[h, f], Kind::Output);
        add("output.dense.bias", &[h], Kind::Bias);
        add("output.LayerNorm.weight", &[h], Kind::LayerNorm);
        add("output.LayerNorm.bias", &[h], Kind::LayerNorm);
    }
    if pooler {
        add("pooler.dense.weight".into(), &[h, h], Kind::Pooler, None);
        add("pooler.dense.bias".into(), &[h], Kind::Bias, None);
    }
    tensors
}
