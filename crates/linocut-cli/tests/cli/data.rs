//! What is said of files and label columns, and refused, before anything is trained.

use super::place::Place;
use insta::assert_snapshot;

/// Where a task does not list its labels, dev labels that training has not seen count as wrong.
#[test]
fn labels_unseen_in_training_where_nothing_lists_them() {
    let place = Place::new();
    let rows = |from: usize, to: usize, odd: &str| -> String {
        let row = |i: usize| match i {
            20 => format!("soup number {i},{odd}\n"),
            _ => format!("soup number {i},{}\n", ["wet", "dry"][i % 2]),
        };
        format!("text,label\n{}", (from..to).map(row).collect::<String>())
    };
    place.write("train.csv", rows(0, 16, ""));
    place.write("dev.csv", rows(16, 24, "Wet"));
    let train =
        "train --base base --train train.csv --method head --epochs 1 --dev dev.csv --out t.cut";
    assert_snapshot!(place.run(train).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "label": # labels, one a row, since it holds texts; --problem says otherwise
    warning: dev.csv: # of # rows have labels that are not among the # of the training rows, and count as wrong: "Wet" (#)
    train: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    let scores = place.run("eval t.cut --base base --data dev.csv --json").json();
    assert_eq!(scores["classes"][2]["label"], "(not in training)");
    assert_eq!(scores["classes"][2]["support"], 1);
    assert_eq!(scores["rows"], 8);
    assert_snapshot!(place.run(&format!("{train} --force --strict")), @r#"
    exit 1
    --- stderr
    note: label column "label": 2 labels, one a row, since it holds texts; --problem says otherwise
    error: dev.csv: 1 of 8 rows have labels that are not among the 2 of the training rows, and count as wrong: "Wet" (1)
    hint: without --strict this is a warning
    "#);
    place.write("dev.csv", "text,label\nsoup,Wet\n");
    assert_snapshot!(place.run(&format!("{train} --force")), @r#"
    exit 1
    --- stderr
    note: label column "label": 2 labels, one a row, since it holds texts; --problem says otherwise
    error: dev.csv, line 2: label "Wet" is not among the 2 labels of the training rows
    hint: the nearest known are "wet", "dry"
    "#);
}

#[test]
fn a_file_that_is_not_what_its_name_says() {
    let place = Place::new();
    let run = |name: &str, content: &str, options: &str| {
        place.write(name, content);
        place.run(&format!("train --base base --train {name} --method head --out t.cut {options}"))
    };
    let open = "text,label\nrain,wet\n\"sun,dry\nsnow,wet\n";
    assert_snapshot!(run("a.csv", open, ""), @r#"
    exit 1
    --- stderr
    error: a.csv, line 3: the quotation mark that opens a cell here is not closed
    hint: a cell with a delimiter, a line break or a quotation mark stands in "…", with every " in it doubled; in a file where marks are text like any other: --quotes none
    "#);
    assert_snapshot!(run("a.csv", "text;label\nrain;wet\nsun, then;dry;\n", ""), @r#"
    exit 1
    --- stderr
    error: a.csv, line 3: expected 2 cells, as the header has, found 3
    hint: a cell with a delimiter, a line break or a quotation mark stands in "…", with every " in it doubled (cells are separated by semicolons here)
    "#);
    assert_snapshot!(run("a.csv", "Text,label\nrain,wet\n", ""), @r#"
    exit 1
    --- stderr
    error: a.csv: no text column was named, and none of text, sentence, sentence1, content, question, query, utterance, review, title, premise is present; its columns are "Text", "label"
    hint: name the text column: --text "Text"
    "#);
    assert_snapshot!(run("a.csv", "text,label\nrain,wet\n", "--text label"), @r#"
    exit 1
    --- stderr
    error: a.csv: column "label" is both the text and the label; its columns are "text", "label"
    hint: name the columns: --text, --text-pair and --label
    "#);
    assert_snapshot!(run("a.jsonl", "{\"text\": \"a\", \"text\": \"b\"}\n", ""), @r#"
    exit 1
    --- stderr
    error: a.jsonl, line 1: not a JSON object: the key "text" stands twice at byte 20
    "#);
    assert_snapshot!(run("a.parquet", "text,label\nrain,wet\n", ""), @"
    exit 1
    --- stderr
    error: a.parquet is not readable Parquet: it does not begin and end with PAR1: cut short, or something else
    hint: write it again, or copy it again from where it came; pandas reads a whole one by pandas.read_parquet(PATH)
    ");
    assert_snapshot!(run("a.csv", "text,label\nrain,wet\n", "--delimiter ab"), @"
    exit 2
    --- stderr
    error: invalid value 'ab' for '--delimiter <CHAR>': expected one character, such as ';', or tab

    For more information, try '--help'.
    ");
}

/// What a label column is taken for is said, unless somebody says it.
#[test]
fn a_label_column_that_may_be_misread() {
    let place = Place::new();
    let mut rows = String::from("text;code\n");
    for i in 0..40 {
        let (text, code) = [("sugar", "250.00"), ("blood pressure", "401.9")][i % 2];
        rows += &format!("{text} at visit {i};{code}\n");
    }
    place.write("icd.csv", &rows);
    let train =
        "train --base base --train icd.csv --label code --method head --epochs 1 --out c.cut";
    assert_snapshot!(place.run(train).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    c.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: icd.csv: cells are separated by semicolons, as the header has it; --delimiter says otherwise
    note: label column "code": # labels, one a row, since its # different numbers in # rows are hardly amounts; --problem says otherwise
    code: # rows, # dev rows held out, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    let told = format!("{train} --force --delimiter ; --problem single-label");
    assert_snapshot!(place.run(&told).rough(), @"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    c.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    code: # rows, # dev rows held out, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    ");
    place.write("icd.csv", rows.replace("401.9", "250.00 "));
    assert_snapshot!(place.run(&format!("{train} --force")), @r#"
    exit 1
    --- stderr
    note: icd.csv: cells are separated by semicolons, as the header has it; --delimiter says otherwise
    note: label column "code": 1 label, one a row, since its numbers are all whole; --problem says otherwise
    error: icd.csv: all 40 rows have the label "250.00" in column "code", so there is nothing to learn
    "#);
    place.write("icd.csv", rows.replacen("401.9", "401.9 ", 1));
    assert_snapshot!(place.run(&format!("{train} --force -q")).rough(), @r##"
    exit 0
    --- stdout
    accuracy # on # held-out rows; the most frequent label for all: #
    c.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    warning: labels that look alike are taken for one: "# " (# row, the first icd.csv, line #) for "#"
    "##);
    assert_snapshot!(place.run(&format!("{train} --force -q --strict")), @r#"
    exit 1
    --- stderr
    error: labels that look alike are taken for one: "401.9 " (1 row, the first icd.csv, line 3) for "401.9"
    hint: without --strict this is a warning
    "#);
}

#[test]
fn vectors_of_zeros_and_ones() {
    let place = Place::new();
    let row = |i: usize| {
        let hot = ["[1.0, 0.0, 0.0]", "[0.0, 1.0, 1.0]", "[0.0, 0.0, 0.0]"][i % 3];
        format!("{{\"text\": \"{} {i}\", \"labels\": {hot}}}\n", ["rain", "snow", "sun"][i % 3])
    };
    place.write("hot.jsonl", (0..24).map(row).collect::<String>());
    let train = "train --base base --train hot.jsonl --method head --epochs 1 --out h.cut";
    assert_snapshot!(place.run(train).rough(), @r#"
    exit 0
    --- stdout
    f1 micro # on # held-out rows
    h.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: label column "labels": # labels, any number a row, since its lists say # or # for each; --problem says otherwise
    hot: # rows, # dev rows held out, # labels; head on base, # epochs
    most frequent label: "LABEL_1" (# rows), rarest: "LABEL_0" (# rows); without any: # rows
    texts of # tokens (median), # at most; none is cut
    "#);
    let labels = &place.run("inspect h.cut --json").json()["card"]["labels"];
    assert_eq!(labels.to_string(), r#"["LABEL_0","LABEL_1","LABEL_2"]"#);
}
