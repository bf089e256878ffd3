//! MPNet: positions as RoBERTa has them, and a bias of attention by distance that all layers share.
//!
//! Reference: `MPNetModel` and `MPNetClassificationHead` of Transformers.

use super::Family;
use super::layer::{self, BASE, Layers, dense_pooler, embeddings};
use super::roberta::positions_after_padding;
use crate::Result;
use crate::checkpoint::Field::{Count, Real, Word};
use crate::checkpoint::Kind::Pooler;
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::{LayerNames, Spelling};
use crate::kernels::activation::Activation;
use crate::model::ModelConfig;
use crate::model::config::Fields;
use crate::model::op::{Ids, Positions, Value};
use crate::model::program::Builder;

pub(super) static MPNET: Family = Family {
    models: &[("mpnet", "MPNet")],
    head: "classifier.out_proj",
    owns_pooler: false,
    by_products: &["lm_head.", "pooler.dense."],
    spelling: Spelling {
        family: "MPNet",
        prefixes: &["mpnet."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.LayerNorm", Norm),
            ("encoder.relative_attention_bias", Table),
            ("classifier.dense", Matrix(Pooler)),
        ],
        layer: Some(&NAMES),
        fields: Clone::clone,
        identity: &[
            ("hidden_size", Count(768)),
            ("intermediate_size", Count(3072)),
            ("max_position_embeddings", Count(512)),
            ("num_attention_heads", Count(12)),
            ("num_hidden_layers", Count(12)),
            ("vocab_size", Count(30527)),
            ("pad_token_id", Count(1)),
            ("relative_attention_num_buckets", Count(32)),
            ("hidden_act", Word("gelu")),
            ("layer_norm_eps", Real(1e-12)),
        ],
    },
    sizes,
    layers,
    pooler,
};

static NAMES: LayerNames = LayerNames {
    query: "encoder.layer.#.attention.attn.q",
    key: "encoder.layer.#.attention.attn.k",
    value: "encoder.layer.#.attention.attn.v",
    attention_output: "encoder.layer.#.attention.attn.o",
    attention_norm: "encoder.layer.#.attention.LayerNorm",
    intermediate: "encoder.layer.#.intermediate.dense",
    output: "encoder.layer.#.output.dense",
    output_norm: "encoder.layer.#.output.LayerNorm",
};

/// Buckets of distances.
const BUCKETS: usize = 32;

const DEFAULT: ModelConfig = ModelConfig { vocab: 30527, ..BASE };

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let sizes = layer::sizes(config, &DEFAULT)?;
    let positions = positions_after_padding(config, sizes.positions)?;
    Ok(ModelConfig { positions, token_types: 0, ..sizes })
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let (h, eps) = (sizes.hidden, config.eps("layer_norm_eps", 1e-12)?);
    let pad = config.count("pad_token_id", 1)?;
    // The reference sorts distances into 32 buckets whatever the config says.
    if config.size("relative_attention_num_buckets", BUCKETS)? != BUCKETS {
        return Err(config.wrong("relative_attention_num_buckets", "32"));
    }
    b.stage();
    let words = b.weights(&["embeddings.word_embeddings"], [sizes.vocab, h]);
    let positions = b.weights(&["embeddings.position_embeddings"], [sizes.positions + pad + 1, h]);
    let norm = b.norm("embeddings.LayerNorm", h, eps);
    let positions = (positions, Ids::PositionsAfter(pad as u32));
    let x = embeddings(b, vec![(words, Ids::Words), positions], norm);
    let distances = b.weights(&["encoder.relative_attention_bias"], [BUCKETS, sizes.heads]);
    let layers = Layers {
        names: &NAMES,
        sizes,
        activation: config.activation("hidden_act", "gelu")?,
        eps,
        drops: [true, true],
        positions: Positions::Distances(distances),
    };
    Ok(layers.write(b, x))
}

/// tanh(W·row + b)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "classifier.dense", sizes.hidden, Activation::Tanh, row);
    Ok(())
}
