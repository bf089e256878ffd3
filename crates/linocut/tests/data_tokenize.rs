//! Tokens, packed batches and the order of an epoch.

#![allow(clippy::unwrap_used)] // clippy sees a test only in functions marked so

use std::fs;
use std::path::{Path, PathBuf};

use linocut::data::{Batch, Encoding, Tokenizer, epoch_order};
use serde_json::{Value, json};
use tempfile::TempDir;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// The base that `make base` fetches, as `make test` does first.
fn base() -> PathBuf {
    let folder = root().join("models/all-minilm-l6-v2");
    assert!(folder.exists(), "{} is missing: run `make base`", folder.display());
    folder
}

fn words(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|v| v.as_u64().unwrap() as u32).collect()
}

#[test]
fn tokens_equal_those_of_transformers() {
    let tokenizer = Tokenizer::open(&base()).unwrap();
    let stored = fs::read(root().join("testdata/data/tokenizer.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&stored).unwrap();
    assert!(cases.len() > 50);
    for case in cases {
        let length = case["max_length"].as_u64().unwrap() as usize;
        let found = tokenizer.encode(case["text"].as_str().unwrap(), case["pair"].as_str(), length);
        let expected = Encoding {
            ids: words(&case["ids"]),
            type_ids: words(&case["type_ids"]),
            cut: case["cut"].as_bool().unwrap(),
        };
        assert_eq!(found.unwrap(), expected, "{case}");
    }
    assert_eq!(tokenizer.vocab_size(), 30522);
}

#[test]
fn many_texts_keep_their_order_and_count_the_cut() {
    let tokenizer = Tokenizer::open(&base()).unwrap();
    let texts: Vec<String> = (0..500).map(|i| format!("number {i} {}", "on ".repeat(i))).collect();
    let found = tokenizer.encode_all(&texts, None, 32).unwrap();
    let (all, cut) = (found.sequences, found.cut);
    for (i, encoding) in all.iter().enumerate() {
        assert_eq!(encoding, &tokenizer.encode(&texts[i], None, 32).unwrap());
    }
    // [CLS] number <i> on × i [SEP], where i itself is one token or more.
    assert_eq!(cut, all.iter().filter(|e| e.cut).count());
    assert!(!all[28].cut && all[29].cut && cut == 500 - 29, "{cut}");
    let pairs = tokenizer.encode_all(&texts[..9], Some(&texts[1..10]), 32).unwrap().sequences;
    assert_eq!(pairs[3], tokenizer.encode(&texts[3], Some(&texts[4]), 32).unwrap());
}

#[test]
fn a_length_without_room_for_text_is_refused() {
    let tokenizer = Tokenizer::open(&base()).unwrap();
    let error = tokenizer.encode("a", None, 2).unwrap_err().to_string();
    assert!(error.contains("2 leaves no room for text: expected at least 3"), "{error}");
    let error = tokenizer.encode("a", Some("b"), 4).unwrap_err().to_string();
    assert!(error.contains("4 leaves no room for two texts: expected at least 5"), "{error}");
    assert_eq!(tokenizer.encode("a b", None, 3).unwrap().ids.len(), 3);
}

#[test]
fn the_fingerprint_ignores_truncation_padding_and_key_order() {
    let original: Value =
        serde_json::from_slice(&fs::read(base().join("tokenizer.json")).unwrap()).unwrap();
    let expected = Tokenizer::open(&base()).unwrap().fingerprint();
    let dir = tempfile::tempdir().unwrap();
    let fingerprint = |json: &Value| {
        fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
        Tokenizer::open(dir.path()).unwrap().fingerprint()
    };
    let mut same = original.clone();
    same["truncation"] = Value::Null;
    same["padding"] = Value::Null;
    let first = same.as_object_mut().unwrap().shift_remove("version").unwrap();
    same["version"] = first; // moved from the front to the end
    assert_eq!(fingerprint(&same), expected);
    let mut other = original;
    other["normalizer"]["lowercase"] = Value::Bool(false);
    assert_ne!(fingerprint(&other), expected);
}

#[test]
fn a_missing_or_malformed_tokenizer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = Tokenizer::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("has no tokenizer.json") && error.contains("AutoTokenizer"), "{error}");
    fs::write(dir.path().join("tokenizer.json"), "{\"model\": 3}").unwrap();
    let error = Tokenizer::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("tokenizer.json is not a tokenizer"), "{error}");
}

/// The tiny tokenizer of 99 tokens with its JSON changed, and settings beside it.
fn tiny(settings: Option<Value>, change: impl FnOnce(&mut Value)) -> TempDir {
    let stored = fs::read(root().join("testdata/tiny/tokenizer.json")).unwrap();
    let mut json: Value = serde_json::from_slice(&stored).unwrap();
    change(&mut json);
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("tokenizer.json"), json.to_string()).unwrap();
    if let Some(settings) = settings {
        fs::write(dir.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
    }
    dir
}

#[test]
fn the_side_that_is_cut_is_part_of_the_identity() {
    let open = |settings: Option<Value>, side: Option<&str>| {
        let dir = tiny(settings, |json| {
            if let Some(side) = side {
                json["truncation"] = json!({"direction": side, "max_length": 9,
                    "strategy": "LongestFirst", "stride": 0});
            }
        });
        let tokenizer = Tokenizer::open(dir.path()).unwrap();
        let cut = tokenizer.encode("the road to soup", None, 4).unwrap().ids;
        (tokenizer.fingerprint(), cut)
    };
    let (right, left) = ([2, 29, 15, 3], [2, 30, 7, 3]);
    let plain = open(None, None);
    // Cut files name their tokenizer by this value: it may never change.
    assert_eq!(
        plain.0.to_string(),
        "87ac6db341554f785c71533296819cd4d7fd0befbdad0474425cc8b3f59490a5"
    );
    assert_eq!(plain.1, right);
    assert_eq!(open(None, Some("Right")), plain);
    let turned = open(None, Some("Left"));
    assert_eq!(turned.1, left);
    assert_ne!(turned.0, plain.0);
    // As Transformers has it, tokenizer_config.json goes first.
    let settings = |side: &str| Some(json!({"truncation_side": side}));
    assert_eq!(open(settings("left"), None), turned);
    assert_eq!(open(settings("right"), Some("Left")), plain);
    let dir = tiny(settings("both"), |_| {});
    let error = Tokenizer::open(dir.path()).err().unwrap().to_string();
    assert!(error.contains("truncation_side is \"both\", expected left or right"), "{error}");
}

#[test]
fn ids_and_types_without_a_row_are_refused() {
    let open = |rows: usize, types: usize, change: fn(&mut Value)| {
        let dir = tiny(None, change);
        Tokenizer::open(dir.path()).unwrap().for_tables(rows, types, dir.path())
    };
    let error = |opened: linocut::Result<Tokenizer>| opened.err().unwrap().to_string();
    assert!(open(99, 2, |_| {}).is_ok());
    let text = error(open(98, 2, |_| {}));
    assert!(text.contains("gives \"##z\" the id 98, expected less than 98"), "{text}");
    // As many tokens as rows, but with a gap.
    let text = error(open(99, 2, |json| json["model"]["vocab"]["rain"] = json!(4000)));
    assert!(text.contains("gives \"rain\" the id 4000, expected less than 99"), "{text}");
    let text = error(open(99, 2, |json| {
        json["post_processor"]["special_tokens"]["[SEP]"]["ids"] = json!([99]);
    }));
    assert!(text.contains("the id 99, expected less than 99"), "{text}");
    // One token type: texts alone work, a pair is refused.
    let one = open(99, 1, |_| {}).unwrap();
    assert_eq!(one.encode("soup", None, 9).unwrap().type_ids, [0, 0, 0]);
    let text = one.encode("soup", Some("rice"), 9).unwrap_err().to_string();
    assert!(text.contains("the token type 1, expected less than 1"), "{text}");
    assert!(text.ends_with("hint: this base takes texts alone, no pairs"), "{text}");
}

#[test]
fn templates_that_cannot_work_are_refused_when_opened() {
    let error = |change: fn(&mut Value)| {
        let dir = tiny(None, change);
        Tokenizer::open(dir.path()).err().unwrap().to_string()
    };
    let text = error(|json| {
        let tokens = json["post_processor"]["special_tokens"].as_object_mut().unwrap();
        tokens.remove("[SEP]");
    });
    assert!(text.contains("tokenizer.json is not a tokenizer"), "{text}");
    assert!(text.contains("template for single has the token \"[SEP]\""), "{text}");
    let text = error(|json| json["post_processor"]["single"][1]["Sequence"]["id"] = json!("B"));
    assert!(text.contains("template for single has the texts [\"B\"], expected [\"A\"]"), "{text}");
    let text = error(|json| drop(json["post_processor"]["pair"].as_array_mut().unwrap().remove(3)));
    assert!(text.contains("template for pair has the texts [\"A\"]"), "{text}");
    // Below a sequence of processors, too.
    let text = error(|json| {
        let mut template = json["post_processor"].take();
        template["special_tokens"] = json!({});
        json["post_processor"] = json!({"type": "Sequence", "processors": [template]});
    });
    assert!(text.contains("has the token \"[CLS]\""), "{text}");
}

#[test]
fn a_batch_is_packed_without_padding() {
    let encoding = |ids: &[u32]| Encoding {
        ids: ids.to_vec(),
        type_ids: vec![ids.len() as u32 % 2; ids.len()],
        cut: false,
    };
    let batch = Batch::from_encodings(&[encoding(&[1, 2, 3]), encoding(&[4]), encoding(&[5, 6])]);
    assert_eq!(batch.ids, [1, 2, 3, 4, 5, 6]);
    assert_eq!(batch.type_ids, [1, 1, 1, 1, 0, 0]);
    assert_eq!(batch.offsets, [0, 3, 4, 6]);
    assert_eq!((batch.tokens(), batch.sequences(), batch.range(2)), (6, 3, 4..6));
    assert_eq!(Batch::from_encodings(&[]).offsets, [0]);
}

/// Training with a seed means this order: it may never change.
#[test]
fn the_order_of_an_epoch_is_fixed_for_ever() {
    assert_eq!(epoch_order(10, 0, 0), [1, 2, 5, 7, 0, 8, 4, 3, 9, 6]);
    assert_eq!(epoch_order(10, 1, 2), [6, 3, 1, 8, 0, 5, 4, 2, 9, 7]);
    assert_ne!(epoch_order(100, 1, 2), epoch_order(100, 2, 1));
    assert_ne!(epoch_order(100, 1, 2), epoch_order(100, 1, 3));
    for rows in [0, 1, 2, 1000] {
        let mut order = epoch_order(rows, 7, 3);
        order.sort_unstable();
        assert!(order.into_iter().eq(0..rows as u32));
    }
    // Every row comes first about equally often: 400 of 2000, five standard deviations = 90.
    let mut first = [0; 5];
    (0..2000).for_each(|epoch| first[epoch_order(5, 42, epoch)[0] as usize] += 1);
    assert!(first.iter().all(|n| (310..490).contains(n)), "{first:?}");
}
