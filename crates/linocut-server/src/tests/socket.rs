//! The server on a real port.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::place::Place;
use crate::{Limits, State, serve};

/// A server on a free port of the loopback address.
struct Served {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    server: JoinHandle<std::io::Result<()>>,
}

async fn start(state: &Arc<State>) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let server = tokio::spawn(serve(listener, Arc::clone(state), async {
        let _ = stopped.await;
    }));
    Served { address, stop, server }
}

/// A prediction as bytes on the wire.
fn predict(text: &str) -> String {
    let body = format!(r#"{{"inputs": "{text}", "tasks": ["topics"]}}"#);
    format!(
        "POST /v1/predict HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
         content-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )
}

fn send(address: SocketAddr, bytes: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(bytes.as_bytes()).unwrap();
    stream
}

async fn read(mut stream: TcpStream) -> String {
    let read = move || {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    tokio::task::spawn_blocking(read).await.unwrap()
}

async fn waiting(state: &State, requests: usize) {
    while state.queue.len() != requests {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn answers_and_stops() {
    let state = Place::new().open(Limits::default());
    let served = start(&state).await;
    let answer = read(send(served.address, &predict("rain"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("\"task\":\"topics\""), "{answer}");
    // Neither holds it up: what has sent nothing, or a part of a head.
    let _silent = send(served.address, "");
    let _part = send(served.address, "POST /v1/predict HTTP/1.1\r\nhost: loc");
    tokio::time::sleep(Duration::from_millis(20)).await;
    served.stop.send(()).unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(10), served.server).await;
    ended.expect("in time").unwrap().unwrap();
    assert!(TcpStream::connect(served.address).is_err());
}

#[tokio::test]
async fn requests_under_way_are_answered_before_it_stops() {
    let (state, mut worker) = Place::new().idle(Limits::default());
    let served = start(&state).await;
    let stream = send(served.address, &predict("rain"));
    waiting(&state, 1).await;
    served.stop.send(()).unwrap();
    tokio::time::sleep(Duration::from_millis(20)).await;
    assert!(!served.server.is_finished());
    tokio::task::spawn_blocking(move || worker.step()).await.unwrap();
    let answer = read(stream).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    served.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_connection_closed_early_frees_its_place() {
    let (state, worker) = Place::new().idle(Limits::default());
    let served = start(&state).await;
    let gone = send(served.address, &predict("rain"));
    waiting(&state, 1).await;
    drop(gone);
    waiting(&state, 0).await;
    let stream = send(served.address, &predict("sun"));
    let mut worker = worker;
    let worker = tokio::task::spawn_blocking(move || {
        worker.step();
        worker
    });
    assert_eq!(worker.await.unwrap().computed(), 3);
    assert!(read(stream).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up_on() {
    let timeout = Duration::from_millis(50);
    let state = Place::new().open(Limits { timeout, ..Limits::default() });
    let served = start(&state).await;
    let request = predict("rain");
    let stream = send(served.address, &request[..request.len() - 5]);
    let answer = read(stream).await;
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert!(answer.contains("\"error_type\":\"timeout\""), "{answer}");
    assert_eq!(state.queue.len(), 0);
}

#[tokio::test]
async fn heads_that_never_end_and_idle_connections_are_closed() {
    let idle = Duration::from_millis(50);
    let state = Place::new().open(Limits { idle, head: idle, ..Limits::default() });
    let served = start(&state).await;
    let slow = send(served.address, "POST /v1/predict HTTP/1.1\r\nhost: loc");
    assert_eq!(read(slow).await, "");
    let silent = send(served.address, "");
    assert_eq!(read(silent).await, "");
    let kept = send(served.address, "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
    assert!(read(kept).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_head_may_take_less_time_than_a_pause_between_requests() {
    let (idle, head) = (Duration::from_secs(60), Duration::from_millis(50));
    let state = Place::new().open(Limits { idle, head, ..Limits::default() });
    let served = start(&state).await;
    let mut kept = send(served.address, "GET /health/live HTTP/1.1\r\nhost: localhost\r\n\r\n");
    tokio::time::sleep(Duration::from_millis(300)).await;
    kept.write_all(predict("rain").as_bytes()).unwrap();
    assert_eq!(read(kept).await.matches("HTTP/1.1 200 OK\r\n").count(), 2);
}

#[tokio::test]
async fn connections_that_send_nothing_give_way_to_others() {
    let state = Place::new().open(Limits { connections: 3, ..Limits::default() });
    let served = start(&state).await;
    // Nothing, a part of a head, and a part of a body.
    let request = predict("rain");
    let body = send(served.address, &request[..request.len() - 5]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let silent = send(served.address, "");
    tokio::time::sleep(Duration::from_millis(20)).await;
    let _head = send(served.address, &request[..30]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for _ in 0..5 {
        let answer = read(send(served.address, &request)).await;
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    }
    assert_eq!(read(silent).await, "");
    let mut body = body;
    body.write_all(&request.as_bytes()[request.len() - 5..]).unwrap();
    assert!(read(body).await.starts_with("HTTP/1.1 200 OK\r\n"));
}

#[tokio::test]
async fn a_refused_upload_gets_its_answer() {
    let state = Place::empty().open(Limits { upload_bytes: 1000, ..Limits::default() });
    let served = start(&state).await;
    let address = served.address;
    let upload = move |host: &'static str, length: usize| {
        let mut stream = send(
            address,
            &format!(
                "PUT /v1/tasks/a HTTP/1.1\r\nhost: {host}\r\ncontent-length: {length}\r\n\r\n"
            ),
        );
        stream.write_all(&vec![b'x'; length]).unwrap();
        // The connection goes on.
        stream
            .write_all(b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
            .unwrap();
        let mut answers = String::new();
        stream.read_to_string(&mut answers).unwrap();
        answers
    };
    for (host, length, status) in
        [("localhost", 20_000_000, "413 Payload"), ("evil.example", 20_000_000, "421 Misdirected")]
    {
        let answers = tokio::task::spawn_blocking(move || upload(host, length)).await.unwrap();
        assert!(answers.starts_with(&format!("HTTP/1.1 {status}")), "{answers}");
        assert!(answers.contains("\"status\":\"ready\""), "{answers}");
    }
}

#[tokio::test]
async fn slow_bodies_hold_up_no_other_upload() {
    let place = Place::empty();
    let state = place.open(Limits::default());
    let served = start(&state).await;
    let bytes = super::place::cut(&place.base(), super::place::Like::version(1)).to_bytes();
    let head = |name: &str| {
        let length = bytes.len();
        format!(
            "PUT /v1/tasks/{name} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    let _slow: Vec<TcpStream> = (0..20).map(|_| send(served.address, &head("slow"))).collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    let mut whole =
        send(served.address, &head("whole").replace("host:", "connection: close\r\nhost:"));
    whole.write_all(&bytes).unwrap();
    assert!(read(whole).await.starts_with("HTTP/1.1 201 Created\r\n"));
}

#[tokio::test]
async fn connections_at_work_are_waited_for() {
    let (state, mut worker) = Place::new().idle(Limits { connections: 1, ..Limits::default() });
    let served = start(&state).await;
    let first = send(served.address, &predict("rain"));
    waiting(&state, 1).await;
    let second = send(served.address, &predict("sun"));
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(state.queue.len(), 1);
    let worker = tokio::task::spawn_blocking(move || {
        worker.step();
        worker
    });
    assert!(read(first).await.starts_with("HTTP/1.1 200 OK\r\n"));
    let mut worker = worker.await.unwrap();
    waiting(&state, 1).await;
    tokio::task::spawn_blocking(move || worker.step()).await.unwrap();
    assert!(read(second).await.starts_with("HTTP/1.1 200 OK\r\n"));
}
