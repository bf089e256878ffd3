//! From scores to decisions.

use super::place::Place;
use insta::assert_snapshot;

const FIT: &str = "calibrate topics.cut --base base";

/// 120 rows of the topics that the cut knows, every sixth with a label that is not its own.
fn place() -> Place {
    let place = Place::trained();
    let task = place.text("topics/dev.tsv");
    let rows: Vec<(&str, &str)> =
        task.lines().skip(1).map(|line| line.split_once('\t').unwrap()).collect();
    let mut text = "sentence1\tlabel\n".to_string();
    for i in 0..120 {
        let (words, label) = rows[i % rows.len()];
        let label = if i % 6 == 0 { rows[(i + 1) % rows.len()].1 } else { label };
        text += &format!("{words} {i}\t{label}\n");
    }
    place.write("more.tsv", text);
    place
}

#[test]
fn a_task_that_answers_where_it_is_sure() {
    let place = place();
    let shown = place.run(&format!("{FIT} --data more.tsv --out cool.cut"));
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    temperature # from # rows: expected calibration error #%, without it #%
    these are the rows it was fitted on: `linocut eval` on others says what it keeps
    cool.cut: # KB
    ");
    let shown =
        place.run(&format!("{FIT} --data more.tsv --target-precision 0.9 --out sure.cut --json"));
    let found = shown.json();
    let threshold = found["decision"]["thresholds"][0].as_f64().unwrap();
    let answered = &found["after"]["answered"];
    assert!(answered["accuracy"].as_f64().unwrap() >= 0.9, "{found}");
    assert!(found["before"].get("answered").is_none());
    let eval = place.run("eval sure.cut --base base --data more.tsv --json").json();
    assert_eq!(eval["answered"], *answered);
    assert_snapshot!(place.run("inspect sure.cut").rough().to_string().lines()
        .find(|line| line.starts_with("decision")).unwrap(), @"decision temperature #, answers from # on; fitted: rows #, for precision #");

    // Below its threshold it says nothing, and --threshold says otherwise.
    let predict = |options: &str, text: &str| {
        place.run_with(&format!("predict sure.cut --base base {options}"), &[text], b"")
    };
    let json = |options: &str| predict(options, "apple").json();
    let given = json("--json");
    let is_sure = given["score"].as_f64().unwrap() >= threshold;
    assert_eq!(given["label"].is_null(), !is_sure, "{given}");
    assert_eq!(given.get("abstained").is_some(), !is_sure);
    let asked = json("--json --threshold 1");
    assert!(asked["label"].is_null() && asked["abstained"] == true, "{asked}");
    assert_eq!(asked["score"], given["score"]);
    let never = json("--json --threshold 0");
    assert!(never["label"].is_string() && never.get("abstained").is_none(), "{never}");
    assert_snapshot!(predict("--threshold 1 --top 1", "apple").rough(), @"
    exit 0
    --- stdout
    no answer: less than #%
    food #% █
    … and # more (--top #)
    ");
    let lines = place.run_with("predict sure.cut --base base --threshold 1", &[], b"apple\n");
    assert_snapshot!(lines.rough(), @"
    exit 0
    --- stdout
    	#
    ");
}

#[test]
fn thresholds_of_several_labels() {
    let place = Place::new();
    let mut rows = String::new();
    for i in 0..48 {
        let labels = [r#"["wet"]"#, r#"["wet","cold"]"#, "[]"][i % 3];
        let text = ["rain", "snow", "bread"][i % 3];
        rows += &format!("{{\"text\": \"{text} {i}\", \"labels\": {labels}}}\n");
    }
    place.write("many.jsonl", rows);
    // Hardly trained: nothing passes a half.
    let options = "--method head --epochs 1 --head-lr 1e-4 --out m.cut --quiet";
    let files = "--train many.jsonl --dev many.jsonl";
    place.run(&format!("train --base base {files} {options}"));
    let fit = "calibrate m.cut --base base --data many.jsonl";
    let found = place.run(&format!("{fit} --out f1.cut --json")).json();
    let f1 = |at: &str| found[at]["metrics"]["f1_micro"].as_f64().unwrap();
    assert!(f1("after") > f1("before"), "{found}");
    assert_eq!(found["decision"]["thresholds"].as_array().unwrap().len(), 2);
    let eval = place.run("eval f1.cut --base base --data many.jsonl --json").json();
    assert_eq!(eval["metrics"], found["after"]["metrics"]);
    let found = place.run(&format!("{fit} --target-recall 0.9 --out all.cut --json")).json();
    let recalls =
        found["after"]["classes"].as_array().unwrap().iter().map(|c| c["recall"].as_f64());
    assert!(recalls.map(Option::unwrap).all(|recall| recall >= 0.9), "{found}");
    let shown = place.run("export f1.cut --base base --out f1-hf").to_string();
    assert!(shown.contains("the cut's thresholds are not in the folder"), "{shown}");
    let shown = place.run("export f1.cut --base base --format onnx --out f1-onnx").to_string();
    assert!(shown.contains("they are the model's metadata `thresholds`"), "{shown}");
}

#[test]
fn mistakes() {
    let place = place();
    let shown = |options: &str| place.run(&format!("{FIT} {options}"));
    assert_snapshot!(shown("--task topics --out x.cut"), @"
    exit 1
    --- stderr
    error: topics: 12 rows to fit it on, expected at least 30
    hint: fewer say too little of how sure a task may be; in training --folds 5 uses all rows, and --calibrate 0.3 holds out more
    ");
    assert_snapshot!(shown("--data more.tsv --target-recall 0.9 --out x.cut"), @"
    exit 1
    --- stderr
    error: one label a row: there is no threshold for F1 or recall
    hint: give a precision: the share of answers that are to be right
    ");
    assert_snapshot!(shown("--data more.tsv --target-precision 0.99 --out x.cut"), @"
    exit 1
    --- stderr
    error: more: 120 rows to fit it on, expected at least 200
    hint: fewer do not show whether a task is right so often; in training --folds 5 uses all rows, and --calibrate 0.3 holds out more
    ");
    assert_snapshot!(shown("--data more.tsv --target-precision 95 --out x.cut"), @"
    exit 2
    --- stderr
    error: --target-precision is 95, expected a share from 0.01 to 0.999
    ");
    assert_snapshot!(shown("--data more.tsv --out topics.cut"), @"
    exit 1
    --- stderr
    error: topics.cut exists already
    hint: give another --out, or --force to replace it
    ");
    assert_snapshot!(
        place.run("predict topics.cut --base base --threshold 2 word"), @"
    exit 2
    --- stderr
    error: --threshold is 2, expected a probability from 0 to 1
    "
    );
    assert!(!place.names().contains(&"x.cut".to_string()));
}
