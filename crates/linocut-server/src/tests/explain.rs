//! What each word adds, which is what the task alone says of the text without it.

use std::sync::Arc;

use linocut::data::Problem;
use linocut::model::probabilities;
use serde_json::{Value, json};

use super::place::{Place, assert_near, post};
use crate::Limits;

#[tokio::test]
async fn words_add_what_the_task_alone_says() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let ask = |body: Value| post(&state, "/v1/explain", body);
    let found = ask(json!({"input": "warm rain", "task": "topics", "label": "label 1"})).await.ok();
    assert_eq!(
        (&found["task"], &found["label"], &found["untried"]),
        (&json!("topics"), &json!("label 1"), &json!(0))
    );
    let alone =
        |text: &str| probabilities(Problem::SingleLabel, &place.alone("topics", text, None), 3)[1];
    let words = found["words"].as_array().unwrap();
    for (word, (text, start, end), less) in
        [(&words[0], ("warm", 0, 4), "rain"), (&words[1], ("rain", 5, 9), "warm")]
    {
        assert_eq!(
            (&word["word"], &word["start"], &word["end"]),
            (&json!(text), &json!(start), &json!(end))
        );
        assert_near(
            &[word["change"].as_f64().unwrap() as f32],
            &[alone("warm rain") - alone(less)],
        );
    }
    assert_near(&[found["score"].as_f64().unwrap() as f32], &[alone("warm rain")]);
    assert_eq!((&found["tokens"], &found["text_cut"]), (&json!(4), &json!(false)));
    // The most probable label, and a number.
    let logits = place.alone("topics", "warm rain", None);
    let best = (0..3).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap();
    let found = ask(json!({"input": "warm rain", "task": "topics"})).await.ok();
    assert_eq!(found["label"], format!("label {best}"));
    let found = ask(json!({"input": "rain", "task": "grade"})).await.ok();
    assert_eq!((&found["label"], &found["words"][0]["change"]), (&Value::Null, &Value::Null));
    let found = ask(json!({"input": ["rain", "warm sun"], "task": "same"})).await.ok();
    let within: Vec<&Value> = found["words"].as_array().unwrap().iter().map(|w| &w["in"]).collect();
    assert_eq!(within, ["text", "pair", "pair"]);
}

#[tokio::test]
async fn what_cannot_be_explained() {
    let place = Place::new();
    let state = place.open(Limits { text_bytes: 100, ..Limits::default() });
    let ask = async |body: Value, status, kind: &str, says: &str| {
        post(&state, "/v1/explain", body).await.refused(status, kind, says);
    };
    let of = |task: &str, label: &str| json!({"input": "rain", "task": task, "label": label});
    ask(of("topics", "no"), 422, "validation", "label \"no\" is not among the 3 labels").await;
    ask(of("grade", "no"), 422, "validation", "has a number, no labels").await;
    ask(json!({"input": "rain", "task": "none"}), 404, "unknown_task", "none").await;
    ask(json!({"input": "rain", "task": "same"}), 422, "validation", "takes a pair of texts").await;
    ask(json!({"input": ["a", "b"], "task": "topics"}), 422, "validation", "takes one text").await;
    ask(json!({"input": " ", "task": "topics"}), 422, "validation", "empty text").await;
    ask(json!({"input": "a".repeat(101), "task": "topics"}), 422, "text_too_long", "101 bytes")
        .await;
    ask(json!({"inputs": "rain", "task": "topics"}), 422, "validation", "inputs").await;
    let turn = Arc::clone(&state.explaining).try_acquire_owned().unwrap();
    ask(json!({"input": "rain", "task": "topics"}), 429, "overloaded", "take turns").await;
    drop(turn);
    post(&state, "/v1/explain", json!({"input": "rain", "task": "topics"})).await.ok();
}
