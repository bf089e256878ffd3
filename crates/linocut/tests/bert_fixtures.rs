//! The engine against float64 PyTorch: logits, loss, every gradient and ten AdamW steps of a tiny
//! random BERT, for every pooling, loss and method. `reference/bert_fixtures.py` writes the files.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

use linocut::checkpoint::Checkpoint;
use linocut::data::Batch;
use linocut::model::{Encoder, Head, Input, LossTargets, Pooling, Tape};
use linocut::tune::{Rates, Sampling, Trained, Trainer};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/bert")
}

/// One case's file, every tensor widened to f64.
struct Case<'a> {
    tensors: SafeTensors<'a>,
    case: Value,
}

impl Case<'_> {
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
    let name = file.file_stem().unwrap().to_str().unwrap();
    let bytes = std::fs::read(file).unwrap();
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let case = &metadata.metadata().as_ref().unwrap()["case"];
    let case = Case {
        tensors: SafeTensors::deserialize(&bytes).unwrap(),
        case: serde_json::from_str(case).unwrap(),
    };
    let pooling = match case.text("pooling") {
        "cls" => Pooling::Cls,
        "first" => Pooling::First,
        _ => Pooling::Mean,
    };
    let checkpoint = Checkpoint::open(&folder().join("base")).unwrap();
    let encoder = Encoder::open(&checkpoint, Some(pooling)).unwrap();
    let weights = encoder.load(&checkpoint).unwrap();
    let head = Head { weight: case.f32("head.weight"), bias: case.f32("head.bias") };
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
    let how = match method.strip_prefix("mask-") {
        None if method == "lora" => Trained::LowRank(case.number("rank") as usize),
        None => Trained::Weights,
        Some(sampling) => Trained::Masks {
            sampling: match sampling {
                "stochastic" => Sampling::Stochastic,
                _ => Sampling::Threshold,
            },
            scale: case.number("init_scale") as f32,
            sparsity: case.number("init_sparsity"),
            target: None,
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
    let mut trainer = Trainer::new(encoder, weights, head, marks.clone(), how, rates);

    // Logits (of the unmasked base for mask methods the file holds those of the masked one).
    let losses = case.get("losses");
    for (step, want) in losses.iter().enumerate() {
        let initial_head = trainer.head().clone();
        let got = trainer.step(Input::Tokens(&batch), targets).unwrap();
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
                Some((rows, values)) if i == 0 => {
                    for (r, values) in rows.iter().zip(values.chunks_exact(36)) {
                        got[*r as usize * 36..][..36].copy_from_slice(values);
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
        // A key bias follows the sign of noise: left out.
        let Some(want) = case.find(&format!("step10/{}", spec.name)) else { continue };
        if spec.name.ends_with("key.bias") {
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
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder())
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.extension().is_some_and(|e| e == "safetensors"))
        .collect();
    files.sort();
    assert!(files.len() >= 16, "{files:?}");
    for file in files {
        check(&file);
    }
}
