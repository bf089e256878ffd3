//! Labels that somebody lists, in their order.

use std::collections::HashMap;
use std::path::Path;

use super::super::remark::shown;
use super::super::table::data_error;
use super::super::text::read_text;
use super::spelling;
use super::targets::Positions;
use crate::{Error, Result};

/// As many as a cut's header surely holds.
const MOST_LABELS: usize = 10_000;
/// Bytes of a file of labels.
const MOST_BYTES: u64 = 2 << 20;

/// The labels in a text file, one a line, in the order of the lines; white space at their ends is none of theirs.
/// Line breaks at the end of the file are nothing.
///
/// # Errors
/// A file that cannot be read, is empty, not UTF-8 or larger than 2 MiB; by its line: a blank one, a label that
/// stands there already, the first label after 10,000.
pub fn read_labels(path: &Path) -> Result<Vec<String>> {
    let bytes = std::fs::metadata(path).map_err(|e| Error::io(path, "read", e))?.len();
    if bytes > MOST_BYTES {
        let message =
            format!("{} has {bytes} bytes, expected {MOST_BYTES} at most", path.display());
        return Err(data_error(message).with_hint("a file of labels has one label a line"));
    }
    let text = read_text(path)?;
    let lines = text.trim_end_matches(['\n', '\r']).split('\n');
    let labels: Vec<String> = lines.map(|line| spelling::trimmed(line).to_string()).collect();
    check_listed(&labels, path, "line")?;
    Ok(labels)
}

/// Checks the labels that `path`, a file or an argument, lists, each in a `unit` of it.
///
/// # Errors
/// As [`read_labels`].
pub fn check_listed(labels: &[String], path: &Path, unit: &str) -> Result<()> {
    let fail = |at: usize, what: String| {
        Err(data_error(format!("{}, {unit} {}: {what}", path.display(), at + 1)))
    };
    let mut known = HashMap::new();
    for (at, label) in labels.iter().enumerate() {
        if label.trim().is_empty() {
            return fail(at, "expected a label, found nothing".into());
        }
        if at == MOST_LABELS {
            return fail(at, format!("expected {MOST_LABELS} labels at most"));
        }
        if let Some(first) = known.insert(spelling::key(label), at) {
            let first = first + 1;
            return fail(
                at,
                format!("label {} is listed twice, first in {unit} {first}", shown(label)),
            );
        }
    }
    Ok(())
}

/// The labels listed and, unless it is one of them, after them the label that stands for others.
pub(super) fn with_other(labels: &[String], other: Option<&String>) -> Vec<String> {
    let positions = Positions::new(labels, None);
    let new = other.filter(|other| positions.find(other).is_none());
    labels.iter().chain(new).map(|label| spelling::trimmed(label).to_string()).collect()
}
