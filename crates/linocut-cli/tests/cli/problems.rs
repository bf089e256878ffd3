//! Pairs, several labels, numbers, and quoted CSV: trained, scored and predicted.

use super::place::{Place, rough};
use insta::assert_snapshot;

#[test]
fn pairs_of_texts() {
    let place = Place::new();
    let mut rows = String::from("sentence1\tsentence2\tlabel\n");
    for i in 0..24 {
        let (a, b) = (["rain", "soup", "map"][i % 3], ["snow", "bread"][i % 2]);
        rows += &format!("the {a}\tthe {b}\t{}\n", ["no", "yes"][i % 2]);
    }
    place.write("pairs.tsv", rows);
    let files = "--train pairs.tsv --dev pairs.tsv --method head --epochs 2 --out p.cut";
    assert_snapshot!(place.run(&format!("train --base base {files}")).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    p.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    warning: pairs.tsv is the training file itself: its score says what was learned by heart
    pairs: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    let shown = place.run_with("predict p.cut --base base --top 1", &["the rain", "the snow"], b"");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let shown = place.run_with("predict p.cut --base base", &["the rain"], b"");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    error: the command line: the task "pairs" takes a pair of texts, found one text
    hint: give TEXT and PAIR for a task on pairs, TEXT alone for any other
    "#);
    let shown = place.run_with("predict p.cut --base base", &[], b"rain\tsnow\nrain\n");
    assert_snapshot!(shown.stderr, @r#"
    error: standard input, line 2: the task "pairs" takes 2 texts a line, found 1
    hint: the two texts of a pair are separated by one tab
    "#);
    assert_eq!(shown.stdout.lines().count(), 1);
    let shown = place.run_with("predict p.cut --base base", &[], b"rain\t \n");
    assert_snapshot!(shown, @"
    exit 0
    --- stdout

    --- stderr
    note: 1 line with an empty text got no label
    ");
    let shown = place.run("predict p.cut --base base --in topics/dev.tsv");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    error: topics/dev.tsv: the task "pairs" takes a pair of texts, found one text
    hint: name the columns: --text and --text-pair
    "#);
    let shown = place.run("eval p.cut --base base --data pairs.tsv --text sentence1");
    assert_snapshot!(shown, @r#"
    exit 1
    --- stderr
    error: pairs.tsv: the task "pairs" takes a pair of texts, found one text
    hint: name the columns: --text and --text-pair
    "#);
}

#[test]
fn several_labels() {
    let place = Place::new();
    let mut rows = String::new();
    for i in 0..24 {
        let labels = [r#"["wet"]"#, r#"["wet","cold"]"#, "[]"][i % 3];
        let text = ["rain", "snow", "bread"][i % 3];
        rows += &format!("{{\"text\": \"{text} {i}\", \"labels\": {labels}}}\n");
    }
    place.write("many.jsonl", rows);
    let options = "--method full --lr 2e-3 --head-lr 1e-2 --epochs 40 --batch 8 --out m.cut";
    let files = "--train many.jsonl --dev many.jsonl";
    assert_snapshot!(place.run(&format!("train --base base {files} {options}")).rough(), @r#"
    exit 0
    --- stdout
    f1 micro # on # dev rows
    m.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "labels": # labels, any number a row, since it holds lists; --problem says otherwise
    warning: many.jsonl is the training file itself: its score says what was learned by heart
    many: # rows, # dev rows, # labels; full on base, # epochs
    most frequent label: "wet" (# rows), rarest: "cold" (# rows); without any: # rows
    texts of # tokens (median), # at most; none is cut
    "#);
    assert_snapshot!(place.run("eval m.cut --base base --data many.jsonl"), @"
    exit 0
    --- stdout
    f1 micro 100.00 on 24 rows

    accuracy  100.00
    f1 macro  100.00
    f1 micro  100.00

    label  precision  recall     f1  rows
    cold       100.0   100.0  100.0     8
    wet        100.0   100.0  100.0    16
    ");
    let shown = place.run_with("predict m.cut --base base", &["snow"], b"");
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    ✓ wet #% █
    ✓ cold #% █
    ");
    let shown = place.run_with("predict m.cut --base base", &[], b"rain\nbread\n");
    assert_snapshot!(shown, @r#"
    exit 0
    --- stdout
    ["wet"]
    []
    "#);
    let shown = place.run_with("predict m.cut --base base --json", &["rain"], b"");
    assert_snapshot!(rough(&format!("{:#}", shown.json())), @r#"
    {
     "labels": [
     "wet"
     ],
     "scores": {
     "cold": #,
     "wet": #
     }
    }
    "#);
    place.write("in.tsv", "text\nsnow\n");
    let shown = place.run("predict m.cut --base base --in in.tsv");
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    text	labels
    snow	["cold","wet"]
    --- stderr
    standard output: # row of text, labels
    "#);
}

#[test]
fn a_number() {
    let place = Place::new();
    let mut rows = String::new();
    for i in 0..24 {
        rows += &format!(
            "{{\"text\": \"{}\", \"score\": {}.5}}\n",
            ["rain", "snow", "sun"][i % 3],
            i % 3
        );
    }
    place.write("n.jsonl", rows);
    let files = "--train n.jsonl --dev n.jsonl --method full --epochs 3 --out n.cut";
    assert_snapshot!(place.run(&format!("train --base base {files}")).rough(), @r#"
    exit 0
    --- stdout
    pearson spearman # on # dev rows
    n.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "score": a number a row (regression), since its numbers are not all whole (n.jsonl, line #: #); --problem says otherwise
    warning: n.jsonl is the training file itself: its score says what was learned by heart
    n: # rows, # dev rows, regression; full on base, # epochs
    numbers from # to #, mean #
    texts of # tokens (median), # at most; none is cut
    "#);
    assert_snapshot!(place.run("eval n.cut --base base --data n.jsonl").rough(), @"
    exit 0
    --- stdout
    pearson spearman # on # rows, # to # on as many others like these (#%)

    mse #
    pearson #
    pearson spearman #
    spearman #
    ");
    assert_snapshot!(place.run_with("predict n.cut --base base", &["snow"], b"").rough(), @"
    exit 0
    --- stdout
    #
    ");
    let shown = place.run_with("predict n.cut --base base --json --logits", &["snow"], b"");
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    {"value":#,"logits":[#]}
    "#);
    place.write("in.csv", "text\nsnow\n");
    assert_snapshot!(place.run("predict n.cut --base base --in in.csv --out o.csv"), @"
    exit 0
    --- stderr
    o.csv: 1 row of text, value
    ");
    assert_snapshot!(rough(&place.text("o.csv")), @"
    text,value
    snow,#
    ");
}

#[test]
fn quoted_csv() {
    let place = Place::new();
    let mut rows = String::from("body,queue\n");
    for i in 0..12 {
        let label = ["\"hot, dry\"", "\"say \"\"wet\"\"\""][i % 2];
        rows += &format!("\"{}, and\nnew\",{label}\n", ["sun", "rain"][i % 2]);
    }
    place.write("q.csv", rows);
    let files = "--train q.csv --dev q.csv --text body --label queue --method head --out q.cut";
    assert_snapshot!(place.run(&format!("train --base base {files} --epochs 1")).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    q.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "queue": # labels, one a row, since it holds texts; --problem says otherwise
    warning: q.csv is the training file itself: its score says what was learned by heart
    queue: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    let shown =
        place.run("predict q.cut --base base --in q.csv --text body --out o.csv --scores -q");
    assert_snapshot!(shown, @"exit 0");
    assert_snapshot!(place.text("o.csv").lines().next().unwrap(), @r#"body,queue,label,score,"score hot, dry","score say ""wet""""#);
    assert_eq!(place.run("inspect q.cut --json").json()["card"]["labels"][1], "say \"wet\"");
}
