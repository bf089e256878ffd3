//! push, pull, list, history, rollback, remove, gc, keygen, and base diff.

use super::place::Place;
use insta::assert_snapshot;
use std::time::Duration;

/// A store of two tasks: `a` in three versions, and `b`, which has the content of the first.
fn fleet(place: &Place) {
    let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cut");
    for (from, to) in [("v1-zeros.cut", "one.cut"), ("v2-large-zeros.cut", "two.cut")] {
        place.write(to, std::fs::read(golden.join(from)).unwrap());
    }
    for (cut, name) in [("one", "a"), ("two", "a"), ("one", "a"), ("one", "b")] {
        let shown = place.run(&format!("push {cut}.cut fleet --name {name}"));
        assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    }
}

#[test]
fn the_life_of_a_task() {
    let place = Place::new();
    fleet(&place);
    assert_snapshot!(place.run("push two.cut one.cut fleet"), @"
    ");
    assert_snapshot!(place.run("push two.cut fleet"), @"
    ");
    assert_snapshot!(place.run("list fleet").rough(), @"
    ");
    assert_snapshot!(place.run("history a fleet").rough(), @"
    ");
    assert_snapshot!(place.run("rollback a fleet").rough(), @"
    ");
    assert_snapshot!(place.run("rollback a fleet --to 7"), @"
    ");
    assert_snapshot!(place.run("pull a fleet --out back.cut"), @"
    ");
    assert_eq!(place.read("back.cut"), place.read("two.cut"));
    assert_snapshot!(place.run("pull a fleet --out back.cut --version 1"), @"
    ");
    place.run("pull a fleet --out back.cut --version 1 --force");
    assert_eq!(place.read("back.cut"), place.read("one.cut"));
    assert_snapshot!(place.run("remove one fleet"), @"
    ");
    assert_snapshot!(place.run("remove b fleet"), @"
    ");
    assert_snapshot!(place.run("remove a fleet"), @"
    ");
    assert_snapshot!(place.run("gc fleet"), @"
    ");
    assert_snapshot!(place.run("list fleet").rough(), @"
    ");
    let list = place.run("list fleet --json").json();
    assert_eq!((&list["tasks"][0]["task"], &list["cuts"]), (&"two".into(), &1.into()));
}

#[test]
fn a_folder_of_cuts_is_listed() {
    let place = Place::new();
    fleet(&place);
    place.write("bad.cut", "no cut");
    assert_snapshot!(place.run("list ."), @"
    ");
}

#[test]
fn mistakes() {
    let place = Place::new();
    fleet(&place);
    place.write("bad.cut", "no cut");
    let mut all = String::new();
    for line in [
        "push",
        "push one.cut",
        "push one.cut bad.cut fleet",
        "push nowhere.cut fleet",
        "push one.cut fleet --name a/b",
        "push one.cut two.cut fleet --name c",
        "push one.cut one.cut",
        "push one.cut ftp://fleet",
        "push one.cut s3://",
        "push one.cut fleet --sign one.cut",
        "pull c fleet --out c.cut",
        "pull a nowhere --out c.cut",
        "pull a fleet --out c.cut --trust one.cut",
        "list nowhere",
        "history c fleet",
        "gc .",
        "base diff base nowhere --store fleet",
    ] {
        all += &format!("$ linocut {line}\n{}\n", place.run(line));
    }
    assert_snapshot!(all, @"
    ");
}

#[test]
fn signed_and_checked() {
    let place = Place::new();
    fleet(&place);
    assert_snapshot!(place.run("keygen key --no-password"), @"
    ");
    assert_snapshot!(place.run("keygen key --no-password"), @"
    ");
    assert_snapshot!(place.run("keygen other"), @"
    ");
    assert_snapshot!(place.run("push one.cut fleet --sign key"), @"
    ");
    place.run("pull one fleet --out x.cut --trust key.pub");
    assert_eq!(place.read("x.cut"), place.read("one.cut"));
    assert!(place.text("x.cut.minisig").contains("trusted comment: linocut task: one\n"));
    assert_snapshot!(place.run("pull b fleet --out y.cut --trust key.pub"), @"
    ");
    // Where people have minisign itself, it agrees.
    let mut minisign = std::process::Command::new("minisign");
    place.prepare(&mut minisign);
    match minisign.args(["-V", "-m", "x.cut", "-p", "key.pub"]).output() {
        Ok(done) => assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr)),
        Err(_) => eprintln!("not run: there is no minisign here"),
    }
}

/// Pushes that are killed: what the store names is whole, and the next push goes through.
#[cfg(unix)]
#[test]
fn kills_in_the_middle_of_pushes() {
    let place = Place::new();
    fleet(&place);
    for round in 0..50u64 {
        let cut = ["one", "two"][round as usize % 2];
        let mut command = place.command();
        command.args(["push", &format!("{cut}.cut"), "fleet", "--name", "a"]);
        command.stdout(std::process::Stdio::null());
        let mut push = command.spawn().unwrap();
        std::thread::sleep(Duration::from_millis(round * 7 % 31));
        push.kill().unwrap();
        push.wait().unwrap();
        let store = linocut::store::Store::open(place.path("fleet").to_str().unwrap()).unwrap();
        let record = store.record("a").unwrap();
        for version in &record.versions {
            store.read(version).unwrap();
        }
    }
    let shown = place.run("push two.cut fleet --name last");
    assert!(shown.to_string().starts_with("exit 0"), "{shown}");
    place.run("gc fleet");
    let left: Vec<String> = std::fs::read_dir(place.path("fleet/tasks"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn what_another_base_breaks() {
    let place = Place::trained();
    place.run("push topics.cut fleet");
    for file in ["config.json", "model.safetensors", "tokenizer.json"] {
        place.write(&format!("new/{file}"), place.read(&format!("base/{file}")));
    }
    assert_snapshot!(place.run("base diff base new --store fleet"), @"
    ");
    // Another activation is another base, and moves what it computes.
    place.edit("new/config.json", "\"gelu\"", "\"relu\"");
    assert_snapshot!(place.run("base diff base new --store fleet").rough(), @"
    ");
    let json = place.run("base diff base new --store fleet --json").json();
    assert_eq!(json["same_base"], false);
    assert!(json["tasks"][0]["difference"].as_f64().unwrap() > 1e-3);
}
