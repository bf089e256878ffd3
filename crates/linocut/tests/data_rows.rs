//! Tables and tasks: every format reads alike, and each fault of a file is named with its line.

#![allow(clippy::unwrap_used)] // clippy sees a test only in functions marked so

#[path = "data_rows/hostile.rs"]
mod hostile;
#[path = "data_rows/labels.rs"]
mod labels;
#[path = "data_rows/listed.rs"]
mod listed;
#[path = "data_rows/reader.rs"]
mod reader;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use linocut::data::{
    Cell, Dataset, Metric, Problem, Reading, Table, Targets, TaskFolder, TaskSpec, split_holdout,
};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use tempfile::TempDir;

fn file(dir: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

fn table(name: &str, content: impl AsRef<[u8]>) -> Table {
    Table::read(&file(&tempfile::tempdir().unwrap(), name, content), &Reading::default()).unwrap()
}

fn table_error(name: &str, content: impl AsRef<[u8]>) -> String {
    let dir = tempfile::tempdir().unwrap();
    Table::read(&file(&dir, name, content), &Reading::default()).unwrap_err().to_string()
}

fn train(name: &str, content: &str) -> Dataset {
    Dataset::train(&table(name, content), &TaskSpec::default(), &mut Vec::new()).unwrap()
}

fn train_error(name: &str, content: &str, spec: &TaskSpec) -> String {
    Dataset::train(&table(name, content), spec, &mut Vec::new()).unwrap_err().to_string()
}

/// The rows of a file and what is said of them.
fn judged(name: &str, content: &str, spec: &TaskSpec) -> (Dataset, String) {
    let table = table(name, content);
    let mut remarks = table.remarks().to_vec();
    let rows = Dataset::train(&table, spec, &mut remarks).unwrap();
    let said: Vec<String> = remarks.iter().map(|remark| format!("{remark}\n")).collect();
    (rows, said.concat())
}

#[track_caller]
fn has(text: &str, parts: &[&str]) {
    parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} not in: {text}"));
}

fn cells(table: &Table) -> Vec<Vec<Cell<'_>>> {
    let row = |r| (0..table.columns().len()).map(|c| table.cell(r, c)).collect();
    (0..table.rows()).map(row).collect()
}

fn write_parquet(path: &Path, schema: &str, columns: &[&[&str]]) {
    write_parquet_as(WriterProperties::default(), path, schema, columns);
}

fn write_parquet_as(how: WriterProperties, path: &Path, schema: &str, columns: &[&[&str]]) {
    let schema = Arc::new(parse_message_type(schema).unwrap());
    let file = fs::File::create(path).unwrap();
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(how)).unwrap();
    let mut group = writer.next_row_group().unwrap();
    for values in columns {
        let mut column = group.next_column().unwrap().unwrap();
        let values: Vec<ByteArray> = values.iter().map(|v| ByteArray::from(*v)).collect();
        column.typed::<ByteArrayType>().write_batch(&values, None, None).unwrap();
        column.close().unwrap();
    }
    group.close().unwrap();
    writer.close().unwrap();
}

#[test]
fn every_format_reads_the_same_table() {
    let expected = table("a.tsv", "text\tlabel\nHé \"x\", y\t1\n漢字 🙂\tno\n");
    assert_eq!(expected.columns(), ["text", "label"]);
    assert_eq!(expected.cell(0, 0), Cell::Text("Hé \"x\", y"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    write_parquet(
        &path,
        "message rows { required binary text (UTF8); required binary label (UTF8); }",
        &[&["Hé \"x\", y", "漢字 🙂"], &["1", "no"]],
    );
    for same in [
        table("a.txt", "\u{feff}text\tlabel\r\nHé \"x\", y\t1\r\n漢字 🙂\tno\r\n\r\n"),
        table("a.csv", "\u{feff}text,label\r\n\"Hé \"\"x\"\", y\",1\r\n漢字 🙂,\"no\""),
        table(
            "a.jsonl",
            "{\"text\": \"H\\u00e9 \\\"x\\\", y\", \"label\": 1}\n\n\
             {\"label\": \"no\", \"text\": \"漢字 🙂\"}\n",
        ),
        Table::read(&path, &Reading::default()).unwrap(),
    ] {
        assert_eq!(same.columns(), expected.columns());
        assert_eq!(cells(&same), cells(&expected), "{}", same.path().display());
    }
    let one = Reading { limit: Some(1), ..Reading::default() };
    assert_eq!(Table::read(&path, &one).unwrap().rows(), 1);
    let all = Table::read(&path, &Reading::default()).unwrap();
    assert!(all.place(1).ends_with("a.parquet, row 2"));
}

/// Written by pyarrow: see `reference/parquet.py`.
#[test]
fn columns_of_parquet_become_cells() {
    let text = Cell::Text;
    let (names, numbers) = (["a", "b"].map(String::from), ["3", "1"].map(String::from));
    let other = Cell::Other("an object");
    for compression in ["none", "snappy", "gzip", "zstd", "lz4"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/data");
        let path = folder.join(format!("columns-{compression}.parquet"));
        let t = Table::read(&path, &Reading::default()).unwrap();
        let expected = [
            ("text", text("Hé, \"x\""), Cell::Missing),
            ("large", text("a"), text("漢字 🙂")),
            ("category", text("no"), text("yes")),
            ("byte", text("-1"), text("127")),
            ("long", text("0"), text("9007199254740993")),
            ("unsigned", text("0"), text("18446744073709551615")),
            ("flag", text("true"), text("false")),
            ("single", text("0.1"), text("3.0")),
            ("double", text("0.1"), text("1e-300")),
            ("half", text("0.5"), text("-2.0")),
            ("date", text("2024-02-29"), Cell::Missing),
            ("names", Cell::List(&names), Cell::List(&[])),
            ("numbers", Cell::List(&numbers), Cell::Missing),
            ("nested", other, other),
        ];
        assert_eq!(t.columns(), expected.each_ref().map(|column| column.0));
        for (c, (name, first, second)) in expected.iter().enumerate() {
            assert_eq!([t.cell(0, c), t.cell(1, c)], [*first, *second], "{name}, {compression}");
        }
    }
}

#[test]
fn json_values_become_cells() {
    let t = table(
        "a.json",
        "{\"a\": 1.50, \"b\": true, \"c\": null}\n{\"d\": [\"x\", 2], \"e\": {\"f\": 1}, \"a\": -3}\n",
    );
    assert_eq!(t.columns(), ["a", "b", "c", "d", "e"]);
    let (text, list) = (Cell::Text, ["x", "2"].map(String::from));
    assert_eq!(
        cells(&t),
        [
            vec![text("1.5"), text("true"), Cell::Missing, Cell::Missing, Cell::Missing],
            vec![
                text("-3"),
                Cell::Missing,
                Cell::Missing,
                Cell::List(&list),
                Cell::Other("an object"),
            ],
        ]
    );
}

#[test]
fn faults_of_a_file_are_named_with_their_line() {
    let has = |text: String, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} not in: {text}"));
    };
    has(table_error("a.tsv", ""), &["a.tsv is empty"]);
    has(table_error("a.csv", ""), &["a.csv is empty"]);
    has(table_error("a.jsonl", "\n\n"), &["a.jsonl has no rows"]);
    has(table_error("a.tsv", "text\tlabel\n"), &["a.tsv has no rows"]);
    has(table_error("a.csv", "text,label\r\n"), &["a.csv has no rows"]);
    has(table_error("a.tsv", "a\tb\n1\t2\n1\n"), &["a.tsv, line 3", "expected 2 cells", "found 1"]);
    has(table_error("a.tsv", "a\tb\n\n1\t2\n"), &["line 2", "found 1"]);
    has(
        table_error("a.csv", "a,b\n\"1\n1\",2\n1,2,3\n"),
        &["a.csv, line 4", "expected 2 cells", "found 3", "hint: "],
    );
    has(
        table_error("a.tsv", b"text\tlabel\nok\t1\ncaf\xe9\t1\n"),
        &["a.tsv, line 3: byte 4 is 0xe9", "not UTF-8", "iconv"],
    );
    has(table_error("a.tsv", b"\xff\xfet\x00"), &["UTF-16", "iconv -f UTF-16"]);
    has(table_error("a.jsonl", "{\"a\": 1}\n{\"a\": }\n"), &["a.jsonl, line 2: not a JSON object"]);
    has(table_error("a.json", "[{\"a\": 1}]"), &["one JSON array", "jq -c '.[]'"]);
    let twice = table("a.tsv", "a\ta\n1\t2\n").column("a").unwrap_err().to_string();
    has(twice, &["two columns are called \"a\""]);
    has(table_error("a.parquet", "PAR1 this is not one PAR1"), &["a.parquet is not readable"]);
    has(table_error("a.xlsx", "x"), &["cannot tell the format", ".parquet"]);
    let t = table("a.tsv", "body\tkind\nx\ty\n");
    has(
        t.column("label").unwrap_err().to_string(),
        &["\"label\"", "columns are \"body\", \"kind\""],
    );
    has(
        Table::read(Path::new("no/such.tsv"), &Reading::default()).unwrap_err().to_string(),
        &["cannot read no/such.tsv"],
    );
}

#[test]
fn the_problem_follows_the_label_column() {
    let d = train("a.tsv", "text\tlabel\na\t10\nb\t9\nc\t10\n");
    assert_eq!((d.problem, d.name.as_str()), (Problem::SingleLabel, "a"));
    assert_eq!(d.labels, ["9", "10"], "whole numbers sort as numbers");
    assert_eq!(d.targets, Targets::Classes(vec![1, 0, 1]));
    let d = train("a.tsv", "text\tlabel\na\tb\nb\tB\nc\tä\n");
    assert_eq!(d.labels, ["B", "b", "ä"]);
    let d = train("a.tsv", "sentence1\tsentence2\tscore\na\tx\t1\nb\ty\t2.5\n");
    assert_eq!(
        (d.problem, d.targets.clone()),
        (Problem::Regression, Targets::Values(vec![1., 2.5]))
    );
    assert_eq!(d.pairs, Some(vec!["x".to_string(), "y".to_string()]));
    let d = train(
        "a.jsonl",
        "{\"text\": \"a\", \"labels\": [\"y\", \"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": []}\n",
    );
    assert_eq!((d.problem, d.labels.len()), (Problem::MultiLabel, 2));
    assert_eq!(d.targets, Targets::MultiHot(vec![vec![0, 1], vec![]]));
    let d = train("a.tsv", "text\tlabel\na\t[\"y\", \"x\"]\nb\t[\"x\"]\n");
    assert_eq!(d.targets, Targets::MultiHot(vec![vec![0, 1], vec![0]]));

    let spec = TaskSpec { problem: Some(Problem::MultiLabel), ..TaskSpec::default() };
    let t = table("a.csv", "text,label\na,\"y, x\"\nb,\nc,x\n");
    let d = Dataset::train(&t, &spec, &mut Vec::new()).unwrap();
    assert_eq!(d.targets, Targets::MultiHot(vec![vec![0, 1], vec![], vec![0]]));
    let spec = TaskSpec { problem: Some(Problem::Regression), ..TaskSpec::default() };
    let t = table("a.csv", "text,label\na,1\nb,2\n");
    let d = Dataset::train(&t, &spec, &mut Vec::new()).unwrap();
    assert_eq!(d.targets, Targets::Values(vec![1.0, 2.0]));
}

#[test]
fn faults_of_rows_are_named_counted_and_hinted() {
    let auto = TaskSpec::default();
    let has = |text: String, parts: &[&str]| {
        parts.iter().for_each(|part| assert!(text.contains(part), "{part:?} not in: {text}"));
    };
    has(
        train_error("a.tsv", "text\tlabel\na\tx\nb\t\nc\ty\nd\t \n", &auto),
        &["a.tsv, line 3: no value in label column \"label\"", "2 of 4 rows", "hint: "],
    );
    has(
        train_error("a.jsonl", "{\"text\":\"a\",\"label\":1}\n{\"text\":\"b\"}\n", &auto),
        &["a.jsonl, line 2: no value in label"],
    );
    // An empty list is an answer, null is none.
    let rows =
        ["[]", "[\"x\"]", "\"\"", "null"].map(|l| format!("{{\"text\":\"a\",\"label\":{l}}}\n"));
    let spec = TaskSpec { problem: Some(Problem::MultiLabel), ..auto.clone() };
    has(train_error("a.jsonl", &rows.concat(), &spec), &["line 4: no value", "1 of 4 rows"]);
    has(
        train_error("a.tsv", "text\tlabel\na\tx\n \ty\n", &auto),
        &["a.tsv, line 3: column \"text\" holds no text", "1 of 2 rows", "hint: "],
    );
    has(
        train_error("a.tsv", "text\tlabel\na\tx\nb\tx\n", &auto),
        &["all 2 rows have the label \"x\"", "nothing to learn"],
    );
    for bad in ["nan", "inf", "1e99", "two"] {
        let spec = TaskSpec { problem: Some(Problem::Regression), ..auto.clone() };
        let content = format!("text\tlabel\na\t0.5\nb\t{bad}\n");
        has(train_error("a.tsv", &content, &spec), &["line 3", "expected a finite number", bad]);
    }
    has(
        train_error("a.tsv", "text\tlabel\na\t0.5\nb\tNaN\n", &auto),
        &["line 3: expected a finite number"],
    );
    has(
        train_error("a.tsv", "body\tkind\na\tx\n", &auto),
        &["no label column was named", "columns are \"body\", \"kind\"", "hint: name the label"],
    );
    has(
        train_error("a.tsv", "body\tlabel\na\tx\nb\ty\n", &auto),
        &["no text column was named", "columns are \"body\", \"label\""],
    );
    let spec = TaskSpec { text: Some("txt".into()), ..auto.clone() };
    has(train_error("a.tsv", "text\tlabel\na\tx\n", &spec), &["no column \"txt\""]);
    let spec = TaskSpec { labels: vec!["ham".into(), "spam".into()], ..auto.clone() };
    has(
        train_error("a.tsv", "text\tlabel\na\tham\nb\tSpan\n", &spec),
        &["line 3: label \"Span\" is not among the 2 labels of the task", "are \"spam\", \"ham\""],
    );
    let dev = table("dev.tsv", "text\tlabel\na\tham\nb\teggs\n");
    let evaluate = |table: &Table, how: &TaskSpec, remarks: &mut Vec<_>| {
        Dataset::evaluation(table, how, Problem::SingleLabel, &spec.labels, remarks)
    };
    let error = evaluate(&dev, &spec, &mut Vec::new()).unwrap_err().to_string();
    has(error, &["dev.tsv, line 3: label \"eggs\"", "labels of the training rows"]);
    let one = table("dev.tsv", "text\tlabel\na\tham\n");
    let d = evaluate(&one, &auto, &mut Vec::new()).unwrap();
    assert_eq!((d.rows(), &d.labels), (1, &spec.labels));
    // Where the task does not list its labels, others count as wrong, unless none is known.
    let mut remarks = Vec::new();
    let d = evaluate(&dev, &auto, &mut remarks).unwrap();
    assert_eq!(d.targets, Targets::Classes(vec![0, 2]));
    has(remarks[0].to_string(), &["warning: ", "1 of 2 rows", "\"eggs\" (1)", "count as wrong"]);
    let none = table("dev.tsv", "text\tlabel\na\tHam\n");
    let error = evaluate(&none, &auto, &mut Vec::new()).unwrap_err().to_string();
    has(error, &["line 2: label \"Ham\"", "nearest known are \"ham\""]);
}

#[test]
fn a_task_folder_says_how_to_read_its_files() {
    let dir = tempfile::tempdir().unwrap();
    let error = |dir: &TempDir| TaskFolder::open(dir.path()).unwrap_err().to_string();
    assert!(error(&dir).contains("has no task.json"));
    let json = "{\"name\": \"para\", \"kind\": \"pair\", \"type\": \"classification\", \
        \"labels\": [\"no\", \"yes\"], \"metric\": \"f1\", \"f1_average\": \"binary\", \
        \"positive_label\": \"yes\", \"source\": \"made up\"}";
    file(&dir, "task.json", json);
    assert!(error(&dir).contains("has no training rows"));
    let rows = "sentence1\tsentence2\tlabel\na\tb\tyes\nc\td\tno\n";
    file(&dir, "train.tsv", rows);
    let folder = TaskFolder::open(dir.path()).unwrap();
    assert_eq!(folder.spec.metric, Some(Metric::BinaryF1 { positive: "yes".into() }));
    assert!(folder.dev.is_none());
    let t = Table::read(&folder.train, &Reading::default()).unwrap();
    let d = Dataset::train(&t, &folder.spec, &mut Vec::new()).unwrap();
    assert_eq!((d.name.as_str(), d.labels.join(" ")), ("para", "no yes".to_string()));
    assert_eq!(d.targets, Targets::Classes(vec![1, 0]));
    assert!(d.pairs.is_some());
    for (from, to, message) in [
        ("\"pair\"", "\"triple\"", "expected kind single or pair, found \"triple\""),
        ("\"classification\"", "\"ranking\"", "found \"ranking\""),
        ("\"f1\"", "\"bleu\"", "found \"bleu\""),
        ("\"binary\"", "\"weighted\"", "found \"weighted\""),
        ("\"positive_label\": \"yes\"", "\"positive_label\": \"si\"", "\"si\" is not a label"),
        ("\"no\", ", "\"yes\", ", "label \"yes\" is listed twice"),
        ("{", "[", "is not a task"),
    ] {
        file(&dir, "task.json", json.replace(from, to));
        assert!(error(&dir).contains(message), "{}", error(&dir));
    }
}

#[test]
fn rows_are_held_out_by_their_text_and_the_seed() {
    // Every fourth row repeats an earlier text.
    let rows: Vec<String> = (0..400)
        .map(|i| {
            let i = if i % 4 == 3 { i - 3 } else { i };
            // 0 and 1 are frequent, one text has 2, two have 3, thirty have 4.
            let label = match i {
                0 => "2",
                1 | 2 => "3",
                100..140 => "4",
                i => ["0", "1"][i % 2],
            };
            format!("row {i}\t{label}\n")
        })
        .collect();
    let all = train("a.tsv", &format!("text\tlabel\n{}", rows.concat()));
    let (kept, held) = split_holdout(&all, 0.2, 7).unwrap();
    assert_eq!(kept.rows() + held.rows(), 400);
    assert!((78..=83).contains(&held.rows()), "{}", held.rows());
    let with = |d: &Dataset, label: u32| match &d.targets {
        Targets::Classes(all) => all.iter().filter(|&&l| l == label).count(),
        _ => unreachable!(),
    };
    let held_out: Vec<usize> = (0..5).map(|label| with(&held, label)).collect();
    assert_eq!(held_out[2], 0, "the only text of a label is learned");
    assert!(with(&kept, 3) > 0 && (7..=9).contains(&held_out[4]), "{held_out:?}");
    assert!((52..=56).contains(&held_out[0]), "{held_out:?} of {}", with(&all, 0));
    assert!(held.texts.iter().all(|t| !kept.texts.contains(t)), "a text is on both sides");
    assert_eq!((&held.labels, held.problem), (&all.labels, all.problem));
    assert_eq!(split_holdout(&all, 0.2, 7).unwrap(), (kept, held.clone()));
    assert_ne!(split_holdout(&all, 0.2, 8).unwrap().1.texts, held.texts);

    let backwards: Vec<usize> = (0..400).rev().collect();
    let (_, mut other) = split_holdout(&all.select(&backwards), 0.2, 7).unwrap();
    other.texts.reverse();
    assert_eq!(other.texts, held.texts);

    for share in [0.0, 1.0, f64::NAN, -0.1] {
        let error = split_holdout(&all, share, 7).unwrap_err().to_string();
        assert!(error.contains("must be between 0 and 1"), "{error}");
    }
    let error = split_holdout(&all.select(&[0, 0]), 0.5, 7).unwrap_err().to_string();
    assert!(error.contains("all 2 rows of a have the same text, so none can be held"), "{error}");
    let error = split_holdout(&all.select(&[0, 1]), 0.9, 7).unwrap_err().to_string();
    assert!(error.contains("too few to hold 0.9 of them out"), "{error}");
}
