//! What an operator sees: metrics, request ids, and the page.

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::place::{Answered, Like, Place, call, cut, get, post, put, request};
use crate::Limits;

/// The value of a metric with exactly these labels.
#[track_caller]
fn metric(page: &Answered, series: &str) -> f64 {
    let Value::String(text) = &page.body else { panic!("{}", page.body) };
    let line = text.lines().find(|line| line.rsplit_once(' ').is_some_and(|(s, _)| s == series));
    let line = line.unwrap_or_else(|| panic!("{series} is not in\n{text}"));
    line.rsplit_once(' ').unwrap().1.parse().unwrap()
}

#[tokio::test]
async fn requests_errors_batches_and_tasks_are_counted() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let body = json!({"inputs": ["rain", "warm rain"], "tasks": ["topics", "tags"]});
    post(&state, "/v1/predict", body).await.ok();
    post(&state, "/predict?task=topics", json!({"inputs": "rain"})).await.ok();
    post(&state, "/predict?task=nix", json!({"inputs": "rain"})).await;
    get(&state, "/nowhere").await;
    let bytes = cut(&place.base(), Like::version(9)).to_bytes();
    put(&state, "new", bytes).await.ok();
    post(&state, "/predict?task=new", json!({"inputs": "rain"})).await.ok();

    let page = get(&state, "/metrics").await;
    assert!(page.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    for (series, value) in [
        (r#"linocut_requests_total{path="/v1/predict",status="200"}"#, 1.0),
        (r#"linocut_requests_total{path="/predict",status="200"}"#, 2.0),
        (r#"linocut_requests_total{path="/predict",status="404"}"#, 1.0),
        (r#"linocut_requests_total{path="/v1/tasks/{name}",status="201"}"#, 1.0),
        (r#"linocut_requests_total{path="none",status="404"}"#, 1.0),
        (r#"linocut_errors_total{error_type="unknown_task"}"#, 1.0),
        (r#"linocut_errors_total{error_type="not_found"}"#, 1.0),
        ("linocut_request_seconds_count", 6.0),
        ("linocut_batch_tokens_count", 3.0),
        // Two texts of 3 and 4 tokens through two tasks, then 3 tokens twice.
        ("linocut_batch_tokens_sum", 20.0),
        (r#"linocut_info{dtype="f32"}"#, 1.0),
        (r#"linocut_task_answers_total{task="topics"}"#, 3.0),
        (r#"linocut_task_tokens_total{task="topics"}"#, 10.0),
        (r#"linocut_task_answers_total{task="tags"}"#, 2.0),
        ("linocut_tasks", 5.0),
        ("linocut_waiting_requests", 0.0),
    ] {
        assert_eq!(metric(&page, series), value, "{series}");
    }
    let memory = metric(&page, r#"linocut_task_memory_bytes{task="new"}"#);
    assert_eq!(memory, state.bank.task("new").unwrap().bytes() as f64);

    call(&state, request(Method::DELETE, "/v1/tasks/new", Body::empty())).await.ok();
    let page = get(&state, "/metrics").await;
    assert!(!page.body.to_string().contains("new"), "{}", page.body);
}

/// Every address of the description is there, and everything there is described.
#[tokio::test]
async fn the_interface_describes_itself() {
    let state = Place::new().open(Limits::default());
    let api = get(&state, "/openapi.json").await.ok();
    assert_eq!(api["openapi"], "3.1.0");
    let mut described: Vec<String> = Vec::new();
    for (path, methods) in api["paths"].as_object().unwrap() {
        for (method, operation) in methods.as_object().unwrap() {
            described.push(format!("{method} {path}"));
            assert!(!operation["responses"].as_object().unwrap().is_empty(), "{method} {path}");
            let method = Method::try_from(method.to_uppercase().as_str()).unwrap();
            let path = path.replace("{name}", "topics");
            let found = call(&state, request(method, &path, Body::empty())).await;
            let kind = found.body["error_type"].as_str().unwrap_or_default();
            assert!(!["not_found", "method_not_allowed"].contains(&kind), "{path}: {kind}");
        }
    }
    // The query names the task; a cut file is bytes; an answer is one object.
    let parameter = api.pointer("/paths/~1predict/post/parameters/0").unwrap();
    assert_eq!((&parameter["name"], &parameter["in"]), (&json!("task"), &json!("query")));
    let body = "/paths/~1v1~1tasks~1{name}/put/requestBody/content/application~1octet-stream";
    let schema = api.pointer(&format!("{body}/schema")).unwrap();
    assert_eq!(*schema, json!({"type": "string", "format": "binary"}));
    described.sort();
    let expected = [
        "delete /v1/tasks/{name}",
        "get /health",
        "get /health/live",
        "get /health/ready",
        "get /info",
        "get /metrics",
        "get /openapi.json",
        "get /v1/tasks",
        "get /v1/tasks/{name}",
        "get /v1/tasks/{name}/cut",
        "get /v1/tasks/{name}/versions",
        "post /predict",
        "post /v1/explain",
        "post /v1/predict",
        "post /v1/tasks/{name}/rollback",
        "put /v1/tasks/{name}",
    ];
    assert_eq!(described, expected);
    // Every reference leads somewhere.
    let text = api.to_string();
    for reference in text.split("\"$ref\":\"#").skip(1) {
        let pointer = reference.split('"').next().unwrap();
        assert!(api.pointer(pointer).is_some(), "{pointer}");
    }
}

#[tokio::test]
async fn every_request_has_an_id() {
    let state = Place::new().open(Limits::default());
    let with = |id: &str| {
        let get = Request::get("/health").header("x-request-id", id);
        call(&state, get.body(Body::empty()).unwrap())
    };
    assert_eq!(with("abc-1").await.headers["x-request-id"], "abc-1");
    let own = [
        with(&"x".repeat(129)).await.headers["x-request-id"].clone(),
        get(&state, "/nowhere").await.headers["x-request-id"].clone(),
        get(&state, "/health").await.headers["x-request-id"].clone(),
    ];
    assert!(own.iter().all(|id| (1..60).contains(&id.len())), "{own:?}");
    assert!(own[0] != own[1] && own[1] != own[2], "{own:?}");
}

#[tokio::test]
async fn the_page_stands_alone() {
    let state = Place::new().open(Limits::default());
    let page = get(&state, "/").await;
    assert_eq!(page.headers["content-type"], "text/html; charset=utf-8");
    let policy = page.headers["content-security-policy"].to_str().unwrap();
    assert!(policy.starts_with("default-src 'none'; connect-src 'self'"), "{policy}");
    let Value::String(text) = page.ok() else { panic!("no text") };
    // Links lead to places of the page itself.
    let text = text.replace("href=\"#", "");
    for outside in ["http://", "https://", "src=", "href=", "@import", "innerHTML"] {
        assert!(!text.contains(outside), "{outside}");
    }
}
