//! Studies: what they leave, and that they go on where they stopped.

use super::measure::opens_quietly;
use super::place::{Place, start};
use insta::assert_snapshot;
use serde_json::Value;
use std::fs;
use std::time::{Duration, Instant};

const STUDY: &str = "study --base base --task topics --out s --quiet";

fn lines(place: &Place) -> Vec<Value> {
    place.text("s/study.jsonl").lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Every file of cuts by name.
fn cuts(place: &Place) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(place.path("s/cuts")).unwrap();
    let mut cuts: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let bytes = place.read(&format!("s/cuts/{name}"));
            (name, bytes)
        })
        .collect();
    // A kill may leave a file that was being written aside.
    cuts.retain(|(name, _)| name.ends_with(".cut"));
    cuts.sort();
    cuts
}

/// `snacks`, another task for studies of two.
pub(crate) fn with_two_tasks() -> Place {
    let place = Place::new();
    for name in ["task.json", "train.tsv", "dev.tsv"] {
        place.write(&format!("snacks/{name}"), place.read(&format!("topics/{name}")));
    }
    place.edit("snacks/task.json", "\"topics\"", "\"snacks\"");
    place
}

#[test]
fn runs_are_cuts_as_train_makes_them() {
    let place = Place::new();
    let arms = "head,full,random-mask,layer-*,mask-0.05,lora-all-1";
    let shown = place.run(&format!("{STUDY} --arms {arms} --seeds 2 --epochs 3"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let runs = lines(&place);
    let of = |run: &Value| format!("{} {}", run["arm"].as_str().unwrap(), run["seed"]);
    let names: Vec<String> = runs.iter().map(of).collect();
    let arms = [
        "head",
        "full",
        "mask",
        "random-mask",
        "mask-0.05",
        "lora-all-1",
        "layer-0",
        "layer-1",
        "layer-2",
    ];
    let expected = |seed| arms.iter().map(move |arm| format!("{arm} {seed}"));
    assert_eq!(names, expected(0).chain(expected(1)).collect::<Vec<_>>());

    for (arm, options) in [
        ("full", "--method full"),
        ("mask-0.05", "--sparsity 0.05"),
        ("layer-2", "--method layers --layers 2"),
        ("lora-all-1", "--method lora --rank 1 --only *"),
    ] {
        let out = format!("{arm}.cut");
        place.train(&format!("{options} --epochs 3 --seed 1"), &out);
        assert!(place.read(&out) == place.read(&format!("s/cuts/topics~{arm}~1.cut")), "{arm}");
    }
    // As many zeros, and the logits that the file promises.
    let zeros = |arm: &str| {
        let run = runs.iter().find(|run| run["arm"] == arm && run["seed"] == 0).unwrap();
        run["zeros"].as_u64().unwrap()
    };
    assert_eq!(zeros("random-mask"), zeros("mask"));
    let verified = place.run("verify s/cuts/topics~random-mask~0.cut --base base --quiet");
    assert!(verified.to_string().starts_with("exit 0"), "{verified}");

    // Nothing is missing: nothing is run. Nor is it where cuts were deleted.
    let before = (place.read("s/study.jsonl"), cuts(&place));
    let again = format!("{STUDY} --arms {} --seeds 2 --epochs 3", arms.join(","));
    place.run(&again);
    assert!((place.read("s/study.jsonl"), cuts(&place)) == before);
    for arm in ["layer-1", "mask"] {
        fs::remove_file(place.path(&format!("s/cuts/topics~{arm}~0.cut"))).unwrap();
    }
    let shown = place.run(&again);
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert_eq!(lines(&place).len(), runs.len());
    assert_eq!(cuts(&place).len(), before.1.len() - 2);
    // A run without its line is missing, and so is the cut that it starts from.
    let lines_of = |text: &str| -> String {
        let kept = text.lines().filter(|l| !l.contains("\"random-mask\",\"seed\":0"));
        kept.map(|line| format!("{line}\n")).collect()
    };
    place.write("s/study.jsonl", lines_of(&place.text("s/study.jsonl")));
    place.run(&again);
    let names: Vec<String> = lines(&place).iter().map(of).collect();
    assert_eq!(names[names.len() - 2..], ["mask 0", "random-mask 0"]);
    assert_eq!(names.len(), runs.len());
    let all = cuts(&place);
    let name = |cut: &str| format!("topics~{cut}~0.cut");
    assert!(before.1.iter().all(|cut| all.contains(cut) || cut.0 == name("layer-1")));
}

#[test]
fn what_it_says() {
    let place = with_two_tasks();
    let study = "study --base base --task topics --task snacks --out s --quiet --seeds 3 --epochs 6 --within 100";
    let shown = place.run(&format!(
        "{study} --arms core,layer-*,without-layer-*,layers,only-key,without-key,mask-of-*,mask-critical"
    ));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let page = place.text("s/study.html");
    assert!(page.starts_with("<!DOCTYPE html>") && page.ends_with("</html>\n"));
    opens_quietly(&place, "s/study.html");
    assert_eq!(page.matches("<li><a href=\"#part-").count(), 5);
    for title in [
        "Score of each arm",
        "Score by bytes of a cut",
        "Score by share of zeros",
        "Points that a layer or kind gains",
        "Angular distance of the first full fine-tune",
        "Jaccard of every two masks",
    ] {
        // Before a chart its title stands as a heading and as its label.
        let chart = page.split(title).nth(2).unwrap_or_else(|| panic!("no {title}"));
        assert!(chart.contains("<svg"), "{title}");
    }
    let report = place.text("s/study.md");
    for part in [
        "# Study of base\n",
        "## Advice\n",
        "## topics (accuracy)\n",
        "## snacks (accuracy)\n",
        "## Mean of the tasks\n",
        "## Overlap of masks\n",
        "| topics, seed 0 | topics, seed 1 |",
        "| topics, seed 2 | snacks, seed 1 |",
        "Rank correlation (Spearman)",
        "Arm mask with every entry kept with its probability",
        "| layer or kind | two seeds: Jaccard | two seeds: by chance | two seeds: times | two tasks: Jaccard |",
        "\n| 2 | ",
        "times as far.",
        "A task of arm mask takes ",
        "\n| attention-output | ",
    ] {
        assert!(report.contains(part), "{part}: {report}");
    }
    // Equal seeds of two tasks draw the same numbers.
    assert!(!report.contains("| topics, seed 2 | snacks, seed 2 |"), "{report}");
    // The figures are those of the runs.
    let runs = lines(&place);
    let scores = |arm: &str| -> Vec<f64> {
        let of = runs.iter().filter(|run| run["task"] == "topics" && run["arm"] == arm);
        of.map(|run| run["score"].as_f64().unwrap()).collect()
    };
    let (head, full) = (scores("head"), scores("full"));
    assert_eq!(head.len(), 3);
    let mean = head.iter().zip(&full).map(|(a, b)| a - b).sum::<f64>() / 3.0;
    let json = place.run(&format!("{study} --arms core --json")).json();
    let row = &json["summary"]["tasks"][0]["rows"][0];
    assert_eq!(row["arm"], "head");
    assert_eq!(row["seeds"], 3);
    assert!((row["to_full"]["mean"].as_f64().unwrap() - mean).abs() < 1e-12, "{row}");
    let key = &json["summary"]["tasks"][0]["critical"]["kinds"][1];
    assert_eq!(key["name"], "key");
    let mean = |arm: &str| scores(arm).iter().sum::<f64>() / 3.0;
    let loss = mean("layers") - mean("without-key");
    assert!((key["left_out"].as_f64().unwrap() - loss).abs() < 1e-12, "{key}");
    assert!(key["movement"].as_f64().unwrap() > 0.0, "{key}");
    // Counts by layer and by kind are those of all.
    for pair in json["summary"]["overlaps"].as_array().unwrap() {
        for places in ["layers", "kinds"] {
            let parts = pair["places"][places].as_array().unwrap();
            let both = parts.iter().map(|part| part[1]["both"].as_u64().unwrap()).sum::<u64>();
            assert_eq!(pair["overlap"]["both"], both, "{places}");
        }
    }
    // Masks drawn score otherwise than masks as stored, and each run has its own score.
    let masks = || runs.iter().filter(|run| run["arm"] == "mask");
    assert!(masks().all(|run| run["sampled"].is_f64()), "{runs:?}");
    assert!(runs.iter().all(|run| run["sampled"].is_null() || run["arm"].as_str().unwrap().starts_with("mask")));
    let of_topics: Vec<f64> = masks()
        .filter(|run| run["task"] == "topics")
        .map(|run| run["sampled"].as_f64().unwrap())
        .collect();
    let mean = of_topics.iter().sum::<f64>() / 3.0;
    let shown = json["summary"]["tasks"][0]["sampled"]["mean"].as_f64().unwrap();
    assert!((shown - mean).abs() < 1e-12, "{shown} {mean}");
    // Advice is a command that works.
    let command = report.lines().find(|line| line.starts_with("linocut train ")).unwrap();
    let shown = place.run(&format!("{} -q", command.strip_prefix("linocut ").unwrap()));
    assert!(shown.to_string().starts_with("exit 0"), "{command}: {shown}");
}

#[test]
fn killed_and_run_again_gives_the_same_cuts() {
    let study = format!("{STUDY} --arms core --seeds 2 --epochs 20");
    let alone = Place::new();
    assert!(alone.run(&study).to_string().starts_with("exit 0"));
    let place = Place::new();
    let mut command = place.command();
    command.args(study.split_whitespace());
    let mut child = start(&mut command);
    let began = Instant::now();
    while !place.path("s/study.jsonl").exists() {
        assert!(began.elapsed() < Duration::from_secs(60), "no run was done");
        std::thread::sleep(Duration::from_millis(2));
    }
    let second = place.run(&study).to_string(); // beside the first
    let second = second.replace(&child.id().to_string(), "PID");
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert_snapshot!(second, @"
    exit 1
    --- stderr
    error: s: process PID (linocut study) is at work on it
    hint: wait until it has ended, end it (kill PID), or choose another place
    ");
    let done = lines(&place);
    assert!(!done.is_empty() && done.len() < 20, "{} runs were done", done.len());
    assert!(place.run(&study).to_string().starts_with("exit 0"));
    // What was done before the kill was not done again.
    assert_eq!(lines(&place)[..done.len()], done[..]);
    assert!(cuts(&place) == cuts(&alone), "other cuts after the kill");
}

#[test]
fn several_at_a_time_give_what_one_does() {
    let study = "study --base base --task topics --task snacks --out s --quiet --seeds 2 --epochs 3 \
                 --arms core,mask-critical,mask-of-another-task";
    let alone = with_two_tasks();
    assert!(alone.run(study).to_string().starts_with("exit 0"));
    let place = with_two_tasks();
    let shown = place.run(&format!("{study} --jobs 5"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert_eq!(lines(&place).len(), 48);
    assert!(cuts(&place) == cuts(&alone), "other cuts");
    assert_eq!(place.text("s/study.md"), alone.text("s/study.md"));
    assert_snapshot!(place.run(&format!("{study} --jobs 0")), @"
    exit 2
    --- stderr
    error: --jobs is 0, expected 1 to 1000
    ");
}

#[test]
fn a_time_budget() {
    let place = Place::new();
    let study = "study --base base --task topics --out s --arms head,full --seeds 1 --epochs 5000";
    let shown = place.run(&format!("{study} --time-budget 1s"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert!(
        shown.stderr.contains("about 1 of them fit 1 s; those that tell most come first"),
        "{shown}"
    );
    assert!(shown.stderr.contains("note: 1 of 2 runs did not fit the time budget"), "{shown}");
    assert_eq!(lines(&place).len(), 1);
    assert_eq!(lines(&place)[0]["arm"], "head");
    assert!(shown.stdout.contains("arm full has not run"), "{shown}");
}

#[test]
fn a_run_that_diverges_is_recorded_and_the_study_goes_on() {
    let place = Place::new();
    place.write("wild/task.json", r#"{"name": "wild", "type": "regression", "kind": "pair"}"#);
    let rows = "rain\tsnow\t1.5\nsnow\tsun\t2\nsun\train\t3\n".repeat(11);
    place.write("wild/train.tsv", format!("sentence1\tsentence2\tlabel\n{rows}"));
    place.write("wild/dev.tsv", format!("sentence1\tsentence2\tlabel\n{rows}"));
    // What second texts have added to them sums up to more than f32 holds.
    let mut file = place.read("base/model.safetensors");
    let header = u64::from_le_bytes(*file.first_chunk().unwrap()) as usize;
    let tensors: Value = serde_json::from_slice(&file[8..8 + header]).unwrap();
    let types = &tensors["embeddings.token_type_embeddings.weight"]["data_offsets"];
    let end = 8 + header + types[1].as_u64().unwrap() as usize;
    file[end - 4 * 36..end].as_chunks_mut().0.fill(3e38f32.to_le_bytes());
    place.write("base/model.safetensors", file);
    let study =
        "study --base base --task wild --task topics --out s --arms head --epochs 2 --seeds 1";
    let shown = place.run(&format!("{study} --quiet"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let runs = lines(&place);
    assert_eq!(runs.len(), 2);
    assert_eq!(runs[0]["cut"], Value::Null);
    assert!(runs[0]["failed"].as_str().unwrap().contains("training diverged"), "{}", runs[0]);
    assert_eq!(runs[1]["cut"], "cuts/topics~head~0.cut");
    // What would have started from it did not fail by itself, and says so.
    let shown = place.run(&format!("{} --quiet --jobs 2", study.replace("head", "random-mask")));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    let of_wild: Vec<Value> =
        lines(&place).into_iter().filter(|run| run["task"] == "wild").collect();
    assert_eq!(of_wild.len(), 3);
    assert_eq!(of_wild[2]["failed"], "mask on wild, which it starts from, failed");
}

#[test]
fn runs_that_were_trained_otherwise_are_kept_apart() {
    let place = Place::new();
    let study = "study --base base --task topics --out s --arms head --epochs 1 --quiet";
    assert!(place.run(&format!("{study} --seeds 1")).to_string().starts_with("exit 0"));
    let (setting, begun) = (place.text("s/study.json"), place.read("s/study.jsonl"));
    let mut said = Vec::new();
    let mut refused = |place: &Place| {
        let shown = place.run(&format!("{study} --seeds 2"));
        assert!(shown.to_string().starts_with("exit 2"), "{shown}");
        said.push(shown.stderr);
        assert!(place.read("s/study.jsonl") == begun);
        // What has run can still be looked at.
        let shown = place.run(&format!("{study} --seeds 1"));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    };
    // Dropout is no part of the fingerprint.
    place.edit("base/config.json", "\"hidden_dropout_prob\": 0.0", "\"hidden_dropout_prob\": 0.2");
    refused(&place);
    place.edit("base/config.json", "\"hidden_dropout_prob\": 0.2", "\"hidden_dropout_prob\": 0.0");
    place.edit("s/study.json", "\"mask_lr\": 0.1", "\"mask_lr\": 0.3");
    refused(&place);
    let mut old: Value = serde_json::from_str(&setting).unwrap();
    old["format"] = 1.into();
    old.as_object_mut().unwrap().remove("training");
    place.write("s/study.json", old.to_string());
    refused(&place);
    assert_snapshot!(said.concat(), @r#"
    error: s was begun with the dropout [0.0, 0.0, 0.0] in the base's config.json (hidden states, attention, head), found [0.2, 0.0, 0.2]: more runs could not be compared
    hint: its runs are kept as they are; start another study with another --out
    error: s was begun by linocut "0.1.0", for which the default mask_lr of --method bias was "0.3", now "0.1": more runs could not be compared
    hint: its runs are kept as they are; start another study with another --out
    error: s was begun by an earlier linocut, which did not note how it trains: more runs could not be compared
    hint: its runs are kept as they are; start another study with another --out
    "#);
    // Without runs there is nothing to compare with.
    place.write("s/study.jsonl", "");
    assert!(place.run(&format!("{study} --seeds 2")).to_string().starts_with("exit 0"));
    assert_eq!(place.text("s/study.json"), setting);
}

#[test]
fn a_budget_of_bytes() {
    let place = Place::new();
    let train = "train --base base --task topics --epochs 2";
    assert_snapshot!(place.run(&format!("{train} --out t.cut --budget 20KB")).rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head), #% zeros; the base is # KB
    --- stderr
    topics: # rows, # dev rows, # labels; mask on base, # epochs
    # rows of each label
    for # KB at most: --method mask --sparsity #
    texts of # tokens (median), # at most; none is cut
    ");
    assert!(place.read("t.cut").len() <= 20_000);
    assert_snapshot!(place.run(&format!("{train} --out u.cut --budget 1KB")).rough(), @"
    exit 2
    --- stderr
    error: --budget is # bytes, expected at least #
    hint: a head of # outputs and the card take as much
    ");
    assert!(!place.path("u.cut").exists());
    assert_snapshot!(place.run(&format!("{train} --out u.cut --budget 1MB --layers 2")), @"
    exit 2
    --- stderr
    error: the argument '--budget <SIZE>' cannot be used with '--layers <LAYERS>'

    Usage: linocut train --base <DIR|NAME> --out <FILE> --epochs <EPOCHS> --budget <SIZE> <--task <DIR>|--train <FILE>>

    For more information, try '--help'.
    ");
    assert_snapshot!(place.run(&format!("{train} --out u.cut --budget 1MB --study s")), @"
    exit 1
    --- stderr
    error: s: no study is there
    hint: give the --out of a study
    ");

    // The best of a study that fits: full does not.
    let study = "study --base base --task topics --out s --seeds 2 --epochs 30 --quiet";
    assert!(
        place.run(&format!("{study} --arms head,full,layer-2")).to_string().starts_with("exit 0")
    );
    let method = |budget: &str| {
        let out = format!("{budget}.cut");
        let shown = place.run(&format!("{train} --out {out} --budget {budget} --study s -q"));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
        place.run(&format!("inspect {out} --json")).json()["card"]["method"]["name"].clone()
    };
    let shown = place.run(&format!("{train} --out v.cut --budget 10KB --study s"));
    assert!(
        shown.stderr.contains("head is the best of 1 arm that fit, by 2 runs of each on 1 task\n"),
        "{shown}"
    );
    assert_eq!(method("10KB"), "head");
    assert_ne!(method("1MB"), "head");
    assert_snapshot!(place.run(&format!("{train} --out u.cut --budget 2KB --study s")).rough(), @"
    exit 2
    --- stderr
    error: no arm of the study s fits # bytes
    hint: the smallest takes #; without --study a rule decides
    ");
}
