//! Requests that wait: in common batches, within bounds, and not computed for nobody.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::task::JoinHandle;

use super::place::{Answered, Place, get, post};
use crate::batch::Worker;
use crate::{Limits, State};

/// Asks without waiting for the answer.
fn ask(state: &Arc<State>, text: &str, tasks: Value) -> JoinHandle<Answered> {
    let (state, body) = (Arc::clone(state), json!({"inputs": text, "tasks": tasks}));
    tokio::spawn(async move { post(&state, "/v1/predict", body).await })
}

/// Waits until so many requests wait to be computed.
async fn waiting(worker: &Worker, requests: usize) {
    while worker.waiting() != requests {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Asks three tasks of a text of 40 tokens.
fn ask_much(state: &Arc<State>) -> JoinHandle<Answered> {
    ask(state, &"rain ".repeat(50), json!(["topics", "tags", "grade"]))
}

/// Has the worker compute one batch.
async fn step(mut worker: Worker) -> Worker {
    let step = tokio::task::spawn_blocking(move || {
        assert!(worker.step());
        worker
    });
    step.await.unwrap()
}

#[tokio::test]
async fn requests_that_wait_share_a_batch() {
    let (state, worker) = Place::new().idle(Limits::default());
    let asked: Vec<_> =
        (0..5).map(|i| ask(&state, &"rain ".repeat(i + 1), json!(["topics"]))).collect();
    waiting(&worker, 5).await;
    let worker = step(worker).await;
    for (i, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap().ok();
        assert_eq!(answer["results"][0]["answers"][0]["tokens"], i + 3);
    }
    waiting(&worker, 0).await;
}

#[tokio::test]
async fn an_answer_says_where_its_time_went() {
    let (state, worker) = Place::new().idle(Limits::default());
    let asked = ask(&state, "rain", json!(["topics"]));
    waiting(&worker, 1).await;
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _worker = step(worker).await;
    let answer = asked.await.unwrap();
    let text = answer.headers["server-timing"].to_str().unwrap();
    let (queue, compute) = text.split_once(", ").unwrap();
    let ms = |part: &str, name: &str| -> f64 {
        part.strip_prefix(name).unwrap().strip_prefix(";dur=").unwrap().parse().unwrap()
    };
    assert!(ms(queue, "queue") >= 20.0 && ms(compute, "compute") > 0.0, "{text}");
}

#[tokio::test]
async fn a_full_queue_refuses_and_recovers() {
    let (state, worker) = Place::new().idle(Limits { requests: 2, ..Limits::default() });
    let asked = [ask(&state, "rain", json!("all")), ask(&state, "sun", json!("all"))];
    waiting(&worker, 2).await;
    let refused = ask(&state, "road", json!("all")).await.unwrap();
    refused.refused(429, "overloaded", "2 requests are waiting");
    assert_eq!(refused.headers["retry-after"], "1");
    let worker = step(worker).await;
    for answer in asked {
        answer.await.unwrap().ok();
    }
    let asked = ask(&state, "road", json!("all"));
    waiting(&worker, 1).await;
    let _worker = step(worker).await;
    asked.await.unwrap().ok();
}

#[tokio::test]
async fn a_request_without_an_answer_in_time_is_not_computed() {
    let timeout = Duration::from_millis(30);
    let (state, worker) = Place::new().idle(Limits { timeout, ..Limits::default() });
    let late = ask(&state, "rain", json!("all")).await.unwrap();
    late.refused(503, "timeout", "no answer within 0.03 s");
    assert_eq!(late.headers["retry-after"], "1");
    assert_eq!((state.queue.len(), worker.waiting()), (0, 0));
    let asked = ask(&state, "sun", json!(["topics"]));
    waiting(&worker, 1).await;
    let worker = step(worker).await;
    asked.await.unwrap().ok();
    assert_eq!(worker.computed(), 3);
}

#[tokio::test]
async fn a_client_that_goes_away_costs_nothing() {
    let (state, worker) = Place::new().idle(Limits::default());
    let gone = ask(&state, "rain", json!("all"));
    waiting(&worker, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    assert_eq!((state.queue.len(), worker.waiting()), (0, 0));
    let asked = ask(&state, "sun", json!(["topics"]));
    waiting(&worker, 1).await;
    let worker = step(worker).await;
    asked.await.unwrap().ok();
    assert_eq!(worker.computed(), 3); // [CLS] sun [SEP]
}

#[tokio::test]
async fn a_small_request_overtakes_large_ones() {
    // A batch takes one large request, or a small one.
    let (state, worker) = Place::new().idle(Limits { batch_tokens: 8, ..Limits::default() });
    let large: Vec<_> = (0..8).map(|_| ask_much(&state)).collect();
    waiting(&worker, 8).await;
    let worker = step(worker).await;
    let small = ask(&state, "sun", json!(["topics"]));
    waiting(&worker, 8).await;
    let mut worker = step(worker).await;
    let small = small.await.unwrap().ok();
    assert_eq!(small["results"][0]["answers"][0]["tokens"], 3);
    assert_eq!(worker.waiting(), 7);
    while worker.waiting() > 0 {
        worker = step(worker).await;
    }
    for large in large {
        let large = large.await.unwrap().ok();
        let names: Vec<&Value> =
            large["results"][0]["answers"].as_array().unwrap().iter().map(|a| &a["task"]).collect();
        assert_eq!(names, ["topics", "tags", "grade"]);
    }
}

#[tokio::test]
async fn a_panic_costs_its_own_request() {
    let (state, worker) = Place::new().idle(Limits::default());
    // Five tokens are too many for this one.
    let worker = worker.computing_by(|usual, queries| {
        assert!(queries.iter().all(|query| query.tokens() != 5), "as told");
        usual(queries)
    });
    let good: Vec<_> = (0..3).map(|_| ask(&state, "sun", json!(["topics"]))).collect();
    let body = json!({"inputs": ["rain", "rain rain rain"], "tasks": ["topics"]});
    let shared = Arc::clone(&state);
    let bad = tokio::spawn(async move { post(&shared, "/v1/predict", body).await });
    waiting(&worker, 4).await;
    let worker = step(worker).await;
    bad.await.unwrap().refused(500, "internal", "computing inputs[1] broke off");
    for asked in good {
        asked.await.unwrap().ok();
    }
    // Alone in its batch.
    let bad = ask(&state, "rain rain rain", json!(["topics"]));
    waiting(&worker, 1).await;
    let worker = step(worker).await;
    bad.await.unwrap().refused(500, "internal", "computing inputs[0] broke off");
    let asked = ask(&state, "sun", json!(["topics"]));
    waiting(&worker, 1).await;
    let _worker = step(worker).await;
    asked.await.unwrap().ok();
    let metrics = get(&state, "/metrics").await.ok();
    assert!(metrics.as_str().unwrap().contains("\nlinocut_panics_total 2\n"), "{metrics}");
}

#[tokio::test]
async fn work_that_cannot_be_done_in_time_is_refused_at_once() {
    let timeout = Duration::from_millis(1500);
    let (state, worker) = Place::new().idle(Limits { timeout, ..Limits::default() });
    let worker = worker.computing_by(|usual, queries| {
        std::thread::sleep(Duration::from_millis(800));
        usual(queries)
    });
    let first = ask_much(&state);
    waiting(&worker, 1).await;
    let worker = step(worker).await;
    first.await.unwrap().ok();
    assert_eq!(get(&state, "/health/ready").await.status, 200);
    let _second = ask_much(&state);
    waiting(&worker, 1).await;
    ask_much(&state).await.unwrap().refused(429, "overloaded", "what waits takes about");
    let ready = get(&state, "/health/ready").await;
    assert_eq!((ready.status.as_u16(), &ready.body["status"]), (503, &json!("overloaded")));
    // What is small takes its turn before.
    let small = ask(&state, "sun", json!(["topics"]));
    waiting(&worker, 2).await;
    small.abort();
}

#[tokio::test]
async fn without_a_compute_thread_nothing_is_ready() {
    let (state, worker) = Place::new().idle(Limits::default());
    let asked = ask(&state, "rain", json!("all"));
    waiting(&worker, 1).await;
    drop(worker);
    asked.await.unwrap().refused(500, "internal", "the compute thread has ended");
    let health = get(&state, "/health").await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (503, &json!("failed")));
    let refused = ask(&state, "rain", json!("all")).await.unwrap();
    refused.refused(500, "internal", "the compute thread has ended");
}
