//! Tasks that are added, replaced and removed while the server runs.

use axum::body::Body;
use axum::http::Method;
use linocut::cut::Cut;
use serde_json::json;

use super::place::{Like, Place, assert_near, call, cut, get, post, put, request};
use crate::Limits;

async fn logits(state: &std::sync::Arc<crate::State>, task: &str) -> Vec<f32> {
    let body = json!({"inputs": "warm rain", "raw_scores": true});
    let found = post(state, &format!("/predict?task={task}"), body).await.ok();
    let mut pairs: Vec<(String, f32)> = found
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["label"].to_string(), s["score"].as_f64().unwrap() as f32))
        .collect();
    pairs.sort_by(|a, b| a.0.cmp(&b.0));
    pairs.into_iter().map(|(_, score)| score).collect()
}

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
    let again = place.open(Limits::default());
    assert_eq!(logits(&again, "intent").await, second);
    assert_eq!(again.tasks(), 2);

    let delete = || call(&state, request(Method::DELETE, "/v1/tasks/intent", Body::empty()));
    let found = delete().await;
    assert_eq!((found.status.as_u16(), found.body), (204, serde_json::Value::Null));
    delete().await.refused(404, "unknown_task", "there is no task \"intent\"");
    get(&state, "/v1/tasks/intent").await.refused(404, "unknown_task", "\"other\"");
    assert_eq!(place.open(Limits::default()).tasks(), 1);
    let left: Vec<_> = std::fs::read_dir(place.cuts()).unwrap().collect();
    assert_eq!(left.len(), 1);
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
    for name in ["..%2Fintent", ".intent", "a%20b", "%2E%2E", &"x".repeat(101)] {
        let found = put(&state, name, good.to_bytes()).await;
        found.refused(422, "validation", "is no name of a task");
    }
    assert_eq!(state.tasks(), 1);
    assert_eq!(std::fs::read_dir(place.cuts()).unwrap().count(), 1);
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
    put(&state, "new", bytes).await.refused(500, "storage", "cannot be changed");
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
