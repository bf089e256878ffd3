//! DistilBERT: BERT without token types.
//!
//! Reference: `DistilBertModel` and `DistilBertForSequenceClassification` of Transformers.

use super::Family;
use super::layer::{Layers, Names, dense_pooler, divides, embeddings};
use crate::Result;
use crate::checkpoint::Field::{Count, Word};
use crate::checkpoint::Kind::{
    AttentionOutput, Intermediate, Key, Output, Pooler, Query, Value as Values,
};
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::Spelling;
use crate::kernels::activation::Activation;
use crate::model::ModelConfig;
use crate::model::config::Fields;
use crate::model::op::{Ids, Value};
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
            (NAMES.query, Matrix(Query)),
            (NAMES.key, Matrix(Key)),
            (NAMES.value, Matrix(Values)),
            (NAMES.attention_output, Matrix(AttentionOutput)),
            (NAMES.attention_norm, Norm),
            (NAMES.intermediate, Matrix(Intermediate)),
            (NAMES.output, Matrix(Output)),
            (NAMES.output_norm, Norm),
            ("pre_classifier", Matrix(Pooler)),
        ],
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

const NAMES: Names = Names {
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
    let sizes = ModelConfig {
        hidden: config.size("dim", 768)?,
        layers: config.size("n_layers", 6)?,
        heads: config.size("n_heads", 12)?,
        intermediate: config.size("hidden_dim", 3072)?,
        vocab: config.size("vocab_size", 30522)?,
        positions: config.size("max_position_embeddings", 512)?,
        token_types: 0,
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
        drops_attention_output: false,
        distances: None,
    };
    Ok(layers.write(b, x))
}

/// max(W·row + b, 0)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "pre_classifier", sizes.hidden, Activation::Relu, row);
    Ok(())
}
