//! Request ids, logs and counters: what an operator sees.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::Extension;
use axum::extract::{MatchedPath, Request, State as Shared};
use axum::http::{HeaderName, HeaderValue, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use linocut::bank::{Answer, Dtype, Task};
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

use crate::error::{ErrorType, Kind, Problem};
use crate::keys::Access;
use crate::log;
use crate::state::State;
use crate::traces::RequestSpan;

/// The header that a request's id comes and goes by.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Most characters of an id that a client gives.
const ID_LENGTH: usize = 128;
/// Most characters of a method that a line of the log has.
const METHOD_LENGTH: usize = 20;

/// Counters and histograms. Histograms are of all tasks together: a thousand tasks with one each
/// would be a page of megabytes.
pub(crate) struct Metrics {
    registry: Registry,
    requests: IntCounterVec,
    errors: IntCounterVec,
    seconds: Histogram,
    batch_tokens: Histogram,
    batch_seconds: Histogram,
    panics: IntCounter,
    /// By the task's name; of tasks that there are, but for those removed since the last look.
    answered: Mutex<HashMap<String, Answered>>,
    waiting: IntGauge,
    tasks: IntGauge,
    in_memory: IntGauge,
    loads: IntCounter,
    evictions: IntCounter,
    failed: IntGauge,
    started: u64,
    ids: AtomicU64,
}

/// What a task has answered.
#[derive(Default, Clone, Copy)]
struct Answered {
    texts: u64,
    tokens: u64,
}

impl Metrics {
    /// All at zero, of a server that computes in `dtype`.
    pub(crate) fn new(dtype: Dtype) -> prometheus::Result<Self> {
        let registry = Registry::new();
        let of = Opts::new("linocut_info", "1, with what products are computed in")
            .const_label("dtype", dtype.name());
        let info = IntGauge::with_opts(of)?;
        info.set(1);
        registry.register(Box::new(info))?;
        let counter = |name: &str, help: &str, labels: &[&str]| {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let histogram = |name: &str, help: &str, buckets: Vec<f64>| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let count = |name: &str, help: &str| {
            let count = IntCounter::new(name, help)?;
            registry.register(Box::new(count.clone()))?;
            Ok::<_, prometheus::Error>(count)
        };
        let panics = count(
            "linocut_panics_total",
            "Panics while computing: each cost one request, and is an error of this program",
        )?;
        let seconds = prometheus::exponential_buckets(0.001, 2.0, 16)?;
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Ok(Self {
            requests: counter(
                "linocut_requests_total",
                "Requests by address and status; 499 where the client went away",
                &["path", "status"],
            )?,
            errors: counter("linocut_errors_total", "Errors by type", &["error_type"])?,
            seconds: histogram(
                "linocut_request_seconds",
                "Time from a request's head to its answer",
                seconds.clone(),
            )?,
            batch_tokens: histogram(
                "linocut_batch_tokens",
                "Tokens of a batch, counted once for every task",
                prometheus::exponential_buckets(8.0, 2.0, 13)?,
            )?,
            batch_seconds: histogram("linocut_batch_seconds", "Time a batch is computed", seconds)?,
            panics,
            answered: Mutex::default(),
            waiting: gauge("linocut_waiting_requests", "Requests that wait or are computed")?,
            tasks: gauge("linocut_tasks", "Tasks that can be asked")?,
            in_memory: gauge("linocut_tasks_in_memory", "Tasks in memory")?,
            loads: count("linocut_task_loads_total", "Tasks loaded from a store")?,
            evictions: count("linocut_task_evictions_total", "Tasks that left for want of room")?,
            failed: gauge("linocut_failed_cuts", "Cuts that cannot be served as they should be")?,
            started: since.as_nanos() as u64,
            ids: AtomicU64::new(0),
            registry,
        })
    }

    /// Counts a batch.
    pub(crate) fn batch(&self, tokens: usize, started: Instant) {
        self.batch_tokens.observe(tokens as f64);
        self.batch_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// Counts a panic.
    pub(crate) fn panic(&self) {
        self.panics.inc();
    }

    /// Counts answers given.
    pub(crate) fn answers(&self, answers: &[Vec<Answer>]) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        for answer in answers.iter().flatten() {
            let name = answer.task.name();
            if !answered.contains_key(name) {
                answered.insert(name.to_string(), Answered::default());
            }
            if let Some(task) = answered.get_mut(name) {
                task.texts += 1;
                task.tokens += answer.tokens as u64;
            }
        }
    }

    /// What each of the tasks of these names has answered, and the memory of those of `tasks`; forgets all others.
    fn per_task(
        &self,
        tasks: &[Arc<Task>],
        names: &HashSet<&str>,
    ) -> prometheus::Result<Vec<MetricFamily>> {
        let texts = Opts::new("linocut_task_answers_total", "Answers of a task");
        let texts = IntCounterVec::new(texts, &["task"])?;
        let tokens = Opts::new("linocut_task_tokens_total", "Tokens read by a task");
        let tokens = IntCounterVec::new(tokens, &["task"])?;
        let memory = Opts::new("linocut_task_memory_bytes", "Memory of a task beside the base");
        let memory = IntGaugeVec::new(memory, &["task"])?;
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        answered.retain(|name, _| names.contains(name.as_str()));
        for task in tasks {
            let name = task.name();
            answered.entry(name.into()).or_default();
            memory.with_label_values(&[name]).set(task.bytes() as i64);
        }
        for (name, counts) in &*answered {
            texts.with_label_values(&[name]).inc_by(counts.texts);
            tokens.with_label_values(&[name]).inc_by(counts.tokens);
        }
        Ok([texts.collect(), tokens.collect(), memory.collect()].concat())
    }

    /// Lines of the log that were lost.
    fn lost() -> prometheus::Result<Vec<MetricFamily>> {
        let lost = IntCounter::new(
            "linocut_log_lines_lost_total",
            "Lines of the log that could not be written, or not in time",
        )?;
        lost.inc_by(log::lost());
        Ok(lost.collect())
    }

    /// An id that no other request of this server has.
    fn id(&self) -> String {
        format!("{:016x}-{:x}", self.started, self.ids.fetch_add(1, Relaxed))
    }
}

/// A request that is counted when it ends, even where its client goes away before.
struct Counted<'a> {
    metrics: &'a Metrics,
    path: &'a str,
    started: Instant,
    id: String,
    status: u16,
    error_type: Option<&'static str>,
    span: Option<RequestSpan>,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let labels = [self.path, &self.status.to_string()];
        self.metrics.requests.with_label_values(&labels).inc();
        self.metrics.seconds.observe(self.started.elapsed().as_secs_f64());
        if let Some(span) = &mut self.span {
            span.status(&self.id, self.status, self.error_type);
        }
    }
}

/// Gives every request an id, or keeps the client's, counts it, traces and logs it.
pub(crate) async fn observe(
    Shared(state): Shared<Arc<State>>,
    path: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let metrics = &state.metrics;
    let given = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok());
    let id = match given {
        Some(id) if (1..=ID_LENGTH).contains(&id.len()) => id.to_string(),
        _ => metrics.id(),
    };
    let path = path.as_ref().map_or("none", |path| path.as_str());
    let method: String = request.method().as_str().chars().take(METHOD_LENGTH).collect();
    // Probes and scrapes come all the time, and nobody follows one.
    let traces =
        state.traces.as_ref().filter(|_| !path.starts_with("/health") && path != "/metrics");
    let span = traces.map(|traces| traces.begin(&request, &method, path));
    let started = Instant::now();
    let mut counted = Counted { metrics, path, started, id, status: 499, error_type: None, span };
    let mut response = next.run(request).await;
    let Counted { status, error_type, id, span, .. } = &mut counted;
    *status = response.status().as_u16();
    *error_type = response.extensions().get::<ErrorType>().map(|kind| kind.0);
    if let Some(error_type) = error_type {
        metrics.errors.with_label_values(&[error_type]).inc();
    }
    if let (Some(span), Some(timing)) = (&span, response.extensions().get()) {
        span.parts(timing);
    }
    let trace = span.as_ref().map(RequestSpan::trace);
    let ms = (started.elapsed().as_secs_f64() * 1e5).round() / 1e2;
    tracing::info!(id, method, path, status, ms, error_type, trace, "request");
    if let Ok(id) = HeaderValue::from_str(id) {
        response.headers_mut().insert(REQUEST_ID, id);
    }
    response
}

/// What an operator's monitoring reads, in Prometheus' text format. Needs a key of all tasks, where
/// there are keys.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "server",
    responses((status = 200, description = "Metrics", body = String, content_type = "text/plain"), Problem)
)]
pub(crate) async fn metrics(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
) -> Result<Response, Problem> {
    access.check_all()?;
    let metrics = &state.metrics;
    let tasks = state.bank.tasks();
    let names = state.source.names();
    metrics.waiting.set(state.queue.len() as i64);
    metrics.tasks.set(names.len() as i64);
    metrics.in_memory.set(tasks.len() as i64);
    metrics.failed.set(state.source.failed().len() as i64);
    if let Ok(fleet) = state.source.fleet() {
        let [loads, evictions] = [&fleet.loads, &fleet.evictions].map(|count| count.load(Relaxed));
        metrics.loads.inc_by(loads.saturating_sub(metrics.loads.get()));
        metrics.evictions.inc_by(evictions.saturating_sub(metrics.evictions.get()));
    }
    let names: HashSet<&str> = names.iter().map(|(name, _)| name.as_str()).collect();
    let text = metrics.per_task(&tasks, &names).and_then(|mut families| {
        families.splice(0..0, metrics.registry.gather());
        families.extend(Metrics::lost()?);
        // Without a task in memory some have no samples, which the encoder takes for a mistake.
        families.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&families)
    });
    let text = text.map_err(|e| Problem::new(Kind::Internal, format!("the metrics: {e}")))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}
