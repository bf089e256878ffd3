//! What training decides by rows that it does not learn from; and which part of long texts it reads.

use super::place::Place;
use insta::assert_snapshot;

const FEW: &str = "train --base base --method head --epochs 2 --batch 8";

/// As many rows as are asked for, four words each, in a file without dev rows.
fn place(rows: usize) -> Place {
    let place = Place::new();
    let task = place.text("topics/train.tsv");
    let lines: Vec<&str> = task.lines().skip(1).collect();
    let mut text = "text\tlabel\n".to_string();
    for i in 0..rows {
        let (words, label) = lines[i % lines.len()].split_once('\t').unwrap();
        text += &format!("{words} {i}\t{label}\n");
    }
    place.write("rows.tsv", text);
    place
}

#[test]
fn folds_hold_nothing_out() {
    let place = place(60);
    let folds = format!("{FEW} --train rows.tsv --folds 3");
    let shown = place.run(&format!("{folds} --out t.cut --fold-predictions folds.jsonl"));
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    accuracy # ± # in # folds, # rows together, mean and standard deviation; the most frequent label for all: #
    temperature #, fitted on # rows
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    rows: # rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    fold # of #
    fold # of #
    fold # of #
    "#);
    let card = place.run("inspect t.cut --json").json()["card"].clone();
    assert_eq!(
        (&card["training"]["rows"], &card["training"]["held_out_rows"]),
        (&60.into(), &0.into())
    );
    assert_eq!(card["training"]["folds"]["scores"].as_array().unwrap().len(), 3);
    assert!(card["decision"]["temperature"].is_number());
    let lines = place.text("folds.jsonl");
    let lines: Vec<serde_json::Value> =
        lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), 60);
    let first = lines[0].as_object().unwrap();
    let keys: Vec<&String> = first.keys().collect();
    assert_eq!(keys, ["row", "fold", "text", "truth", "label", "score", "scores"]);
    let right = lines.iter().filter(|line| line["truth"] == line["label"]).count();
    assert!((card["metrics"]["accuracy"].as_f64().unwrap() - right as f64 / 60.0).abs() < 1e-9);

    // Found before the work.
    let again = place.run(&format!("{folds} --out u.cut --fold-predictions folds.jsonl -q"));
    assert_snapshot!(again, @"
    exit 1
    --- stderr
    error: folds.jsonl exists already
    hint: give another --fold-predictions, or --force to replace it
    ");

    for options in ["--folds 1", "--folds 3 --calibrate 0.2", "--fold-predictions x"] {
        let shown = place.run(&format!("{FEW} --train rows.tsv {options} --out w.cut -q"));
        assert!(shown.to_string().starts_with("exit 2"), "{shown}");
    }
    assert_snapshot!(place.run(&format!("{FEW} --train rows.tsv --folds 21 --out w.cut -q")), @"
    exit 2
    --- stderr
    error: --folds is 21, expected 2 to 20
    ");
}

#[test]
fn thresholds_from_rows_held_out() {
    let place = place(300);
    let sure = format!("{FEW} --train rows.tsv --out t.cut --force");
    assert_snapshot!(place.run(&format!("{sure} --calibrate 0.2")).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    temperature #, fitted on # rows
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    rows: # rows, #% of them to fit what is answered, # dev rows held out, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    // What is not reached loses nothing but the threshold.
    let shown = place.run(&format!("{sure} --calibrate 0.3 --target-precision 0.97 -q"));
    assert_snapshot!(shown.stderr, @"
    error: precision 0.97 is not reached, at best 0.712
    hint: the cut is written and whole, without that threshold; ask for less, or train on more rows
    ");
    assert!(place.run("predict t.cut --base base apple --json").json()["label"].is_string());
    let shown = place.run(&format!("{sure} --target-precision 0.99"));
    assert_snapshot!(shown.rough(), @r#"
    exit 1
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    rows: # rows, #% of them to fit what is answered, # dev rows held out, # labels; head on base, # epochs
    # rows of each label
    error: rows: # rows to fit it on, expected at least #
    hint: fewer do not show whether a task is right so often; in training --folds # uses all rows, and --calibrate # holds out more
    "#);
    let shown = place.run(&format!("{sure} --target-precision 0.9 --calibrate 0"));
    assert_snapshot!(shown, @r#"
    exit 2
    --- stderr
    note: label column "label": 3 labels, one a row, since it holds texts; --problem says otherwise
    error: --calibrate is 0, and there is a target that thresholds are fitted for
    hint: leave one out
    "#);
}

#[test]
fn a_search() {
    let place = place(60);
    let shown = place.run(&format!("{FEW} --train rows.tsv --search 5m --out t.cut"));
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    best of # tried on # held-out rows: #, as it is
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    rows: # rows, # dev rows held out, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    tried as it is: #
    tried --head-lr #: #
    tried --head-lr #: #
    "#);
    assert_snapshot!(place.run(&format!("{FEW} --train rows.tsv --search soon --out t.cut")).stderr, @r#"
    error: invalid value 'soon' for '--search [<TIME>]': expected a time such as 45s, 90m, 2h or 1h30m, found "soon"

    For more information, try '--help'.
    "#);
}

#[test]
fn parts_of_long_texts() {
    let place = place(60);
    let long = format!("{FEW} --train rows.tsv --max-length 5 --force --out t.cut");
    assert_snapshot!(place.run(&format!("{long} --long windows")).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    rows: # rows, # dev rows held out, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most in windows that overlap; none is cut
    "#);
    assert_snapshot!(place.run("inspect t.cut").to_string().lines()
        .find(|line| line.starts_with("input")).unwrap(), @"
    input      at most 8 windows of 5 tokens (windows), cls pooling
    ");
    let shown = place.run_with("predict t.cut --base base", &[&"rain ".repeat(60)], b"");
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    travel #% █
    weather #% █
    food #% █
    --- stderr
    note: # text is longer than # windows of # tokens and was cut
    ");
    let export = place.run("export t.cut --base base --out hf");
    assert_snapshot!(export.rough(), @"
    exit 0
    --- stdout
    hf: BertForSequenceClassification, # KB
    The task reads a longer text in overlapping windows and averages their logits; Transformers cuts such texts at #
    ");
    place.run(&format!("{long} --long tail -q"));
    place.run("export t.cut --base base --out tail");
    let settings: serde_json::Value =
        serde_json::from_slice(&place.read("tail/tokenizer_config.json")).unwrap();
    assert_eq!(
        (&settings["truncation_side"], &settings["model_max_length"]),
        (&"left".into(), &5.into())
    );
    let pairs = format!("{FEW} --train rows.tsv --text text --text-pair label --label label");
    let shown = place.run(&format!("{pairs} --long windows --out p.cut -q"));
    assert!(shown.stderr.starts_with("error:"), "{shown}");
}
