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
    assert_snapshot!(shown.rough(), @"
    exit 0
    --- stdout
    cost here in f32 ns of one core
    multiply-add of a product over many rows #
    entry of a matrix of a task's own #
    entry of it, when made from the base's #
    zero, a pass over up to # rows #
    zero and row #
    entry turned on its side #
    multiply-add with low-rank factors #

    at # tokens a matrix of a task's own is cheaper from this share of zeros on: #% of # × #, #% of # × #, #% of # × #

    task shared layers zeros corrected materialised replaced memory time
    head # # # # # # B +#%
    last # # # # # # KB +#%
    mask # # # # # # KB +#%

    # tasks in # KB; materialised matrices would take # B of a budget of # B
    ");
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
    assert_snapshot!(rough(&json["break_even"].to_string()), @r#"[{"shape":[#,#],"zeros":#},{"shape":[#,#],"zeros":#},{"shape":[#,#],"zeros":#}]"#);
}

#[test]
fn mistakes() {
    let place = Place::new();
    assert_snapshot!(place.run("plan --base base --cuts none"), @"
    exit 1
    --- stderr
    error: cannot read the folder none: No such file or directory (os error 2)
    ");
    assert_snapshot!(place.run("plan --base base --cuts topics"), @"
    exit 1
    --- stderr
    error: --cuts topics: no file in it ends in .cut
    hint: linocut train writes cuts
    ");
    assert_snapshot!(place.run("plan --base base --cuts topics/task.json"), @"
    exit 1
    --- stderr
    error: cannot read the folder topics/task.json: Not a directory (os error 20)
    ");
    cuts(&place);
    assert_snapshot!(place.run("plan --base base --cuts cuts --tokens 41"), @"
    exit 2
    --- stderr
    error: --tokens is 41, expected 1 to 40 on this base
    ");
    place.write("cuts/other.cut", "something else");
    assert_snapshot!(place.run("plan --base base --cuts cuts"), @"
    exit 1
    --- stderr
    error: cuts/other.cut: not a whole and unaltered cut: the last 32 of its 14 bytes are not the digest of those before
    hint: the file was cut short, changed, or is something else; copy it again from where it was made
    ");
    std::fs::remove_file(place.path("cuts/other.cut")).unwrap();
    place.edit("base/config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 4");
    assert_snapshot!(place.run("plan --base base --cuts cuts"), @r#"
    exit 1
    --- stderr
    error: cuts/head.cut: the cut "topics" belongs to the base "base" with fingerprint 2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9, found "base" with b35df3da5a6ee9467cd533c812ea156c7bd1c2ca10b5e977f96aecb1b86c9102
    hint: use the very base folder that the cut was trained on, its config.json included
    "#);
}
