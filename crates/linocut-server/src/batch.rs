//! Requests of many clients in common batches, computed by one thread.
//!
//! A request is tokenised by the clients' end, then computed in parts. Nothing waits for a batch to
//! fill: while one is computed the next gathers. A batch takes about [`TARGET`] of time, and whose
//! parts it takes [`Schedule`] says.

mod worker;

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::ops::RangeInclusive;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::response::{IntoResponseParts, ResponseParts};
use linocut::bank::{Answer, Bank, Query, Task};
use tokio::sync::{Semaphore, SemaphorePermit, oneshot};

use crate::error::{Kind, Problem};
use crate::input::Input;
use crate::metrics::Metrics;
use crate::schedule::Schedule;
use crate::state::Limits;
use worker::TELLING;
pub(crate) use worker::Worker;

/// Time that a batch should take: what a small request waits for at most, before its own.
const TARGET: Duration = Duration::from_millis(50);
/// Work of a part of a request, in tokens through the whole base: a quarter of a batch within these
/// bounds. A single text of a single task may have more.
const PART: RangeInclusive<f64> = 64.0..=512.0;
/// Bytes of text that are tokenised at one time before it is another request's turn.
const TURN_BYTES: usize = 16 << 10;
/// Bytes of a request's texts up to which it waits for no turn.
const SMALL_BYTES: usize = 4 << 10;

/// Answers of every input, or why there are none.
type Outcome = Result<(Vec<Vec<Answer>>, Timing), Problem>;

/// Where the time of a request went between the clients' end and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Until its first batch was put together: tokenising, and waiting for others.
    pub(crate) waited: Duration,
    /// From then on, other requests of the same batches among them.
    pub(crate) computed: Duration,
    /// When the last answer was there.
    pub(crate) ended: Instant,
}

/// As the header `server-timing` (W3C Server Timing) says it, in milliseconds; and for its trace.
impl IntoResponseParts for Timing {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        let [waited, computed] = [self.waited, self.computed].map(|t| 1e3 * t.as_secs_f64());
        let text = format!("queue;dur={waited:.3}, compute;dur={computed:.3}");
        if let Ok(value) = HeaderValue::try_from(text) {
            parts.headers_mut().insert("server-timing", value);
        }
        parts.extensions_mut().insert(self);
        Ok(parts)
    }
}

/// The clients' end: bounded by places, each held until the answer.
pub(crate) struct Queue {
    bank: Arc<Bank>,
    shared: Arc<Shared>,
    places: Arc<Semaphore>,
    size: usize,
    /// Places for tokenising, so that it leaves processors to computing.
    tokenising: Arc<Semaphore>,
    timeout: Duration,
}

/// What both ends see. The lock is held for changes only, never while something is computed.
struct Shared {
    state: Mutex<Under>,
    wake: Condvar,
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Seconds that a token through the whole base should take, by the bank's measure of its products:
/// attention and all else take about as long again.
fn expected_pace(bank: &Bank) -> f64 {
    let tensors = bank.base().encoder.layout().tensors();
    let in_layers = tensors.iter().filter(|t| t.layer().is_some() && t.shape.len() == 2);
    let entries = in_layers.map(|t| t.range.len()).sum::<usize>();
    2e-9 * bank.costs().dense * entries as f64 / threads() as f64
}

/// What is under way.
struct Under {
    schedule: Schedule<(usize, Query)>,
    requests: HashMap<u64, UnderWay>,
    next_id: u64,
    /// Seconds that a unit of work takes, as far as is known.
    pace: f64,
    /// Whether a batch has said so.
    is_measured: bool,
    /// Whether there is a clients' end, and a compute thread.
    open: bool,
    served: bool,
}

impl Under {
    /// Work of a batch.
    fn batch(&self) -> f64 {
        // Less would not be quicker where it is not the work that takes the time.
        (TARGET.as_secs_f64() / self.pace).max(TELLING)
    }

    /// Most work of a part.
    fn part(&self) -> usize {
        (self.batch() / 4.0).clamp(*PART.start(), *PART.end()) as usize
    }
}

/// A request in tokens, partly answered.
struct UnderWay {
    answers: Vec<Vec<Answer>>,
    /// Parts without an answer.
    missing: usize,
    sent: Instant,
    started: Option<Instant>,
    reply: oneshot::Sender<Outcome>,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Under> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queue {
    pub(crate) fn new(bank: Arc<Bank>, metrics: Arc<Metrics>, limits: &Limits) -> (Self, Worker) {
        let state = Under {
            schedule: Schedule::new(),
            requests: HashMap::new(),
            next_id: 0,
            pace: expected_pace(&bank),
            is_measured: false,
            open: true,
            served: true,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), wake: Condvar::new() });
        let most = limits.batch_tokens as f64;
        let worker = Worker::new(Arc::clone(&bank), metrics, Arc::clone(&shared), most);
        let queue = Self {
            bank,
            shared,
            places: Arc::new(Semaphore::new(limits.requests)),
            size: limits.requests,
            tokenising: Arc::new(Semaphore::new((threads() / 2).max(1))),
            timeout: limits.timeout,
        };
        (queue, worker)
    }

    /// Answers of every input, all from these versions of the tasks, and where the time went.
    /// `key` is the name of whom the work is for. A caller that no longer waits, whose future is
    /// dropped, costs nothing beyond the text and the batch under way.
    ///
    /// # Errors
    /// If the queue is full or its work takes too long, the first input that cannot be answered, or
    /// no compute thread.
    pub(crate) async fn predict(
        &self,
        key: &str,
        inputs: Vec<Input>,
        tasks: Vec<Arc<Task>>,
    ) -> Outcome {
        let sent = Instant::now();
        let _place = self.place()?;
        let tasks: Arc<[Arc<Task>]> = tasks.into();
        // Most of what cannot be done in time is refused before it takes time: at eight bytes a token.
        let extents = tasks.iter().map(|task| task.card().extent());
        let longest = extents.map(|extent| extent.most_tokens()).max().unwrap_or(0);
        let tokens: usize = inputs.iter().map(|input| (input.bytes() / 8).min(longest)).sum();
        self.check_wait(&self.shared.lock(), (tokens * tasks.len()) as f64 / 2.0)?;
        let queries = self.tokenise(inputs, &tasks).await?;
        self.compute(key, sent, queries).await
    }

    /// Answers of what is in tokens, as [`Queue::predict`].
    pub(crate) async fn answer(&self, key: &str, queries: Vec<Query>) -> Outcome {
        let _place = self.place()?;
        self.compute(key, Instant::now(), queries).await
    }

    /// One of the places for requests, which is held until the answer.
    fn place(&self) -> Result<SemaphorePermit<'_>, Problem> {
        self.places.try_acquire().map_err(|_| {
            let message = format!("{} requests are waiting, which is the most", self.size);
            Problem::new(Kind::Overloaded, message).with_hint("try again later, or elsewhere")
        })
    }

    /// Has queries computed in parts.
    async fn compute(&self, key: &str, sent: Instant, queries: Vec<Query>) -> Outcome {
        let count = queries.len();
        let most = self.shared.lock().part();
        let parts: VecDeque<(f64, (usize, Query))> = queries
            .into_iter()
            .enumerate()
            .flat_map(|(input, query)| query.split(most).into_iter().map(move |part| (input, part)))
            .map(|(input, part)| (part.work(), (input, part)))
            .collect();
        let (reply, answer) = oneshot::channel();
        // Takes the request out again where nobody waits for it any more.
        let _asked = self.send(key, count, sent, parts, reply)?;
        answer.await.unwrap_or_else(|_| Err(ended()))
    }

    /// Inputs in tokens, in turns with other requests.
    async fn tokenise(
        &self,
        inputs: Vec<Input>,
        tasks: &Arc<[Arc<Task>]>,
    ) -> Result<Vec<Query>, Problem> {
        let count = inputs.len();
        let of = move |input: usize, error: &linocut::Error| {
            let place = if count == 1 { String::new() } else { format!("inputs[{input}]: ") };
            Problem::of_input(&place, error)
        };
        let ask = |bank: &Bank, tasks: &[Arc<Task>], input: &Input| {
            bank.ask(&input.text, input.pair.as_deref(), tasks)
        };
        if inputs.iter().map(Input::bytes).sum::<usize>() <= SMALL_BYTES {
            let query = |(i, input)| ask(&self.bank, tasks, input).map_err(|e| of(i, &e));
            return inputs.iter().enumerate().map(query).collect();
        }
        let mut queries = Vec::with_capacity(count);
        let mut inputs = inputs.into_iter().peekable();
        while inputs.peek().is_some() {
            let (mut turn, mut bytes) = (Vec::new(), 0);
            while let Some(input) = inputs.next_if(|_| bytes < TURN_BYTES) {
                bytes += input.bytes();
                turn.push(input);
            }
            let place = Arc::clone(&self.tokenising).acquire_owned().await;
            let (bank, tasks, first) = (Arc::clone(&self.bank), Arc::clone(tasks), queries.len());
            let work = move || {
                // Held to the end of the work, even where nobody waits for it any more.
                let _place = place;
                let query = |(i, input)| ask(&bank, &tasks, input).map_err(|e| of(first + i, &e));
                turn.iter().enumerate().map(query).collect::<Result<Vec<_>, _>>()
            };
            let done = tokio::task::spawn_blocking(work).await.map_err(|error| {
                tracing::error!(%error, "tokenising broke off");
                Problem::new(Kind::Internal, "tokenising broke off; see the server's logs")
            })?;
            queries.extend(done?);
        }
        Ok(queries)
    }

    /// Gives a request to the compute thread.
    fn send(
        &self,
        key: &str,
        inputs: usize,
        sent: Instant,
        parts: VecDeque<(f64, (usize, Query))>,
        reply: oneshot::Sender<Outcome>,
    ) -> Result<Asked<'_>, Problem> {
        let mut state = self.shared.lock();
        if !state.served {
            return Err(ended());
        }
        let work: f64 = parts.iter().map(|(work, _)| work).sum();
        self.check_wait(&state, work)?;
        let id = state.next_id;
        state.next_id += 1;
        let (answers, missing) = (vec![vec![]; inputs], parts.len());
        let under_way = UnderWay { answers, missing, sent, started: None, reply };
        if missing == 0 {
            under_way.reply();
        } else {
            state.requests.insert(id, under_way);
            state.schedule.push(&key.into(), id, parts);
        }
        drop(state);
        self.shared.wake.notify_one();
        Ok(Asked { shared: &self.shared, id })
    }

    /// Refuses what would wait for more than half of the time that a request may take.
    fn check_wait(&self, state: &Under, work: f64) -> Result<(), Problem> {
        let (wait, most) = (state.schedule.ahead_of(work) * state.pace, self.timeout.as_secs_f64());
        if wait <= most / 2.0 {
            return Ok(());
        }
        let message =
            format!("what waits takes about {wait:.0} s, and a request may take {most} s");
        Err(Problem::new(Kind::Overloaded, message)
            .with_hint("try again later, or with fewer inputs or tasks a request"))
    }

    /// Whether there is a thread to compute.
    pub(crate) fn is_served(&self) -> bool {
        self.shared.lock().served
    }

    /// Whether requests should rather go elsewhere: no place is left, or what waits takes more than
    /// half of the time that a request may take.
    pub(crate) fn is_overloaded(&self) -> bool {
        let state = self.shared.lock();
        let wait = state.schedule.ahead_of(f64::INFINITY) * state.pace;
        self.places.available_permits() == 0 || wait > self.timeout.as_secs_f64() / 2.0
    }

    /// Requests that are tokenised, wait or are computed.
    pub(crate) fn len(&self) -> usize {
        self.size - self.places.available_permits()
    }
}

/// The error where nothing is computed any more.
fn ended() -> Problem {
    Problem::new(Kind::Internal, "the compute thread has ended; see the server's logs")
}

/// The compute thread ends with the clients.
impl Drop for Queue {
    fn drop(&mut self) {
        self.shared.lock().open = false;
        self.shared.wake.notify_all();
    }
}

/// A request that somebody waits for.
struct Asked<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if state.requests.remove(&self.id).is_some() {
            state.schedule.remove(self.id);
        }
    }
}

impl UnderWay {
    /// Sends the answer.
    fn reply(self) {
        let started = self.started.unwrap_or(self.sent);
        let waited = started.duration_since(self.sent);
        let ended = Instant::now();
        let timing = Timing { waited, computed: ended.duration_since(started), ended };
        // Whoever asked may have gone; then nobody is left to tell.
        let _ = self.reply.send(Ok((self.answers, timing)));
    }
}
