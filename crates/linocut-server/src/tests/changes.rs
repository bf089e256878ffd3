//! Tasks that are added, replaced and removed while the server runs.

use axum::body::Body;
use axum::http::Method;
use linocut::cut::Cut;
use serde_json::json;

use super::place::{Like, Place, assert_near, call, cut, get, logits, post, put, request};
use crate::{Limits, Settings, State};

#[tokio::test]
async fn tasks_are_added_replaced_and_removed_and_survive_a_restart() {
    let place = Place::empty();
    let state = place.open(Limits::default());
    let bytes = |version| cut(&place.base(), Like::version(version)).to_bytes();
    let found = put(&state, "intent", bytes(1)).await;
    assert_eq!(found.status, 201);
    assert_eq!(found.body["name"], "intent");
    assert_eq!(found.body["file_bytes"], bytes(1).len());
    assert_eq!(std::fs::read(place.cuts().join("intent.cut")).unwrap(), bytes(1));
    assert_near(&logits(&state, "intent").await, &place.alone("intent", "warm rain", None));

    let first = logits(&state, "intent").await;
    assert_eq!(put(&state, "intent", bytes(2)).await.status, 200);
    let second = logits(&state, "intent").await;
    assert_ne!(first, second);
    assert_near(&second, &place.alone("intent", "warm rain", None));

    put(&state, "other", bytes(3)).await.ok();
    // One that changes nothing may look at the same folder.
    let again = || place.open_with(Settings { read_only: true, ..Settings::default() });
    assert_eq!(logits(&again(), "intent").await, second);
    assert_eq!(again().tasks(), 2);

    let delete = || call(&state, request(Method::DELETE, "/v1/tasks/intent", Body::empty()));
    let found = delete().await;
    assert_eq!((found.status.as_u16(), found.body), (204, serde_json::Value::Null));
    delete().await.refused(404, "unknown_task", "there is no task \"intent\"");
    get(&state, "/v1/tasks/intent").await.refused(404, "unknown_task", "\"other\"");
    assert_eq!(again().tasks(), 1);
    assert_eq!(place.files(), ["other.cut"]);
}

#[tokio::test]
async fn a_bad_upload_changes_nothing() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    let state = place.open(Limits::default());
    let before = logits(&state, "intent").await;
    let base = place.base();
    let good = cut(&base, Like::version(2));
    let with = |change: &dyn Fn(&mut linocut::cut::Card, &mut Vec<linocut::cut::Probe>)| {
        let (mut card, mut probes) = (good.card().clone(), good.probes().to_vec());
        change(&mut card, &mut probes);
        Cut::new(card, good.head().clone(), good.edits().clone(), probes).unwrap().to_bytes()
    };
    let bytes = good.to_bytes();
    let mut flipped = bytes.clone();
    flipped[bytes.len() / 2] ^= 1;
    for (what, bytes, says) in [
        ("nothing", vec![], ""),
        ("half of it", bytes[..bytes.len() / 2].to_vec(), ""),
        ("a flipped bit", flipped, ""),
        ("another base", with(&|card, _| card.base.fingerprint = "00".repeat(32)), "belongs to"),
        ("another tokenizer", with(&|card, _| card.tokenizer = "00".repeat(32)), "the tokenizer"),
        ("probes that disagree", with(&|_, probes| probes[0].logits[0] += 0.01), "probe 0: logits"),
        ("a longer text", with(&|card, _| card.max_length = 41), "a maximum length of 41"),
    ] {
        let found = put(&state, "intent", bytes.clone()).await;
        found.refused(422, "bad_cut", says);
        put(&state, "new", bytes).await.refused(422, "bad_cut", says);
        assert_eq!(logits(&state, "intent").await, before, "{what}");
    }
    for name in ["..%2Fintent", ".intent", "a%25b", "%20a", "%2E%2E", &"x".repeat(101)] {
        let found = put(&state, name, good.to_bytes()).await;
        found.refused(422, "validation", "is no name of a task");
    }
    assert_eq!(state.tasks(), 1);
    assert_eq!(place.files(), ["intent.cut"]);
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_changes_nothing() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    let state = place.open(Limits::default());
    let before = logits(&state, "intent").await;
    std::fs::rename(place.cuts(), place.cuts().with_extension("gone")).unwrap();
    let bytes = cut(&place.base(), Like::version(2)).to_bytes();
    let found = put(&state, "intent", bytes.clone()).await;
    found.refused(500, "storage", "see the server's logs");
    assert!(!found.body.to_string().contains("cuts/"), "no path: {}", found.body);
    put(&state, "new", bytes).await.refused(500, "storage", "cannot be read or changed");
    assert_eq!(logits(&state, "intent").await, before);
    assert_eq!(state.tasks(), 1);
}

#[tokio::test]
async fn what_others_do_to_a_file_does_not_reach_its_task() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let before = logits(&state, "topics").await;
    std::fs::write(place.cuts().join("topics.cut"), b"").unwrap();
    assert_eq!(logits(&state, "topics").await, before);
}

#[tokio::test]
async fn a_change_that_fails_half_way_is_undone() {
    let place = Place::empty();
    place.add("intent", Like::version(1));
    let state = place.open(Limits::default());
    let before = logits(&state, "intent").await;
    // A folder in the place of a file can neither be replaced nor removed.
    let blocked = |name: &str| place.cuts().join(format!("{name}.cut/inside"));
    std::fs::remove_file(place.cuts().join("intent.cut")).unwrap();
    std::fs::create_dir_all(blocked("intent")).unwrap();
    std::fs::create_dir_all(blocked("new")).unwrap();
    let bytes = cut(&place.base(), Like::version(2)).to_bytes();
    put(&state, "intent", bytes.clone()).await.refused(500, "storage", "cannot be read or changed");
    put(&state, "new", bytes.clone()).await.refused(500, "storage", "cannot be read or changed");
    let delete = call(&state, request(Method::DELETE, "/v1/tasks/intent", Body::empty())).await;
    delete.refused(500, "storage", "cannot be read or changed");
    assert_eq!(logits(&state, "intent").await, before);
    get(&state, "/v1/tasks/new").await.refused(404, "unknown_task", "\"new\"");
    assert_eq!(place.files(), ["intent.cut", "new.cut"], "no temporary file stays");
    std::fs::remove_dir_all(place.cuts().join("intent.cut")).unwrap();
    assert_eq!(put(&state, "intent", bytes).await.status, 200);
    assert_ne!(logits(&state, "intent").await, before);
}

#[tokio::test]
async fn two_servers_do_not_change_one_folder() {
    let place = Place::new();
    let address = Some(([127, 0, 0, 1], 8080).into());
    let state = place.open_with(Settings { address, ..Settings::default() });
    let error = State::idle(place.bank(), place.cuts(), Settings::default(), |_, _| ());
    let error = error.err().unwrap().to_string();
    let holder = "this process (linocut serve on 127.0.0.1:8080)";
    assert!(error.contains(holder) && error.contains("--read-only"), "{error}");

    let reader = place.open_with(Settings { read_only: true, ..Settings::default() });
    logits(&reader, "topics").await;
    let bytes = cut(&place.base(), Like::version(2)).to_bytes();
    put(&reader, "new", bytes.clone()).await.refused(403, "read_only", "--read-only");
    let delete = call(&reader, request(Method::DELETE, "/v1/tasks/topics", Body::empty())).await;
    delete.refused(403, "read_only", "changes no tasks");
    put(&state, "new", bytes).await.ok();
    drop(state);
    place.open(Limits::default());
}

#[tokio::test]
async fn one_bad_file_does_not_stop_the_others() {
    let place = Place::new();
    let good = cut(&place.base(), Like::version(9)).to_bytes();
    std::fs::write(place.cuts().join("broken.cut"), &good[..good.len() / 2]).unwrap();
    std::fs::write(place.cuts().join("bad%name.cut"), &good).unwrap();
    std::fs::write(place.cuts().join("my task (2).cut"), &good).unwrap();
    std::fs::create_dir(place.cuts().join("folder.cut")).unwrap();
    std::fs::write(place.cuts().join(".linocut-a1b2c3.tmp"), "left by a killed server").unwrap();
    let strict = Settings { strict: true, ..Settings::default() };
    let error = State::idle(place.bank(), place.cuts(), strict, |_, _| ()).err().unwrap();
    assert!(error.to_string().contains("bad%name.cut: \"bad%name\" is no name"), "{error}");

    let state = place.open(Limits::default());
    assert!(!place.cuts().join(".linocut-a1b2c3.tmp").exists());
    let list = get(&state, "/v1/tasks").await.ok();
    let failed: Vec<(&str, &str)> = list["failed"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| (f["name"].as_str().unwrap(), f["error"].as_str().unwrap()))
        .collect();
    assert_eq!(failed.iter().map(|f| f.0).collect::<Vec<_>>(), ["bad%name", "broken", "folder"]);
    assert_eq!(failed[2].1, "folder.cut is no file");
    assert_eq!(list["tasks"].as_array().unwrap().len(), 5);
    logits(&state, "my%20task%20(2)").await;
    let found = get(&state, "/v1/tasks/broken").await;
    found.refused(503, "task_unavailable", "\"broken\" cannot be served: ");
    let body = json!({"inputs": "rain", "tasks": ["topics", "broken"]});
    let found = post(&state, "/v1/predict", body).await;
    found.refused(503, "task_unavailable", "\"broken\"");
    let found = post(&state, "/predict?task=broken", json!({"inputs": "rain"})).await;
    found.refused(503, "task_unavailable", "\"broken\"");
    post(&state, "/v1/predict", json!({"inputs": "rain", "tasks": "all"})).await.ok();
    let page = get(&state, "/metrics").await.body;
    assert!(page.as_str().unwrap().contains("linocut_failed_cuts 3\n"), "{page}");
    // What cannot be served can be replaced and removed.
    assert_eq!(put(&state, "broken", good).await.status, 201);
    logits(&state, "broken").await;
    call(&state, request(Method::DELETE, "/v1/tasks/bad%25name", Body::empty())).await.ok();
    let list = get(&state, "/v1/tasks").await.ok();
    assert_eq!(list["failed"].as_array().unwrap().len(), 1);
    assert!(!place.files().contains(&"bad%name.cut".to_string()));
}

#[tokio::test]
async fn uploads_wait_for_a_place_and_end_with_their_client() {
    let place = Place::empty();
    let state = place.open(Limits::default());
    let bytes = cut(&place.base(), Like::version(1)).to_bytes();
    let all = state.uploads.available_permits() as u32;
    let taken = std::sync::Arc::clone(&state.uploads).acquire_many_owned(all).await.unwrap();
    let upload = |name: &'static str| {
        let (state, bytes) = (std::sync::Arc::clone(&state), bytes.clone());
        tokio::spawn(async move { put(&state, name, bytes).await })
    };
    let (stays, leaves) = (upload("stays"), upload("leaves"));
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    assert!(!stays.is_finished() && !leaves.is_finished());
    leaves.abort();
    assert!(leaves.await.unwrap_err().is_cancelled());
    drop(taken);
    assert_eq!(stays.await.unwrap().status, 201);
    assert_eq!(place.files(), ["stays.cut"]);
    assert_eq!(state.uploads.available_permits() as u32, all);
}
