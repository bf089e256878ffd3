//! Requests as they arrive: who a browser speaks for, and how bodies are packed.

use std::io::Write;
use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request, Version};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::place::{Answered, Like, Place, call, cut, get, post};
use crate::{Limits, Settings, State};

async fn with(state: &Arc<State>, method: &str, headers: &[(&str, &str)]) -> Answered {
    let mut request = Request::builder().method(method).uri("/v1/tasks/topics");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    call(state, request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn pages_of_other_sites_reach_nothing_without_keys() {
    let hosts = vec!["models.example".into(), "192.0.2.7".into()];
    let place = Place::new();
    let state = place.open_with(Settings { hosts, ..Settings::default() });
    for host in
        ["localhost", "LOCALHOST.:8080", "127.0.0.1:80", "127.9.9.9", "[::1]:1", "models.example:8"]
    {
        with(&state, "GET", &[("host", host)]).await.ok();
    }
    for host in ["evil.example", "localhost.evil.example:80", "192.0.2.8", "0.0.0.0", "2130706433"]
    {
        for method in ["GET", "DELETE", "PUT", "HEAD"] {
            let found = with(&state, method, &[("host", host)]).await;
            assert_eq!(found.status, 421, "{method} {host}");
        }
        let found = with(&state, "DELETE", &[("host", host)]).await;
        found.refused(421, "wrong_host", "--allow-host");
    }
    let found = with(&state, "GET", &[("host", "a"), ("host", "a")]).await;
    found.refused(400, "bad_request", "more than once");
    for host in ["", "localhost:x", "u@localhost", "[::1", "a b"] {
        with(&state, "GET", &[("host", host)]).await.refused(400, "bad_request", "no HOST");
    }
    for origin in ["http://localhost:8080", "https://models.example"] {
        let headers = [("host", "localhost:8080"), ("origin", origin)];
        with(&state, "GET", &headers).await.ok();
    }
    for origin in ["http://evil.example", "http://localhost:3000", "https://localhost", "null"] {
        for method in ["GET", "DELETE", "PUT", "OPTIONS"] {
            let headers = [("host", "localhost:8080"), ("origin", origin)];
            let found = with(&state, method, &headers).await;
            found.refused(403, "cross_origin", "comes from");
        }
    }
    for (method, site, mode, status) in [
        ("GET", "same-origin", "cors", 200),
        ("GET", "none", "navigate", 200),
        ("GET", "cross-site", "navigate", 200),
        ("GET", "cross-site", "no-cors", 403),
        ("GET", "same-site", "cors", 403),
        ("DELETE", "cross-site", "navigate", 403),
    ] {
        let headers = [("sec-fetch-site", site), ("sec-fetch-mode", mode)];
        assert_eq!(with(&state, method, &headers).await.status, status, "{method} {site} {mode}");
    }
    // Asking a task is for its own pages, too.
    let body = Body::from(json!({"inputs": "rain", "tasks": "all"}).to_string());
    let request = Request::post("/v1/predict").header("origin", "http://evil.example");
    let found = call(&state, request.body(body).unwrap()).await;
    found.refused(403, "cross_origin", "evil.example");
    assert_eq!(state.tasks(), 4);
    // A request target that names another server.
    let request = Request::get("http://evil.example/v1/tasks").body(Body::empty()).unwrap();
    call(&state, request).await.refused(421, "wrong_host", "evil.example");
}

#[tokio::test]
async fn with_keys_any_name_will_do_but_only_one() {
    let place = Place::new();
    let key = "0123456789-everything";
    let state = place.locked(&json!([{"name": "a", "key": key, "rights": ["predict"]}]));
    let key = format!("Bearer {key}");
    let headers =
        [("authorization", &*key), ("host", "any.example"), ("origin", "https://b.example")];
    with(&state, "GET", &headers).await.ok();
    let found = with(&state, "GET", &[headers[0], headers[1], ("host", "localhost")]).await;
    found.refused(400, "bad_request", "`host` stands there more than once");
}

#[tokio::test]
async fn only_http_1_0_needs_no_host() {
    let state = Place::new().open(Limits::default());
    for (version, status) in [(Version::HTTP_10, 200), (Version::HTTP_11, 400)] {
        let request = Request::get("/health").version(version).body(Body::empty()).unwrap();
        let router = crate::app(Arc::clone(&state));
        let found = tower::ServiceExt::oneshot(router, request).await.unwrap();
        assert_eq!(found.status(), status);
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

async fn packed(state: &Arc<State>, coding: &str, body: Vec<u8>) -> Answered {
    let request = Request::post("/v1/predict")
        .header("content-type", "application/json")
        .header("content-encoding", coding);
    call(state, request.body(Body::from(body)).unwrap()).await
}

#[tokio::test]
async fn bodies_may_be_gzip_and_nothing_else() {
    let place = Place::new();
    let state = place.open(Limits { body_bytes: 100_000, ..Limits::default() });
    let plain = json!({"inputs": "rain", "tasks": ["topics"]});
    let expected = post(&state, "/v1/predict", plain.clone()).await.ok();
    let bytes = plain.to_string().into_bytes();
    for (coding, body) in [
        ("gzip", gzip(&bytes)),
        ("X-GZIP", [gzip(&bytes[..9]), gzip(&bytes[9..])].concat()),
        ("identity", bytes.clone()),
        ("identity, gzip", gzip(&bytes)),
    ] {
        assert_eq!(packed(&state, coding, body).await.ok(), expected, "{coding}");
    }
    for coding in ["br", "deflate", "zstd", "gzip, gzip", "gzip2"] {
        let found = packed(&state, coding, gzip(&bytes)).await;
        found.refused(415, "unsupported_encoding", &format!("{coding:?}, expected gzip or none"));
        assert_eq!(found.headers["accept-encoding"], "gzip");
    }
    let whole = gzip(&bytes);
    for broken in [&whole[..whole.len() - 5], &bytes[..], &[whole.clone(), vec![1; 9]].concat()] {
        let found = packed(&state, "gzip", broken.to_vec()).await;
        found.refused(400, "bad_request", "not gzip");
    }
    let bomb = gzip(&vec![b' '; 5_000_000]);
    assert!(bomb.len() < 100_000, "{}", bomb.len());
    let found = packed(&state, "gzip", bomb).await;
    found.refused(413, "body_too_large", "more bytes, expected at most 100000");
    // Uploads, too.
    let cut = gzip(&cut(&place.base(), Like::version(9)).to_bytes());
    let request = Request::put("/v1/tasks/new").header("content-encoding", "gzip");
    assert_eq!(call(&state, request.body(Body::from(cut)).unwrap()).await.status, 201);
    let bytes = std::fs::read(place.cuts().join("new.cut")).unwrap();
    assert_eq!(&bytes[8..9], b"{");
}

#[tokio::test]
async fn what_other_servers_answer_has_a_pointer() {
    let place = Place::new();
    let state = place.open(Limits::default());
    for (path, says) in [
        ("/embed", "POST /predict?task=NAME"),
        ("/rerank", "POST /predict?task=NAME"),
        ("/v1/embeddings", "POST /v1/predict"),
        ("/v1/models", "GET /v1/tasks"),
        ("/docs", "GET /openapi.json"),
        ("/healthz", "GET /health"),
    ] {
        post(&state, path, json!({"inputs": "rain"})).await.refused(404, "not_found", says);
        get(&state, path).await.refused(404, "not_found", says);
    }
    // Its clients ask at the root, too.
    let body = json!({"inputs": "rain"});
    let found = post(&state, "/", body.clone()).await;
    found.refused(422, "validation", "which of 4 tasks is asked?");
    let at_root = post(&state, "/?task=topics", body.clone()).await.ok();
    assert_eq!(at_root, post(&state, "/predict?task=topics", body.clone()).await.ok());
    let key = json!([{"name": "a", "key": "a key of sixteen or more".replace(' ', "-"), "rights": ["predict", "manage"]}]);
    drop(state);
    let locked = place.locked(&key);
    post(&locked, "/?task=topics", body).await.refused(401, "unauthorized", "no key");
    get(&locked, "/").await.ok();
    let state = locked;
    let form = Request::builder()
        .method(Method::PUT)
        .uri("/v1/tasks/new")
        .header("content-type", "multipart/form-data; boundary=x");
    let form = form.header("authorization", "Bearer a-key-of-sixteen-or-more");
    let found = call(&state, form.body(Body::from("--x--")).unwrap()).await;
    found.refused(415, "unsupported_media_type", "--data-binary @my.cut");
}

#[tokio::test]
async fn words_of_clients_are_bounded_where_they_are_quoted() {
    let state = Place::new().open(Limits::default());
    let long = "x\u{1b}[2J".repeat(100_000);
    let quoted = serde_json::to_string(&long).unwrap();
    for body in [
        format!("{{{quoted}: 1}}"),
        format!(r#"{{"inputs": "a", "tasks": {quoted}}}"#),
        format!(r#"{{"inputs": "a", "tasks": [{quoted}]}}"#),
        format!(r#"{{"inputs": "a", "tasks": "all", "top_k": {quoted}}}"#),
        format!(r#"{{"inputs": "a", "tasks": "all", "truncate": {quoted}}}"#),
    ] {
        let request = Request::post("/v1/predict").header("content-type", "application/json");
        let found = call(&state, request.body(Body::from(body)).unwrap()).await;
        let text = found.body["error"].as_str().unwrap();
        assert!(found.status.is_client_error() && text.len() < 2000, "{}", text.len());
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    let long = "y".repeat(50_000);
    let request = Request::post("/v1/predict").header("content-type", &long);
    let found = call(&state, request.body(Body::empty()).unwrap()).await;
    assert!(found.body.to_string().len() < 2000);
    for path in [format!("/{long}"), format!("/v1/tasks/{long}"), format!("/predict?{long}")] {
        let found = post(&state, &path, json!({"inputs": "a"})).await;
        assert!(found.status.is_client_error(), "{path}");
        assert!(found.body.to_string().len() < 2000, "{}", found.body);
    }
}
