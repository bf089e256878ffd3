//! What is concluded from a study's files, whatever stands in them.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

use linocut::model::{Encoder, Pooling};
use linocut::study::{
    Arm, Folder, Record, Setting, TaskFiles, Trains, advise, best_within, summarise,
};
use linocut::tune::TrainOptions;
use proptest::prelude::*;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

const LAYERS: usize = 3;

fn setting(tasks: &[&str]) -> Setting {
    let files = || TaskFiles { folder: "there".into(), files: Default::default() };
    Setting {
        format: 2,
        base: "base".into(),
        fingerprint: "0123456789abcdef".repeat(4),
        pooling: "mean".into(),
        epochs: None,
        limit: None,
        training: None,
        tasks: tasks.iter().map(|task| (task.to_string(), files())).collect(),
    }
}

fn arms() -> Vec<Arm> {
    let config = json!({"num_hidden_layers": LAYERS, "hidden_size": 36});
    Arm::all(&Encoder::new(&config, false, Pooling::Mean).unwrap())
}

fn record(task: &str, arm: &str, seed: u64, score: f64, bytes: u64) -> Record {
    let options = match arms().into_iter().find(|a| a.name == arm).unwrap().trains {
        Trains::Method(method) => json!(TrainOptions { seed, ..TrainOptions::new(method, 1000) }),
        _ => json!({"method": {"name": "head"}}),
    };
    Record {
        task: task.into(),
        arm: arm.into(),
        seed,
        cut: Some(Folder::cut_name(task, arm, seed)),
        options,
        metric: "accuracy".into(),
        score: Some(score),
        sampled: None,
        failed: None,
        bytes,
        head_bytes: 1000,
        zeros: 0,
        masked: 0,
        trained: 7,
        seconds: 2.0,
        work: 1000.0,
    }
}

fn lines(records: &[Record]) -> String {
    records.iter().map(|r| format!("{}\n", json!(r))).collect()
}

fn write(folder: &Path, tasks: &[&str], lines: &str) {
    std::fs::write(folder.join("study.json"), json!(setting(tasks)).to_string()).unwrap();
    std::fs::write(folder.join("study.jsonl"), lines).unwrap();
}

/// An arm that ran on the two easiest of seven tasks does not win by that.
#[test]
fn the_best_of_a_study_is_the_best_on_the_same_runs() {
    let folder = tempfile::tempdir().unwrap();
    let tasks = ["a", "b", "c", "d", "e", "f", "g"];
    let mut records = Vec::new();
    for (i, task) in tasks.iter().enumerate() {
        let ease = 0.9 - 0.08 * i as f64;
        records.push(record(task, "head", 0, ease - 0.2, 2000));
        records.push(record(task, "full", 0, ease, 40_000_000));
        records.push(record(task, "layers", 0, ease - 0.01, 50_000_000));
        if i < 2 {
            records.push(record(task, "layer-2", 0, ease + 0.02, 10_000_000));
            // A lucky seed that no other arm has.
            records.push(record(task, "layers", 1, 0.99, 50_000_000));
        }
    }
    write(folder.path(), &tasks, &lines(&records));
    let best = |task: &str, budget| {
        let fingerprint = setting(&[]).fingerprint;
        best_within(folder.path(), &fingerprint, task, (budget, 1000)).unwrap()
    };
    let choice = best("elsewhere", 60_000_000);
    assert_eq!((&choice.arm[..], choice.method.name()), ("full", "full"));
    assert_eq!((choice.compared, choice.tasks, choice.runs), (3, 7, 7));
    assert_eq!(choice.left_out, ["layer-2"]);
    // On a task that the study has, that task alone counts.
    let choice = best("a", 60_000_000);
    assert_eq!((&choice.arm[..], choice.compared, choice.runs), ("layer-2", 4, 1));
    assert_eq!(best("g", 60_000_000).arm, "full");
    assert_eq!(best("elsewhere", 3_000).arm, "head");
    let error =
        best_within(folder.path(), &setting(&[]).fingerprint, "a", (1500, 1000)).unwrap_err();
    assert!(
        error.to_string().contains("fits 1500 bytes\nhint: the smallest takes 2000"),
        "{error}"
    );
}

/// What a layer gains is over the head with the same seeds.
#[test]
fn signals_are_paired_by_seed() {
    let folder = tempfile::tempdir().unwrap();
    let mut records = vec![record("a", "layer-1", 2, 0.75, 9000)];
    for (seed, score) in [(0, 0.1), (1, 0.2), (2, 0.7)] {
        records.push(record("a", "head", seed, score, 2000));
    }
    records.push(record("a", "layers", 0, 0.9, 9000));
    records.push(record("a", "without-layer-1", 1, 0.1, 9000));
    write(folder.path(), &["a"], &lines(&records));
    let setting = setting(&["a"]);
    let study = Folder::open(folder.path(), &setting).unwrap();
    let summary = summarise(&study, &["a".into()], &arms(), Path::new("none"), LAYERS).unwrap();
    let layer = &summary.tasks[0].critical.layers[1];
    assert!((layer.alone.unwrap() - 0.05).abs() < 1e-12, "{layer:?}");
    assert_eq!(layer.left_out, None, "no seed in common");
}

/// Everything that reads a study's runs; the error's words, if it ends with one.
fn read(folder: &Path, tasks: &[&str]) -> Result<Vec<String>, String> {
    let setting = setting(tasks);
    let said = |e: linocut::Error| e.to_string();
    let study = Folder::open(folder, &setting).map_err(said)?;
    let names: Vec<String> = tasks.iter().map(|t| t.to_string()).collect();
    let arms = arms();
    let summary = summarise(&study, &names, &arms, Path::new("none"), LAYERS).map_err(said)?;
    let advice = advise(&summary, &arms, 0.005, 1_000_000);
    assert!(!format!("{advice:?} {:?}", json!(summary)).contains("NaN"));
    let _ = best_within(folder, &setting.fingerprint, "elsewhere", (1 << 40, 1000));
    Ok(study.passed_over().to_vec())
}

fn some() -> Vec<Record> {
    let mut records = Vec::new();
    for task in ["a", "b"] {
        for seed in 0..2 {
            for (i, arm) in ["head", "full", "mask", "layer-1"].into_iter().enumerate() {
                records.push(record(task, arm, seed, 0.5 + 0.1 * i as f64, 5000));
            }
        }
    }
    records[2].sampled = Some(0.6);
    (records[2].zeros, records[2].masked) = (5, 100);
    (records[5].cut, records[5].score) = (None, None);
    records[5].failed = Some("training diverged".into());
    records
}

#[test]
fn every_field_of_a_run_is_bounded() {
    let folder = tempfile::tempdir().unwrap();
    let records = some();
    write(folder.path(), &["a", "b"], &lines(&records));
    assert_eq!(read(folder.path(), &["a", "b"]), Ok(vec![]));
    let deep = "[".repeat(5000);
    let long = format!("\"{}\"", "x".repeat(100_000));
    let texts = [
        "4000000000",
        "18446744073709551615",
        "18446744073709551616",
        "-1",
        "-0.5",
        "1e308",
        "1e999",
        "1e-320",
        "0",
        "null",
        "true",
        "\"\"",
        "\"../../x\"",
        "\"\\u001b[2J\"",
        "\"/etc/passwd\"",
        "{}",
        "[]",
        "[1]",
        "NaN",
        &deep,
        &long,
    ];
    let fields: Vec<String> =
        json!(records[2]).as_object().unwrap().keys().cloned().chain(["failed".into()]).collect();
    for field in &fields {
        for text in texts {
            let mut record = json!(records[2]);
            record[field] = json!("HERE");
            let line = record.to_string().replace("\"HERE\"", text);
            let rest = lines(&records[3..]);
            write(folder.path(), &["a", "b"], &format!("{line}\n{rest}"));
            let started = Instant::now();
            if let Err(error) = read(folder.path(), &["a", "b"]) {
                assert!(error.contains("study.jsonl") && error.contains("line 1"), "{error}");
                assert!(!error.contains('\u{1b}'), "{error}");
            }
            assert!(started.elapsed() < Duration::from_secs(5), "{field} {text:.40}");
        }
    }
    let error = |field: &str, value: Value| {
        let mut record = json!(records[2]);
        record[field] = value;
        write(folder.path(), &["a", "b"], &format!("{}\n{record}\n", json!(records[0])));
        let error = read(folder.path(), &["a", "b"]).unwrap_err();
        error.split("no study's: ").nth(1).unwrap().to_string()
    };
    let hint = "\nhint: restore the file, or delete the line: its run is then done again";
    for (field, value, said) in [
        ("seed", json!(4_000_000_000u64), "line 2: seed is 4000000000, expected 0 to 999"),
        ("task", json!("x"), "line 2: task is \"x\", which study.json does not name"),
        ("cut", json!("/x"), "line 2: cut is \"/x\", expected \"cuts/a~mask~0.cut\""),
        ("score", json!(7.5), "line 2: score is 7.5, expected -1 to 1"),
        ("zeros", json!(101), "line 2: zeros is 101, expected 100 at most"),
        ("work", json!(1e-300), "line 2: work is 1e-300, expected 0, or 1 to 1e18"),
        ("failed", json!("x"), "line 2: it has a cut and a reason why there is none"),
    ] {
        let found = error(field, value);
        assert!(found.starts_with(said) && found.ends_with(hint), "{found}");
    }
}

#[test]
fn lines_cut_off_and_doubled_are_passed_over_with_a_word() {
    let folder = tempfile::tempdir().unwrap();
    let records = some();
    let whole = lines(&records);
    // A writer that was killed leaves its last line anywhere.
    for cut_off in 1..json!(records[15]).to_string().len() {
        write(folder.path(), &["a", "b"], &whole[..whole.len() - cut_off - 1]);
        let words = read(folder.path(), &["a", "b"]).unwrap();
        assert!(
            words.len() == 1 && words[0].ends_with("line 16 is cut off: its run is done again")
        );
    }
    // In the middle it is damage.
    write(folder.path(), &["a", "b"], &whole.replacen("\"seed\"", "\n\"seed\"", 1));
    assert!(read(folder.path(), &["a", "b"]).unwrap_err().contains("line 1: EOF"));
    let mut later = records[0].clone();
    later.score = Some(0.25);
    write(folder.path(), &["a", "b"], &format!("{whole}\n{}\n", json!(later)));
    let words = read(folder.path(), &["a", "b"]).unwrap();
    assert!(
        words[0].ends_with("lines 1 and 18 are of one run, of which the later counts"),
        "{words:?}"
    );
    let study = Folder::open(folder.path(), &setting(&["a", "b"])).unwrap();
    assert_eq!(study.find("a", "head", 0).unwrap().score, Some(0.25));
    assert_eq!(study.records().len(), 16);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Bytes replaced, put in and taken out: an error with words, or runs within bounds.
    #[test]
    fn a_mutated_file_is_read_or_refused(
        changes in prop::collection::vec((any::<prop::sample::Index>(), 0u8..3, any::<u8>()), 1..6),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut text = lines(&some()).into_bytes();
        for (at, how, byte) in changes {
            let at = at.index(text.len());
            // Half of them digits, which stay JSON.
            let byte = if byte < 128 { b'0' + byte % 10 } else { byte };
            match how {
                0 => text[at] = byte,
                1 => text.insert(at, byte),
                _ => drop(text.remove(at)),
            }
        }
        write(folder.path(), &["a", "b"], "");
        std::fs::write(folder.path().join("study.jsonl"), text).unwrap();
        let started = Instant::now();
        if let Err(error) = read(folder.path(), &["a", "b"]) {
            prop_assert!(error.contains("study.jsonl is no study's: line "), "{}", error);
        }
        prop_assert!(started.elapsed() < Duration::from_secs(5));
    }
}
