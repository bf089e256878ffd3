//! The real bases: hidden states, pooler and mean of eight texts against Transformers in float64.
//! `reference/hidden.py` writes the values; `make base` fetches the model.

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

/// Where the large base is there: `make base-large`.
#[test]
fn states_of_mpnet_agree_with_transformers() {
    let folder = root("models/all-mpnet-base-v2");
    if !folder.join("model.safetensors").exists() {
        println!("run `make base-large` to compare all-mpnet-base-v2, too");
        return;
    }
    let bytes = std::fs::read(root("testdata/mpnet-base/hidden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (batch, rows) = batch(&file);
    let base = Base::open(&folder, None).unwrap();
    assert_eq!(base.encoder.pooling(), Pooling::Mean);
    let mut tape = Tape::default();
    let pooled = base.encoder.forward(&base.weights, Input::Tokens(&batch), None, true, &mut tape);
    close("mean", pooled, &floats(&file, "mean"));
    let hidden = base.encoder.hidden_states(&tape);
    let row = |r: u32| hidden[r as usize * 768..(r as usize + 1) * 768].iter().copied();
    let stored: Vec<f32> = rows.into_iter().flat_map(row).collect();
    close("hidden", &stored, &floats(&file, "hidden"));
    // The texts are tokenised as Transformers did.
    let (_, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
    let texts = &metadata.metadata().as_ref().unwrap()["texts"];
    let texts: Vec<Vec<String>> = serde_json::from_str(texts).unwrap();
    for (text, span) in texts.iter().zip(batch.offsets.windows(2)).skip(1) {
        let pair = text.get(1).map(String::as_str);
        let encoding = base.tokenizer.encode(&text[0], pair, 512).unwrap();
        assert_eq!(encoding.ids, batch.ids[span[0]..span[1]], "{text:?}");
    }
}

fn ints(file: &SafeTensors<'_>, name: &str) -> Vec<u32> {
    let data = file.tensor(name).unwrap().data().to_vec();
    data.chunks_exact(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as u32).collect()
}

fn floats(file: &SafeTensors<'_>, name: &str) -> Vec<f32> {
    let data = file.tensor(name).unwrap().data().to_vec();
    data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

/// The texts of a file of values, and the tokens whose hidden states it has.
fn batch(file: &SafeTensors<'_>) -> (Batch, Vec<u32>) {
    let batch = Batch {
        ids: ints(file, "input_ids"),
        type_ids: ints(file, "type_ids"),
        offsets: ints(file, "offsets").iter().map(|&o| o as usize).collect(),
    };
    (batch, ints(file, "rows"))
}

#[test]
fn states_agree_with_transformers() {
    let bytes = std::fs::read(root("testdata/minilm/hidden.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let (batch, rows) = batch(&file);
    let floats = |name: &str| floats(&file, name);
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
    let stored: Vec<f32> = rows.into_iter().flat_map(row).collect();
    close("hidden", &stored, &floats("hidden"));
}

#[test]
fn logits_do_not_depend_on_what_shares_the_batch() {
    let base = base(Pooling::Mean);
    let head = Head::new(3, 384, 1);
    let texts = ["one", "two words", "a somewhat longer third text, with punctuation", "four"];
    let texts: Vec<String> = texts.iter().map(|t| t.to_string()).collect();
    let encodings = base.tokenizer.encode_all(&texts, None, 128).unwrap().sequences;
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
