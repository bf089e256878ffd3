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
    served.stop.send(()).unwrap();
    served.server.await.unwrap().unwrap();
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
async fn a_head_that_never_ends_and_an_idle_connection_are_closed() {
    let idle = Duration::from_millis(50);
    let state = Place::new().open(Limits { idle, connections: 1, ..Limits::default() });
    let served = start(&state).await;
    let slow = send(served.address, "POST /v1/predict HTTP/1.1\r\nhost: loc");
    assert_eq!(read(slow).await, "");
    let silent = send(served.address, "");
    assert_eq!(read(silent).await, "");
    // There is one place, and it is free again.
    let answer = read(send(served.address, &predict("rain"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
}

#[tokio::test]
async fn connections_past_the_most_wait_their_turn() {
    let state = Place::new().open(Limits { connections: 1, ..Limits::default() });
    let served = start(&state).await;
    let first = send(served.address, "");
    let second = send(served.address, &predict("rain"));
    let mut waits = second.try_clone().unwrap();
    waits.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let nothing = tokio::task::spawn_blocking(move || waits.read(&mut [0; 1])).await.unwrap();
    assert!(nothing.is_err(), "{nothing:?}");
    drop(first);
    second.set_read_timeout(None).unwrap();
    assert!(read(second).await.starts_with("HTTP/1.1 200 OK\r\n"));
}
