//! Runs that stop in the middle: killed, interrupted, diverged, out of space.
#![cfg(unix)]

use super::place::{Place, Shown, start};
use insta::assert_snapshot;
use serde_json::Value;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::{Duration, Instant};

const RUN: &str =
    "train --base base --task topics --init-scale 0.2 --epochs 40 --batch 4 --out t.cut -q";

/// Starts a run that saves its state after every step, and waits until it has.
fn underway(place: &Place, run: &str) -> Child {
    let mut command = place.command();
    command.args(run.split_whitespace()).args(["--save-every", "1"]);
    let mut child = start(&mut command);
    let started = Instant::now();
    while !place.path("t.cut.state").exists() {
        assert!(started.elapsed() < Duration::from_secs(20), "no state");
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        sleep(Duration::from_millis(5));
    }
    sleep(Duration::from_millis(60));
    child
}

fn uninterrupted(run: &str) -> Vec<u8> {
    let place = Place::new();
    place.run(run);
    place.read("t.cut")
}

/// Kills a run, resumes it, and compares with one that was left alone. Returns what the same
/// command says between the two.
fn killed_and_resumed(run: &str) -> Shown {
    let place = Place::new();
    let mut child = underway(&place, run);
    child.kill().unwrap(); // SIGKILL
    child.wait().unwrap();
    assert!(!place.path("t.cut").exists());
    let again = place.run(run);
    let shown = place.run(&format!("{run} --resume"));
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    assert!(place.read("t.cut") == uninterrupted(run), "another cut after resuming");
    assert!(!place.path("t.cut.state").exists());
    again
}

#[test]
fn killed_and_resumed_gives_the_same_cut() {
    assert_snapshot!(killed_and_resumed(RUN), @"
    exit 1
    --- stderr
    error: t.cut.state: an interrupted run left its state here
    hint: --resume continues it, --force starts over
    ");
    killed_and_resumed(&format!("{RUN} --early-stop 0.2 --eval-every 7"));
    let share =
        "train --base base --task topics --sparsity 0.2 --sparsity-scope global --out t.cut";
    killed_and_resumed(&format!("{share} -q --epochs 40 --batch 4"));
    let lora = "train --base base --task topics --method lora --layers 1-2 --out t.cut -q";
    killed_and_resumed(&format!("{lora} --epochs 60 --batch 4 --early-stop 0.2"));
    let layers = "train --base base --task topics --method layers --layers 1-2 --out t.cut -q";
    killed_and_resumed(&format!("{layers} --epochs 60 --batch 4"));
}

#[test]
fn the_log_of_a_killed_run_goes_on() {
    let place = Place::new();
    let run = format!("{RUN} --log run.jsonl");
    let mut child = underway(&place, &run);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = place.text("run.jsonl");
    // What is no log is never added to, nor what is read or written otherwise.
    place.write("mine.txt", "mine");
    let logs = ["mine.txt", "topics/train.tsv", "./topics/../t.cut", "t.cut.state"];
    let said = logs.map(|log| place.run(&format!("{RUN} --log {log} --resume")).to_string());
    assert_snapshot!(said.concat(), @"
    exit 1
    --- stderr
    error: mine.txt exists already
    hint: give another --log, or --force to replace it
    exit 2
    --- stderr
    error: topics/train.tsv: --task and --log are the same file
    hint: give each a file of its own
    exit 2
    --- stderr
    error: ./topics/../t.cut: --out and --log are the same file
    hint: give each a file of its own
    exit 2
    --- stderr
    error: t.cut.state: the state of the run and --log are the same file
    hint: give each a file of its own
    ");
    assert_eq!(place.text("mine.txt"), "mine");
    // The kill may have come in the middle of a line.
    place.write("run.jsonl", format!("{before}{{\"event\":\"st"));
    assert_snapshot!(place.run(&format!("{RUN} --log run.jsonl --out other.cut").replace("--out t.cut ", "")), @"
    exit 1
    --- stderr
    error: run.jsonl exists already
    hint: give another --log, or --force to replace it
    ");
    let result = place.run(&format!("{run} --json --resume")).json();
    let text = place.text("run.jsonl");
    assert!(text.starts_with(&before), "{text}");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let names = |lines: &[Value]| {
        let mut names: Vec<_> =
            lines.iter().map(|line| line["event"].as_str().unwrap().to_string()).collect();
        names.dedup();
        names.retain(|name| name != "saved");
        names.dedup();
        names
    };
    let (first, rest) = lines.split_at(before.lines().count());
    assert_eq!(names(first), ["run", "texts", "start", "step"]);
    assert_eq!(names(rest), ["run", "texts", "start", "step", "result"]);
    let first_step = rest.iter().find(|line| line["event"] == "step").unwrap();
    let start = rest.iter().find(|line| line["event"] == "start").unwrap();
    assert!(start["step"].as_u64().unwrap() > 0, "{start}");
    assert_eq!(first_step["step"].as_u64().unwrap(), start["step"].as_u64().unwrap() + 1);
    let step = rest.iter().rfind(|line| line["event"] == "step").unwrap();
    assert_eq!(step["step"], start["steps"]);
    assert!(step["loss"].is_f64() && step["tokens"].is_u64(), "{step}");
    let last = &lines.last().unwrap()["result"];
    for name in ["cut", "evaluation", "bytes", "zeros", "tokens_per_second"] {
        assert_eq!(last[name], result[name], "{name}");
    }
}

#[test]
fn interrupted_saves_and_says_so() {
    let place = Place::new();
    let child = underway(&place, RUN);
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let shown = Shown::new(&child.wait_with_output().unwrap());
    assert_snapshot!(shown.rough(), @"
    exit 1
    --- stderr
    error: interrupted after step # of #
    hint: the state is saved: run the same again with --resume
    ");

    // Another run's state is left alone.
    let state = place.read("t.cut.state");
    assert_snapshot!(place.run(&format!("{RUN} --resume --seed 3")), @"
    exit 2
    --- stderr
    error: t.cut.state is the state of another run: --seed was 0, is 3
    hint: give the options and files it was started with, or remove it to start over
    ");
    assert_eq!(place.read("t.cut.state"), state);
    place.edit("topics/train.tsv", "rain", "hail");
    let other = place.run(&format!("{RUN} --resume --early-stop 0.2")).stderr;
    assert!(
        other.contains("--early-stop was not given, is 0.2; the training rows differ\n"),
        "{other}"
    );
    place.edit("topics/train.tsv", "hail", "rain");

    place.run(&format!("{RUN} --resume"));
    assert!(place.read("t.cut") == uninterrupted(RUN), "another cut after resuming");
    assert_snapshot!(place.run(&format!("{RUN} --resume --force")), @"
    exit 1
    --- stderr
    error: t.cut.state: there is no state to resume from
    hint: run without --resume to start
    ");
}

#[test]
fn a_damaged_state() {
    let place = Place::new();
    let mut child = underway(&place, RUN);
    child.kill().unwrap();
    child.wait().unwrap();
    let mut state = place.read("t.cut.state");
    state[100] ^= 1;
    place.write("t.cut.state", state);
    assert_snapshot!(place.run(&format!("{RUN} --resume")), @"
    exit 1
    --- stderr
    error: training state t.cut.state: the file is damaged (its digest does not match)
    hint: remove the file to start over
    ");
}

#[test]
fn a_loss_that_is_no_number() {
    let place = Place::new();
    let run =
        "train --base base --task topics --method full --lr 1e30 --head-lr 1e30 --out t.cut -q";
    assert_snapshot!(place.run(run).rough(), @"
    exit 1
    --- stderr
    error: training diverged at step # of #: loss NaN, gradient norm #
    hint: lower --lr, --mask-lr or --head-lr, or raise --warmup
    ");
    assert_eq!(place.names(), ["base", "t.cut.state", "topics"]);
}

/// A limit on the size of files, in blocks of 512 or 1024 bytes, stands for a full disk: writing beyond it
/// fails.
fn on_a_full_disk(place: &Place, blocks: usize, line: &str) -> Shown {
    let mut command = Command::new("sh");
    // The signal of the limit is ignored, so that the write fails instead.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" {line}")]);
    command.arg(env!("CARGO_BIN_EXE_linocut"));
    place.prepare(&mut command);
    place.finish(command, b"")
}

#[test]
fn a_full_disk_leaves_nothing_behind() {
    let place = Place::trained();
    for (line, out) in [
        ("train --base base --task topics --method full --epochs 1 --out t.cut", "t.cut"),
        ("predict topics.cut --base base --in topics/train.tsv --out o.jsonl", "o.jsonl"),
        ("export topics.cut --base base --out hf", "hf"),
    ] {
        let shown = on_a_full_disk(&place, 2, &format!("{line} --quiet"));
        assert!(
            shown.to_string().starts_with("exit 1\n--- stderr\nerror: cannot write"),
            "{shown}"
        );
        assert!(shown.stderr.contains(out) && shown.stderr.contains("too large"), "{shown}");
    }
    assert_eq!(place.names(), ["base", "topics", "topics.cut"]);
}

/// Room for the cut alone: the state is missed, the cut is not.
#[test]
fn a_state_without_room_is_a_warning() {
    let place = Place::new();
    let line = format!("{RUN} --save-every 1");
    assert_snapshot!(on_a_full_disk(&place, 40, &line).rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    t.cut: # KB (# KB without the head), #% zeros; the base is # KB
    --- stderr
    warning: no state of step # is kept: cannot write t.cut.state: File too large (os error #)
    ");
    assert!(place.read("t.cut") == uninterrupted(RUN), "another cut without a state");
    assert_eq!(place.names(), ["base", "t.cut", "topics"]);
}

/// Who comes second is told who came first, before anything is computed.
#[test]
fn two_runs_for_one_cut() {
    let place = Place::new();
    let mut first = underway(&place, RUN);
    let pid = first.id().to_string();
    let second = |more: &str| place.run(&format!("{RUN} {more}")).to_string().replace(&pid, "PID");
    assert_snapshot!(second("--force"), @"
    exit 2
    --- stderr
    error: t.cut: process PID (linocut train) is at work on it
    hint: wait until it has ended, end it (kill PID), or choose another place
    ");
    assert_eq!(second("--force --resume"), second("--force"));
    place.run(&RUN.replace("t.cut", "other.cut"));
    assert!(place.path("other.cut").exists(), "other places are free");
    assert!(first.wait().unwrap().success());
    assert_eq!(place.names(), ["base", "other.cut", "t.cut", "topics"]);
}

/// What was learned is kept, whatever has happened to its place.
#[test]
fn a_cut_whose_place_is_taken_is_kept_beside_it() {
    let place = Place::new();
    let run = underway(&place, RUN);
    place.write("t.cut", "somebody else's");
    let shown = Shown::new(&run.wait_with_output().unwrap());
    assert!(shown.to_string().starts_with("exit 1"), "{shown}");
    assert!(shown.stdout.contains("\nt-1.cut: "), "{shown}");
    assert_snapshot!(shown.stderr, @"
    error: t.cut exists already; the result is kept in t-1.cut
    hint: it is whole: mv t-1.cut t.cut, once that is possible
    ");
    assert!(place.read("t-1.cut") == uninterrupted(RUN), "another cut");
    assert_eq!(place.text("t.cut"), "somebody else's");
    // The state stays: the same command with --resume gives the cut again.
    assert!(place.path("t.cut.state").exists());
}

#[test]
fn a_cut_whose_folder_is_gone_is_kept_elsewhere() {
    let place = Place::new();
    place.write("out/notes", "");
    let line = RUN.replace("t.cut", "out/t.cut");
    let mut command = place.command();
    command.args(line.split_whitespace()).args(["--save-every", "1"]);
    let mut child = start(&mut command);
    while !place.path("out/t.cut.state").exists() {
        assert!(child.try_wait().unwrap().is_none(), "the run ended early");
        sleep(Duration::from_millis(5));
    }
    while std::fs::remove_dir_all(place.path("out")).is_err() {}
    let shown = Shown::new(&child.wait_with_output().unwrap());
    assert!(shown.to_string().starts_with("exit 1"), "{shown}");
    assert!(shown.stderr.contains("warning: no state of step "), "{shown}");
    assert!(shown.stderr.contains("; the result is kept in t-1.cut\n"), "{shown}");
    assert!(place.read("t-1.cut") == uninterrupted(RUN), "another cut");
}

/// Starts an export that waits for a file of the base, and for its folder to be there.
fn exporting(place: &Place, out: &str) -> Child {
    let waited_for = place.path("base/vocab.txt");
    if !waited_for.exists() {
        assert!(Command::new("mkfifo").arg(waited_for).status().unwrap().success());
    }
    let mut command = place.command();
    command.args(["export", "topics.cut", "--base", "base", "-q", "--out", out]);
    let mut child = start(&mut command);
    let begun = || {
        let folders = place.names().into_iter().filter(|name| name.ends_with(".tmp"));
        folders.into_iter().any(|name| place.path(&name).join("new/config.json").exists())
    };
    while !begun() {
        assert!(child.try_wait().unwrap().is_none(), "the export ended early");
        sleep(Duration::from_millis(5));
    }
    child
}

/// Ctrl-C takes what is half done with it; what a kill leaves goes with the next command there.
#[test]
fn no_temporary_folder_stays() {
    let place = Place::trained();
    let before = place.names();
    for signal in ["INT", "TERM"] {
        let mut child = exporting(&place, "hf");
        let pid = child.id().to_string();
        assert!(Command::new("kill").args([format!("-{signal}"), pid]).status().unwrap().success());
        assert_eq!(child.wait().unwrap().code(), None, "it ends by the signal");
        assert_eq!(place.names(), before);
    }
    let mut killed = exporting(&place, "hf");
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert_eq!(place.names().len(), before.len() + 2, "a folder and a lock");
    let mut other = exporting(&place, "hf2");
    let left = place.names();
    assert_eq!(left.len(), before.len() + 2, "{left:?}");
    // What a living process holds is left alone.
    place.train("--method head --epochs 1", "t.cut");
    assert_eq!(place.names().len(), left.len() + 1);
    other.kill().unwrap();
    other.wait().unwrap();
    place.run("predict topics.cut --base base --in topics/dev.tsv --out o.tsv -q");
    assert_eq!(place.names(), ["base", "o.tsv", "t.cut", "topics", "topics.cut"]);
}

/// Both signals come before the step is done.
#[test]
fn a_second_signal_ends_training_at_once() {
    let place = Place::new();
    let mut child = underway(&place, RUN);
    let pid = child.id().to_string();
    for signal in ["STOP", "INT", "TERM", "CONT"] {
        let sent = Command::new("kill").args([format!("-{signal}"), pid.clone()]).status();
        assert!(sent.unwrap().success());
    }
    assert_eq!(child.wait().unwrap().code(), None, "it ends by the signal");
    assert!(!place.path("t.cut").exists());
    place.run(&format!("{RUN} --resume"));
    assert!(place.read("t.cut") == uninterrupted(RUN), "another cut after resuming");
}

/// Where messages cannot be written, the work is done all the same.
#[cfg(target_os = "linux")]
#[test]
fn a_full_standard_error_stops_nothing() {
    let place = Place::new();
    for line in [RUN.trim_end_matches(" -q"), "eval t.cut --base base --task topics"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = place.command();
        command.args(line.split_whitespace()).stderr(full);
        let output = command.output().unwrap();
        let shown = Shown::new(&output);
        assert!(output.status.success() && shown.stdout.contains("accuracy"), "{line}: {shown}");
    }
    assert!(place.read("t.cut") == uninterrupted(RUN), "another cut");
}
