//! A small base with random weights, cuts of every kind, and what each answers alone.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use crate::bank::{Bank, Costs, Query, Task};
use crate::checkpoint::{Fingerprint, Kind};
use crate::cut::{
    self, BaseId, Card, Cut, Edit, LargeZeros, LowRank, Sparse, StoreType, TensorEdit, Zeros,
};
use crate::data::{Encoding, Metric, Problem, Tokenizer};
use crate::kernels::random::{bits, normal, uniform};
use crate::model::{self, Base, Encoder, Head, Pooling, TensorSpec, Weights};

/// Texts of these many tokens.
pub(super) const LENGTHS: [usize; 9] = [1, 2, 3, 7, 31, 32, 33, 100, 512];

/// BERT of three layers of 32, with a pooler.
pub(super) fn base() -> Base {
    base_of("bert")
}

/// The same of another family.
pub(super) fn base_of(family: &str) -> Base {
    let biased = family == "modernbert-biased";
    let model_type = match family {
        "modernbert-biased" => "modernbert",
        "deberta-v3" => "deberta-v2",
        "nomic" => "nomic_bert",
        family => family,
    };
    let mut config = serde_json::json!({
        "model_type": model_type,
        "hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4,
        "intermediate_size": 80, "vocab_size": 99,
        // DistilBERT's names for the same, and ELECTRA's for one more.
        "dim": 32, "n_layers": 3, "n_heads": 4, "hidden_dim": 80, "embedding_size": 24,
        // ALBERT's layers share their tensors by groups, ModernBERT's see near tokens alone but for some.
        "num_hidden_groups": 2, "global_attn_every_n_layers": 2, "local_attention": 16,
        "norm_bias": biased, "attention_bias": biased, "mlp_bias": biased,
        "classifier_bias": biased, "classifier_pooling": if biased { "mean" } else { "cls" },
        // DeBERTa's distances.
        "relative_attention": true, "pos_att_type": "c2p|p2c",
    });
    let more = match family {
        "deberta-v2" => serde_json::json!({"conv_kernel_size": 3, "type_vocab_size": 2}),
        "deberta-v3" => serde_json::json!({
            "share_att_key": true, "norm_rel_ebd": "layer_norm", "position_buckets": 16,
            "position_biased_input": false,
        }),
        _ => serde_json::json!({}),
    };
    config.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let encoder = Encoder::new(&config, true, Pooling::First).unwrap();
    let layout = encoder.layout().clone();
    let mut data = vec![0.0; layout.len()];
    for (i, spec) in layout.tensors().iter().enumerate() {
        draw(&mut data[spec.range.clone()], spec, 1 + i as u64);
    }
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tiny");
    Base {
        name: "small".into(),
        tokenizer: Tokenizer::open(&folder).unwrap().into(),
        folder,
        fingerprint: Fingerprint([7; 32]),
        weights: Weights::new(layout, data),
        encoder,
    }
}

/// Entries large enough for every tensor to matter, scales of LayerNorms around 1.
fn draw(values: &mut [f32], spec: &TensorSpec, key: u64) {
    let scale = spec.kind() == Kind::LayerNorm && spec.name.ends_with("weight");
    for (j, v) in values.iter_mut().enumerate() {
        *v = if scale { 1.0 } else { 0.0 } + 0.2 * normal(key, j as u32);
    }
}

/// What a sample's cut does to a tensor.
#[derive(Clone, Copy)]
pub(super) enum To {
    Nothing,
    Zeros(f32),
    Replaced,
    LowRank(usize),
    /// This share of entries moved.
    Moved(f32),
}

/// A cut that does to each tensor what `to` says; `version` draws its head and all else random.
pub(super) fn cut(
    base: &Base,
    version: u64,
    pooling: Pooling,
    outputs: usize,
    to: impl Fn(&TensorSpec) -> To,
) -> Cut {
    let mut edits = BTreeMap::new();
    for (i, spec) in base.encoder.layout().tensors().iter().enumerate() {
        let key = version << 32 | i as u64;
        if spec.range.is_empty() {
            continue; // a slim base keeps nothing of it
        }
        let edit = match to(spec) {
            To::Nothing => continue,
            To::Zeros(density) => {
                // Every other one among the large entries, and counted there.
                let (large, weights) = (key % 2 == 1, base.weights.at(i));
                let kept = (0..spec.range.len())
                    .map(|j| large && weights[j].abs() < 0.14 || uniform(key, j as u32) >= density);
                let zeros = Zeros::from_keep(kept).unwrap();
                if large {
                    Edit::LargeZeros(LargeZeros::new(&zeros, weights))
                } else {
                    Edit::Zeros(zeros)
                }
            }
            To::Replaced => {
                let mut values = vec![0.0; spec.range.len()];
                draw(&mut values, spec, key);
                Edit::Replace { store: StoreType::F32, values }
            }
            To::Moved(share) => {
                let n = spec.range.len();
                let moved = (0..n as u32).filter(|&j| uniform(key, j) < share);
                let positions: Vec<u32> = moved.collect();
                let values = positions.iter().map(|&j| normal(key ^ 1, j)).collect();
                Edit::Sparse(Sparse::new(n, positions, StoreType::F32, values).unwrap())
            }
            To::LowRank(rank) => {
                let (rows, columns) = (spec.shape[0], spec.shape[1]);
                // Not so large that layers which repeat a matrix would make rounding grow.
                let draw = |j| 0.1 * normal(key, j as u32);
                let factors = (0..(rows + columns) * rank).map(draw).collect();
                Edit::LowRank(LowRank::new((rows, columns), StoreType::F32, factors).unwrap())
            }
        };
        edits.insert(spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit });
    }
    // Outputs two by two all but opposite, so that differences of logits are large beside them.
    let hidden = base.config().hidden;
    let weight = (0..outputs * hidden).map(|j| {
        let (pair, sign) =
            (j / hidden / 2, if (j / hidden).is_multiple_of(2) { 1.0 } else { -1.0 });
        sign * normal(version ^ 99, (pair * hidden + j % hidden) as u32)
            + 1e-3 * normal(version ^ 77, j as u32)
    });
    let head = cut::Head {
        store: StoreType::F32,
        hidden,
        weight: weight.collect(),
        bias: (0..outputs).map(|j| normal(version ^ 55, j as u32)).collect(),
    };
    let card = Card {
        format: 1,
        task: "sample".into(),
        problem: Problem::MultiLabel,
        labels: (0..outputs).map(|i| i.to_string()).collect(),
        outputs,
        pooling,
        max_length: base.config().positions,
        long: None,
        unit: false,
        pairs: false,
        base: BaseId { name: base.name.clone(), fingerprint: base.fingerprint.to_string() },
        tokenizer: base.tokenizer.fingerprint().to_string(),
        method: serde_json::json!("sample"),
        training: serde_json::json!(version),
        metric: Metric::Accuracy,
        metrics: BTreeMap::new(),
        tensors: BTreeMap::new(),
        slim: base.encoder.kept().cloned(),
        decision: None,
        source: None,
    };
    Cut::new(card, head, edits, vec![]).unwrap()
}

/// Whether a tensor is one of the matrices that masks cut.
fn matrix(t: &TensorSpec) -> bool {
    t.shape.len() == 2 && t.kind() != Kind::Embeddings
}

/// Cuts of every kind, with unequal numbers of labels, by the name of what they do.
pub(super) fn cuts(base: &Base) -> Vec<(String, Cut)> {
    use To::{LowRank, Moved, Nothing, Replaced, Zeros};
    type Rule = fn(&TensorSpec) -> To;
    let rules: [(&str, Rule); 24] =
        [
            ("head", |_| Nothing),
            ("another head", |_| Nothing),
            ("mask 1%", |t| if matrix(t) { Zeros(0.01) } else { Nothing }),
            ("mask 10%", |t| if matrix(t) { Zeros(0.1) } else { Nothing }),
            ("mask 60%", |t| if matrix(t) { Zeros(0.6) } else { Nothing }),
            ("mask of layer 1", |t| {
                if matrix(t) && t.layer() == Some(1) { Zeros(0.2) } else { Nothing }
            }),
            ("mask of layer 2", |t| {
                if matrix(t) && t.layer() == Some(2) { Zeros(0.2) } else { Nothing }
            }),
            ("mask of values", |t| if t.kind() == Kind::Value { Zeros(0.3) } else { Nothing }),
            ("mask of outputs", |t| if t.kind() == Kind::Output { Zeros(0.3) } else { Nothing }),
            ("keys zeroed, values replaced", |t| match t.kind() {
                Kind::Key => Zeros(0.2),
                Kind::Value => Replaced,
                _ => Nothing,
            }),
            ("layer 1 replaced", |t| if t.layer() == Some(1) { Replaced } else { Nothing }),
            ("biases and norms replaced", |t| match t.kind() {
                Kind::Bias | Kind::LayerNorm => Replaced,
                _ => Nothing,
            }),
            ("all replaced", |_| Replaced),
            ("embeddings and vectors zeroed", |t| match (t.kind(), t.shape.len()) {
                (Kind::Embeddings, _) | (_, 1) => Zeros(0.1),
                _ => Nothing,
            }),
            ("low rank of queries and values", |t| match t.kind() {
                Kind::Query | Kind::Value => LowRank(3),
                _ => Nothing,
            }),
            ("low rank of every matrix", |t| if matrix(t) { LowRank(2) } else { Nothing }),
            ("low rank of layer 2", |t| {
                if matrix(t) && t.layer() == Some(2) { LowRank(4) } else { Nothing }
            }),
            ("ranks of keys and values", |t| match t.kind() {
                Kind::Key => LowRank(1),
                Kind::Value => LowRank(5),
                _ => Nothing,
            }),
            ("low rank of values beside other keys", |t| match (t.kind(), t.layer()) {
                (Kind::Value, _) => LowRank(3),
                (Kind::Key, Some(0)) => Zeros(0.1),
                (Kind::Key, Some(1)) => Replaced,
                (Kind::Key, Some(2)) => Moved(0.01),
                (Kind::Output, _) => Zeros(0.1),
                _ => Nothing,
            }),
            ("as many factors as entries, and of tables", |t| match t.shape.len() {
                2 => LowRank(t.shape[0].min(t.shape[1])),
                _ => Nothing,
            }),
            ("a few entries moved", |_| Moved(0.01)),
            ("many entries moved", |_| Moved(0.1)),
            ("keys zeroed, a few values moved", |t| match t.kind() {
                Kind::Key => Zeros(0.01),
                Kind::Value => Moved(0.01),
                _ => Nothing,
            }),
            ("pooler", |t| match (t.kind(), t.layer()) {
                (Kind::Pooler, _) => Zeros(0.2),
                (Kind::Bias, None) => Replaced,
                _ => Nothing,
            }),
        ];
    let mut cuts = Vec::new();
    for (i, (name, rule)) in rules.into_iter().enumerate() {
        for (p, pooling) in [Pooling::Mean, Pooling::First, Pooling::Cls].into_iter().enumerate() {
            let version = (10 * i + p + 1) as u64;
            let outputs = 1 + (3 * i + p) % 7;
            let name = format!("{name}, {}", pooling.name());
            cuts.push((name, cut(base, version, pooling, outputs, rule)));
        }
    }
    cuts
}

/// A text of `length` tokens.
pub(super) fn text(base: &Base, length: usize) -> Encoding {
    let draw = |i: u32| bits(length as u64, i);
    Encoding {
        ids: (0..length as u32).map(|i| draw(i) % base.config().vocab as u32).collect(),
        type_ids: (0..length)
            .map(|i| u32::from(base.config().token_types > 1 && length > 9 && i > length / 2))
            .collect(),
        cut: false,
    }
}

/// A text of one sequence.
pub(super) fn one(text: &Encoding) -> Arc<[Encoding]> {
    [text.clone()].into()
}

/// Logits of every one of the tasks on every one of the texts, all in one call.
pub(super) fn ask(bank: &Bank, texts: &[Arc<Encoding>], tasks: &[Arc<Task>]) -> Vec<Vec<f32>> {
    let asks =
        |text: &Arc<Encoding>| tasks.iter().map(|task| (Arc::clone(task), one(text))).collect();
    let queries: Vec<Query> = texts.iter().map(|text| Query { asks: asks(text) }).collect();
    let answers = bank.answer(&queries.iter().collect::<Vec<_>>());
    answers.into_iter().flatten().map(|answer| answer.logits.to_vec()).collect()
}

/// What the cut answers on its own, by the engine of training.
pub(super) fn alone(base: &Base, cut: &Cut, text: &Encoding) -> Vec<f32> {
    let encoder = base.encoder.with_pooling(cut.card().pooling);
    let mut weights = base.weights.clone();
    drop(cut.apply(&mut weights).unwrap());
    let head = Head::from(cut);
    model::logits(&encoder, &weights, &head, std::slice::from_ref(text), |_| {})
}

/// Within 1e-5·max(1, largest |logit|), the bank's promise.
#[track_caller]
pub(super) fn assert_same(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let bound = 1e-5 * expected.iter().fold(1.0f32, |m, z| m.max(z.abs()));
    for (f, e) in found.iter().zip(expected) {
        assert!((f - e).abs() <= bound, "{what}: found {found:?}, expected {expected:?}");
    }
}

/// Costs by which every matrix is corrected, or every one that fits the budget is materialised.
pub(super) fn always(materialised: bool) -> Costs {
    let (own, zero_row) = if materialised { (0.0, 1.0) } else { (1.0, 0.0) };
    Costs { dense: 1.0, own, make: 0.0, zero: 0.0, zero_row, turn: 0.0, thin: 0.0 }
}
