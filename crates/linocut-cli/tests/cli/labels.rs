//! Labels that are listed, that are not, and several of them in one text.

use super::place::Place;
use insta::assert_snapshot;

/// `topics` as a table of notes, every third also `urgent`.
fn notes(place: &Place, from: &str, separator: &str) -> String {
    let task = place.text(&format!("topics/{from}.tsv"));
    let row = |(i, line): (usize, &str)| {
        let (text, label) = line.split_once('\t').unwrap();
        let more = if i % 3 == 0 { format!("{separator}urgent") } else { String::new() };
        format!("{text},{label}{more}\n")
    };
    format!("note,tags\n{}", task.lines().skip(1).enumerate().map(row).collect::<String>())
}

/// With `t.csv` and `d.csv`, of which every third row has two labels joined by `;`.
fn place() -> Place {
    let place = Place::new();
    place.write("t.csv", notes(&place, "train", ";"));
    place.write("d.csv", notes(&place, "dev", ";"));
    place
}

const TRAIN: &str =
    "train --base base --train t.csv --label tags --text note --method head --epochs 1 --out t.cut";

#[test]
fn several_labels_in_one_text() {
    let place = place();
    let split = format!("{TRAIN} --dev d.csv --label-separator ;");
    assert_snapshot!(place.run(&split).rough(), @"");
    let eval = "eval t.cut --base base --data d.csv --text note --label tags";
    let shown = place.run(eval);
    assert_snapshot!(shown.stderr, @"");
    assert!(place.run(&format!("{eval} --label-separator ;")).stderr.is_empty());
    place.write("pipes.csv", notes(&place, "dev", "|"));
    let pipes = eval.replace("d.csv", "pipes.csv");
    let same = place.run(&format!("{pipes} --label-separator |")).stdout;
    assert_eq!(same, place.run(&format!("{eval} --label-separator ;")).stdout);

    assert_snapshot!(place.run(&format!("{split} --force --problem single-label")), @"");
    assert_snapshot!(place.run(&format!("{split} --force --label-separator semicolon")), @"");
    let pipe = split.replace(" ;", " |");
    assert_snapshot!(place.run(&format!("{pipe} --force --strict")), @"");
    assert_snapshot!(place.run(&format!("{TRAIN} --force --dev d.csv")).rough().stderr, @"");
}

#[test]
fn a_separator_in_a_task_folder() {
    let place = place();
    for (from, to) in [("t.csv", "notes/train.csv"), ("d.csv", "notes/dev.csv")] {
        let rows = place.text(from).replacen("note,tags", "sentence1,label", 1);
        place.write(to, rows);
    }
    place.write("notes/task.json", r#"{"label_separator": ";"}"#);
    let train = "train --base base --task notes --method head --epochs 1 --out t.cut -q";
    assert_snapshot!(place.run(train).rough(), @"");
    let eval = place.run("eval t.cut --base base --task notes --json");
    assert!(eval.stderr.is_empty(), "{eval}");
    assert_eq!(eval.json()["classes"][2]["label"], "urgent");
    place.write("notes/task.json", r#"{"label_separator": ";", "type": "classification"}"#);
    assert_snapshot!(place.run(&format!("{train} --force")), @"");
    // Of a cut with one label a row.
    place.write("topics.cut", Place::trained().read("topics.cut"));
    assert_snapshot!(place.run("eval topics.cut --base base --task topics --label-separator ;"), @"");
}

/// As `topics`, in an order of their own.
const LABELS: &str = "weather\nfood\ntravel\n";

#[test]
fn labels_of_a_file() {
    let place = Place::new();
    place.write("labels.txt", LABELS);
    let rows = "--train topics/train.tsv --dev topics/dev.tsv --method head --epochs 1 --out t.cut";
    let train = format!("train --base base {rows} --labels labels.txt");
    assert_snapshot!(place.run(&train).rough(), @"");
    let labels = &place.run("inspect t.cut --json").json()["card"]["labels"];
    assert_eq!(labels.to_string(), r#"["weather","food","travel"]"#);

    let train = format!("{train} --force");
    assert_snapshot!(place.run(&format!("train --base base --task topics --out u.cut --labels labels.txt")), @"");
    assert_snapshot!(place.run(&format!("{train} --problem regression")), @"");
    place.write("labels.txt", "weather\nfood\n");
    assert_snapshot!(place.run(&train), @"");
    place.write("labels.txt", "weather\n\nfood\n");
    assert_snapshot!(place.run(&train), @"");
    place.write("labels.txt", "weather\nfood\nweather\n");
    assert_snapshot!(place.run(&train), @"");
    place.write("labels.txt", b"weather\ncaf\xe9\n");
    assert_snapshot!(place.run(&train), @"");
    place.write("labels.txt", "");
    assert_snapshot!(place.run(&train), @"");
    assert_snapshot!(place.run(&train.replace("labels.txt", "lables.txt")), @"");
}

#[test]
fn all_other_labels() {
    let place = Place::new();
    place.write("labels.txt", "weather\nfood\n");
    let rows = "--train topics/train.tsv --dev topics/dev.tsv --method head --epochs 1 --out t.cut";
    let train = format!("train --base base {rows} --force");
    let listed = format!("{train} --labels labels.txt --other elsewhere");
    assert_snapshot!(place.run(&listed).rough(), @"");
    let labels = &place.run("inspect t.cut --json").json()["card"]["labels"];
    assert_eq!(labels.to_string(), r#"["weather","food","elsewhere"]"#);

    // Later they are not the cut's, and count as wrong unless that is said again.
    let eval = "eval t.cut --base base --data topics/dev.tsv --json";
    let shown = place.run(eval);
    assert_snapshot!(shown.stderr, @"");
    assert_eq!(shown.json()["classes"][3]["label"], "(not in training)");
    let shown = place.run(&format!("{eval} --other elsewhere"));
    assert_snapshot!(shown.stderr, @"");
    assert_eq!(shown.json()["classes"][2]["support"], 4);
    let both = "t.cut t.cut --base base --data topics/dev.tsv --other elsewhere";
    assert_snapshot!(place.run(&format!("compare {both}")).stderr, @"");
    assert_snapshot!(place.run(&format!("{eval} --other elswhere")), @"");
    let calibrate = "calibrate t.cut --base base --data topics/train.tsv --out u.cut --other";
    assert_snapshot!(place.run(&format!("{calibrate} elsewhere")).stderr, @"");

    assert_snapshot!(place.run(&format!("{train} --other elsewhere")), @"");
    // Labels in task.json, the other one beside them.
    place.edit("topics/task.json", "\"travel\",\n", "");
    let task = "train --base base --task topics --method head --epochs 1 --out v.cut -q";
    assert_snapshot!(place.run(task), @"");
    assert_snapshot!(place.run(&format!("{task} --other elsewhere")).rough(), @"");
}

/// Of training rows it draws others than seed 0, of dev rows the same.
#[test]
fn a_limit_by_the_seed() {
    let place = Place::new();
    let train = "train --base base --task topics --method head --epochs 1 --limit 8 --seed 1";
    assert_snapshot!(place.run(&format!("{train} --out t.cut")).rough().stderr, @"");
}
