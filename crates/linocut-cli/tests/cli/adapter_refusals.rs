//! pack: adapters that are refused, each with the true reason.

use super::adapter::{Tensor, config, lora, place, tensor, values, write};
use super::pack_refusals::change_json;
use super::place::Place;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fs;

const QUERY: &str = "base_model.model.bert.encoder.layer.1.attention.self.query";

/// What packing `lora` on `base` says on standard error; nothing may be written then.
fn refusal(place: &Place) -> String {
    let shown = place.run("pack --base base --adapter lora --out l.cut -q");
    assert!(shown.to_string().starts_with("exit 1"), "{shown}");
    let names = place.names();
    assert!(!names.iter().any(|n| n == "l.cut" || n.starts_with(".linocut")), "{names:?}");
    shown.stderr
}

/// The same with the tensors changed.
fn with(place: &Place, change: impl FnOnce(&mut Vec<Tensor>)) -> String {
    let mut all = lora();
    change(&mut all);
    write(place, &config(), all);
    refusal(place)
}

fn find<'t>(all: &'t mut [Tensor], end: &str) -> &'t mut Tensor {
    all.iter_mut().find(|t| t.0.ends_with(end)).unwrap()
}

#[test]
fn tensors_that_do_not_fit() {
    let place = place();
    let a = "layer.1.attention.self.query.lora_A.weight";
    assert_snapshot!(with(&place, |all| {
        let (_, about, bytes) = find(all, a);
        about[1] = json!([3, 36]);
        bytes.truncate(4 * 3 * 36);
    }), @"
    error: lora: base_model.model.bert.encoder.layer.1.attention.self.query.lora_A.weight has rank 3, and adapter_config.json says 4
    hint: is adapter_config.json that of this adapter_model.safetensors?
    ");
    assert_snapshot!(with(&place, |all| all.retain(|t| !t.0.ends_with("1.attention.self.query.lora_B.weight"))), @"
    error: lora: bert.encoder.layer.1.attention.self.query has lora_A and no lora_B
    hint: the adapter was not saved whole
    ");
    assert_snapshot!(with(&place, |all| all.retain(|t| !t.0.contains("1.attention.self.query"))), @"
    error: lora: target_modules names bert.encoder.layer.1.attention.self.query, and it has no factors
    hint: is adapter_config.json that of this adapter_model.safetensors?
    ");
    assert_snapshot!(with(&place, |all| {
        all.push(tensor(&QUERY.replace("query", "key.lora_A.weight"), &[4, 36], &[0.5; 144]));
        all.push(tensor(&QUERY.replace("query", "key.lora_B.weight"), &[36, 4], &[0.5; 144]));
    }), @"
    error: lora: it has factors of bert.encoder.layer.1.attention.self.key, which target_modules does not name
    hint: is adapter_config.json that of this adapter_model.safetensors?
    ");
    assert_snapshot!(with(&place, |all| {
        let bytes = &mut find(all, a).2;
        bytes[..4].copy_from_slice(&f32::NAN.to_le_bytes());
        bytes[8..12].copy_from_slice(&f32::INFINITY.to_le_bytes());
    }), @"
    error: lora: 2 values are not finite (NaN or infinite) in base_model.model.bert.encoder.layer.1.attention.self.query.lora_A.weight
    hint: the training diverged, or the file is damaged; such a model labels nothing
    ");
    assert_snapshot!(with(&place, |all| all.retain(|t| !t.0.contains("classifier"))), @"
    error: lora: it has no base_model.model.classifier.weight, the head's
    hint: train it with task_type SEQ_CLS, which saves the head with the adapter
    ");
    assert_snapshot!(with(&place, |all| all.push(tensor(&format!("{QUERY}.lora_magnitude_vector"), &[36], &[1.0; 36]))), @"
    error: lora: base_model.model.bert.encoder.layer.1.attention.self.query.lora_magnitude_vector scales a matrix anew (DoRA)
    hint: merge the adapter into its base (PEFT: merge_and_unload), save that model and pack it with --tuned
    ");
    for (name, shape, said) in [
        (
            "base_model.model.bert.embeddings.word_embeddings.lora_embedding_A",
            vec![4, 99],
            "is a factor of a table of embeddings",
        ),
        (
            "base_model.model.bert.encoder.layer.1.attention.self.query.lora_B.bias",
            vec![36],
            "is a bias beside factors (lora_bias)",
        ),
        (
            "base_model.model.bert.encoder.layer.1.attention.self.query.lora_diag",
            vec![4],
            "is no factor that is known here",
        ),
        (
            "base_model.model.bert.encoder.layer.9.attention.self.query.lora_A.weight",
            vec![4, 36],
            "which is no matrix of the BERT base",
        ),
        (
            "base_model.model.bert.encoder.layer.1.output.LayerNorm.lora_A.weight",
            vec![4, 36],
            "which is no matrix of the BERT base",
        ),
        (
            "base_model.model.classifier.lora_A.weight",
            vec![4, 36],
            "is a factor of the head: Transformers drew at random",
        ),
        (
            "base_model.model.bert.encoder.layer.1.output.dense.bias",
            vec![36],
            "and modules_to_save does not name it",
        ),
        (
            "base_model.model.score.weight",
            vec![3, 36],
            "is no part of a BertForSequenceClassification",
        ),
        (
            "base_model.model.prompt_encoder.weight",
            vec![3, 36],
            "is no part of a BertForSequenceClassification",
        ),
        (
            "bert.encoder.layer.1.attention.self.key.lora_A.weight",
            vec![4, 36],
            "has no name that begins with base_model.model.",
        ),
        (
            "base_model.model.encoder.layer.1.attention.self.query.lora_A.weight",
            vec![4, 36],
            "are of one tensor of the base",
        ),
        (
            "base_model.model.bert.embeddings.word_embeddings.weight",
            vec![102, 36],
            "hint: tokens were added to the model",
        ),
    ] {
        let count = shape.iter().product();
        let text = with(&place, |all| all.push(tensor(name, &shape, &vec![0.5; count])));
        assert!(text.contains(said), "{said}: {text}");
    }
    // Another type of number, and factors that grow too large.
    let text = with(&place, |all| {
        let (_, about, bytes) = find(all, a);
        about[0] = json!("I8");
        bytes.truncate(144);
    });
    assert!(text.contains("is I8, expected F32, F16 or BF16"), "{text}");
    let text = with(&place, |all| {
        let bytes = &mut find(all, "layer.1.attention.self.query.lora_B.weight").2;
        let large: Vec<f32> = values(bytes).iter().map(|_| 3e38).collect();
        *bytes = large.iter().flat_map(|v| v.to_le_bytes()).collect();
    });
    assert!(text.contains("factors times 1.5 come out as inf"), "{text}");
    // A head of another width, or of none.
    let text = with(&place, |all| {
        all[0] = tensor("base_model.model.classifier.weight", &[3, 35], &[0.5; 105])
    });
    assert!(text.contains("classifier.weight is [3, 35]"), "{text}");
    let text = with(&place, |all| {
        all[0] = tensor("base_model.model.classifier.weight", &[0, 36], &[]);
        all[1] = tensor("base_model.model.classifier.bias", &[0], &[]);
    });
    assert!(text.contains("expected [labels, 36] and [labels]"), "{text}");
}

#[test]
fn configs_that_are_not_understood() {
    let place = place();
    let with = |change: &dyn Fn(&mut Value)| {
        let mut config = config();
        change(&mut config);
        write(&place, &config, lora());
        refusal(&place)
    };
    assert_snapshot!(with(&|c| c["use_dora"] = json!(true)), @"
    error: lora/adapter_config.json: use_dora is true: it scales every matrix anew, which low-rank factors cannot say (DoRA)
    hint: merge the adapter into its base (PEFT: merge_and_unload), save that model and pack it with --tuned
    ");
    assert_snapshot!(with(&|c| c["peft_type"] = json!("IA3")), @r#"
    error: lora/adapter_config.json: peft_type is "IA3", expected "LORA": it scales activations
    hint: merge the adapter into its base (PEFT: merge_and_unload), save that model and pack it with --tuned
    "#);
    assert_snapshot!(with(&|c| c["init_lora_weights"] = json!("pissa")), @r#"
    error: lora/adapter_config.json: init_lora_weights is "pissa": it begins by changing the base's weights, and its factors belong to these
    hint: save it as plain LoRA (PEFT: save_pretrained with path_initial_model_for_weight_conversion), or merge it (merge_and_unload) and pack the model with --tuned
    "#);
    assert_snapshot!(with(&|c| c["task_type"] = json!("TOKEN_CLS")), @r#"
    error: lora/adapter_config.json: task_type is "TOKEN_CLS", expected "SEQ_CLS"
    hint: a cut labels texts; adapters for other tasks have no head for it
    "#);
    for (change, said) in [
        (
            (|c| c["r"] = json!(40)) as fn(&mut Value),
            "lora_A.weight has rank 4, and adapter_config.json says 40",
        ),
        (
            |c| c["target_modules"] = json!(["query"]),
            "it has factors of bert.encoder.layer.0.attention.self.value, which target_modules does not name",
        ),
        (
            |c| c["target_modules"] = json!("all-linear"),
            "target_modules names bert.encoder.layer.0.attention.self.key, and it has no factors",
        ),
        (|c| c["target_modules"] = json!("(query"), "which is no regular expression"),
        (
            |c| c["layers_to_transform"] = json!([0, 1]),
            "it has factors of bert.encoder.layer.2.attention.self.query",
        ),
        (
            |c| c["modules_to_save"] = json!(["pooler", "classifier"]),
            "modules_to_save names bert.pooler.dense, and there is no pooler.dense.weight",
        ),
        (
            |c| c["bias"] = json!("lora_only"),
            "bias is \"lora_only\", which means bert.encoder.layer.0.attention.self.query, and there is no encoder.layer.0.attention.self.query.bias",
        ),
        (
            |c| c["rank_pattern"] = json!({"value": 2}),
            "lora_A.weight has rank 4, and adapter_config.json says 2",
        ),
        (
            |c| {
                c["task_type"] = Value::Null;
                c["auto_mapping"] = json!({"base_model_class": "BertModel"});
            },
            "the adapter is of a BertModel (auto_mapping), expected a BertForSequenceClassification",
        ),
    ] {
        let text = with(&change);
        assert!(text.contains(said), "{said}: {text}");
    }
}

#[test]
fn files_that_are_none() {
    let place = place();
    let original = place.read("lora/adapter_model.safetensors");
    place.write("lora/adapter_model.safetensors", &original[..original.len() - 7]);
    assert!(refusal(&place).contains("is not a whole safetensors file"));
    place.write("lora/adapter_model.safetensors", [&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    assert!(refusal(&place).contains("is not a whole safetensors file: header too large"));
    place.write("lora/adapter_model.safetensors", &original);
    place.write("lora/adapter_config.json", "{");
    assert!(refusal(&place).contains("lora/adapter_config.json is not JSON"));
    place.write("lora/adapter_config.json", "[]");
    assert!(refusal(&place).contains("lora/adapter_config.json is no JSON object"));
    place.write("lora/adapter_config.json", config().to_string());
    fs::remove_file(place.path("lora/adapter_model.safetensors")).unwrap();
    assert!(
        refusal(&place)
            .contains("lora has no adapter_model.safetensors\nhint: the adapter was not saved")
    );
    place.write("lora/adapter_model.bin", "");
    assert!(refusal(&place).contains("hint: there is an adapter_model.bin"));
}

/// A base of another width, a tokenizer that makes other tokens, and another name than the base's.
#[test]
fn of_another_base() {
    let place = place();
    let mut wide = config();
    wide["base_model_name_or_path"] = json!("someone/other-model");
    write(&place, &wide, lora());
    assert_snapshot!(place.run("pack --base base --adapter lora --out other.cut -q"), @"
exit 0
--- stdout
other.cut: 10.3 KB, 140.24% of the adapter's 7.4 KB
of 55 tensors: 6 lowrank, 49 identical
--- stderr
note: lora says that it was trained on someone/other-model; on other weights than its own it labels nothing
");
    place.write("lora/tokenizer.json", place.read("base/tokenizer.json"));
    let shown = place.run("pack --base base --adapter lora --out same.cut -q");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    change_json(&place, "lora/tokenizer.json", |t| t["normalizer"]["lowercase"] = json!(false));
    assert!(
        refusal(&place).contains("lora/tokenizer.json: the model's tokenizer is not the base's")
    );
    fs::remove_file(place.path("lora/tokenizer.json")).unwrap();
    let text = with(&place, |all| {
        for (name, about, bytes) in all.iter_mut().filter(|t| t.0.contains("lora_")) {
            about[1] = if name.contains("lora_A") { json!([4, 48]) } else { json!([48, 4]) };
            *bytes = vec![0; 4 * 4 * 48];
        }
    });
    assert!(text.contains("lora_A.weight is [4, 48], and the base's matrix [36, 36]"), "{text}");
    assert!(text.contains("give the base that the adapter was trained on"), "{text}");
}

#[test]
fn a_model_is_no_adapter_and_the_other_way_round() {
    let place = place();
    assert_snapshot!(place.run("pack --base base --tuned lora --out l.cut -q"), @"
    exit 1
    --- stderr
    error: lora is an adapter: it has adapter_config.json and no config.json
    hint: an adapter is packed with --adapter instead of --tuned
    ");
    assert_snapshot!(place.run("pack --base base --adapter base --out l.cut -q"), @"
    exit 1
    --- stderr
    error: base has no adapter_config.json: it is no adapter
    hint: a whole model's folder is packed with --tuned
    ");
    assert_snapshot!(place.run("pack --base base --adapter nowhere --out l.cut -q"), @"
    exit 1
    --- stderr
    error: nowhere is not a folder
    hint: an adapter is a folder that PEFT saved, with adapter_config.json and adapter_model.safetensors
    ");
    assert_snapshot!(place.run("pack --base base --out l.cut"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <--tuned <DIR>|--adapter <DIR>>

    Usage: linocut pack --base <DIR|NAME> --out <FILE> <--tuned <DIR>|--adapter <DIR>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run("pack --base base --adapter lora --tuned lora --out l.cut"), @"
    exit 2
    --- stderr
    error: the argument '--adapter <DIR>' cannot be used with '--tuned <DIR>'

    Usage: linocut pack --base <DIR|NAME> --out <FILE> <--tuned <DIR>|--adapter <DIR>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run("pack --base base --adapter lora --budget 1MB --out l.cut"), @"
    exit 2
    --- stderr
    error: the argument '--adapter <DIR>' cannot be used with '--budget <SIZE>'

    Usage: linocut pack --base <DIR|NAME> --out <FILE> <--tuned <DIR>|--adapter <DIR>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run("pack --base base --tuned lora --labels a,b --out l.cut"), @"
    exit 2
    --- stderr
    error: the argument '--tuned <DIR>' cannot be used with '--labels <NAMES>'

    Usage: linocut pack --base <DIR|NAME> --out <FILE> <--tuned <DIR>|--adapter <DIR>>

    For more information, try '--help'.
    ");
}
