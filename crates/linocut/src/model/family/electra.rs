//! ELECTRA: BERT whose embeddings may be narrower than its layers.
//!
//! Reference: `ElectraModel` and `ElectraClassificationHead` of Transformers.

use super::Family;
use super::bert::{NAMES, bert_layers, tables};
use super::layer::{self, BASE, dense_pooler};
use crate::Result;
use crate::checkpoint::Field::{Count, Real, Word};
use crate::checkpoint::Kind::{Pooler, Projection};
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::Spelling;
use crate::kernels::activation::Activation;
use crate::model::ModelConfig;
use crate::model::config::Fields;
use crate::model::op::{Ids, Value};
use crate::model::program::Builder;

pub(super) static ELECTRA: Family = Family {
    models: &[("electra", "Electra")],
    head: "classifier.out_proj",
    owns_pooler: false,
    by_products: &["discriminator_predictions.", "generator_predictions.", "generator_lm_head."],
    spelling: Spelling {
        family: "ELECTRA",
        prefixes: &["electra."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.token_type_embeddings", Table),
            ("embeddings.LayerNorm", Norm),
            ("embeddings_project", Matrix(Projection)),
            ("classifier.dense", Matrix(Pooler)),
        ],
        layer: Some(&NAMES),
        fields: Clone::clone,
        identity: &[
            ("embedding_size", Count(128)),
            ("hidden_size", Count(256)),
            ("intermediate_size", Count(1024)),
            ("max_position_embeddings", Count(512)),
            ("num_attention_heads", Count(4)),
            ("num_hidden_layers", Count(12)),
            ("type_vocab_size", Count(2)),
            ("vocab_size", Count(30522)),
            ("hidden_act", Word("gelu")),
            ("layer_norm_eps", Real(1e-12)),
        ],
    },
    sizes,
    layers,
    pooler,
};

const SMALL: ModelConfig = ModelConfig { hidden: 256, heads: 4, intermediate: 1024, ..BASE };

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    layer::sizes(config, &SMALL)
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let width = config.size("embedding_size", 128)?;
    let mut x = tables(config, sizes, width, (sizes.positions, Ids::Positions), b)?;
    if width != sizes.hidden {
        let weight = b.weights(&["embeddings_project"], [sizes.hidden, width]);
        let bias = b.biases(&["embeddings_project"], sizes.hidden);
        b.stage();
        x = b.linear(weight, Some(bias), x);
    }
    Ok(bert_layers(config, sizes)?.write(b, x))
}

/// gelu(W·row + b)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "classifier.dense", sizes.hidden, Activation::Gelu, row);
    Ok(())
}
