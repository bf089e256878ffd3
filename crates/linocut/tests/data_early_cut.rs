//! Long texts are read as far as they are needed, and give the tokens of the whole.

#![allow(clippy::unwrap_used)] // clippy sees a test only in functions marked so

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use linocut::ErrorKind;
use linocut::data::{Extent, Long, Tokenizer};
use proptest::prelude::*;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokenizers::PostProcessor;
use tokenizers::utils::truncation::{TruncationDirection, TruncationParams, truncate_encodings};

/// The small tokenizer with `change` made to its JSON, in a folder of its own.
fn tiny(change: impl FnOnce(&mut Value)) -> TempDir {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/tiny/tokenizer.json");
    let mut json: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
    change(&mut json);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("tokenizer.json"), json.to_string()).unwrap();
    folder
}

fn add(json: &mut Value, tokens: &[(&str, Value)]) {
    let known = json["model"]["vocab"].as_object().unwrap().len();
    for (id, (content, more)) in (known..).zip(tokens) {
        let mut token = json!({"id": id, "content": content, "single_word": false,
            "lstrip": false, "rstrip": false, "normalized": true, "special": false});
        for (key, value) in more.as_object().unwrap() {
            token[key] = value.clone();
        }
        json["added_tokens"].as_array_mut().unwrap().push(token);
    }
}

fn left(json: &mut Value) {
    json["truncation"] = json!({"direction": "Left", "max_length": 9, "strategy": "LongestFirst",
        "stride": 0});
}

/// Those of [`folders`], as the library has them.
fn tokenizers() -> Vec<(TempDir, tokenizers::Tokenizer, TruncationDirection)> {
    let open = |folder: TempDir| {
        let path = folder.path().join("tokenizer.json");
        let mut inner = tokenizers::Tokenizer::from_file(path).unwrap();
        let direction = inner.get_truncation().map_or(TruncationDirection::Right, |t| t.direction);
        inner.with_truncation(None).unwrap();
        (folder, inner, direction)
    };
    folders().into_iter().map(open).collect()
}

/// Tokenizers of every kind that is cut early, and some that are not.
fn folders() -> Vec<TempDir> {
    let odd = |json: &mut Value| {
        let tokens = [
            ("eg.", json!({})),
            ("a.b", json!({"normalized": false})),
            ("[X]", json!({"lstrip": true, "rstrip": true})),
            ("Zz", json!({})),
            ("(", json!({"rstrip": true, "normalized": false})),
        ];
        add(json, &tokens);
    };
    vec![
        tiny(|_| {}),
        tiny(left),
        tiny(odd),
        tiny(|json| {
            odd(json);
            left(json);
        }),
        tiny(|json| json["normalizer"]["lowercase"] = json!(false)),
        tiny(|json| {
            json["normalizer"]["clean_text"] = json!(false);
            json["normalizer"]["handle_chinese_chars"] = json!(false);
        }),
        tiny(|json| add(json, &[("of", json!({"single_word": true}))])),
        tiny(|json| add(json, &[("the end", json!({})), ("漢", json!({}))])),
        tiny(|json| {
            json["post_processor"] = Value::Null;
            json["pre_tokenizer"] = json!({"type": "Whitespace"});
        }),
    ]
}

/// As the library that Transformers' fast tokenizers are made of cuts the whole: ids, types, whether
/// it was cut, and whether a text has no token. But for the overflow, which takes it minutes.
fn whole(
    inner: &tokenizers::Tokenizer,
    direction: TruncationDirection,
    text: &str,
    pair: Option<&str>,
    max_length: usize,
) -> (Vec<u32>, Vec<u32>, bool, bool) {
    let encode = |text: &str, segment: u32| {
        let mut encoding = inner.encode_fast(text, false).unwrap();
        encoding.set_type_ids(vec![segment; encoding.len()]);
        encoding
    };
    let (first, second) = (encode(text, 0), pair.map(|pair| encode(pair, 1)));
    let empty = first.is_empty() || second.as_ref().is_some_and(|second| second.is_empty());
    let processor = inner.get_post_processor();
    let max_length = max_length - processor.map_or(0, |p| p.added_tokens(pair.is_some()));
    let cut = first.len() + second.as_ref().map_or(0, |second| second.len()) > max_length;
    let params = TruncationParams { direction, max_length, ..Default::default() };
    let (mut first, mut second) = truncate_encodings(first, second, &params).unwrap();
    first.take_overflowing();
    second.iter_mut().for_each(|second| drop(second.take_overflowing()));
    let found = match processor {
        Some(processor) => processor.process(first, second, true).unwrap(),
        None => tokenizers::Encoding::merge([first].into_iter().chain(second), false),
    };
    (found.get_ids().to_vec(), found.get_type_ids().to_vec(), cut, empty)
}

/// Pieces of texts that tokenizers treat each in its own way.
fn text() -> impl Strategy<Value = String> {
    let pieces = [
        "rain",
        "the ",
        "e",
        " ",
        "\t",
        "\n",
        "\u{b}",
        "\u{85}",
        "\u{a0}",
        "\u{3000}",
        "\u{2028}",
        ".",
        ",",
        "?",
        "_",
        "-",
        "[",
        "]",
        "(",
        "[MASK]",
        "[SEP]",
        "[X]",
        "eg.",
        "EG.",
        "a.b",
        "zz",
        "of",
        "the end",
        "é",
        "e\u{301}",
        "\u{301}",
        "\u{323}",
        "\u{200b}",
        "\u{200d}",
        "\u{feff}",
        "\0",
        "\u{fffd}",
        "漢",
        "字",
        "\u{f900}",
        "\u{20000}",
        "。",
        "，",
        "\u{37e}",
        "“",
        "—",
        "🙂",
        "👩\u{200d}🚀",
        "İ",
        "ß",
        "ſ",
        "한",
        "ᄒ\u{1161}",
        "न\u{94d}",
        "\u{202e}",
        "xyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyzxyz",
    ];
    let piece = prop_oneof![
        8 => prop::sample::select(pieces.to_vec()).prop_map(String::from),
        1 => any::<char>().prop_map(String::from),
        // Floods of one piece.
        1 => (prop::sample::select(pieces.to_vec()), 1..300usize).prop_map(|(p, n)| p.repeat(n)),
    ];
    prop::collection::vec(piece, 0..120).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_is_read_of_a_text_equals_the_whole_cut(
        first in text(),
        second in prop::option::of(text()),
        lengths in prop::collection::vec(5usize..60, 1..4),
    ) {
        for (i, (folder, inner, direction)) in tokenizers().iter().enumerate() {
            let tokenizer = Tokenizer::open(folder.path()).unwrap();
            let extents: BTreeSet<Extent> = lengths.iter().map(|&length| length.into()).collect();
            let read = tokenizer.sequences(&first, second.as_deref(), &extents);
            for &length in &lengths {
                let (ids, types, cut, empty) =
                    whole(inner, *direction, &first, second.as_deref(), length);
                if empty {
                    prop_assert!(read.is_err());
                    continue;
                }
                let found = &read.as_ref().unwrap()[&length.into()][0];
                prop_assert_eq!(&found.ids, &ids, "tokenizer {}, {} tokens", i, length);
                prop_assert_eq!(&found.type_ids, &types, "tokenizer {}", i);
                prop_assert_eq!(found.cut, cut, "tokenizer {}", i);
                let alone = tokenizer.encode(&first, second.as_deref(), length).unwrap();
                prop_assert_eq!(&alone, found);
            }
        }
    }

    #[test]
    fn parts_of_a_text_are_those_of_the_whole(
        text in text(),
        lengths in prop::collection::vec(6usize..40, 1..3),
    ) {
        for (folder, inner, _) in &tokenizers() {
            let tokenizer = Tokenizer::open(folder.path()).unwrap();
            let (all, .., empty) =
                whole(inner, TruncationDirection::Right, &text, None, 1 << 20);
            if empty {
                continue;
            }
            // One of them knows no special tokens; the others put one before and one behind.
            let around = inner.get_post_processor().map_or(0, |p| p.added_tokens(false)) / 2;
            let own = &all[around..all.len() - around];
            let special = |ids: &[u32]| [&ids[..around], &ids[ids.len() - around..]].concat();
            let each = |long| lengths.iter().map(move |&n| Extent { max_length: n, long: Some(long) });
            let extents: BTreeSet<Extent> = Long::ALL.into_iter().flat_map(each).collect();
            let read = tokenizer.sequences(&text, None, &extents).unwrap();
            for (Extent { max_length, long }, sequences) in read {
                let room = max_length - 2 * around;
                let kept = own.len().min(room);
                let most = room + 7 * (room - room / 4);
                let windows = long == Some(Long::Windows);
                let cut = own.len() > if windows { most } else { room };
                prop_assert!(sequences.iter().all(|found| found.cut == cut));
                prop_assert!(sequences.iter().all(|found| special(&found.ids) == special(&all)));
                let found: Vec<&[u32]> = sequences
                    .iter()
                    .map(|found| &found.ids[around..found.ids.len() - around])
                    .collect();
                match long.unwrap() {
                    Long::Head => prop_assert_eq!(found, [&own[..kept]]),
                    Long::Tail => prop_assert_eq!(found, [&own[own.len() - kept..]]),
                    Long::HeadTail if own.len() > room => {
                        let first = room / 4;
                        let last = &own[own.len() - (room - first)..];
                        prop_assert_eq!(found, [&[&own[..first], last].concat()[..]]);
                    }
                    Long::HeadTail => prop_assert_eq!(found, [own]),
                    Long::Windows => {
                        let read = own.len().min(most);
                        let beyond = read.saturating_sub(room);
                        let (mut at, mut expected) = (0, vec![]);
                        while at < beyond {
                            expected.push(&own[at..at + room]);
                            at += room - room / 4;
                        }
                        expected.push(&own[beyond..read]);
                        prop_assert_eq!(found, expected);
                    }
                }
            }
        }
    }
}

/// Where one long text surely keeps a token more than another, and where both are as long.
#[test]
fn of_two_long_texts_the_longer_keeps_more() {
    let folder = tiny(|_| {});
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let rain = |n: usize| "rain ".repeat(n);
    for (one, two) in [(5000, 4999), (4999, 5000), (5000, 5000), (9000, 5000), (40, 9000)] {
        for (length, room) in [(20, 17), (21, 18)] {
            let found = tokenizer.encode(&rain(one), Some(&rain(two)), length).unwrap();
            let first = if one > two { room - room / 2 } else { room / 2 };
            let segments = found.type_ids.iter().filter(|&&segment| segment == 0).count();
            assert_eq!((found.ids.len(), segments - 2), (length, first), "{one}, {two}");
            assert!(found.cut);
        }
    }
}

#[test]
fn a_text_without_a_token_of_its_own_is_refused() {
    let folder = tiny(|_| {});
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    for text in ["", " \n", "\u{200b}\u{200d}", "\0", "\u{301}"] {
        for (text, pair) in [(text, None), ("rain", Some(text)), (text, Some("rain"))] {
            let error = tokenizer.encode(text, pair, 9).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains("nothing to label"), "{text:?}: {error}");
        }
    }
    let texts = ["rain", "sun", "\u{200b}"].map(String::from);
    let error = tokenizer.encode_all(&texts, None, 9).unwrap_err().to_string();
    assert!(error.starts_with("text 3 of 3: the tokenizer finds no token"), "{error}");
}

/// The tokenizers library panics where an added token is nothing after normalising, on characters of
/// several bytes.
#[test]
fn a_panic_of_the_library_is_an_error_of_its_text() {
    let folder = tiny(|json| add(json, &[("aaaa", json!({})), ("\u{200c}", json!({}))]));
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let texts = ["rain", "four £", "sun"].map(String::from);
    let error = tokenizer.encode(&texts[1], None, 9).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.to_string().starts_with("cannot tokenise \"four £\": "), "{error}");
    let error = tokenizer.encode_all(&texts, None, 9).unwrap_err().to_string();
    assert!(error.starts_with("text 2 of 3: cannot tokenise \"four £\""), "{error}");
    tokenizer.encode("rain", None, 9).unwrap();

    let folder = tiny(|json| {
        json["post_processor"]["pair"][0]["SpecialToken"]["id"] = json!("[NOPE]");
    });
    let tokenizer = Tokenizer::open(folder.path()).unwrap();
    let error = tokenizer.encode("rain", Some("sun"), 9).unwrap_err().to_string();
    assert!(error.contains("cannot add its special tokens to two texts"), "{error}");
    tokenizer.encode("rain", None, 9).unwrap();
}
