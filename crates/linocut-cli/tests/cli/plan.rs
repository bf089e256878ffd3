//! plan.

use super::place::{Place, rough};
use insta::assert_snapshot;

/// A mask of every layer, a mask of the last and a head alone.
fn cuts(place: &Place) {
    let mask = "--init-scale 0.2 --init-sparsity 0.1 --epochs 1";
    std::fs::create_dir(place.path("cuts")).unwrap();
    place.train(mask, "cuts/mask.cut");
    place.train(&format!("{mask} --layers 2"), "cuts/last.cut");
    place.train("--method head --epochs 1", "cuts/head.cut");
    place.write("cuts/notes.txt", "no cut");
}

#[test]
fn a_folder_of_cuts() {
    let place = Place::new();
    cuts(&place);
    // A budget of 0 leaves no way but correction.
    let shown = place.run("plan --base base --cuts cuts --materialise-budget 0 --tokens 8");
    assert_snapshot!(shown.rough(), @"");
    let shown = place.run("plan --base base --cuts cuts --materialise-budget 0 --json");
    let json = shown.json();
    let task = |i: usize, what: &str| json["tasks"][i][what].clone();
    assert_eq!(task(0, "task"), "head");
    assert_eq!((task(0, "shared_layers"), task(0, "time")), (3.into(), 0.0.into()));
    assert_eq!(task(1, "forks_at"), "encoder.layer.2.attention.self.query.weight");
    assert_eq!((task(1, "task"), task(1, "corrected")), ("last".into(), 6.into()));
    assert_eq!((task(2, "task"), task(2, "corrected")), ("mask".into(), 16.into()));
    let inspected = place.run("inspect cuts/mask.cut --json").json();
    let tensors = inspected["card"]["tensors"].as_object().unwrap();
    let zeros: u64 = tensors.values().map(|t| t["zeros"].as_u64().unwrap()).sum();
    assert_eq!(task(2, "zeros"), zeros);
    assert_snapshot!(rough(&json["break_even"].to_string()), @"");
}

#[test]
fn mistakes() {
    let place = Place::new();
    assert_snapshot!(place.run("plan --base base --cuts none"), @"");
    assert_snapshot!(place.run("plan --base base --cuts topics"), @"");
    assert_snapshot!(place.run("plan --base base --cuts topics/task.json"), @"");
    cuts(&place);
    assert_snapshot!(place.run("plan --base base --cuts cuts --tokens 41"), @"");
    place.write("cuts/other.cut", "something else");
    assert_snapshot!(place.run("plan --base base --cuts cuts"), @"");
    std::fs::remove_file(place.path("cuts/other.cut")).unwrap();
    place.edit("base/config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 4");
    assert_snapshot!(place.run("plan --base base --cuts cuts"), @"");
}
