//! pack: existing fine-tuned models as cuts.

use super::place::{Place, Shown};
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fs;

/// With `tuned/`, every tensor of which was trained, exported as f32.
fn place(pooling: &str) -> Place {
    let place = Place::new();
    let options = "--method full --epochs 2 --batch 8 --lr 1e-4 --store f32 --max-length 24";
    place.train(&format!("{options} --pooling {pooling}"), "full.cut");
    let shown = place.run("export full.cut --base base --out tuned");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    place
}

/// The tensors of a safetensors file: name to type, shape and bytes.
fn tensors(file: &[u8]) -> Vec<(String, Value, Vec<u8>)> {
    let size = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&file[8..8 + size]).unwrap();
    let data = &file[8 + size..];
    let mut tensors: Vec<_> = header
        .as_object()
        .unwrap()
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, info)| {
            let at = |i: usize| info["data_offsets"][i].as_u64().unwrap() as usize;
            let about = json!([info["dtype"], info["shape"]]);
            (name.clone(), about, data[at(0)..at(1)].to_vec())
        })
        .collect();
    tensors.sort_by(|a, b| a.0.cmp(&b.0));
    tensors
}

/// A safetensors file of these tensors, the widest type first.
fn file(mut tensors: Vec<(String, Value, Vec<u8>)>) -> Vec<u8> {
    let width = |t: &(String, Value, Vec<u8>)| match t.1[0].as_str().unwrap() {
        "I64" => 8,
        "F32" => 4,
        _ => 2,
    };
    tensors.sort_by_key(|t| std::cmp::Reverse(width(t)));
    let (mut header, mut data) = (serde_json::Map::new(), Vec::new());
    for (name, about, bytes) in tensors {
        let end = data.len() + bytes.len();
        let entry =
            json!({"dtype": about[0], "shape": about[1], "data_offsets": [data.len(), end]});
        header.insert(name, entry);
        data.extend(bytes);
    }
    let header = Value::Object(header).to_string();
    [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat()
}

/// The tuned model with its tensors changed.
fn change(place: &Place, change: impl FnOnce(&mut Vec<(String, Value, Vec<u8>)>)) {
    let mut all = tensors(&place.read("tuned/model.safetensors"));
    change(&mut all);
    place.write("tuned/model.safetensors", file(all));
}

fn assert_comes_back(place: &Place, shown: &Shown) {
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let shown = place.run("export packed.cut --base base --out back");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let [before, after] =
        ["tuned", "back"].map(|f| tensors(&place.read(&format!("{f}/model.safetensors"))));
    assert!(before == after, "another model came back");
    let [before, after]: [Value; 2] = ["tuned", "back"]
        .map(|f| serde_json::from_slice(&place.read(&format!("{f}/config.json"))).unwrap());
    for field in ["id2label", "label2id", "problem_type", "architectures"] {
        assert_eq!(before[field], after[field], "{field}");
    }
}

#[test]
fn without_loss_and_used_as_any_cut() {
    let place = place("cls");
    let shown = place.run(
        "pack --base base --tuned tuned --out packed.cut --verify --data topics/dev.tsv --quiet",
    );
    assert_comes_back(&place, &shown);
    assert_snapshot!(shown.rough(), @"");
    // Scored as the cut that the model came from, to the last digit.
    let score = |cut: &str| {
        let shown = place.run(&format!("eval {cut} --base base --data topics/dev.tsv --json"));
        (shown.json()["metrics"].clone(), shown.json()["confusion"].clone())
    };
    assert_eq!(score("packed.cut"), score("full.cut"));
    let labels = |cut: &str| {
        place.run(&format!("predict {cut} --base base --in topics/dev.tsv --json --logits")).stdout
    };
    assert_eq!(labels("packed.cut"), labels("full.cut"));
    assert_snapshot!(place.run("verify packed.cut --base base"), @"");
    let inspected = place.run("inspect packed.cut").stdout;
    assert!(inspected.contains("word_embeddings.weight  99 × 36  delta"), "{inspected}");
    assert!(inspected.contains("method     pack, fidelity lossless"), "{inspected}");
    // An export of a packed model packs to the same cut.
    let again = place.run("pack --base base --tuned back --out again.cut --name topics --quiet");
    assert!(again.to_string().starts_with("exit 0"), "{again}");
    let (a, b) = (place.run("inspect packed.cut --json"), place.run("inspect again.cut --json"));
    assert_eq!(a.json()["card"]["tensors"], b.json()["card"]["tensors"]);
}

#[test]
fn every_type_name_and_odd_tensor_comes_back() {
    let place = place("mean");
    change(&place, |all| {
        for (name, about, bytes) in all.iter_mut() {
            // bf16 is the upper half of f32's bits.
            if name.contains("layer.1") || name == "classifier.bias" {
                about[0] = json!("BF16");
                *bytes = bytes.chunks_exact(4).flat_map(|b| [b[2], b[3]]).collect();
            }
            if name.ends_with("LayerNorm.weight") && name.contains("layer.0") {
                *name = name.replace(".weight", ".gamma");
            }
        }
        // Identical, and different by zeros alone.
        let base = tensors(&place.read("base/model.safetensors"));
        let of_base = |name: &str| {
            base.iter().find(|t| t.0.trim_start_matches("bert.") == name).unwrap().2.clone()
        };
        for (name, _, bytes) in all.iter_mut() {
            match name.trim_start_matches("bert.") {
                name @ "encoder.layer.2.attention.self.query.weight" => *bytes = of_base(name),
                name @ "encoder.layer.2.attention.self.key.weight" => {
                    *bytes = of_base(name);
                    bytes[40..52].fill(0);
                }
                _ => {}
            }
        }
        let ids = (0..40u64).flat_map(u64::to_le_bytes).collect();
        all.push(("bert.embeddings.position_ids".into(), json!(["I64", [1, 40]]), ids));
    });
    let shown =
        place.run("pack --base base --tuned tuned --out packed.cut --verify --json --quiet");
    assert_eq!(shown.json()["training"]["identical"], 1, "{shown}");
    assert_eq!(shown.json()["edits"]["zeros"], 1, "{shown}");
    assert_comes_back(&place, &shown);
    let shown = place.run("verify packed.cut --base base");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
}

#[test]
fn to_a_budget() {
    let place = place("cls");
    let mut errors = Vec::new();
    for budget in [14_000, 20_000, 40_000] {
        let line = format!(
            "pack --base base --tuned tuned --out b.cut --force --quiet --budget {budget} --json \
             --data topics/dev.tsv"
        );
        let shown = place.run(&line);
        let said = shown.json();
        let size = fs::metadata(place.path("b.cut")).unwrap().len();
        assert!(size <= budget && said["bytes"] == size, "{shown}");
        assert!(said["metrics_before"]["accuracy"].is_f64(), "{shown}");
        let left = said["training"]["left"].as_object().unwrap().clone();
        assert!(left.values().all(|l| (0.0..=1.0).contains(&l.as_f64().unwrap())), "{shown}");
        errors.push(left.values().map(|l| l.as_f64().unwrap().powi(2)).sum::<f64>());
        // The same bytes again.
        let first = place.read("b.cut");
        place.run(&line);
        assert_eq!(place.read("b.cut"), first);
        assert!(place.run("verify b.cut --base base").stdout.starts_with("ok"), "{shown}");
        let shown = place.run("export b.cut --base base --out b-hf --force");
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    }
    assert!(errors.is_sorted_by(|a, b| a > b), "{errors:?}");
    let shown = place.run("pack --base base --tuned tuned --out c.cut --budget 3KB --quiet");
    assert_snapshot!(shown.rough(), @"");
    assert!(!place.names().contains(&"c.cut".to_string()));
}

#[test]
fn what_cannot_be_packed() {
    let place = place("cls");
    let pack = |base: &str| {
        let shown = place.run(&format!("pack --base {base} --tuned tuned --out p.cut --quiet"));
        let names = place.names();
        assert!(!names.iter().any(|n| n == "p.cut" || n.starts_with(".linocut")), "{names:?}");
        shown
    };
    let original = place.read("tuned/model.safetensors");
    let restore = || place.write("tuned/model.safetensors", &original);

    change(&place, |all| {
        let query = all.iter_mut().find(|t| t.0.ends_with("layer.1.attention.self.query.weight"));
        let bytes = &mut query.unwrap().2;
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    });
    assert_snapshot!(pack("base"), @"");
    restore();

    change(&place, |all| {
        // Another model of the same shapes: every matrix turned around.
        for (name, about, bytes) in all.iter_mut() {
            if name.contains("encoder") && about[1].as_array().unwrap().len() == 2 {
                *bytes = bytes.chunks_exact(4).rev().flatten().copied().collect();
            }
        }
    });
    assert_snapshot!(pack("base").rough(), @"");
    restore();

    change(&place, |all| all.retain(|t| !t.0.starts_with("classifier")));
    assert_snapshot!(pack("base"), @"");
    change(&place, |all| all.clear());
    assert_snapshot!(pack("base"), @"");
    place.write("tuned/model.safetensors", &original[..original.len() - 7]);
    assert_snapshot!(pack("base").rough(), @"");
    restore();

    place.edit("tuned/config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 6");
    assert_snapshot!(pack("base"), @"");
    place.edit("tuned/config.json", "\"num_attention_heads\": 6", "\"num_attention_heads\": 3");
    place.edit("tuned/config.json", "\"vocab_size\": 99", "\"vocab_size\": 98");
    place.edit("tuned/config.json", "\"1\": \"travel\",", "");
    assert_snapshot!(pack("base"), @"");
    place.edit("tuned/config.json", "\"0\": \"food\",", "\"0\": \"food\", \"1\": \"travel\",");
    assert_snapshot!(pack("base"), @"");
    place.edit("tuned/config.json", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    assert_snapshot!(pack("base"), @"");
    assert_snapshot!(place.run("pack --base base --tuned nowhere --out p.cut"), @"");
    assert_snapshot!(place.run("pack --base base --tuned tuned --out p.cut --budget 2XB"), @"");
}
