//! export. That Transformers computes the same is for reference/check_export.py to say.

use super::place::{Place, rough};
use insta::assert_snapshot;
use serde_json::Value;
use std::fs;

fn json(place: &Place, name: &str) -> Value {
    serde_json::from_slice(&place.read(name)).unwrap()
}

fn files(place: &Place, folder: &str) -> Vec<String> {
    let entries = fs::read_dir(place.path(folder)).unwrap();
    let mut names: Vec<String> =
        entries.map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn through_the_pooler() {
    let place = Place::new();
    place.train("--method head --pooling cls --epochs 1 --max-length 20", "t.cut");
    assert_snapshot!(place.run("export t.cut --base base --out hf").rough(), @"
    exit 0
    --- stdout
    hf: BertForSequenceClassification, # KB
    ");
    assert_eq!(
        files(&place, "hf"),
        [
            "README.md",
            "config.json",
            "model.safetensors",
            "tokenizer.json",
            "tokenizer_config.json"
        ]
    );
    assert_snapshot!(place.text("hf/config.json"), @r#"
    {
      "architectures": [
        "BertForSequenceClassification"
      ],
      "model_type": "bert",
      "hidden_size": 36,
      "num_attention_heads": 3,
      "intermediate_size": 50,
      "num_hidden_layers": 3,
      "vocab_size": 99,
      "max_position_embeddings": 40,
      "type_vocab_size": 2,
      "hidden_act": "gelu",
      "layer_norm_eps": 1e-12,
      "hidden_dropout_prob": 0.0,
      "attention_probs_dropout_prob": 0.0,
      "pad_token_id": 0,
      "id2label": {
        "0": "food",
        "1": "travel",
        "2": "weather"
      },
      "label2id": {
        "food": 0,
        "travel": 1,
        "weather": 2
      },
      "problem_type": "single_label_classification",
      "linocut": {
        "task": "topics",
        "pairs": false,
        "base": {
          "name": "base",
          "fingerprint": "2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9"
        },
        "method": {
          "name": "head"
        },
        "format": 1
      }
    }
    "#);
    assert_snapshot!(place.text("hf/tokenizer_config.json"), @r#"
    {
      "tokenizer_class": "BertTokenizer",
      "model_max_length": 20,
      "model_input_names": [
        "input_ids",
        "token_type_ids",
        "attention_mask"
      ]
    }
    "#);
    let tokenizer = json(&place, "hf/tokenizer.json");
    assert_snapshot!(tokenizer["truncation"].to_string(), @r#"{"direction":"Right","max_length":20,"strategy":"LongestFirst","stride":0}"#);
    assert!(tokenizer["padding"].is_null());
    // As Transformers names them, the folder is a base again: that of the cut, for the head alone.
    let shown = place.run("verify t.cut --base hf");
    assert!(shown.stderr.is_empty(), "{shown}");
}

#[test]
fn mean_pooling_brings_its_own_class() {
    let place = Place::new();
    place.train("--method head --pooling mean --epochs 1", "t.cut");
    assert_snapshot!(place.run("export t.cut --base base --out hf").rough(), @"
    exit 0
    --- stdout
    hf: LinocutForSequenceClassification, # KB
    ");
    let config = json(&place, "hf/config.json");
    assert_snapshot!(format!("{:#}", config["auto_map"]), @r#"
    {
      "AutoConfig": "modeling_linocut.LinocutConfig",
      "AutoModelForSequenceClassification": "modeling_linocut.LinocutForSequenceClassification"
    }
    "#);
    assert_eq!(
        (&config["model_type"], &config["linocut_pooling"]),
        (&"linocut_bert".into(), &"mean".into())
    );
    assert!(
        place.text("hf/modeling_linocut.py").contains("class LinocutForSequenceClassification")
    );
    assert_snapshot!(rough(&place.text("hf/README.md")), @r#"
    ---
    pipeline_tag: text-classification
    tags:
    - linocut
    model-index:
    - name: "topics"
     results:
     - task:
     type: text-classification
     dataset:
     name: "topics"
     type: "topics"
     metrics:
     - type: "accuracy"
     value: #
     - type: "f1_macro"
     value: #
     - type: "f1_micro"
     value: #
     - type: "matthews"
     value: #
    ---

    # topics

    Predicts one of the labels below for a text: a linocut cut of `base` and that base,
    merged into one model for Hugging Face Transformers.

    - class: `LinocutForSequenceClassification`
    - pooling: mean
    - longest text: # tokens

    Transformers has no class with this pooling: `modeling_linocut.py` brings one, hence
    `trust_remote_code=True`.

    ```python
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = "."
    tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=True)
    model = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True).eval()
    logits = model(**tokenizer("some text", truncation=True, return_tensors="pt")).logits
    ```

    Labels:

    - #: food
    - #: travel
    - #: weather

    Scores on the evaluation rows:

    - accuracy: #
    - f1_macro: #
    - f1_micro: #
    - matthews: #

    Base fingerprint: `#adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9`
    "#);
    let weights = String::from_utf8_lossy(&place.read("hf/model.safetensors")).into_owned();
    assert!(weights.contains("classifier.weight") && !weights.contains("pooler"));
}

#[test]
fn only_an_earlier_export_is_replaced() {
    let place = Place::trained();
    place.write("mine/letter.txt", "dear");
    assert_snapshot!(place.run("export topics.cut --base base --out mine"), @"
    exit 1
    --- stderr
    error: mine exists already
    hint: give another --out, or --force to replace it
    ");
    assert_snapshot!(place.run("export topics.cut --base base --out mine --force"), @"
    exit 1
    --- stderr
    error: mine is no earlier export, and is not replaced
    hint: give another --out, or remove it yourself
    ");
    assert_snapshot!(place.run("export topics.cut --base base --out base --force"), @"
    exit 1
    --- stderr
    error: base is no earlier export, and is not replaced
    hint: give another --out, or remove it yourself
    ");
    assert_eq!(place.text("mine/letter.txt"), "dear");
    assert_snapshot!(place.run("export topics.cut --base base --out hf").rough(), @"
    exit 0
    --- stdout
    hf: BertForSequenceClassification, # KB
    ");
    place.write("hf/stale.txt", "");
    assert_snapshot!(place.run("export topics.cut --base base --out hf --force").rough(), @"
    exit 0
    --- stdout
    hf: BertForSequenceClassification, # KB
    ");
    assert!(!place.path("hf/stale.txt").exists());
    assert_eq!(place.names(), ["base", "hf", "mine", "topics", "topics.cut"]);
}

/// The class that an export brings has a head of its own name, whatever that of the family is called.
#[test]
fn a_mean_of_tokens_comes_back_where_the_familys_head_has_another_name() {
    let place = Place::new();
    place.edit("base/config.json", "\"model_type\": \"bert\"", "\"model_type\": \"roberta\"");
    place.write("base/tokenizer_config.json", r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#);
    place.train("--method mask --pooling mean --epochs 1 --max-length 20", "t.cut");
    for run in [
        "export t.cut --base base --out hf",
        "pack --tuned hf --base base --out p.cut --verify",
        "export p.cut --base base --out again",
    ] {
        let shown = place.run(run);
        assert!(shown.to_string().starts_with("exit 0"), "{run}: {shown}");
    }
}

#[test]
fn for_an_onnx_runtime() {
    let place = Place::new();
    place.train("--method head --pooling mean --epochs 1 --max-length 20", "t.cut");
    assert_snapshot!(place.run("export t.cut --base base --format onnx --out onnx").rough(), @"
    exit 0
    --- stdout
    onnx/model.onnx: opset #, # KB
    inputs input_ids, attention_mask, token_type_ids: int64 [batch, tokens], padded on the right
    output logits: float32 [batch, #]
    a text has at most # tokens: the folder's tokenizer cuts longer ones where it is told to truncate
    ");
    assert_eq!(
        files(&place, "onnx"),
        ["README.md", "config.json", "model.onnx", "tokenizer.json", "tokenizer_config.json"]
    );
    // Readers of tokenizers know the family's own type, and need no code.
    let config = json(&place, "onnx/config.json");
    assert_eq!(config["model_type"], "bert");
    assert_eq!(config["architectures"][0], "BertForSequenceClassification");
    assert_eq!(config["id2label"]["2"], "weather");
    assert!(config["auto_map"].is_null());
    assert_snapshot!(rough(&place.text("onnx/README.md")), @r#"
    ---
    pipeline_tag: text-classification
    tags:
    - linocut
    model-index:
    - name: "topics"
     results:
     - task:
     type: text-classification
     dataset:
     name: "topics"
     type: "topics"
     metrics:
     - type: "accuracy"
     value: #
     - type: "f1_macro"
     value: #
     - type: "f1_micro"
     value: #
     - type: "matthews"
     value: #
    ---

    # topics

    Predicts one of the labels below for a text: a linocut cut of `base` and that base,
    merged into one model for ONNX.

    - model: `model.onnx`, operators of version #
    - inputs: `input_ids`, `attention_mask`, `token_type_ids`; int64 `[batch, tokens]`, padded on the right
    - output: `logits`; float32 `[batch, #]`
    - longest text: # tokens

    ```python
    import onnxruntime
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(".")
    session = onnxruntime.InferenceSession("model.onnx")
    batch = tokenizer(["some text", "another"], truncation=True, padding=True, return_tensors="np")
    names = [i.name for i in session.get_inputs()]
    logits = session.run(["logits"], {n: batch[n] for n in names})[#]
    ```

    Labels:

    - #: food
    - #: travel
    - #: weather

    Scores on the evaluation rows:

    - accuracy: #
    - f1_macro: #
    - f1_micro: #
    - matthews: #

    Base fingerprint: `#adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9`
    "#);
    let first = place.read("onnx/model.onnx");
    let again = "export t.cut --base base --format onnx --out onnx --force";
    assert!(place.run(again).to_string().starts_with("exit 0"));
    assert!(first == place.read("onnx/model.onnx"), "exported again it is another");
    let about = String::from_utf8_lossy(&first);
    for said in [
        "linocut_version",
        "topics",
        r#"{"0":"food","1":"travel","2":"weather"}"#,
        "2adcafe9486c5bbd",
    ] {
        assert!(about.contains(said), "{said}");
    }
    // Either kind takes the place of the other.
    assert!(
        place.run("export t.cut --base base --out onnx --force").to_string().starts_with("exit 0")
    );
    assert!(!place.path("onnx/model.onnx").exists());
}

#[test]
fn what_is_not_in_a_graph_is_said() {
    let place = Place::new();
    place
        .train("--method full --epochs 2 --compute 0.5 --max-length 20 --long windows", "slim.cut");
    place.train("--method full --epochs 2 --max-length 20", "whole.cut");
    assert_snapshot!(place.run("export slim.cut --base base --format onnx --out slim").rough(), @"
    exit 0
    --- stdout
    slim/model.onnx: opset #, # KB
    inputs input_ids, attention_mask, token_type_ids: int64 [batch, tokens], padded on the right
    output logits: float32 [batch, #]
    a text has at most # tokens: the folder's tokenizer cuts longer ones where it is told to truncate
    # of # layers, without the heads and neurons that are left out
    The task reads a longer text in overlapping windows and averages their logits; the folder's tokenizer cuts such texts at #
    ");
    place.run("export whole.cut --base base --format onnx --out whole");
    let len = |name: &str| place.read(name).len();
    let (slim, whole) = (len("slim/model.onnx"), len("whole/model.onnx"));
    assert!(slim + 20_000 < whole, "{slim} of {whole}");
    assert_snapshot!(place.run("export whole.cut --base base --format onnx --dtype int8 --out x"), @r#"
    exit 2
    --- stderr
    error: an export is in f32: ONNX quantises inputs by the tensor, linocut's int8 by the token, so that an int8 model of ONNX would give other logits than --dtype int8 of `predict`
    hint: export with --format onnx, quantise the file and see what it changes: onnxruntime.quantization.quantize_dynamic("model.onnx", "int8.onnx")
    "#);
    assert!(!place.path("x").exists());
}
