//! Small cuts that the tests of the file format share.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]
#![allow(dead_code, reason = "each test file uses some of them")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use linocut::cut::{
    BaseId, Card, Cut, Decision, Delta, Edit, EditKind, Head, LargeZeros, LowRank, Other, Probe,
    Sign, Source, Sparse, StoreType, TensorEdit, TensorNote, Zeros,
};
use linocut::data::{Long, Metric, Problem};
use linocut::model::{Kind, Layout, Place, Pooling, Role, Slim, SlimLayer, Weights};
use safetensors::Dtype;
use serde_json::json;

pub(crate) const QUERY: &str = "encoder.layer.0.attention.self.query.weight";
pub(crate) const OUTPUT: &str = "encoder.layer.1.output.dense.weight";
pub(crate) const BIAS: &str = "encoder.layer.1.output.dense.bias";

/// A mask over two matrices, three labels, a bf16 head, two probes.
pub(crate) fn zeros() -> Cut {
    let spread: Vec<u32> = (0..96).filter(|p| p * p % 13 == 1).collect();
    let edits = BTreeMap::from([
        (QUERY.into(), zeros_edit(vec![8, 8], vec![0, 9, 63])),
        (OUTPUT.into(), zeros_edit(vec![8, 12], spread)),
    ]);
    let card = Card {
        task: "intent".into(),
        labels: ["billing", "refund", "other \"ü\"\n"].map(String::from).to_vec(),
        method: json!({"mask": {"kind": "stochastic", "lr": 0.1, "scale": 4.0}}),
        training: json!({"epochs": 3, "loss": [1.0986122886681098, 0.1 + 0.2]}),
        metric: Metric::Accuracy,
        metrics: BTreeMap::from([("accuracy".into(), 0.956), ("f1".into(), 1.0 / 3.0)]),
        ..card(3)
    };
    let probes = vec![
        probe(&[101, 7592, 102], &[0, 0, 0], &[0.5, -1.25, 3.0]),
        probe(&[101, 102], &[0, 1], &[-0.0, 1e-20, 7.0]),
    ];
    Cut::new(card, head(StoreType::Bf16, 3, 8), edits, probes).unwrap()
}

/// A replaced matrix in bf16 and a replaced bias in f32, multi-label over pairs.
pub(crate) fn replaced() -> Cut {
    let mut values: Vec<f32> = (0..96).map(|i| (i as f32 - 40.0) * 0.0137).collect();
    StoreType::Bf16.round(OUTPUT, &mut values).unwrap();
    let bias = vec![0.1, -0.0, f32::MIN_POSITIVE / 2.0, 4.0, f32::MAX, 6.0, 7.0, 8.0];
    let edits = BTreeMap::from([
        (OUTPUT.into(), replace_edit(vec![8, 12], StoreType::Bf16, values)),
        (BIAS.into(), replace_edit(vec![8], StoreType::F32, bias)),
    ]);
    let card = Card {
        task: "tags".into(),
        problem: Problem::MultiLabel,
        labels: vec!["a".into(), "b".into()],
        pooling: Pooling::Cls,
        pairs: true,
        method: json!({"layers": {"layers": [1]}}),
        ..card(2)
    };
    let probes = vec![probe(&[101, 5, 102, 6, 102], &[0, 0, 0, 1, 1], &[2.0, -2.0])];
    Cut::new(card, head(StoreType::Bf16, 2, 8), edits, probes).unwrap()
}

/// A head alone, one number, f16, without probes.
pub(crate) fn regression() -> Cut {
    let card = Card {
        task: "similarity".into(),
        problem: Problem::Regression,
        pooling: Pooling::First,
        metric: Metric::PearsonSpearman,
        metrics: BTreeMap::from([("pearson".into(), 0.875)]),
        ..card(1)
    };
    Cut::new(card, head(StoreType::F16, 1, 8), BTreeMap::new(), vec![]).unwrap()
}

/// Every kind of difference, of a model packed with its own names and one tensor more.
pub(crate) fn differences() -> Cut {
    let (base, tuned) = (numbers(64, 0.5), numbers(64, 0.501));
    let delta = Delta::between(&base, &tuned, 8, StoreType::F32).unwrap();
    let sign = Sign::nearest(&numbers(96, 0.01), 12, vec![0, 3, 7]).unwrap();
    let sparse = Sparse::new(8, vec![1, 6], StoreType::Bf16, vec![0.5, -0.0078125]).unwrap();
    let edits = BTreeMap::from([
        (QUERY.into(), TensorEdit { shape: vec![8, 8], edit: Edit::Delta(delta) }),
        (OUTPUT.into(), TensorEdit { shape: vec![8, 12], edit: Edit::Sign(sign) }),
        (BIAS.into(), TensorEdit { shape: vec![8], edit: Edit::Sparse(sparse) }),
    ]);
    let card = Card {
        task: "packed".into(),
        labels: vec!["no".into(), "yes".into()],
        pooling: Pooling::Cls,
        method: json!({"name": "pack", "fidelity": "lossless"}),
        ..card(2)
    };
    let source = Source {
        prefix: "bert.".into(),
        names: BTreeMap::from([(
            "embeddings.LayerNorm.bias".into(),
            "embeddings.LayerNorm.beta".into(),
        )]),
        store: StoreType::F32,
        stores: BTreeMap::from([("head.bias".into(), StoreType::Bf16)]),
        absent: BTreeSet::from(["pooler.dense.weight".into()]),
    };
    let bytes = (0..4u64).flat_map(u64::to_le_bytes).collect();
    let ids = Other { dtype: Dtype::I64, shape: vec![1, 4], bytes };
    let others = BTreeMap::from([("bert.embeddings.position_ids".into(), ids)]);
    let probes = vec![probe(&[101, 5, 102], &[0, 0, 0], &[2.0, -2.0])];
    let cut = Cut::new(card, head(StoreType::Bf16, 2, 8), edits, probes).unwrap();
    cut.with_source(source, others).unwrap()
}

/// Low-rank factors of two matrices.
pub(crate) fn low_rank() -> Cut {
    let factors = |shape: (usize, usize), rank, store: StoreType| {
        let mut factors = numbers((shape.0 + shape.1) * rank, 0.25);
        store.round("factors", &mut factors).unwrap();
        let edit = Edit::LowRank(LowRank::new(shape, store, factors).unwrap());
        TensorEdit { shape: vec![shape.0, shape.1], edit }
    };
    let edits = BTreeMap::from([
        (QUERY.into(), factors((8, 8), 1, StoreType::Bf16)),
        (OUTPUT.into(), factors((8, 12), 3, StoreType::Bf16)),
    ]);
    let card = Card {
        task: "intent".into(),
        labels: vec!["no".into(), "yes".into()],
        method: json!({"name": "lora", "rank": 3}),
        ..card(2)
    };
    let probes = vec![probe(&[101, 5, 102], &[0, 0, 0], &[2.0, -2.0])];
    Cut::new(card, head(StoreType::Bf16, 2, 8), edits, probes).unwrap()
}

/// Weights that the samples fit, of numbers that [`differences`] starts from.
pub(crate) fn weights() -> Weights {
    let layout = Arc::new(Layout::new([
        (QUERY.into(), vec![8, 8], Role::Matrix(Kind::Query), Place::Layer(0)),
        ("untouched".into(), vec![5], Role::Bias, Place::Layer(0)),
        (OUTPUT.into(), vec![8, 12], Role::Matrix(Kind::Output), Place::Layer(1)),
        (BIAS.into(), vec![8], Role::Bias, Place::Layer(1)),
    ]));
    let data = [numbers(64, 0.5), numbers(5 + 96 + 8, 0.3)].concat();
    Weights::new(layout, data)
}

/// Made-up weights of both signs, around ±`scale`.
pub(crate) fn numbers(len: usize, scale: f32) -> Vec<f32> {
    (0..len).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0 * scale).collect()
}

/// A mask of large entries of one matrix and of any of another's.
pub(crate) fn large_zeros() -> Cut {
    let weights = weights();
    let query = weights.at(0);
    let positions = (0..64).filter(|&p| query[p as usize].abs() > 0.4 && p % 3 == 0).collect();
    let large = LargeZeros::new(&Zeros::new(64, positions).unwrap(), query);
    let edits = BTreeMap::from([
        (QUERY.into(), TensorEdit { shape: vec![8, 8], edit: Edit::LargeZeros(large) }),
        (OUTPUT.into(), zeros_edit(vec![8, 12], vec![1, 2, 95])),
    ]);
    let card = Card { task: "large".into(), labels: vec!["a".into(), "b".into()], ..card(2) };
    Cut::new(card, head(StoreType::Bf16, 2, 8), edits, vec![]).unwrap()
}

/// The mask of a slim task, whose tensors are smaller than the base's.
pub(crate) fn slim() -> Cut {
    let layer = |heads: &[bool], groups: &[bool]| SlimLayer {
        heads: heads.to_vec(),
        groups: groups.to_vec(),
    };
    let slim = Slim {
        depth: 2,
        layers: vec![layer(&[true, false], &[true]), layer(&[true, true], &[false])],
    };
    let edits = BTreeMap::from([(QUERY.into(), zeros_edit(vec![4, 8], vec![0, 9, 31]))]);
    let labels = vec!["a".into(), "b".into()];
    let card = Card { task: "slim".into(), labels, slim: Some(slim), ..card(2) };
    Cut::new(card, head(StoreType::Bf16, 2, 8), edits, vec![]).unwrap()
}

/// A task that abstains where it is not sure.
pub(crate) fn decided() -> Cut {
    let decision = Decision {
        temperature: 1.5,
        thresholds: vec![0.75],
        fitted: json!({"rows": 40, "for": "precision 0.9"}),
    };
    zeros().with_decision(Some(decision)).unwrap()
}

/// A task that reads long texts in windows, by a head of vectors of length 1.
pub(crate) fn long() -> Cut {
    let whole = zeros();
    let card = Card { long: Some(Long::Windows), unit: true, ..whole.card().clone() };
    let (head, edits) = (whole.head().clone(), whole.edits().clone());
    Cut::new(card, head, edits, whole.probes().to_vec()).unwrap()
}

pub(crate) fn all() -> [(&'static str, Cut); 9] {
    [
        ("zeros", zeros()),
        ("replaced-bf16", replaced()),
        ("regression", regression()),
        ("differences", differences()),
        ("low-rank", low_rank()),
        ("large-zeros", large_zeros()),
        ("slim", slim()),
        ("decided", decided()),
        ("long", long()),
    ]
}

pub(crate) fn card(outputs: usize) -> Card {
    Card {
        format: 1,
        task: "task".into(),
        problem: Problem::SingleLabel,
        labels: vec![],
        outputs,
        pooling: Pooling::Mean,
        max_length: 128,
        long: None,
        unit: false,
        pairs: false,
        base: BaseId { name: "tiny".into(), fingerprint: "b4".repeat(32) },
        tokenizer: "70".repeat(32),
        method: json!("head"),
        training: json!(null),
        metric: Metric::Accuracy,
        metrics: BTreeMap::new(),
        tensors: BTreeMap::<String, TensorNote>::new(),
        slim: None,
        decision: None,
        source: None,
    }
}

pub(crate) fn head(store: StoreType, outputs: usize, hidden: usize) -> Head {
    let mut weight: Vec<f32> =
        (0..outputs * hidden).map(|i| (i as f32 * 0.7).fract() - 0.5).collect();
    let mut bias: Vec<f32> = (0..outputs).map(|i| i as f32 * 0.01).collect();
    store.round("head.weight", &mut weight).unwrap();
    store.round("head.bias", &mut bias).unwrap();
    Head { store, hidden, weight, bias }
}

pub(crate) fn zeros_edit(shape: Vec<usize>, positions: Vec<u32>) -> TensorEdit {
    let zeros = Zeros::new(shape.iter().product(), positions).unwrap();
    TensorEdit { shape, edit: Edit::Zeros(zeros) }
}

pub(crate) fn replace_edit(shape: Vec<usize>, store: StoreType, values: Vec<f32>) -> TensorEdit {
    TensorEdit { shape, edit: Edit::Replace { store, values } }
}

pub(crate) fn probe(ids: &[u32], types: &[u32], logits: &[f32]) -> Probe {
    Probe { input_ids: ids.into(), token_type_ids: types.into(), logits: logits.into() }
}

/// What every cut must satisfy, however it came about.
pub(crate) fn assert_sound(cut: &Cut) {
    let (card, head) = (cut.card(), cut.head());
    let large = |edit: &TensorEdit| matches!(edit.edit, Edit::LargeZeros(_));
    let least = 1 + u32::from(cut.edits().values().any(large));
    let format = match (&card.decision, &card.slim) {
        _ if card.long.is_some() || card.unit => 5,
        (Some(_), _) => 4,
        (None, Some(_)) => 3,
        (None, None) => least,
    };
    assert_eq!(card.format, format);
    assert_eq!(card.outputs, head.bias.len());
    assert_eq!(head.weight.len(), head.bias.len() * head.hidden);
    assert!(head.weight.iter().chain(&head.bias).all(|v| v.is_finite()));
    match card.problem {
        Problem::Regression => assert!(card.labels.is_empty()),
        _ => assert_eq!(card.labels.len(), card.outputs),
    }
    assert!(card.tensors.keys().eq(cut.edits().keys()));
    for (name, edit) in cut.edits() {
        let (note, entries) = (&card.tensors[name], edit.shape.iter().product::<usize>());
        assert_eq!(note.shape, edit.shape);
        assert!(entries > 0);
        match &edit.edit {
            Edit::Zeros(zeros) => {
                assert_eq!((note.edit, zeros.len()), (EditKind::Zeros, entries));
                assert_eq!(note.zeros, Some(zeros.positions().len() as u64));
                assert!(zeros.positions().windows(2).all(|w| w[0] < w[1]));
                assert!(zeros.positions().iter().all(|&p| (p as usize) < entries));
            }
            Edit::LargeZeros(zeros) => {
                assert_eq!((note.edit, zeros.len()), (EditKind::LargeZeros, entries));
                assert_eq!(note.zeros, Some(zeros.count() as u64));
                assert!(zeros.count() <= entries);
            }
            Edit::Replace { store, values } => {
                assert_eq!((note.edit, note.store), (EditKind::Replace, Some(*store)));
                assert_eq!(values.len(), entries);
                assert!(values.iter().all(|v| v.is_finite()));
            }
            Edit::Delta(delta) => {
                assert_eq!((note.edit, note.store), (EditKind::Delta, Some(delta.store())));
                assert_eq!(delta.len(), entries);
            }
            Edit::Sparse(sparse) => {
                assert_eq!((note.edit, note.store), (EditKind::Sparse, Some(sparse.store())));
                assert_eq!(note.moved, Some(sparse.positions().len() as u64));
                assert_eq!(
                    (sparse.len(), sparse.values().len()),
                    (entries, sparse.positions().len())
                );
                assert!(sparse.positions().windows(2).all(|w| w[0] < w[1]));
                assert!(sparse.positions().iter().all(|&p| (p as usize) < entries));
                assert!(sparse.values().iter().all(|v| v.is_finite()));
            }
            Edit::Sign(sign) => {
                let columns = *edit.shape.last().unwrap();
                assert_eq!(
                    (note.edit, sign.len(), sign.columns()),
                    (EditKind::Sign, entries, columns)
                );
                assert_eq!(note.moved, Some((sign.rows().len() * columns) as u64));
                assert!(sign.rows().windows(2).all(|w| w[0] < w[1]));
                assert!(sign.rows().iter().all(|&r| (r as usize) < entries / columns));
                assert!(sign.scales().iter().all(|s| s.is_finite() && *s >= 0.0));
            }
            Edit::LowRank(low_rank) => {
                assert_eq!((note.edit, note.store), (EditKind::LowRank, Some(low_rank.store())));
                let &[rows, columns] = &edit.shape[..] else { panic!("{:?}", edit.shape) };
                assert_eq!((low_rank.len(), low_rank.columns()), (entries, columns));
                assert!((1..=rows.min(columns)).contains(&low_rank.rank()));
                assert_eq!(low_rank.factors().len(), low_rank.rank() * (rows + columns));
                assert!(low_rank.factors().iter().all(|v| v.is_finite()));
            }
        }
    }
    for probe in cut.probes() {
        assert!((1..=card.max_length).contains(&probe.input_ids.len()));
        assert_eq!(probe.token_type_ids.len(), probe.input_ids.len());
        assert_eq!(probe.logits.len(), card.outputs);
        assert!(probe.logits.iter().all(|l| l.is_finite()));
    }
    assert_eq!(Cut::from_bytes(&cut.to_bytes()).unwrap(), *cut);
}
