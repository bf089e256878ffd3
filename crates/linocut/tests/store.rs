//! Stores of tasks: nothing lost between two writers, nothing altered unseen.

#![cfg(feature = "store")]
#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod cut_samples;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use cut_samples as samples;
use linocut::ErrorKind;
use linocut::cut::{Card, Cut};
use linocut::store::{Cuts, Records, Signer, Store, Trusted, VERSIONS};
use tempfile::TempDir;

/// A folder for a store.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn store(&self) -> Store {
        Store::create(self.path("store").to_str().unwrap()).unwrap()
    }
}

/// A cut that differs from those of other numbers.
fn cut(number: usize) -> Vec<u8> {
    let sample = samples::zeros();
    let card = Card { task: format!("task {number}"), ..sample.card().clone() };
    let (head, edits, probes) = (sample.head().clone(), sample.edits().clone(), sample.probes());
    Cut::new(card, head, edits, probes.to_vec()).unwrap().to_bytes()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_task_through_its_life() {
    let place = Place::new();
    let at = place.path("store");
    let error = Store::open(at.to_str().unwrap()).err().unwrap();
    assert!(error.message().ends_with("is no store: there is no store.json"), "{error}");
    let store = place.store();
    let first = store.push("billing", &cut(1), None).unwrap();
    assert_eq!(
        (first.version.version, first.is_new_version, first.is_new_content),
        (1, true, true)
    );
    let same = store.push("billing", &cut(1), None).unwrap();
    assert_eq!((same.version.version, same.is_new_version, same.is_new_content), (1, false, false));
    let second = store.push("billing", &cut(2), None).unwrap();
    assert_eq!(second.version.version, 2);
    let other = store.push("Größe (2)", &cut(1), None).unwrap();
    assert!(other.is_new_version && !other.is_new_content);
    assert_eq!(store.cuts().unwrap().cuts, 2, "equal content is kept once");

    let store = Store::open(at.to_str().unwrap()).unwrap();
    let record = store.record("billing").unwrap();
    assert_eq!(store.read(record.current()).unwrap(), cut(2));
    assert_eq!(store.read(record.find(Some(1)).unwrap()).unwrap(), cut(1));
    assert_eq!(store.roll_back("billing", None).unwrap().version, 1);
    let error = store.roll_back("billing", None).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the task \"billing\" has no version before 1, which is in force\nhint: there are 1, 2"
    );
    assert_eq!(store.roll_back("billing", Some(2)).unwrap().version, 2);
    // What was in force before, once more: a version of its own.
    assert_eq!(store.push("billing", &cut(1), None).unwrap().version.version, 3);

    assert_eq!(store.collect().unwrap(), Cuts::default());
    store.remove("billing").unwrap();
    assert_eq!(store.record("billing").unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(store.remove("billing").unwrap_err().kind(), ErrorKind::Config);
    assert_eq!(store.collect().unwrap().cuts, 1, "the other task has the first");
    assert_eq!(store.cuts().unwrap().cuts, 1);
    assert_eq!(names(&at), ["cuts", "store.json", "tasks"]);
    assert_eq!(names(&at.join("tasks")), ["Größe (2).json"]);
}

#[test]
fn an_unknown_task_has_a_nearest() {
    let place = Place::new();
    let store = place.store();
    store.push("billing", &cut(1), None).unwrap();
    let error = store.record("biling").unwrap_err();
    assert_eq!(error.hint(), Some("the nearest are \"billing\""));
    let error = store.push("../billing", &cut(1), None).unwrap_err();
    assert!(error.message().contains("is no name of a task"), "{error}");
    assert_eq!(store.push("x", b"not a cut", None).unwrap_err().kind(), ErrorKind::Cut);
    assert_eq!(store.records().unwrap().tasks.len(), 1);
}

/// Many writers at once, each by a store of its own: every version is there, and each once.
#[test]
fn of_two_writers_neither_is_lost() {
    let place = Place::new();
    let at = place.path("store");
    const EACH: usize = 8;
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let at = at.to_str().unwrap();
            scope.spawn(move || {
                let store = Store::create(at).unwrap();
                for number in 0..EACH {
                    store.push("shared", &cut(writer * EACH + number), None).unwrap();
                }
            });
        }
    });
    let record = place.store().record("shared").unwrap();
    let numbers: Vec<u64> = record.versions.iter().map(|version| version.version).collect();
    assert_eq!(numbers, (1..=4 * EACH as u64).collect::<Vec<_>>());
    let digests: BTreeSet<&str> = record.versions.iter().map(|v| v.digest.as_str()).collect();
    assert_eq!(digests.len(), 4 * EACH);
    assert_eq!(record.current, 4 * EACH as u64);
    for version in &record.versions {
        place.store().read(version).unwrap();
    }
}

/// While cuts are collected, others are pushed that are to be kept.
#[test]
fn a_collection_takes_nothing_that_is_pushed_meanwhile() {
    let place = Place::new();
    let store = place.store();
    for number in 0..40 {
        store.push("old", &cut(number), None).unwrap();
    }
    store.remove("old").unwrap();
    let at = place.path("store");
    std::thread::scope(|scope| {
        let at = at.to_str().unwrap();
        scope.spawn(move || {
            let store = Store::create(at).unwrap();
            for number in (0..40).rev() {
                store.push(&format!("new{number}"), &cut(number), None).unwrap();
            }
        });
        scope.spawn(move || Store::open(at).unwrap().collect().unwrap());
    });
    let records = store.records().unwrap();
    assert_eq!(records.tasks.len(), 40);
    for known in records.tasks.values() {
        store.read(&known.current).unwrap();
    }
}

#[test]
fn a_record_keeps_the_latest_versions() {
    let place = Place::new();
    let store = place.store();
    for number in 0..VERSIONS + 3 {
        store.push("much", &cut(number), None).unwrap();
    }
    let record = store.record("much").unwrap();
    assert_eq!(record.versions.len(), VERSIONS);
    assert_eq!(record.versions[0].version, 4);
    assert_eq!(store.collect().unwrap().cuts, 3);
}

#[test]
fn changes_are_seen() {
    let place = Place::new();
    let (writer, reader) = (place.store(), place.store());
    let mut records = Records::default();
    assert!(reader.refresh(&mut records).unwrap().is_empty());
    writer.push("a", &cut(1), None).unwrap();
    writer.push("b", &cut(2), None).unwrap();
    assert_eq!(Vec::from_iter(reader.refresh(&mut records).unwrap()), ["a", "b"]);
    assert!(reader.refresh(&mut records).unwrap().is_empty());
    // In the same moment, and of the same length: not even then.
    writer.push("a", &cut(3), None).unwrap();
    assert_eq!(Vec::from_iter(reader.refresh(&mut records).unwrap()), ["a"]);
    assert_eq!(records.tasks["a"].current.version, 2);
    writer.roll_back("a", None).unwrap();
    writer.remove("b").unwrap();
    assert_eq!(Vec::from_iter(reader.refresh(&mut records).unwrap()), ["a", "b"]);
    assert_eq!(records.tasks["a"].current.version, 1);
    assert_eq!(records.tasks.len(), 1);
    // One bad file does not hide the others.
    fs::write(place.path("store/tasks/c.json"), "{}").unwrap();
    fs::write(
        place.path("store/tasks/b.json"),
        fs::read(place.path("store/tasks/a.json")).unwrap(),
    )
    .unwrap();
    reader.refresh(&mut records).unwrap();
    assert_eq!(records.tasks.len(), 1);
    let failed: Vec<&String> = records.failed.keys().collect();
    assert_eq!(failed, ["tasks/b.json", "tasks/c.json"]);
    assert!(records.failed["tasks/b.json"].ends_with("is the record of the task \"a\""));
    let error = reader.collect().unwrap_err();
    assert!(error.hint().unwrap().contains("what it names would be lost"), "{error}");
}

#[test]
fn what_was_altered_is_refused_by_name() {
    let place = Place::new();
    let store = place.store();
    let version = store.push("a", &cut(1), None).unwrap().version;
    let path = place.path(&format!("store/cuts/{}.cut", version.digest));
    fs::write(&path, cut(2)).unwrap();
    let error = store.read(&version).unwrap_err();
    assert!(error.message().contains("was altered"), "{error}");
    // A push of the same content mends it.
    store.push("a", &cut(1), None).unwrap();
    assert_eq!(store.read(&version).unwrap(), cut(1));
    fs::remove_file(&path).unwrap();
    assert!(store.read(&version).unwrap_err().message().ends_with("is missing"));
    // Records that are not what they should be.
    let record = place.path("store/tasks/a.json");
    let good = fs::read_to_string(&record).unwrap();
    for (from, to, found) in [
        ("\"format\": 1", "\"format\": 2", "a record of format 2, expected 1"),
        ("\"current\": 1", "\"current\": 7", "numbers of versions"),
        (&version.digest[..60], "../../../etc/passwd", "is no digest"),
        ("\"task\": \"a\"", "\"task\": \"../a\"", "is no name of a task"),
        ("\"task\": \"a\"", "\"task\": \"a\", \"more\": 1", "unknown field"),
    ] {
        assert!(good.contains(from), "{from}");
        fs::write(&record, good.replacen(from, to, 1)).unwrap();
        let error = store.record("a").unwrap_err();
        assert!(error.message().contains(found), "{error}");
    }
    let mark = place.path("store/store.json");
    fs::write(&mark, "{\"linocut\": \"store\", \"format\": 2}").unwrap();
    let error = Store::open(place.path("store").to_str().unwrap()).err().unwrap();
    assert!(error.hint().unwrap().contains("a newer linocut"), "{error}");
}

#[test]
fn only_what_was_signed_as_this_task_is_trusted() {
    let place = Place::new();
    let no_password = || panic!("it has none");
    let keys = |name: &str| {
        let (secret, public) = (place.path(name), place.path(&format!("{name}.pub")));
        Signer::generate(&secret, &public, None).unwrap();
        (Signer::read(&secret, no_password).unwrap(), Trusted::read(&public).unwrap(), secret)
    };
    let (ours, trusted, secret) = keys("ours");
    let (theirs, ..) = keys("theirs");
    #[cfg(unix)]
    {
        let mode =
            std::os::unix::fs::PermissionsExt::mode(&secret.metadata().unwrap().permissions());
        assert_eq!(mode & 0o777, 0o600);
    }
    let error = Signer::generate(&secret, &place.path("x.pub"), None).unwrap_err();
    assert!(error.message().ends_with("exists already"), "{error}");

    let store = place.store();
    let check = |task: &str, as_task: &str| {
        let record = store.record(task).unwrap();
        let version = record.current();
        let bytes = store.read(version).unwrap();
        trusted
            .check(as_task, &bytes, version.signature.as_deref())
            .map_err(|e| e.message().to_string())
    };
    store.push("a", &cut(1), None).unwrap();
    assert_eq!(check("a", "a").unwrap_err(), "the task \"a\" is not trusted: it is not signed");
    assert!(store.push("a", &cut(1), Some(&ours)).unwrap().is_new_version);
    check("a", "a").unwrap();
    assert!(!store.push("a", &cut(1), Some(&ours)).unwrap().is_new_version);
    assert!(!store.push("a", &cut(1), None).unwrap().is_new_version);
    assert!(check("a", "b").unwrap_err().ends_with("it is signed as the task \"a\""));
    assert!(store.push("a", &cut(1), Some(&theirs)).unwrap().is_new_version);
    assert!(check("a", "a").unwrap_err().ends_with("with a key that is not trusted"));
    store.roll_back("a", None).unwrap();
    check("a", "a").unwrap();
    let signature = store.record("a").unwrap().current().signature.clone();
    for (bytes, signature) in [(cut(2), signature.as_deref()), (cut(1), Some("nonsense"))] {
        let error = trusted.check("a", &bytes, signature).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cut);
    }
}

#[test]
fn a_key_with_a_password() {
    let place = Place::new();
    let (secret, public) = (place.path("key"), place.path("key.pub"));
    Signer::generate(&secret, &public, Some("correct".into())).unwrap();
    let error = Signer::read(&secret, || Ok("wrong".into())).err().unwrap();
    assert!(error.message().ends_with("the password does not open this key"), "{error}");
    let signer = Signer::read(&secret, || Ok("correct".into())).unwrap();
    let store = place.store();
    store.push("a", &cut(1), Some(&signer)).unwrap();
    // Several keys in one file, with a line of the reader's own.
    let both = format!("# ours\n{0}{0}", fs::read_to_string(&public).unwrap());
    fs::write(&public, both).unwrap();
    let trusted = Trusted::read(&public).unwrap();
    let record = store.record("a").unwrap();
    trusted.check("a", &cut(1), record.current().signature.as_deref()).unwrap();
    for (text, found) in [("", "no key in it"), ("RWQ-nonsense", "line 1 is no public key")] {
        fs::write(&public, text).unwrap();
        let error = Trusted::read(&public).err().unwrap();
        assert!(error.message().contains(found), "{error}");
    }
    fs::write(&secret, "nonsense").unwrap();
    let error = Signer::read(&secret, || panic!("it is none")).err().unwrap();
    assert!(error.message().contains("no secret key of minisign's"), "{error}");
}
