//! What all requests share.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use linocut::bank::Bank;
use linocut::{Error, ErrorKind, Result};
use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;

use crate::batch::{Queue, Worker};
use crate::fleet::Fleet;
use crate::folder::{Folder, Opening};
use crate::keys::{Access, Keys};
use crate::metrics::Metrics;
use crate::origin::Host;
use crate::room::Room;
use crate::source::{Cuts, Source};
use crate::traces::Traces;

/// Uploads that are checked at one time.
const UPLOADS: usize = 4;
/// Bodies of the largest size that may be under way at one time, not counting uploads.
const BODIES: usize = 128;

/// What one request, and all together, may ask for.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
pub struct Limits {
    /// Requests that wait or are computed at one time.
    pub requests: usize,
    /// Connections at one time; past it, one that waits for its client gives way.
    pub connections: usize,
    /// Inputs of a request.
    pub inputs: usize,
    /// Answers of a request: inputs times tasks.
    pub answers: usize,
    /// Bytes of an answer.
    pub answer_bytes: usize,
    /// Bytes of all answers of more than 64 KiB that their clients have not taken yet.
    pub untaken_bytes: usize,
    /// Bytes of a text.
    pub text_bytes: usize,
    /// Bytes of a body.
    pub body_bytes: usize,
    /// Bytes of an uploaded cut.
    pub upload_bytes: usize,
    /// Tokens computed at one time, counted once for every task that reads them.
    pub batch_tokens: usize,
    /// Time from a request's first byte of body to its answer.
    #[serde(rename = "timeout_seconds", serialize_with = "seconds")]
    #[schema(rename = "timeout_seconds", value_type = f64)]
    pub timeout: Duration,
    /// Time that a connection may take for a request's head.
    #[serde(rename = "head_seconds", serialize_with = "seconds")]
    #[schema(rename = "head_seconds", value_type = f64)]
    pub head: Duration,
    /// Time that a connection may stay between two requests, or take no bytes of an answer.
    #[serde(rename = "idle_seconds", serialize_with = "seconds")]
    #[schema(rename = "idle_seconds", value_type = f64)]
    pub idle: Duration,
    /// Whether a text longer than a task reads is cut, where the request does not say.
    pub truncate: bool,
}

fn seconds<S: serde::Serializer>(time: &Duration, to: S) -> std::result::Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

impl Default for Limits {
    /// 1,024 connections, 512 requests of up to 32 inputs, 32,768 answers and 32 MB of them, 256 MB of
    /// answers not taken, 100 kB a text, 2 MB a
    /// body, 64 MB a cut, 16,384 tokens a batch, 30 s, 10 s a head, idle for 60 s; long texts are cut.
    fn default() -> Self {
        Self {
            requests: 512,
            connections: 1024,
            inputs: 32,
            answers: 32_768,
            answer_bytes: 32_000_000,
            untaken_bytes: 256_000_000,
            text_bytes: 100_000,
            body_bytes: 2_000_000,
            upload_bytes: 64_000_000,
            batch_tokens: 16_384,
            timeout: Duration::from_secs(30),
            head: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            truncate: true,
        }
    }
}

impl Limits {
    /// # Errors
    /// If one is 0 or more than can be counted.
    fn check(&self) -> Result<()> {
        let Self { requests, inputs, answers, text_bytes, body_bytes, upload_bytes, .. } = *self;
        let milliseconds = |time: Duration| usize::try_from(time.as_millis()).unwrap_or(usize::MAX);
        for (what, found) in [
            ("requests", requests),
            ("inputs", inputs),
            ("answers", answers),
            ("answer bytes", self.answer_bytes),
            ("bytes of answers not taken", self.untaken_bytes),
            ("text bytes", text_bytes),
            ("body bytes", body_bytes),
            ("upload bytes", upload_bytes),
            ("batch tokens", self.batch_tokens),
            ("connections", self.connections),
            ("milliseconds a request", milliseconds(self.timeout)),
            ("milliseconds a head", milliseconds(self.head)),
            ("milliseconds idle", milliseconds(self.idle)),
        ] {
            let most = usize::MAX >> 4; // what a semaphore of tokio counts to, with room
            if !(1..=most).contains(&found) {
                let message = format!("a limit of {found} {what}, expected 1 to {most}");
                return Err(Error::new(ErrorKind::Config, message));
            }
        }
        Ok(())
    }
}

/// What a server does beside its cuts.
#[derive(Default)]
pub struct Settings {
    /// What requests may ask for.
    pub limits: Limits,
    /// Who may do what. Without keys, whoever reaches the server may ask and change every task, but
    /// for pages of other sites.
    pub keys: Option<Keys>,
    /// Names and addresses that it may be asked by where there are no keys, beside those of the
    /// loopback address and the address listened on.
    pub hosts: Vec<String>,
    /// Where it answers, for whoever finds the folder of cuts locked.
    pub address: Option<SocketAddr>,
    /// Tasks cannot be changed, and the folder of cuts is neither locked nor written.
    pub read_only: bool,
    /// A file that cannot be served is an error; else the other tasks are served.
    pub strict: bool,
    /// Time between two looks at a store; a second where it is zero.
    pub poll: Duration,
    /// Where traces of requests go.
    pub traces: Option<Traces>,
}

/// What all requests share: the bank, where its cuts are, and the queue to the compute thread.
pub struct State {
    pub(crate) bank: Arc<Bank>,
    pub(crate) source: Source,
    pub(crate) queue: Queue,
    pub(crate) limits: Limits,
    pub(crate) metrics: Arc<Metrics>,
    /// Who may do what; anyone anything where `None`.
    pub(crate) keys: Option<RwLock<Keys>>,
    /// Who anyone is where there are no keys.
    pub(crate) anyone: Arc<Access>,
    /// Names that it may be asked by where there are no keys.
    pub(crate) hosts: Vec<Host>,
    pub(crate) stopping: AtomicBool,
    /// Time between two looks at a store.
    pub(crate) poll: Duration,
    pub(crate) traces: Option<Traces>,
    /// Room for large answers that are not taken yet, in KiB.
    pub(crate) untaken: Arc<Semaphore>,
    /// Memory for bodies under way.
    pub(crate) bodies: Arc<Room>,
    /// Memory for uploads under way.
    pub(crate) upload_bodies: Arc<Room>,
    /// Places for uploads while they are checked.
    pub(crate) uploads: Arc<Semaphore>,
    /// The place for a text that is explained.
    pub(crate) explaining: Arc<Semaphore>,
}

impl State {
    /// Adds every cut in `cuts` to `bank` (`progress` hears how many are done of how many) and
    /// starts the compute thread, which ends with the state.
    ///
    /// # Errors
    /// A limit out of range, a host that is none, a folder that is unreadable or another server's;
    /// with `strict`, a file with a name that no task may have, or a cut that does not fit.
    pub fn open(
        bank: Bank,
        cuts: impl Into<Cuts>,
        settings: Settings,
        progress: impl FnMut(usize, usize),
    ) -> Result<Arc<Self>> {
        let (state, worker) = Self::idle(bank, cuts, settings, progress)?;
        let thread = std::thread::Builder::new().name("compute".into());
        thread.spawn(move || worker.run()).map_err(|e| {
            let message = format!("cannot start the compute thread: {e}");
            Error::new(ErrorKind::Io, message).with_source(e)
        })?;
        Ok(state)
    }

    /// The same without a thread: nothing is computed until the worker is told to.
    pub(crate) fn idle(
        bank: Bank,
        cuts: impl Into<Cuts>,
        settings: Settings,
        progress: impl FnMut(usize, usize),
    ) -> Result<(Arc<Self>, Worker)> {
        let Settings { limits, keys, hosts, address, read_only, strict, poll, traces } = settings;
        limits.check()?;
        let hosts = hosts.iter().map(|host| Host::named(host)).collect::<Result<_>>()?;
        let bank = Arc::new(bank);
        let source = match cuts.into() {
            Cuts::Folder(folder) => {
                let opening = Opening { address, read_only, strict };
                Source::Folder(Folder::open(&folder, Arc::clone(&bank), opening, progress)?)
            }
            Cuts::Store { store, trusted } => {
                let fleet = Fleet::open(Arc::clone(&bank), store, trusted, read_only)?;
                Source::Store(Arc::new(fleet))
            }
        };
        let metrics = Metrics::new(bank.dtype()).map_err(|e| {
            Error::new(ErrorKind::Config, format!("the metrics: {e}")).with_source(e)
        })?;
        let metrics = Arc::new(metrics);
        let (queue, worker) = Queue::new(Arc::clone(&bank), Arc::clone(&metrics), &limits);
        let room = |bytes: usize, bodies| Room::new(bytes.saturating_mul(bodies), keys.is_some());
        let state = Self {
            bodies: room(limits.body_bytes, BODIES),
            upload_bodies: room(limits.upload_bytes, UPLOADS),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            explaining: Arc::new(Semaphore::new(1)),
            untaken: Arc::new(Semaphore::new(limits.untaken_bytes.div_ceil(1024))),
            stopping: AtomicBool::new(false),
            anyone: Arc::new(Access::all()),
            bank,
            source,
            queue,
            limits,
            metrics,
            keys: keys.map(RwLock::new),
            hosts,
            poll,
            traces,
        };
        Ok((Arc::new(state), worker))
    }

    /// Has other keys in force from now on; a server that was opened without keys stays so.
    pub fn renew_keys(&self, keys: Keys) {
        if let Some(old) = &self.keys {
            *old.write().unwrap_or_else(PoisonError::into_inner) = keys;
        }
    }

    /// Takes over what has changed in the store, where there is one; it does so by itself, too. Blocks.
    ///
    /// # Errors
    /// If the store cannot be read; what is known of it stays.
    pub fn refresh(&self) -> Result<()> {
        match &self.source {
            Source::Folder(_) => Ok(()),
            Source::Store(fleet) => fleet.refresh(),
        }
    }

    /// Number of tasks that can be asked.
    pub fn tasks(&self) -> usize {
        self.source.names().len()
    }
}
