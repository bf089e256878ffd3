//! Traces, as a collector of OpenTelemetry gets them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use axum::body::Body;
use axum::http::{Method, StatusCode};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Field;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::json;

use super::place::{Place, call, get, post, request};
use crate::{Settings, State, Traces};

/// A collector on a free port: its address, and what it gets.
fn collector() -> (String, Receiver<ExportTraceServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}/", listener.local_addr().unwrap());
    let (send, got) = channel();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut reader = BufReader::new(stream.unwrap());
            let (mut line, mut length) = (String::new(), 0);
            reader.read_line(&mut line).unwrap();
            assert!(line.starts_with("POST /v1/traces "), "{line}");
            while line != "\r\n" {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().unwrap();
                }
                line.clear();
                reader.read_line(&mut line).unwrap();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            let answer = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
            reader.get_mut().write_all(answer).unwrap();
            if send.send(ExportTraceServiceRequest::decode(&body[..]).unwrap()).is_err() {
                return;
            }
        }
    });
    (address, got)
}

/// All spans of a server that is now at its end, and the name of its service.
async fn spans(
    state: Arc<State>,
    got: &Receiver<ExportTraceServiceRequest>,
) -> (String, Vec<Span>) {
    let finish = move || state.traces.as_ref().unwrap().finish();
    tokio::task::spawn_blocking(finish).await.unwrap();
    let (mut service, mut spans) = (String::new(), vec![]);
    for resource in got.try_iter().flat_map(|request| request.resource_spans) {
        let attributes = resource.resource.unwrap().attributes;
        let named = attributes.into_iter().find(|field| field.key == "service.name");
        service = text(named.and_then(|field| field.value?.value));
        spans.extend(resource.scope_spans.into_iter().flat_map(|scope| scope.spans));
    }
    (service, spans)
}

fn text(value: Option<Field>) -> String {
    match value {
        Some(Field::StringValue(text)) => text,
        Some(Field::IntValue(number)) => number.to_string(),
        other => panic!("{other:?}"),
    }
}

fn attribute(span: &Span, name: &str) -> String {
    let found = span.attributes.iter().find(|field| field.key == name).unwrap();
    text(found.value.clone().and_then(|value| value.value))
}

#[tokio::test]
async fn a_request_is_a_trace_and_part_of_its_clients() {
    let (address, got) = collector();
    let traces = Some(Traces::to(&address).unwrap());
    let state = Place::new().open_with(Settings { traces, ..Settings::default() });
    let body = json!({"inputs": "rain", "tasks": ["topics"]}).to_string();
    let mut asked = request(Method::POST, "/v1/predict", Body::from(body));
    let client = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    let header = format!("00-{}-{}-01", client.0, client.1);
    asked.headers_mut().insert("traceparent", header.parse().unwrap());
    asked.headers_mut().insert("content-type", "application/json".parse().unwrap());
    asked.headers_mut().insert("x-request-id", "mine".parse().unwrap());
    call(&state, asked).await.ok();
    let refused = post(&state, "/predict?task=nix", json!({"inputs": "rain"})).await;
    assert_eq!(refused.status, StatusCode::NOT_FOUND);
    get(&state, "/health").await.ok();
    get(&state, "/metrics").await;

    let (service, spans) = spans(state, &got).await;
    assert_eq!(service, "linocut");
    let named = |name: &str| spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(spans.len(), 4, "{spans:#?}");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let root = named("POST /v1/predict");
    assert_eq!((&*hex(&root.trace_id), &*hex(&root.parent_span_id)), client);
    assert_eq!(attribute(root, "http.response.status_code"), "200");
    assert_eq!(attribute(root, "linocut.request_id"), "mine");
    // Waiting and computing stand in the request, one after the other.
    let (queue, compute) = (named("queue"), named("compute"));
    for part in [queue, compute] {
        assert_eq!((&part.trace_id, &part.parent_span_id), (&root.trace_id, &root.span_id));
    }
    let times = [
        root.start_time_unix_nano,
        queue.start_time_unix_nano,
        queue.end_time_unix_nano,
        compute.end_time_unix_nano,
        root.end_time_unix_nano,
    ];
    assert!(times.is_sorted() && compute.start_time_unix_nano == times[2], "{times:?}");

    let refused = named("POST /predict");
    assert!(refused.parent_span_id.is_empty() && refused.trace_id != root.trace_id);
    assert_eq!(attribute(refused, "error.type"), "unknown_task");
    assert_eq!(attribute(refused, "http.response.status_code"), "404");
}

#[test]
fn a_collector_has_an_address() {
    for wrong in ["", "localhost:4318", "ftp://localhost", "http://", "http://a b"] {
        let error = Traces::to(wrong).err().unwrap_or_else(|| panic!("{wrong}"));
        assert!(error.message().starts_with("the collector of traces "), "{error}");
    }
}
