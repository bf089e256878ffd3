//! NomicBERT: BERT with rotary positions, gated feed-forward blocks and no biases.
//!
//! Reference: `NomicBertModel` of Transformers, whose names for the tensors these are.

use super::Family;
use super::layer::{self, BASE, dense_pooler, embeddings, even_heads, plain_angles, rotary};
use crate::Result;
use crate::checkpoint::Field::{Count, Real, Word};
use crate::checkpoint::Kind::{
    AttentionOutput, Intermediate, Key, Output, Pooler, Query, Value as Values,
};
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
            ("embeddings.LayerNorm", Norm),
            ("layers.#.self_attn.q_proj", Matrix(Query)),
            ("layers.#.self_attn.k_proj", Matrix(Key)),
            ("layers.#.self_attn.v_proj", Matrix(Values)),
            ("layers.#.self_attn.o_proj", Matrix(AttentionOutput)),
            ("layers.#.post_attention_layernorm", Norm),
            ("layers.#.mlp.gate_proj", Matrix(Intermediate)),
            ("layers.#.mlp.up_proj", Matrix(Intermediate)),
            ("layers.#.mlp.down_proj", Matrix(Output)),
            ("layers.#.post_mlp_layernorm", Norm),
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
    let norm = b.norm("embeddings.LayerNorm", h, eps);
    let mut x = embeddings(b, vec![(words, Ids::Words), (types, Ids::Types)], norm);
    for number in 0..sizes.layers {
        b.at(Place::Layer(number));
        let single = number + 1 == sizes.layers && b.reads_first();
        let q_weight = b.weights(&["layers.#.self_attn.q_proj"], [h, h]);
        let kv_weight =
            b.weights(&["layers.#.self_attn.k_proj", "layers.#.self_attn.v_proj"], [h, h]);
        b.stage();
        let asking = if single { b.first(x) } else { x };
        let q = b.linear(q_weight, None, asking);
        let kv = b.linear(kv_weight, None, x);
        let drop = b.drop(Dropped::Attention);
        let context = b.attend(sizes.heads, (positions, None), [q, kv, kv], single, drop);

        let block = |b: &mut Builder, (matrix, norm), width, from, residual| {
            let weight = b.weights(&[matrix], [h, width]);
            let norm = b.norm(norm, h, eps);
            b.stage();
            let sum = b.linear(weight, None, from);
            let add = Add { bias: None, drop: Some(b.drop(Dropped::Hidden)), residual };
            b.add_and_norm(Some(add), norm, sum, None)
        };
        let names = ("layers.#.self_attn.o_proj", "layers.#.post_attention_layernorm");
        let middle = block(b, names, h, context, asking);
        let gate = b.weights(&["layers.#.mlp.gate_proj", "layers.#.mlp.up_proj"], [f, h]);
        b.stage();
        let wide = b.linear(gate, None, middle);
        let wide = b.gate(activation, None, wide);
        let names = ("layers.#.mlp.down_proj", "layers.#.post_mlp_layernorm");
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
