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

/// Waits until so many requests wait.
async fn waiting(state: &State, requests: usize) {
    while state.queue.len() != requests {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
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
    waiting(&state, 5).await;
    let _worker = step(worker).await;
    for (i, answer) in asked.into_iter().enumerate() {
        let answer = answer.await.unwrap().ok();
        assert_eq!(answer["results"][0]["answers"][0]["tokens"], i + 3);
    }
    waiting(&state, 0).await;
}

#[tokio::test]
async fn an_answer_says_where_its_time_went() {
    let (state, worker) = Place::new().idle(Limits::default());
    let asked = ask(&state, "rain", json!(["topics"]));
    waiting(&state, 1).await;
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
    waiting(&state, 2).await;
    let refused = ask(&state, "road", json!("all")).await.unwrap();
    refused.refused(429, "overloaded", "2 requests are waiting");
    assert_eq!(refused.headers["retry-after"], "1");
    let worker = step(worker).await;
    for answer in asked {
        answer.await.unwrap().ok();
    }
    let asked = ask(&state, "road", json!("all"));
    waiting(&state, 1).await;
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
    // Its place goes when the worker meets it; the batch is the next one's alone.
    assert_eq!(state.queue.len(), 1);
    let (state, asked) = (Arc::clone(&state), ask(&state, "sun", json!(["topics"])));
    waiting(&state, 2).await;
    let worker = step(worker).await;
    asked.await.unwrap().ok();
    waiting(&state, 0).await;
    assert_eq!(worker.computed(), 3);
}

#[tokio::test]
async fn a_client_that_goes_away_costs_nothing() {
    let (state, worker) = Place::new().idle(Limits::default());
    let gone = ask(&state, "rain", json!("all"));
    waiting(&state, 1).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let asked = ask(&state, "sun", json!(["topics"]));
    waiting(&state, 2).await;
    let worker = step(worker).await;
    asked.await.unwrap().ok();
    waiting(&state, 0).await;
    assert_eq!(worker.computed(), 3); // [CLS] sun [SEP]
}

#[tokio::test]
async fn a_large_request_lets_small_ones_through() {
    // Three tokens for each of three tasks; 8 tokens a batch take two tasks' at most.
    let (state, worker) = Place::new().idle(Limits { batch_tokens: 8, ..Limits::default() });
    let large = ask(&state, "rain", json!(["topics", "tags", "grade"]));
    waiting(&state, 1).await;
    let small = ask(&state, "sun", json!(["topics"]));
    waiting(&state, 2).await;
    let worker = step(worker).await; // two of the large one's; the small one does not fit
    let worker = step(worker).await; // the last of it, and the small one
    let large = large.await.unwrap().ok();
    let names: Vec<&Value> =
        large["results"][0]["answers"].as_array().unwrap().iter().map(|a| &a["task"]).collect();
    assert_eq!(names, ["topics", "tags", "grade"]);
    small.await.unwrap().ok();
    assert_eq!(worker.computed(), 12);
}

#[tokio::test]
async fn without_a_compute_thread_nothing_is_ready() {
    let (state, worker) = Place::new().idle(Limits::default());
    let asked = ask(&state, "rain", json!("all"));
    waiting(&state, 1).await;
    drop(worker);
    asked.await.unwrap().refused(500, "internal", "the compute thread has ended");
    let health = get(&state, "/health").await;
    assert_eq!((health.status.as_u16(), &health.body["status"]), (503, &json!("failed")));
    let refused = ask(&state, "rain", json!("all")).await.unwrap();
    refused.refused(500, "internal", "the compute thread has ended");
}
