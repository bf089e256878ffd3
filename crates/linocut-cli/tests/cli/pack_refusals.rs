//! pack: models that are refused, each with the true reason.

use super::pack::{assert_comes_back, change, place};
use super::place::Place;
use insta::assert_snapshot;
use serde_json::{Value, json};
use std::fs;

/// A JSON file of the place with something in it changed.
pub(super) fn change_json(place: &Place, name: &str, change: impl FnOnce(&mut Value)) {
    let mut json: Value = serde_json::from_slice(&place.read(name)).unwrap();
    change(&mut json);
    place.write(name, json.to_string());
}

/// What packing `tuned` on `base` says on standard error; nothing may be written then.
fn refusal(place: &Place, options: &str) -> String {
    let shown = place.run(&format!("pack --base base --tuned tuned --out p.cut -q {options}"));
    assert!(
        shown.to_string().starts_with("exit") && !shown.to_string().starts_with("exit 0"),
        "{shown}"
    );
    assert!(!place.names().contains(&"p.cut".to_string()));
    shown.stderr
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
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned: 2 values are not finite (NaN or infinite): 2 in encoder.layer.1.attention.self.query.weight
    hint: the training diverged, or the file is damaged; such a model labels nothing
    "#);
    restore();

    change(&place, |all| {
        // Another model of the same shapes: every matrix turned around.
        for (name, about, bytes) in all.iter_mut() {
            if name.contains("encoder") && about[1].as_array().unwrap().len() == 2 {
                *bytes = bytes.chunks_exact(4).rev().flatten().copied().collect();
            }
        }
    });
    assert_snapshot!(pack("base").rough(), @r#"
    exit 1
    --- stderr
    error: tuned was not fine-tuned from base: its matrices differ from the base's by #% of what unrelated models (random initialisations) differ by
    hint: give the base that the model was fine-tuned from: --base
    "#);
    restore();

    change(&place, |all| all.retain(|t| !t.0.starts_with("classifier")));
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned has no head: expected classifier.weight and classifier.bias, found beside the encoder: none
    hint: a BertForSequenceClassification has one
    "#);
    change(&place, |all| all.clear());
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned has no head: expected classifier.weight and classifier.bias, found beside the encoder: none
    hint: a BertForSequenceClassification has one
    "#);
    place.write("tuned/model.safetensors", &original[..original.len() - 7]);
    assert_snapshot!(pack("base").rough(), @r#"
    exit 1
    --- stderr
    error: tuned/model.safetensors (# bytes) is not a whole safetensors file: incomplete metadata, file not fully covered
    hint: the file is damaged or its download was cut short; download it again
    "#);
    restore();

    place.edit("tuned/config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 6");
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned is no fine-tuned base: num_attention_heads is 3 in the base, 6 in the model
    hint: give the base that the model was fine-tuned from: --base
    "#);
    place.edit("tuned/config.json", "\"num_attention_heads\": 6", "\"num_attention_heads\": 3");
    place.edit("tuned/config.json", "\"vocab_size\": 99", "\"vocab_size\": 98");
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned: tensor embeddings.word_embeddings.weight has shape [99, 36], config.json makes it [98, 36]
    "#);
    place.edit("tuned/config.json", "\"vocab_size\": 98", "\"vocab_size\": 102");
    change(&place, |all| {
        let words = all.iter_mut().find(|t| t.0.ends_with("word_embeddings.weight")).unwrap();
        words.1[1] = json!([102, 36]);
        words.2.resize(102 * 36 * 4, 0);
    });
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned is no fine-tuned base: vocab_size is 99 in the base, 102 in the model
    hint: tokens were added to the model, which a cut cannot hold; or give the base that the model was fine-tuned from: --base
    "#);
    restore();
    place.edit("tuned/config.json", "\"vocab_size\": 102", "\"vocab_size\": 99");
    place.edit("tuned/config.json", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    assert_snapshot!(pack("base"), @r#"
    exit 1
    --- stderr
    error: tuned is a "BertForSequenceClassification", expected a RobertaForSequenceClassification: what that class computes (as its tensor bert.embeddings.LayerNorm.bias) is not known here
    hint: supported: models fine-tuned as RobertaForSequenceClassification
    "#);
    assert_snapshot!(place.run("pack --base base --tuned nowhere --out p.cut"), @r#"
    exit 1
    --- stderr
    error: nowhere is not a folder
    hint: a fine-tuned model is a Hugging Face folder with config.json and model.safetensors
    "#);
    assert_snapshot!(place.run("pack --base base --tuned tuned --out p.cut --budget 2XB"), @r#"
    exit 2
    --- stderr
    error: invalid value '2XB' for '--budget <SIZE>': "2XB" is no size: expected one such as 2MB, 500KB or 0.5%

    For more information, try '--help'.
    "#);
}

#[test]
fn no_tensor_is_left_out_in_silence() {
    let place = place("cls");
    let original = place.read("tuned/model.safetensors");
    let floats = |n: usize| vec![0u8; 4 * n];
    let with = |more: &[(&str, Value, Vec<u8>)]| {
        place.write("tuned/model.safetensors", &original);
        change(&place, |all| {
            all.extend(
                more.iter().map(|(n, about, bytes)| (n.to_string(), about.clone(), bytes.clone())),
            );
        });
    };
    // What pretraining leaves changes no logit and is carried along.
    with(&[
        ("cls.predictions.bias", json!(["F32", [99]]), floats(99)),
        ("cls.seq_relationship.weight", json!(["F32", [2, 36]]), floats(72)),
    ]);
    let shown = place.run("pack --base base --tuned tuned --out packed.cut --verify -q");
    assert_comes_back(&place, &shown);

    let layer = "bert.encoder.layer.1";
    with(&[
        (
            &format!("{layer}.output.adapters.task.adapter_down.0.weight"),
            json!(["F32", [4, 36]]),
            floats(144),
        ),
        (&format!("{layer}.attention.self.value.lora_A"), json!(["F32", [2, 36]]), floats(72)),
    ]);
    assert_snapshot!(refusal(&place, ""), @r#"
    error: tuned holds 2 tensors that are no part of a BertForSequenceClassification, the first of them bert.encoder.layer.1.attention.self.value.lora_A
    hint: merge adapters into the weights first (PEFT: merge_and_unload), and save the model then
    "#);
    for name in [
        "pre_classifier.weight",
        "bert.embeddings.prefix_embeddings.weight",
        "prompt_encoder.weight",
        "bert.encoder.layer.3.output.dense.bias",
        "bert.encoder.layer.0.output.dense.weight_scale",
        "bert.encoder.layer.0.attention.self.distance_embedding.weight",
        "classifier.scale",
    ] {
        with(&[(name, json!(["F32", [36]]), floats(36))]);
        let said = refusal(&place, "");
        assert!(
            said.contains("a tensor that is no part of a Bert") && said.contains(name),
            "{said}"
        );
    }
    // As PEFT saves a model: the matrix itself under another name.
    place.write("tuned/model.safetensors", &original);
    change(&place, |all| {
        let query = all.iter_mut().find(|t| t.0.ends_with("1.attention.self.query.weight"));
        query.unwrap().0 = format!("{layer}.attention.self.query.base_layer.weight");
    });
    let said = refusal(&place, "");
    assert!(said.contains("base_layer.weight") && said.contains("merge_and_unload"), "{said}");
    with(&[(
        "bert.embeddings.position_ids",
        json!(["I64", [1, 2]]),
        [1u64, 0].map(u64::to_le_bytes).concat(),
    )]);
    assert!(refusal(&place, "").contains("does not count 0, 1, 2"));

    place.write("tuned/model.safetensors", &original);
    change(&place, |all| {
        let dense = all.iter_mut().find(|t| t.0.ends_with("0.output.dense.bias")).unwrap();
        dense.1[0] = json!("I8");
        dense.2.truncate(36);
    });
    let said = refusal(&place, "");
    assert!(said.contains("layer.0.output.dense.bias is I8, expected F32, F16 or BF16"), "{said}");
    change(&place, |all| all.retain(|t| !t.0.contains("pooler")));
    let said = refusal(&place, "");
    assert!(said.contains("tuned has no pooler.dense.weight, through which"), "{said}");
    place.write("tuned/model.safetensors", &original);
    place.write("tuned/adapter_config.json", "{}");
    assert!(refusal(&place, "").contains("adapter_config.json says that adapters belong"));
}

#[test]
fn only_classes_that_are_understood() {
    let place = place("cls");
    let original = place.read("tuned/config.json");
    let with = |change: &dyn Fn(&mut Value)| {
        place.write("tuned/config.json", &original);
        change_json(&place, "tuned/config.json", change);
        refusal(&place, "")
    };
    let of = |class: &str| with(&|config| config["architectures"] = json!([class]));
    assert_snapshot!(of("BertForTokenClassification"), @r#"
    error: tuned is a "BertForTokenClassification", expected a BertForSequenceClassification: it labels every token, not a text
    hint: supported: models fine-tuned as BertForSequenceClassification
    "#);
    assert_snapshot!(of("BertForMaskedLM"), @r#"
    error: tuned is a "BertForMaskedLM", expected a BertForSequenceClassification: it has no head that labels texts
    hint: a pretrained model is a base, on which a task is trained
    "#);
    for (class, reason) in [
        ("BertForMultipleChoice", "scores choices"),
        ("BertForQuestionAnswering", "finds answers"),
        ("BertWithDenseHead", "is not known here"),
        ("LinocutForSequenceClassification", "is not known here"),
    ] {
        let said = of(class);
        assert!(said.contains(class) && said.contains(reason), "{said}");
    }
    for (change, said) in [
        (
            (|c| drop(c.as_object_mut().unwrap().remove("architectures"))) as fn(&mut Value),
            "names no class in architectures",
        ),
        (
            |c| c["auto_map"] = json!({"AutoModelForSequenceClassification": "own.Model"}),
            "its own code compute",
        ),
        (|c| c["quantization_config"] = json!({"bits": 4}), "the weights are quantised"),
        (|c| c["pruned_heads"] = json!({"0": [1]}), "attention heads were removed"),
        (|c| c["is_decoder"] = json!(true), "found a BERT decoder (is_decoder)"),
        (
            |c| c["problem_type"] = json!("regression"),
            "config.json makes it a regression, and its head has 3 outputs, expected 1",
        ),
        (|c| c["problem_type"] = json!("ranking"), "problem_type \"ranking\", expected regression"),
        (
            |c| c["id2label"] = json!({"0": "a", "1": "b"}),
            "id2label has 2 labels, the head 3 outputs",
        ),
        (
            |c| c["id2label"] = json!({"0": "a", "1": "b", "3": "c"}),
            "id2label lacks 2 and goes up to 3, expected 0 to 2",
        ),
        (|c| c["id2label"] = json!({"0": "a", "1": "b", "two": "c"}), "has the key \"two\""),
        (|c| c["id2label"] = json!({"0": "a", "1": "b", "2": 7}), "names 2 7, expected a text"),
        (|c| c["id2label"] = json!({"0": "a", "1": "b", "2": "a"}), "names both 0 and 2 \"a\""),
        (|c| c["label2id"]["food"] = json!(1), "\"food\" is 0 in id2label, 1 in label2id"),
        (
            |c| {
                c["id2label"] = Value::Null;
                c["num_labels"] = json!(7)
            },
            "num_labels is 7, the head has 3 outputs",
        ),
    ] {
        let text = with(&change);
        assert!(text.contains(said), "{said}: {text}");
    }
    place.write("tuned/config.json", &original);
    let said = refusal(&place, "--problem regression");
    assert!(said.contains("--problem makes it a regression, and its head has 3 outputs"), "{said}");
    // One output is a number, and no choice.
    change(&place, |all| {
        for (name, about, bytes) in all.iter_mut().filter(|t| t.0.starts_with("classifier")) {
            let row = if name.ends_with("bias") { vec![] } else { vec![36] };
            about[1] = json!([&[1][..], &row].concat());
            bytes.truncate(4 * row.iter().product::<usize>());
        }
    });
    change_json(&place, "tuned/config.json", |c| {
        c["id2label"] = json!({"0": "value"});
        c["label2id"] = json!({"value": 0});
    });
    assert!(
        refusal(&place, "")
            .contains("a choice of one label, and its head has 1 output, expected 2")
    );
    change_json(&place, "tuned/config.json", |c| c["problem_type"] = Value::Null);
    let shown = place.run("pack --base base --tuned tuned --out p.cut --verify -q");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert_eq!(place.run("inspect p.cut --json").json()["card"]["problem"], "regression");
}

/// The words of the base's tokenizer, a line each.
fn vocabulary(place: &Place) -> Vec<String> {
    let tokenizer: Value = serde_json::from_slice(&place.read("base/tokenizer.json")).unwrap();
    let words = tokenizer["model"]["vocab"].as_object().unwrap();
    let mut words: Vec<(u64, String)> =
        words.iter().map(|(word, id)| (id.as_u64().unwrap(), word.clone())).collect();
    words.sort();
    words.into_iter().map(|(_, word)| word).collect()
}

#[test]
fn a_tokenizer_that_makes_other_tokens() {
    let place = place("cls");
    let original = place.read("tuned/tokenizer.json");
    let settings = place.read("tuned/tokenizer_config.json");
    // A class of its own makes all but the vocabulary itself, whatever the file has.
    place.write("tuned/tokenizer.json", &original);
    change_json(&place, "tuned/tokenizer.json", |t| {
        t["normalizer"] = Value::Null;
        t["model"]["max_input_chars_per_word"] = json!(5);
    });
    let shown = place.run("pack --base base --tuned tuned --out packed.cut --verify -q --force");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    // The generic one takes it as it is.
    change_json(&place, "tuned/tokenizer_config.json", |s| {
        s["tokenizer_class"] = json!("PreTrainedTokenizerFast");
    });
    let with = |change: &dyn Fn(&mut Value)| {
        place.write("tuned/tokenizer.json", &original);
        change_json(&place, "tuned/tokenizer.json", change);
        refusal(&place, "")
    };
    let swap = |words: &mut Value| {
        (words["rain"], words["snow"]) = (json!(22), json!(21));
    };
    assert_snapshot!(with(&|t| swap(&mut t["model"]["vocab"])), @r#"
    error: tuned/tokenizer.json: the model's tokenizer is not the base's: in its vocabulary "snow" is number 21, in the base's number 22
    hint: a cut is used with its base's tokenizer, that of base; give the base of this model
    "#);
    for (change, said) in [
        (
            (|t| t["normalizer"]["lowercase"] = json!(false)) as fn(&mut Value),
            "normalizer.lowercase is false, the base's true",
        ),
        (|t| t["normalizer"] = Value::Null, "normalizer is null"),
        (
            |t| t["pre_tokenizer"] = json!({"type": "Whitespace"}),
            "pre_tokenizer.type is \"Whitespace\"",
        ),
        (
            |t| t["model"]["max_input_chars_per_word"] = json!(5),
            "model.max_input_chars_per_word is 5, the base's 100",
        ),
        (
            |t| t["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([4]),
            "post_processor makes of a text [2, ",
        ),
        (
            |t| t["post_processor"]["pair"][3]["Sequence"]["type_id"] = json!(0),
            "post_processor makes of a pair [2, ",
        ),
        (
            |t| t["added_tokens"][4]["lstrip"] = json!(true),
            "of \"[MASK]\" added_tokens.lstrip is true",
        ),
        (
            |t| drop(t["added_tokens"].as_array_mut().unwrap().pop()),
            "takes \"[MASK]\" as one token, which it does not",
        ),
        (
            |t| t["truncation"]["direction"] = json!("Left"),
            "it cuts the left of texts too long, the base's the right",
        ),
    ] {
        let text = with(&change);
        assert!(text.contains(said), "{said}: {text}");
    }
    // The same in other words.
    place.write("tuned/tokenizer.json", &original);
    change_json(&place, "tuned/tokenizer.json", |t| {
        t["normalizer"]["strip_accents"] = json!(true);
        t["post_processor"] =
            json!({"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]});
        t["added_tokens"][0]["special"] = json!(false);
        t["padding"] = Value::Null;
    });
    let shown = place.run("pack --base base --tuned tuned --out packed.cut --verify -q --force");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");

    // Files beside tokenizer.json go before it.
    place.write("tuned/tokenizer.json", &original);
    let set = |field: &str, value: Value| {
        place.write("tuned/tokenizer_config.json", &settings);
        change_json(&place, "tuned/tokenizer_config.json", |s| s[field] = value);
        refusal(&place, "")
    };
    let said = set("do_lower_case", json!(false));
    assert!(
        said.contains("tuned/tokenizer_config.json: the model's")
            && said.contains("lowercase is false"),
        "{said}"
    );
    let said = set("tokenize_chinese_chars", json!(false));
    assert!(said.contains("normalizer.handle_chinese_chars is false"), "{said}");
    let said = set("strip_accents", json!(false));
    assert!(said.contains("normalizer.strip_accents is false"), "{said}");
    let said = set("truncation_side", json!("left"));
    assert!(
        said.contains("tuned/tokenizer_config.json") && said.contains("cuts the left"),
        "{said}"
    );
    let said = set("additional_special_tokens", json!(["soup"]));
    assert!(said.contains("it takes \"soup\" as one token"), "{said}");
    place.write("tuned/tokenizer_config.json", &settings);
    place.write("tuned/special_tokens_map.json", r#"{"mask_token": {"content": "rain"}}"#);
    let said = refusal(&place, "");
    assert!(
        said.contains("tuned/special_tokens_map.json: the model's") && said.contains("\"rain\""),
        "{said}"
    );
}

#[test]
fn a_tokenizer_in_the_old_files() {
    let place = place("cls");
    for name in ["tokenizer.json", "tokenizer_config.json"] {
        fs::remove_file(place.path("tuned").join(name)).unwrap();
    }
    let pack = "pack --base base --tuned tuned --out packed.cut --verify --force -q";
    let shown = place.run(pack);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert_snapshot!(shown.stderr, @"note: tuned has no tokenizer: whether it read texts as base does is not known");
    let mut words = vocabulary(&place);
    place.write("tuned/vocab.txt", words.join("\n") + "\n");
    let shown = place.run(pack);
    assert!(shown.to_string().starts_with("exit 0") && shown.stderr.is_empty(), "{shown}");
    place.write("tuned/tokenizer_config.json", r#"{"do_lower_case": false}"#);
    let said = refusal(&place, "");
    assert!(
        said.contains("tuned/tokenizer_config.json") && said.contains("lowercase is false"),
        "{said}"
    );
    place.write("tuned/tokenizer_config.json", r#"{"tokenizer_class": "BertJapaneseTokenizer"}"#);
    assert!(refusal(&place, "").contains("its tokenizer class BertJapaneseTokenizer reads"));
    fs::remove_file(place.path("tuned/tokenizer_config.json")).unwrap();
    place.write("tuned/added_tokens.json", r#"{"soup": 7}"#);
    let said = refusal(&place, "");
    assert!(said.contains("tuned/added_tokens.json: the model's tokenizer is not"), "{said}");
    fs::remove_file(place.path("tuned/added_tokens.json")).unwrap();
    words.swap(21, 22);
    place.write("tuned/vocab.txt", words.join("\r\n"));
    let said = refusal(&place, "");
    assert!(said.contains("tuned/vocab.txt") && said.contains("\"snow\" is number 21"), "{said}");
    words.retain(|word| word != "[SEP]");
    place.write("tuned/vocab.txt", words.join("\n"));
    assert!(refusal(&place, "").contains("has no line \"[SEP]\""));
    fs::remove_file(place.path("tuned/vocab.txt")).unwrap();
    place.write("tuned/spiece.model", "");
    assert!(refusal(&place, "").contains("spiece.model is in SentencePiece's own format"));
}
