//! `/health` and `/info`.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::State as Shared;
use axum::http::StatusCode;
use axum::{Extension, Json};
use serde::Serialize;
use utoipa::ToSchema;

use crate::error::Problem;
use crate::input::seen;
use crate::keys::{Access, Right};
use crate::state::{Limits, State};

/// Whether the server takes requests.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Health {
    /// "ready", "overloaded", "stopping", or "failed" where the compute thread has ended.
    #[schema(value_type = String)]
    status: &'static str,
    /// Tasks that can be asked; not said where there are keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    tasks: Option<usize>,
    /// Requests that wait or are computed; not said where there are keys.
    #[serde(skip_serializing_if = "Option::is_none")]
    waiting: Option<usize>,
}

/// What the server runs on.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Info {
    /// Version of linocut.
    #[schema(value_type = String)]
    version: &'static str,
    /// The base that all tasks share.
    base: BaseInfo,
    /// What products are computed in: "f32" or "int8".
    #[schema(value_type = String)]
    dtype: &'static str,
    /// Number of tasks that the key sees.
    tasks: usize,
    /// Bytes of memory of all tasks beside the base; said to keys of all tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    task_bytes: Option<usize>,
    /// Most that may be.
    task_memory: usize,
    /// Bytes of memory of matrices of tasks' own that are kept ready; said to keys of all tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    materialised_bytes: Option<usize>,
    /// Most that a request, and all together, may ask for.
    limits: Limits,
}

/// A base.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BaseInfo {
    /// Its name.
    name: String,
    /// The fingerprint that its cuts carry.
    fingerprint: String,
    /// The fingerprint of its tokenizer.
    tokenizer: String,
    /// Number of layers.
    layers: usize,
    /// Width of hidden states.
    hidden: usize,
    /// Most tokens of a text.
    max_tokens: usize,
}

/// Healthy: 200 where requests are taken, 503 while stopping or where nothing can be computed.
#[utoipa::path(
    get,
    path = "/health",
    tag = "server",
    security(()),
    responses(
        (status = 200, description = "It takes requests", body = Health),
        (status = 503, description = "It does not", body = Health)
    )
)]
pub(crate) async fn health(Shared(state): Shared<Arc<State>>) -> (StatusCode, Json<Health>) {
    let (code, status) = match (state.queue.is_served(), state.stopping.load(Relaxed)) {
        (false, _) => (StatusCode::SERVICE_UNAVAILABLE, "failed"),
        (true, true) => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        (true, false) => (StatusCode::OK, "ready"),
    };
    // Whoever asks has shown no key.
    let open = state.keys.is_none();
    let (tasks, waiting) = (open.then(|| state.tasks()), open.then(|| state.queue.len()));
    (code, Json(Health { status, tasks, waiting }))
}

/// Ready: as `/health`, and 503 while overloaded: as many requests wait as may, or what waits takes
/// more than half of the time that a request may take. Small requests are still answered soon.
#[utoipa::path(
    get,
    path = "/health/ready",
    tag = "server",
    security(()),
    responses(
        (status = 200, description = "It should be sent requests", body = Health),
        (status = 503, description = "It should not", body = Health)
    )
)]
pub(crate) async fn ready(shared: Shared<Arc<State>>) -> (StatusCode, Json<Health>) {
    let overloaded = shared.queue.is_overloaded();
    match health(shared).await {
        (StatusCode::OK, Json(health)) if overloaded => {
            let status = "overloaded";
            (StatusCode::SERVICE_UNAVAILABLE, Json(Health { status, ..health }))
        }
        other => other,
    }
}

/// Live: answers as long as the process does.
#[utoipa::path(
    get,
    path = "/health/live",
    tag = "server",
    security(()),
    responses((status = 200, description = "The process lives"))
)]
pub(crate) async fn live() -> StatusCode {
    StatusCode::OK
}

/// What the server runs on.
#[utoipa::path(
    get,
    path = "/info",
    tag = "server",
    responses((status = 200, description = "The base and the limits", body = Info), Problem)
)]
pub(crate) async fn info(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Json<Info>, Problem> {
    access.check_right(Right::Read)?;
    let base = state.bank.base();
    let (task_bytes, materialised_bytes) = access.sees_all().then(|| state.bank.bytes()).unzip();
    Ok(Json(Info {
        version: env!("CARGO_PKG_VERSION"),
        base: BaseInfo {
            name: base.name.clone(),
            fingerprint: base.fingerprint.to_string(),
            tokenizer: base.tokenizer.fingerprint().to_string(),
            layers: base.config().layers,
            hidden: base.config().hidden,
            max_tokens: base.config().positions,
        },
        dtype: state.bank.dtype().name(),
        tasks: seen(&state, &access).len(),
        task_bytes,
        task_memory: state.bank.task_memory(),
        materialised_bytes,
        limits: state.limits,
    }))
}
