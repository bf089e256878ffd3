//! Runs that stop in the middle: killed, interrupted, diverged, out of space.
#![cfg(unix)]

use super::place::{Place, Shown, start};
use insta::assert_snapshot;
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
    hint: the state is saved: run the same command with --resume
    ");

    // Another run's state is left alone.
    let state = place.read("t.cut.state");
    assert_snapshot!(place.run(&format!("{RUN} --resume --seed 3")), @"
    exit 2
    --- stderr
    error: t.cut.state is the state of another run: its base, tokenizer, rows or options differ
    hint: give the options and files it was started with, or remove it to start over
    ");
    assert_eq!(place.read("t.cut.state"), state);

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

/// A limit on the size of files stands for a full disk: writing beyond it fails.
fn on_a_full_disk(place: &Place, line: &str) -> Shown {
    let mut command = Command::new("sh");
    // The signal of the limit is ignored, so that the write fails instead. Blocks are 512 or 1024 bytes.
    command.args(["-c", &format!("trap '' XFSZ; ulimit -f 2; exec \"$0\" {line}")]);
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
        ("export topics.cut --base base --out hf", ".linocut-export-"),
    ] {
        let shown = on_a_full_disk(&place, &format!("{line} --quiet"));
        assert!(
            shown.to_string().starts_with("exit 1\n--- stderr\nerror: cannot write"),
            "{shown}"
        );
        assert!(shown.stderr.contains(out) && shown.stderr.contains("too large"), "{shown}");
    }
    assert_eq!(place.names(), ["base", "topics", "topics.cut"]);
}
