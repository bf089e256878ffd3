//! What people get wrong: each a message that says what was found and what to do.

use super::place::{Place, Shown};
use insta::assert_snapshot;

/// Trains on `train.tsv` of this content, which must fail and write nothing.
fn train_on(content: &str) -> Shown {
    let place = Place::new();
    place.write("train.tsv", content);
    let shown = place.run("train --base base --train train.tsv --method head --out t.cut");
    assert_eq!(place.names(), ["base", "topics", "train.tsv"]);
    shown
}

#[test]
fn rows() {
    assert_snapshot!(train_on("sentence\tkind\nrain\twet\n"), @r#"
    exit 1
    --- stderr
    error: train.tsv: no label column was named, and none of label, labels, class, category, intent, target, score is present; its columns are "sentence", "kind"
    hint: name the label column: --label; if the first line is a row, put a line of names before it
    "#);
    assert_snapshot!(train_on("text\tlabel\nrain\twet\nsnow\t\nsun\tdry\n"), @r#"
    exit 1
    --- stderr
    error: train.tsv, line 3: no value in label column "label" (1 of 3 rows)
    hint: remove the rows without a label, or give them one
    "#);
    assert_snapshot!(train_on("text\tlabel\nrain\twet\n \twet\nsun\tdry\n"), @r#"
    exit 1
    --- stderr
    note: label column "label": 2 labels, one a row, since it holds texts; --problem says otherwise
    error: train.tsv, line 3: column "text" holds no text (1 of 3 rows)
    hint: remove the rows without text
    "#);
    assert_snapshot!(train_on("text\tlabel\nrain\twet\nsnow\n"), @"
    exit 1
    --- stderr
    error: train.tsv, line 3: expected 2 cells, as the header has, found 1
    hint: cells are separated by tabs and cannot hold one; nothing is quoted (--quotes csv if it is)
    ");
    assert_snapshot!(train_on("text\tlabel\nrain\twet\nsnow\twet\n"), @r#"
    exit 1
    --- stderr
    note: label column "label": 1 label, one a row, since it holds texts; --problem says otherwise
    error: train.tsv: all 2 rows have the label "wet" in column "label", so there is nothing to learn
    "#);
}

#[test]
fn a_file_that_is_not_utf8() {
    let place = Place::trained();
    place.write("latin1.tsv", b"text\tlabel\nrain\twet\ncaf\xe9\tdry\n");
    let shown = place.run("train --base base --train latin1.tsv --method head --out t.cut");
    assert_snapshot!(shown, @"
    exit 1
    --- stderr
    error: latin1.tsv, line 3: byte 4 is 0xe9, which is not UTF-8
    hint: if the file is Latin-1, convert it with: iconv -f LATIN1 -t UTF-8
    ");
    let shown = place.run_with("predict topics.cut --base base", &[], b"rain\ncaf\xe9\nsun\n");
    assert_snapshot!(shown.stderr, @"
    error: standard input, line 2: byte 4 is 0xe9, which is not UTF-8
    hint: if the text is Latin-1, convert it with: iconv -f LATIN1 -t UTF-8
    ");
    assert_eq!(shown.stdout.lines().count(), 1);
}

#[test]
fn a_column_that_is_not_there() {
    let place = Place::trained();
    let train = "train --base base --train topics/train.tsv --text body --label label --out t.cut";
    assert_snapshot!(place.run(train), @r#"
    exit 1
    --- stderr
    error: topics/train.tsv has no column "body"; its columns are "sentence1", "label"
    "#);
    assert_snapshot!(place.run("eval topics.cut --base base --data topics/dev.tsv --label kind"), @r#"
    exit 1
    --- stderr
    error: topics/dev.tsv has no column "kind"; its columns are "sentence1", "label"
    "#);
    assert_snapshot!(place.run("predict topics.cut --base base --in topics/dev.tsv --text x"), @r#"
    exit 1
    --- stderr
    error: topics/dev.tsv has no column "x"; its columns are "sentence1", "label"
    "#);
}

#[test]
fn a_label_unseen_in_training() {
    let place = Place::trained();
    place.edit("topics/dev.tsv", "\tweather", "\tWeather");
    assert_snapshot!(place.run("eval topics.cut --base base --task topics"), @r#"
    exit 1
    --- stderr
    error: topics/dev.tsv, line 4: label "Weather" is not among the 3 labels of the training rows
    hint: the nearest known are "weather", "travel", "food"; --other LABEL counts labels not among them as that one
    "#);
    let shown = place.run("train --base base --task topics --method head --out t.cut");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    error: topics/dev.tsv, line 4: label "Weather" is not among the 3 labels of the training rows
    hint: the nearest known are "weather", "travel", "food"; --other LABEL counts labels not among them as that one
    "#);
}

#[test]
fn empty_texts() {
    let place = Place::trained();
    assert_snapshot!(place.run_with("predict topics.cut --base base", &[" "], b""), @"
    exit 1
    --- stderr
    error: TEXT is empty
    hint: there is nothing to label in an empty text
    ");
    let shown = place.run_with("predict topics.cut --base base", &[], b"rain\tand\tsun\n");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    error: standard input, line 1: the task "topics" takes 1 text a line, found 3
    hint: every line is one text; choose a column of a table with: cut -f, or use --in
    "#);
    place.write("in.tsv", "text\nrain\n\nsun\n");
    assert_snapshot!(place.run("predict topics.cut --base base --in in.tsv"), @r#"
    exit 1
    --- stderr
    error: in.tsv, line 3: column "text" holds no text (1 of 3 rows)
    hint: remove the rows without text
    "#);
    let shown = place.run_with("predict topics.cut --base base", &["rain", "sun"], b"");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    error: the command line: the task "topics" takes one text, found a pair of texts
    hint: give TEXT and PAIR for a task on pairs, TEXT alone for any other
    "#);
}

#[test]
fn texts_that_are_all_the_same() {
    let shown = train_on(&format!("text\tlabel\n{}", "rain\twet\nrain\tdry\n".repeat(20)));
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    note: label column "label": 2 labels, one a row, since it holds texts; --problem says otherwise
    error: all 40 rows of train have the same text, so none can be held out
    hint: give rows of other texts, or a file of rows to evaluate on
    "#);
}

#[test]
fn an_output_that_exists() {
    let place = Place::trained();
    let before = place.read("topics.cut");
    let train = "train --base base --task topics --method head --epochs 1 --out topics.cut";
    assert_snapshot!(place.run(train), @"
    exit 1
    --- stderr
    error: topics.cut exists already
    hint: give another --out, or --force to replace it
    ");
    assert_eq!(place.read("topics.cut"), before);
    assert_snapshot!(place.run(&format!("{train} --force --quiet")).rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    topics.cut: # KB (# KB without the head); the base is # KB
    ");
    assert_ne!(place.read("topics.cut"), before);
    let elsewhere = "train --base base --task topics --method head --epochs 1 --out no/t.cut";
    assert_snapshot!(place.run(elsewhere), @"
    exit 1
    --- stderr
    error: no: no such folder
    hint: mkdir -p no
    ");
}

#[test]
fn another_base() {
    let place = Place::trained();
    place.edit("base/config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 4");
    assert_snapshot!(place.run_with("predict topics.cut --base base", &["rain"], b""), @r#"
    exit 1
    --- stderr
    error: the cut "topics" belongs to the base "base" with fingerprint 2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9, found "base" with b35df3da5a6ee9467cd533c812ea156c7bd1c2ca10b5e977f96aecb1b86c9102
    hint: use the very base folder that the cut was trained on, its config.json included
    "#);
    assert_snapshot!(place.run("eval topics.cut --base base --task topics").stderr, @r#"
    error: the cut "topics" belongs to the base "base" with fingerprint 2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9, found "base" with b35df3da5a6ee9467cd533c812ea156c7bd1c2ca10b5e977f96aecb1b86c9102
    hint: use the very base folder that the cut was trained on, its config.json included
    "#);
    assert_snapshot!(place.run("export topics.cut --base base --out hf").stderr, @r#"
    error: the cut "topics" belongs to the base "base" with fingerprint 2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9, found "base" with b35df3da5a6ee9467cd533c812ea156c7bd1c2ca10b5e977f96aecb1b86c9102
    hint: use the very base folder that the cut was trained on, its config.json included
    "#);
    assert_snapshot!(place.run("verify topics.cut --base base"), @r#"
    exit 1
    --- stdout
    FAILED  topics.cut: the cut "topics" belongs to the base "base" with fingerprint 2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9, found "base" with b35df3da5a6ee9467cd533c812ea156c7bd1c2ca10b5e977f96aecb1b86c9102; use the very base folder that the cut was trained on, its config.json included
    --- stderr
    error: 1 of 1 cuts failed
    "#);
    assert!(!place.path("hf").exists());
}

#[test]
fn another_tokenizer() {
    let place = Place::trained();
    place.edit("base/tokenizer.json", "\"rain\"", "\"rein\"");
    assert_snapshot!(place.run_with("predict topics.cut --base base", &["rain"], b""), @r#"
    exit 1
    --- stderr
    error: the cut "topics" was made with the tokenizer of fingerprint 87ac6db341554f785c71533296819cd4d7fd0befbdad0474425cc8b3f59490a5, found cbd6b587bd6ec7ccebbefc0a68711d6cd8553fa152cf2ab31185196a31969de1
    hint: use the tokenizer.json of the base that the cut was trained on
    "#);
    // Of files beside it, too, and then it is said that they were not read before.
    place.edit("base/tokenizer.json", "\"rein\"", "\"rain\"");
    place.write("base/tokenizer_config.json", r#"{"do_lower_case": false}"#);
    assert_snapshot!(place.run_with("predict topics.cut --base base", &["rain"], b""), @r#"
    exit 1
    --- stderr
    error: the cut "topics" was made with tokenizer.json as it stands; with the files beside it Transformers makes something else of its normalizer, and so does linocut now
    hint: train the cut anew; or, to have tokenizer.json as it stands, write "tokenizer_class": "PreTrainedTokenizerFast" and "model_input_names": ["input_ids", "token_type_ids", "attention_mask"] into tokenizer_config.json
    "#);
    // The hint holds, and texts alone need no types.
    place.write(
        "base/tokenizer_config.json",
        r#"{"do_lower_case": false, "tokenizer_class": "PreTrainedTokenizerFast"}"#,
    );
    let shown = place.run_with("predict topics.cut --base base", &["rain"], b"");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
}

#[test]
fn a_damaged_cut() {
    let place = Place::trained();
    let mut bytes = place.read("topics.cut");
    bytes[700] ^= 4;
    place.write("topics.cut", bytes);
    assert_snapshot!(place.run_with("predict topics.cut --base base", &["rain"], b""), @"
    exit 1
    --- stderr
    error: topics.cut: not a whole and unaltered cut: the last 32 of its 81738 bytes are not the digest of those before
    hint: the file was cut short, changed, or is something else; copy it again from where it was made
    ");
    assert_snapshot!(place.run("inspect topics.cut").stderr, @"
    error: topics.cut: not a whole and unaltered cut: the last 32 of its 81738 bytes are not the digest of those before
    hint: the file was cut short, changed, or is something else; copy it again from where it was made
    ");
}

#[test]
fn folders_that_are_no_base() {
    let place = Place::trained();
    let eval = "eval topics.cut --task topics --base";
    assert_snapshot!(place.run(&format!("{eval} topics")), @"
    exit 1
    --- stderr
    error: topics has no config.json
    hint: a base is a Hugging Face model folder with config.json, model.safetensors and tokenizer.json
    ");
    assert_snapshot!(place.run(&format!("{eval} ./nowhere")), @"
    exit 1
    --- stderr
    error: --base ./nowhere: no such folder, and no hub name (owner/name)
    hint: expected a Hugging Face folder with config.json, model.safetensors and tokenizer.json; `make base` puts one into models/all-minilm-l6-v2
    ");
    assert_snapshot!(place.run(&format!("{eval} topics.cut")), @"
    exit 1
    --- stderr
    error: --base topics.cut: a file, expected a folder
    hint: expected a Hugging Face folder with config.json, model.safetensors and tokenizer.json; `make base` puts one into models/all-minilm-l6-v2
    ");
    assert_snapshot!(place.run("eval topics.cut --task topics"), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --base <DIR|NAME>

    Usage: linocut eval --base <DIR|NAME> <--task <DIR>|--data <FILE>> <CUT>

    For more information, try '--help'.
    ");

    place.edit("base/config.json", "\"model_type\": \"bert\"", "\"model_type\": \"deberta\"");
    assert_snapshot!(place.run(&format!("{eval} base")), @r#"
    exit 1
    --- stderr
    error: base/config.json: model_type "deberta" is not known: expected one of bert, roberta, xlm-roberta, camembert, distilbert, electra, mpnet, albert, modernbert, deberta-v2, nomic_bert
    hint: the nearest is deberta-v2
    "#);
    place.edit("base/config.json", "\"model_type\": \"deberta\"", "\"model_type\": \"bert\"");
    let weights = place.read("base/model.safetensors");
    place.write("base/model.safetensors", &weights[..weights.len() - 1]);
    assert_snapshot!(place.run(&format!("{eval} base")), @"
    exit 1
    --- stderr
    error: base/model.safetensors (141455 bytes) is not a whole safetensors file: incomplete metadata, file not fully covered
    hint: the file is damaged or its download was cut short; download it again
    ");
    std::fs::remove_file(place.path("base/model.safetensors")).unwrap();
    assert_snapshot!(place.run(&format!("{eval} base")), @"
    exit 1
    --- stderr
    error: base has no model.safetensors
    hint: weights are read from model.safetensors, or from the shards that model.safetensors.index.json names
    ");
    place.write("base/model.safetensors", &weights);
    std::fs::remove_file(place.path("base/tokenizer.json")).unwrap();
    assert_snapshot!(place.run(&format!("{eval} base")), @r#"
    exit 1
    --- stderr
    error: base has no tokenizer.json, and no vocabulary in its place
    hint: write tokenizer.json with Transformers: python -c "from transformers import AutoTokenizer; AutoTokenizer.from_pretrained('.').save_pretrained('.')"
    "#);
}

#[test]
fn weights_that_are_not_finite() {
    let place = Place::new();
    let mut weights = place.read("base/model.safetensors");
    let last = weights.len() - 4;
    weights[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    place.write("base/model.safetensors", weights);
    let shown = place.run("train --base base --task topics --method head --out t.cut");
    assert_snapshot!(shown, @"
    exit 1
    --- stderr
    error: tensor pooler.dense.weight of base: 1 of 1296 values are not finite (NaN or infinite)
    hint: the file is damaged, or training diverged before it was saved
    ");
}

/// Devices, folders and places that take no file are refused at once, and stay as they are.
#[test]
#[cfg(unix)]
fn places_that_cannot_be_written() {
    let place = Place::trained();
    for line in [
        "train --base base --task topics --out",
        "pack --base base --tuned base --out",
        "measure base topics.cut --report",
    ] {
        let option = line.rsplit(' ').next().unwrap();
        for (out, found) in [
            ("/dev/null", "a device or pipe"),
            ("/dev/stdout", "a device or pipe"),
            ("topics", "a folder"),
        ] {
            let shown = place.run(&format!("{line} {out} --force"));
            let error = format!("error: {option} {out} is {found}, expected a file to write\n");
            assert!(shown.stderr.starts_with(&error) && shown.stdout.is_empty(), "{shown}");
        }
        #[cfg(target_os = "linux")]
        {
            let shown = place.run(&format!("{line} /sys/kernel/x.cut"));
            let error = "error: cannot write /sys/kernel/x.cut: ";
            assert!(shown.stderr.starts_with(error) && shown.stdout.is_empty(), "{shown}");
        }
    }
    #[cfg(target_os = "linux")]
    for line in [
        "export topics.cut --base base --out /sys/kernel/x",
        "predict topics.cut --base base --in topics/dev.tsv --out /sys/kernel/x.tsv",
        "study --base base --task topics --out /sys/kernel/x",
    ] {
        let shown = place.run(line);
        assert!(shown.stderr.contains("error: cannot ") && shown.stdout.is_empty(), "{shown}");
    }
    assert!(!std::fs::metadata("/dev/null").unwrap().is_file());
    assert_eq!(place.names(), ["base", "topics", "topics.cut"]);
}

/// What files say of themselves moves no cursor, sets no title and turns no writing around.
#[test]
fn names_and_labels_are_escaped() {
    let place = Place::new();
    let evil = "\u{1b}]0;owned\u{7}\u{1b}[2Ja\u{202e}b\u{9b}31m";
    let rows: String = (0..24)
        .map(|i| format!("word{i} and rain\t{}\n", if i % 2 == 0 { evil } else { "plain" }))
        .collect();
    place.write("rows.tsv", format!("text\tlabel\n{rows}"));
    let train = "train --base base --train rows.tsv --dev rows.tsv --method head --epochs 1";
    let mut shown = vec![place.run_with(
        &format!("{train} --out t.cut"),
        &["--name", &format!("task{evil}")],
        b"",
    )];
    assert!(shown[0].to_string().starts_with("exit 0"), "{}", shown[0]);
    for line in [
        "inspect t.cut",
        "inspect t.cut --json",
        "verify t.cut --base base",
        "eval t.cut --base base --data rows.tsv",
        "measure base t.cut",
        "train --base base --train rows.tsv --text nowhere --label label --out u.cut",
    ] {
        shown.push(place.run(line));
    }
    shown.push(place.run_with("predict t.cut --base base", &["rain"], b""));
    shown.push(place.run_with("predict", &[&format!("no{evil}.cut"), "--base", "base", "x"], b""));
    shown.push(place.run_with(
        "train --base base --out u.cut --task",
        &[&format!("no{evil}")],
        b"",
    ));
    for shown in shown {
        let all = format!("{}{}", shown.stdout, shown.stderr);
        let obeyed = |c: char| c.is_control() && c != '\n' || c == '\u{202e}';
        assert!(!all.contains(obeyed), "{all:?}");
    }
}
