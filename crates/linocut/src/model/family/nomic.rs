//! NomicBERT: BERT with rotary positions, gated feed-forward blocks and no biases.
//!
//! Reference: `NomicBertModel` of Transformers. The names are those of files, which it converts.

use super::Family;
use super::layer::{self, BASE, dense_pooler, embeddings, even_heads, plain_angles, rotary};
use crate::Result;
use crate::checkpoint::Field::{Count, Real, Word};
use crate::checkpoint::Kind::{AttentionOutput, Intermediate, Output, Pooler, QueryKeyValue};
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::Spelling;
use crate::kernels::activation::Activation;
use crate::model::config::Fields;
use crate::model::dropout::Dropped;
use crate::model::op::{Add, Ids, Positions, Value};
use crate::model::program::Builder;
use crate::model::{ModelConfig, Place};
use serde_json::Value as Json;

pub(super) static NOMIC: Family = Family {
    models: &[("nomic_bert", "NomicBert")],
    head: "classifier",
    owns_pooler: true,
    by_products: &["cls.predictions."],
    spelling: Spelling {
        family: "NomicBERT",
        prefixes: &["nomic_bert."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.token_type_embeddings", Table),
            ("emb_ln", Norm),
            ("encoder.layers.#.attn.Wqkv", Matrix(QueryKeyValue)),
            ("encoder.layers.#.attn.out_proj", Matrix(AttentionOutput)),
            ("encoder.layers.#.norm1", Norm),
            ("encoder.layers.#.mlp.fc11", Matrix(Intermediate)),
            ("encoder.layers.#.mlp.fc12", Matrix(Intermediate)),
            ("encoder.layers.#.mlp.fc2", Matrix(Output)),
            ("encoder.layers.#.norm2", Norm),
            ("pooler.dense", Matrix(Pooler)),
        ],
        layer: None,
        fields,
        identity: &[
            ("hidden_size", Count(768)),
            ("intermediate_size", Count(3072)),
            ("max_position_embeddings", Count(2048)),
            ("num_attention_heads", Count(12)),
            ("num_hidden_layers", Count(12)),
            ("type_vocab_size", Count(2)),
            ("vocab_size", Count(30528)),
            ("hidden_act", Word("silu")),
            ("layer_norm_eps", Real(1e-12)),
            ("rope_theta", Real(1000.0)),
        ],
    },
    sizes,
    layers,
    pooler,
};

/// `rope_parameters` say θ; configs from before say it at the top.
fn fields(config: &Json) -> Json {
    let mut fields = config.clone();
    rotary(&mut fields, &config["rope_parameters"], "rope_theta");
    fields
}

const DEFAULT: ModelConfig = ModelConfig {
    vocab: 30528,
    positions: 2048,
    hidden_dropout: 0.0,
    attention_dropout: 0.0,
    ..BASE
};

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let sizes = layer::sizes(config, &DEFAULT)?;
    even_heads(config, &sizes)?;
    plain_angles(config)?;
    Ok(sizes)
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let (h, f) = (sizes.hidden, sizes.intermediate);
    let eps = config.eps("layer_norm_eps", 1e-12)?;
    let activation = config.activation("hidden_act", "silu")?;
    let positions = Positions::Rotary(config.positive("rope_theta", 1000.0)?);
    if sizes.token_types == 0 {
        return Err(config.wrong("type_vocab_size", "at least 1"));
    }
    b.stage();
    let words = b.weights(&["embeddings.word_embeddings"], [sizes.vocab, h]);
    let types = b.weights(&["embeddings.token_type_embeddings"], [sizes.token_types, h]);
    let norm = b.norm("emb_ln", h, eps);
    let mut x = embeddings(b, vec![(words, Ids::Words), (types, Ids::Types)], norm);
    for number in 0..sizes.layers {
        b.at(Place::Layer(number));
        let single = number + 1 == sizes.layers && b.reads_first();
        let weight = b.weights(&["encoder.layers.#.attn.Wqkv"], [3 * h, h]);
        b.stage();
        let qkv = b.linear(weight, None, x);
        let drop = b.drop(Dropped::Attention);
        let context = b.attend(sizes.heads, (positions, None), [qkv; 3], single, drop);
        let asking = if single { b.first(x) } else { x };

        let block = |b: &mut Builder, (matrix, norm), width, from, residual| {
            let weight = b.weights(&[matrix], [h, width]);
            let norm = b.norm(norm, h, eps);
            b.stage();
            let sum = b.linear(weight, None, from);
            let add = Add { bias: None, drop: Some(b.drop(Dropped::Hidden)), residual };
            b.add_and_norm(Some(add), norm, sum, None)
        };
        let names = ("encoder.layers.#.attn.out_proj", "encoder.layers.#.norm1");
        let middle = block(b, names, h, context, asking);
        let gate = b.weights(&["encoder.layers.#.mlp.fc12", "encoder.layers.#.mlp.fc11"], [f, h]);
        b.stage();
        let wide = b.linear(gate, None, middle);
        let wide = b.gate(activation, None, wide);
        let names = ("encoder.layers.#.mlp.fc2", "encoder.layers.#.norm2");
        x = block(b, names, f, wide, middle);
        b.end_layer(x);
    }
    Ok(x)
}

/// tanh(W·row + b)
fn pooler(_: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    dense_pooler(b, "pooler.dense", sizes.hidden, Activation::Tanh, row);
    Ok(())
}
