//! Answers, which are the tasks' own.

use axum::body::Body;
use axum::http::Method;
use linocut::cut::{Cut, Decision};
use linocut::data::Problem;
use linocut::model::probabilities;
use serde_json::{Value, json};

use super::place::{Like, Place, assert_near, call, get, post, request};
use crate::Limits;

const TEXT: &str = "warm rain today";

/// Scores of an answer by label.
fn by_label(scores: &Value) -> Vec<f32> {
    let mut pairs: Vec<(&str, f32)> = scores
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["label"].as_str().unwrap(), s["score"].as_f64().unwrap() as f32))
        .collect();
    assert!(pairs.windows(2).all(|w| w[0].1 >= w[1].1), "{scores}");
    pairs.sort_by_key(|(label, _)| *label);
    pairs.into_iter().map(|(_, score)| score).collect()
}

#[tokio::test]
async fn every_kind_of_task_answers_as_it_does_alone() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let body = json!({"inputs": [TEXT, "salt and bread"], "tasks": ["topics", "grade", "tags"]});
    let found = post(&state, "/v1/predict", body).await.ok();
    let results = found["results"].as_array().unwrap();
    assert_eq!(results.len(), 2);
    for (text, result) in [TEXT, "salt and bread"].into_iter().zip(results) {
        let answers = result["answers"].as_array().unwrap();
        let names: Vec<&Value> = answers.iter().map(|a| &a["task"]).collect();
        assert_eq!(names, ["topics", "grade", "tags"]);

        let expected = probabilities(Problem::SingleLabel, &place.alone("topics", text, None), 3);
        assert_near(&by_label(&answers[0]["scores"]), &expected);
        assert_eq!(answers[0]["label"], answers[0]["scores"][0]["label"]);
        assert_eq!(answers[0]["score"], answers[0]["scores"][0]["score"]);
        assert_eq!((&answers[0]["tokens"], &answers[0]["text_cut"]), (&json!(5), &json!(false)));

        let value = answers[1]["value"].as_f64().unwrap() as f32;
        assert_near(&[value], &place.alone("grade", text, None));

        let logits = place.alone("tags", text, None);
        let expected = probabilities(Problem::MultiLabel, &logits, 4);
        assert_near(&by_label(&answers[2]["scores"]), &expected);
        let mut chosen: Vec<usize> = (0..4).filter(|&i| logits[i] > 0.0).collect();
        chosen.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        let chosen: Vec<String> = chosen.iter().map(|i| format!("label {i}")).collect();
        assert_eq!(answers[2]["labels"], json!(chosen));
    }
}

#[tokio::test]
async fn all_tasks_are_those_that_take_such_inputs() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let names = |found: &Value| {
        let answers = found["results"][0]["answers"].as_array().unwrap();
        answers.iter().map(|a| a["task"].as_str().unwrap().to_string()).collect::<Vec<_>>()
    };
    let found = post(&state, "/v1/predict", json!({"inputs": TEXT, "tasks": "all"})).await.ok();
    assert_eq!(names(&found), ["grade", "tags", "topics"]);
    let pairs = json!({"inputs": [[TEXT, "no rain"]], "tasks": "all", "top_k": 1});
    let found = post(&state, "/v1/predict", pairs).await.ok();
    assert_eq!(names(&found), ["same"]);
    assert_eq!(found["results"][0]["answers"][0]["scores"].as_array().unwrap().len(), 1);
    // Two texts are a pair for a task on pairs, and else two inputs.
    let same = json!({"inputs": [TEXT, "no rain"], "tasks": ["same"]});
    let found = post(&state, "/v1/predict", same).await.ok();
    assert_eq!(found["results"].as_array().unwrap().len(), 1);
    let expected = place.alone("same", TEXT, Some("no rain"));
    let expected = probabilities(Problem::SingleLabel, &expected, 2);
    assert_near(&by_label(&found["results"][0]["answers"][0]["scores"]), &expected);
    let two = json!({"inputs": [TEXT, "no rain"], "tasks": "all"});
    let found = post(&state, "/v1/predict", two).await.ok();
    assert_eq!(found["results"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn long_texts_are_cut_and_said_so_or_refused() {
    let place = Place::new();
    place.add("short", Like { max_length: 6, ..Like::version(5) });
    let state = place.open(Limits::default());
    let text = "warm rain today one sun";
    let ask = |truncate: Option<bool>| {
        let mut body = json!({"inputs": text, "tasks": ["topics", "short"]});
        if let Some(truncate) = truncate {
            body["truncate"] = truncate.into();
        }
        post(&state, "/v1/predict", body)
    };
    let found = ask(None).await.ok();
    let said = |i: usize| {
        let answer = &found["results"][0]["answers"][i];
        (answer["tokens"].as_u64().unwrap(), answer["text_cut"].as_bool().unwrap())
    };
    assert_eq!((said(0), said(1)), ((7, false), (6, true)));
    let expected = place.alone("short", text, None);
    let expected = probabilities(Problem::SingleLabel, &expected, 3);
    assert_near(&by_label(&found["results"][0]["answers"][1]["scores"]), &expected);
    let refused = ask(Some(false)).await;
    refused.refused(422, "text_too_long", "more than the 6 tokens that the task \"short\" reads");
    drop(state);
    let strict = place.open(Limits { truncate: false, ..Limits::default() });
    let body = json!({"inputs": text, "tasks": ["short"]});
    post(&strict, "/v1/predict", body).await.refused(422, "text_too_long", "inputs[0]");
}

#[tokio::test]
async fn predict_answers_as_text_embeddings_inference() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let logits = place.alone("topics", TEXT, None);
    let one = post(&state, "/predict?task=topics", json!({"inputs": TEXT})).await.ok();
    assert_near(&by_label(&one), &probabilities(Problem::SingleLabel, &logits, 3));
    let raw = json!({"inputs": [TEXT], "raw_scores": true, "truncation_direction": "Right"});
    assert_near(&by_label(&post(&state, "/predict?task=topics", raw).await.ok()), &logits);
    let many = json!({"inputs": [[TEXT], ["salt"]]});
    let many = post(&state, "/predict?task=topics", many).await.ok();
    assert_eq!(many.as_array().unwrap().len(), 2);
    // Not to the bit: another text shares the batch.
    assert_near(&by_label(&many[0]), &by_label(&one));

    let body = json!({"inputs": [TEXT, "no rain"], "raw_scores": true}).to_string();
    let mut pair = request(Method::POST, "/predict", Body::from(body));
    pair.headers_mut().insert("x-linocut-task", "same".parse().unwrap());
    let found = call(&state, pair).await.ok();
    assert_near(&by_label(&found), &place.alone("same", TEXT, Some("no rain")));

    let value = json!({"inputs": TEXT});
    let found = post(&state, "/predict?task=grade", value.clone()).await.ok();
    assert_eq!(found[0]["label"], "LABEL_0");
    post(&state, "/predict", value).await.refused(422, "validation", "which of 4 tasks is asked?");
    // The only task needs no name.
    let place = Place::empty();
    place.add("only", Like::version(7));
    let state = place.open(Limits::default());
    let found = post(&state, "/predict", json!({"inputs": TEXT, "raw_scores": true})).await.ok();
    assert_near(&by_label(&found), &place.alone("only", TEXT, None));
}

#[tokio::test]
async fn tasks_and_base_are_described() {
    let place = Place::new();
    let state = place.open(Limits::default());
    let found = get(&state, "/v1/tasks").await.ok();
    let tasks = found["tasks"].as_array().unwrap();
    let names: Vec<&str> = tasks.iter().map(|t| t["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["grade", "same", "tags", "topics"]);
    let topics = &tasks[3];
    assert_eq!(topics["problem"], "single-label");
    assert_eq!(topics["labels"], json!(["label 0", "label 1", "label 2"]));
    assert_eq!(topics["edited_layers"], json!([1, 2]));
    assert_eq!(topics["metrics"], json!({"accuracy": 0.75}));
    let file = std::fs::metadata(place.cuts().join("topics.cut")).unwrap().len();
    assert_eq!(topics["file_bytes"], file);
    assert_eq!(topics["memory_bytes"], state.bank.task("topics").unwrap().bytes());
    assert_eq!(topics["zeros"], state.bank.task("topics").unwrap().zeros());
    let detail = get(&state, "/v1/tasks/topics").await.ok();
    assert_eq!((&detail["name"], &detail["card"]["outputs"]), (&json!("topics"), &json!(3)));

    let health = get(&state, "/health").await.ok();
    assert_eq!(health, json!({"status": "ready", "tasks": 4, "waiting": 0}));
    assert!(get(&state, "/health/live").await.status.is_success());
    let info = get(&state, "/info").await.ok();
    assert_eq!((&info["base"]["layers"], &info["tasks"]), (&json!(3), &json!(4)));
    assert_eq!(info["base"]["fingerprint"], place.base().fingerprint.to_string());
    assert_eq!(info["dtype"], "f32");
    assert_eq!(info["limits"]["timeout_seconds"], 30.0);
}

/// A task that is not sure enough says so beside its scores.
#[tokio::test]
async fn a_task_may_abstain() {
    let place = Place::new();
    let path = place.cuts().join("topics.cut");
    let cut = Cut::read(&path).unwrap();
    let sharp = Decision { temperature: 0.5, thresholds: vec![1.0], fitted: json!("here") };
    cut.with_decision(Some(sharp)).unwrap().write(&path, true).unwrap();
    let state = place.open(Limits::default());
    let found =
        post(&state, "/v1/predict", json!({"inputs": TEXT, "tasks": ["topics"]})).await.ok();
    let answer = &found["results"][0]["answers"][0];
    assert_eq!((&answer["label"], &answer["abstained"]), (&Value::Null, &json!(true)));
    assert_eq!(answer["score"], answer["scores"][0]["score"]);
    let doubled: Vec<f32> = place.alone("topics", TEXT, None).iter().map(|z| 2.0 * z).collect();
    let expected = probabilities(Problem::SingleLabel, &doubled, 3);
    assert_near(&by_label(&answer["scores"]), &expected);
    let other = post(&state, "/v1/predict", json!({"inputs": TEXT, "tasks": ["tags"]})).await.ok();
    assert!(other["results"][0]["answers"][0].get("abstained").is_none());
    // A request's threshold takes the place of the task's own, and of a half.
    let with = |threshold: Value| json!({"inputs": TEXT, "tasks": ["topics", "tags", "grade"], "threshold": threshold});
    let found = post(&state, "/v1/predict", with(json!(0))).await.ok();
    let answers = &found["results"][0]["answers"];
    assert_eq!(answers[0]["label"], answers[0]["scores"][0]["label"]);
    assert_eq!(answers[1]["labels"].as_array().unwrap().len(), 4);
    assert!(answers[2]["value"].is_number());
    for bad in [json!(-0.1), json!(95), json!("much")] {
        assert_eq!(post(&state, "/v1/predict", with(bad)).await.status, 422);
    }
}
