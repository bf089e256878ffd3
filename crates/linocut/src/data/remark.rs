//! What is said of data besides errors.

use std::fmt;

/// Something that a reader of data should know; it stops nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Remark {
    /// What was decided, and what decides otherwise.
    Note(String),
    /// What may be a mistake, and what to do if it is one.
    Warning(String),
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Remark::Note(text) => write!(f, "note: {text}"),
            Remark::Warning(text) => write!(f, "warning: {text}"),
        }
    }
}

/// A name, label or text of a file for a message: escaped, in quotation marks, and not too long.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    match text.char_indices().nth(MOST) {
        Some((end, _)) => format!("{:?}…", &text[..end]),
        None => format!("{text:?}"),
    }
}
