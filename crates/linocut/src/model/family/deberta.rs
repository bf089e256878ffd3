//! DeBERTa-v2 and v3: attention by content and distance apart.
//!
//! Reference: `DebertaV2Model` and `DebertaV2ForSequenceClassification` of Transformers.

use super::Family;
use super::layer::{self, BASE, Layers, dense_pooler};
use crate::Result;
use crate::checkpoint::Field::{Count, Flag, Real, Word};
use crate::checkpoint::Kind::{Key, Pooler, Projection, Query};
use crate::checkpoint::Module::{Matrix, Norm, Table};
use crate::checkpoint::{LayerNames, Spelling};
use crate::kernels::attention::Buckets;
use crate::model::config::Fields;
use crate::model::dropout::Dropped;
use crate::model::op::{Add, Ids, Positions, Value};
use crate::model::program::Builder;
use crate::model::{ModelConfig, Place};
use serde_json::Value as Json;

pub(super) static DEBERTA: Family = Family {
    models: &[("deberta-v2", "DebertaV2")],
    head: "classifier",
    owns_pooler: false,
    by_products: &[
        "cls.",
        "lm_predictions.",
        "mask_predictions.",
        "legacy_cls.",
        "embeddings.position_embeddings.",
    ],
    spelling: Spelling {
        family: "DeBERTa",
        prefixes: &["deberta."],
        modules: &[
            ("embeddings.word_embeddings", Table),
            ("embeddings.position_embeddings", Table),
            ("embeddings.token_type_embeddings", Table),
            ("embeddings.embed_proj", Matrix(Projection)),
            ("embeddings.LayerNorm", Norm),
            ("encoder.rel_embeddings", Table),
            ("encoder.LayerNorm", Norm),
            ("encoder.conv.conv", Matrix(Projection)),
            ("encoder.conv.LayerNorm", Norm),
            ("encoder.layer.#.attention.self.pos_key_proj", Matrix(Key)),
            ("encoder.layer.#.attention.self.pos_query_proj", Matrix(Query)),
            ("pooler.dense", Matrix(Pooler)),
        ],
        layer: Some(&NAMES),
        fields,
        identity: &[
            ("hidden_size", Count(1536)),
            ("intermediate_size", Count(6144)),
            ("max_position_embeddings", Count(512)),
            ("num_attention_heads", Count(24)),
            ("num_hidden_layers", Count(24)),
            ("type_vocab_size", Count(0)),
            ("vocab_size", Count(128_100)),
            ("hidden_act", Word("gelu")),
            ("layer_norm_eps", Real(1e-7)),
            ("embedding_size", Count(0)),
            ("position_biased_input", Flag(true)),
            ("relative_attention", Flag(false)),
            ("max_relative_positions", Count(0)),
            ("position_buckets", Count(0)),
            ("pos_att_type", Word("")),
            ("share_att_key", Flag(false)),
            ("norm_rel_ebd", Word("none")),
            ("conv_kernel_size", Count(0)),
            ("conv_act", Word("tanh")),
            ("pooler_hidden_act", Word("gelu")),
        ],
    },
    sizes,
    layers,
    pooler,
};

static NAMES: LayerNames = LayerNames {
    query: "encoder.layer.#.attention.self.query_proj",
    key: "encoder.layer.#.attention.self.key_proj",
    value: "encoder.layer.#.attention.self.value_proj",
    attention_output: "encoder.layer.#.attention.output.dense",
    attention_norm: "encoder.layer.#.attention.output.LayerNorm",
    intermediate: "encoder.layer.#.intermediate.dense",
    output: "encoder.layer.#.output.dense",
    output_norm: "encoder.layer.#.output.LayerNorm",
};

/// Numbers below 1 that mean "none" as 0, words in lists as one, in order.
fn fields(config: &Json) -> Json {
    let mut fields = config.clone();
    for field in ["max_relative_positions", "position_buckets"] {
        if config[field].as_i64().is_some_and(|number| number < 1) {
            fields[field] = 0.into();
        }
    }
    let listed = |field: &str, default: &str| {
        let mut words: Vec<String> = match &config[field] {
            Json::Array(words) => words.iter().map(|w| w.as_str().unwrap_or("?").into()).collect(),
            Json::String(words) => words.split('|').map(|w| w.trim().to_lowercase()).collect(),
            Json::Null => vec![default.into()],
            other => vec![other.to_string()],
        };
        words.sort();
        words.dedup();
        words.retain(|word| !word.is_empty());
        words.join("|")
    };
    fields["pos_att_type"] = listed("pos_att_type", "").into();
    fields["norm_rel_ebd"] = listed("norm_rel_ebd", "none").into();
    fields
}

const DEFAULT: ModelConfig = ModelConfig {
    hidden: 1536,
    layers: 24,
    own_layers: 24,
    heads: 24,
    intermediate: 6144,
    vocab: 128_100,
    token_types: 0,
    ..BASE
};

fn sizes(config: Fields<'_>) -> Result<ModelConfig> {
    let sizes = layer::sizes(config, &DEFAULT)?;
    let (h, d) = (sizes.hidden, sizes.hidden / sizes.heads);
    for (field, expected) in [("attention_head_size", d), ("pooler_hidden_size", h)] {
        if config.size(field, expected)? != expected {
            return Err(config.wrong(field, &expected.to_string()));
        }
    }
    if config.share("pooler_dropout", 0.0)? != 0.0 {
        return Err(config.wrong("pooler_dropout", "0"));
    }
    let head_dropout = config.share("cls_dropout", sizes.hidden_dropout)?;
    Ok(ModelConfig { head_dropout, ..sizes })
}

/// What scores gain from distances in every layer.
struct Distances {
    /// `[distances, hidden]`
    rows: Value,
    by_keys: bool,
    by_queries: bool,
    /// Whether distances have the projections of tokens.
    shared: bool,
}

fn layers(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder) -> Result<Value> {
    let h = sizes.hidden;
    let eps = config.eps("layer_norm_eps", 1e-7)?;
    let embedded = embeddings(config, sizes, eps, b)?;
    let distances = distances(config, sizes, eps, b)?;
    let all = Layers {
        names: &NAMES,
        sizes,
        activation: config.activation("hidden_act", "gelu")?,
        eps,
        drops: [true, true],
        positions: Positions::Embedded,
    };
    let mut x = embedded;
    for number in 0..sizes.layers {
        b.at(Place::Layer(number));
        let single = number + 1 == sizes.layers && b.reads_first();
        let names = [NAMES.query, NAMES.key, NAMES.value];
        let [query, key, value] =
            names.map(|name| (b.weights(&[name], [h, h]), b.biases(&[name], h)));
        let own = |b: &mut Builder, name: &str| (b.weights(&[name], [h, h]), b.biases(&[name], h));
        let (mut of_keys, mut of_queries) = (None, None);
        if let Some(distances) = &distances {
            let key = |b: &mut Builder| match distances.shared {
                true => key,
                false => own(b, "encoder.layer.#.attention.self.pos_key_proj"),
            };
            let query = |b: &mut Builder| match distances.shared {
                true => query,
                false => own(b, "encoder.layer.#.attention.self.pos_query_proj"),
            };
            of_keys = distances.by_keys.then(|| key(b));
            of_queries = distances.by_queries.then(|| query(b));
        }
        b.stage();
        let linear = |b: &mut Builder, (weight, bias), from| b.linear(weight, Some(bias), from);
        let asking = if single { b.first(x) } else { x };
        let q = linear(b, query, asking);
        let k = linear(b, key, x);
        let v = linear(b, value, x);
        let positions = match &distances {
            None => Positions::Embedded,
            Some(distances) => {
                let rows = b.dropout(Dropped::Hidden, distances.rows);
                let keys = of_keys.map(|matrix| linear(b, matrix, rows));
                let queries = of_queries.map(|matrix| linear(b, matrix, rows));
                Positions::Disentangled { keys, queries }
            }
        };
        let drop = b.drop(Dropped::Attention);
        let context = b.attend(sizes.heads, (positions, None), [q, k, v], single, drop);
        x = all.after_attention(b, context, asking);
        if number == 0 {
            x = convolution(config, sizes, eps, (embedded, x), b)?;
        }
        b.end_layer(x);
    }
    Ok(x)
}

/// LayerNorm of the sum of embeddings, made as wide as hidden states where they are not, and dropout.
fn embeddings(config: Fields<'_>, sizes: &ModelConfig, eps: f32, b: &mut Builder) -> Result<Value> {
    let h = sizes.hidden;
    let width = match config.count("embedding_size", h)? {
        0 => h,
        width => width,
    };
    b.stage();
    let words = b.weights(&["embeddings.word_embeddings"], [sizes.vocab, width]);
    let mut tables = vec![(words, Ids::Words)];
    if config.flag("position_biased_input", true)? {
        let shape = [sizes.positions, width];
        tables.push((b.weights(&["embeddings.position_embeddings"], shape), Ids::Positions));
    }
    if sizes.token_types > 0 {
        let shape = [sizes.token_types, width];
        tables.push((b.weights(&["embeddings.token_type_embeddings"], shape), Ids::Types));
    }
    let mut x = b.embed(tables);
    if width != h {
        let weight = b.weights(&["embeddings.embed_proj"], [h, width]);
        b.stage();
        x = b.linear(weight, None, x);
    }
    let norm = b.norm("embeddings.LayerNorm", h, eps);
    let drop = Some(b.drop(Dropped::Hidden));
    Ok(b.add_and_norm(None, norm, x, drop))
}

/// The table of distances, where attention makes use of one.
fn distances(
    config: Fields<'_>,
    sizes: &ModelConfig,
    eps: f32,
    b: &mut Builder,
) -> Result<Option<Distances>> {
    let terms = config.text("pos_att_type", "")?;
    let (by_keys, by_queries) = match (terms.as_str(), config.flag("relative_attention", false)?) {
        ("", _) => return Ok(None),
        (_, false) => return Err(config.wrong("pos_att_type", "none without relative_attention")),
        ("c2p", true) => (true, false),
        ("p2c", true) => (false, true),
        ("c2p|p2c", true) => (true, true),
        _ => return Err(config.wrong("pos_att_type", "c2p, p2c or both")),
    };
    let farthest = match config.count("max_relative_positions", 0)? {
        0 => sizes.positions,
        farthest => farthest,
    };
    let buckets = match config.count("position_buckets", 0)? {
        0 => Buckets { span: farthest, farthest: None },
        span if span > 3 && farthest > span / 2 + 1 => Buckets { span, farthest: Some(farthest) },
        _ => return Err(config.wrong("position_buckets", "4 or more, and fewer than positions")),
    };
    b.stage();
    let table = b.weights(&["encoder.rel_embeddings"], [2 * buckets.span, sizes.hidden]);
    let mut rows = b.distances(table, buckets);
    match config.text("norm_rel_ebd", "none")?.as_str() {
        "none" => {}
        "layer_norm" => {
            let norm = b.norm("encoder.LayerNorm", sizes.hidden, eps);
            rows = b.add_and_norm(None, norm, rows, None);
        }
        _ => return Err(config.wrong("norm_rel_ebd", "none or layer_norm")),
    }
    let shared = config.flag("share_att_key", false)?;
    Ok(Some(Distances { rows, by_keys, by_queries, shared }))
}

/// LayerNorm(states + activation(convolution of the embeddings)), where the base has one.
fn convolution(
    config: Fields<'_>,
    sizes: &ModelConfig,
    eps: f32,
    (embedded, states): (Value, Value),
    b: &mut Builder,
) -> Result<Value> {
    let (h, size) = (sizes.hidden, config.count("conv_kernel_size", 0)?);
    if size == 0 {
        return Ok(states);
    }
    if size % 2 == 0 || size > 31 {
        return Err(config.wrong("conv_kernel_size", "an odd number up to 31"));
    }
    if config.size("conv_groups", 1)? != 1 {
        return Err(config.wrong("conv_groups", "1"));
    }
    let activation = config.activation("conv_act", "tanh")?;
    b.at(Place::Below);
    let weight = b.convolution("encoder.conv.conv", [h, h, size]);
    let bias = b.biases(&["encoder.conv.conv"], h);
    let norm = b.norm("encoder.conv.LayerNorm", h, eps);
    b.stage();
    let near = b.around(size, embedded);
    let out = b.linear(weight, Some(bias), near);
    let out = b.dropout(Dropped::Hidden, out);
    let mut out = b.activate(activation, None, out);
    if sizes.layers == 1 && b.reads_first() {
        out = b.first(out);
    }
    let add = Add { bias: None, drop: None, residual: states };
    Ok(b.add_and_norm(Some(add), norm, out, None))
}

/// activation(W·row + b)
fn pooler(config: Fields<'_>, sizes: &ModelConfig, b: &mut Builder, row: Value) -> Result<()> {
    let activation = config.activation("pooler_hidden_act", "gelu")?;
    dense_pooler(b, "pooler.dense", sizes.hidden, activation, row);
    Ok(())
}
