//! BERT, and the many models of its architecture: MiniLM, BGE, E5, GTE.
//!
//! Reference: `BertModel` of Transformers.

use super::Family;
use super::layer::{self, BASE, Layers, dense_pooler, embeddings};
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

pub(super) static BERT: Family = Family {
    models: &[("bert", "Bert")],
    head: "classifier",
    owns_pooler: true,
    by_products: &["cls.predictions.", "cls.seq_relationship."],
    spelling: Spelling {
        family: "BERT",
        prefixes: &["bert."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.token_type_embeddings", Table),
            ("embeddings.LayerNorm", Norm),
            ("pooler.dense", Matrix(Pooler)),
        ],
        layer: Some(&NAMES),
        fields: Clone::clone,
        identity: &[
            ("hidden_size", Count(768)),
            ("intermediate_size", Count(3072)),
            ("max_position_embeddings", Count(512)),
            ("num_attention_heads", Count(12)),
            ("num_hidden_layers", Count(12)),
            ("type_vocab_size", Count(2)),
            ("vocab_size", Count(30522)),
            ("hidden_act", Word("gelu")),
            ("position_embedding_type", Word("absolute")),
            ("layer_norm_eps", Real(1e-12)),
        ],
    },
    sizes,
    layers,
    pooler,
};

/// As BERT, RoBERTa and ELECTRA call them.
pub(super) static NAMES: LayerNames = LayerNames {
    query: "encoder.layer.#.attention.self.query",
    key: "encoder.layer.#.attention.self.key",
    value: "encoder.layer.#.attention.self.value",
    attention_output: "encoder.layer.#.attention.output.dense",
    attention_norm: "encoder.layer.#.attention.output.LayerNorm",
    intermediate: "encoder.layer.#.intermediate.dense",
    output: "encoder.layer.#.output.dense",
    output_norm: "encoder.layer.#.output.LayerNorm",
};

/// Positions are counted from 0.
fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    layer::sizes(config, &BASE)
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let rows = (sizes.positions, Ids::Positions);
    let x = tables(config, sizes, sizes.hidden, rows, b)?;
    Ok(bert_layers(config, sizes)?.write(b, x))
}

/// Word, token-type and position embeddings of this width, and their norm; `positions` are the rows of
/// the table and what chooses them.
pub(super) fn tables(
    config: Fields<'_>,
    sizes: &ModelConfig,
    width: usize,
    (rows, ids): (usize, Ids),
    b: &mut Builder,
) -> Result<Value> {
    b.stage();
    let words = b.weights(&["embeddings.word_embeddings"], [sizes.vocab, width]);
    let positions = b.weights(&["embeddings.position_embeddings"], [rows, width]);
    if sizes.token_types == 0 {
        return Err(config.wrong("type_vocab_size", "at least 1"));
    }
    let types = b.weights(&["embeddings.token_type_embeddings"], [sizes.token_types, width]);
    let norm = b.norm("embeddings.LayerNorm", width, config.eps("layer_norm_eps", 1e-12)?);
    Ok(embeddings(b, vec![(words, Ids::Words), (types, Ids::Types), (positions, ids)], norm))
}

/// Layers under BERT's names and with its fields.
pub(super) fn bert_layers<'a>(config: Fields<'_>, sizes: &'a ModelConfig) -> Result<Layers<'a>> {
    Ok(Layers {
        names: &NAMES,
        sizes,
        activation: config.activation("hidden_act", "gelu")?,
        eps: config.eps("layer_norm_eps", 1e-12)?,
        drops: [true, true],
        positions: Positions::Embedded,
    })
}

/// tanh(W·row + b)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "pooler.dense", sizes.hidden, Activation::Tanh, row);
    Ok(())
}
