//! Answering on a listener.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::{Extension, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio_io_timeout::TimeoutStream;

use crate::app::app;
use crate::connections::{Connections, Seat, Watched};
use crate::error::bounded;
use crate::linger::Lingering;
use crate::origin::Listening;
use crate::state::State;
use crate::traces::Traces;

/// Time between two looks at a store, where nothing else is said.
const POLL: Duration = Duration::from_secs(1);
/// Time beyond a request's limit that its answer may take to be sent while stopping.
const SENDING: Duration = Duration::from_secs(2);
/// Pause after the system could not give a connection: too many files are open, mostly.
const PAUSE: Duration = Duration::from_millis(100);
/// Most bytes of a request's head, and of what is read at one time: a connection holds no more.
const HEAD_BYTES: usize = 65_536;
/// Such pauses after which connections that wait for their clients give way.
const PAUSES: usize = 10;

/// Answers requests on `listener` until `stop` ends; then takes no more, and ends when those under
/// way are answered, or have run out of time.
///
/// # Errors
/// If the listener fails.
pub async fn serve(
    listener: TcpListener,
    state: Arc<State>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> io::Result<()> {
    said(&state);
    let polling = tokio::spawn(poll(Arc::clone(&state)));
    let router = app(Arc::clone(&state)).layer(Extension(Listening(listener.local_addr()?)));
    let places = Arc::new(Connections::new(&state.limits));
    let connections = GracefulShutdown::new();
    let idle = state.limits.idle;
    {
        let mut stop = pin!(stop);
        let mut late = tokio::time::interval(places.interval());
        let mut taking = pin!(take(&listener, &places));
        loop {
            tokio::select! {
                (connection, seat) = &mut taking => {
                    taking.set(take(&listener, &places));
                    answer(connection, seat, idle, &router, &places, &connections);
                }
                _ = late.tick() => places.close_late(),
                () = &mut stop => break,
            }
        }
    }
    state.stopping.store(true, Relaxed);
    polling.abort();
    drop(listener);
    places.close_heads();
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(state.limits.timeout + SENDING) => {
            tracing::warn!("connections were still open when time was up");
        }
    }
    if state.traces.is_some() {
        let _ =
            tokio::task::spawn_blocking(move || state.traces.as_ref().map(Traces::finish)).await;
    }
    Ok(())
}

/// Looks again and again at what has changed in a store.
async fn poll(state: Arc<State>) {
    if state.source.fleet().is_err() {
        return;
    }
    let pause = if state.poll.is_zero() { POLL } else { state.poll };
    let mut failing = false;
    loop {
        tokio::time::sleep(pause).await;
        let shared = Arc::clone(&state);
        let read = tokio::task::spawn_blocking(move || shared.refresh()).await;
        match read {
            Ok(Ok(())) if failing => {
                tracing::info!("the store can be read again");
                failing = false;
            }
            Ok(Err(error)) if !failing => {
                tracing::error!(%error, "the store cannot be read; tasks stay as they are known");
                failing = true;
            }
            _ => {}
        }
    }
}

/// Has the log say what is not served, and what everything has for a bound.
fn said(state: &State) {
    for (task, error) in state.source.failed() {
        let error = bounded(&error);
        tracing::warn!(task, error, "a task is not served");
    }
    if let Ok(fleet) = state.source.fleet() {
        tracing::info!(store = fleet.at(), "tasks are loaded on their first use");
    }
    let limits = serde_json::to_string(&state.limits).unwrap_or_default();
    let (bodies, uploads) = (state.bodies.most(), state.upload_bodies.most());
    let task_memory = state.bank.task_memory();
    tracing::info!(%limits, bodies, uploads, task_memory, "limits; of bodies and uploads under way and of tasks, in bytes");
}

/// The next connection, once there is a place for it.
async fn take(listener: &TcpListener, places: &Connections) -> (TcpStream, Arc<Seat>) {
    let mut failed = 0;
    let (connection, peer): (TcpStream, SocketAddr) = loop {
        match listener.accept().await {
            Ok(accepted) => break accepted,
            Err(error) => {
                failed += 1;
                if failed == 1 {
                    tracing::warn!(%error, "a connection could not be taken");
                }
                if failed > PAUSES {
                    places.make_room();
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    };
    loop {
        match places.enter(peer.ip()) {
            Some(seat) => return (connection, seat),
            // One that becomes idle frees nothing: look again.
            None => drop(tokio::time::timeout(PAUSE, places.freed.notified()).await),
        }
    }
}

/// Answers requests of one connection, in a task of its own.
fn answer(
    connection: TcpStream,
    seat: Arc<Seat>,
    idle: Duration,
    router: &Router,
    places: &Arc<Connections>,
    connections: &GracefulShutdown,
) {
    // Answers are small and whole: none gains by waiting for more bytes.
    let _ = connection.set_nodelay(true);
    let mut stream = TimeoutStream::new(connection);
    // The client that does not read its answer must not hold its place.
    stream.set_write_timeout(Some(idle));
    let stream = Watched { stream: Box::pin(stream), seat: Arc::clone(&seat) };
    let service = TowerToHyperService::new(router.clone());
    let of_request = Arc::clone(&seat);
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let under_way = of_request.request();
        let mut request = Lingering::of(request);
        request.extensions_mut().insert(Arc::clone(&of_request));
        let answer = service.call(request);
        async move {
            let answer = answer.await;
            drop(under_way);
            answer
        }
    });
    let mut http = http1::Builder::new();
    http.max_buf_size(HEAD_BYTES);
    let connection = http.serve_connection(TokioIo::new(stream), service);
    let connection = connections.watch(connection);
    let places = Arc::clone(places);
    tokio::spawn(async move {
        // A client's end of a connection, or its time that ran out, is nobody's error.
        tokio::select! {
            _ = connection => {}
            () = seat.closed() => {}
        }
        places.leave(&seat);
    });
}
