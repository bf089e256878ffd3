//! What a label column is taken for, what is said of it, and what is refused.

use super::{has, judged, table, train, train_error};
use linocut::data::{Dataset, Problem, Remark, Targets, TaskSpec};

fn auto() -> TaskSpec {
    TaskSpec::default()
}

fn with(problem: Problem) -> TaskSpec {
    TaskSpec { problem: Some(problem), ..auto() }
}

/// A CSV file with these labels, each quoted.
fn csv(labels: &[&str]) -> String {
    let rows = labels.iter().enumerate();
    let rows = rows.map(|(i, label)| format!("row {i},\"{}\"\n", label.replace('"', "\"\"")));
    format!("text,label\n{}", rows.collect::<String>())
}

fn jsonl(labels: &[&str]) -> String {
    let rows = labels.iter().enumerate();
    rows.map(|(i, label)| format!("{{\"text\": \"row {i}\", \"label\": {label}}}\n")).collect()
}

#[test]
fn what_was_decided_is_said_with_its_reason() {
    let (_, said) = judged("a.csv", &csv(&["wet", "dry", "wet"]), &auto());
    has(&said, &["note: label column \"label\": 2 labels, one a row", "holds texts", "`problem`"]);
    let (_, said) = judged("a.csv", &csv(&["1.5", "2", "3.25"]), &auto());
    has(&said, &["regression", "not all whole", "line 2: 1.5", "`problem`"]);
    let (_, said) = judged("a.jsonl", &jsonl(&["[\"a\"]", "[\"a\", \"b\"]"]), &auto());
    has(&said, &["2 labels, any number a row", "lists"]);
    let (_, said) = judged("a.csv", &csv(&["wet", "dry"]), &with(Problem::SingleLabel));
    assert_eq!(said, "");
    let listed = TaskSpec { labels: vec!["wet".into(), "dry".into()], ..auto() };
    assert_eq!(judged("a.csv", &csv(&["wet", "dry"]), &listed).1, "");
}

#[test]
fn lists_of_zeros_and_ones_go_by_position() {
    for (name, content) in [
        ("a.jsonl", jsonl(&["[1.0, 0.0, 1.0]", "[0.0, 0.0, 1.0]", "[0.0, 0.0, 0.0]"])),
        ("a.jsonl", jsonl(&["[1, 0, 1]", "[0, 0, 1]", "[0, 0, 0]"])),
        (
            "a.jsonl",
            jsonl(&["[true, false, true]", "[false, false, true]", "[false, false, false]"]),
        ),
        ("a.csv", csv(&["[1, 0, 1]", "[0, 0, 1]", "[0, 0, 0]"])),
        ("a.csv", csv(&["[1. 0. 1.]", "[0. 0. 1.]", "[0. 0. 0.]"])),
    ] {
        let (d, said) = judged(name, &content, &auto());
        assert_eq!(d.labels, ["LABEL_0", "LABEL_1", "LABEL_2"], "{content}");
        assert_eq!(d.targets, Targets::MultiHot(vec![vec![0, 2], vec![2], vec![]]), "{content}");
        has(&said, &["3 labels, any number a row", "0 or 1 for each"]);
        // Rows to evaluate are read in the same way.
        let (problem, mut remarks) = (Problem::MultiLabel, Vec::new());
        let dev = table(name, &content);
        let dev = Dataset::evaluation(&dev, &auto(), problem, &d.labels, &mut remarks).unwrap();
        assert_eq!((dev.targets, remarks), (d.targets, vec![]));
    }
    let named = TaskSpec { labels: ["joy", "fear"].map(String::from).to_vec(), ..auto() };
    let (d, _) = judged("a.jsonl", &jsonl(&["[1, 0]", "[0, 1]"]), &named);
    assert_eq!(
        (d.labels, d.targets),
        (named.labels.clone(), Targets::MultiHot(vec![vec![0], vec![1]]))
    );
    let error = train_error("a.jsonl", &jsonl(&["[1, 0, 0]", "[0, 1, 0]"]), &named);
    has(&error, &["0 or 1 for 3 labels, the task has 2"]);
    let error = train_error("a.jsonl", &jsonl(&["[1, 0, 0]", "[0, 1]"]), &auto());
    has(&error, &["line 2: expected 0 or 1 for 3 labels", "found 2"]);
    let error = train_error("a.jsonl", &jsonl(&["[1, 0, 0]", "[0.2, 0.8, 0]"]), &auto());
    has(&error, &["line 2: expected 0 or 1", "found \"0.2\"", "shares of labels"]);
    for content in [csv(&["1,0,0", "0,1,1"]), csv(&["1 0 0", "0 1 1"])] {
        has(&train_error("a.csv", &content, &auto()), &["line 2: expected one label", "[1, 0, 0]"]);
    }
    for rows in [["1,0,0", "0,1,1"], ["1 0 0", "0 1 1"]] {
        let (d, _) = judged("a.csv", &csv(&rows), &with(Problem::MultiLabel));
        assert_eq!(d.targets, Targets::MultiHot(vec![vec![0], vec![1, 2]]));
    }
    // Lists of numbers that are names.
    let (d, _) = judged("a.jsonl", &jsonl(&["[0]", "[1]", "[0, 1]"]), &auto());
    assert_eq!(d.labels, ["0", "1"]);
}

#[test]
fn lists_are_read_as_programs_write_them() {
    let expected = Targets::MultiHot(vec![vec![0, 1], vec![0], vec![]]);
    for list in [
        ["[\"fear\", \"joy\"]", "[\"fear\"]", "[]"],
        ["['fear', 'joy']", "['fear']", "[]"],
        ["['fear' 'joy']", "['fear']", "[]"],
        ["('fear', 'joy')", "('fear',)", "[]"],
        ["{'fear', 'joy'}", "{'fear'}", "[]"],
    ] {
        for (name, content) in [
            ("a.csv", csv(&list)),
            ("a.tsv", csv(&list).replace(",\"", "\t\"").replacen(',', "\t", 1)),
        ] {
            let (d, _) = judged(name, &content, &auto());
            assert_eq!(
                (&d.labels[..], &d.targets),
                (&["fear", "joy"].map(String::from)[..], &expected),
                "{content}"
            );
        }
    }
    let d = train("a.csv", &csv(&["['it\\'s', \"d'or\"]", "['\\u00e9\\x41']"]));
    assert_eq!(d.labels, ["d'or", "it's", "éA"]);
    // Brackets alone make no list.
    let d = train("a.csv", &csv(&["[urgent]", "(2)", "{x}"]));
    assert_eq!(d.problem, Problem::SingleLabel);
    let error = train_error("a.csv", &csv(&["['a']", "['b']", "c"]), &auto());
    has(&error, &["line 4: expected lists, as 2 of 3 rows have", "found one label"]);
    let error = train_error("a.csv", &csv(&["a", "['b']", "c"]), &auto());
    has(&error, &["line 3: expected one label each", "found a list"]);
    let nulls = jsonl(&["[\"x\"]", "[\"y\"]", "[\"x\", null]"]);
    has(&train_error("a.jsonl", &nulls, &auto()), &["line 3: ", "a list with a null in it"]);
    has(
        &train_error("a.jsonl", &jsonl(&["[\"x\"]", "[\"\"]"]), &auto()),
        &["line 2: ", "an empty one"],
    );
}

#[test]
fn labels_that_look_alike_are_one() {
    for (twin, label) in [
        ("spam ", "spam"),
        (" spam", "spam"),
        ("spam\u{a0}", "spam"),
        ("sp\u{200b}am", "spam"),
        ("\u{feff}spam", "spam"),
        ("spa\u{ad}m", "spam"),
        ("two  words", "two words"),
        ("two\u{a0}words", "two words"),
        ("cafe\u{301}", "café"),
    ] {
        let (d, said) = judged("a.csv", &csv(&[label, "ham", label, twin, "ham"]), &auto());
        assert_eq!(d.labels.len(), 2, "{twin:?}");
        assert!(d.labels.contains(&label.to_string()), "{:?}", d.labels);
        let Targets::Classes(classes) = &d.targets else { panic!() };
        assert_eq!(classes[3], classes[0]);
        has(&said, &["warning: labels that look alike are taken for one", "(1 row, ", "line 5"]);
        // And so among rows to evaluate, without a word.
        let (dev, mut remarks) = (table("dev.csv", csv(&[twin])), Vec::new());
        let problem = Problem::SingleLabel;
        let dev = Dataset::evaluation(&dev, &auto(), problem, &d.labels, &mut remarks).unwrap();
        assert_eq!((dev.targets, remarks), (Targets::Classes(vec![classes[0]]), vec![]));
    }
    let (d, said) = judged("a.csv", &csv(&["1", "0", "1.0", "0.0", "1"]), &auto());
    assert_eq!(d.labels, ["0", "1"]);
    has(&said, &["taken for one", "\"1.0\""]);
    // Versions are no numbers.
    let d = train("a.csv", &csv(&["1.1.0", "1.1", "1.10", "1.1.0"]));
    assert_eq!(d.labels.len(), 3);
}

#[test]
fn labels_that_may_be_one_are_said() {
    let labels = [["weather"; 6], ["travel"; 6]].concat();
    for (odd, parts) in [
        ("Weather", ["differ by case alone", "\"Weather\" and \"weather\""]),
        ("wether", ["one letter away", "\"wether\" and \"weather\""]),
        ("weathen", ["one letter away", "\"weathen\" and \"weather\""]),
        ("travell", ["one letter away", "\"travell\" and \"travel\""]),
    ] {
        let (d, said) = judged("a.csv", &csv(&[&labels[..], &[odd]].concat()), &auto());
        assert_eq!(d.labels.len(), 3);
        has(&said, &["warning: "]);
        has(&said, &parts);
    }
    let numbered = ["sku-1"; 6].into_iter().chain(["sku-2"]).collect::<Vec<_>>();
    assert!(!judged("a.csv", &csv(&numbered), &auto()).1.contains("warning"));
    let (_, said) = judged("a.csv", &csv(&["c", "perl", "c,perl"]), &auto());
    has(&said, &["warning: label \"c,perl\" is made of others", "`problem=multi-label`"]);
}

#[test]
fn numbers_are_amounts_or_codes() {
    let codes: Vec<&str> = (0..40).map(|i| ["250.00", "401.9"][i % 2]).collect();
    let (d, said) = judged("a.csv", &csv(&codes), &auto());
    assert_eq!(d.labels, ["250.00", "401.9"]);
    has(&said, &["hardly amounts", "`problem`"]);
    let codes: Vec<&str> = (0..60).map(|i| ["250.00", "401.9", "V10.1", "038.0"][i % 4]).collect();
    assert_eq!(train("a.csv", &csv(&codes)).problem, Problem::SingleLabel);
    let stars: Vec<String> =
        (0..60).map(|i| format!("{:.1}", (i % 9) as f64 / 2.0 + 1.0)).collect();
    let stars: Vec<&str> = stars.iter().map(String::as_str).collect();
    let (d, said) = judged("a.csv", &csv(&stars), &auto());
    assert_eq!(d.problem, Problem::Regression);
    has(&said, &["`problem` says otherwise"]);
    // One value is none.
    let mut odd = stars.clone();
    odd[31] = "3,8x";
    has(
        &train_error("a.csv", &csv(&odd), &auto()),
        &[
            "line 33: expected a number, as 59 of 60 rows have",
            "found \"3,8x\"",
            "`problem=single-label`",
        ],
    );
    assert_eq!(judged("a.csv", &csv(&odd), &with(Problem::SingleLabel)).0.labels.len(), 10);
    let commas: Vec<String> = stars.iter().map(|s| s.replace('.', ",")).collect();
    let commas: Vec<&str> = commas.iter().map(String::as_str).collect();
    has(&train_error("a.csv", &csv(&commas), &auto()), &["line 2: ", "decimal point", "\"1,0\""]);
}

#[test]
fn columns_that_cannot_be_meant_are_refused() {
    let own: Vec<String> = (0..40).map(|i| format!("id-{i}")).collect();
    let own: Vec<&str> = own.iter().map(String::as_str).collect();
    has(
        &train_error("a.csv", &csv(&own), &auto()),
        &["40 different labels in 40 rows", "`label`", "`problem=single-label`"],
    );
    assert_eq!(judged("a.csv", &csv(&own), &with(Problem::SingleLabel)).0.labels.len(), 40);
    // Thousands of labels, most of them once, can be meant.
    let many: Vec<String> = (0..300).map(|i| format!("sku-{:05}", i % 250)).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(train("a.csv", &csv(&many)).labels.len(), 250);

    let same = TaskSpec { label: Some("text".into()), ..auto() };
    has(
        &train_error("a.csv", &csv(&["a", "b"]), &same),
        &["\"text\" is both the text and the label"],
    );
    let same = TaskSpec { text: Some("label".into()), ..auto() };
    has(
        &train_error("a.csv", &csv(&["a", "b"]), &same),
        &["\"label\" is both the text and the label"],
    );
    let swapped = TaskSpec { text: Some("label".into()), label: Some("text".into()), ..auto() };
    let labels: Vec<&str> = (0..60).map(|i| ["wet", "dry"][i % 2]).collect();
    has(&train_error("a.csv", &csv(&labels), &swapped), &["60 different labels in 60 rows"]);
}

#[test]
fn rows_on_both_sides_are_counted() {
    let train = train("a.csv", "text,label\na,x\nb,y\nc,x\n");
    let dev = |content: &str| super::train("dev.csv", content);
    let Some(Remark::Warning(said)) = train.overlap(&dev("text,label\na,x\nd,y\nc,y\n")) else {
        panic!()
    };
    has(&said, &["2 of 3 dev rows have a text that stands among the training rows"]);
    assert_eq!(train.overlap(&dev("text,label\nd,x\ne,y\n")), None);
}
