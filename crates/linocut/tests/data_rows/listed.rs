//! Labels that somebody lists, one that stands for all others, and several of them in one text.

use super::{file, has, judged, table, train_error};
use linocut::data::{
    Dataset, Problem, Reading, Remark, Table, Targets, TaskFolder, TaskRows, TaskSpec, read_labels,
};

fn separated(by: &str) -> TaskSpec {
    TaskSpec { label_separator: Some(by.into()), ..TaskSpec::default() }
}

fn listed(labels: &[&str], other: Option<&str>) -> TaskSpec {
    let labels = labels.iter().map(|label| label.to_string()).collect();
    TaskSpec { labels, other: other.map(String::from), ..TaskSpec::default() }
}

/// Rows to evaluate a task with `problem` and `labels`, or the error, and what is said.
fn evaluated(
    content: &str,
    spec: &TaskSpec,
    problem: Problem,
    labels: &[String],
) -> (Result<Dataset, String>, Vec<Remark>) {
    let (table, mut remarks) = (table("dev.csv", content), vec![]);
    let found = Dataset::evaluation(&table, spec, problem, labels, &mut remarks);
    (found.map_err(|error| error.to_string()), remarks)
}

#[test]
fn a_text_is_split_at_the_separator() {
    for (by, cells) in [
        (";", ["wet; cold", "", "cold", ";wet;;"]),
        ("|", ["wet|cold", " ", "cold", "wet"]),
        (" ", ["wet  cold", "", "cold", "wet"]),
        (" / ", ["wet / cold", "", "cold", "wet"]),
    ] {
        let rows = cells.iter().enumerate().map(|(i, label)| format!("row {i},{label}\n"));
        let content = format!("text,label\n{}", rows.collect::<String>());
        let (d, said) = judged("a.csv", &content, &separated(by));
        assert_eq!((d.problem, d.labels.join(" ")), (Problem::MultiLabel, "cold wet".to_string()));
        assert_eq!(d.targets, Targets::MultiHot(vec![vec![0, 1], vec![], vec![0], vec![1]]));
        // What is said needs no note.
        assert_eq!(said, "");
        let (dev, remarks) = evaluated(&content, &separated(by), d.problem, &d.labels);
        assert_eq!((dev.unwrap().targets, remarks), (d.targets, vec![]));
    }
    // A comma belongs to its label, brackets make no list, 0 and 1 go by position.
    let (d, _) = judged("a.csv", "text;label\na;x, y|[z]\nb;[z]\n", &separated("|"));
    assert_eq!(d.labels, ["[z]", "x, y"]);
    let (d, _) = judged("a.csv", "text,label\na,1|0\nb,1|1\n", &separated("|"));
    assert_eq!(d.targets, Targets::MultiHot(vec![vec![0], vec![0, 1]]));
}

#[test]
fn a_separator_that_makes_no_sense() {
    let content = "text,label\na,x;y\nb,y\n";
    let (d, said) = judged("a.csv", content, &separated("|"));
    assert_eq!(d.labels, ["x;y", "y"]);
    has(
        &said,
        &["warning: ", "a.csv: \"|\" separates no labels in column \"label\"", "`label_separator`"],
    );
    let one = TaskSpec { problem: Some(Problem::SingleLabel), ..separated(";") };
    has(
        &train_error("a.csv", content, &one),
        &["`label_separator` \";\"", "`problem=single-label`"],
    );
    let number = TaskSpec { problem: Some(Problem::Regression), ..separated(";") };
    has(&train_error("a.csv", content, &number), &["a number a row: `problem=regression`"]);
    let several = TaskSpec { problem: Some(Problem::MultiLabel), ..separated(";") };
    assert_eq!(judged("a.csv", content, &several).0.labels, ["x", "y"]);
    for by in ["", "semicolon"] {
        let error = train_error("a.csv", content, &separated(by));
        has(&error, &[&format!("`label_separator` is {by:?}"), "hint: such as"]);
    }
    let lists = "{\"text\": \"a\", \"label\": [\"x\"]}\n{\"text\": \"b\", \"label\": [\"y\"]}\n";
    has(
        &train_error("a.jsonl", lists, &separated(";")),
        &[
            "line 1: expected labels separated by \";\"",
            "found a list",
            "without `label_separator`",
        ],
    );
    let labels = ["x", "y"].map(String::from);
    let (error, _) = evaluated(content, &separated(";"), Problem::SingleLabel, &labels);
    has(&error.unwrap_err(), &["`label_separator` \";\"", "the task has one label a row"]);
    // Where nothing is said of it, what would read the labels is.
    let (error, _) =
        evaluated("text,label\na,x;y\n", &TaskSpec::default(), Problem::MultiLabel, &labels);
    has(&error.unwrap_err(), &["label \"x;y\"", "`label_separator=';'` splits \"x;y\""]);
    let (_, remarks) = evaluated(content, &TaskSpec::default(), Problem::MultiLabel, &labels);
    has(&remarks[0].to_string(), &["count as wrong: \"x;y\" (1); `label_separator=';'`"]);
    let (_, said) = judged("a.csv", "text,label\na,x;y\nb,y\nc,x\n", &TaskSpec::default());
    has(&said, &["\"x;y\" is made of others", "`label_separator=';'` reads it as several"]);
}

#[test]
fn a_file_of_labels_is_read_line_by_line() {
    let dir = tempfile::tempdir().unwrap();
    let read = |content: &[u8]| {
        read_labels(&file(&dir, "l.txt", content)).map_err(|error| error.to_string())
    };
    let expected = ["wet", "hot, dry", "café"].map(String::from).to_vec();
    for content in ["wet\nhot, dry\ncafé", "\u{feff}wet \r\nhot, dry\r\n café\r\n\r\n"] {
        assert_eq!(read(content.as_bytes()), Ok(expected.clone()));
    }
    for (content, parts) in [
        (&b""[..], &["l.txt is empty"][..]),
        (b"\n\n", &["l.txt, line 1: expected a label, found nothing"]),
        (b"wet\n \ndry\n", &["l.txt, line 2: expected a label, found nothing"]),
        (b"wet\ndry\nwet\n", &["l.txt, line 3: label \"wet\" is listed twice, first in line 1"]),
        ("two words\ndry\ntwo\u{a0}words".as_bytes(), &["line 3: ", "listed twice"]),
        (b"wet\ncaf\xe9\n", &["l.txt, line 2: byte 4 is 0xe9, which is not UTF-8"]),
        (b"w\0e\0t\0", &["is UTF-16"]),
    ] {
        has(&read(content).unwrap_err(), parts);
    }
    let many = |n: usize| (0..n).map(|i| format!("{i}\n")).collect::<String>();
    assert_eq!(read(many(10_000).as_bytes()).unwrap().len(), 10_000);
    has(
        &read(many(10_001).as_bytes()).unwrap_err(),
        &["line 10001: expected 10000 labels at most"],
    );
    has(&read(&[b'a'; (2 << 20) + 1]).unwrap_err(), &["2097153 bytes, expected 2097152 at most"]);
    let error = read_labels(&dir.path().join("none.txt")).unwrap_err().to_string();
    has(&error, &["none.txt", "cannot read"]);
}

#[test]
fn labels_not_listed_are_refused_or_become_the_other() {
    let content = "text,label\na,wet\nb,dry\nc,icy\nd,hot\ne,icy\n";
    let error = train_error("a.csv", content, &listed(&["dry", "wet"], None));
    has(&error, &["line 4: label \"icy\" is not among the 2 labels of the task", "`other=LABEL`"]);
    let (d, said) = judged("a.csv", content, &listed(&["wet", "dry"], Some("rest")));
    assert_eq!(d.labels, ["wet", "dry", "rest"]);
    assert_eq!(d.targets, Targets::Classes(vec![0, 1, 2, 2, 2]));
    has(&said, &["note: ", "3 of 5 rows", "not among the 3 of the task", "count as \"rest\": "]);
    has(&said, &["\"hot\" (1), \"icy\" (2)\n"]);
    // One that is listed stays where it is, however it is spelled.
    let (d, _) = judged("a.csv", content, &listed(&["rest", "wet", "dry"], Some(" rest")));
    assert_eq!(d.labels, ["rest", "wet", "dry"]);
    // In rows to evaluate, too.
    let dev = "text,label\na,wet\nb,foggy\n";
    let one = Problem::SingleLabel;
    let (dev_rows, remarks) = evaluated(dev, &listed(&[], Some("rest")), one, &d.labels);
    assert_eq!(dev_rows.unwrap().targets, Targets::Classes(vec![1, 0]));
    has(&remarks[0].to_string(), &["note: ", "1 of 2 rows", "count as \"rest\": \"foggy\" (1)"]);
    let (error, _) = evaluated(dev, &listed(&[], Some("rset")), one, &d.labels);
    has(
        &error.unwrap_err(),
        &["`other` is \"rset\", which is not among the 3", "known are \"rest\""],
    );
    // Several labels a row: it stands once.
    let content = "text,label\na,wet;icy;hot\nb,dry\n";
    let spec = TaskSpec { label_separator: Some(";".into()), ..listed(&["dry", "wet"], Some("x")) };
    let (d, said) = judged("a.csv", content, &spec);
    assert_eq!(d.targets, Targets::MultiHot(vec![vec![1, 2], vec![0]]));
    has(&said, &["1 of 2 rows"]);
    // Beside numbers a word.
    let (d, _) = judged("a.csv", "text,label\na,1.0\nb,2\nc,7\n", &listed(&["1", "2"], Some("x")));
    assert_eq!(d.targets, Targets::Classes(vec![0, 1, 2]));
}

#[test]
fn listed_labels_that_make_no_sense() {
    let content = "text,label\na,0.5\nb,1\n";
    for spec in [listed(&["0.5", "1"], None), listed(&[], Some("x"))] {
        let spec = TaskSpec { problem: Some(Problem::Regression), ..spec };
        let error = train_error("a.csv", content, &spec);
        has(&error, &["a number a row: `problem=regression`", "leave `labels` and `other` out"]);
    }
    let alone = listed(&[], Some("x"));
    let error = train_error("a.csv", "text,label\na,y\nb,x\n", &alone);
    has(
        &error,
        &["`other` stands for labels that are not listed", "hint: list the others: `labels`"],
    );
    let blank = listed(&["y", "x"], Some(" "));
    has(&train_error("a.csv", "text,label\na,y\nb,x\n", &blank), &["`other` is \" \""]);
    let hot = "{\"text\": \"a\", \"label\": [0, 1]}\n{\"text\": \"b\", \"label\": [1, 0]}\n";
    let error = train_error("a.jsonl", hot, &listed(&["y", "x"], Some("x")));
    has(&error, &["`other` is \"x\"", "0 or 1 for every label"]);
}

#[test]
fn a_task_folder_says_all_of_it() {
    let dir = tempfile::tempdir().unwrap();
    file(&dir, "train.tsv", "sentence1\tlabel\na\twet|icy\nb\tdry\n");
    let open = |json: &str| {
        file(&dir, "task.json", json);
        TaskFolder::open(dir.path())
    };
    let folder =
        open(r#"{"labels": ["wet", "dry"], "other": "rest", "label_separator": "|"}"#).unwrap();
    let table = Table::read(&folder.train, &Reading::default()).unwrap();
    let d = Dataset::train(&table, &folder.spec, &mut vec![]).unwrap();
    assert_eq!(d.labels, ["wet", "dry", "rest"]);
    assert_eq!(d.targets, Targets::MultiHot(vec![vec![0, 2], vec![1]]));
    let error = open(r#"{"labels": ["wet", " "]}"#).unwrap_err().to_string();
    has(&error, &["task.json, label 2: expected a label, found nothing"]);
    let error = open(r#"{"label_separator": 3}"#).unwrap_err().to_string();
    has(&error, &["is not a task: invalid type: integer `3`, expected a string"]);
}

/// Of training rows the seed says which; dev rows are the same for all.
#[test]
fn a_limit_draws_training_rows_by_the_seed() {
    let dir = tempfile::tempdir().unwrap();
    let rows = |kind: &str| {
        let row = |i: usize| format!("{kind} {i}\t{}\n", i % 2);
        format!("text\tlabel\n{}", (0..200).map(row).collect::<String>())
    };
    let (train, dev) = (file(&dir, "train.tsv", rows("row")), file(&dir, "dev.tsv", rows("other")));
    let drawn = |limit, seed| {
        let reading = Reading { limit: Some(limit), ..Reading::default() };
        let mut remarks = vec![];
        let spec = TaskSpec::default();
        let rows = TaskRows::read(&spec, &train, Some(&dev), &reading, (seed, true), &mut remarks)
            .unwrap();
        (rows.train.texts, rows.dev.texts, remarks[0].to_string())
    };
    let (zero, seven) = (drawn(20, 0), drawn(20, 7));
    assert_eq!(seven, drawn(20, 7));
    assert_ne!(zero.0, seven.0);
    assert_eq!(zero.1, seven.1);
    assert!(zero.2.ends_with("20 of 200 rows are read, chosen by a hash of their numbers"));
    assert!(seven.2.ends_with("chosen by a hash of their numbers and `seed=7`"));
    let more = drawn(60, 7).0;
    assert!(seven.0.iter().all(|text| more.contains(text)));
    // What seed 0 draws, for ever.
    assert_eq!(drawn(5, 0).0, ["row 48", "row 120", "row 133", "row 186", "row 196"]);
}
