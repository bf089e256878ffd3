//! The engine against float64 PyTorch: logits, loss, every gradient and ten AdamW steps of a tiny
//! random model of every family, for poolings, losses and methods; and the bank's logits beside them.
//! `reference/fixtures.py` writes the files.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

use linocut::bank::{Bank, Options};
use linocut::cut::{self, BaseId, Card, Cut, Probe, StoreType};
use linocut::data::{Batch, Metric, Problem, Tokenizer};
use linocut::model::{
    Base, Encoder, Grads, Head, Input, LossTargets, Place, Pooling, Tape, TensorSpec, family,
};
use linocut::tune::{Examples, Method, Rates, Sampling, Selection, Trainer};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const FAMILIES: [&str; 11] = [
    "bert",
    "roberta",
    "distilbert",
    "electra",
    "mpnet",
    "albert",
    "modernbert",
    "modernbert-biased",
    "deberta-v2",
    "deberta-v3",
    "nomic",
];

fn testdata(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(path)
}

/// One case's file, every tensor widened to f64.
struct Case<'a> {
    tensors: SafeTensors<'a>,
    case: Value,
}

impl<'a> Case<'a> {
    fn of(bytes: &'a [u8]) -> Self {
        let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
        let case = &metadata.metadata().as_ref().unwrap()["case"];
        Self {
            tensors: SafeTensors::deserialize(bytes).unwrap(),
            case: serde_json::from_str(case).unwrap(),
        }
    }

    fn get(&self, name: &str) -> Vec<f64> {
        self.find(name).unwrap_or_else(|| panic!("no tensor {name}"))
    }

    fn find(&self, name: &str) -> Option<Vec<f64>> {
        let view = self.tensors.tensor(name).ok()?;
        let bytes = view.data();
        Some(match view.dtype() {
            Dtype::F64 => {
                bytes.chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
            }
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f64::from(f32::from_le_bytes(b.try_into().unwrap())))
                .collect(),
            Dtype::I64 => bytes
                .chunks_exact(8)
                .map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64)
                .collect(),
            other => panic!("{name} is {other}"),
        })
    }

    fn f32(&self, name: &str) -> Vec<f32> {
        self.get(name).iter().map(|&v| v as f32).collect()
    }

    fn ints(&self, name: &str) -> Vec<u32> {
        self.get(name).iter().map(|&v| v as u32).collect()
    }

    fn text(&self, key: &str) -> &str {
        self.case[key].as_str().unwrap()
    }

    fn number(&self, key: &str) -> f64 {
        self.case[key].as_f64().unwrap_or_else(|| panic!("no number {key} in {}", self.case))
    }
}

fn norm(x: &[f64]) -> f64 {
    x.iter().map(|v| v * v).sum::<f64>().sqrt()
}

fn check(file: &Path) {
    let folder = file.parent().unwrap();
    let name = format!("{} {}", folder.display(), file.file_stem().unwrap().display());
    let bytes = std::fs::read(file).unwrap();
    let case = Case::of(&bytes);
    let pooling = pooling(&case);
    let checkpoint = family::open(&folder.join("base")).unwrap();
    let encoder = Encoder::open(&checkpoint, Some(pooling)).unwrap();
    let weights = encoder.load(&checkpoint).unwrap();
    let head = Head { weight: case.f32("head.weight"), bias: case.f32("head.bias"), unit: false };
    let batch = Batch {
        ids: case.ints("input_ids"),
        type_ids: case.ints("type_ids"),
        offsets: case.ints("offsets").iter().map(|&o| o as usize).collect(),
    };
    let class_weights = case.find("class_weights").map(|_| case.f32("class_weights"));
    let (classes, values) = (case.ints("targets"), case.f32("targets"));
    let targets = match case.text("problem") {
        "single" => LossTargets::Classes(&classes, class_weights.as_deref()),
        "multi" => LossTargets::MultiHot(&values, None),
        _ => LossTargets::Values(&values),
    };
    let trained: Vec<&str> =
        case.case["trained"].as_array().unwrap().iter().map(|v| v.as_str().unwrap()).collect();
    let layout = encoder.layout().clone();
    let marks: Vec<bool> =
        layout.tensors().iter().map(|t| trained.contains(&t.name.as_str())).collect();
    let method = case.text("method");
    let selection = Selection::default();
    let how = match method.strip_prefix("mask-") {
        None if method == "lora" => Method::low_rank(case.number("rank") as usize, selection),
        None => Method::Full,
        Some(sampling) => Method::Mask {
            sampling: match sampling {
                "stochastic" => Sampling::Stochastic,
                _ => Sampling::Threshold,
            },
            init_scale: Some(case.number("init_scale")),
            init_sparsity: case.number("init_sparsity"),
            candidates: 1.0,
            target: None,
            selection,
        },
    };
    let rates = Rates {
        lr: case.number("lr"),
        mask_lr: 5e-2,
        head_lr: case.number("head_lr"),
        decay: 0.01,
        clip: 1.0,
        warmup: 1,
        steps: 10,
        seed: 7,
    };
    let before = weights.clone();
    let mut trainer = Trainer::new(encoder, weights, head, marks.clone(), &how, rates);

    // Logits (of the unmasked base for mask methods the file holds those of the masked one).
    let losses = case.get("losses");
    for (step, want) in losses.iter().enumerate() {
        let initial_head = trainer.head().clone();
        let input = Input::Tokens(&batch);
        let examples = Examples { input, windows: &[], targets, weights: None, teacher: None };
        let got = trainer.step(examples).unwrap();
        assert!(
            (got - want).abs() < 2e-5 * want.abs().max(1.0),
            "{name}: step {step}: {got} {want}"
        );
        if step > 0 {
            continue;
        }
        let global = norm(
            &trained.iter().flat_map(|t| case.get(&format!("grad/{t}"))).collect::<Vec<f64>>(),
        );
        for (i, spec) in layout.tensors().iter().enumerate().filter(|(i, _)| marks[*i]) {
            let want = case.get(&format!("grad/{}", spec.name));
            let mut got = vec![0.0; want.len()];
            match trainer.grads().words() {
                Some((rows, values)) if i == trainer.encoder().words() => {
                    let width = spec.shape[1];
                    for (r, values) in rows.iter().zip(values.chunks_exact(width)) {
                        got[*r as usize * width..][..width].copy_from_slice(values);
                    }
                }
                _ => match trainer.low_rank() {
                    Some(low_rank) => {
                        let (_, _, grads) = low_rank.per_tensor().find(|f| f.0 == i).unwrap();
                        got.copy_from_slice(grads);
                    }
                    None => got.copy_from_slice(trainer.grads().tensor(i)),
                },
            }
            let gap: Vec<f64> = got.iter().zip(&want).map(|(g, w)| f64::from(*g) - w).collect();
            // ∂L/∂(key bias) is 0 in theory: only the absolute part of the bound is left of it.
            let bound = 1e-4 * norm(&want) + 1e-7 * global;
            assert!(
                norm(&gap) <= bound,
                "{name}: gradient of {}: {} > {bound}",
                spec.name,
                norm(&gap)
            );
        }
        if !method.starts_with("mask") {
            let encoder = trainer.encoder();
            let mut tape = Tape::default();
            let pooled = encoder.forward(&before, Input::Tokens(&batch), None, false, &mut tape);
            let logits = initial_head.forward(pooled);
            for (got, want) in logits.iter().zip(case.get("logits")) {
                assert!(
                    (f64::from(*got) - want).abs() < 1e-5 * want.abs().max(1.0),
                    "{name}: logits"
                );
            }
        }
    }

    trainer.settle();
    let after = |i: usize| -> Vec<f32> {
        match (trainer.masks(), trainer.low_rank()) {
            (Some(masks), _) => {
                masks.per_tensor(&layout).find(|(at, _)| *at == i).unwrap().1.to_vec()
            }
            (_, Some(low_rank)) => low_rank.per_tensor().find(|f| f.0 == i).unwrap().1.to_vec(),
            _ => trainer.weights().at(i).to_vec(),
        }
    };
    let mut compared = 0;
    for (i, spec) in layout.tensors().iter().enumerate() {
        if !marks[i] {
            let same =
                |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(
                same(trainer.weights().at(i), before.at(i)),
                "{name}: frozen {} moved",
                spec.name
            );
            continue;
        }
        // What a query gains alike from every key, a key's bias, follows the sign of noise: left out.
        let Some(want) = case.find(&format!("step10/{}", spec.name)) else { continue };
        let noise = ["key.bias", "k_lin.bias", "attn.k.bias", "pos_key_proj.bias"];
        if noise.iter().any(|end| spec.name.ends_with(end)) {
            continue;
        }
        compared += 1;
        let lr = if trainer.masks().is_some() { 5e-2 } else { 1e-3 };
        for (j, (got, want)) in after(i).iter().zip(&want).enumerate() {
            // A tenth of what one step at the peak rate moves an entry.
            let gap = (f64::from(*got) - want).abs();
            assert!(gap < 0.1 * lr, "{name}: {}[{j}] after 10 steps: {got} {want}", spec.name);
        }
        let moved: Vec<f64> =
            after(i).iter().zip(&want).map(|(got, want)| f64::from(*got) - want).collect();
        let scale = lr * (want.len() as f64).sqrt();
        assert!(norm(&moved) < 2e-3 * scale, "{name}: {}: {}", spec.name, norm(&moved) / scale);
    }
    if case.find("step10/head.weight").is_some() {
        assert!(compared > 0, "{name}");
        let want = case.get("step10/head.weight");
        for (got, want) in trainer.head().weight.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-4, "{name}: head {got} {want}");
        }
    }
}

#[test]
fn every_case_agrees_with_float64_pytorch() {
    for family in FAMILIES {
        let files = cases(family);
        assert!(files.len() >= if family == "bert" { 16 } else { 6 }, "{files:?}");
        files.iter().for_each(|file| check(file));
    }
}

fn cases(family: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(testdata(family))
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    files
}

/// The bank walks the same program: a cut that changes nothing must give float64's logits.
#[test]
fn the_bank_gives_the_same_logits() {
    for family in FAMILIES {
        let base = base(family);
        let id = BaseId { name: family.into(), fingerprint: base.fingerprint.to_string() };
        let tokenizer = base.tokenizer.fingerprint().to_string();
        let (hidden, positions) = (base.config().hidden, base.config().positions);
        let bank = Bank::new(base, Options::default()).unwrap();
        for file in cases(family) {
            let bytes = std::fs::read(&file).unwrap();
            let case = Case::of(&bytes);
            if case.text("method") != "full" {
                continue;
            }
            let (ids, types) = (case.ints("input_ids"), case.ints("type_ids"));
            let (logits, weight) = (case.f32("logits"), case.f32("head.weight"));
            let outputs = weight.len() / hidden;
            let spans: Vec<usize> = case.ints("offsets").iter().map(|&o| o as usize).collect();
            let probes =
                spans.windows(2).zip(logits.chunks_exact(outputs)).map(|(span, logits)| Probe {
                    input_ids: ids[span[0]..span[1]].to_vec(),
                    token_type_ids: types[span[0]..span[1]].to_vec(),
                    logits: logits.to_vec(),
                });
            let card = Card {
                format: 1,
                task: "same".into(),
                problem: Problem::MultiLabel,
                labels: (0..outputs).map(|i| i.to_string()).collect(),
                outputs,
                pooling: pooling(&case),
                max_length: 160.min(positions),
                long: None,
                unit: false,
                pairs: false,
                base: id.clone(),
                tokenizer: tokenizer.clone(),
                method: Value::Null,
                training: Value::Null,
                metric: Metric::Accuracy,
                metrics: BTreeMap::new(),
                tensors: BTreeMap::new(),
                slim: None,
                decision: None,
                source: None,
            };
            let bias = case.f32("head.bias");
            let head = cut::Head { store: StoreType::F32, hidden, weight, bias };
            let cut = Cut::new(card, head, BTreeMap::new(), probes.collect()).unwrap();
            // Its probes are computed when it is prepared, and held within 1e-5 of what they expect.
            let name = file.display().to_string();
            bank.prepare("same", &cut).unwrap_or_else(|e| panic!("{name}: {e}"));
        }
    }
}

/// What lies below trained layers is computed once: from there on all is as from the tokens.
#[test]
fn a_frozen_trunk_changes_no_bit() {
    for family in FAMILIES {
        let base = base(family);
        let bytes = std::fs::read(&cases(family)[0]).unwrap();
        let case = Case::of(&bytes);
        let batch = Batch {
            ids: case.ints("input_ids"),
            type_ids: case.ints("type_ids"),
            offsets: case.ints("offsets").iter().map(|&o| o as usize).collect(),
        };
        for pooling in Pooling::ALL {
            let encoder = base.encoder.with_pooling(pooling);
            let layers = encoder.config().layers;
            for depth in 1..=layers {
                // Of layers that share tensors the trunk ends before the first that is trained.
                let above = |t: &TensorSpec| t.layer().is_none_or(|layer| layer >= depth);
                let tensors = encoder.layout().tensors().iter().enumerate();
                let marks: Vec<bool> = tensors
                    .map(|(i, t)| t.place != Place::Below && above(t) && encoder.reads(i))
                    .collect();
                if encoder.trunk_depth(&marks) < depth {
                    continue;
                }
                let mut tape = Tape::default();
                let states = encoder.trunk(&base.weights, &batch, depth, &mut tape).to_vec();
                let single: Vec<usize> = (0..batch.offsets.len()).collect();
                let offsets = if depth == layers { &single[..] } else { &batch.offsets[..] };
                let inputs =
                    [Input::Tokens(&batch), Input::States { depth, states: &states, offsets }];
                let [whole, above] = inputs.map(|input| {
                    let mut tape = Tape::default();
                    let pooled =
                        encoder.forward(&base.weights, input, None, true, &mut tape).to_vec();
                    let mut grads = Grads::new(&encoder, &marks);
                    let grad: Vec<f32> = pooled.iter().map(|v| v.sin()).collect();
                    encoder.backward(&base.weights, input, None, &grad, &mut tape, &mut grads);
                    (pooled, grads.dense().to_vec())
                });
                assert_eq!(whole, above, "{family} {pooling:?} {depth}");
            }
        }
    }
}

fn tokenizer() -> Tokenizer {
    Tokenizer::open(&testdata("tiny")).unwrap()
}

/// The family's base, with any tokenizer.
fn base(family: &str) -> Base {
    let folder = testdata(family).join("base");
    let checkpoint = family::open(&folder).unwrap();
    let encoder = Encoder::open(&checkpoint, None).unwrap();
    let weights = encoder.load(&checkpoint).unwrap();
    let (name, fingerprint) = (family.to_string(), checkpoint.fingerprint());
    Base { name, folder, fingerprint, encoder, weights, tokenizer: tokenizer().into() }
}

fn pooling(case: &Case<'_>) -> Pooling {
    match case.text("pooling") {
        "cls" => Pooling::Cls,
        "first" => Pooling::First,
        _ => Pooling::Mean,
    }
}
