//! One strict reader: delimiters, quotation marks, lines, keys, and what stands in a file instead.

use super::{cells, file, has, table, table_error, write_parquet};
use linocut::data::{Cell, Columns, Dataset, Reading, Table, TaskSpec};
use std::fmt::Write;

fn said(table: &Table) -> String {
    table.remarks().iter().map(|remark| format!("{remark}\n")).collect()
}

fn read(name: &str, content: &str, reading: &Reading) -> Table {
    Table::read(&file(&tempfile::tempdir().unwrap(), name, content), reading).unwrap()
}

/// 200 rows, the last cell of each in quotation marks from row 100 on.
fn rows(edit: impl Fn(usize) -> Option<String>) -> String {
    let mut text = String::from("text,label\n");
    for i in 0..200 {
        let row = edit(i).unwrap_or_else(|| match i {
            100.. => format!("\"row {i}, late\",wet"),
            _ => format!("row {i},dry"),
        });
        writeln!(text, "{row}").unwrap();
    }
    text
}

#[test]
fn a_quotation_mark_that_is_not_closed_is_found_where_it_opens() {
    // In the last column, to the end; in the first, up to the next mark; in the middle of a cell.
    let late = |i| (i >= 100).then(|| format!("row {i},wet"));
    let end =
        table_error("a.csv", rows(|i| if i == 50 { Some("x,\"dry".into()) } else { late(i) }));
    has(&end, &["a.csv, line 52: ", "is not closed", "hint: "]);
    let next = table_error("a.csv", rows(|i| (i == 50).then(|| "\"x,dry".into())));
    has(&next, &["a.csv, line 52: ", "closed in line 102 in the middle of a cell"]);
    for row in ["5\" disk,dry", "\"x\" y,dry", "x,dry\""] {
        let error = table_error("a.csv", rows(|i| (i == 50).then(|| row.into())));
        has(&error, &["a.csv, line 52: ", "hint: ", "`quotes=none`"]);
    }
    // Too many cells after a cell of several lines: the word is for that cell.
    let error = table_error("a.csv", "text,label\n\"a\nb\",x,\"y\n\"\n");
    has(&error, &["line 2: expected 2 cells", "found 3", "from line 2 to line 3"]);
    // Legal, but like rows that a mark swallowed.
    let swallowed = rows(|i| match i {
        50 => Some("\"row 50,dry".into()),
        60 => Some("row 60\",dry".into()),
        _ => late(i),
    });
    let t = table("a.csv", swallowed);
    assert_eq!(t.rows(), 190);
    has(&said(&t), &["warning: ", "line 52: a quoted cell goes on to line 62", "like a row"]);
    let poem = "text,label\n\"Roses are red,\nviolets, too,\nso are,\nsome, bees,\nso are\",x\n";
    assert_eq!(said(&table("a.csv", poem)), "");
}

#[test]
fn lines_count_alike_whatever_ends_them() {
    for end in ["\n", "\r\n"] {
        let text = ["text,label", "\"a", "b\",x", "c,y,z", ""].join(end);
        has(&table_error("a.csv", text), &["a.csv, line 4: expected 2 cells"]);
        let text = ["text\tlabel", "a\tx", "c", ""].join(end);
        has(&table_error("a.tsv", text), &["a.tsv, line 3: expected 2 cells"]);
        let text = ["{\"a\": 1}", "", "{\"a\": }", ""].join(end);
        has(&table_error("a.jsonl", text), &["a.jsonl, line 3: not a JSON object"]);
    }
    // As Python's csv writes into a file that was not opened with newline="".
    let t = table("a.csv", "text,label\r\r\na,x\r\r\n\"b\",y\r\r\n");
    assert_eq!((t.rows(), t.cell(1, 1)), (2, Cell::Text("y")));
    assert!(t.place(1).ends_with("line 3"), "{}", t.place(1));
    has(
        &table_error("a.csv", "text,label\ra,x\rb,y\r"),
        &["lines end in CR alone", "tr '\\r' '\\n'"],
    );
    has(&table_error("a.csv", "text,label\na\rb,x\n"), &["line 2: a carriage return"]);
}

#[test]
fn delimiters_are_seen_or_told() {
    let cell = |t: &Table| (t.columns().join(" "), t.cell(0, 1).to_owned_text());
    let found = ("text label".to_string(), "x, y".to_string());
    for (name, content, word) in [
        ("a.csv", "text;label\nb;x, y\n", "semicolons"),
        ("a.csv", "text|label\nb|x, y\n", "pipes"),
        ("a.csv", "text\tlabel\nb\tx, y\n", "tabs"),
        ("a.txt", "text;label\nb;x, y\n", "semicolons"),
        ("a.tsv", "text,label\nb,\"x, y\"\n", "commas"),
    ] {
        let t = table(name, content);
        assert_eq!(cell(&t), found, "{content}");
        has(&said(&t), &["note: ", "separated by ", word, "`delimiter`"]);
    }
    let told = Reading { delimiter: Some(':'), ..Reading::default() };
    let t = read("a.csv", "text:label\nb:\"x, y\"\n", &told);
    assert_eq!((cell(&t), said(&t)), (found.clone(), String::new()));
    let t = table("a.csv", "sep=;\r\ntext;label\r\nb;x, y\r\n");
    assert_eq!((cell(&t), said(&t)), (found, String::new()), "as Excel is told");
    assert!(t.place(0).ends_with("line 3"), "{}", t.place(0));
    assert_eq!(said(&table("a.csv", "\"a;b;c\",label\n1,2\n")), "", "marks enclose delimiters");
    has(&table_error("a.csv", "text;label\nb;x;y\n"), &["line 2: expected 2", "semicolons"]);
    has(&table_error("a.csv", "sep=;\n\nb;x\n"), &["line 2: no column names"]);
}

trait Owned {
    fn to_owned_text(&self) -> String;
}

impl Owned for Cell<'_> {
    fn to_owned_text(&self) -> String {
        match self {
            Cell::Text(text) => (*text).to_string(),
            other => format!("{other:?}"),
        }
    }
}

#[test]
fn marks_in_tsv_are_what_the_file_makes_of_them() {
    let first = |content: &str| {
        let t = table("a.tsv", content);
        (t.cell(0, 0).to_owned_text(), said(&t))
    };
    // GLUE: whole cells in marks, and marks that nothing closes.
    for (content, text) in [
        ("text\tlabel\n\"Go\" he said\tx\nb\ty\n", "\"Go\" he said"),
        ("text\tlabel\n\"Go on\"\tx\nb\ty\n", "\"Go on\""),
        ("text\tlabel\n\"Go\tx\nb\ty\n", "\"Go"),
    ] {
        let (cell, said) = first(content);
        assert_eq!(cell, text);
        has(&said, &["note: ", "quotation marks are text", "`quotes`"]);
    }
    // pandas and csv: marks around what needs them, or around everything.
    for (content, text) in [
        ("text\tlabel\n\"He said \"\"go\"\"\"\tx\nb\ty\n", "He said \"go\""),
        ("text\tlabel\n\"a\tb\"\tx\nb\ty\n", "a\tb"),
        ("text\tlabel\n\"a\nb\"\tx\nb\ty\n", "a\nb"),
        ("\"text\"\t\"label\"\n\"a\"\tx\nb\ty\n", "a"),
        ("text\tlabel\n\"a\"\tx\n\"b\"\ty\n", "a"),
    ] {
        let (cell, said) = first(content);
        assert_eq!(cell, text);
        has(&said, &["note: ", "quotation marks enclose cells", "`quotes`"]);
    }
    assert_eq!(first("text\tlabel\n5\" disk\tx\nb\ty\n"), ("5\" disk".into(), String::new()));
    let told = |quotes| Reading { quotes: Some(quotes), ..Reading::default() };
    let content = "text\tlabel\n\"Go on\"\tx\nb\ty\n";
    assert_eq!(read("a.tsv", content, &told(true)).cell(0, 0), Cell::Text("Go on"));
    let content = "text,label\n5\" disk,x\n";
    assert_eq!(read("a.csv", content, &told(false)).cell(0, 0), Cell::Text("5\" disk"));
    has(&table_error("a.tsv", "a\tb\n\"1\n1\"\t2\n3\n"), &["line 2: expected 2", "`quotes=csv`"]);
}

#[test]
fn columns_that_nobody_reads_may_be_anything() {
    let named = |names: &[&str]| Reading {
        columns: Columns::Named(names.iter().map(|n| n.to_string()).collect()),
        ..Reading::default()
    };
    let t = read("a.csv", "v1,v2,,,\nham,hi,,,\nspam,win,,,\n", &named(&["v1", "v2"]));
    assert_eq!((t.cell(0, 0), t.cell(1, 1)), (Cell::Text("ham"), Cell::Text("win")));
    assert_eq!((t.columns().len(), t.cell(0, 2)), (5, Cell::Missing));
    let t = read("a.jsonl", "{\"a\": {\"b\": [1, [2]]}, \"c\": 1}\n", &named(&["c"]));
    assert_eq!(cells(&t), [[Cell::Missing, Cell::Text("1")]]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.parquet");
    let schema = "message rows { required binary a (UTF8); required binary b (UTF8); }";
    write_parquet(&path, schema, &[&["x", "y"], &["1", "2"]]);
    let t = Table::read(&path, &named(&["b"])).unwrap();
    assert_eq!(
        (t.columns(), t.cell(1, 1)),
        (&["a".to_string(), "b".to_string()][..], Cell::Text("2"))
    );
    assert_eq!(t.cell(1, 0), Cell::Missing);
    // A name that is nearly there.
    for (name, near) in [("Text", "\"text\""), ("label ", "\"label\""), ("txt", "\"text\"")] {
        let error = table("a.csv", "text,label\na,b\n").column(name).unwrap_err().to_string();
        has(&error, &["no column", &format!("the nearest is {near}")]);
    }
    let header = table("a.csv", "I like it,1\nso do I,1\n").column("text").unwrap_err().to_string();
    has(&header, &["hint: the first line must name the columns"]);
}

#[test]
fn json_is_read_as_strictly_as_the_server_reads_it() {
    has(
        &table_error("a.jsonl", "{\"a\": 1}\n{\"a\": 1, \"b\": 2, \"a\": 3}\n"),
        &["a.jsonl, line 2: ", "the key \"a\" stands twice"],
    );
    has(&table_error("a.jsonl", "{\n \"a\": 1\n}\n"), &["line 1: ", "hint: ", "jq -c ."]);
    has(&table_error("a.json", "\n [{\"a\": 1}]"), &["one JSON array", "jq -c '.[]'"]);
    has(&table_error("a.jsonl", "{\"a\": 1}\n3\n"), &["line 2: not a JSON object", "an object"]);
    let columns = "{\"text\": {\"0\": \"a\"}, \"label\": {\"0\": \"b\"}}\n";
    let error = Dataset::texts(&table("a.json", columns), &TaskSpec::default()).unwrap_err();
    has(&error.to_string(), &["found an object", "lines=True"]);
    let nulls = "{\"text\": \"a\", \"label\": [\"x\", null]}\n";
    assert_eq!(table("a.jsonl", nulls).cell(0, 1), Cell::Other("a list with a null in it"));
}

#[test]
fn files_that_are_something_else_are_called_by_their_names() {
    has(&table_error("a.csv", b"t\0e\0x\0t\0\n\0"), &["UTF-16", "iconv -f UTF-16LE"]);
    has(&table_error("a.csv", b"\0t\0e\0x\0t\0\n"), &["UTF-16", "iconv -f UTF-16BE"]);
    has(&table_error("a.csv", b"\x1f\x8b\x08\0rest"), &["compressed by gzip", "gunzip"]);
    has(&table_error("a.csv", b"PK\x03\x04rest"), &["Excel", "save the sheet as CSV"]);
    has(&table_error("a.csv", b"PAR1rest"), &["Parquet", "ending in .parquet"]);
    has(
        &table_error("a.csv", b"text,label\n\x93quoted\x94,x\n"),
        &["line 2: byte 1 is 0x93", "iconv -f WINDOWS-1252"],
    );
    has(&table_error("a.parquet", b"PAR1 encrypted footer PARE"), &["encrypted"]);
    has(&table_error("a.parquet", b"PAR1 cut sho"), &["cut short"]);
}

#[test]
fn a_limit_takes_rows_from_everywhere() {
    let sorted: String = (0..1000).map(|i| format!("row {i}\t{}\n", i / 500)).collect();
    let content = format!("text\tlabel\n{sorted}");
    let limited =
        |limit| read("a.tsv", &content, &Reading { limit: Some(limit), ..Reading::default() });
    let t = limited(100);
    assert_eq!(t.rows(), 100);
    has(&said(&t), &["note: ", "100 of 1000 rows are read"]);
    let ones = (0..100).filter(|&row| t.cell(row, 1) == Cell::Text("1")).count();
    assert!((35..65).contains(&ones), "{ones}");
    let places: Vec<String> = (0..100).map(|row| t.place(row)).collect();
    assert!((0..100).all(|row| places[row].ends_with(&format!(
        "line {}",
        t.cell(row, 0).to_owned_text()[4..].parse::<usize>().unwrap() + 2
    ))));
    // A larger sample holds the smaller one, in the order of the file.
    let texts = |t: &Table| (0..t.rows()).map(|r| t.cell(r, 0).to_owned_text()).collect::<Vec<_>>();
    let (few, more) = (texts(&t), texts(&limited(300)));
    assert!(few.iter().all(|text| more.contains(text)));
    assert_eq!(cells(&limited(5000)), cells(&table("a.tsv", &content)));
    assert_eq!(said(&limited(1000)), "");
    let none = Reading { limit: Some(0), ..Reading::default() };
    let dir = tempfile::tempdir().unwrap();
    assert!(Table::read(&file(&dir, "a.tsv", &content), &none).is_err());
}
