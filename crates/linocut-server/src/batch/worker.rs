//! The compute thread: takes batches from the queue until it is gone.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use linocut::bank::{Answer, Bank, Query};
use linocut::contained;

use super::{Shared, TARGET};
use crate::error::{Kind, Problem};
use crate::metrics::Metrics;
use crate::schedule::{Next, Schedule};

/// Work from which on a batch says what work costs: smaller ones cost more than their share.
pub(super) const TELLING: f64 = 256.0;

/// The compute thread's end.
pub(crate) struct Worker {
    compute: Compute,
    metrics: Arc<Metrics>,
    shared: Arc<Shared>,
    /// Most work of a batch, whatever it takes.
    most: f64,
    /// Tokens computed so far.
    computed: usize,
}

/// What computes the answers of a batch.
pub(crate) type Compute = Box<dyn Fn(&[&Query]) -> Vec<Vec<Answer>> + Send>;

/// A part of a request.
struct Part {
    request: u64,
    input: usize,
    work: f64,
    query: Query,
}

impl Worker {
    pub(super) fn new(
        bank: Arc<Bank>,
        metrics: Arc<Metrics>,
        shared: Arc<Shared>,
        most: f64,
    ) -> Self {
        let compute = Box::new(move |queries: &[&Query]| bank.answer(queries));
        Self { compute, metrics, shared, most, computed: 0 }
    }

    /// Computes until the queue is gone. Whatever panics costs the requests under way at most.
    pub(crate) fn run(mut self) {
        loop {
            match contained(|| self.step()) {
                Ok(true) => {}
                Ok(false) => return,
                Err(panic) => {
                    tracing::error!(panic, "putting a batch together");
                    self.metrics.panic();
                    self.forget_all();
                }
            }
        }
    }

    /// Waits for something to do and computes one batch; false once the queue is gone.
    pub(crate) fn step(&mut self) -> bool {
        let Some(batch) = self.gather() else { return false };
        let queries: Vec<&Query> = batch.iter().map(|part| &part.query).collect();
        let (work, tokens) = (batch.iter().map(|part| part.work).sum(), tokens(&queries));
        let started = Instant::now();
        match contained(|| (self.compute)(&queries)) {
            Ok(answers) => {
                self.learn(work, started.elapsed());
                self.metrics.batch(tokens, started);
                self.computed += tokens;
                for (part, answers) in batch.iter().zip(answers) {
                    self.deliver(part, Ok(answers));
                }
            }
            // Each part once more alone, so that the one that it comes from pays for it.
            Err(_) if batch.len() > 1 => batch.iter().for_each(|part| self.compute_alone(part)),
            Err(panic) => batch.iter().for_each(|part| self.failed(part, &panic)),
        }
        true
    }

    fn compute_alone(&mut self, part: &Part) {
        let started = Instant::now();
        match contained(|| (self.compute)(&[&part.query])) {
            Ok(mut answers) => {
                let tokens = part.query.tokens();
                self.metrics.batch(tokens, started);
                self.computed += tokens;
                self.deliver(part, Ok(answers.pop().unwrap_or_default()));
            }
            Err(panic) => self.failed(part, &panic),
        }
    }

    /// Says of a part that computing it panicked.
    fn failed(&self, part: &Part, panic: &str) {
        let tasks: Vec<&str> = part.query.tasks().map(|task| task.name()).take(10).collect();
        tracing::error!(panic, input = part.input, ?tasks, "a batch broke off");
        self.metrics.panic();
        let message = format!("computing inputs[{}] broke off; see the server's logs", part.input);
        self.deliver(part, Err(Problem::new(Kind::Internal, message)));
    }

    /// Adds a part's answers to its request's, which is answered when none is missing.
    fn deliver(&self, part: &Part, outcome: Result<Vec<Answer>, Problem>) {
        let mut state = self.shared.lock();
        // Who asked may have gone.
        let Some(request) = state.requests.get_mut(&part.request) else { return };
        match outcome {
            Ok(answers) => {
                request.answers[part.input].extend(answers);
                request.missing -= 1;
                if request.missing == 0
                    && let Some(request) = state.requests.remove(&part.request)
                {
                    request.reply();
                }
            }
            Err(problem) => {
                state.schedule.remove(part.request);
                if let Some(request) = state.requests.remove(&part.request) {
                    let _ = request.reply.send(Err(problem));
                }
            }
        }
    }

    /// Waits for parts of requests and takes as many as a batch has; `None` once the queue is gone.
    fn gather(&self) -> Option<Vec<Part>> {
        let mut state = self.shared.lock();
        while state.schedule.is_empty() {
            if !state.open {
                return None;
            }
            state = self.shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        let mut room = state.batch().min(self.most);
        let mut batch = Vec::new();
        // A request that is done with this batch waits for a quarter of one of those that are not.
        let (quarter, mut rest) = (room / 4.0, room);
        loop {
            let most = if batch.is_empty() {
                (f64::INFINITY, f64::INFINITY)
            } else {
                (room, rest.min(room))
            };
            let Some(next) = state.schedule.next(most) else { break };
            let Next { id: request, work, last, part: (input, query) } = next;
            room -= work;
            rest = if last { rest.min(quarter) } else { rest - work };
            if let Some(request) = state.requests.get_mut(&request) {
                request.started.get_or_insert_with(Instant::now);
            }
            batch.push(Part { request, input, work, query });
        }
        Some(batch)
    }

    /// Learns from a batch what work costs: sooner that it costs more than that it costs less.
    fn learn(&self, work: f64, took: Duration) {
        if work < TELLING && took < TARGET / 2 {
            return;
        }
        let found = took.as_secs_f64() / work.max(1.0);
        let mut state = self.shared.lock();
        let share = match state.is_measured {
            false => 1.0,
            true if found > state.pace => 0.5,
            true => 0.2,
        };
        state.is_measured = true;
        state.pace += share * (found - state.pace);
    }

    /// Gives up all requests under way: those who wait are told.
    fn forget_all(&self) {
        let mut state = self.shared.lock();
        state.schedule = Schedule::new();
        state.requests.clear();
    }

    /// Tokens computed so far, counted once for every task.
    #[cfg(test)]
    pub(crate) fn computed(&self) -> usize {
        self.computed
    }

    /// Has batches computed by `compute`, which is given what would compute them.
    #[cfg(test)]
    pub(crate) fn computing_by(
        mut self,
        compute: impl Fn(&Compute, &[&Query]) -> Vec<Vec<Answer>> + Send + 'static,
    ) -> Self {
        let usual = std::mem::replace(&mut self.compute, Box::new(|_| vec![]));
        self.compute = Box::new(move |queries| compute(&usual, queries));
        self
    }

    /// Requests that wait to be computed.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.shared.lock().requests.len()
    }
}

fn tokens(queries: &[&Query]) -> usize {
    queries.iter().map(|query| query.tokens()).sum()
}

/// Those who wait are told.
impl Drop for Worker {
    fn drop(&mut self) {
        self.shared.lock().served = false;
        self.forget_all();
    }
}
