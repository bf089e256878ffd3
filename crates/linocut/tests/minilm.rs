//! The real base: hidden states, pooler and mean of eight texts against Transformers in float64.
//! `reference/minilm_hidden.py` writes the values; `make base` fetches the model.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

use linocut::data::Batch;
use linocut::model::{Base, Head, Input, Pooling, Tape};
use safetensors::SafeTensors;
use std::path::Path;

fn root(path: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

fn base(pooling: Pooling) -> Base {
    let folder = root("models/all-minilm-l6-v2");
    assert!(folder.join("model.safetensors").exists(), "run `make base` first");
    Base::open(&folder, Some(pooling)).unwrap()
}

fn close(what: &str, got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len(), "{what}");
    let gap = got.iter().zip(want).map(|(g, w)| (g - w).abs()).fold(0.0, f32::max);
    assert!(gap <= 1e-4, "{what}: {gap}");
}

#[test]
fn states_agree_with_transformers() {
    let bytes = std::fs::read(root("testdata/minilm/hidden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let ints = |name: &str| -> Vec<u32> {
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
    };
    let floats = |name: &str| -> Vec<f32> {
        let data = file.tensor(name).unwrap().data().to_vec();
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let batch = Batch {
        ids: ints("input_ids"),
        type_ids: ints("type_ids"),
        offsets: ints("offsets").iter().map(|&o| o as usize).collect(),
    };
    let mut tape = Tape::default();

    let mean = base(Pooling::Mean);
    let pooled = mean.encoder.forward(&mean.weights, Input::Tokens(&batch), None, false, &mut tape);
    close("mean", pooled, &floats("mean"));
    let cls = base(Pooling::Cls);
    let pooled = cls.encoder.forward(&cls.weights, Input::Tokens(&batch), None, true, &mut tape);
    close("pooler", pooled, &floats("pooler"));
    // A one-layer-short trunk and the last layer on top of it give the same.
    let depth = cls.config().layers - 1;
    let states = cls.encoder.trunk(&cls.weights, &batch, depth, &mut Tape::default()).to_vec();
    let input = Input::States { depth, states: &states, offsets: &batch.offsets };
    let pooled = cls.encoder.forward(&cls.weights, input, None, false, &mut tape);
    close("pooler over a trunk", pooled, &floats("pooler"));

    mean.encoder.forward(&mean.weights, Input::Tokens(&batch), None, true, &mut tape);
    let hidden = mean.encoder.hidden_states(&tape);
    let row = |r: u32| hidden[r as usize * 384..(r as usize + 1) * 384].iter().copied();
    let stored: Vec<f32> = ints("rows").into_iter().flat_map(row).collect();
    close("hidden", &stored, &floats("hidden"));
}

#[test]
fn logits_do_not_depend_on_what_shares_the_batch() {
    let base = base(Pooling::Mean);
    let head = Head::new(3, 384, 1);
    let texts = ["one", "two words", "a somewhat longer third text, with punctuation", "four"];
    let texts: Vec<String> = texts.iter().map(|t| t.to_string()).collect();
    let (encodings, _) = base.tokenizer.encode_all(&texts, None, 128).unwrap();
    let run = |e: &[linocut::data::Encoding]| {
        linocut::model::logits(&base.encoder, &base.weights, &head, e, |_| {})
    };
    let together = run(&encodings);
    for (i, encoding) in encodings.iter().enumerate() {
        let alone = run(std::slice::from_ref(encoding));
        for (a, b) in alone.iter().zip(&together[i * 3..]) {
            assert!((a - b).abs() < 1e-5, "{a} {b}");
        }
    }
}
