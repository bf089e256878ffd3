//! pack: existing fine-tuned models as cuts.

use super::place::{Place, Shown};
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fs;

/// With `tuned/`, every tensor of which was trained, exported as f32.
pub(super) fn place(pooling: &str) -> Place {
    let place = Place::new();
    let options = "--method full --epochs 2 --batch 8 --lr 1e-4 --store f32 --max-length 24";
    place.train(&format!("{options} --pooling {pooling}"), "full.cut");
    let shown = place.run("export full.cut --base base --out tuned");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    place
}

/// The tensors of a safetensors file: name to type, shape and bytes.
pub(super) fn tensors(file: &[u8]) -> Vec<(String, Value, Vec<u8>)> {
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
pub(super) fn file(mut tensors: Vec<(String, Value, Vec<u8>)>) -> Vec<u8> {
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
pub(super) fn change(place: &Place, change: impl FnOnce(&mut Vec<(String, Value, Vec<u8>)>)) {
    let mut all = tensors(&place.read("tuned/model.safetensors"));
    change(&mut all);
    place.write("tuned/model.safetensors", file(all));
}

pub(super) fn assert_comes_back(place: &Place, shown: &Shown) {
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
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    packed.cut: # KB, #% of the model's # KB
    of # tensors: # delta, # identical
    verified: exported, all # tensors equal bit for bit, labels too; logits of # texts equal those that the model's own files give
    accuracy # before, # after
    "#);
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
    assert_snapshot!(place.run("verify packed.cut --base base"), @r#"
    exit 0
    --- stdout
    ok      packed.cut: topics, 4 probes equal, base restored
    "#);
    let inspected = place.run("inspect packed.cut").stdout;
    let line = inspected.lines().find(|l| l.contains("word_embeddings.weight")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[1..5], ["99", "×", "36", "delta"]);
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
    assert_snapshot!(shown.rough(), @r#"
    exit 2
    --- stderr
    error: a budget of # bytes, expected at least #: the head takes #, card, probes and container #
    hint: the head stays as it is; the least is --budget #
    "#);
    assert!(!place.names().contains(&"c.cut".to_string()));
}

/// A pooler that the base lacks is new: the cut brings it whole, and no training can be asked for it.
#[test]
fn a_base_without_the_models_pooler() {
    let place = place("cls");
    let mut all = tensors(&place.read("base/model.safetensors"));
    all.retain(|t| !t.0.contains("pooler"));
    place.write("base/model.safetensors", file(all));
    let shown = place.run("pack --base base --tuned tuned --out packed.cut --verify -q");
    assert_comes_back(&place, &shown);
    let line =
        "predict packed.cut --base base --in topics/dev.tsv --text sentence1 --logits --json -q";
    let shown = place.run(line);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let shown = place.run("train --base base --task topics --pooling cls --out t.cut -q");
    assert_snapshot!(shown, @"
    exit 1
    --- stderr
    error: the base has no pooler.dense.weight
    hint: use --pooling mean or --pooling first
    ");
    // A cut that neither has it nor finds it there.
    let other = Place::new();
    other.train("--method head --epochs 1 --pooling cls", "cls.cut");
    place.write("cls.cut", other.read("cls.cut"));
    let shown = place.run("eval cls.cut --base base --task topics -q");
    assert!(shown.stderr.contains("belongs to the base"), "{shown}");
}

/// The scores that the packed model has take more digits than those it came with.
#[test]
fn every_budget_from_the_least_on_ends() {
    let place = place("cls");
    let pack = |budget: u64| {
        let line = "pack --base base --tuned tuned --out b.cut --force -q --data topics/dev.tsv";
        place.run(&format!("{line} --budget {budget}"))
    };
    let said = pack(100).stderr;
    let least: u64 = said.split_whitespace().last().unwrap().parse().unwrap();
    for budget in (least..least + 40).step_by(13).chain([least + 400]) {
        let shown = pack(budget);
        assert!(shown.to_string().starts_with("exit 0"), "{budget}: {shown}");
        assert!(fs::metadata(place.path("b.cut")).unwrap().len() <= budget, "{budget}");
    }
    assert!(pack(least - 1).stderr.contains("expected at least"));
}

#[test]
fn a_model_of_pairs_is_packed_as_one() {
    let place = place("cls");
    let shown = place.run("pack --base base --tuned tuned --out p.cut -q");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let shown = place.run_with("predict p.cut --base base", &["soup", "rice"], b"");
    assert!(shown.stderr.contains("hint: a model of pairs is packed with --pairs"), "{shown}");
    let shown = place.run("pack --base base --tuned tuned --out p.cut -q --force --pairs --verify");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let shown = place.run_with("predict p.cut --base base", &["soup", "rice"], b"");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
}
