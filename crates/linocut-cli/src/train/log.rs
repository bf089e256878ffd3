//! What happens in a training run, a JSON object a line, while it happens.

use crate::output::{json_line, say};
use linocut::tune::{Event, Trial};
use linocut::{Error, Result};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

/// The log of a run; of none where none was asked for.
pub(super) struct RunLog(Option<Lines>);

struct Lines {
    path: PathBuf,
    file: File,
    started: Instant,
}

impl RunLog {
    /// Begins the file, or goes on with that of an interrupted run; what there is to say `about` the run is its first line.
    pub(super) fn open(path: Option<&Path>, resume: bool, mut about: Value) -> Result<Self> {
        let Some(path) = path else { return Ok(Self(None)) };
        let file = open(path, resume).map_err(|e| Error::io(path, "write", e))?;
        let mut log = Self(Some(Lines { path: path.into(), file, started: Instant::now() }));
        about["linocut"] = json!(env!("CARGO_PKG_VERSION"));
        about["time"] = json!(humantime::format_rfc3339_seconds(SystemTime::now()).to_string());
        log.line("run", about);
        Ok(log)
    }

    /// One event of the run, if it is of those that are logged.
    pub(super) fn event(&mut self, event: &Event) {
        let (name, line) = match event {
            Event::Tokens(texts) => (
                "texts",
                json!({
                    "texts": texts.rows,
                    "median_tokens": texts.median,
                    "most_tokens": texts.longest,
                    "texts_cut": texts.cut,
                }),
            ),
            Event::Fold { fold, folds } => ("fold", json!({"fold": fold + 1, "folds": folds})),
            Event::Tried(Trial { change, score, .. }) => {
                ("tried", json!({"change": change, "score": score}))
            }
            Event::Start { step, steps, trained } => {
                ("start", json!({"step": step, "steps": steps, "trained_parameters": trained}))
            }
            Event::Step { step, loss, tokens, sparsity } => {
                ("step", json!({"step": step, "loss": loss, "tokens": tokens, "zeros": sparsity}))
            }
            Event::Evaluated { step, score, held_out } => {
                ("evaluated", json!({"step": step, "score": score, "held_out": held_out}))
            }
            Event::Saved { step } => ("saved", json!({ "step": step })),
            Event::Unsaved { step, why } => ("unsaved", json!({"step": step, "why": why})),
            // Bars alone show how far these are.
            Event::Trunk { .. } | Event::Choosing { .. } => return,
        };
        self.line(name, line);
    }

    /// What the run gave, as `--json` prints it.
    pub(super) fn result(&mut self, result: &Value) {
        self.line("result", json!({ "result": result }));
    }

    /// Why it gave nothing.
    pub(super) fn failed(&mut self, error: &Error) {
        self.line("failed", json!({"message": error.message()}));
    }

    /// Writes a line: what happened, after how many seconds, and what is known of it.
    fn line(&mut self, event: &str, what: Value) {
        let Some(lines) = &mut self.0 else { return };
        let seconds = (lines.started.elapsed().as_secs_f64() * 1e3).round() / 1e3;
        let mut line = Map::from_iter([
            ("event".to_string(), json!(event)),
            ("seconds".to_string(), json!(seconds)),
        ]);
        if let Value::Object(fields) = what {
            line.extend(fields.into_iter().filter(|(_, value)| !value.is_null()));
        }
        // One write a line: whoever reads along sees whole ones.
        if let Err(e) = lines.file.write_all(json_line(&line.into()).as_bytes()) {
            say(&format!("warning: {} is not written further: {e}", lines.path.display()));
            self.0 = None;
        }
    }
}

/// Whether a file is what such a run wrote: nothing else is added to.
pub(super) fn is_log(path: &Path) -> bool {
    let mut first = String::new();
    let read = |file: File| BufReader::new(file.take(1 << 16)).read_line(&mut first);
    let is_read = File::open(path).and_then(read).is_ok();
    is_read && serde_json::from_str(&first).is_ok_and(|line: Value| line["event"] == "run")
}

/// The file, empty, or whole up to its last line break: a kill or a full disk may have left half a line.
fn open(path: &Path, resume: bool) -> std::io::Result<File> {
    let mut file =
        File::options().create(true).read(true).write(true).truncate(!resume).open(path)?;
    let mut end = file.seek(SeekFrom::End(0))?;
    let mut last = [0];
    while end > 0 {
        file.seek(SeekFrom::Start(end - 1))?;
        file.read_exact(&mut last)?;
        if last == *b"\n" {
            break;
        }
        end -= 1;
    }
    file.set_len(end)?;
    file.seek(SeekFrom::End(0))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_resumed_log_goes_on_after_its_last_whole_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for (before, after) in [("a\nb\n", "a\nb\n"), ("a\nhal", "a\n"), ("hal", ""), ("", "")] {
            fs::write(&path, before).unwrap();
            open(&path, true).unwrap().write_all(b"c\n").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{after}c\n"));
        }
        open(&path, false).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"");
    }
}
