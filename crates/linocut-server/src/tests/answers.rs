//! Answers that make no sense, are too large, or are not taken.

use std::sync::Arc;

use axum::body::to_bytes;
use axum::http::Method;
use axum::response::Response;
use linocut::cut::Cut;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::place::{Like, Place, cut, get, post, put, request};
use crate::{Limits, Settings, State, app};

/// Adds a task whose labels have so many characters, or whose head gives no numbers.
fn add(place: &Place, name: &str, label: usize, weight: Option<f32>) {
    let good = cut(&place.base(), Like { outputs: 100, ..Like::version(7) });
    let (mut card, mut head) = (good.card().clone(), good.head().clone());
    card.labels = (0..100).map(|i| format!("{i:03}{}", "x".repeat(label))).collect();
    if let Some(weight) = weight {
        head.weight.fill(weight);
    }
    let cut = Cut::new(card, head, good.edits().clone(), vec![]).unwrap();
    cut.write(place.cuts().join(format!("{name}.cut")), true).unwrap();
}

#[tokio::test]
async fn an_answer_without_sense_is_an_error_of_its_task() {
    let place = Place::new();
    add(&place, "broken", 1, Some(f32::MAX));
    let state = place.open(Limits::default());
    let ask = |tasks: Value| post(&state, "/v1/predict", json!({"inputs": "rain", "tasks": tasks}));
    let answer = ask(json!(["topics", "broken"])).await.ok();
    let answers = answer["results"][0]["answers"].as_array().unwrap();
    assert!(answers[0]["label"].is_string() && answers[0].get("error").is_none());
    let error = answers[1]["error"].as_str().unwrap();
    assert!(error.starts_with("the task \"broken\" gives "), "{error}");
    assert!(answers[1].get("label").is_none() && answers[1]["tokens"] == 3);
    ask(json!("all")).await.ok();
    ask(json!(["broken"])).await.refused(500, "internal", "the task \"broken\" gives ");
    let found = post(&state, "/predict?task=broken", json!({"inputs": "rain"})).await;
    found.refused(500, "internal", "values that are too large");
}

#[tokio::test]
async fn an_answer_has_no_more_bytes_than_it_may() {
    let place = Place::new();
    add(&place, "long", 1000, None);
    let state = place.open(Limits { answer_bytes: 200_000, ..Limits::default() });
    let ask = |inputs: usize, top: Value| {
        let body = json!({"inputs": vec!["rain"; inputs], "tasks": ["long"], "top_k": top});
        post(&state, "/v1/predict", body)
    };
    ask(1, Value::Null).await.ok();
    let refused = ask(2, Value::Null).await;
    refused.refused(413, "answer_too_large", "expected at most 200000");
    refused.refused(413, "answer_too_large", "top_k");
    ask(2, json!(5)).await.ok();
    let body = json!({"inputs": [["rain"], ["sun"]]});
    post(&state, "/predict?task=long", body).await.refused(413, "answer_too_large", "top_k");
}

/// No answer is larger than what it was thought to be at most.
#[tokio::test]
async fn answers_that_are_not_taken_are_bounded() {
    let place = Place::new();
    add(&place, "long", 1000, None);
    let state = place.open(Limits { untaken_bytes: 250_000, ..Limits::default() });
    let ask = async |task: &str| -> Response {
        let body = json!({"inputs": "rain", "tasks": [task]}).to_string();
        app(Arc::clone(&state)).oneshot(request(Method::POST, "/v1/predict", body)).await.unwrap()
    };
    let room = || state.untaken.available_permits();
    let all = room();
    let first = ask("long").await;
    let taken = all - room();
    let second = ask("long").await;
    assert_eq!(ask("long").await.status(), 429);
    assert_eq!(ask("topics").await.status(), 200, "what is small needs no room");
    let bytes = to_bytes(first.into_body(), usize::MAX).await.unwrap();
    assert!(bytes.len() > 100_000 && bytes.len() <= 1024 * taken, "{} of {taken}", bytes.len());
    assert_eq!(ask("long").await.status(), 429, "as long as a byte of it is there");
    drop(bytes);
    assert_eq!(ask("long").await.status(), 200);
    drop(second);
    assert_eq!(room(), all);
}

#[tokio::test]
async fn what_is_told_of_tasks_is_bounded_as_answers_are() {
    let place = Place::new();
    add(&place, "long", 1000, None);
    let state = place.open(Limits { untaken_bytes: 250_000, ..Limits::default() });
    let list = async || {
        let request = request(Method::GET, "/v1/tasks", "");
        app(Arc::clone(&state)).oneshot(request).await.unwrap()
    };
    let taken = [list().await, list().await];
    assert!(taken.iter().all(|answer| answer.status() == 200));
    assert_eq!(list().await.status(), 429);
    get(&state, "/v1/tasks/topics").await.ok();
    drop(taken);
    assert_eq!(get(&state, "/v1/tasks").await.ok()["tasks"].as_array().unwrap().len(), 5);
    let small = Place::new();
    add(&small, "long", 1000, None);
    let state = small.open(Limits { untaken_bytes: 100_000, ..Limits::default() });
    get(&state, "/v1/tasks/long").await.refused(413, "answer_too_large", "room for 100000");
}

#[tokio::test]
async fn one_task_says_which_texts_were_cut() {
    let state = Place::new().open(Limits::default());
    let long = "rain ".repeat(60);
    let ask = |inputs: Value| post(&state, "/predict?task=topics", json!({"inputs": inputs}));
    assert!(ask(json!("rain")).await.headers.get("x-linocut-text-cut").is_none());
    assert_eq!(ask(json!(&long)).await.headers["x-linocut-text-cut"], "0");
    let found = ask(json!([[&long], ["rain"], [&long]])).await;
    assert_eq!(found.headers["x-linocut-text-cut"], "0,2");
}

#[tokio::test]
async fn a_text_without_a_token_is_refused_as_an_empty_one() {
    let state = Place::new().open(Limits::default());
    for text in ["\u{200b}", "\u{301}\0"] {
        let found = post(&state, "/v1/predict", json!({"inputs": text, "tasks": "all"})).await;
        found.refused(422, "validation", "there is nothing to label");
    }
}

#[tokio::test]
async fn tasks_have_a_budget_of_memory() {
    let place = Place::new();
    let bytes = cut(&place.base(), Like::version(9)).to_bytes();
    let state: Arc<State> = place.open(Limits::default());
    put(&state, "new", bytes.clone()).await.ok();
    let info = get(&state, "/info").await.ok();
    assert_eq!(info["task_memory"], 4_000_000_000u64);
    let place = Place::empty();
    let state =
        State::open(place.small_bank(1000), place.cuts(), Settings::default(), |_, _| ()).unwrap();
    put(&state, "new", bytes).await.refused(507, "task_memory", "`task_memory`");
}
