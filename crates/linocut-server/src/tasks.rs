//! `/v1/tasks`: which tasks there are, what each costs, and changing them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State as Shared};
use axum::http::{StatusCode, header};
use axum::response::Response;
use axum::{Extension, Json};
use linocut::ErrorKind;
use linocut::bank::Task;
use linocut::cut::{Card, EditKind, TensorNote};
use linocut::data::{Long, Metric, Problem as TaskKind};
use serde::Serialize;
use utoipa::ToSchema;

use crate::answer::described;
use crate::body::{Whole, media_type};
use crate::error::{Kind, Problem, bounded};
use crate::input::{known, seen};
use crate::keys::{Access, Right};
use crate::openapi;
use crate::state::State;
use crate::store::check_name;

/// The tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskList {
    /// By name.
    tasks: Vec<TaskInfo>,
    /// Files of the cuts folder that cannot be served.
    failed: Vec<FailedTask>,
}

/// A file of the cuts folder that cannot be served; asking for its task is an error.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct FailedTask {
    /// The name that its task would have.
    name: String,
    /// Why not.
    error: String,
}

/// A task and what it costs.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskInfo {
    /// The name it is asked for by.
    name: String,
    /// What is predicted.
    #[schema(value_type = String, example = "single-label")]
    problem: TaskKind,
    /// Its labels; none for a regression.
    labels: Vec<String>,
    /// Whether it takes pairs of texts.
    pairs: bool,
    /// Most tokens that it reads at one time.
    max_length: usize,
    /// Which part it reads of a longer text: "head", "tail", "head+tail" or "windows"; left out where the base's
    /// tokenizer says so, mostly the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    long: Option<Long>,
    /// The score that it is judged by.
    #[schema(schema_with = openapi::metric)]
    metric: Metric,
    /// Scores of its training, by metric.
    metrics: BTreeMap<String, f64>,
    /// Bytes of its cut on disk.
    file_bytes: u64,
    /// Bytes of memory that it takes beside the base.
    memory_bytes: usize,
    /// Entries of the base that it sets to zero.
    zeros: u64,
    /// Tensors of the base that it replaces.
    replaced_tensors: usize,
    /// Share of the base's numbers that it changes, 0 to 1: how far it is from the base.
    changed_share: f64,
    /// Layers of the base that it edits, from 0.
    edited_layers: Vec<usize>,
}

/// A task with all that its cut says of itself.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskDetail {
    #[serde(flatten)]
    info: TaskInfo,
    /// The card of its cut.
    #[schema(value_type = Object)]
    card: Card,
}

impl TaskInfo {
    fn of(state: &State, task: &Task) -> Self {
        let card = task.card();
        let layout = state.bank.base().encoder.layout();
        let layer = |name: &String| layout.tensors()[layout.index(name)?].layer();
        let notes = card.tensors.values();
        let changed: u64 = notes.clone().map(TensorNote::changed).sum();
        Self {
            name: task.name().to_string(),
            problem: card.problem,
            labels: card.labels.clone(),
            pairs: card.pairs,
            max_length: card.max_length,
            long: card.long,
            metric: card.metric.clone(),
            metrics: card.metrics.clone(),
            file_bytes: state.store.bytes(task.name()).unwrap_or(0),
            memory_bytes: task.bytes(),
            zeros: notes.clone().filter_map(|note| note.zeros).sum(),
            replaced_tensors: notes.filter(|note| note.edit == EditKind::Replace).count(),
            changed_share: changed as f64 / state.bank.base().weights.data().len() as f64,
            edited_layers: card
                .tensors
                .keys()
                .filter_map(layer)
                .collect::<BTreeSet<_>>()
                .into_iter()
                .collect(),
        }
    }
}

/// Lists the tasks.
#[utoipa::path(
    get,
    path = "/v1/tasks",
    operation_id = "list_tasks",
    tag = "tasks",
    responses((status = 200, description = "The tasks that the key sees", body = TaskList), Problem)
)]
pub(crate) async fn list(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Response, Problem> {
    access.check_right(Right::Read)?;
    let tasks = seen(&state.bank, &access);
    let failed = state.store.failed().into_iter().filter(|(name, _)| access.sees(name));
    let list = TaskList {
        tasks: tasks.iter().map(|task| TaskInfo::of(&state, task)).collect(),
        failed: failed.map(|(name, error)| FailedTask { name, error: bounded(&error) }).collect(),
    };
    described(&state, &list)
}

/// Describes one task.
#[utoipa::path(
    get,
    path = "/v1/tasks/{name}",
    operation_id = "get_task",
    tag = "tasks",
    params(("name" = String, Path, description = "The task's name")),
    responses((status = 200, description = "The task", body = TaskDetail), Problem)
)]
pub(crate) async fn get(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name?;
    access.check(Right::Read, &name)?;
    let task = known(&state, &access, &name)?;
    let detail = TaskDetail { info: TaskInfo::of(&state, &task), card: task.card().clone() };
    described(&state, &detail)
}

/// Adds a task, or puts a new version in its place: the body is a cut file. It is checked against
/// the base, the tokenizer and its probes before it serves; until then, and if it fails, the old
/// version stays.
#[utoipa::path(
    put,
    path = "/v1/tasks/{name}",
    operation_id = "put_task",
    tag = "tasks",
    params(("name" = String, Path, description = "The task's name: 1 to 100 bytes of letters, digits, spaces and . _ - + , ( ) @ = ~, the first a letter or digit and the last no space")),
    request_body(content = inline(openapi::CutFile), content_type = "application/octet-stream", description = "The cut file"),
    responses(
        (status = 200, description = "A new version serves", body = TaskInfo),
        (status = 201, description = "A new task serves", body = TaskInfo),
        Problem
    )
)]
pub(crate) async fn put(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<TaskInfo>), Problem> {
    let Path(name) = name?;
    access.check(Right::Manage, &name)?;
    check_writable(&state)?;
    check_name(&name).map_err(|e| Problem::of(Kind::Validation, "", &e))?;
    let media = request.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
    let media = media_type(media.unwrap_or_default());
    if media.to_ascii_lowercase().starts_with("multipart/") {
        let message = format!("the content type is {media:?}, expected the cut file alone");
        let hint = "send it as the body: curl -T my.cut URL, or --data-binary @my.cut";
        return Err(Problem::new(Kind::MediaType, message).with_hint(hint));
    }
    let body = Whole::read(request, state.limits.upload_bytes, &state.upload_bodies).await?;
    // Checking takes a multiple of the cut's memory. The places go with the work: whoever leaves
    // does not free one for the next before it is done.
    let ended = |_| Problem::new(Kind::ShuttingDown, "the server is stopping");
    let of_key = Arc::clone(&access.uploads).acquire_owned().await.map_err(ended)?;
    let place = Arc::clone(&state.uploads).acquire_owned().await.map_err(ended)?;
    let client = Client::default();
    let left = Arc::clone(&client.left);
    let shared = Arc::clone(&state);
    let put = move || {
        let _places = (of_key, place);
        shared.store.put(&shared.bank, &name, &body.bytes, &left)
    };
    let (task, replaced) = off_thread(put).await?.map_err(|e| match e.kind() {
        ErrorKind::Io => storage(&e),
        ErrorKind::Memory => Problem::of(Kind::TaskMemory, "", &e),
        _ => Problem::of(Kind::BadCut, "", &e),
    })?;
    tracing::info!(task = task.name(), replaced, "task stored");
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(TaskInfo::of(&state, &task))))
}

/// Removes a task; requests under way are still answered.
#[utoipa::path(
    delete,
    path = "/v1/tasks/{name}",
    operation_id = "delete_task",
    tag = "tasks",
    params(("name" = String, Path, description = "The task's name")),
    responses((status = 204, description = "It is gone"), Problem)
)]
pub(crate) async fn delete(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(name) = name?;
    access.check(Right::Manage, &name)?;
    check_writable(&state)?;
    if state.store.failure(&name).is_none() {
        known(&state, &access, &name)?;
    }
    let shared = Arc::clone(&state);
    let removed = name.clone();
    off_thread(move || shared.store.remove(&shared.bank, &removed)).await?.map_err(|e| match e
        .kind()
    {
        ErrorKind::Io => storage(&e),
        _ => Problem::of(Kind::UnknownTask, "", &e),
    })?;
    tracing::info!(task = name, "task removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Checks that this server changes tasks.
fn check_writable(state: &State) -> Result<(), Problem> {
    match state.store.is_writable() {
        true => Ok(()),
        false => Err(Problem::new(Kind::ReadOnly, "this server changes no tasks")
            .with_hint("it was started with --read-only")),
    }
}

/// Whoever waits for an upload; says so when it no longer does.
#[derive(Default)]
struct Client {
    left: Arc<AtomicBool>,
}

impl Drop for Client {
    fn drop(&mut self) {
        self.left.store(true, Relaxed);
    }
}

/// Runs what blocks where it does not hold up other requests.
async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Problem> {
    tokio::task::spawn_blocking(work).await.map_err(|e| {
        tracing::error!(error = %e, "a change of tasks broke off");
        Problem::new(Kind::Internal, "the change broke off; see the server's logs")
    })
}

/// A disk's error, whose path is the server's own affair.
fn storage(error: &linocut::Error) -> Problem {
    tracing::error!(%error, "the cuts folder");
    Problem::new(Kind::Storage, "the cuts folder cannot be changed; see the server's logs")
}
