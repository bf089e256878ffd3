//! Tasks of a store: loaded on their first use, in the version that is in force.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Method;
use linocut::bank::Options;
use linocut::model::Base;
use linocut::store::{Signer, Trusted};
use serde_json::{Value, json};

use super::place::{Like, Place, assert_near, call, cut, get, logits, post, put, request};
use crate::State;

const TEXT: &str = "warm rain";

fn bytes(base: &Base, version: u64) -> Vec<u8> {
    cut(base, Like::version(version)).to_bytes()
}

/// The field of every task, by name.
async fn listed(state: &Arc<State>, field: &str) -> Vec<Value> {
    let found = get(state, "/v1/tasks").await.ok();
    found["tasks"].as_array().unwrap().iter().map(|task| task[field].clone()).collect()
}

fn roomy() -> usize {
    Options::default().task_memory
}

#[tokio::test]
async fn a_task_is_loaded_on_its_first_use() {
    let place = Place::new();
    place.pushed();
    let state = place.fleet(roomy(), None);
    assert_eq!(state.tasks(), 4);
    assert_eq!(listed(&state, "loaded").await, [false, false, false, false]);
    assert_eq!(listed(&state, "memory_bytes").await, [0, 0, 0, 0]);
    assert_eq!(listed(&state, "name").await, ["grade", "same", "tags", "topics"]);
    assert_eq!(listed(&state, "version").await, [1, 1, 1, 1]);
    assert_near(&logits(&state, "topics").await, &place.alone("topics", TEXT, None));
    assert_eq!(listed(&state, "loaded").await, [false, false, false, true]);
    // "all" knows which take single texts without having them in memory.
    let body = json!({"inputs": [TEXT, "cold tea"], "tasks": "all"});
    let found = post(&state, "/v1/predict", body).await.ok();
    assert_eq!(found["results"][0]["answers"].as_array().unwrap().len(), 3);
    assert_eq!(listed(&state, "loaded").await, [true, false, true, true]);
    // What a task says of itself is the same whether or not it is in memory, but for what only memory knows.
    let (cold, warm) = (place.fleet(roomy(), None), state);
    for field in ["problem", "labels", "metrics", "file_bytes", "zeros", "changed_share"] {
        assert_eq!(listed(&cold, field).await, listed(&warm, field).await, "{field}");
    }
    get(&cold, "/v1/tasks/nothing").await.refused(404, "unknown_task", "there is no task");
    let card = get(&cold, "/v1/tasks/same").await.ok();
    assert_eq!((&card["loaded"], &card["card"]["pairs"]), (&json!(true), &json!(true)));
}

#[tokio::test]
async fn the_ones_used_longest_ago_give_way() {
    let place = Place::empty();
    let store = place.store();
    for task in 0..6 {
        store.push(&format!("t{task}"), &bytes(&place.base(), task), None).unwrap();
    }
    let one = {
        let state = place.fleet(roomy(), None);
        logits(&state, "t0").await;
        state.bank.bytes().0
    };
    let need = place.bank().need(&cut(&place.base(), Like::version(0))).unwrap();
    // Room for two, and for a third while it is checked.
    let state = place.fleet(2 * one + need, None);
    let loaded = || async {
        let all = listed(&state, "loaded").await;
        (0..6).filter(|&task| all[task] == true).collect::<Vec<_>>()
    };
    for task in [0, 1, 2, 0] {
        logits(&state, &format!("t{task}")).await;
    }
    assert_eq!(loaded().await, [0, 1, 2]);
    logits(&state, "t3").await;
    assert_eq!(loaded().await, [0, 2, 3]);
    assert!(state.bank.bytes().0 <= state.bank.task_memory());
    // More at once than there is room for: said, and nothing is kept back.
    let body = json!({"inputs": TEXT, "tasks": ["t0", "t1", "t2", "t3", "t4", "t5"]});
    post(&state, "/v1/predict", body).await.refused(429, "overloaded", "all others are in use");
    for task in 0..6 {
        logits(&state, &format!("t{task}")).await;
    }
    let metrics = get(&state, "/metrics").await.body;
    let metrics = metrics.as_str().unwrap();
    assert!(
        metrics.contains("\nlinocut_tasks 6\n")
            && metrics.contains("\nlinocut_tasks_in_memory 3\n")
    );
    assert!(metrics.contains("linocut_task_answers_total{task=\"t1\"} 2"), "{metrics}");
    // One that is larger than all the memory.
    let state = place.fleet(need / 2, None);
    let body = json!({"inputs": TEXT, "tasks": ["t0"]});
    post(&state, "/v1/predict", body).await.refused(507, "task_memory", "needs up to");
}

#[tokio::test]
async fn too_many_cold_tasks_at_once_are_refused_before_any_is_loaded() {
    let place = Place::empty();
    let store = place.store();
    for task in 0..70 {
        store.push(&format!("t{task}"), &bytes(&place.base(), 1), None).unwrap();
    }
    let state = place.fleet(roomy(), None);
    let body = json!({"inputs": TEXT, "tasks": "all"});
    let found = post(&state, "/v1/predict", body).await;
    found.refused(413, "too_many_inputs", "70 of 70 tasks asked are not in memory");
    assert_eq!(state.bank.tasks().len(), 0);
}

#[tokio::test]
async fn changes_of_others_are_taken_over() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    let store = place.pushed();
    let (one, two) = (place.fleet(roomy(), None), place.fleet(roomy(), None));
    let first = logits(&one, "intent").await;
    assert_near(&first, &place.alone("intent", TEXT, None));
    store.push("intent", &bytes(&place.base(), 2), None).unwrap();
    assert_eq!(logits(&one, "intent").await, first, "until it looks");
    for state in [&one, &two] {
        state.refresh().unwrap();
    }
    let second = logits(&one, "intent").await;
    assert_ne!(second, first);
    assert_eq!(logits(&two, "intent").await, second, "both answer alike");
    assert_eq!(listed(&one, "version").await, [2]);
    store.roll_back("intent", None).unwrap();
    one.refresh().unwrap();
    assert_eq!(logits(&one, "intent").await, first);
    store.push("other", &bytes(&place.base(), 3), None).unwrap();
    store.remove("intent").unwrap();
    one.refresh().unwrap();
    assert_eq!(listed(&one, "name").await, ["other"]);
    let body = json!({"inputs": TEXT, "tasks": ["intent"]});
    post(&one, "/v1/predict", body).await.refused(404, "unknown_task", "\"other\"");
    assert_eq!(one.bank.tasks().len(), 0, "its memory is given back");
}

#[tokio::test]
async fn a_bad_version_costs_no_other_task_and_its_own_answers_by_the_version_before() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    place.add("other", Like::version(2));
    let store = place.pushed();
    let good = logits(&place.fleet(roomy(), None), "intent").await;
    // Of another base, as its card says.
    let mut card = cut(&place.base(), Like::version(3)).card().clone();
    card.base.fingerprint = "0".repeat(64);
    let sample = cut(&place.base(), Like::version(3));
    let (head, edits) = (sample.head().clone(), sample.edits().clone());
    let bad = linocut::cut::Cut::new(card, head, edits, sample.probes().to_vec()).unwrap();
    store.push("intent", &bad.to_bytes(), None).unwrap();
    store.push("never", &bad.to_bytes(), None).unwrap();
    for state in [place.fleet(roomy(), None), place.fleet(roomy(), None)] {
        assert_eq!(logits(&state, "intent").await, good);
        logits(&state, "other").await;
        let body = json!({"inputs": TEXT, "tasks": ["never"]});
        let found = post(&state, "/v1/predict", body.clone()).await;
        found.refused(503, "task_unavailable", "it belongs to the base");
        let failed = get(&state, "/v1/tasks").await.ok()["failed"].clone();
        assert_eq!(failed[0]["name"], "intent");
        let why = failed[0]["error"].as_str().unwrap();
        assert!(
            why.starts_with("version 2 cannot be served, version 1 is in its place: "),
            "{why}"
        );
        assert_eq!(failed[1]["name"], "never");
        // Once mended it is served.
        if store.record("never").unwrap().versions.len() == 1 {
            store.push("never", &bytes(&place.base(), 4), None).unwrap();
        }
        state.refresh().unwrap();
        post(&state, "/v1/predict", body).await.ok();
        // An altered file is seen, too.
        let rolled =
            call(&state, request(Method::POST, "/v1/tasks/intent/rollback", "{\"version\": 2}"));
        rolled.await.refused(422, "bad_cut", "it belongs to the base");
        assert_eq!(store.record("intent").unwrap().current, 2, "nothing was changed");
    }
}

#[tokio::test]
async fn versions_over_http() {
    let place = Place::empty();
    place.store();
    let state = place.fleet(roomy(), None);
    let base = place.base();
    assert_eq!(put(&state, "intent", bytes(&base, 1)).await.status, 201);
    let first = logits(&state, "intent").await;
    let found = put(&state, "intent", bytes(&base, 2)).await;
    assert_eq!(found.status, 200);
    assert_eq!((&found.body["version"], &found.body["version_count"]), (&json!(2), &json!(2)));
    let second = logits(&state, "intent").await;
    assert_ne!(first, second);
    put(&state, "intent", b"nonsense".to_vec()).await.refused(422, "bad_cut", "");
    let found = get(&state, "/v1/tasks/intent/versions").await.ok();
    assert_eq!(found["current"], 2);
    let numbers: Vec<&Value> =
        found["versions"].as_array().unwrap().iter().map(|v| &v["version"]).collect();
    assert_eq!(numbers, [2, 1]);
    assert_eq!(found["versions"][1]["digest"], blake3::hash(&bytes(&base, 1)).to_hex().as_str());
    let roll_back =
        |body: &'static str| call(&state, request(Method::POST, "/v1/tasks/intent/rollback", body));
    assert_eq!(roll_back("{}").await.ok()["version"], 1);
    assert_eq!(logits(&state, "intent").await, first);
    roll_back("{}").await.refused(422, "validation", "has no version before 1");
    roll_back("{\"version\": 9}").await.refused(422, "validation", "has no version 9");
    roll_back("{\"to\": 1}").await.refused(422, "validation", "unknown field");
    assert_eq!(roll_back("{\"version\": 2}").await.ok()["version"], 2);
    let file = call(&state, request(Method::GET, "/v1/tasks/intent/cut", Body::empty())).await;
    assert_eq!(file.headers["content-type"], "application/octet-stream");
    assert_eq!(file.headers["content-length"], bytes(&base, 2).len().to_string());
    let gone = call(&state, request(Method::DELETE, "/v1/tasks/intent", Body::empty())).await;
    assert_eq!(gone.status, 204);
    get(&state, "/v1/tasks/intent/versions").await.refused(404, "unknown_task", "");
    assert!(place.store().records().unwrap().tasks.is_empty());
    // A folder keeps no versions.
    place.add("intent", Like::version(1));
    let state = place.open(crate::Limits::default());
    get(&state, "/v1/tasks/intent/versions").await.refused(422, "validation", "keeps no versions");
    assert_eq!(get(&state, "/v1/tasks").await.ok()["versions"], false);
    call(&state, request(Method::GET, "/v1/tasks/intent/cut", Body::empty())).await.ok();
}

#[tokio::test]
async fn only_signed_tasks_are_served_where_keys_are_trusted() {
    let place = Place::empty();
    let (secret, public) = (place.folder.path().join("key"), place.folder.path().join("key.pub"));
    Signer::generate(&secret, &public, None).unwrap();
    let signer = Signer::read(&secret, || panic!("it has no password")).unwrap();
    let (store, base) = (place.store(), place.base());
    store.push("signed", &bytes(&base, 1), Some(&signer)).unwrap();
    store.push("unsigned", &bytes(&base, 1), None).unwrap();
    store.push("stolen", &bytes(&base, 2), None).unwrap();
    // Whoever may write to the store gives one task the other's cut and signature.
    let records = place.folder.path().join("store/tasks");
    let record = std::fs::read_to_string(records.join("signed.json")).unwrap();
    let stolen = record.replace("\"task\": \"signed\"", "\"task\": \"stolen\"");
    std::fs::write(records.join("stolen.json"), stolen).unwrap();
    let state = place.fleet(roomy(), Some(Trusted::read(&public).unwrap()));
    logits(&state, "signed").await;
    for (task, why) in [("unsigned", "it is not signed"), ("stolen", "it is signed as the task")] {
        let body = json!({"inputs": TEXT, "tasks": [task]});
        let found = post(&state, "/v1/predict", body).await;
        found.refused(503, "task_unavailable", why);
    }
    put(&state, "new", bytes(&base, 3)).await.refused(403, "read_only", "signed tasks only");
    // The signature of the version before is good: that one answers.
    store.push("signed", &bytes(&base, 2), None).unwrap();
    state.refresh().unwrap();
    assert_eq!(listed(&state, "version").await, [1, 1, 1]);
}

/// What was altered, and mended by a push of the same content, is served again, without a change of any record.
#[tokio::test]
async fn a_mended_cut_is_served_again() {
    let place = Place::empty();
    let (store, base) = (place.store(), place.base());
    let cuts = place.folder.path().join("store/cuts");
    store.push("alone", &bytes(&base, 1), None).unwrap();
    store.push("twice", &bytes(&base, 2), None).unwrap();
    let latest = store.push("twice", &bytes(&base, 3), None).unwrap().version;
    for entry in std::fs::read_dir(&cuts).unwrap() {
        let path = entry.unwrap().path();
        let is_second = std::fs::read(&path).unwrap() == bytes(&base, 2);
        if !is_second {
            std::fs::write(path, "altered").unwrap();
        }
    }
    let state = place.fleet(roomy(), None);
    let body = json!({"inputs": TEXT, "tasks": ["alone"]});
    post(&state, "/v1/predict", body).await.refused(503, "task_unavailable", "was altered");
    let second = logits(&state, "twice").await;
    assert_eq!(listed(&state, "version").await, [1, 1]);
    for (task, version) in [("alone", 1), ("twice", 3)] {
        assert!(!store.push(task, &bytes(&base, version), None).unwrap().is_new_version);
    }
    state.refresh().unwrap();
    logits(&state, "alone").await;
    assert_ne!(logits(&state, "twice").await, second);
    assert_eq!(listed(&state, "version").await, [1, latest.version]);
    assert_eq!(get(&state, "/v1/tasks").await.ok()["failed"], json!([]));
}

/// Many ask for the same cold task at once: it is loaded once.
#[tokio::test(flavor = "multi_thread")]
async fn a_cold_task_is_loaded_once_for_all_who_ask() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    place.pushed();
    let state = place.fleet(roomy(), None);
    let asks: Vec<_> = (0..20)
        .map(|_| {
            let state = Arc::clone(&state);
            tokio::spawn(async move { logits(&state, "intent").await })
        })
        .collect();
    for ask in asks {
        assert_near(&ask.await.unwrap(), &place.alone("intent", TEXT, None));
    }
    let metrics = get(&state, "/metrics").await.body;
    assert!(metrics.as_str().unwrap().contains("\nlinocut_task_loads_total 1\n"));
}

#[tokio::test]
async fn a_cut_that_is_gone_or_another_is_answered_by_the_version_before() {
    for harm in ["gone", "longer", "a folder"] {
        let place = Place::empty();
        place.add("intent", Like::version(1));
        let store = place.pushed();
        let good = logits(&place.fleet(roomy(), None), "intent").await;
        let second = store.push("intent", &bytes(&place.base(), 2), None).unwrap().version;
        let path = place.folder.path().join(format!("store/cuts/{}.cut", second.digest));
        let mut content = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        match harm {
            "longer" => {
                content.push(0);
                std::fs::write(&path, content).unwrap();
            }
            "a folder" => std::fs::create_dir(&path).unwrap(),
            _ => {}
        }
        let state = place.fleet(roomy(), None);
        assert_eq!(logits(&state, "intent").await, good, "{harm}");
        let failed = get(&state, "/v1/tasks").await.ok()["failed"].clone();
        let why = failed[0]["error"].as_str().unwrap();
        assert!(why.starts_with("version 2 cannot be served, version 1 is in its place"), "{why}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_read_leaves_its_task_as_it_was() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    place.add("cold", Like::version(2));
    place.pushed();
    let state = place.fleet(roomy(), None);
    // No task is in memory, and none has answered: there are metrics all the same.
    let metrics = get(&state, "/metrics").await.ok();
    assert!(metrics.as_str().unwrap().contains("\nlinocut_tasks_in_memory 0\n"), "{metrics}");
    let before = logits(&state, "intent").await;
    let record = |task: &str| place.folder.path().join(format!("store/tasks/{task}.json"));
    let good = std::fs::read(record("intent")).unwrap();
    for task in ["intent", "cold"] {
        std::fs::write(record(task), "{").unwrap();
    }
    state.refresh().unwrap();
    assert_eq!(logits(&state, "intent").await, before);
    logits(&state, "cold").await;
    let failed = get(&state, "/v1/tasks").await.ok()["failed"].clone();
    assert_eq!((&failed[0]["name"], &failed[1]["name"]), (&json!("cold"), &json!("intent")));
    let metrics = get(&state, "/metrics").await.ok();
    assert!(metrics.as_str().unwrap().contains("\nlinocut_failed_cuts 2\n"), "{metrics}");
    std::fs::write(record("intent"), good).unwrap();
    std::fs::remove_file(record("cold")).unwrap();
    state.refresh().unwrap();
    assert_eq!(listed(&state, "name").await, ["intent"]);
    assert_eq!(get(&state, "/v1/tasks").await.ok()["failed"], json!([]));
}
