//! Answering on a listener.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_io_timeout::TimeoutStream;

use crate::app::app;
use crate::state::State;

/// Time beyond a request's limit that its answer may take to be sent while stopping.
const SENDING: Duration = Duration::from_secs(2);
/// Pause after the system could not give a connection: too many files are open, mostly.
const PAUSE: Duration = Duration::from_millis(100);

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
    let limits = serde_json::to_string(&state.limits)?;
    tracing::info!(limits, task_memory = state.bank.task_memory(), "limits");
    let router = app(Arc::clone(&state));
    let places = Arc::new(Semaphore::new(state.limits.connections));
    let connections = GracefulShutdown::new();
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(state.limits.idle);
    let mut stop = pin!(stop);
    loop {
        // Past the most, connections wait in the system's queue.
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            listener.accept().await.map(|(connection, _)| (place, connection))
        };
        let (place, connection) = tokio::select! {
            accepted = accepted => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            () = &mut stop => break,
        };
        // Answers are small and whole: none gains by waiting for more bytes.
        let _ = connection.set_nodelay(true);
        let mut connection = TimeoutStream::new(connection);
        // The client that does not read its answer must not hold its place.
        connection.set_write_timeout(Some(state.limits.idle));
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(Box::pin(connection)), service);
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            // A client's end of a connection, or its time that ran out, is nobody's error.
            let _ = connection.await;
            drop(place);
        });
    }
    state.stopping.store(true, Relaxed);
    drop(listener);
    tokio::select! {
        () = connections.shutdown() => {}
        () = tokio::time::sleep(state.limits.timeout + SENDING) => {
            tracing::warn!("connections were still open when time was up");
        }
    }
    Ok(())
}
