//! RoBERTa, and XLM-R and CamemBERT, which differ from it in their tokenizers alone.
//!
//! Reference: `RobertaModel` and `RobertaClassificationHead` of Transformers.

use super::Family;
use super::bert::{NAMES, bert_layers, tables};
use super::layer::{self, BASE, dense_pooler};
use crate::Result;
use crate::checkpoint::Field::{Count, Real, Word};
use crate::checkpoint::Kind::Pooler;
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::Spelling;
use crate::kernels::activation::Activation;
use crate::model::ModelConfig;
use crate::model::config::Fields;
use crate::model::op::{Ids, Value};
use crate::model::program::Builder;

pub(super) static ROBERTA: Family = Family {
    models: &[("roberta", "Roberta"), ("xlm-roberta", "XLMRoberta"), ("camembert", "Camembert")],
    head: "classifier.out_proj",
    owns_pooler: false,
    by_products: &["lm_head.", "pooler.dense."],
    spelling: Spelling {
        family: "RoBERTa",
        prefixes: &["roberta."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.token_type_embeddings", Table),
            ("embeddings.LayerNorm", Norm),
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
            ("type_vocab_size", Count(2)),
            ("vocab_size", Count(50265)),
            ("pad_token_id", Count(1)),
            ("hidden_act", Word("gelu")),
            ("layer_norm_eps", Real(1e-12)),
        ],
    },
    sizes,
    layers,
    pooler,
};

const DEFAULT: ModelConfig = ModelConfig { vocab: 50265, ..BASE };

/// Of the rows of positions the first are of padding, and of what stands before it.
fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let sizes = layer::sizes(config, &DEFAULT)?;
    let positions = positions_after_padding(config, sizes.positions)?;
    Ok(ModelConfig { positions, ..sizes })
}

/// How many of a table's `rows` are of positions that texts have.
pub(super) fn positions_after_padding(config: Fields<'_>, rows: usize) -> Result<usize> {
    let first = config.count("pad_token_id", 1)? + 1;
    rows.checked_sub(first).filter(|left| *left > 0).ok_or_else(|| {
        config.wrong("max_position_embeddings", &format!("more than pad_token_id + 1, {first}"))
    })
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let pad = config.count("pad_token_id", 1)?;
    let rows = (sizes.positions + pad + 1, Ids::PositionsAfter(pad as u32));
    let x = tables(config, sizes, sizes.hidden, rows, b)?;
    Ok(bert_layers(config, sizes)?.write(b, x))
}

/// tanh(W·row + b): what `RobertaForSequenceClassification` has in the place of a pooler.
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "classifier.dense", sizes.hidden, Activation::Tanh, row);
    Ok(())
}
