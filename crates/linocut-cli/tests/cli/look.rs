//! What one can look at: the report of an evaluation, the most probable labels, the words that moved a decision.

use super::measure::opens_quietly;
use super::place::Place;
use insta::assert_snapshot;
use serde_json::Value;

/// Writes `name` with rows of two columns.
fn rows(place: &Place, name: &str, count: usize, row: impl Fn(usize) -> (String, String)) {
    let rows = (0..count).map(row).map(|(text, label)| format!("{text}\t{label}\n"));
    place.write(name, format!("text\tlabel\n{}", rows.collect::<String>()));
}

fn report(place: &Place, line: &str) -> String {
    let shown = place.run(&format!("{line} --report page.html --force"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    opens_quietly(place, "page.html");
    place.text("page.html")
}

/// Titles of a page, in their order.
fn titles(page: &str) -> Vec<&str> {
    let titles = page.split("<h2>").skip(1);
    titles.map(|part| part.split_once("</h2>").unwrap().0).collect()
}

#[test]
fn a_page_of_three_labels() {
    let place = Place::trained();
    let eval = "eval topics.cut --base base --task topics";
    let page = report(&place, eval);
    assert_eq!(
        titles(&page),
        [
            "Labels",
            "What is taken for what",
            "How sure it is",
            "Precision and recall",
            "Answering only where it is sure"
        ]
    );
    assert_eq!(page.matches("<svg").count(), 3);
    for words in [
        "<h1>topics on 12 rows</h1><p>Cut topics.cut, rows of topics/dev.tsv.</p>",
        "<p>Accuracy 100.00 on 12 rows.</p>",
        "<table class=\"matrix\">",
        "The cut has no temperature; <code>linocut calibrate</code> fits one.",
        "Of each label against all others:",
        "food, 100.0%",
        "It answers every row; <code>linocut calibrate --target-precision</code> gives it a threshold.",
    ] {
        assert!(page.contains(words), "{words}");
    }
    // What is printed is the same as without a page; an existing one stays.
    assert_eq!(place.run(eval).stdout, place.run(&format!("{eval} --report other.html")).stdout);
    let before = place.read("page.html");
    assert_snapshot!(place.run(&format!("{eval} --report page.html")), @"
    exit 1
    --- stderr
    error: page.html exists already
    hint: give another --report, or --force to replace it
    ");
    assert_eq!(place.read("page.html"), before);
    assert_snapshot!(place.run(&format!("{eval} --report no/page.html")), @"
    exit 1
    --- stderr
    error: no: no such folder
    hint: mkdir -p no
    ");
    assert_snapshot!(place.run(&format!("{eval} --force")), @"
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      --report <HTML>

    Usage: linocut eval --base <DIR|NAME> --report <HTML> --force <--task <DIR>|--data <FILE>> <CUT>

    For more information, try '--help'.
    ");
}

#[test]
fn a_page_with_temperature_and_threshold() {
    let place = Place::trained();
    let task = place.text("topics/dev.tsv");
    let known: Vec<(&str, &str)> =
        task.lines().skip(1).map(|l| l.split_once('\t').unwrap()).collect();
    rows(&place, "more.tsv", 120, |i| {
        let label = if i % 6 == 0 { known[(i + 1) % 12].1 } else { known[i % 12].1 };
        (format!("{} {i}", known[i % 12].0), label.into())
    });
    place.run(
        "calibrate topics.cut --base base --data more.tsv --target-precision 0.9 --out sure.cut",
    );
    let page = report(&place, "eval sure.cut --base base --data more.tsv");
    for words in [
        "with the cut's temperature of",
        "without it.",
        "with temperature",
        "It answers from",
        "of which",
    ] {
        assert!(page.contains(words), "{words}");
    }
}

#[test]
fn a_page_of_many_labels() {
    let place = Place::new();
    rows(&place, "many.tsv", 70, |i| (format!("rain {i}"), format!("<l{}>", i % 35)));
    let files = "--train many.tsv --dev many.tsv --method head --epochs 1 --quiet --out m.cut";
    place.run(&format!("train --base base {files}"));
    let page = report(&place, "eval m.cut --base base --data many.tsv");
    assert!(page.contains("The 40 most frequent of") || page.contains("All confusions"), "{page}");
    assert!(page.contains("Of the 8 most frequent labels, each against all others:"));
    assert!(
        page.contains("&lt;l0&gt;") && !page.contains("<l0>") && !page.contains("class=\"matrix\"")
    );
}

#[test]
fn a_page_of_several_labels_a_row() {
    let place = Place::new();
    let mut rows = String::new();
    for i in 0..48 {
        let labels = [r#"["wet"]"#, r#"["wet","cold"]"#, "[]"][i % 3];
        let text = ["rain", "snow", "bread"][i % 3];
        rows += &format!("{{\"text\": \"{text} {i}\", \"labels\": {labels}}}\n");
    }
    place.write("many.jsonl", rows);
    let files = "--train many.jsonl --dev many.jsonl --method head --epochs 2 --quiet --out m.cut";
    place.run(&format!("train --base base {files}"));
    let page = report(&place, "eval m.cut --base base --data many.jsonl");
    assert_eq!(titles(&page), ["Labels", "How sure it is", "Precision and recall"]);
    assert!(page.contains("Of all labels together, and of each:") && page.contains("all labels, "));
    // The most probable labels of several; a label that nothing passes is among them.
    let shown = place.run_with("predict m.cut --base base --top 1 --json", &["snow"], b"").json();
    assert_eq!(shown["scores"].as_object().unwrap().len(), 1);
    let found =
        place.run_with("predict m.cut --base base --explain --json", &["snow rain"], b"").json();
    assert_eq!(found["explained"], "wet");
    let of = |label: &str| format!("predict m.cut --base base --explain={label} --json");
    let found = place.run_with(&of("cold"), &["snow rain"], b"").json();
    assert_eq!(found["explained"], "cold");
    // What the task says of that label without the word.
    let cold = |found: &Value| found["scores"]["cold"].as_f64().unwrap();
    let less = place.run_with(&of("cold"), &["rain"], b"").json();
    let change = found["explanation"][0]["change"].as_f64().unwrap();
    assert!((change - (cold(&found) - cold(&less))).abs() < 1e-5, "{found}");
    assert_snapshot!(place.run_with(&of("clod"), &["snow rain"], b"").stderr, @r#"
    error: to explain: label "clod" is not among the 2 labels of the task "many"
    hint: the nearest known are "cold", "wet"
    "#);
}

#[test]
fn a_page_of_numbers() {
    let place = Place::new();
    rows(&place, "n.tsv", 40, |i| {
        (["rain", "snow", "the sun"][i % 3].into(), format!("{}.5", i % 3))
    });
    let files = "--train n.tsv --dev n.tsv --method head --epochs 20 --quiet --out n.cut";
    place.run(&format!("train --base base {files}"));
    let page = report(&place, "eval n.cut --base base --data n.tsv");
    assert_eq!(titles(&page), ["Predicted and true"]);
    assert_eq!(page.matches("<svg").count(), 2);
    assert!(page.contains("nine of ten by at most"));
    assert_snapshot!(place.run_with("predict n.cut --base base --top 2", &["snow"], b""), @r#"
    exit 2
    --- stderr
    error: --top has no meaning for "n", a regression
    hint: its prediction is one number; leave --top out
    "#);
    let found =
        place.run_with("predict n.cut --base base --explain --json", &["the sun"], b"").json();
    assert!(
        found.get("explained").is_none() && found["explanation"][1]["word"] == "sun",
        "{found}"
    );
    let shown = place.run_with("predict n.cut --base base --explain", &["the sun"], b"");
    assert_snapshot!(shown.stdout.lines().nth(2).unwrap(), @"what each word adds to the number");
}

#[test]
fn the_most_probable_labels() {
    let place = Place::trained();
    let predict = "predict topics.cut --base base --top";
    place.write("in.tsv", "id\ttext\n1\tsalt soup\n2\train and wind\n");
    assert_snapshot!(place.run(&format!("{predict} 1 --in in.tsv")).rough(), @"
    exit 0
    --- stdout
    id	text	label	score	label #	score #
    #	salt soup	food	#	food	#
    #	rain and wind	weather	#	weather	#
    --- stderr
    standard output: # rows of id, text, label, score, label #, score #
    ");
    assert_snapshot!(place.run(&format!("{predict} 1 --in in.tsv --json -q")).rough(), @r##"
    exit 0
    --- stdout
    {"id":"#","text":"salt soup","label":"food","score":#,"scores":{"food":#}}
    {"id":"#","text":"rain and wind","label":"weather","score":#,"scores":{"weather":#}}
    "##);
    assert_snapshot!(place.run_with(&format!("{predict} 1"), &[], b"salt soup\n").rough(), @"
    exit 0
    --- stdout
    food	#	food	#
    ");
    assert_snapshot!(place.run_with(&format!("{predict} 1 --json --logits"), &["rain and wind"], b"").rough(), @r#"
    exit 0
    --- stdout
    {"label":"weather","score":#,"scores":{"weather":#},"logits":[#,#,#]}
    "#);
    // More than there are: all, the most probable first.
    let all = place.run_with(&format!("{predict} 99 --json"), &["rain and wind"], b"").json();
    let scores: Vec<f64> =
        all["scores"].as_object().unwrap().values().map(|p| p.as_f64().unwrap()).collect();
    assert!(scores.len() == 3 && scores.is_sorted_by(|a, b| a >= b), "{all}");
    assert_eq!(
        all["scores"].as_object().unwrap().keys().next().unwrap(),
        all["label"].as_str().unwrap()
    );
    let table = place.run(&format!("{predict} 99 --in in.tsv -q")).stdout;
    assert_eq!(table.lines().next().unwrap().split('\t').count(), 2 + 2 + 6);
    assert_snapshot!(place.run(&format!("{predict} 0 rain")), @"
    exit 2
    --- stderr
    error: invalid value '0' for '--top <K>': expected a whole number, 1 or more

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{predict} 2 --scores rain")), @"
    exit 2
    --- stderr
    error: the argument '--top <K>' cannot be used with '--scores'

    Usage: linocut predict --base <DIR|NAME> --top <K> <CUT> <TEXT> [PAIR]

    For more information, try '--help'.
    ");
}

#[test]
fn words_that_moved_a_decision() {
    let place = Place::trained();
    let predict = "predict topics.cut --base base --explain";
    let text = "salt and soup with cheese";
    let found = place.run_with(&format!("{predict} --json"), &[text], b"").json();
    assert_eq!(found["explained"], found["label"]);
    let words = found["explanation"].as_array().unwrap();
    for word in words {
        let [start, end] = ["start", "end"].map(|key| word[key].as_u64().unwrap() as usize);
        assert_eq!(text[start..end], *word["word"].as_str().unwrap());
        assert!(word["change"].is_number());
    }
    assert_eq!(words.len(), 5);
    // What the task says of the text without the word.
    let score = |found: &Value| found["scores"][found["label"].as_str().unwrap()].as_f64().unwrap();
    let less = place.run_with(&format!("{predict} --json"), &["salt and with cheese"], b"").json();
    let without = less["scores"][found["label"].as_str().unwrap()].as_f64().unwrap();
    assert!(
        (words[2]["change"].as_f64().unwrap() - (score(&found) - without)).abs() < 1e-5,
        "{found}"
    );
    let shown = place.run_with(predict, &[text], b"");
    let list: Vec<&str> = shown.stdout.lines().skip(4).collect();
    assert_eq!(list[0], "what each word adds to food, in points of its probability");
    assert!(list[1..].iter().all(|line| line.contains(['+', '-'])), "{shown}");
    // Lines, with and without JSON; an empty one has nothing to explain.
    let input = format!("{text}\n\nrain\n");
    let lines = place.run_with(&format!("{predict} --json"), &[], input.as_bytes()).stdout;
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines[0]["explanation"].as_array().unwrap().len(), 5);
    assert_eq!(lines[1], serde_json::json!({"error": "empty text"}));
    assert_eq!(lines[2]["explanation"][0]["change"], Value::Null);
    let lines = place.run_with(predict, &[], input.as_bytes()).stdout;
    let first: Vec<&str> = lines.lines().next().unwrap().split('\t').collect();
    assert!(first.len() == 3 && first[2].contains(" ("), "{lines}");
    assert_snapshot!(place.run_with(predict, &["rain"], b"").stdout.lines().last().unwrap(), @"without its only word there is nothing left to read");
    let long = place.run_with(&format!("{predict} --json"), &[&"rain ".repeat(300)], b"");
    assert_snapshot!(long.stderr, @"
    note: 1 text is longer than 40 tokens and was cut
    note: 44 words beyond 256 of a text were not tried
    ");
    let int8 = place.run_with(&format!("{predict} --json --dtype int8"), &[text], b"").json();
    assert_eq!(int8["explanation"].as_array().unwrap().len(), 5);
    place.write("in.tsv", "text\nrain\n");
    assert_snapshot!(place.run(&format!("{predict} --in in.tsv")), @"
    exit 2
    --- stderr
    error: the argument '--explain[=<LABEL>]' cannot be used with '--in <FILE>'

    Usage: linocut predict --base <DIR|NAME> --explain[=<LABEL>] <CUT> [TEXT] [PAIR]

    For more information, try '--help'.
    ");
}
