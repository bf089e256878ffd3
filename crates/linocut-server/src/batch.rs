//! Requests of many clients in common batches, computed by one thread.
//!
//! Nothing waits for a batch to fill: while one is computed the next gathers. A batch takes from
//! every request under way in turn, so that a large one does not hold up the small ones behind it.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderValue;
use axum::response::{IntoResponseParts, ResponseParts};
use linocut::bank::{Answer, Bank, Query, Request};
use tokio::sync::mpsc::{self, UnboundedReceiver, UnboundedSender};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::error::{Kind, Problem};
use crate::metrics::Metrics;
use crate::state::Limits;

/// Tokens of a request that one batch takes before it is another's turn, where there is one.
const TURN_TOKENS: usize = 2048;

/// Answers of every input, or the first input that cannot be answered and why.
type Outcome = Result<(Vec<Vec<Answer>>, Timing), (usize, linocut::Error)>;

/// Where the time of a request went between the clients' end and its answer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    /// Until its first batch was put together.
    waited: Duration,
    /// From then on: tokenising and computing, other requests of the same batches among them.
    computed: Duration,
}

/// As the header `server-timing` (W3C Server Timing) says it, in milliseconds.
impl IntoResponseParts for Timing {
    type Error = Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Infallible> {
        let [waited, computed] = [self.waited, self.computed].map(|t| 1e3 * t.as_secs_f64());
        let text = format!("queue;dur={waited:.3}, compute;dur={computed:.3}");
        if let Ok(value) = HeaderValue::try_from(text) {
            parts.headers_mut().insert("server-timing", value);
        }
        Ok(parts)
    }
}

/// A request on its way to the compute thread. Its place in the queue ends with it.
struct Job {
    requests: Vec<Request>,
    sent: Instant,
    reply: oneshot::Sender<Outcome>,
    place: OwnedSemaphorePermit,
}

/// The clients' end: bounded by places, each held from here to the answer.
pub(crate) struct Queue {
    jobs: UnboundedSender<Job>,
    places: Arc<Semaphore>,
    size: usize,
}

/// The compute thread's end.
pub(crate) struct Worker {
    bank: Arc<Bank>,
    metrics: Arc<Metrics>,
    jobs: UnboundedReceiver<Job>,
    under_way: VecDeque<UnderWay>,
    batch_tokens: usize,
    /// Tokens computed so far.
    computed: usize,
}

/// A request in tokens, partly answered.
struct UnderWay {
    /// What is still to be computed, and of which input.
    parts: VecDeque<(usize, Query)>,
    answers: Vec<Vec<Answer>>,
    sent: Instant,
    started: Instant,
    reply: oneshot::Sender<Outcome>,
    place: OwnedSemaphorePermit,
}

impl Queue {
    pub(crate) fn new(bank: Arc<Bank>, metrics: Arc<Metrics>, limits: &Limits) -> (Self, Worker) {
        let (sender, receiver) = mpsc::unbounded_channel();
        let places = Arc::new(Semaphore::new(limits.requests));
        let worker = Worker {
            bank,
            metrics,
            jobs: receiver,
            under_way: VecDeque::new(),
            batch_tokens: limits.batch_tokens,
            computed: 0,
        };
        (Self { jobs: sender, places, size: limits.requests }, worker)
    }

    /// Answers of every request, all from the same versions of their tasks, and where the time went.
    /// A caller that no longer
    /// waits costs no computing beyond the batch under way.
    ///
    /// # Errors
    /// If the queue is full, the first request that cannot be answered, or no compute thread.
    pub(crate) async fn predict(
        &self,
        requests: Vec<Request>,
    ) -> Result<(Vec<Vec<Answer>>, Timing), Problem> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| {
            let message = format!("{} requests are waiting, which is the most", self.size);
            Problem::new(Kind::Overloaded, message).with_hint("try again later, or elsewhere")
        })?;
        let single = requests.len() == 1;
        let (reply, answer) = oneshot::channel();
        let gone = || Problem::new(Kind::Internal, "the compute thread has ended; see the logs");
        let sent = Instant::now();
        self.jobs.send(Job { requests, sent, reply, place }).map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?.map_err(|(input, error)| {
            let place = if single { String::new() } else { format!("inputs[{input}]: ") };
            Problem::of_input(&place, &error)
        })
    }

    /// Whether there is a thread to compute.
    pub(crate) fn is_served(&self) -> bool {
        !self.jobs.is_closed()
    }

    /// Requests that wait or are computed.
    pub(crate) fn len(&self) -> usize {
        self.size - self.places.available_permits()
    }
}

impl Worker {
    /// Computes until the queue is gone.
    pub(crate) fn run(mut self) {
        while self.step() {}
    }

    /// Waits for something to do and computes one batch; false once the queue is gone.
    pub(crate) fn step(&mut self) -> bool {
        self.under_way.retain(|job| !job.reply.is_closed());
        if self.under_way.is_empty() {
            match self.jobs.blocking_recv() {
                Some(job) => self.start(job),
                None => return false,
            }
        }
        while self.next_turns() < self.batch_tokens
            && let Ok(job) = self.jobs.try_recv()
        {
            self.start(job);
        }
        let batch = self.gather();
        let queries: Vec<&Query> = batch.iter().map(|(_, _, query)| query).collect();
        let tokens = queries.iter().map(|query| query.tokens()).sum::<usize>();
        let started = Instant::now();
        let answers = self.bank.answer(&queries);
        if tokens > 0 {
            self.metrics.batch(tokens, started);
        }
        self.computed += tokens;
        for ((job, input, _), answers) in batch.iter().zip(answers) {
            self.under_way[*job].answers[*input].extend(answers);
        }
        let jobs = std::mem::take(&mut self.under_way);
        for job in jobs {
            if job.parts.is_empty() {
                let timing = Timing {
                    waited: job.started.duration_since(job.sent),
                    computed: job.started.elapsed(),
                };
                // Whoever has the answer must not find the place still taken.
                drop(job.place);
                // Whoever asked may have gone; then nobody is left to tell.
                let _ = job.reply.send(Ok((job.answers, timing)));
            } else {
                self.under_way.push_back(job);
            }
        }
        true
    }

    /// Tokens computed so far, counted once for every task.
    #[cfg(test)]
    pub(crate) fn computed(&self) -> usize {
        self.computed
    }

    /// Tokens of what every request would have computed next.
    fn next_turns(&self) -> usize {
        self.under_way.iter().filter_map(|job| job.parts.front()).map(|(_, q)| q.tokens()).sum()
    }

    /// Puts a request into tokens, unless nobody waits for it any more.
    fn start(&mut self, job: Job) {
        if job.reply.is_closed() {
            return;
        }
        let started = Instant::now();
        let inputs = job.requests.len();
        let mut parts = VecDeque::new();
        for (input, query) in self.bank.encode_all(&job.requests).into_iter().enumerate() {
            match query {
                Ok(query) => {
                    let turn = TURN_TOKENS.min(self.batch_tokens);
                    parts.extend(query.split(turn).into_iter().map(|part| (input, part)));
                }
                Err(error) => {
                    drop(job.place);
                    let _ = job.reply.send(Err((input, error)));
                    return;
                }
            }
        }
        self.under_way.push_back(UnderWay {
            parts,
            answers: vec![vec![]; inputs],
            sent: job.sent,
            started,
            reply: job.reply,
            place: job.place,
        });
    }

    /// Parts of requests for one batch, with the request and the input they are of: one of every
    /// request in turn until the batch is full.
    fn gather(&mut self) -> Vec<(usize, usize, Query)> {
        let mut batch = Vec::new();
        let mut room = self.batch_tokens;
        loop {
            let before = batch.len();
            for (i, job) in self.under_way.iter_mut().enumerate() {
                let Some((_, query)) = job.parts.front() else { continue };
                let tokens = query.tokens();
                if tokens > room && !batch.is_empty() {
                    continue;
                }
                room = room.saturating_sub(tokens);
                batch.extend(job.parts.pop_front().map(|(input, query)| (i, input, query)));
            }
            if batch.len() == before {
                return batch;
            }
        }
    }
}
