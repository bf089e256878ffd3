//! Tokenizers of folders with any files: the tokens of Transformers, or an error.

#![allow(clippy::unwrap_used)] // clippy sees a test only in functions marked so

use linocut::data::Tokenizer;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

fn testdata() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata")
}

/// A copy of a stored folder that may be changed.
fn copy(name: &str) -> TempDir {
    let to = tempfile::tempdir().unwrap();
    for file in fs::read_dir(testdata().join("tokenizers").join(name)).unwrap() {
        let file = file.unwrap();
        fs::copy(file.path(), to.path().join(file.file_name())).unwrap();
    }
    to
}

fn refusal(folder: &TempDir) -> String {
    Tokenizer::open(folder.path()).err().expect("an error").to_string()
}

#[test]
fn tokens_and_types_are_those_of_transformers() {
    let mut folders = 0;
    for folder in fs::read_dir(testdata().join("tokenizers")).unwrap() {
        let folder = folder.unwrap().path();
        let tokenizer = Tokenizer::open(&folder).unwrap();
        let stored = fs::read_to_string(folder.join("expected.jsonl")).unwrap();
        for line in stored.lines() {
            let (texts, ids, types): (Vec<String>, Vec<u32>, Vec<u32>) =
                serde_json::from_str(line).unwrap();
            let found =
                tokenizer.encode(&texts[0], texts.get(1).map(String::as_str), 1 << 12).unwrap();
            let place = folder.display();
            assert_eq!((found.ids, found.type_ids), (ids, types), "{place}: {texts:?}");
        }
        folders += 1;
    }
    assert_eq!(folders, 16);
}

/// What a class makes of a file otherwise is part of the identity; what it makes of it in other words is
/// not.
#[test]
fn the_identity_is_that_of_the_tokens() {
    let folder = tempfile::tempdir().unwrap();
    fs::copy(testdata().join("tiny/tokenizer.json"), folder.path().join("tokenizer.json")).unwrap();
    let open = |config: Value, settings: Value, change: &dyn Fn(&mut Value)| {
        let path = folder.path().join("tokenizer.json");
        let stored = fs::read(testdata().join("tiny/tokenizer.json")).unwrap();
        let mut json: Value = serde_json::from_slice(&stored).unwrap();
        change(&mut json);
        fs::write(path, json.to_string()).unwrap();
        fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
        fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        Tokenizer::open(folder.path()).unwrap().for_tables(99, 2, folder.path()).unwrap()
    };
    let bert = || json!({"model_type": "bert"});
    let same = |_: &mut Value| {};
    let plain = open(bert(), json!({}), &same).fingerprint();
    // Cut files name their tokenizer by this value: it may never change.
    let known = "87ac6db341554f785c71533296819cd4d7fd0befbdad0474425cc8b3f59490a5";
    assert_eq!(plain.to_string(), known);
    assert_eq!(open(json!({}), json!({}), &same).fingerprint(), plain);
    let stated = json!({"do_lower_case": true, "strip_accents": null, "do_basic_tokenize": false,
        "tokenizer_class": "BertTokenizerFast", "mask_token": "[MASK]"});
    assert_eq!(open(bert(), stated, &same).fingerprint(), plain);
    // The class decides, whatever the file has.
    let bare = |json: &mut Value| json["normalizer"]["lowercase"] = json!(false);
    assert_eq!(open(bert(), json!({}), &bare).fingerprint(), plain);
    let capitals = open(bert(), json!({"do_lower_case": false}), &same);
    assert_ne!(capitals.fingerprint(), plain);
    assert_eq!(
        open(bert(), json!({"do_lower_case": false}), &bare).fingerprint(),
        capitals.fingerprint()
    );
    // The generic class hands on no types, and only bases that have some can tell.
    let generic = json!({"tokenizer_class": "PreTrainedTokenizerFast"});
    let untyped = open(bert(), generic.clone(), &same);
    assert_ne!(untyped.fingerprint(), plain);
    let types = |tokenizer: &Tokenizer| tokenizer.encode("rain", Some("go"), 9).unwrap().type_ids;
    assert_eq!(types(&untyped), [0; 5]);
    let one_type = Tokenizer::open(folder.path()).unwrap().for_tables(99, 1, folder.path());
    assert_eq!(one_type.unwrap().fingerprint(), plain);
    let mut asked = generic;
    asked["model_input_names"] = json!(["input_ids", "token_type_ids"]);
    let asked = open(bert(), asked, &same);
    assert_eq!((asked.fingerprint(), types(&asked)), (plain, vec![0, 0, 0, 1, 1]));
}

#[test]
fn vocabularies_that_do_not_fit_are_refused_by_name() {
    // SentencePiece's format is not read.
    for (name, model) in [
        ("spiece.model", "albert"),
        ("sentencepiece.bpe.model", "xlm-roberta"),
        ("spm.model", "deberta-v2"),
        ("tokenizer.model", "bert"),
    ] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(name), "").unwrap();
        let config = json!({ "model_type": model }).to_string();
        fs::write(folder.path().join("config.json"), config).unwrap();
        let said = refusal(&folder);
        assert!(said.contains(name) && said.contains("save_pretrained('.')"), "{said}");
    }
    let folder = copy("words");
    fs::write(folder.path().join("config.json"), r#"{"model_type": "roberta"}"#).unwrap();
    let said = refusal(&folder);
    assert!(said.contains("has vocab.txt and no tokenizer.json"), "{said}");
    assert!(said.contains("RobertaTokenizer reads vocab.json and merges.txt"), "{said}");
    let folder = copy("bytes");
    let settings = r#"{"tokenizer_class": "PreTrainedTokenizerFast"}"#;
    fs::write(folder.path().join("tokenizer_config.json"), settings).unwrap();
    let said = refusal(&folder);
    assert!(said.contains("PreTrainedTokenizerFast reads tokenizer.json"), "{said}");
    let folder = copy("pieces");
    fs::write(folder.path().join("tokenizer_config.json"), "{}").unwrap();
    fs::write(folder.path().join("config.json"), r#"{"model_type": "bert"}"#).unwrap();
    let said = refusal(&folder);
    assert!(said.contains("model is Unigram, and BertTokenizer"), "{said}");
    assert!(said.contains("hint: if it is right as it stands"), "{said}");
}

#[test]
fn damaged_vocabularies_are_refused() {
    let folder = copy("words");
    let path = folder.path().join("vocab.txt");
    let words = fs::read(&path).unwrap();
    let with = |content: &[u8]| {
        fs::write(&path, content).unwrap();
        refusal(&folder)
    };
    let said = with(&[&words[..], b"\n[CLS]\n"].concat());
    assert!(said.contains("are both \"[CLS]\""), "{said}");
    let said = with(&[&words[..], b"\n\xff\xfe\n"].concat());
    assert!(said.contains("vocab.txt: not UTF-8 at byte"), "{said}");
    let text = String::from_utf8(words).unwrap();
    for token in ["[CLS]", "[SEP]", "[UNK]"] {
        let said = with(text.replace(&format!("{token}\n"), "").as_bytes());
        assert!(said.contains(&format!("has no line {token:?}")), "{said}");
    }
    assert!(with(b"").contains("has no line"));

    let folder = copy("bytes");
    let (vocab, merges) = (folder.path().join("vocab.json"), folder.path().join("merges.txt"));
    let kept = fs::read_to_string(&vocab).unwrap();
    let with = |tokens: &str, lines: &str| {
        fs::write(&vocab, tokens).unwrap();
        fs::write(&merges, lines).unwrap();
        refusal(&folder)
    };
    for (tokens, lines, said) in [
        ("{", "", "vocab.json is not JSON"),
        ("[]", "", "vocab.json: expected an object"),
        (r#"{"<s>": 0, "a": 0}"#, "", "\"<s>\" and \"a\" both have the number 0"),
        (r#"{"<s>": -1}"#, "", "\"<s>\" has the number -1"),
        (r#"{"<s>": 5000000000}"#, "", "\"<s>\" has the number 5000000000"),
        (&kept, "#version: 0.2\na b c", "merges.txt: line 2: \"a b c\", expected two tokens"),
        (&kept, "#version: 0.2\n\na b", "merges.txt: line 2: \"\", expected two tokens"),
        (&kept, "漢 字", "merges.txt: line 1: vocab.json has no token \"漢\""),
        (r#"{"a": 0}"#, "", "vocab.json: has no token \"<s>\", which texts need"),
    ] {
        let found = with(tokens, lines);
        assert!(found.contains(said), "{said}: {found}");
    }
    fs::write(&vocab, kept).unwrap();
    fs::remove_file(&merges).unwrap();
    assert!(refusal(&folder).contains("there is no merges.txt beside it"));

    let folder = copy("words");
    for (settings, said) in [
        (json!({"do_lower_case": "yes"}), "do_lower_case is \"yes\", expected true or false"),
        (json!({"truncation_side": "up"}), "truncation_side is \"up\""),
    ] {
        fs::write(folder.path().join("tokenizer_config.json"), settings.to_string()).unwrap();
        let found = refusal(&folder);
        assert!(found.contains(said), "{found}");
    }
}
