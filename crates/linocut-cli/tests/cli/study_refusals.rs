//! Studies that are refused: damaged records, and what does not fit together.

use super::place::Place;
use super::study::with_two_tasks;
use insta::assert_snapshot;
use serde_json::Value;

#[test]
fn a_damaged_record() {
    let place = Place::new();
    let study =
        "study --base base --task topics --out s --arms head,mask --seeds 1 --epochs 1 --quiet";
    assert!(place.run(study).to_string().starts_with("exit 0"));
    let whole = place.text("s/study.jsonl");
    place.edit("s/study.jsonl", "\"seed\":0,\"cut\"", "\"seed\":4000000000,\"cut\"");
    assert_snapshot!(place.run(study), @"
    exit 1
    --- stderr
    error: s/study.jsonl is no study's: line 1: seed is 4000000000, expected 0 to 999
    hint: restore the file, or delete the line: its run is then done again
    ");
    place.write("s/study.jsonl", &whole[..whole.len() - 9]);
    let shown = place.run(study);
    assert_snapshot!(shown.stderr, @"note: s/study.jsonl, line 2 is cut off: its run is done again");
    let without_times = |text: &str| -> Vec<Value> {
        let line = |line| {
            let mut run: Value = serde_json::from_str(line).unwrap();
            run["seconds"] = 0.into();
            run
        };
        text.lines().map(line).collect()
    };
    assert_eq!(without_times(&place.text("s/study.jsonl")), without_times(&whole));

    let setting = place.text("s/study.json");
    for bad in [
        "[".repeat(100_000),
        "{}".into(),
        "null".into(),
        setting.replace("\"epochs\": 1", "\"epochs\": 1e300"),
        setting.replace("\"epochs\": 1", "\"epochs\": 18446744073709551615"),
        setting.replace("\"limit\": null", "\"limit\": -1"),
        setting[..setting.len() / 2].into(),
    ] {
        assert_ne!(bad, setting);
        place.write("s/study.json", &bad);
        let shown = place.run(study);
        assert!(
            shown.to_string().starts_with("exit") && shown.stderr.starts_with("error: s"),
            "{bad:.300} {shown}"
        );
        assert!(shown.stderr.len() < 1000, "{shown}");
        assert_eq!(place.text("s/study.json"), bad);
    }
}

#[test]
fn what_does_not_fit_together() {
    let place = with_two_tasks();
    let study = "study --base base --task topics --out s --arms head --seeds 1 --epochs 1 --quiet";
    assert!(place.run(study).to_string().starts_with("exit 0"));

    place.edit("snacks/task.json", "\"snacks\"", "\"topics\"");
    assert_snapshot!(place.run(&format!("{study} --task snacks")), @r#"
    exit 1
    --- stderr
    error: topics and snacks are both named "topics"
    hint: give each task a name of its own in its task.json
    "#);
    assert_snapshot!(place.run("study --base base --task topics --out topics"), @"
    exit 1
    --- stderr
    error: topics: a folder that is neither empty nor a study
    hint: give another --out
    ");
    assert_snapshot!(place.run("study --base base --task topics --out s --arms head"), @"
    exit 2
    --- stderr
    error: s is a study with --epochs 1, found none
    hint: give what it was started with, or another --out
    ");
    assert_snapshot!(place.run(&format!("{study} --arms layer-7")).stderr.lines().next().unwrap(), @"error: --arms layer-7: no arm of this name");
    assert_snapshot!(place.run("study --base base --task topics --out t --seeds 0"), @"
    exit 2
    --- stderr
    error: --seeds is 0, expected 1 to 1000
    ");
    assert_snapshot!(place.run("study --base base --task topics --out t --time-budget 2d"), @r#"
    exit 2
    --- stderr
    error: invalid value '2d' for '--time-budget <TIME>': expected a time such as 45s, 90m, 2h or 1h30m, found "2d"

    For more information, try '--help'.
    "#);
    place.edit("topics/dev.tsv", "\tfood", "\tweather");
    assert_snapshot!(place.run(study), @"
    exit 1
    --- stderr
    error: topics/dev.tsv changed since s was started
    hint: restore the file, or the options that read it; or start another study with another --out
    ");
    place.edit("base/config.json", "\"num_attention_heads\": 3", "\"num_attention_heads\": 4");
    assert_snapshot!(place.run(study), @r#"
    exit 1
    --- stderr
    error: s is a study of the base "base" with fingerprint 2adcafe9486c5bbdf712a8f711f67136bb9a6a905c1f6566bad56e88c718bce9, found "base" with b35df3da5a6ee9467cd533c812ea156c7bd1c2ca10b5e977f96aecb1b86c9102
    hint: give the base it was started with, or another --out
    "#);
    assert!(!place.path("t").exists());
}
