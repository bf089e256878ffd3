//! pack: low-rank adapters as cuts.

use super::pack::{file, tensors};
use super::place::Place;
use insta::assert_snapshot;
use serde_json::{Value, json};

/// Name to type, shape and bytes.
pub(super) type Tensor = (String, Value, Vec<u8>);

/// A rank of 4 and an alpha of 6, of query and value of the three layers.
const RANK: usize = 4;
const ALPHA: f64 = 6.0;
const HIDDEN: usize = 36;

/// Numbers in ±0.1 that are the same everywhere.
fn draw(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f32 / (1 << 24) as f32 * 0.2 - 0.1
    };
    (0..count).map(|_| next()).collect()
}

pub(super) fn tensor(name: &str, shape: &[usize], values: &[f32]) -> Tensor {
    let bytes = values.iter().flat_map(|v| v.to_le_bytes()).collect();
    (name.into(), json!(["F32", shape]), bytes)
}

pub(super) fn values(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// As PEFT 0.21 writes it.
pub(super) fn config() -> Value {
    json!({
        "alora_invocation_tokens": null, "alpha_pattern": {}, "arrow_config": null, "auto_mapping": null,
        "base_model_name_or_path": "models/base", "bias": "none", "corda_config": null,
        "ensure_weight_tying": false, "eva_config": null, "exclude_modules": null,
        "fan_in_fan_out": false, "inference_mode": true, "init_lora_weights": true,
        "kasa_config": null, "layer_replication": null, "layers_pattern": null,
        "layers_to_transform": null, "loftq_config": {}, "lora_alpha": ALPHA, "lora_bias": false,
        "lora_dropout": 0.1, "lora_ga_config": null, "megatron_config": null,
        "megatron_core": "megatron.core", "modules_to_save": ["classifier", "score"],
        "monteclora_config": null, "peft_type": "LORA", "peft_version": "0.21.2",
        "qalora_group_size": 16, "r": RANK, "rank_pattern": {}, "revision": null,
        "target_modules": ["value", "query"], "target_parameters": null, "task_type": "SEQ_CLS",
        "trainable_token_indices": null, "use_bdlora": null, "use_dora": false, "use_qalora": false,
        "use_rslora": false, "velora_config": null,
    })
}

/// The tensors of that adapter, with a head of three outputs.
pub(super) fn lora() -> Vec<Tensor> {
    let mut all = vec![
        tensor("base_model.model.classifier.weight", &[3, HIDDEN], &draw(1, 3 * HIDDEN)),
        tensor("base_model.model.classifier.bias", &[3], &draw(2, 3)),
    ];
    for layer in 0..3 {
        for (i, name) in ["query", "value"].into_iter().enumerate() {
            let module =
                format!("base_model.model.bert.encoder.layer.{layer}.attention.self.{name}");
            let seed = 10 * layer + 2 * i as u64 + 3;
            let (a, b) = (draw(seed, RANK * HIDDEN), draw(seed + 1, HIDDEN * RANK));
            all.push(tensor(&format!("{module}.lora_A.weight"), &[RANK, HIDDEN], &a));
            all.push(tensor(&format!("{module}.lora_B.weight"), &[HIDDEN, RANK], &b));
        }
    }
    all
}

/// Writes an adapter into `lora/`.
pub(super) fn write(place: &Place, config: &Value, tensors: Vec<Tensor>) {
    place.write("lora/adapter_config.json", config.to_string());
    place.write("lora/adapter_model.safetensors", file(tensors));
}

pub(super) fn place() -> Place {
    let place = Place::new();
    write(&place, &config(), lora());
    place
}

/// A model folder `merged/`: the base with the adapter merged into it by hand, in float64.
fn merge(place: &Place, adapter: &[Tensor]) {
    let find = |name: &str| adapter.iter().find(|t| t.0 == format!("base_model.model.{name}"));
    let mut all = Vec::new();
    for (name, about, bytes) in tensors(&place.read("base/model.safetensors")) {
        let name = if name.starts_with("bert.") { name } else { format!("bert.{name}") };
        let module = name.trim_end_matches(".weight");
        let [a, b] = ["A", "B"].map(|part| find(&format!("{module}.lora_{part}.weight")));
        let Some((a, b)) = a.zip(b) else {
            all.push((name, about, bytes));
            continue;
        };
        let (mut w, a, b) = (values(&bytes), values(&a.2), values(&b.2));
        for (i, w) in w.iter_mut().enumerate() {
            let (row, column) = (i / HIDDEN, i % HIDDEN);
            let term = |p: usize| f64::from(b[row * RANK + p]) * f64::from(a[p * HIDDEN + column]);
            let moved = ALPHA / RANK as f64 * (0..RANK).map(term).sum::<f64>();
            *w = (f64::from(*w) + moved) as f32;
        }
        all.push(tensor(&name, &[HIDDEN, HIDDEN], &w));
    }
    for name in ["classifier.weight", "classifier.bias"] {
        let (_, about, bytes) = find(name).unwrap().clone();
        all.push((name.into(), about, bytes));
    }
    place.write("merged/model.safetensors", file(all));
    let mut config: Value = serde_json::from_slice(&place.read("base/config.json")).unwrap();
    config["architectures"] = json!(["BertForSequenceClassification"]);
    place.write("merged/config.json", config.to_string());
}

/// Logits of the dev rows.
fn logits(place: &Place, cut: &str) -> Vec<Vec<f64>> {
    let shown =
        place.run(&format!("predict {cut} --base base --in topics/dev.tsv --json --logits"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let row = |line: &str| -> Value { serde_json::from_str(line).unwrap() };
    let numbers =
        |row: Value| -> Vec<f64> { serde_json::from_value(row["logits"].clone()).unwrap() };
    shown.stdout.lines().map(row).map(numbers).collect()
}

#[test]
fn packed_as_it_is_and_used_as_any_cut() {
    let place = place();
    let shown = place.run(
        "pack --base base --adapter lora --labels food,travel,weather --max-length 24 --out lora.cut --verify \
         --data topics/dev.tsv -q",
    );
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    lora.cut: # KB, #% of the adapter's # KB
    of # tensors: # lowrank, # identical
    verified: logits of # texts within # of those of the base with the adapter merged
    accuracy #
    ");
    assert_snapshot!(place.run("verify lora.cut --base base"), @"
    exit 0
    --- stdout
    ok      lora.cut: lora, 4 probes equal, base restored
    ");
    merge(&place, &lora());
    let shown = place.run("pack --base base --tuned merged --max-length 24 --out merged.cut -q");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let (found, expected) = (logits(&place, "lora.cut"), logits(&place, "merged.cut"));
    for (f, e) in found.iter().flatten().zip(expected.iter().flatten()) {
        assert!((f - e).abs() <= 1e-6 * e.abs().max(1.0), "{f} {e}");
    }
    let inspected = place.run("inspect lora.cut").stdout;
    let line =
        inspected.lines().find(|l| l.contains("layer.1.attention.self.value.weight")).unwrap();
    assert_eq!(line.split_whitespace().collect::<Vec<_>>()[1..5], ["36", "×", "36", "lowrank"]);
    assert!(inspected.contains("method     pack, adapter lora"), "{inspected}");
    for line in ["export lora.cut --base base --out back", "plan --base base --cuts ."] {
        let shown = place.run(line);
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    }
    // The export is the merged model.
    let shown = place.run("pack --base base --tuned back --max-length 24 --out back.cut -q");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    for (f, e) in logits(&place, "back.cut").iter().flatten().zip(found.iter().flatten()) {
        assert!((f - e).abs() <= 1e-6 * e.abs().max(1.0), "{f} {e}");
    }
}

/// What neither adapter_config.json nor the options say is as Transformers has it.
#[test]
fn labels_and_problem() {
    let place = place();
    let card = |options: &str| {
        let shown =
            place.run(&format!("pack --base base --adapter lora --out l.cut --force -q {options}"));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
        place.run("inspect l.cut --json").json()["card"].clone()
    };
    let plain = card("");
    assert_eq!(plain["labels"], json!(["LABEL_0", "LABEL_1", "LABEL_2"]));
    assert_eq!((&plain["task"], &plain["problem"]), (&json!("lora"), &json!("single-label")));
    assert_eq!((&plain["pooling"], &plain["max_length"]), (&json!("cls"), &json!(40)));
    let said = card("--labels a,b,c --problem multi-label --pairs --name topics");
    assert_eq!(said["labels"], json!(["a", "b", "c"]));
    assert_eq!((&said["task"], &said["problem"]), (&json!("topics"), &json!("multi-label")));
    assert_eq!(said["pairs"], json!(true));
    // Where training left the model's config, it names them.
    place.write("lora/config.json", r#"{"id2label": {"0": "x", "1": "y", "2": "z"}}"#);
    assert_eq!(card("")["labels"], json!(["x", "y", "z"]));
    assert_eq!(card("--labels a,b,c")["labels"], json!(["a", "b", "c"]));
    std::fs::remove_file(place.path("lora/config.json")).unwrap();
    let refused = |options: &str| {
        let line = format!("pack --base base --adapter lora --out l.cut --force -q {options}");
        place.run(&line).stderr
    };
    assert!(refused("--labels a,b").contains("--labels has 2 names, the adapter's head 3 outputs"));
    assert!(refused("--labels a,b,a").contains("--labels has \"a\" twice"));
    assert!(refused("--labels a,,c").contains("--labels has an empty name, number 1"));
    assert!(refused("--problem regression").contains("its head has 3 outputs, expected 1"));
    // One output is a number.
    let mut all = lora();
    all[0] = tensor("base_model.model.classifier.weight", &[1, HIDDEN], &draw(1, HIDDEN));
    all[1] = tensor("base_model.model.classifier.bias", &[1], &[0.5]);
    write(&place, &config(), all);
    let number = card("");
    assert_eq!((&number["problem"], &number["labels"]), (&json!("regression"), &json!([])));
    assert!(refused("--labels a").contains("a regression has none"));
}

/// Each entry of the file is where the config says, or it is refused: ranks and scales by pattern, modules
/// saved whole, biases, and 16-bit numbers.
#[test]
fn patterns_saved_modules_biases_and_types() {
    let place = place();
    let mut all = lora();
    let mut config = config();
    config["rank_pattern"] = json!({"query": 2});
    config["alpha_pattern"] = json!({"layer.0.attention.self.query": 4});
    config["bias"] = json!("lora_only");
    config["modules_to_save"] = json!(["pooler", "classifier"]);
    let prefix = "base_model.model.bert";
    for (name, about, bytes) in all.iter_mut().filter(|t| t.0.contains("query")) {
        let shape = if name.contains("lora_A") { [2, HIDDEN] } else { [HIDDEN, 2] };
        about[1] = json!(shape);
        bytes.truncate(4 * 2 * HIDDEN);
    }
    // bf16 is the upper half of f32's bits.
    for (_, about, bytes) in all.iter_mut().filter(|t| t.0.contains("layer.2.attention.self.value"))
    {
        about[0] = json!("BF16");
        *bytes = bytes.chunks_exact(4).flat_map(|b| [b[2], b[3]]).collect();
    }
    for layer in 0..3 {
        for (name, base_layer) in [("query", ".base_layer"), ("value", "")] {
            let name =
                format!("{prefix}.encoder.layer.{layer}.attention.self.{name}{base_layer}.bias");
            all.push(tensor(&name, &[HIDDEN], &draw(50 + layer, HIDDEN)));
        }
    }
    let pooler = |part: &str| format!("{prefix}.pooler.dense.{part}");
    all.push(tensor(&pooler("weight"), &[HIDDEN, HIDDEN], &draw(60, HIDDEN * HIDDEN)));
    all.push(tensor(&pooler("bias"), &[HIDDEN], &draw(61, HIDDEN)));
    write(&place, &config, all);
    let shown = place.run("pack --base base --adapter lora --out l.cut --verify --json -q");
    assert_eq!(shown.json()["edits"], json!({"lowrank": 6, "replace": 8}), "{shown}");
    assert!(shown.json()["verified_difference"].as_f64().unwrap() < 1e-6, "{shown}");
    let card = place.run("inspect l.cut --json").json()["card"].clone();
    let store = |layer: usize| {
        let name = format!("encoder.layer.{layer}.attention.self.value.weight");
        card["tensors"][&name]["store"].clone()
    };
    // A scale of 1.5 takes more bits than bf16 has.
    assert_eq!((store(1), store(2)), (json!("f32"), json!("f16")));
}

/// A pooler that the base lacks must come with the adapter.
#[test]
fn a_base_without_a_pooler() {
    let place = place();
    let mut base = tensors(&place.read("base/model.safetensors"));
    base.retain(|t| !t.0.contains("pooler"));
    place.write("base/model.safetensors", file(base));
    let pack = "pack --base base --adapter lora --out l.cut --verify -q";
    assert_snapshot!(place.run(pack), @r#"
    exit 1
    --- stderr
    error: lora: texts are read through pooler.dense.weight, which base lacks and the adapter does not bring: Transformers drew it at random
    hint: train it with modules_to_save=["pooler"]; or, where you have the whole model still, merge the adapter into its base (PEFT: merge_and_unload), save that model and pack it with --tuned
    "#);
    let mut all = lora();
    let mut config = config();
    config["modules_to_save"] = json!(["pooler", "classifier", "score"]);
    let pooler = |part: &str| format!("base_model.model.bert.pooler.dense.{part}");
    all.push(tensor(&pooler("weight"), &[HIDDEN, HIDDEN], &draw(60, HIDDEN * HIDDEN)));
    all.push(tensor(&pooler("bias"), &[HIDDEN], &draw(61, HIDDEN)));
    write(&place, &config, all);
    let shown = place.run(pack);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let shown = place.run("predict l.cut --base base --in topics/dev.tsv -q");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
}
