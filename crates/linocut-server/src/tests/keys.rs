//! API keys: what each lets its holder see and do.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{Method, Request};
use serde_json::{Value, json};

use super::place::{Answered, Like, Place, call, cut};
use crate::{Keys, State};

const ALL: &str = "0123456789-everything";
const TEAM: &str = "0123456789-only-topics";
const READER: &str = "0123456789-no-changes";

fn locked(place: &Place) -> Arc<State> {
    place.locked(&json!([
        {"name": "operator", "key": ALL, "rights": ["predict", "manage"]},
        {"name": "team", "key": TEAM, "tasks": ["topics", "new"], "rights": ["predict", "manage"]},
        {"name": "reader", "key": READER, "rights": ["predict"]},
    ]))
}

async fn ask(state: &Arc<State>, key: &str, method: &str, path: &str, body: Body) -> Answered {
    let request = Request::builder()
        .method(Method::try_from(method).unwrap())
        .uri(path)
        .header("content-type", "application/json")
        .header("authorization", format!("Bearer {key}"));
    call(state, request.body(body).unwrap()).await
}

#[tokio::test]
async fn without_a_known_key_nothing_is_told() {
    let state = locked(&Place::new());
    for path in ["/v1/tasks", "/v1/tasks/topics", "/info", "/metrics"] {
        let found = call(&state, Request::get(path).body(Body::empty()).unwrap()).await;
        found.refused(401, "unauthorized", "authorization: Bearer KEY");
        assert_eq!(found.headers["www-authenticate"], "Bearer");
        for header in ["Bearer wrong", "Bearer", "Basic dXNlcjpwYXNz", ALL, "Bearer "] {
            let request = Request::get(path).header("authorization", header);
            let found = call(&state, request.body(Body::empty()).unwrap()).await;
            found.refused(401, "unauthorized", "no key, or not a known one");
        }
    }
    // What a balancer, a browser and a client's generator ask first.
    for path in ["/health", "/health/live", "/", "/openapi.json"] {
        call(&state, Request::get(path).body(Body::empty()).unwrap()).await.ok();
    }
}

#[tokio::test]
async fn a_key_sees_and_changes_its_own_tasks_alone() {
    let place = Place::new();
    let state = locked(&place);
    let predict = |key: &'static str, tasks: Value| {
        let body = Body::from(json!({"inputs": "rain", "tasks": tasks}).to_string());
        let state = Arc::clone(&state);
        async move { ask(&state, key, "POST", "/v1/predict", body).await }
    };
    let names = |found: Value| -> Vec<String> {
        let answers = found["results"][0]["answers"].as_array().unwrap().clone();
        answers.iter().map(|answer| answer["task"].as_str().unwrap().into()).collect()
    };
    assert_eq!(names(predict(ALL, json!("all")).await.ok()), ["grade", "tags", "topics"]);
    assert_eq!(names(predict(TEAM, json!("all")).await.ok()), ["topics"]);
    let found = predict(TEAM, json!(["topics", "tags"])).await;
    found.refused(403, "forbidden", "the key \"team\" may not ask the task \"tags\"");
    // Whether or not there is such a task, and without the names of others.
    predict(TEAM, json!(["nix"])).await.refused(403, "forbidden", "\"nix\"");
    let found = predict(TEAM, json!(["new"])).await;
    found.refused(404, "unknown_task", "there is no task \"new\"");
    assert!(!found.body.to_string().contains("tags"), "{}", found.body);
    let body = || Body::from(r#"{"inputs": "rain"}"#);
    ask(&state, TEAM, "POST", "/predict?task=tags", body()).await.refused(403, "forbidden", "tags");
    // The one task that it sees needs no name.
    ask(&state, TEAM, "POST", "/predict", body()).await.ok();

    let list = ask(&state, TEAM, "GET", "/v1/tasks", Body::empty()).await.ok();
    assert_eq!(list["tasks"].as_array().unwrap().len(), 1);
    let found = ask(&state, TEAM, "GET", "/v1/tasks/tags", Body::empty()).await;
    found.refused(403, "forbidden", "may not see");
    ask(&state, TEAM, "GET", "/metrics", Body::empty()).await.refused(
        403,
        "forbidden",
        "all tasks",
    );
    ask(&state, READER, "GET", "/metrics", Body::empty()).await.ok();

    let bytes = || Body::from(cut(&place.base(), Like::version(9)).to_bytes());
    let put = async |key, name: &str| {
        ask(&state, key, "PUT", &format!("/v1/tasks/{name}"), bytes()).await
    };
    put(READER, "topics").await.refused(403, "forbidden", "may not manage");
    put(TEAM, "tags").await.refused(403, "forbidden", "may not manage");
    assert_eq!(put(TEAM, "new").await.status, 201);
    let found = ask(&state, READER, "DELETE", "/v1/tasks/new", Body::empty()).await;
    found.refused(403, "forbidden", "may not manage");
    ask(&state, TEAM, "DELETE", "/v1/tasks/new", Body::empty()).await.ok();
}

/// Every address, asked with no key, one without rights, and ones that may read, ask or change one
/// task, or read about all.
#[tokio::test]
async fn every_address_asks_for_its_right() {
    let key = |name: &str| format!("0123456789abcdef-{name}");
    let place = Place::new();
    let one = json!(["topics", "new"]);
    let state = place.locked(&json!([
        {"name": "none", "key": key("none"), "rights": []},
        {"name": "read", "key": key("read"), "tasks": one, "rights": ["read"]},
        {"name": "ask", "key": key("ask"), "tasks": one, "rights": ["predict"]},
        {"name": "manage", "key": key("manage"), "tasks": one, "rights": ["manage"]},
        {"name": "watch", "key": key("watch"), "rights": ["read"]},
    ]));
    let asked = json!({"inputs": "rain", "tasks": ["topics"]}).to_string();
    let all = json!({"inputs": "rain", "tasks": "all"}).to_string();
    for (method, path, body, expected) in [
        ("GET", "/", "", [200, 200, 200, 200, 200, 200]),
        ("GET", "/health", "", [200, 200, 200, 200, 200, 200]),
        ("GET", "/health/live", "", [200, 200, 200, 200, 200, 200]),
        ("GET", "/openapi.json", "", [200, 200, 200, 200, 200, 200]),
        ("GET", "/info", "", [401, 403, 200, 200, 200, 200]),
        ("GET", "/metrics", "", [401, 403, 403, 403, 403, 200]),
        ("GET", "/v1/tasks", "", [401, 403, 200, 200, 200, 200]),
        ("GET", "/v1/tasks/topics", "", [401, 403, 200, 200, 200, 200]),
        ("GET", "/v1/tasks/tags", "", [401, 403, 403, 403, 403, 200]),
        ("GET", "/v1/tasks/nix", "", [401, 403, 403, 403, 403, 404]),
        ("POST", "/v1/predict", &asked, [401, 403, 403, 200, 403, 403]),
        ("POST", "/v1/predict", &all, [401, 403, 403, 200, 403, 403]),
        ("POST", "/predict?task=topics", &asked, [401, 403, 403, 200, 403, 403]),
        ("POST", "/predict?task=tags", &asked, [401, 403, 403, 403, 403, 403]),
        ("PUT", "/v1/tasks/topics", "no cut", [401, 403, 403, 403, 422, 403]),
        ("PUT", "/v1/tasks/tags", "no cut", [401, 403, 403, 403, 403, 403]),
        ("DELETE", "/v1/tasks/new", "", [401, 403, 403, 403, 404, 403]),
        ("DELETE", "/v1/tasks/tags", "", [401, 403, 403, 403, 403, 403]),
    ] {
        for (name, status) in
            ["wrong", "none", "read", "ask", "manage", "watch"].iter().zip(expected)
        {
            let found = ask(&state, &key(name), method, path, Body::from(body.to_string())).await;
            assert_eq!(found.status, status, "{method} {path} by {name}: {}", found.body);
        }
    }
    // No counts without a right to them.
    let health = ask(&state, "", "GET", "/health", Body::empty()).await.ok();
    assert_eq!(health, json!({"status": "ready"}));
    let info = ask(&state, &key("read"), "GET", "/info", Body::empty()).await.ok();
    assert_eq!((&info["tasks"], info.get("task_bytes")), (&json!(1), None));
    let info = ask(&state, &key("watch"), "GET", "/info", Body::empty()).await.ok();
    assert!(info["tasks"] == 4 && info["task_bytes"].is_u64(), "{info}");
}

#[test]
fn files_of_keys_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keys.json");
    let read = |text: &str| {
        std::fs::write(&path, text).unwrap();
        Keys::read(&path).err().unwrap().to_string()
    };
    let secret = "a-secret-of-many-letters";
    for (text, says) in [
        (format!(r#"[{{"name": "a", "key": "{secret}", "rights": ["predict"]"#), "line 1 column"),
        (format!(r#"[{{"name": "a", "key": "{secret}"}}]"#), "line 1 column"),
        (format!(r#"[{{"name": "a", "key": "{secret}", "rights": ["own"]}}]"#), "line 1 column"),
        ("[]".into(), "an empty list"),
        (r#"[{"name": "a", "key": "short", "rights": []}]"#.into(), "\"a\" is not 16 or more"),
        (
            format!(
                r#"[{{"name": "a", "key": "{secret}", "rights": []}},
                    {{"name": "b", "key": "{secret}", "rights": []}}]"#
            ),
            "\"a\" and \"b\" have the same key",
        ),
    ] {
        let error = read(&text);
        assert!(error.contains(says) && error.contains("keys.json"), "{error}");
        assert!(!error.contains(secret), "{error}");
    }
    let error = Keys::read(&folder.path().join("none.json")).err().unwrap().to_string();
    assert!(error.contains("none.json"), "{error}");
}
