//! ModernBERT: norms before the blocks, rotary positions, windows in most layers, gated feed-forward blocks.
//!
//! Reference: `ModernBertModel` and `ModernBertForSequenceClassification` of Transformers.

use super::Family;
use super::layer::{divides, embeddings, even_heads, plain_angles, rotary};
use crate::Result;
use crate::checkpoint::Field::{Count, Flag, Real, Word};
use crate::checkpoint::Kind::{AttentionOutput, Intermediate, Output, Pooler, QueryKeyValue};
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::Spelling;
use crate::model::config::Fields;
use crate::model::dropout::Dropped;
use crate::model::op::{Add, Ids, Positions, Value};
use crate::model::program::Builder;
use crate::model::{ModelConfig, Place};
use serde_json::Value as Json;

pub(super) static MODERNBERT: Family = Family {
    models: &[("modernbert", "ModernBert")],
    head: "classifier",
    owns_pooler: false,
    by_products: &["decoder."],
    spelling: Spelling {
        family: "ModernBERT",
        prefixes: &["model."],
        modules: &[
            ("embeddings.tok_embeddings", Table),
            ("embeddings.norm", Norm),
            ("layers.#.attn_norm", Norm),
            ("layers.#.attn.Wqkv", Matrix(QueryKeyValue)),
            ("layers.#.attn.Wo", Matrix(AttentionOutput)),
            ("layers.#.mlp_norm", Norm),
            ("layers.#.mlp.Wi", Matrix(Intermediate)),
            ("layers.#.mlp.Wo", Matrix(Output)),
            ("final_norm", Norm),
            ("head.dense", Matrix(Pooler)),
            ("head.norm", Norm),
        ],
        layer: None,
        fields,
        identity: &[
            ("hidden_size", Count(768)),
            ("intermediate_size", Count(1152)),
            ("max_position_embeddings", Count(8192)),
            ("num_attention_heads", Count(12)),
            ("num_hidden_layers", Count(22)),
            ("vocab_size", Count(50368)),
            ("hidden_activation", Word("gelu")),
            ("norm_eps", Real(1e-5)),
            ("norm_bias", Flag(false)),
            ("attention_bias", Flag(false)),
            ("mlp_bias", Flag(false)),
            ("local_attention", Count(128)),
            ("layer_types", Word("")),
            ("global_rope_theta", Real(160_000.0)),
            ("local_rope_theta", Real(10_000.0)),
            ("classifier_pooling", Word("cls")),
            ("classifier_activation", Word("gelu")),
            ("classifier_bias", Flag(false)),
        ],
    },
    sizes,
    layers,
    pooler,
};

const LAYERS: usize = 22;
const GLOBAL: &str = "full_attention";
const LOCAL: &str = "sliding_attention";

/// `layer_types` in one word and both θ by themselves, as later configs list them or earlier ones count.
fn fields(config: &Json) -> Json {
    let mut fields = config.clone();
    for (kind, field) in [(GLOBAL, "global_rope_theta"), (LOCAL, "local_rope_theta")] {
        rotary(&mut fields, &config["rope_parameters"][kind], field);
    }
    let types: Vec<String> = match config["layer_types"].as_array() {
        Some(types) => {
            types.iter().map(|kind| kind.as_str().unwrap_or("unknown").to_string()).collect()
        }
        None => {
            let layers = config["num_hidden_layers"].as_u64().unwrap_or(LAYERS as u64);
            let every = config["global_attn_every_n_layers"].as_u64().unwrap_or(3);
            let kind = |i: u64| if i.checked_rem(every) == Some(0) { GLOBAL } else { LOCAL };
            // More than a file can have are refused later.
            (0..layers.min(1 << 16)).map(|i| kind(i).to_string()).collect()
        }
    };
    fields["layer_types"] = types.join(" ").into();
    fields
}

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let layers = config.size("num_hidden_layers", LAYERS)?;
    let embedding_dropout = config.share("embedding_dropout", 0.0)?;
    let sizes = ModelConfig {
        hidden: config.size("hidden_size", 768)?,
        layers,
        own_layers: layers,
        sharing: 1.0,
        heads: config.size("num_attention_heads", 12)?,
        intermediate: config.size("intermediate_size", 1152)?,
        vocab: config.size("vocab_size", 50368)?,
        positions: config.size("max_position_embeddings", 8192)?,
        token_types: 0,
        reads_mean: match config.text("classifier_pooling", "cls")?.as_str() {
            "cls" => false,
            "mean" => true,
            _ => return Err(config.wrong("classifier_pooling", "cls or mean")),
        },
        hidden_dropout: embedding_dropout,
        inner_dropout: config.share("mlp_dropout", 0.0)?,
        attention_dropout: config.share("attention_dropout", 0.0)?,
        head_dropout: config.share("classifier_dropout", 0.0)?,
    };
    divides(config, "num_attention_heads", ("hidden_size", sizes.hidden), sizes.heads)?;
    even_heads(config, &sizes)?;
    plain_angles(config)?;
    Ok(sizes)
}

/// What is alike in all layers.
struct Layers {
    norm_bias: bool,
    eps: f32,
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let (h, f) = (sizes.hidden, sizes.intermediate);
    let all = Layers { norm_bias: config.flag("norm_bias", false)?, eps: eps(config)? };
    let attention_bias = config.flag("attention_bias", false)?;
    let mlp_bias = config.flag("mlp_bias", false)?;
    let activation = config.activation("hidden_activation", "gelu")?;
    let window = config.count("local_attention", 128)? / 2;
    let global = Positions::Rotary(config.positive("global_rope_theta", 160_000.0)?);
    let local = Positions::Rotary(config.positive("local_rope_theta", 10_000.0)?);
    let types = config.text("layer_types", "")?;
    let types: Vec<&str> = types.split(' ').collect();
    let bias =
        |b: &mut Builder, has: bool, module: &str, width| has.then(|| b.biases(&[module], width));

    b.stage();
    let words = b.weights(&["embeddings.tok_embeddings"], [sizes.vocab, h]);
    let norm = b.norm_with("embeddings.norm", h, all.eps, all.norm_bias);
    let mut x = embeddings(b, vec![(words, Ids::Words)], norm);
    for number in 0..sizes.layers {
        b.at(Place::Layer(number));
        let last = number + 1 == sizes.layers;
        let single = last && b.reads_first();
        let positions = match types.get(number) {
            Some(&GLOBAL) => (global, None),
            Some(&LOCAL) => (local, Some(window)),
            _ => {
                let expected = format!("{GLOBAL} or {LOCAL} for each of num_hidden_layers");
                return Err(config.wrong("layer_types", &expected));
            }
        };
        let normed = match number {
            0 => x,
            _ => all.norm(b, "layers.#.attn_norm", h, None, x),
        };
        let weight = b.weights(&["layers.#.attn.Wqkv"], [3 * h, h]);
        let of_weight = bias(b, attention_bias, "layers.#.attn.Wqkv", 3 * h);
        b.stage();
        let qkv = b.linear(weight, of_weight, normed);
        let drop = b.drop(Dropped::Attention);
        let context = b.attend(sizes.heads, positions, [qkv; 3], single, drop);
        let around = if single { b.first(x) } else { x };

        let weight = b.weights(&["layers.#.attn.Wo"], [h, h]);
        let of_weight = bias(b, attention_bias, "layers.#.attn.Wo", h);
        let drop = Some(b.drop(Dropped::Attention));
        b.stage();
        let sum = b.linear(weight, None, context);
        let add = Add { bias: of_weight, drop, residual: around };
        let normed = all.norm(b, "layers.#.mlp_norm", h, Some(add), sum);

        let weight = b.weights(&["layers.#.mlp.Wi"], [2 * f, h]);
        let of_weight = bias(b, mlp_bias, "layers.#.mlp.Wi", 2 * f);
        b.stage();
        let wide = b.linear(weight, None, normed);
        let mut wide = b.gate(activation, of_weight, wide);
        if sizes.inner_dropout > 0.0 {
            wide = b.dropout(Dropped::Inner, wide);
        }
        let weight = b.weights(&["layers.#.mlp.Wo"], [h, f]);
        let of_weight = bias(b, mlp_bias, "layers.#.mlp.Wo", h);
        b.stage();
        let out = b.linear(weight, None, wide);
        x = b.add(Add { bias: of_weight, drop: None, residual: sum }, out);
        if last {
            b.at(Place::Last);
            x = all.norm(b, "final_norm", h, None, x);
        }
        b.end_layer(x);
    }
    Ok(x)
}

fn eps(config: Fields<'_>) -> Result<f32> {
    config.eps("norm_eps", 1e-5)
}

impl Layers {
    /// LayerNorm of `from` with what is added to it; by itself it is a stage.
    fn norm(
        &self,
        b: &mut Builder,
        module: &str,
        width: usize,
        add: Option<Add>,
        from: Value,
    ) -> Value {
        let norm = b.norm_with(module, width, self.eps, self.norm_bias);
        if add.is_none() {
            b.stage();
        }
        b.add_and_norm(add, norm, from, None)
    }
}

/// LayerNorm(activation(W·row + b))
fn pooler(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    let h = sizes.hidden;
    let weight = b.weights(&["head.dense"], [h, h]);
    let bias = config.flag("classifier_bias", false)?.then(|| b.biases(&["head.dense"], h));
    let norm = b.norm_with("head.norm", h, eps(config)?, config.flag("norm_bias", false)?);
    let activation = config.activation("classifier_activation", "gelu")?;
    if b.reads_pooler() {
        b.stage();
        let pooled = b.linear(weight, None, row);
        let pooled = b.activate(activation, bias, pooled);
        b.add_and_norm(None, norm, pooled, None);
    }
    Ok(())
}
