//! The addresses, and what every request passes through.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::Router;
use axum::extract::{Request, State as Shared};
use axum::http::{Method, Uri};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};

use crate::error::{Kind, Problem};
use crate::state::State;
use crate::{explain, keys, metrics, openapi, origin, page, predict, status, tasks, tei};

/// The server as a service, to be run by [`serve`](crate::serve) or called without a port.
pub fn app(state: Arc<State>) -> Router {
    Router::new()
        .route("/v1/predict", post(predict::predict))
        .route("/v1/explain", post(explain::explain))
        .route("/predict", post(tei::predict))
        .route("/", post(tei::predict)) // where text-embeddings-inference has its answers, too
        .route("/v1/tasks", get(tasks::list))
        .route("/v1/tasks/{name}", get(tasks::get).put(tasks::put).delete(tasks::delete))
        .route("/v1/tasks/{name}/cut", get(tasks::cut))
        .route("/v1/tasks/{name}/versions", get(tasks::versions))
        .route("/v1/tasks/{name}/rollback", post(tasks::roll_back))
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
        .layer(from_fn_with_state(Arc::clone(&state), origin::check))
        .layer(from_fn_with_state(Arc::clone(&state), metrics::observe))
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
        let hint = "try again later, with fewer inputs or tasks a request, or shorter texts";
        Problem::new(Kind::Timeout, message).with_hint(hint).into_response()
    })
}

async fn not_found(uri: Uri) -> Problem {
    let hint = match uri.path() {
        "/embed"
        | "/embed_all"
        | "/embed_sparse"
        | "/embeddings"
        | "/v1/embeddings"
        | "/similarity"
        | "/rerank"
        | "/v1/rerank"
        | "/tokenize"
        | "/decode"
        | "/vertex"
        | "/invocations"
        | "/v1/completions"
        | "/v1/chat/completions" => {
            "tasks here classify texts or give them a number: POST /predict?task=NAME answers as \
             text-embeddings-inference does, POST /v1/predict asks several tasks"
        }
        "/v1/models" | "/models" | "/tasks" => "GET /v1/tasks lists the tasks",
        "/docs" | "/swagger" | "/redoc" | "/api-doc/openapi.json" => {
            "GET /openapi.json says what there is"
        }
        "/ping" | "/healthz" | "/livez" | "/readyz" | "/ready" | "/live" | "/v1/health" => {
            "GET /health says whether it takes requests, GET /health/live whether it lives"
        }
        _ => "GET /openapi.json says what there is",
    };
    let message = format!("there is nothing at {:?}", uri.path());
    Problem::new(Kind::NotFound, message).with_hint(hint)
}

async fn method_not_allowed(method: Method, uri: Uri) -> Problem {
    let message = format!("{:?} does not take {method}", uri.path());
    Problem::new(Kind::MethodNotAllowed, message).with_hint("the header `allow` lists what it does")
}
