//! eval and predict.

use super::place::{Place, Shown, rough, start};
use insta::assert_snapshot;
use std::io::{BufRead, BufReader, Write};

/// Rows of the training file.
const FOOD: &str = ", eat we and apple salt";
const TRAVEL: &str = "is go with no road ticket";
const WEATHER: &str = "warm rain today one sun ,";

#[test]
fn eval_of_a_task() {
    let place = Place::trained();
    assert_snapshot!(place.run("eval topics.cut --base base --task topics"), @r"
    exit 0
    --- stdout
    accuracy 100.00 on 12 rows

    accuracy  100.00
    f1 macro  100.00
    f1 micro  100.00
    matthews  100.00

    label    precision  recall     f1  rows
    food         100.0   100.0  100.0     4
    travel       100.0   100.0  100.0     4
    weather      100.0   100.0  100.0     4

    true \ predicted  food  travel  weather
    food                 4       ·        ·
    travel               ·       4        ·
    weather              ·       ·        4
    ");
}

#[test]
fn eval_of_a_file_as_json() {
    let place = Place::trained();
    let columns = "--text sentence1 --label label --limit 2";
    let shown =
        place.run(&format!("eval topics.cut --base base --data topics/dev.tsv {columns} --json"));
    assert_snapshot!(format!("{:#}", shown.json()), @r#"
    {
      "cut": "topics.cut",
      "task": "topics",
      "data": "topics/dev.tsv",
      "rows": 2,
      "texts_cut": 0,
      "dtype": "f32",
      "primary": {
        "name": "accuracy",
        "value": 1.0
      },
      "metrics": {
        "accuracy": 1.0,
        "f1_macro": 1.0,
        "f1_micro": 1.0,
        "matthews": 1.0
      },
      "classes": [
        {
          "label": "food",
          "precision": 1.0,
          "recall": 1.0,
          "f1": 1.0,
          "support": 1
        },
        {
          "label": "travel",
          "precision": 1.0,
          "recall": 1.0,
          "f1": 1.0,
          "support": 1
        },
        {
          "label": "weather",
          "precision": 0.0,
          "recall": 0.0,
          "f1": 0.0,
          "support": 0
        }
      ],
      "confusion": [
        [
          1,
          0,
          0
        ],
        [
          0,
          1,
          0
        ],
        [
          0,
          0,
          0
        ]
      ]
    }
    "#);
}

#[test]
fn many_labels_are_listed_by_confusion() {
    let place = Place::new();
    let mut rows = String::from("text\tlabel\n");
    for i in 0..28 {
        rows += &format!("{} and {}\tl{}\n", ["rain", "soup", "map"][i % 3], i % 5, i % 14);
    }
    place.write("many.tsv", rows);
    let files = "--train many.tsv --dev many.tsv --method head --epochs 1 --out m.cut";
    let shown = place.run(&format!("train --base base {files}"));
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    m.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    warning: many.tsv is the training file itself: its score says what was learned by heart
    many: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    let shown = place.run("eval m.cut --base base --data many.tsv");
    assert_snapshot!(rough(shown.stdout.lines().find(|line| line.contains("confusions")).unwrap()), @"most frequent of # confusions");
}

#[test]
fn one_text() {
    let place = Place::trained();
    let shown = place.run_with("predict topics.cut --base base", &[WEATHER], b"");
    assert_snapshot!(shown.stdout.lines().next().unwrap().split(' ').next().unwrap(), @"weather");
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    weather #% █
    travel #%
    food #%
    ");
    let shown = place.run_with("predict topics.cut --base base --top 1 --logits", &[FOOD], b"");
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    food #% # █
    … and # more (--top #)
    ");
    let shown = place.run_with("predict topics.cut --base base --json --logits", &[FOOD], b"");
    assert_snapshot!(rough(&format!("{:#}", shown.json())), @r#"
    {
     "label": "food",
     "score": #,
     "scores": {
     "food": #,
     "travel": #,
     "weather": #
     },
     "logits": [
     #,
     #,
     #
     ]
    }
    "#);
}

#[test]
fn lines_of_standard_input() {
    let place = Place::trained();
    let input = format!("\u{feff}{WEATHER}\r\n{TRAVEL}\n{FOOD}");
    let shown = place.run_with("predict topics.cut --base base", &[], input.as_bytes());
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    weather	#
    travel	#
    food	#
    ");
    let shown = place.run_with("predict topics.cut --base base --json", &[], input.as_bytes());
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    {"label":"weather","score":#,"scores":{"food":#,"travel":#,"weather":#}}
    {"label":"travel","score":#,"scores":{"food":#,"travel":#,"weather":#}}
    {"label":"food","score":#,"scores":{"food":#,"travel":#,"weather":#}}
    "#);
    let shown = place.run_with("predict topics.cut --base base --logits", &[], FOOD.as_bytes());
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    food	#	#	#	#
    ");
    let shown = place.run("predict topics.cut --base base");
    assert_snapshot!(shown, @"exit 0");
}

/// As many lines come out as go in.
#[test]
fn empty_lines_of_standard_input() {
    let place = Place::trained();
    let input = format!("\n{FOOD}\n \n\n{TRAVEL}\n");
    let shown = place.run_with("predict topics.cut --base base", &[], input.as_bytes());
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout

    food	#


    travel	#
    --- stderr
    note: # lines with an empty text got no label
    ");
    let shown = place.run_with("predict topics.cut --base base --json", &[], b"\nrain\n");
    assert_eq!(shown.stdout.lines().next().unwrap(), r#"{"error":"empty text"}"#);
    assert_eq!(shown.stdout.lines().count(), 2);
}

/// Fields of objects stay what they were; what is taken already gives way.
#[test]
fn objects_keep_their_fields() {
    let place = Place::trained();
    let object = r#"{"id":7,"at":{"page":[1,2]},"text":"warm rain today","label":null}"#;
    place.write("in.jsonl", format!("{object}\n\n{}\n", object.replace("7", "8")));
    let shown = place.run("predict topics.cut --base base --in in.jsonl --text text");
    assert_snapshot!(shown.rough(), @r#"
    exit 0
    --- stdout
    {"id":#,"at":{"page":[#,#]},"text":"warm rain today","label":null,"predicted label":"weather","score":#}
    {"id":#,"at":{"page":[#,#]},"text":"warm rain today","label":null,"predicted label":"weather","score":#}
    --- stderr
    standard output: # rows of id, at, text, label, predicted label, score
    "#);
    let shown =
        place.run("predict topics.cut --base base --in in.jsonl --keep at,id --out o.csv -q");
    assert_snapshot!(shown, @"exit 0");
    assert_snapshot!(rough(&place.text("o.csv")), @r#"
    at,id,label,score
    "{""page"":[#,#]}",#,weather,#
    "{""page"":[#,#]}",#,weather,#
    "#);
}

/// A line is answered when it comes, not when the input ends.
#[test]
fn lines_are_answered_at_once() {
    let place = Place::trained();
    let mut command = place.command();
    command.args(["predict", "topics.cut", "--base", "base"]);
    let mut child = start(&mut command);
    let (mut stdin, stdout) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let mut lines = BufReader::new(stdout).lines();
    for (text, label) in [(WEATHER, "weather"), (FOOD, "food")] {
        writeln!(stdin, "{text}").unwrap();
        stdin.flush().unwrap();
        assert!(lines.next().unwrap().unwrap().starts_with(label));
    }
    drop(stdin);
    assert!(child.wait().unwrap().success());
}

#[test]
fn a_closed_pipe_is_no_failure() {
    let place = Place::trained();
    let mut command = place.command();
    command.args(["predict", "topics.cut", "--base", "base", "--json"]);
    let mut child = start(&mut command);
    let mut stdin = child.stdin.take().unwrap();
    drop(child.stdout.take());
    // The other end goes away at some line of these.
    let _ = stdin.write_all("rain and snow\n".repeat(5000).as_bytes());
    drop(stdin);
    assert_snapshot!(Shown::new(&child.wait_with_output().unwrap()), @"exit 0");
}

#[test]
fn a_file_to_a_file() {
    let place = Place::trained();
    place.write("in.csv", format!("id,text\n1,\"{FOOD}\"\n2,\"warm rain\ntoday one sun ,\"\n"));
    let all = "predict topics.cut --base base --in in.csv";
    assert_snapshot!(place.run(&format!("{all} --out out.csv")), @"
    exit 0
    --- stderr
    out.csv: 2 rows of id, text, label, score
    ");
    assert_snapshot!(rough(&place.text("out.csv")), @r#"
    id,text,label,score
    #,", eat we and apple salt",food,#
    #,"warm rain
    today one sun ,",weather,#
    "#);
    let shown = place.run(&format!("{all} --out out.tsv --keep id --scores --logits --quiet"));
    assert_snapshot!(shown, @"exit 0");
    assert_snapshot!(rough(&place.text("out.tsv")), @"
    id	label	score	score food	score travel	score weather	logit food	logit travel	logit weather
    #	food	#	#	#	#	#	#	#
    #	weather	#	#	#	#	#	#	#
    ");
    let shown = place.run_with(&format!("{all} --out none.tsv --keep"), &[""], b"");
    assert_snapshot!(shown.stderr, @"none.tsv: 2 rows of label, score");
    assert_snapshot!(place.run(&format!("{all} --out out.jsonl --scores --keep")).stderr, @"out.jsonl: 2 rows of id, text, label, score, scores");
    assert_snapshot!(rough(&place.text("out.jsonl")), @r##"
    {"id":"#","text":", eat we and apple salt","label":"food","score":#,"scores":{"food":#,"travel":#,"weather":#}}
    {"id":"#","text":"warm rain\ntoday one sun ,","label":"weather","score":#,"scores":{"food":#,"travel":#,"weather":#}}
    "##);
    // Without a file the rows come as they went in.
    assert_eq!(place.run(all).stdout, place.text("out.csv"));
    assert_eq!(place.run(&format!("{all} --json")).stdout, place.text("out.jsonl"));
    assert_snapshot!(place.run(&format!("{all} --out lines.tsv")), @r#"
    exit 1
    --- stderr
    error: row 2: a tab or line break in column "text" cannot stand in a TSV file
    hint: write .csv or .jsonl, or name the columns to keep: --keep id
    "#);
    assert_snapshot!(place.run(&format!("{all} --out lines.tsv --keep body")), @r#"
    exit 1
    --- stderr
    error: in.csv has no column "body"; its columns are "id", "text"
    "#);

    let before = place.read("out.tsv");
    assert_snapshot!(place.run(&format!("{all} --out out.tsv --logits")), @"
    exit 1
    --- stderr
    error: out.tsv exists already
    hint: give another --out, or --force to replace it
    ");
    assert_eq!(place.read("out.tsv"), before);
    let shown = place.run(&format!("{all} --keep id --out out.tsv --logits --force -q"));
    assert_snapshot!(shown, @"exit 0");
    assert_ne!(place.read("out.tsv"), before);
    assert_snapshot!(place.run(&format!("{all} --out in.csv --force")), @"
    exit 2
    --- stderr
    error: in.csv is the input itself
    hint: give another --out
    ");
    assert_snapshot!(place.run(&format!("{all} --out out.xls")), @"
    exit 2
    --- stderr
    error: cannot tell the format of --out out.xls
    hint: expected a name ending in .tsv, .csv or .jsonl; without --out, rows go to standard output
    ");
    assert_snapshot!(place.run(&format!("{all} --out no/out.tsv")), @"
    exit 1
    --- stderr
    error: no: no such folder
    hint: mkdir -p no
    ");
}

/// A single text, a file and standard input give the same numbers.
#[test]
fn every_way_in_gives_the_same() {
    let place = Place::trained();
    place.write("in.tsv", "text\nsnow and wind\nsoup\n");
    let file = "predict topics.cut --base base --in in.tsv --json --logits --keep";
    let file = place.run_with(file, &[""], b"").stdout;
    let lines = place.run_with(
        "predict topics.cut --base base --json --logits",
        &[],
        b"snow and wind\nsoup\n",
    );
    assert_eq!(file, lines.stdout);
    let alone: Vec<serde_json::Value> = ["snow and wind", "soup"]
        .iter()
        .map(|text| {
            place.run_with("predict topics.cut --base base --json --logits", &[text], b"").json()
        })
        .collect();
    for (alone, line) in alone.iter().zip(file.lines()) {
        let together: serde_json::Value = serde_json::from_str(line).unwrap();
        let logits = |v: &serde_json::Value| -> Vec<f64> {
            v["logits"].as_array().unwrap().iter().map(|z| z.as_f64().unwrap()).collect()
        };
        // Another batch is another blocking of the same sums.
        for (a, b) in logits(alone).iter().zip(logits(&together)) {
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} {b}");
        }
    }
}

#[test]
fn two_cuts_on_the_same_rows() {
    let place = Place::trained();
    place.train("--method head --epochs 1", "old.cut");
    let compared = place.run("compare old.cut topics.cut --base base --task topics");
    let shown = compared.rough().to_string();
    assert!(shown.contains("difference") && shown.contains("by chance with p"), "{shown}");
    let found = place.run("compare topics.cut topics.cut --base base --task topics --json").json();
    assert_eq!(found["comparison"]["difference"], 0.0);
    assert_eq!(found["comparison"]["alone_right"], serde_json::json!([0, 0]));
}
