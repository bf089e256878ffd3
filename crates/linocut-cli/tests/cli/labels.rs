//! Labels that are listed, that are not, and several of them in one text.

use super::place::Place;
use insta::assert_snapshot;

/// `topics` as a table of notes, every third also `urgent`.
fn notes(place: &Place, from: &str, separator: &str) -> String {
    let task = place.text(&format!("topics/{from}.tsv"));
    let row = |(i, line): (usize, &str)| {
        let (text, label) = line.split_once('\t').unwrap();
        let more = if i % 3 == 0 { format!("{separator}urgent") } else { String::new() };
        format!("{text}\t{label}{more}\n")
    };
    format!("note\ttags\n{}", task.lines().skip(1).enumerate().map(row).collect::<String>())
}

/// With `t.tsv` and `d.tsv`, of which every third row has two labels joined by `;`.
fn place() -> Place {
    let place = Place::new();
    place.write("t.tsv", notes(&place, "train", ";"));
    place.write("d.tsv", notes(&place, "dev", ";"));
    place
}

const TRAIN: &str =
    "train --base base --train t.tsv --label tags --text note --method head --epochs 1 --out t.cut";

#[test]
fn several_labels_in_one_text() {
    let place = place();
    let split = format!("{TRAIN} --dev d.tsv --label-separator ;");
    assert_snapshot!(place.run(&split).rough(), @"
    exit 0
    --- stdout
    f1 micro # on # dev rows
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    tags: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    ");
    let eval = "eval t.cut --base base --data d.tsv --text note --label tags";
    let shown = place.run(eval);
    assert_snapshot!(shown.stderr, @r#"warning: d.tsv: 4 of 12 rows have labels that are not among the 4 of the training rows, and count as wrong: "food;urgent" (4); --label-separator ';' splits "food;urgent" into known labels"#);
    assert!(place.run(&format!("{eval} --label-separator ;")).stderr.is_empty());
    place.write("pipes.tsv", notes(&place, "dev", "|"));
    let pipes = eval.replace("d.tsv", "pipes.tsv");
    let same = place.run(&format!("{pipes} --label-separator |")).stdout;
    assert_eq!(same, place.run(&format!("{eval} --label-separator ;")).stdout);

    assert_snapshot!(place.run(&format!("{split} --force --problem single-label")), @r#"
    exit 2
    --- stderr
    error: --label-separator ";" reads several labels a row, and the task has one label a row: --problem single-label
    hint: leave one of the two out
    "#);
    assert_snapshot!(place.run(&format!("{} --force", split.replace(" ;", " semicolon"))), @r#"
    exit 2
    --- stderr
    error: --label-separator is "semicolon", expected what stands between labels
    hint: such as --label-separator ';' or --label-separator '|'
    "#);
    let pipe = split.replace(" ;", " |");
    assert_snapshot!(place.run(&format!("{pipe} --force --strict")), @r#"
    exit 1
    --- stderr
    error: t.tsv: "|" separates no labels in column "tags"; if something else does, name that: --label-separator
    hint: without --strict this is a warning
    "#);
    assert_snapshot!(place.run(&format!("{TRAIN} --force --dev d.tsv")).rough().stderr, @r#"
    note: label column "tags": # labels, one a row, since it holds texts; --problem says otherwise
    tags: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
}

#[test]
fn a_separator_in_a_task_folder() {
    let place = place();
    for (from, to) in [("t.tsv", "notes/train.tsv"), ("d.tsv", "notes/dev.tsv")] {
        let rows = place.text(from).replacen("note\ttags", "sentence1\tlabel", 1);
        place.write(to, rows);
    }
    place.write("notes/task.json", r#"{"label_separator": ";"}"#);
    let train = "train --base base --task notes --method head --epochs 1 --out t.cut -q";
    assert_snapshot!(place.run(train).rough(), @"
    exit 0
    --- stdout
    f1 micro # on # dev rows
    t.cut: # KB (# KB without the head); the base is # KB
    ");
    let eval = place.run("eval t.cut --base base --task notes --json");
    assert!(eval.stderr.is_empty(), "{eval}");
    assert_eq!(eval.json()["classes"][2]["label"], "urgent");
    place.write("notes/task.json", r#"{"label_separator": ";", "type": "classification"}"#);
    assert_snapshot!(place.run(&format!("{train} --force")), @r#"
    exit 2
    --- stderr
    error: --label-separator ";" reads several labels a row, and the task has one label a row: --problem single-label
    hint: leave one of the two out
    "#);
    // Of a cut with one label a row.
    place.write("topics.cut", Place::trained().read("topics.cut"));
    assert_snapshot!(place.run("eval topics.cut --base base --task topics --label-separator ;"), @r#"
    exit 2
    --- stderr
    error: --label-separator ";" reads several labels a row, and the task has one label a row: --problem single-label
    hint: leave one of the two out
    "#);
}

/// As `topics`, in an order of their own.
const LABELS: &str = "weather\nfood\ntravel\n";

#[test]
fn labels_of_a_file() {
    let place = Place::new();
    place.write("labels.txt", LABELS);
    let rows = "--train topics/train.tsv --dev topics/dev.tsv --method head --epochs 1 --out t.cut";
    let train = format!("train --base base {rows} --labels labels.txt");
    assert_snapshot!(place.run(&train).rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    train: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    ");
    let labels = &place.run("inspect t.cut --json").json()["card"]["labels"];
    assert_eq!(labels.to_string(), r#"["weather","food","travel"]"#);

    let train = format!("{train} --force");
    assert_snapshot!(place.run("train --base base --task topics --out u.cut --labels labels.txt"), @"
    exit 2
    --- stderr
    error: both --labels and topics/task.json list the labels
    hint: leave one of the two out
    ");
    assert_snapshot!(place.run(&format!("{train} --problem regression")), @"
    exit 2
    --- stderr
    error: --labels and --other name labels, and the task has a number a row: --problem regression
    hint: leave --labels and --other out
    ");
    place.write("labels.txt", "weather\nfood\n");
    assert_snapshot!(place.run(&train), @r#"
    exit 1
    --- stderr
    error: topics/train.tsv, line 3: label "travel" is not among the 2 labels of the task
    hint: the nearest known are "weather", "food"; --other LABEL counts labels not among them as that one
    "#);
    place.write("labels.txt", "weather\n\nfood\n");
    assert_snapshot!(place.run(&train), @"
    exit 1
    --- stderr
    error: labels.txt, line 2: expected a label, found nothing
    ");
    place.write("labels.txt", "weather\nfood\nweather\n");
    assert_snapshot!(place.run(&train), @r#"
    exit 1
    --- stderr
    error: labels.txt, line 3: label "weather" is listed twice, first in line 1
    "#);
    place.write("labels.txt", b"weather\ncaf\xe9\n");
    assert_snapshot!(place.run(&train), @"
    exit 1
    --- stderr
    error: labels.txt, line 2: byte 4 is 0xe9, which is not UTF-8
    hint: if the file is Latin-1, convert it with: iconv -f LATIN1 -t UTF-8
    ");
    place.write("labels.txt", "");
    assert_snapshot!(place.run(&train), @"
    exit 1
    --- stderr
    error: labels.txt is empty
    ");
    assert_snapshot!(place.run(&train.replace("labels.txt", "lables.txt")), @"
    exit 1
    --- stderr
    error: cannot read lables.txt: No such file or directory (os error 2)
    ");
}

#[test]
fn all_other_labels() {
    let place = Place::new();
    place.write("labels.txt", "weather\nfood\n");
    let rows = "--train topics/train.tsv --dev topics/dev.tsv --method head --epochs 1 --out t.cut";
    let train = format!("train --base base {rows} --force");
    let listed = format!("{train} --labels labels.txt --other elsewhere");
    assert_snapshot!(place.run(&listed).rough(), @r#"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head); the base is # KB
    --- stderr
    note: topics/train.tsv: # of # rows have labels that are not among the # of the task, and count as "elsewhere": "travel" (#)
    note: topics/dev.tsv: # of # rows have labels that are not among the # of the training rows, and count as "elsewhere": "travel" (#)
    train: # rows, # dev rows, # labels; head on base, # epochs
    # rows of each label
    texts of # tokens (median), # at most; none is cut
    "#);
    let labels = &place.run("inspect t.cut --json").json()["card"]["labels"];
    assert_eq!(labels.to_string(), r#"["weather","food","elsewhere"]"#);

    // Later they are not the cut's, and count as wrong unless that is said again.
    let eval = "eval t.cut --base base --data topics/dev.tsv --json";
    let shown = place.run(eval);
    assert_snapshot!(shown.stderr, @r#"warning: topics/dev.tsv: 4 of 12 rows have labels that are not among the 3 of the training rows, and count as wrong: "travel" (4)"#);
    assert_eq!(shown.json()["classes"][3]["label"], "(not in training)");
    let shown = place.run(&format!("{eval} --other elsewhere"));
    assert_snapshot!(shown.stderr, @r#"note: topics/dev.tsv: 4 of 12 rows have labels that are not among the 3 of the training rows, and count as "elsewhere": "travel" (4)"#);
    assert_eq!(shown.json()["classes"][2]["support"], 4);
    let both = "t.cut t.cut --base base --data topics/dev.tsv --other elsewhere";
    assert_snapshot!(place.run(&format!("compare {both}")).stderr, @r#"note: topics/dev.tsv: 4 of 12 rows have labels that are not among the 3 of the training rows, and count as "elsewhere": "travel" (4)"#);
    assert_snapshot!(place.run(&format!("{eval} --other elswhere")), @r#"
    exit 2
    --- stderr
    error: --other is "elswhere", which is not among the 3 labels of the training rows
    hint: the nearest known are "elsewhere", "weather", "food"
    "#);
    let calibrate = "calibrate t.cut --base base --data topics/train.tsv --out u.cut --other";
    assert_snapshot!(place.run(&format!("{calibrate} elsewhere")).stderr, @r#"note: topics/train.tsv: 16 of 48 rows have labels that are not among the 3 of the training rows, and count as "elsewhere": "travel" (16)"#);

    assert_snapshot!(place.run(&format!("{train} --other elsewhere")), @"
    exit 2
    --- stderr
    error: --other stands for labels that are not listed, and none are listed
    hint: list the others: --labels
    ");
    // Labels in task.json, the other one beside them.
    place.edit("topics/task.json", "\"travel\",\n", "");
    let task = "train --base base --task topics --method head --epochs 1 --out v.cut -q";
    assert_snapshot!(place.run(task), @r#"
    exit 1
    --- stderr
    error: topics/train.tsv, line 3: label "travel" is not among the 2 labels of the task
    hint: the nearest known are "weather", "food"; --other LABEL counts labels not among them as that one
    "#);
    assert_snapshot!(place.run(&format!("{task} --other elsewhere")).rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    v.cut: # KB (# KB without the head); the base is # KB
    ");
}

/// Of training rows it draws others than seed 0, of dev rows the same.
#[test]
fn a_limit_by_the_seed() {
    let place = Place::new();
    let train = "train --base base --task topics --method head --epochs 1 --limit 8 --seed 1";
    assert_snapshot!(place.run(&format!("{train} --out t.cut")).rough().stderr, @r#"
    note: topics/train.tsv: # of # rows are read, chosen by a hash of their numbers and --seed #
    note: topics/dev.tsv: # of # rows are read, chosen by a hash of their numbers
    topics: # rows, # dev rows, # labels; head on base, # epochs
    most frequent label: "food" (# rows), rarest: "weather" (# rows)
    texts of # tokens (median), # at most; none is cut
    "#);
}
