//! `linocut serve`

mod log;

use crate::args::BaseArgs;
use crate::choices;
use crate::output::say;
use crate::time;
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::bank::{Bank, Dtype, Options};
use linocut::model::Pooling;
use linocut::output::{Budget, check_folder};
use linocut::store::{Store, Trusted};
use linocut::{Error, ErrorKind, Result};
use linocut_server::{Cuts, Keys, Limits, Settings, State, Traces};
use log::LogFormat;
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Time that a stop waits for what nobody waits for.
const LAST: Duration = Duration::from_secs(1);
/// Time between two looks at a store.
const POLL: Duration = Duration::from_secs(2);
/// Files that a server has open beside its connections, at most.
const FILES: u64 = 64;

/// Answer many tasks from one base over HTTP.
///
/// Serves every cut in a folder: POST /v1/predict asks some tasks of some texts, POST /predict is
/// text-embeddings-inference's, GET /v1/tasks lists the tasks, PUT and DELETE /v1/tasks/NAME change
/// them and the folder. Ctrl-C or SIGTERM: requests under way are answered, then it ends; a second
/// one ends it at once.
#[derive(Args)]
#[command(group = ArgGroup::new("tasks").args(["cuts", "store"]).required(true))]
#[command(after_help = "\
Examples:
  linocut serve --base models/all-minilm-l6-v2 --cuts cuts
  curl localhost:8080/v1/predict -H 'content-type: application/json' \\
    -d '{\"inputs\": \"where is my parcel?\", \"tasks\": \"all\"}'
  linocut serve --base models/all-minilm-l6-v2 --store fleet \\
    --memory 2GB --trust signing.key.pub")]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub base: BaseArgs,

    /// Numbers that matrices are computed in
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = choices::dtype())]
    pub dtype: Dtype,

    /// Folder of cuts, each served under its file's name; may be empty
    #[arg(long, value_name = "DIR")]
    pub cuts: Option<PathBuf>,

    /// Store that `linocut push` fills, a folder or s3://, gs://, az://: a task is loaded on its first use, and
    /// changes are seen within seconds
    #[arg(long, value_name = "STORE", conflicts_with = "strict")]
    pub store: Option<String>,

    /// With --store: time between two looks at it; SIGHUP has it look at once [default: 2s]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub poll: Option<Duration>,

    /// With --store: serve only what one of these public keys signed
    #[arg(long, value_name = "KEYS")]
    pub trust: Option<PathBuf>,

    /// Address and port to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub listen: String,

    /// API keys, read again on SIGHUP, as JSON: [{"name": …, "key": …, "tasks": [names], "rights": ["read", "predict", "manage"]}]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,

    /// Without keys, listen on other than the loopback address: everyone who reaches it may read and
    /// change tasks
    #[arg(long)]
    pub insecure: bool,

    /// Name or address that it may be asked by without keys, beside localhost, 127.0.0.1, ::1 and
    /// the one listened on; may be given several times
    #[arg(long, value_name = "HOST")]
    pub allow_host: Vec<String>,

    /// Change no task and no file: PUT and DELETE are refused, and other servers may use the folder
    #[arg(long)]
    pub read_only: bool,

    /// Do not start with a cut that cannot be served; else the others are, and it is named in
    /// /v1/tasks, the log and the metrics
    #[arg(long)]
    pub strict: bool,

    /// Format of the log on standard error
    #[arg(long, default_value = "text")]
    pub log: LogFormat,

    /// Collector of OpenTelemetry traces (OTLP over HTTP), such as http://localhost:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// Memory for materialised matrices in MB
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub materialise_budget: usize,

    /// Memory for tasks in MB, or with a unit (2GB); a cut that needs more is refused, and of a store those used the
    /// longest ago give way
    #[arg(long, value_name = "MB", default_value = "4000", visible_alias = "memory", value_parser = memory)]
    pub task_memory: Budget,

    /// Requests that may wait or be computed at one time; more get status 429
    #[arg(long, value_name = "N", default_value_t = 512, help_heading = "Limits")]
    pub max_requests: usize,

    /// Connections at one time; past it, one that waits for its client gives way
    #[arg(long, value_name = "N", default_value_t = 1024, help_heading = "Limits")]
    pub max_connections: usize,

    /// Tokens computed at one time, counted once for every task
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Limits")]
    pub batch_tokens: usize,

    /// Inputs of a request
    #[arg(long, value_name = "N", default_value_t = 32, help_heading = "Limits")]
    pub max_inputs: usize,

    /// Answers of a request: inputs times tasks
    #[arg(long, value_name = "N", default_value_t = 32_768, help_heading = "Limits")]
    pub max_answers: usize,

    /// Bytes of an answer
    #[arg(long, value_name = "BYTES", default_value_t = 32_000_000, help_heading = "Limits")]
    pub max_answer: usize,

    /// Bytes of all large answers that clients have not taken yet; more get status 429
    #[arg(long, value_name = "BYTES", default_value_t = 256_000_000, help_heading = "Limits")]
    pub max_answers_untaken: usize,

    /// Bytes of a text
    #[arg(long, value_name = "BYTES", default_value_t = 100_000, help_heading = "Limits")]
    pub max_text: usize,

    /// Bytes of a request's body
    #[arg(long, value_name = "BYTES", default_value_t = 2_000_000, help_heading = "Limits")]
    pub max_body: usize,

    /// Bytes of an uploaded cut
    #[arg(long, value_name = "BYTES", default_value_t = 64_000_000, help_heading = "Limits")]
    pub max_upload: usize,

    /// Seconds that a request may take
    #[arg(long, value_name = "SECONDS", default_value_t = 30.0, help_heading = "Limits")]
    pub timeout: f64,

    /// Seconds that a client may take for a request's head
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0, help_heading = "Limits")]
    pub head_timeout: f64,

    /// Seconds that a connection may stay between two requests, or take nothing of an answer
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0, help_heading = "Limits")]
    pub idle_timeout: f64,

    /// Refuse texts longer than a task reads, where the request does not say; else they are cut
    #[arg(long, help_heading = "Limits")]
    pub no_truncate: bool,
}

pub(crate) fn run(args: ServeArgs) -> Result<()> {
    check_of_store(&args)?;
    return_memory();
    let files = allow_files();
    let limits = limits(&args)?;
    let keys = args.keys.as_deref().map(Keys::read).transpose()?;
    // An empty variable is none, as OpenTelemetry has it.
    let collector = args.otlp_endpoint.as_deref().filter(|url| !url.is_empty());
    let traces = collector.map(Traces::to).transpose()?;
    let listener = listen(&args)?;
    let mut hosts = args.allow_host.clone();
    // A name that it listens on is one that it is asked by; addresses are known as such.
    let named = args.listen.rsplit_once(':').map(|(name, _)| name);
    let is_name = |name: &&str| args.listen.parse::<SocketAddr>().is_err() && *name != "localhost";
    hosts.extend(named.filter(is_name).map(String::from));
    let settings = Settings {
        limits,
        keys,
        hosts,
        address: listener.local_addr().ok(),
        read_only: args.read_only,
        strict: args.strict,
        poll: args.poll.unwrap_or(POLL),
        traces,
    };
    let bytes = |option: &str, mb: usize| {
        mb.checked_mul(1_000_000).ok_or_else(|| {
            let message = format!("{option} is {mb} MB");
            Error::new(ErrorKind::Config, message).with_hint("more than this machine can address")
        })
    };
    let budget = bytes("--materialise-budget", args.materialise_budget)?;
    let trusted = args.trust.as_deref().map(Trusted::read).transpose()?;
    let mut warnings = Vec::new();
    let store = args
        .store
        .as_deref()
        .map(|at| open_store(at, args.read_only, &mut warnings))
        .transpose()?;
    let mut base = args.base.open(Some(Pooling::First))?;
    if args.dtype == Dtype::Int8
        && let Err(error) = base.weights.page()
    {
        let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
        say(&format!("warning: {}: they stay in memory{hint}", error.message()));
    }
    let options = Options {
        dtype: args.dtype,
        materialise_budget: budget,
        task_memory: args.task_memory.of(0) as usize,
        batch_tokens: args.batch_tokens,
        costs: None,
    };
    let bank = Bank::new(base, options)?;
    if let Some(folder) = args.cuts.as_deref().filter(|_| !args.read_only) {
        stand_by(folder, &listener)?;
    }
    let cuts = match store {
        Some(store) => Cuts::Store { store, trusted },
        None => Cuts::Folder(args.cuts.clone().unwrap_or_default()), // one of the two is required
    };
    let bar = progress(args.base.quiet);
    let state = State::open(bank, cuts, settings, |done, all| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
    })?;
    bar.finish_and_clear();
    let log = log::start(args.log)?;
    warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|e| cannot("start the server's threads", e))?;
    let served = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)
            .map_err(|e| cannot("use the listener", e))?;
        let address = listener.local_addr().map_err(|e| cannot("use the listener", e))?;
        crate::interrupt::stop_when_asked(); // a second signal does not wait for answers
        let stop = stopped().map_err(|e| cannot("listen for signals", e))?;
        hang_up(&state, args.keys.clone()).map_err(|e| cannot("listen for signals", e))?;
        tracing::info!(tasks = state.tasks(), "listening on http://{address}");
        if files.is_some_and(|files| files < args.max_connections as u64 + FILES) {
            tracing::warn!(files, "fewer files may be open than connections need: ulimit -n");
        }
        linocut_server::serve(listener, state, stop).await.map_err(|e| cannot("serve", e))?;
        tracing::info!("stopped");
        Ok(())
    });
    // An upload that is still checked is given up, and a reader of the log that does not read.
    runtime.shutdown_timeout(LAST);
    log.flush(LAST);
    served
}

fn cannot(what: &str, e: std::io::Error) -> Error {
    Error::new(ErrorKind::Io, format!("cannot {what}: {e}")).with_source(e)
}

/// While another server works on the folder: says which, and waits for its end.
fn stand_by(cuts: &Path, listener: &TcpListener) -> Result<()> {
    let Some(holder) = linocut_server::held(cuts, listener.local_addr().ok()) else {
        return Ok(());
    };
    let holder = holder.message();
    say(&format!("warning: {holder}; standing by until it ends (--read-only serves beside it)"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|e| cannot("start the server's threads", e))?;
    let waited = runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener.try_clone()?)?;
        linocut_server::stand_by(listener, cuts).await
    });
    waited.map_err(|e| cannot("use the listener", e))
}

/// Lets as many files be open as the system allows, since each connection is one; says how many.
#[cfg(unix)]
fn allow_files() -> Option<u64> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
    if raised.is_ok() { maximum } else { current }
}

#[cfg(not(unix))]
fn allow_files() -> Option<u64> {
    None
}

/// Has every block of 128 KiB or more given back to the system as soon as it is free. Left alone, the
/// C library keeps ever larger ones once it has seen them come and go: a quarter more memory after a
/// thousand changed tasks (bench/LOG.md).
fn return_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: sets a number of the allocator, under its own lock; no other thread is needed or harmed.
    #[allow(unsafe_code, reason = "the setting has no safe way in; bench/soak.py shows its effect")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 << 10);
    }
}

/// Options that only a store knows must not pass for something where there is none: clap lets them, since --cuts
/// stands in the place of --store.
fn check_of_store(args: &ServeArgs) -> Result<()> {
    let found = [("--trust", args.trust.is_some()), ("--poll", args.poll.is_some())];
    match found.into_iter().find(|(_, given)| *given && args.store.is_none()) {
        None => Ok(()),
        Some((option, _)) => {
            let message = format!("{option} has no meaning for a folder of cuts");
            Err(Error::new(ErrorKind::Config, message)
                .with_hint("push the cuts into a store, and serve that: linocut serve --store"))
        }
    }
}

/// A store to serve from. An empty folder becomes one, so that a server may start before its first task.
fn open_store(at: &str, read_only: bool, warnings: &mut Vec<String>) -> Result<Store> {
    let is_empty = std::fs::read_dir(at).is_ok_and(|mut entries| entries.next().is_none());
    if is_empty && !read_only {
        warnings.push(format!("{at} is empty: a new store, without tasks"));
        return Store::create(at);
    }
    let store = Store::open(at)?;
    let tasks = Path::new(at).join("tasks");
    if !read_only
        && tasks.is_dir()
        && let Err(error) = check_folder(&tasks)
    {
        warnings.push(format!(
            "{}: tasks cannot be changed over HTTP; let this user write there, or say --read-only",
            error.message()
        ));
    }
    Ok(store)
}

/// On SIGHUP reads keys and store again, from now on.
fn hang_up(state: &Arc<State>, keys: Option<PathBuf>) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        let mut signals = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup())?;
        let state = Arc::clone(state);
        tokio::spawn(async move {
            while signals.recv().await.is_some() {
                let (state, keys) = (Arc::clone(&state), keys.clone());
                // A failure is in the log; what was known stays.
                let _ = tokio::task::spawn_blocking(move || read_again(&state, keys)).await;
            }
        });
    }
    #[cfg(not(unix))]
    let _ = (state, keys);
    Ok(())
}

#[cfg(unix)]
fn read_again(state: &State, keys: Option<PathBuf>) {
    match keys.as_deref().map(Keys::read).transpose() {
        Ok(Some(keys)) => {
            state.renew_keys(keys);
            tracing::info!("keys read again");
        }
        Ok(None) => {}
        Err(error) => tracing::error!(%error, "the keys stay as they were"),
    }
    match state.refresh() {
        Ok(()) => tracing::info!(tasks = state.tasks(), "tasks read again"),
        Err(error) => tracing::error!(%error, "tasks stay as they are known"),
    }
}

/// Bytes from a number of MB, or of another unit.
fn memory(text: &str) -> std::result::Result<Budget, String> {
    match (text.parse::<u32>(), text.parse()) {
        (Ok(mb), _) => Ok(Budget::Bytes(1e6 * f64::from(mb))),
        (_, Ok(Budget::Bytes(bytes))) => Ok(Budget::Bytes(bytes)),
        _ => Err("expected MB, as 2000, or a size, as 2GB".into()),
    }
}

fn duration(option: &str, found: f64) -> Result<Duration> {
    Duration::try_from_secs_f64(found).map_err(|e| {
        Error::new(ErrorKind::Config, format!("{option} is {found}, expected seconds: {e}"))
    })
}

fn limits(args: &ServeArgs) -> Result<Limits> {
    Ok(Limits {
        requests: args.max_requests,
        connections: args.max_connections,
        inputs: args.max_inputs,
        answers: args.max_answers,
        answer_bytes: args.max_answer,
        untaken_bytes: args.max_answers_untaken,
        text_bytes: args.max_text,
        body_bytes: args.max_body,
        upload_bytes: args.max_upload,
        batch_tokens: args.batch_tokens,
        timeout: duration("--timeout", args.timeout)?,
        head: duration("--head-timeout", args.head_timeout)?,
        idle: duration("--idle-timeout", args.idle_timeout)?,
        truncate: !args.no_truncate,
    })
}

/// Takes the port before anything slow: one in use is seen at once.
fn listen(args: &ServeArgs) -> Result<TcpListener> {
    let listen = &args.listen;
    let wrong = |e: std::io::Error| {
        let message = format!("--listen {listen}: {e}");
        Error::new(ErrorKind::Config, message).with_hint("expected ADDRESS:PORT, as 127.0.0.1:8080")
    };
    let addresses: Vec<SocketAddr> = listen.to_socket_addrs().map_err(wrong)?.collect();
    let open = args.keys.is_none() && !args.insecure;
    if let Some(address) = addresses.iter().find(|a| open && !a.ip().is_loopback()) {
        let message = format!("--listen {listen}: {} can be reached from outside", address.ip());
        let hint = "give --keys FILE, or --insecure if all who reach it may change its tasks";
        return Err(Error::new(ErrorKind::Config, message).with_hint(hint));
    }
    let listener = TcpListener::bind(&addresses[..]).map_err(|e| {
        let message = format!("cannot listen on {listen}: {e}");
        let error = Error::new(ErrorKind::Io, message);
        match e.kind() {
            std::io::ErrorKind::AddrInUse => error.with_hint("choose another port with --listen"),
            _ => error,
        }
    })?;
    listener.set_nonblocking(true).map_err(wrong)?;
    Ok(listener)
}

/// Ends at Ctrl-C or SIGTERM; the next one ends the process (see [`crate::interrupt`]).
fn stopped() -> std::io::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated.recv() => {}
        }
        #[cfg(not(unix))]
        let _ = tokio::signal::ctrl_c().await;
        tracing::info!("stopping: requests under way are answered first");
    })
}

fn progress(quiet: bool) -> ProgressBar {
    let target =
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(Some(0), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} cuts, {eta} left") {
        bar.set_style(style);
    }
    bar
}
