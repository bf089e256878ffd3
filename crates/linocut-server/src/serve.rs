//! Answering on a listener.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use axum::serve::ListenerExt;
use tokio::net::TcpListener;
use tokio::sync::oneshot;

use crate::app::app;
use crate::state::State;

/// Time beyond a request's limit that its answer may take to be sent while stopping.
const SENDING: Duration = Duration::from_secs(2);

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
    let most = state.limits.timeout + SENDING;
    let router = app(Arc::clone(&state));
    let (told, stopping) = oneshot::channel();
    let stop = async move {
        stop.await;
        state.stopping.store(true, Relaxed);
        let _ = told.send(());
    };
    let listener = listener.tap_io(|connection| {
        // Answers are small and whole: none gains by waiting for more bytes.
        let _ = connection.set_nodelay(true);
    });
    let server = axum::serve(listener, router).with_graceful_shutdown(stop);
    let too_late = async {
        match stopping.await {
            Ok(()) => tokio::time::sleep(most).await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        result = async { server.await } => result,
        () = too_late => {
            tracing::warn!("connections were still open when time was up");
            Ok(())
        }
    }
}
