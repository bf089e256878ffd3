//! The log on standard error.

use clap::ValueEnum;
use linocut::{Error, ErrorKind, Result};
use linocut_server::Log;
use std::io::Write;

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum LogFormat {
    /// Lines for people
    Text,
    /// One JSON object a line
    Json,
}

/// Begins the log, for panics too; neither they nor anything else then waits for its reader.
pub(super) fn start(format: LogFormat) -> Result<Log> {
    let cannot = |e: std::io::Error| {
        Error::new(ErrorKind::Io, format!("cannot start the log: {e}")).with_source(e)
    };
    let log = Log::to(standard_error().map_err(cannot)?).map_err(cannot)?;
    let lines = log.clone();
    let to_log = tracing_subscriber::fmt()
        .with_writer(move || lines.clone())
        .log_internal_errors(false)
        .with_target(false);
    match format {
        LogFormat::Text => to_log.with_ansi(false).init(),
        LogFormat::Json => to_log.json().flatten_event(true).init(),
    }
    std::panic::set_hook(Box::new(|panic| {
        let thread = std::thread::current();
        let (thread, place) = (thread.name().unwrap_or("unnamed"), panic.location());
        let place = place.map(ToString::to_string).unwrap_or_default();
        let message = panic.payload_as_str().unwrap_or("without a message");
        tracing::error!(thread, place, message, "panic");
    }));
    Ok(log)
}

/// Standard error as a file of its own: whoever waits to write to it holds no lock that others need.
#[cfg(unix)]
fn standard_error() -> std::io::Result<impl Write + Send + 'static> {
    use std::os::fd::AsFd;
    Ok(std::fs::File::from(std::io::stderr().as_fd().try_clone_to_owned()?))
}

#[cfg(not(unix))]
fn standard_error() -> std::io::Result<impl Write + Send + 'static> {
    Ok(std::io::stderr())
}
