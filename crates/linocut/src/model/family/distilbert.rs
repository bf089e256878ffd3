//! DistilBERT: BERT without token types.
//!
//! Reference: `DistilBertModel` and `DistilBertForSequenceClassification` of Transformers.

use super::Family;
use super::layer::{Layers, dense_pooler, divides, embeddings};
use crate::Result;
use crate::checkpoint::Field::{Count, Word};
use crate::checkpoint::Kind::Pooler;
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::{LayerNames, Spelling};
use crate::kernels::activation::Activation;
use crate::model::ModelConfig;
use crate::model::config::Fields;
use crate::model::op::{Ids, Positions, Value};
use crate::model::program::Builder;

pub(super) static DISTILBERT: Family = Family {
    models: &[("distilbert", "DistilBert")],
    head: "classifier",
    owns_pooler: false,
    by_products: &["vocab_transform.", "vocab_layer_norm.", "vocab_projector."],
    spelling: Spelling {
        family: "DistilBERT",
        prefixes: &["distilbert."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.LayerNorm", Norm),
            ("pre_classifier", Matrix(Pooler)),
        ],
        layer: Some(&NAMES),
        fields: Clone::clone,
        identity: &[
            ("dim", Count(768)),
            ("hidden_dim", Count(3072)),
            ("max_position_embeddings", Count(512)),
            ("n_heads", Count(12)),
            ("n_layers", Count(6)),
            ("vocab_size", Count(30522)),
            ("activation", Word("gelu")),
        ],
    },
    sizes,
    layers,
    pooler,
};

static NAMES: LayerNames = LayerNames {
    query: "transformer.layer.#.attention.q_lin",
    key: "transformer.layer.#.attention.k_lin",
    value: "transformer.layer.#.attention.v_lin",
    attention_output: "transformer.layer.#.attention.out_lin",
    attention_norm: "transformer.layer.#.sa_layer_norm",
    intermediate: "transformer.layer.#.ffn.lin1",
    output: "transformer.layer.#.ffn.lin2",
    output_norm: "transformer.layer.#.output_layer_norm",
};

/// ε of every norm, which no field says.
const EPS: f32 = 1e-12;

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let layers = config.size("n_layers", 6)?;
    let sizes = ModelConfig {
        hidden: config.size("dim", 768)?,
        layers,
        own_layers: layers,
        sharing: 1.0,
        heads: config.size("n_heads", 12)?,
        intermediate: config.size("hidden_dim", 3072)?,
        vocab: config.size("vocab_size", 30522)?,
        positions: config.size("max_position_embeddings", 512)?,
        token_types: 0,
        reads_mean: false,
        inner_dropout: 0.0,
        hidden_dropout: config.share("dropout", 0.1)?,
        attention_dropout: config.share("attention_dropout", 0.1)?,
        head_dropout: config.share("seq_classif_dropout", 0.2)?,
    };
    divides(config, "n_heads", ("dim", sizes.hidden), sizes.heads)?;
    Ok(sizes)
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let h = sizes.hidden;
    b.stage();
    let words = b.weights(&["embeddings.word_embeddings"], [sizes.vocab, h]);
    let positions = b.weights(&["embeddings.position_embeddings"], [sizes.positions, h]);
    let norm = b.norm("embeddings.LayerNorm", h, EPS);
    let x = embeddings(b, vec![(words, Ids::Words), (positions, Ids::Positions)], norm);
    let layers = Layers {
        names: &NAMES,
        sizes,
        activation: config.activation("activation", "gelu")?,
        eps: EPS,
        drops: [false, true],
        positions: Positions::Embedded,
    };
    Ok(layers.write(b, x))
}

/// max(W·row + b, 0)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "pre_classifier", sizes.hidden, Activation::Relu, row);
    Ok(())
}
