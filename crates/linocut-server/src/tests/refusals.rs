//! Bad requests: what was found, what was expected, and a status and type that never change.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::json;

use super::place::{Place, call, get, post, request};
use crate::{Limits, Settings, State};

#[tokio::test]
async fn bodies_that_are_not_a_request() {
    let state = Place::new().open(Limits { text_bytes: 50, ..Limits::default() });
    let long = "rain ".repeat(11);
    for (body, status, kind, says) in [
        ("{", 400, "malformed_json", "the body is not JSON: EOF"),
        ("", 400, "malformed_json", "the body is not JSON"),
        ("nonsense", 400, "malformed_json", "expected ident"),
        ("[]", 422, "validation", "found a list, expected an object"),
        (r#"{"inputs": "a"}"#, 422, "validation", "missing field `tasks`"),
        (
            r#"{"inputs": "a", "tasks": "all", "topk": 1}"#,
            422,
            "validation",
            "unknown field `topk`",
        ),
        (r#"{"inputs": "a", "tasks": "all", "top_k": 0}"#, 422, "validation", "top_k is 0"),
        (r#"{"inputs": "a", "tasks": "all", "top_k": -1}"#, 422, "validation", "invalid value"),
        (r#"{"inputs": "a", "tasks": "topics"}"#, 422, "validation", "expected \"all\" or a list"),
        (r#"{"inputs": "a", "tasks": []}"#, 422, "validation", "tasks: an empty list"),
        (r#"{"inputs": "a", "tasks": [1]}"#, 422, "validation", "found a number, expected names"),
        (
            r#"{"inputs": "a", "tasks": ["tags", "tags"]}"#,
            422,
            "validation",
            "tasks: \"tags\" twice",
        ),
        (
            r#"{"inputs": "a", "tasks": ["topic"]}"#,
            404,
            "unknown_task",
            "the nearest known are \"topics\"",
        ),
        (r#"{"inputs": [], "tasks": "all"}"#, 422, "validation", "inputs: an empty list"),
        (r#"{"inputs": null, "tasks": "all"}"#, 422, "validation", "inputs: found null"),
        (
            r#"{"inputs": ["a", 3], "tasks": "all"}"#,
            422,
            "validation",
            "inputs[1]: found a number, expected a text or [text, pair]",
        ),
        (
            r#"{"inputs": ["a", ["b"]], "tasks": "all"}"#,
            422,
            "validation",
            "inputs[1]: found a list of 1",
        ),
        (
            r#"{"inputs": ["a", ["b", "c", "d"]], "tasks": "all"}"#,
            422,
            "validation",
            "inputs[1]: found a list of 3",
        ),
        (r#"{"inputs": "", "tasks": "all"}"#, 422, "validation", "empty text"),
        (
            r#"{"inputs": ["a", " \n"], "tasks": ["tags"]}"#,
            422,
            "validation",
            "inputs[1]: empty text",
        ),
        (
            r#"{"inputs": [["a", "b"]], "tasks": ["tags"]}"#,
            422,
            "validation",
            "the task \"tags\" takes one text, found a pair",
        ),
        (
            r#"{"inputs": "a", "tasks": ["same"]}"#,
            422,
            "validation",
            "the task \"same\" takes a pair of texts, found one text",
        ),
        (
            &format!(r#"{{"inputs": ["a", "{long}"], "tasks": "all"}}"#),
            422,
            "text_too_long",
            "inputs[1]: a text of 55 bytes, expected at most 50",
        ),
    ] {
        let found = call(&state, request(Method::POST, "/v1/predict", body.to_string())).await;
        found.refused(status, kind, says);
    }
    // Bytes that are no text, in a string.
    let bytes = b"{\"inputs\": \"\xff\xfe\", \"tasks\": \"all\"}".to_vec();
    let found = call(&state, request(Method::POST, "/v1/predict", bytes)).await;
    found.refused(400, "malformed_json", "invalid unicode");
    let plain = Request::post("/v1/predict").body(Body::from("{}")).unwrap();
    call(&state, plain).await.refused(415, "unsupported_media_type", "expected application/json");
    for path in ["/predict?task=nix", "/predict?task=%FF"] {
        let found = post(&state, path, json!({"inputs": "a"})).await;
        assert!(found.status.is_client_error(), "{path}: {}", found.status);
        assert!(found.body["error_type"].is_string(), "{path}: {}", found.body);
    }
}

#[tokio::test]
async fn more_than_the_limits() {
    let limits =
        Limits { inputs: 3, answers: 6, body_bytes: 1000, upload_bytes: 2000, ..Limits::default() };
    let state = Place::new().open(limits);
    let ask = |inputs: usize, tasks: &[&str]| {
        post(&state, "/v1/predict", json!({"inputs": vec!["rain"; inputs], "tasks": tasks}))
    };
    ask(3, &["topics", "tags"]).await.ok();
    ask(4, &["topics"]).await.refused(413, "too_many_inputs", "4 inputs, expected at most 3");
    let found = ask(3, &["topics", "tags", "grade"]).await;
    found.refused(413, "too_many_inputs", "are 9 answers, expected at most 6");
    let body = json!({"inputs": vec![["rain"]; 4]});
    let found = post(&state, "/predict?task=tags", body).await;
    found.refused(413, "too_many_inputs", "4 inputs");
    let body = json!({"inputs": "rain ".repeat(300), "tasks": "all"});
    let found = post(&state, "/v1/predict", body).await;
    found.refused(413, "body_too_large", "the body has");
    // Uploads have a limit of their own.
    let put = |bytes: usize| call(&state, request(Method::PUT, "/v1/tasks/new", vec![b'x'; bytes]));
    put(1500).await.refused(422, "bad_cut", "");
    put(2001).await.refused(413, "body_too_large", "2001 bytes");
}

#[tokio::test]
async fn addresses_and_methods_that_there_are_not() {
    let state = Place::new().open(Limits::default());
    get(&state, "/v2/predict").await.refused(404, "not_found", "there is nothing at");
    let found = get(&state, "/v1/predict").await;
    found.refused(405, "method_not_allowed", "does not take GET");
    assert_eq!(found.headers["allow"], "POST");
    let found = get(&state, "/v1/tasks/topic").await;
    found.refused(404, "unknown_task", "the nearest known are \"topics\"");
    get(&state, "/v1/tasks/..%2F..%2Fetc").await.refused(404, "unknown_task", "there is no task");
    get(&state, "/v1/tasks/%FF").await.refused(422, "validation", "the address");
}

#[test]
fn limits_and_folders_that_cannot_be() {
    let place = Place::new();
    let with = |limits| Settings { limits, ..Settings::default() };
    let open =
        |limits| State::idle(place.bank(), place.cuts(), with(limits), |_, _| ()).err().unwrap();
    let error = open(Limits { inputs: 0, ..Limits::default() });
    assert!(error.to_string().starts_with("a limit of 0 inputs, expected 1 to"), "{error}");
    open(Limits { requests: usize::MAX, ..Limits::default() });

    let strict = || Settings { strict: true, ..Settings::default() };
    let nowhere = place.cuts().join("nowhere");
    let open = |folder: &std::path::Path| {
        State::idle(place.bank(), folder.to_path_buf(), strict(), |_, _| ())
            .err()
            .unwrap()
            .to_string()
    };
    assert!(open(&nowhere).contains("cannot read the folder"), "{}", open(&nowhere));
    std::fs::write(place.cuts().join("bad%name.cut"), b"").unwrap();
    let error = open(&place.cuts());
    assert!(error.contains("\"bad%name\" is no name of a task"), "{error}");
    std::fs::rename(place.cuts().join("bad%name.cut"), place.cuts().join("broken.cut")).unwrap();
    let error = open(&place.cuts());
    assert!(error.contains("broken.cut: ") && error.contains("move the file out"), "{error}");
}
