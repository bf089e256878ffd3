//! ALBERT: BERT whose layers share their tensors, with narrower embeddings.
//!
//! Reference: `AlbertModel` of Transformers.

use super::Family;
use super::bert::tables;
use super::layer::{self, BASE, Layers, dense_pooler};
use crate::Result;
use crate::checkpoint::Field::{Count, Real, Word};
use crate::checkpoint::Kind::{Pooler, Projection};
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::{LayerNames, Spelling};
use crate::kernels::activation::Activation;
use crate::model::ModelConfig;
use crate::model::config::Fields;
use crate::model::op::{Ids, Positions, Value};
use crate::model::program::Builder;

pub(super) static ALBERT: Family = Family {
    models: &[("albert", "Albert")],
    head: "classifier",
    owns_pooler: true,
    by_products: &["predictions.", "sop_classifier."],
    spelling: Spelling {
        family: "ALBERT",
        prefixes: &["albert."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.token_type_embeddings", Table),
            ("embeddings.LayerNorm", Norm),
            ("encoder.embedding_hidden_mapping_in", Matrix(Projection)),
            ("pooler", Matrix(Pooler)),
        ],
        layer: Some(&NAMES),
        fields: Clone::clone,
        identity: &[
            ("embedding_size", Count(128)),
            ("hidden_size", Count(4096)),
            ("intermediate_size", Count(16384)),
            ("max_position_embeddings", Count(512)),
            ("num_attention_heads", Count(64)),
            ("num_hidden_groups", Count(1)),
            ("num_hidden_layers", Count(12)),
            ("type_vocab_size", Count(2)),
            ("vocab_size", Count(30000)),
            ("hidden_act", Word("gelu_new")),
            ("layer_norm_eps", Real(1e-12)),
        ],
    },
    sizes,
    layers,
    pooler,
};

/// The number is that of the group of layers that share these tensors.
static NAMES: LayerNames = LayerNames {
    query: "encoder.albert_layer_groups.#.albert_layers.0.attention.query",
    key: "encoder.albert_layer_groups.#.albert_layers.0.attention.key",
    value: "encoder.albert_layer_groups.#.albert_layers.0.attention.value",
    attention_output: "encoder.albert_layer_groups.#.albert_layers.0.attention.dense",
    attention_norm: "encoder.albert_layer_groups.#.albert_layers.0.attention.LayerNorm",
    intermediate: "encoder.albert_layer_groups.#.albert_layers.0.ffn",
    output: "encoder.albert_layer_groups.#.albert_layers.0.ffn_output",
    output_norm: "encoder.albert_layer_groups.#.albert_layers.0.full_layer_layer_norm",
};

const XXLARGE: ModelConfig = ModelConfig {
    hidden: 4096,
    heads: 64,
    intermediate: 16384,
    vocab: 30000,
    hidden_dropout: 0.0,
    attention_dropout: 0.0,
    ..BASE
};

/// Layers share tensors, so that nothing else bounds their number.
const MOST_LAYERS: usize = 1024;

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let sizes = layer::sizes(config, &XXLARGE)?;
    let groups = config.size("num_hidden_groups", 1)?;
    if sizes.layers > MOST_LAYERS {
        return Err(config.wrong("num_hidden_layers", "at most 1024"));
    }
    if groups > sizes.layers {
        return Err(config.wrong("num_hidden_groups", "no more than num_hidden_layers"));
    }
    if config.size("inner_group_num", 1)? != 1 {
        return Err(config.wrong("inner_group_num", "1"));
    }
    let head_dropout = config.share("classifier_dropout_prob", 0.1)?;
    let sharing = sizes.layers as f64 / groups as f64;
    Ok(ModelConfig { own_layers: groups, sharing, head_dropout, ..sizes })
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let width = config.size("embedding_size", 128)?;
    let x = tables(config, sizes, width, (sizes.positions, Ids::Positions), b)?;
    let weight = b.weights(&["encoder.embedding_hidden_mapping_in"], [sizes.hidden, width]);
    let bias = b.biases(&["encoder.embedding_hidden_mapping_in"], sizes.hidden);
    b.stage();
    let x = b.linear(weight, Some(bias), x);
    let layers = Layers {
        names: &NAMES,
        sizes,
        activation: config.activation("hidden_act", "gelu_new")?,
        eps: config.eps("layer_norm_eps", 1e-12)?,
        drops: [true, false],
        positions: Positions::Embedded,
    };
    Ok(layers.write(b, x))
}

/// tanh(W·row + b)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "pooler", sizes.hidden, Activation::Tanh, row);
    Ok(())
}
