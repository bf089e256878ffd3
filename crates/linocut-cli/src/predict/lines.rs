//! Predictions on the lines of standard input, as they come.

use super::PredictArgs;
use super::format::Predictions;
use crate::model::{TaskModel, note_texts_cut};
use crate::output::stdout_error;
use linocut::{Error, ErrorKind, Result};
use std::io::{self, BufRead, BufReader, Read, Write};

/// Lines labelled at once, where as many are waiting.
const BATCH: usize = 256;

pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let model = TaskModel::open(&args.cut, &args.base)?;
    let card = model.cut.card();
    let mut input = Lines { input: BufReader::with_capacity(1 << 18, io::stdin()), line: 0 };
    let mut texts_cut = 0;
    loop {
        let (mut texts, mut pairs) = (Vec::new(), Vec::new());
        let end = read_batch(&mut input, card.pairs, &card.task, &mut texts, &mut pairs);
        if !texts.is_empty() {
            let logits = model.logits(&texts, card.pairs.then_some(&pairs), |_| {})?;
            texts_cut += logits.texts_cut;
            let predictions = Predictions::new(card, logits.values, args.logits);
            let mut out = io::stdout().lock();
            let mut write = || {
                for i in 0..predictions.rows() {
                    let row = predictions.row(i);
                    match (args.json, args.logits) {
                        (true, _) => writeln!(out, "{}", row.json())?,
                        (false, true) => writeln!(out, "{}", row.cells().join("\t"))?,
                        (false, false) => writeln!(out, "{}", row.brief_cells().join("\t"))?,
                    }
                }
                out.flush()
            };
            write().map_err(stdout_error)?;
        }
        if end? {
            break;
        }
    }
    note_texts_cut(texts_cut, card.max_length);
    Ok(())
}

/// Reads the lines that are waiting, at least one; true at the end of the input. An error is that
/// of the first bad line: the lines before it are read, and are labelled before it is reported.
fn read_batch(
    input: &mut Lines<impl Read>,
    paired: bool,
    task: &str,
    texts: &mut Vec<String>,
    pairs: &mut Vec<String>,
) -> Result<bool> {
    while texts.len() < BATCH && (texts.is_empty() || input.waiting()) {
        let Some(line) = input.next()? else { return Ok(true) };
        let parts: Vec<&str> = line.split('\t').collect();
        let wrong = |what: String| input.error(what);
        let (expected, hint) = if paired {
            (2, "the two texts of a pair are separated by one tab")
        } else {
            (1, "every line is one text; choose a column of a table with: cut -f, or use --in")
        };
        if line.trim().is_empty() || parts.len() == expected && blank(&parts) {
            return Err(wrong("empty text".into()).with_hint("remove the line"));
        }
        if parts.len() != expected {
            let found = parts.len();
            let texts = if expected == 1 { "1 text" } else { "2 texts" };
            let message = format!("the task {task:?} takes {texts} a line, found {found}");
            return Err(wrong(message).with_hint(hint));
        }
        texts.push(parts[0].to_string());
        pairs.extend(parts.get(1).map(|text| text.to_string()));
    }
    Ok(false)
}

fn blank(texts: &[&str]) -> bool {
    texts.iter().any(|text| text.trim().is_empty())
}

/// Numbered lines of UTF-8.
struct Lines<R> {
    input: BufReader<R>,
    line: usize,
}

impl<R: Read> Lines<R> {
    /// Whether a whole line has been read already and can be taken without waiting.
    fn waiting(&self) -> bool {
        self.input.buffer().contains(&b'\n')
    }

    fn next(&mut self) -> Result<Option<String>> {
        let mut bytes = Vec::new();
        let read = self.input.read_until(b'\n', &mut bytes).map_err(|e| {
            let message = format!("cannot read standard input: {e}");
            Error::new(ErrorKind::Io, message).with_source(e)
        })?;
        if read == 0 {
            return Ok(None);
        }
        self.line += 1;
        let line = std::str::from_utf8(&bytes).map_err(|e| {
            let at = e.valid_up_to();
            let found = format!("byte {} is 0x{:02x}, which is not UTF-8", at + 1, bytes[at]);
            self.error(found)
                .with_hint("if the text is Latin-1, convert it with: iconv -f LATIN1 -t UTF-8")
        })?;
        let line = line.strip_suffix('\n').unwrap_or(line);
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = if self.line == 1 { line.trim_start_matches('\u{feff}') } else { line };
        Ok(Some(line.to_string()))
    }

    fn error(&self, what: String) -> Error {
        Error::new(ErrorKind::Data, format!("standard input, line {}: {what}", self.line))
    }
}
