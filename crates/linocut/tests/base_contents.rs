//! What a base's file may hold beside the encoder: heads and known remainders. All else is named.

#![allow(clippy::unwrap_used)] // clippy sees a test only in functions marked so

use std::fs;
use std::path::Path;

use linocut::checkpoint::write_safetensors;
use linocut::model::{Encoder, family};
use serde_json::{Value, json};

/// Opens the tiny base of a family with its names changed, more tensors and its config changed.
fn open(
    name: &str,
    rename: impl Fn(&str) -> String,
    more: &[&str],
    change: impl Fn(&mut Value),
) -> linocut::Result<Encoder> {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata").join(name).join("base");
    let checkpoint = family::open(&base).unwrap();
    let mut all: Vec<(String, Vec<usize>, Vec<f32>)> = Vec::new();
    for tensor in checkpoint.tensors() {
        let mut values = vec![0.0; tensor.shape.iter().product()];
        checkpoint.read_f32(&tensor.name, &mut values).unwrap();
        all.push((rename(&tensor.name), tensor.shape.clone(), values));
    }
    all.extend(more.iter().map(|name| (name.to_string(), vec![2], vec![0.5; 2])));
    let folder = tempfile::tempdir().unwrap();
    let mut config = checkpoint.config().clone();
    change(&mut config);
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let tensors = all.iter().map(|(n, s, v)| (n.clone(), s.clone(), v.as_slice()));
    write_safetensors(&folder.path().join("model.safetensors"), tensors).unwrap();
    Encoder::open(&family::open(folder.path())?, None)
}

#[test]
fn a_base_may_come_with_the_head_of_any_class() {
    let heads: [(&str, &str, &[&str]); 5] = [
        (
            "bert",
            "bert.",
            &[
                "cls.predictions.bias",
                "cls.predictions.decoder.weight",
                "cls.seq_relationship.weight",
                "classifier.weight",
                "qa_outputs.bias",
                "bert.embeddings.position_ids",
                "bert.embeddings.token_type_ids",
            ],
        ),
        (
            "roberta",
            "roberta.",
            &[
                "lm_head.dense.weight",
                "classifier.weight",
                "classifier.out_proj.bias",
                "qa_outputs.weight",
                "roberta.pooler.dense.weight",
                "roberta.embeddings.token_type_ids",
            ],
        ),
        (
            "distilbert",
            "distilbert.",
            &[
                "vocab_transform.weight",
                "vocab_projector.bias",
                "classifier.bias",
                "qa_outputs.bias",
            ],
        ),
        (
            "electra",
            "electra.",
            &[
                "discriminator_predictions.dense.weight",
                "generator_lm_head.bias",
                "sequence_summary.summary.weight",
                "classifier.weight",
            ],
        ),
        (
            "mpnet",
            "mpnet.",
            &["lm_head.decoder.weight", "classifier.weight", "mpnet.pooler.dense.bias"],
        ),
    ];
    for (name, prefix, more) in heads {
        for prefix in [prefix, ""] {
            let more: Vec<String> = more
                .iter()
                .map(|m| {
                    m.strip_prefix(&format!("{name}."))
                        .map_or(m.to_string(), |m| format!("{prefix}{m}"))
                })
                .collect();
            let more: Vec<&str> = more.iter().map(String::as_str).collect();
            let opened = open(name, |tensor| format!("{prefix}{tensor}"), &more, |_| {});
            assert!(opened.is_ok(), "{name} {prefix:?}: {:?}", opened.err());
        }
    }
}

#[test]
fn what_could_belong_to_the_encoder_is_refused_by_name() {
    let refusal = |name: &str, more: &[&str], change: &dyn Fn(&mut Value)| {
        let opened = open(name, str::to_string, more, change);
        opened.err().unwrap_or_else(|| panic!("{name} with {more:?} was opened")).to_string()
    };
    for (name, tensor) in [
        ("bert", "encoder.layer.0.attention.self.distance_embedding.weight"),
        ("bert", "bert.encoder.layer.1.output.dense.scale"),
        ("bert", "embeddings.word_embeddings.bias"),
        ("bert", "bert.classifier.weight"),
        ("bert", "something.weight"),
        ("roberta", "roberta.encoder.layer.0.rotary.inv_freq"),
        ("distilbert", "transformer.layer.0.attention.q_lin.scale"),
        ("electra", "electra.embeddings_project.scale"),
        ("mpnet", "encoder.layer.0.attention.attn.gate.weight"),
    ] {
        let said = refusal(name, &[tensor], &|_| {});
        assert!(said.contains("a tensor that is no part of a") && said.contains(tensor), "{said}");
        assert!(said.contains("hint: if it is a head of another kind"), "{said}");
    }
    let adapter = "encoder.layer.0.attention.self.query.lora_A.weight";
    let said = refusal("bert", &[adapter, "classifier.lora_B.weight"], &|_| {});
    assert!(said.contains("holds 2 tensors") && said.contains("merge adapters"), "{said}");
    // More layers than config.json counts.
    let said = refusal("bert", &[], &|config| config["num_hidden_layers"] = json!(1));
    assert!(said.contains("encoder of 1 layers as config.json describes it"), "{said}");
    assert!(said.contains("the first of them encoder.layer.1."), "{said}");
}
