//! Model folders: what opens, what is refused and how the refusal reads, and what the
//! fingerprint depends on.

#![allow(clippy::unwrap_used)] // clippy sees a test only in functions marked so

use std::fs;
use std::path::Path;

use linocut::ErrorKind;
use linocut::checkpoint::{Fingerprint, StoredTensors, write_safetensors};
use linocut::model::{Base, Pooling, family};
use serde_json::{Value, json};
use tempfile::TempDir;

type Tensor = (String, Vec<usize>, Vec<f32>);

/// A few tensors of a tiny encoder; enough for everything that does not compute.
fn tensors() -> Vec<Tensor> {
    let names: [(&str, &[usize]); 6] = [
        ("embeddings.word_embeddings.weight", &[5, 4]),
        ("embeddings.LayerNorm.weight", &[4]),
        ("embeddings.LayerNorm.bias", &[4]),
        ("encoder.layer.0.attention.self.query.weight", &[4, 4]),
        ("encoder.layer.0.attention.self.query.bias", &[4]),
        ("pooler.dense.weight", &[4, 4]),
    ];
    let mut next = 0.0;
    names
        .into_iter()
        .map(|(name, shape)| {
            let values = (0..shape.iter().product::<usize>())
                .map(|_| {
                    next += 0.25;
                    next
                })
                .collect();
            (name.to_string(), shape.to_vec(), values)
        })
        .collect()
}

fn config() -> Value {
    json!({"model_type": "bert", "hidden_size": 4, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 8, "vocab_size": 5,
        "max_position_embeddings": 16, "hidden_dropout_prob": 0.1})
}

fn write(path: &Path, tensors: &[Tensor]) {
    let tensors = tensors.iter().map(|(n, s, v)| (n.clone(), s.clone(), v.as_slice()));
    write_safetensors(path, tensors).unwrap();
}

fn folder(config: &Value, tensors: &[Tensor]) -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
    write(&dir.path().join("model.safetensors"), tensors);
    dir
}

fn fingerprint(config: &Value, tensors: &[Tensor]) -> Fingerprint {
    family::open(folder(config, tensors).path()).unwrap().fingerprint()
}

fn refusal(folder: &Path) -> String {
    let error = family::open(folder).err().expect("the folder should be refused");
    assert_eq!(error.kind(), ErrorKind::Base);
    error.to_string()
}

fn renamed(rename: impl Fn(&str) -> String) -> Vec<Tensor> {
    tensors().into_iter().map(|(n, s, v)| (rename(&n), s, v)).collect()
}

/// A safetensors file of any header and data, valid or not.
fn raw(header: &Value, data: &[u8]) -> Vec<u8> {
    let header = header.to_string().into_bytes();
    [&(header.len() as u64).to_le_bytes(), header.as_slice(), data].concat()
}

#[test]
fn tensors_come_sorted_and_read_back() {
    let mut all = tensors();
    all.push(("classifier.weight".into(), vec![2, 4], vec![0.0; 8]));
    all.push(("embeddings.position_ids".into(), vec![1], vec![0.0]));
    let dir = folder(&config(), &all);
    let c = family::open(dir.path()).unwrap();
    let names: Vec<_> = c.tensors().iter().map(|t| t.name.as_str()).collect();
    let mut expected: Vec<_> = all[..6].iter().map(|t| t.0.as_str()).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
    for (name, shape, values) in &all[..6] {
        assert_eq!(&c.tensor(name).unwrap().shape, shape);
        let mut out = vec![0.0; values.len()];
        c.read_f32(name, &mut out).unwrap();
        assert_eq!(&out, values);
    }
    assert!(c.tensor("classifier.weight").is_none());
    assert_eq!(c.config()["hidden_size"], 4);
    assert_eq!(c.name(), dir.path().file_name().unwrap().to_str().unwrap());
}

#[test]
fn a_folder_of_the_hub_cache_goes_by_its_hub_name() {
    let dir = folder(&config(), &tensors());
    let snapshot = dir.path().join("models--BAAI--bge-small-en").join("snapshots").join("a1b2c3");
    fs::create_dir_all(&snapshot).unwrap();
    for file in ["config.json", "model.safetensors"] {
        fs::copy(dir.path().join(file), snapshot.join(file)).unwrap();
    }
    assert_eq!(family::open(&snapshot).unwrap().name(), "BAAI/bge-small-en");
}

#[test]
fn half_precision_reads_as_f32() {
    let dir = folder(&config(), &tensors());
    // 1.0, -2.5, 65504.0 (largest f16) and the smallest subnormal f16; the same in bf16 where exact.
    let header = json!({
        "embeddings.LayerNorm.weight": {"dtype": "F16", "shape": [4], "data_offsets": [0, 8]},
        "embeddings.LayerNorm.bias": {"dtype": "BF16", "shape": [2], "data_offsets": [8, 12]},
        "pooler.dense.bias": {"dtype": "I64", "shape": [1], "data_offsets": [12, 20]}});
    let words: [u16; 10] = [0x3c00, 0xc100, 0x7bff, 0x0001, 0x3f80, 0xc020, 0, 0, 0, 0];
    let data: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
    fs::write(dir.path().join("model.safetensors"), raw(&header, &data)).unwrap();
    let c = family::open(dir.path()).unwrap();
    let mut out = [0.0; 4];
    c.read_f32("embeddings.LayerNorm.weight", &mut out).unwrap();
    assert_eq!(out, [1.0, -2.5, 65504.0, f32::powi(2.0, -24)]);
    c.read_f32("embeddings.LayerNorm.bias", &mut out[..2]).unwrap();
    assert_eq!(out[..2], [1.0, -2.5]);

    let error = |name: &str, out: &mut [f32]| c.read_f32(name, out).unwrap_err().to_string();
    assert!(
        error("pooler.dense.bias", &mut [0.0]).contains("expected F32, F16 or BF16, found I64")
    );
    let short = error("embeddings.LayerNorm.bias", &mut out[..3]);
    assert!(short.contains("expected 3 values, found shape [2] with 2"), "{short}");
    assert!(error("embeddings.LayerNorm.gamma", &mut out).contains("has no tensor"));
}

#[test]
fn values_that_are_not_finite_are_named_and_counted() {
    let mut all = tensors();
    all[3].2[1] = f32::NAN;
    all[3].2[7] = f32::NEG_INFINITY;
    let c = family::open(folder(&config(), &all).path()).unwrap();
    let error = c.read_f32(&all[3].0, &mut [0.0; 16]).unwrap_err().to_string();
    assert!(error.contains("encoder.layer.0.attention.self.query.weight"), "{error}");
    assert!(error.contains("2 of 16 values are not finite"), "{error}");
}

#[test]
fn what_is_missing_is_named_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let text = refusal(&dir.path().join("nowhere"));
    assert!(text.contains("nowhere is not a folder"), "{text}");
    let text = refusal(dir.path());
    assert!(text.contains("has no config.json") && text.contains("hint: "), "{text}");

    fs::write(dir.path().join("config.json"), "{").unwrap();
    assert!(refusal(dir.path()).contains("config.json is not JSON"));
    for other in ["2", "null", "true", "[]", "\"bert\""] {
        fs::write(dir.path().join("config.json"), other).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("config.json: expected an object"), "{other}: {text}");
    }
    fs::write(dir.path().join("config.json"), config().to_string()).unwrap();
    assert!(refusal(dir.path()).contains("has no model.safetensors"));
    fs::write(dir.path().join("pytorch_model.bin"), "").unwrap();
    let text = refusal(dir.path());
    assert!(text.contains("hint: there is a pytorch_model.bin; convert it with: python -c"));
}

#[test]
fn another_architecture_is_named() {
    let with = |change: Value| {
        let mut config = config();
        for (key, value) in change.as_object().unwrap() {
            config[key] = value.clone();
        }
        folder(&config, &tensors())
    };
    let text = refusal(with(json!({"model_type": "distill-bert"})).path());
    assert!(text.contains("config.json: model_type \"distill-bert\" is not known: "), "{text}");
    assert!(text.contains("expected one of bert, roberta, xlm-roberta, camembert, "), "{text}");
    assert!(text.contains("hint: the nearest is distilbert"), "{text}");
    let text = refusal(with(json!({"model_type": null, "architectures": ["GPT2Model"]})).path());
    assert!(text.contains("architecture \"GPT2Model\" is not known"), "{text}");
    assert!(refusal(with(json!({"is_decoder": true})).path()).contains("BERT decoder"));
    let text = refusal(with(json!({"num_attention_heads": "two"})).path());
    assert!(text.contains("expected num_attention_heads to be a whole number, found \"two\""));
    let old = with(json!({"model_type": null, "architectures": ["BertForMaskedLM"]}));
    assert!(family::open(old.path()).is_ok());

    let dir = folder(&config(), &[("transformer.wte.weight".into(), vec![1], vec![0.0])]);
    let text = refusal(dir.path());
    assert!(text.contains("no tensor of a BERT encoder"), "{text}");
    assert!(text.contains("transformer.wte.weight"), "{text}");
}

#[test]
fn two_spellings_of_one_tensor_are_refused() {
    let mut all = tensors();
    all.push(("bert.embeddings.LayerNorm.gamma".into(), vec![4], vec![0.0; 4]));
    let text = refusal(folder(&config(), &all).path());
    assert!(text.contains("embeddings.LayerNorm.weight twice"), "{text}");
    assert!(text.contains("as bert.embeddings.LayerNorm.gamma in model.safetensors"), "{text}");
}

#[test]
fn shards_read_as_one_file_does() {
    let all = tensors();
    let dir = folder(&config(), &all);
    let whole = family::open(dir.path()).unwrap().fingerprint();
    fs::remove_file(dir.path().join("model.safetensors")).unwrap();
    let mut map = serde_json::Map::new();
    // Against the canonical order, so that order cannot be what makes them equal.
    for (shard, part) in [(1, &all[3..]), (2, &all[..3])] {
        let file = format!("model-0000{shard}-of-00002.safetensors");
        write(&dir.path().join(&file), part);
        map.extend(part.iter().map(|t| (t.0.clone(), json!(file))));
    }
    let index = dir.path().join("model.safetensors.index.json");
    fs::write(&index, json!({"metadata": {}, "weight_map": map}).to_string()).unwrap();
    let c = family::open(dir.path()).unwrap();
    assert_eq!(c.fingerprint(), whole);
    assert_eq!(c.tensors().len(), all.len());

    fs::remove_file(dir.path().join("model-00002-of-00002.safetensors")).unwrap();
    let text = refusal(dir.path());
    assert!(text.contains("model-00002-of-00002.safetensors is missing"), "{text}");
    assert!(text.contains("1 of 2 shards missing"), "{text}");

    for hostile in [json!("../secret.safetensors"), json!("/etc/passwd"), json!(".."), json!(1)] {
        fs::write(&index, json!({"weight_map": {"a": hostile}}).to_string()).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("expected the name of a file in the same folder"), "{text}");
    }
    fs::write(&index, "{}").unwrap();
    assert!(refusal(dir.path()).contains("expected an object weight_map"));
}

#[test]
fn the_fingerprint_ignores_spelling_order_heads_and_dropout() {
    let expected = fingerprint(&config(), &tensors());
    let shown = expected.to_string();
    assert_eq!(shown.len(), 64);
    assert_eq!(shown.parse::<Fingerprint>().unwrap(), expected);
    assert!("5e35".parse::<Fingerprint>().unwrap_err().to_string().contains("64 hexadecimal"));

    let reversed: Vec<_> = tensors().into_iter().rev().collect();
    assert_eq!(fingerprint(&config(), &reversed), expected);
    let prefixed = renamed(|n| format!("bert.{n}"));
    assert_eq!(fingerprint(&config(), &prefixed), expected);
    let greek = renamed(|n| {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
    });
    assert_eq!(fingerprint(&config(), &greek), expected);
    let mut headed = tensors();
    headed.push(("classifier.weight".into(), vec![2], vec![1.0, 2.0]));
    headed.push(("embeddings.position_ids".into(), vec![1], vec![0.0]));
    assert_eq!(fingerprint(&config(), &headed), expected);

    let mut other = config();
    other["hidden_dropout_prob"] = json!(0.5);
    // Spelled out defaults are the same as absent ones.
    other["hidden_act"] = json!("gelu");
    other["layer_norm_eps"] = json!(1e-12);
    other["type_vocab_size"] = json!(2);
    other["position_embedding_type"] = json!("absolute");
    assert_eq!(fingerprint(&other, &tensors()), expected);
}

#[test]
fn the_fingerprint_sees_every_change_of_function() {
    let expected = fingerprint(&config(), &tensors());
    for t in 0..tensors().len() {
        let mut all = tensors();
        let last = all[t].2.len() - 1;
        all[t].2[last] = f32::from_bits(all[t].2[last].to_bits() ^ 1);
        assert_ne!(fingerprint(&config(), &all), expected, "one bit of {}", all[t].0);
    }
    let mut reshaped = tensors();
    reshaped[0].1 = vec![4, 5];
    assert_ne!(fingerprint(&config(), &reshaped), expected);
    let swapped = renamed(|n| n.replace("query", "key"));
    assert_ne!(fingerprint(&config(), &swapped), expected);
    assert_ne!(fingerprint(&config(), &tensors()[..5]), expected);
    for (key, value) in [
        ("num_attention_heads", json!(4)),
        ("hidden_act", json!("gelu_new")),
        ("layer_norm_eps", json!(1e-5)),
        ("position_embedding_type", json!("relative_key")),
        ("num_hidden_layers", json!(2)),
        ("max_position_embeddings", json!(17)),
    ] {
        let mut other = config();
        other[key] = value;
        assert_ne!(fingerprint(&other, &tensors()), expected, "{key}");
    }
}

/// Cut files name their base by this value: it may never change.
#[test]
fn the_fingerprint_of_a_known_folder_stays() {
    assert_eq!(
        fingerprint(&config(), &tensors()).to_string(),
        "54eb61dbf3a14e87a3803daf2a84c4a45d913a6b34802cb61511c24553608daa"
    );
}

#[test]
fn a_file_cut_short_anywhere_is_refused() {
    let dir = folder(&config(), &tensors());
    let path = dir.path().join("model.safetensors");
    let whole = fs::read(&path).unwrap();
    for length in (0..whole.len()).step_by(7).chain([whole.len() - 1]) {
        fs::write(&path, &whole[..length]).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("model.safetensors") && text.contains("is not a whole"), "{text}");
    }
    fs::write(&path, [whole.as_slice(), b"x"].concat()).unwrap();
    assert!(refusal(dir.path()).contains("is not a whole"));
    fs::write(&path, "version https://git-lfs.github.com/spec/v1\noid sha256:0\n").unwrap();
    assert!(refusal(dir.path()).contains("git lfs pull"));
}

#[test]
fn hostile_headers_are_refused() {
    let dir = folder(&config(), &tensors());
    let one = |shape: Value, offsets: Value| json!({"pooler.dense.bias": {"dtype": "F32", "shape": shape, "data_offsets": offsets}});
    let overlapping = json!({
        "pooler.dense.bias": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]},
        "pooler.dense.weight": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}});
    for (what, file) in [
        ("overlapping", raw(&overlapping, &[0; 8])),
        ("shape too large", raw(&one(json!([3]), json!([0, 8])), &[0; 8])),
        ("backwards", raw(&one(json!([1]), json!([4, 0])), &[0; 4])),
        ("overflow", raw(&one(json!([u64::MAX, 2]), json!([0, 8])), &[0; 8])),
        ("past the end", raw(&one(json!([4]), json!([0, 16])), &[0; 8])),
        ("a gap", raw(&one(json!([1]), json!([4, 8])), &[0; 8])),
        ("a huge header", u64::MAX.to_le_bytes().to_vec()),
        ("a header past the end", [&(1u64 << 20).to_le_bytes()[..], b"{}"].concat()),
        ("not UTF-8", [&2u64.to_le_bytes()[..], &[0xff, 0xff]].concat()),
    ] {
        fs::write(dir.path().join("model.safetensors"), file).unwrap();
        let text = refusal(dir.path());
        assert!(text.contains("is not a whole safetensors file"), "{what}: {text}");
    }
}

#[test]
fn pooling_is_read_where_the_folder_says_it() {
    let dir = folder(&config(), &tensors());
    let c = family::open(dir.path()).unwrap();
    assert_eq!(c.pooling().unwrap(), None);
    fs::create_dir(dir.path().join("1_Pooling")).unwrap();
    let pooling = |config: Value| {
        fs::write(dir.path().join("1_Pooling/config.json"), config.to_string()).unwrap();
        c.pooling()
    };
    let flags = |mean: bool, cls: bool, max: bool| {
        json!({"word_embedding_dimension": 4, "pooling_mode_mean_tokens": mean,
            "pooling_mode_cls_token": cls, "pooling_mode_max_tokens": max})
    };
    assert_eq!(pooling(flags(true, false, false)).unwrap(), Some(Pooling::Mean));
    assert_eq!(pooling(flags(false, true, false)).unwrap(), Some(Pooling::First));
    assert_eq!(pooling(json!({"pooling_mode": "mean"})).unwrap(), Some(Pooling::Mean));
    let text = pooling(flags(true, false, true)).unwrap_err().to_string();
    assert!(text.contains("found max_tokens and mean_tokens"), "{text}");
    assert!(pooling(flags(false, false, false)).unwrap_err().to_string().contains("found none"));
}

#[test]
fn writing_replaces_whole_files_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("model.safetensors");
    write(&path, &tensors());
    let before = fs::read(&path).unwrap();
    let loaded = safetensors::SafeTensors::deserialize(&before).unwrap();
    assert_eq!(loaded.len(), 6);
    let (_, metadata) = safetensors::SafeTensors::read_metadata(&before).unwrap();
    assert_eq!(metadata.metadata().as_ref().unwrap()["format"], "pt");

    let a = [1.0f32, 2.0];
    let one = |name: &str, shape: &[usize]| (name.to_string(), shape.to_vec(), &a[..]);
    let error = write_safetensors(&path, [one("a", &[3])]).unwrap_err().to_string();
    assert!(error.contains("tensor a") && error.contains("8 bytes do not fill F32 [3]"));
    let error = write_safetensors(&path, [one("a", &[2]), one("a", &[2])]).unwrap_err();
    assert!(error.to_string().contains("its name is taken"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
    let lost = linocut::checkpoint::write_atomically(&path, |out| {
        out.write_all(b"half")?;
        Err(std::io::ErrorKind::StorageFull.into())
    });
    let lost = lost.unwrap_err();
    assert_eq!(lost.kind(), ErrorKind::Io);
    assert!(lost.to_string().contains("the disk is full"), "{lost}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    let missing = dir.path().join("no/such/folder.safetensors");
    let error = write_safetensors(&missing, [one("a", &[2])]).unwrap_err();
    assert!(error.to_string().contains("cannot write"), "{error}");
}

/// A copy over the old file while it is read, as a download in place does.
#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let all = tensors();
    let dir = folder(&config(), &all);
    let path = dir.path().join("model.safetensors");
    let c = family::open(dir.path()).unwrap();
    let stored = StoredTensors::open(dir.path()).unwrap();
    assert!(c.check_unchanged().is_ok() && stored.check_unchanged().is_ok());
    fs::File::options().write(true).open(&path).unwrap().set_len(600).unwrap();
    let text = c.read_f32(&all[5].0, &mut [0.0; 16]).unwrap_err().to_string();
    assert!(text.contains("model.safetensors became shorter while it was read"), "{text}");
    let last = stored.tensors().last().unwrap();
    assert!(stored.bytes(last).unwrap_err().to_string().contains("became shorter"));
    for text in [c.check_unchanged(), stored.check_unchanged()] {
        let text = text.unwrap_err().to_string();
        assert!(text.contains("model.safetensors was changed while it was read"), "{text}");
    }
    // One that takes its place is another file: what is open stays whole.
    write(&path, &all);
    let c = family::open(dir.path()).unwrap();
    write(&path, &all[..4]);
    c.read_f32(&all[5].0, &mut [0.0; 16]).unwrap();
    assert!(c.check_unchanged().is_ok());
}

#[cfg(unix)]
#[test]
fn what_is_no_file_is_not_waited_for() {
    let dir = folder(&config(), &tensors());
    let path = dir.path().join("model.safetensors");
    fs::remove_file(&path).unwrap();
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let refusal = || family::open(dir.path()).err().unwrap().to_string();
    assert!(refusal().contains("not a regular file"));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    assert!(refusal().contains("is a directory"));
}

/// Whatever sizes a config claims, they are compared with the file before anything is made of them.
#[test]
fn sizes_are_checked_before_they_are_used() {
    let testdata = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    let base = testdata.join("bert/base");
    let dir = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        fs::copy(base.join(name), dir.path().join(name)).unwrap();
    }
    fs::copy(testdata.join("tiny/tokenizer.json"), dir.path().join("tokenizer.json")).unwrap();
    let original: Value =
        serde_json::from_slice(&fs::read(base.join("config.json")).unwrap()).unwrap();
    assert!(Base::open(dir.path(), None).is_ok());
    let most = 1 << 24;
    for (field, value, said) in [
        ("num_hidden_layers", json!(most), "16777216 layers of 16 tensors, the weights have 55"),
        ("num_hidden_layers", json!(4), "4 layers of 16 tensors, the weights have 55 tensors"),
        ("hidden_size", json!(3 << 22), "shape [99, 36], config.json makes it [99, 12582912]"),
        ("intermediate_size", json!(most), "shape [50, 36], config.json makes it [16777216, 36]"),
        ("vocab_size", json!(most), "shape [99, 36], config.json makes it [16777216, 36]"),
        ("max_position_embeddings", json!(most), "makes it [16777216, 36]"),
        ("type_vocab_size", json!(3), "makes it [3, 36]"),
        ("vocab_size", json!(u64::MAX), "vocab_size is 18446744073709551615, expected a whole"),
        ("hidden_size", json!(1e300), "hidden_size to be a whole number, found 1e+300"),
        ("num_attention_heads", json!(5), "num_attention_heads is 5, expected a divisor of"),
        ("num_attention_heads", json!(0), "num_attention_heads is 0, expected a whole number"),
        ("layer_norm_eps", json!(1e-60), "layer_norm_eps is 1e-60, expected a number in (0, 1)"),
        ("hidden_dropout_prob", json!(0.999_999_999_999), "expected a number in [0, 1)"),
        ("is_decoder", json!(1), "is_decoder is 1, expected false"),
    ] {
        let mut config = original.clone();
        config[field] = value;
        fs::write(dir.path().join("config.json"), config.to_string()).unwrap();
        let text = Base::open(dir.path(), None).err().unwrap().to_string();
        assert!(text.contains(said), "{field}: {text}");
    }
    // Deep JSON ends where the reader says so, not where the stack does.
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for name in ["config.json", "tokenizer.json", "tokenizer_config.json"] {
        let before = fs::read(dir.path().join(name));
        fs::write(dir.path().join(name), &deep).unwrap();
        let text = Base::open(dir.path(), None).err().unwrap().to_string();
        assert!(text.contains(name), "{text}");
        match before {
            Ok(_) if name == "config.json" => {
                fs::write(dir.path().join(name), original.to_string()).unwrap();
            }
            Ok(before) => fs::write(dir.path().join(name), before).unwrap(),
            Err(_) => fs::remove_file(dir.path().join(name)).unwrap(),
        }
    }
    assert!(Base::open(dir.path(), None).is_ok());
}
