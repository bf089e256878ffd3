//! The library's errors as Python's exceptions.

use linocut::{Error, ErrorKind};
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// The exception of `linocut._errors` for an error, with its message and hint.
pub(crate) fn raised(py: Python<'_>, error: &Error) -> PyErr {
    let name = match error.kind() {
        ErrorKind::Io => "FileError",
        ErrorKind::Data => "DataError",
        ErrorKind::Base => "BaseError",
        ErrorKind::Cut => "CutError",
        ErrorKind::Config => "ConfigError",
        ErrorKind::Memory => "OutOfMemory",
        ErrorKind::Diverged => "Diverged",
        ErrorKind::Interrupted => "Stopped",
        _ => "Error",
    };
    let made = py
        .import("linocut._errors")
        .and_then(|module| module.getattr(name)?.call1((error.message(), error.hint())));
    match made {
        Ok(exception) => PyErr::from_value(exception),
        Err(e) => e,
    }
}

/// Calls `work` while other Python threads run.
pub(crate) fn detached<T: Send>(
    py: Python<'_>,
    work: impl FnOnce() -> linocut::Result<T> + Send,
) -> PyResult<T> {
    alive(py)?;
    py.detach(work).map_err(|error| raised(py, &error))
}

/// How often those who compute long look whether Python wants them to stop.
pub(crate) const LOOK: Duration = Duration::from_millis(200);

/// As [`detached`]; `work` is given what says whether it goes on, which it does not after Ctrl-C.
pub(crate) fn stoppable<T: Send>(
    py: Python<'_>,
    work: impl FnOnce(&mut dyn FnMut() -> bool) -> linocut::Result<T> + Send,
) -> PyResult<T> {
    alive(py)?;
    let mut signal = None;
    let done = py.detach(|| {
        let mut looked = Instant::now();
        work(&mut || {
            if signal.is_some() || looked.elapsed() < LOOK {
                return signal.is_none();
            }
            looked = Instant::now();
            signal = Python::attach(|py| py.check_signals()).err();
            signal.is_none()
        })
    });
    match signal {
        Some(signal) => Err(signal),
        None => done.map_err(|error| raised(py, &error)),
    }
}

/// Refuses to compute in a process that was forked from one that did: its threads are not there.
pub(crate) fn alive(py: Python<'_>) -> PyResult<()> {
    static PROCESS: OnceLock<u32> = OnceLock::new();
    if *PROCESS.get_or_init(std::process::id) == std::process::id() {
        return Ok(());
    }
    let error = Error::new(
        ErrorKind::Config,
        "this process was forked from one in which linocut computed, and its threads are not here",
    );
    Err(raised(
        py,
        &error.with_hint(
            "start processes by multiprocessing.get_context(\"spawn\"), or import and use linocut only in \
             them",
        ),
    ))
}

/// A value as JSON, which Python reads.
pub(crate) fn json(value: &impl serde::Serialize) -> PyResult<String> {
    serde_json::to_string(value).map_err(|e| PyRuntimeError::new_err(e.to_string()))
}

/// A value that Python wrote as JSON; what is wrong with it is the caller's.
pub(crate) fn read<T: serde::de::DeserializeOwned>(py: Python<'_>, text: &str) -> PyResult<T> {
    let mut text = serde_json::Deserializer::from_str(text);
    serde_path_to_error::deserialize(&mut text).map_err(|e| {
        // Where in the text is of no use to who has not written it; which argument is.
        let message = e.inner().to_string();
        let message = message.split(" at line ").next().unwrap_or(&message);
        let error = Error::new(ErrorKind::Config, message);
        let argument = e.path().to_string();
        raised(py, &if argument == "." { error } else { error.at(format!("`{argument}`")) })
    })
}
