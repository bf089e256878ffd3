//! The addresses, and what every request passes through.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};

use crate::error::{Kind, Problem};
use crate::state::State;
use crate::{keys, metrics, openapi, page, predict, status, tasks, tei};

/// The server as a service, to be run by [`serve`](crate::serve) or called without a port.
pub fn app(state: Arc<State>) -> Router {
    let upload = put(tasks::put).layer(DefaultBodyLimit::max(state.limits.upload_bytes));
    Router::new()
        .route("/v1/predict", post(predict::predict))
        .route("/predict", post(tei::predict))
        .route("/v1/tasks", get(tasks::list))
        .route("/v1/tasks/{name}", get(tasks::get).delete(tasks::delete).merge(upload))
        .route("/info", get(status::info))
        .layer(from_fn_with_state(Arc::clone(&state), in_time))
        .route("/metrics", get(metrics::metrics))
        .layer(from_fn_with_state(Arc::clone(&state), keys::authenticate))
        .route("/", get(page::page))
        .route("/openapi.json", get(openapi::openapi))
        .route("/health", get(status::health))
        .route("/health/live", get(status::live))
        .route("/health/ready", get(status::ready))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn_with_state(Arc::clone(&state), metrics::observe))
        .layer(DefaultBodyLimit::max(state.limits.body_bytes))
        .with_state(state)
}

/// Takes no request while stopping, and gives up on one without an answer in time: what it asked
/// for is then not computed.
async fn in_time(Shared(state): Shared<Arc<State>>, request: Request, next: Next) -> Response {
    if state.stopping.load(Relaxed) {
        return Problem::new(Kind::ShuttingDown, "the server is stopping").into_response();
    }
    let limit = state.limits.timeout;
    tokio::time::timeout(limit, next.run(request)).await.unwrap_or_else(|_| {
        let message = format!("no answer within {} s", limit.as_secs_f64());
        let hint = "try again later, with fewer inputs or tasks a request";
        Problem::new(Kind::Timeout, message).with_hint(hint).into_response()
    })
}

async fn not_found(uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    Problem::new(Kind::NotFound, format!("there is nothing at {path:?}"))
        .with_hint("GET /openapi.json says what there is")
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let path: String = uri.path().chars().take(100).collect();
    let message = format!("{path:?} does not take {method}");
    Problem::new(Kind::MethodNotAllowed, message).with_hint("the header `allow` lists what it does")
}
