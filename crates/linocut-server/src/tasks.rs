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
use linocut::cut::Card;
use linocut::data::{Long, Metric, Problem as TaskKind};
use linocut::store::{Record, Version, check_name};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::answer::{described, file};
use crate::body::{JsonBody, Whole, media_type};
use crate::error::{Kind, Problem, bounded};
use crate::input::check_known;
use crate::keys::{Access, Right};
use crate::openapi;
use crate::source::Listed;
use crate::state::State;

/// The tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskList {
    /// By name.
    tasks: Vec<TaskInfo>,
    /// What cannot be served, or not in the version in force.
    failed: Vec<FailedTask>,
    /// Whether this server changes tasks.
    writable: bool,
    /// Whether earlier versions are kept.
    versions: bool,
}

/// A task that cannot be served, so that asking it is an error; or not in the version in force.
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
    /// Bytes of its cut.
    file_bytes: u64,
    /// Whether it is in memory; else its first use loads it.
    loaded: bool,
    /// Where versions are kept, the one that serves, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<u64>,
    /// And how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    version_count: Option<usize>,
    /// Bytes of memory that it takes beside the base; 0 where it is not in memory.
    memory_bytes: usize,
    /// Entries of the base that it sets to zero.
    zeros: u64,
    /// Tensors of the base that it replaces.
    replaced_tensors: usize,
    /// Share of the base's numbers that it changes, 0 to 1: how far it is from the base.
    changed_share: f64,
    /// Layers of the base that it edits, from 0; left out where it is not in memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    edited_layers: Option<Vec<usize>>,
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
    fn new(state: &State, listed: Listed) -> Self {
        let Listed { name, about, bytes, task, versions } = listed;
        let (version, version_count) = versions.unzip();
        Self {
            name,
            problem: about.problem,
            labels: about.labels,
            pairs: about.pairs,
            max_length: about.max_length,
            long: about.long,
            metric: about.metric,
            metrics: about.metrics,
            file_bytes: bytes,
            loaded: task.is_some(),
            version,
            version_count,
            memory_bytes: task.as_ref().map_or(0, |task| task.bytes()),
            zeros: about.zeros,
            replaced_tensors: about.replaced_tensors,
            changed_share: about.changed as f64 / state.bank.base().weights.data().len() as f64,
            edited_layers: task.map(|task| edited_layers(state, &task)),
        }
    }

    /// The task `name`, which was there a moment ago.
    fn of(state: &State, name: &str) -> Result<Self, Problem> {
        let listed = state.source.listed(name).ok_or_else(|| {
            Problem::new(Kind::UnknownTask, format!("the task {name:?} is gone already"))
        })?;
        Ok(Self::new(state, listed))
    }
}

fn edited_layers(state: &State, task: &Task) -> Vec<usize> {
    let layout = state.bank.base().encoder.layout();
    let layer = |name: &String| layout.tensors()[layout.index(name)?].layer();
    let layers: BTreeSet<usize> = task.card().tensors.keys().filter_map(layer).collect();
    layers.into_iter().collect()
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
    let tasks = state.source.list().into_iter().filter(|listed| access.sees(&listed.name));
    let failed = state.source.failed().into_iter().filter(|(name, _)| access.sees(name));
    let list = TaskList {
        tasks: tasks.map(|listed| TaskInfo::new(&state, listed)).collect(),
        failed: failed.map(|(name, error)| FailedTask { name, error: bounded(&error) }).collect(),
        writable: state.source.is_writable(),
        versions: state.source.fleet().is_ok(),
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
    check_known(&state, &access, &name)?;
    let task = state.source.find(std::slice::from_ref(&name)).await?;
    let detail = TaskDetail { info: TaskInfo::of(&state, &name)?, card: task[0].card().clone() };
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
    if state.source.fleet().is_ok_and(|fleet| fleet.wants_signatures()) {
        let problem = Problem::new(Kind::ReadOnly, "this server serves signed tasks only");
        return Err(problem.with_hint("put it into the store: linocut push --sign KEY"));
    }
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
    let (shared, put) = (Arc::clone(&state), name.clone());
    let put = move || {
        let _places = (of_key, place);
        shared.source.put(&put, &body.bytes, &left)
    };
    let replaced = off_thread(put).await?.map_err(|e| unchanged(&e))?;
    tracing::info!(task = name, replaced, "task stored");
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(TaskInfo::of(&state, &name)?)))
}

/// The error of a version that could not be put in force.
fn unchanged(error: &linocut::Error) -> Problem {
    match error.kind() {
        ErrorKind::Io => storage(error),
        ErrorKind::Memory => Problem::of(Kind::TaskMemory, "", error),
        _ => Problem::of(Kind::BadCut, "", error),
    }
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
    if state.source.failure(&name).is_none() {
        check_known(&state, &access, &name)?;
    }
    let shared = Arc::clone(&state);
    let removed = name.clone();
    off_thread(move || shared.source.remove(&removed)).await?.map_err(|e| match e.kind() {
        ErrorKind::Io => storage(&e),
        _ => Problem::of(Kind::UnknownTask, "", &e),
    })?;
    tracing::info!(task = name, "task removed");
    Ok(StatusCode::NO_CONTENT)
}

/// Gives the cut that a task is served from.
#[utoipa::path(
    get,
    path = "/v1/tasks/{name}/cut",
    operation_id = "get_cut",
    tag = "tasks",
    params(("name" = String, Path, description = "The task's name")),
    responses((status = 200, description = "The cut file", body = inline(openapi::CutFile), content_type = "application/octet-stream"), Problem)
)]
pub(crate) async fn cut(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name?;
    // Whoever may ask a task need not be given it.
    access.check(Right::Manage, &name)?;
    check_known(&state, &access, &name)?;
    let shared = Arc::clone(&state);
    let bytes = off_thread(move || shared.source.cut(&name)).await?.map_err(|e| storage(&e))?;
    file(&state, bytes)
}

/// Versions of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionList {
    /// The task's name.
    task: String,
    /// The version in force.
    current: u64,
    /// All that are kept, the latest first.
    versions: Vec<VersionInfo>,
}

/// A version of a task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct VersionInfo {
    /// Its number, from 1.
    version: u64,
    /// BLAKE3 of its cut's bytes, in hexadecimal.
    digest: String,
    /// Bytes of its cut.
    bytes: u64,
    /// When it was pushed, in UTC.
    pushed: String,
    /// Whether it is signed.
    signed: bool,
    /// The score that it is judged by.
    metric: String,
    /// That score, where it is known.
    score: Option<f64>,
}

/// Lists the versions of a task, where a store keeps them.
#[utoipa::path(
    get,
    path = "/v1/tasks/{name}/versions",
    operation_id = "list_versions",
    tag = "tasks",
    params(("name" = String, Path, description = "The task's name")),
    responses((status = 200, description = "Its versions", body = VersionList), Problem)
)]
pub(crate) async fn versions(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Response, Problem> {
    let Path(name) = name?;
    access.check(Right::Read, &name)?;
    let fleet = Arc::clone(state.source.fleet()?);
    if state.source.failure(&name).is_none() {
        check_known(&state, &access, &name)?;
    }
    let record = off_thread(move || fleet.record(&name)).await?.map_err(|e| storage(&e))?;
    let info = |version: Version| VersionInfo {
        version: version.version,
        digest: version.digest,
        bytes: version.bytes,
        pushed: version.pushed,
        signed: version.signature.is_some(),
        metric: version.about.metric.key().into(),
        score: version.about.metrics.get(version.about.metric.key()).copied(),
    };
    let Record { task, current, versions, .. } = record;
    let versions = versions.into_iter().rev().map(info).collect();
    described(&state, &VersionList { task, current, versions })
}

/// Which version is to be in force.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct RollBackBody {
    /// Its number; the one before that in force where left out.
    version: Option<u64>,
}

/// Puts an earlier version of a task in force again, once it is seen to be one that can be served.
#[utoipa::path(
    post,
    path = "/v1/tasks/{name}/rollback",
    operation_id = "roll_back",
    tag = "tasks",
    params(("name" = String, Path, description = "The task's name")),
    request_body = RollBackBody,
    responses((status = 200, description = "It serves", body = TaskInfo), Problem)
)]
pub(crate) async fn roll_back(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    name: Result<Path<String>, PathRejection>,
    JsonBody(body): JsonBody<RollBackBody>,
) -> Result<Json<TaskInfo>, Problem> {
    let Path(name) = name?;
    access.check(Right::Manage, &name)?;
    check_writable(&state)?;
    let fleet = Arc::clone(state.source.fleet()?);
    if state.source.failure(&name).is_none() {
        check_known(&state, &access, &name)?;
    }
    let (task, version) = (name.clone(), body.version);
    let rolled = off_thread(move || fleet.roll_back(&task, version)).await?;
    rolled.map_err(|e| match e.kind() {
        ErrorKind::Config => Problem::of(Kind::Validation, "", &e),
        _ => unchanged(&e),
    })?;
    tracing::info!(task = name, version = body.version, "task rolled back");
    Ok(Json(TaskInfo::of(&state, &name)?))
}

/// Checks that this server changes tasks.
fn check_writable(state: &State) -> Result<(), Problem> {
    match state.source.is_writable() {
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

/// A disk's or a bucket's error, whose place is the server's own affair.
fn storage(error: &linocut::Error) -> Problem {
    tracing::error!(%error, "where the cuts are");
    Problem::new(
        Kind::Storage,
        "the place of the cuts cannot be read or changed; see the server's logs",
    )
}
