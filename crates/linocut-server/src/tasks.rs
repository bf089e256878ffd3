//! `/v1/tasks`: which tasks there are, what each costs, and changing them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::PathRejection;
use axum::extract::{FromRequest, Path, Request, State as Shared};
use axum::http::StatusCode;
use linocut::ErrorKind;
use linocut::bank::Task;
use linocut::cut::{Card, EditKind};
use linocut::data::{Metric, Problem as TaskKind};
use serde::Serialize;

use crate::body::RawBody;
use crate::error::{Kind, Problem};
use crate::input::known;
use crate::state::State;
use crate::store::check_name;

/// The tasks.
#[derive(Debug, Serialize)]
pub(crate) struct TaskList {
    /// By name.
    tasks: Vec<TaskInfo>,
}

/// A task and what it costs.
#[derive(Debug, Serialize)]
pub(crate) struct TaskInfo {
    /// The name it is asked for by.
    name: String,
    /// What is predicted.
    problem: TaskKind,
    /// Its labels; none for a regression.
    labels: Vec<String>,
    /// Whether it takes pairs of texts.
    pairs: bool,
    /// Tokens that it reads of a text.
    max_length: usize,
    /// The score that it is judged by.
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
    /// Layers of the base that it edits, from 0.
    edited_layers: Vec<usize>,
}

/// A task with all that its cut says of itself.
#[derive(Debug, Serialize)]
pub(crate) struct TaskDetail {
    #[serde(flatten)]
    info: TaskInfo,
    /// The card of its cut.
    card: Card,
}

impl TaskInfo {
    fn of(state: &State, task: &Task) -> Self {
        let card = task.card();
        let layout = state.bank.base().encoder.layout();
        let layer = |name: &String| layout.tensors()[layout.index(name)?].layer;
        let notes = card.tensors.values();
        Self {
            name: task.name().to_string(),
            problem: card.problem,
            labels: card.labels.clone(),
            pairs: card.pairs,
            max_length: card.max_length,
            metric: card.metric.clone(),
            metrics: card.metrics.clone(),
            file_bytes: state.store.bytes(task.name()).unwrap_or(0),
            memory_bytes: task.bytes(),
            zeros: notes.clone().filter_map(|note| note.zeros).sum(),
            replaced_tensors: notes.filter(|note| note.edit == EditKind::Replace).count(),
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
pub(crate) async fn list(Shared(state): Shared<Arc<State>>) -> Json<TaskList> {
    let tasks = state.bank.tasks();
    Json(TaskList { tasks: tasks.iter().map(|task| TaskInfo::of(&state, task)).collect() })
}

/// Describes one task.
pub(crate) async fn get(
    Shared(state): Shared<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<Json<TaskDetail>, Problem> {
    let Path(name) = name?;
    known(&state.bank, &name)?;
    let task = state.bank.task(&name).map_err(|e| Problem::of(Kind::UnknownTask, "", &e))?;
    Ok(Json(TaskDetail { info: TaskInfo::of(&state, &task), card: task.card().clone() }))
}

/// Adds a task, or puts a new version in its place: the body is a cut file. It is checked against
/// the base, the tokenizer and its probes before it serves; until then, and if it fails, the old
/// version stays.
pub(crate) async fn put(
    Shared(state): Shared<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<(StatusCode, Json<TaskInfo>), Problem> {
    let Path(name) = name?;
    check_name(&name).map_err(|e| Problem::of(Kind::Validation, "", &e))?;
    // Each may hold much memory.
    let _place = state
        .uploads
        .try_acquire()
        .map_err(|_| Problem::new(Kind::Overloaded, "as many uploads as may are under way"))?;
    let RawBody(bytes) = RawBody::from_request(request, &()).await?;
    let shared = Arc::clone(&state);
    let put = move || shared.store.put(&shared.bank, &name, &bytes);
    let (task, replaced) = off_thread(put).await?.map_err(|e| match e.kind() {
        ErrorKind::Io => storage(&e),
        _ => Problem::of(Kind::BadCut, "", &e),
    })?;
    tracing::info!(task = task.name(), replaced, "task stored");
    let status = if replaced { StatusCode::OK } else { StatusCode::CREATED };
    Ok((status, Json(TaskInfo::of(&state, &task))))
}

/// Removes a task; requests under way are still answered.
pub(crate) async fn delete(
    Shared(state): Shared<Arc<State>>,
    name: Result<Path<String>, PathRejection>,
) -> Result<StatusCode, Problem> {
    let Path(name) = name?;
    known(&state.bank, &name)?;
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
