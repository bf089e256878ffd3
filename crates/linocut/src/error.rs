//! The library's one error type.

use std::cell::Cell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

/// What kind of thing went wrong; decides an exit code or an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Reading or writing a file failed.
    Io,
    /// Rows, columns, labels or texts are not what the task needs.
    Data,
    /// A model folder is missing something, malformed, or of an unsupported architecture.
    Base,
    /// A cut file is malformed, altered, or belongs to another base or tokenizer.
    Cut,
    /// An option is out of range or contradicts another.
    Config,
    /// A budget of memory does not hold it.
    Memory,
    /// Training met a loss or gradient that is not a number.
    Diverged,
    /// The caller asked to stop; the state was saved.
    Interrupted,
}

/// An error that says what was found, what was expected, where, and, where known, what to do.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// The library's result type.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// A new error of `kind`; `message` names what was found, what was expected and where.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Box::new(Inner { kind, message: message.into(), hint: None, source: None }))
    }

    /// An I/O error with the path it happened at.
    pub fn io(path: &std::path::Path, doing: &str, source: std::io::Error) -> Self {
        Self::new(ErrorKind::Io, format!("cannot {doing} {}: {source}", path.display()))
            .with_source(source)
    }

    /// Adds what the reader can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Says where it happened, before what it says already.
    #[must_use]
    pub fn at(mut self, place: impl fmt::Display) -> Self {
        self.0.message.insert_str(0, &format!("{place}: "));
        self
    }

    /// Adds the error this one came from.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// The kind of error.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// What was found, what was expected and where, without the hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// What the reader can do about it, where known.
    pub fn hint(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        match &self.0.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s.as_ref() as &(dyn std::error::Error + 'static))
    }
}

/// Calls `attempt`, which runs code of others on data of others: where that panics, the panic ends
/// here, unprinted, and its message is returned.
///
/// What `attempt` was changing may be half changed then: drop it. Code that must not panic at all is
/// to be mended, not to be called through this.
///
/// # Errors
/// The panic's message.
pub fn contained<T>(attempt: impl FnOnce() -> T) -> std::result::Result<T, String> {
    thread_local! {
        static SILENT: Cell<bool> = const { Cell::new(false) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            // At the end of a thread its flag may be gone: then nothing is contained.
            if !SILENT.try_with(Cell::get).unwrap_or(false) {
                before(panic);
            }
        }));
    });
    let outer = SILENT.replace(true);
    let result = catch_unwind(AssertUnwindSafe(attempt));
    SILENT.set(outer);
    result.map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().unwrap_or(&"no message").to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::contained;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(contained(|| 3), Ok(3));
        assert_eq!(contained(|| panic!("row {}", 7)).map(|()| 0), Err("row 7".to_string()));
        let nested = contained(|| contained(|| panic!("inner")).map(|()| 0));
        assert_eq!(nested, Ok(Err("inner".to_string())));
    }
}
