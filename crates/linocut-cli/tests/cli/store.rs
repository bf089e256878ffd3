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
    exit 0
    --- stdout
    two: version 1, 1.2 KB, 62fbdbd12c7c: in force; the store had this content
    one: version 1, 1.7 KB, 9a6405df4a6b: in force; the store had this content
    ");
    assert_snapshot!(place.run("push two.cut fleet"), @"
    exit 0
    --- stdout
    two: version 1, 1.2 KB, 62fbdbd12c7c: in force already
    ");
    assert_snapshot!(place.run("list fleet").rough(), @"
    exit 0
    --- stdout
    task bytes content base method score version age signed
    a # KB #a6405df4a6b tiny b4b4b4b4b4b4 – accuracy # # # s no
    b # KB #a6405df4a6b tiny b4b4b4b4b4b4 – accuracy # # # s no
    one # KB #a6405df4a6b tiny b4b4b4b4b4b4 – accuracy # # # s no
    two # KB #fbdbd12c7c tiny b4b4b4b4b4b4 – – # # s no

    # tasks in # cuts, # KB, of # base
    ");
    assert_snapshot!(place.run("history a fleet").rough(), @"
    exit 0
    --- stdout
    version pushed age bytes content method score signed
    # in force # #:#:# UTC # s # KB #a6405df4a6b – accuracy # no
    # # #:#:# UTC # s # KB #fbdbd12c7c – – no
    # # #:#:# UTC # s # KB #a6405df4a6b – accuracy # no
    ");
    assert_snapshot!(place.run("rollback a fleet").rough(), @"
    exit 0
    --- stdout
    a: version # of # #:#:# UTC, #fbdbd12c7c: in force
    ");
    assert_snapshot!(place.run("rollback a fleet --to 7"), @r#"
    exit 2
    --- stderr
    error: the task "a" has no version 7
    hint: there are 1, 2, 3
    "#);
    assert_snapshot!(place.run("pull a fleet --out back.cut"), @"
    exit 0
    --- stdout
    back.cut: a version 2, 1.2 KB, 62fbdbd12c7c
    ");
    assert_eq!(place.read("back.cut"), place.read("two.cut"));
    assert_snapshot!(place.run("pull a fleet --out back.cut --version 1"), @"
    exit 1
    --- stderr
    error: back.cut exists already
    hint: give another --out, or --force to replace it
    ");
    place.run("pull a fleet --out back.cut --version 1 --force");
    assert_eq!(place.read("back.cut"), place.read("one.cut"));
    assert_snapshot!(place.run("remove one fleet"), @"
    exit 0
    --- stdout
    one: removed
    ");
    assert_snapshot!(place.run("remove b fleet"), @"
    exit 0
    --- stdout
    b: removed
    ");
    assert_snapshot!(place.run("remove a fleet"), @"
    exit 0
    --- stdout
    a: removed
    ");
    assert_snapshot!(place.run("gc fleet"), @"
    exit 0
    --- stdout
    1 cut removed, 1.7 KB; 1 left, 1.2 KB
    ");
    assert_snapshot!(place.run("list fleet").rough(), @"
    exit 0
    --- stdout
    task bytes content base method score version age signed
    two # KB #fbdbd12c7c tiny b4b4b4b4b4b4 – – # # s no

    # task in # cut, # KB, of # base
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
    exit 1
    --- stdout
    task   bytes       content               base  method          score
    one   1.7 KB  9a6405df4a6b  tiny b4b4b4b4b4b4       –  accuracy 95.6
    two   1.2 KB  62fbdbd12c7c  tiny b4b4b4b4b4b4       –              –

    2 tasks in 2 cuts, 2.9 KB, of 1 base
    --- stderr
    warning: ./bad.cut: not a whole and unaltered cut: the last 32 of its 6 bytes are not the digest of those before
    error: 1 of 3 cannot be read
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
        "push one.cut .",
        "push one.cut new",
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
    assert_snapshot!(all, @r#"
    $ linocut push
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <CUT>...
      <STORE>

    Usage: linocut push <CUT>... <STORE>

    For more information, try '--help'.

    $ linocut push one.cut
    exit 2
    --- stderr
    error: the following required arguments were not provided:
      <CUT>...

    Usage: linocut push <CUT>... <STORE>

    For more information, try '--help'.

    $ linocut push one.cut bad.cut fleet
    exit 1
    --- stderr
    error: bad.cut: not a whole and unaltered cut: the last 32 of its 6 bytes are not the digest of those before
    hint: the file was cut short, changed, or is something else; copy it again from where it was made

    $ linocut push nowhere.cut fleet
    exit 1
    --- stderr
    error: cannot read nowhere.cut: No such file or directory (os error 2)

    $ linocut push one.cut fleet --name a/b
    exit 2
    --- stderr
    error: "a/b" is no name of a task: expected 1 to 100 bytes of letters, digits, spaces and . _ - + , ( ) @ = ~, the first a letter or digit and the last no space

    $ linocut push one.cut two.cut fleet --name c
    exit 2
    --- stderr
    error: --name is one task's, found 2 cuts
    hint: push them one by one

    $ linocut push one.cut one.cut
    exit 2
    --- stderr
    error: a store at "one.cut": a file, expected a folder or a bucket

    $ linocut push one.cut ftp://fleet
    exit 2
    --- stderr
    error: a store at "ftp://fleet": ftp:// is not known here
    hint: expected a folder, s3://bucket/path, gs://bucket/path or az://container/path

    $ linocut push one.cut s3://
    exit 2
    --- stderr
    error: a store at "s3://": no bucket, expected s3://bucket/path

    $ linocut push one.cut .
    exit 2
    --- stderr
    error: . is no store, and has other things in it (bad.cut)
    hint: name a new or an empty folder, which then becomes a store

    $ linocut push one.cut new
    exit 0
    --- stdout
    one: version 1, 1.7 KB, 9a6405df4a6b: in force
    --- stderr
    note: new is a new store

    $ linocut push one.cut fleet --sign one.cut
    exit 2
    --- stderr
    error: one.cut is no file of keys
    hint: --sign takes the secret key, not its .pub

    $ linocut pull c fleet --out c.cut
    exit 2
    --- stderr
    error: fleet has no task "c"
    hint: the nearest are "a", "b"

    $ linocut pull a nowhere --out c.cut
    exit 1
    --- stderr
    error: nowhere is no store: there is no store.json
    hint: the first `linocut push` into a place makes a store of it

    $ linocut pull a fleet --out c.cut --trust one.cut
    exit 2
    --- stderr
    error: one.cut is no file of keys

    $ linocut list nowhere
    exit 1
    --- stderr
    error: nowhere is no store: there is no store.json
    hint: the first `linocut push` into a place makes a store of it

    $ linocut history c fleet
    exit 2
    --- stderr
    error: fleet has no task "c"
    hint: the nearest are "a", "b"

    $ linocut gc .
    exit 1
    --- stderr
    error: . is no store: there is no store.json
    hint: the first `linocut push` into a place makes a store of it

    $ linocut base diff base nowhere --store fleet
    exit 1
    --- stderr
    error: --base nowhere: no such folder, and no hub name (owner/name)
    hint: expected a Hugging Face folder with config.json, model.safetensors and tokenizer.json; `make base` puts one into models/all-minilm-l6-v2
    "#);
}

#[test]
fn signed_and_checked() {
    let place = Place::new();
    fleet(&place);
    assert_snapshot!(place.run("keygen key --no-password"), @"
    exit 0
    --- stdout
    key: secret, for `linocut push --sign`
    key.pub: public, for `linocut serve --trust`
    ");
    assert_snapshot!(place.run("keygen key --no-password"), @"
    exit 1
    --- stderr
    error: key exists already
    hint: choose another name: a lost key cannot be had again
    ");
    assert_snapshot!(place.run("keygen other"), @"
    exit 2
    --- stderr
    error: there is no terminal to ask for the key's password: No such device or address (os error 6)
    hint: set LINOCUT_KEY_PASSWORD; a new key may do without, by --no-password
    ");
    assert_snapshot!(place.run("push one.cut fleet --sign key"), @"
    exit 0
    --- stdout
    one: version 1, 1.7 KB, 9a6405df4a6b, signed: in force; the store had this content
    ");
    place.run("pull one fleet --out x.cut --trust key.pub");
    assert_eq!(place.read("x.cut"), place.read("one.cut"));
    assert!(place.text("x.cut.minisig").contains("trusted comment: linocut task: one\n"));
    assert_snapshot!(place.run("pull b fleet --out y.cut --trust key.pub"), @r#"
    exit 1
    --- stderr
    error: the task "b" is not trusted: it is not signed
    hint: push it with --sign and a key whose public half is trusted
    "#);
    // The signature of what was there before does not stay beside another cut.
    place.run("pull b fleet --out x.cut --force");
    assert!(!place.path("x.cut.minisig").exists());
    place.run("pull one fleet --out x.cut --trust key.pub --force");
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
    exit 0
    --- stdout
    1 of 1 tasks belong to base; new is the same base and tokenizer: none breaks
    ");
    // Another activation is another base, and moves what it computes.
    place.edit("new/config.json", "\"gelu\"", "\"relu\"");
    assert_snapshot!(place.run("base diff base new --store fleet").rough(), @"
    exit 0
    --- stdout
    # of # tasks belong to base; all of them are refused on new, which is another base

    task score largest move of a probe's logit other label
    topics accuracy # # # of # probes

    to train them anew, with each one's own rows:
     linocut train --base new --train ROWS --method full --epochs # --batch # --lr # --head-lr # --dropout # --warmup # --seed # --max-length # --out topics.cut
    ");
    let json = place.run("base diff base new --store fleet --json").json();
    assert_eq!(json["same_base"], false);
    assert!(json["tasks"][0]["difference"].as_f64().unwrap() > 1e-3);
}
