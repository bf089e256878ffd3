//! Tasks that cost less to compute.

use super::place::Place;
use insta::assert_snapshot;

const TRAIN: &str = "train --base base --task topics --out slim.cut --epochs 4 -q";

#[test]
fn a_slim_task_from_training_to_use() {
    let place = Place::new();
    assert_snapshot!(place.run(&format!("{TRAIN} --compute 0.5")).rough(), @"
    exit 0
    --- stdout
    accuracy # on # dev rows; the most frequent label for all: #
    #% of the compute: # of # heads and # of # groups of neurons in # layers
    slim.cut: # KB (# KB without the head), #% zeros; the base is # KB
    ");
    let card = place.run("inspect slim.cut --json").json();
    let compute = card["card"]["training"]["compute"].as_f64().unwrap();
    assert!((0.45..=0.5).contains(&compute), "{compute}");
    assert_eq!(card["card"]["format"], 3);
    let shown = place.run("inspect slim.cut").rough().to_string();
    assert!(shown.contains("kept by layer heads groups of # neurons"), "{shown}");
    for (command, says) in [
        ("verify slim.cut --base base", "ok      slim.cut: topics, 4 probes equal, base restored"),
        ("verify slim.cut --base base --dtype int8", "ok      slim.cut: topics"),
        ("eval slim.cut --base base --task topics", "accuracy"),
        ("eval slim.cut --base base --task topics --dtype int8", "int8"),
        ("export slim.cut --base base --out slim-hf", "left-out heads zero in place"),
        ("measure base slim.cut", "slim.cut"),
    ] {
        let shown = place.run(command).to_string();
        assert!(shown.starts_with("exit 0") && shown.contains(says), "{command}: {shown}");
    }
    let line = |command: &str| place.run_with(command, &["eat we and apple salt"], b"").to_string();
    let answer = line("predict slim.cut --base base --scores");
    std::fs::create_dir(place.path("cuts")).unwrap();
    std::fs::copy(place.path("slim.cut"), place.path("cuts/slim.cut")).unwrap();
    let plan = place.run("plan --base base --cuts cuts").to_string();
    assert!(plan.starts_with("exit 0") && plan.contains("slim"), "{plan}");
    assert!(answer.contains("food"), "{answer}");
}

#[test]
fn shares_that_nothing_fits() {
    let place = Place::new();
    assert_snapshot!(place.run(&format!("{TRAIN} --compute 0")), @"
    exit 2
    --- stderr
    error: --compute is 0, expected a share in (0, 1]
    ");
    assert_snapshot!(place.run(&format!("{TRAIN} --compute 0.0001")), @"
    exit 2
    --- stderr
    error: --compute is 0.0001, expected at least 0.0013: what one group of 16 neurons takes
    ");
    assert!(!place.names().iter().any(|name| name.starts_with("slim")), "{:?}", place.names());
}
