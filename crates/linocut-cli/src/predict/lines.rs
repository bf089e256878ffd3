//! Predictions on the lines of standard input, as they come.

use super::format::Predictions;
use super::{PredictArgs, explain};
use crate::choices;
use crate::model::{Model, note_texts_cut};
use crate::output::{json_line, say, shown, stdout_error};
use linocut::data::Problem;
use linocut::{Error, ErrorKind, Result};
use serde_json::json;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};

/// Lines labelled at once, where as many are waiting.
const BATCH: usize = 256;

pub(super) fn run(args: &PredictArgs) -> Result<()> {
    let model = Model::open(&args.cut, &args.base, args.dtype)?;
    let card = &choices::with_threshold(model.cut().card(), args.threshold)?;
    let more = args.more(card)?;
    // A line is data for the next program, but not where a terminal shows it.
    let terminal = io::stdout().is_terminal();
    if !args.json
        && (card.problem == Problem::SingleLabel || more.top.is_some())
        && let Some(label) = card.labels.iter().find(|label| label.contains(['\t', '\n', '\r']))
    {
        let message = format!("the label {label:?} cannot stand in a line of text");
        return Err(Error::new(ErrorKind::Data, message).with_hint("use --json"));
    }
    let mut input = Lines { input: BufReader::with_capacity(1 << 18, io::stdin()), line: 0 };
    let (mut texts_cut, mut empty, mut untried) = (0, 0, 0);
    loop {
        let mut batch = Batch::default();
        let end = read_batch(&mut input, card.pairs, &card.task, &mut batch);
        let Batch { texts, pairs, blank } = batch;
        empty += blank.iter().filter(|blank| **blank).count();
        let predictions = if texts.is_empty() {
            None
        } else {
            let logits = model.logits(&texts, card.pairs.then_some(&pairs), |_| true)?;
            texts_cut += logits.texts_cut;
            Some(Predictions::new(card, logits.values, more))
        };
        let mut explanations = vec![];
        if let Some(label) = args.explained() {
            for (i, text) in texts.iter().enumerate() {
                explanations.push(model.explain(text, pairs.get(i).map(String::as_str), label)?);
            }
        }
        untried += explanations.iter().map(|found| found.untried).sum::<usize>();
        let mut explanations = explanations.iter();
        let mut rows = predictions.iter().flat_map(|p| (0..p.rows()).map(move |i| p.row(i)));
        let mut out = io::stdout().lock();
        let mut write = || {
            for &blank in &blank {
                let row = if blank { None } else { rows.next() };
                let explanation = if blank { None } else { explanations.next() };
                match (args.json, row) {
                    (true, Some(row)) => {
                        let mut object = row.json();
                        explanation.iter().for_each(|found| explain::add_to(&mut object, found));
                        out.write_all(json_line(&object.into()).as_bytes())?;
                    }
                    (true, None) => writeln!(out, "{}", json!({"error": "empty text"}))?,
                    (false, None) => writeln!(out)?,
                    (false, Some(row)) => {
                        let mut cells = row.cells();
                        let of = |found| match args.explained() {
                            // Not of the label that stands before it.
                            Some(Some(label)) => format!("{label}: {}", explain::cell(found)),
                            _ => explain::cell(found),
                        };
                        cells.extend(explanation.map(of));
                        let shown = cells.iter().map(|cell| match terminal {
                            true => shown(cell),
                            false => cell.into(),
                        });
                        writeln!(out, "{}", shown.collect::<Vec<_>>().join("\t"))?;
                    }
                }
            }
            out.flush()
        };
        write().map_err(stdout_error)?;
        if end? {
            break;
        }
    }
    note_texts_cut(texts_cut, card.extent());
    explain::note_untried(untried);
    if empty > 0 {
        let lines = if empty == 1 { "1 line" } else { &format!("{empty} lines") };
        say(&format!("note: {lines} with an empty text got no label"));
    }
    Ok(())
}

/// Lines read at once.
#[derive(Default)]
struct Batch {
    texts: Vec<String>,
    pairs: Vec<String>,
    /// For each line whether it holds no text to label.
    blank: Vec<bool>,
}

/// Reads the lines that are waiting, at least one; true at the end of the input. An error is that
/// of the first bad line: the lines before it are read, and are labelled before it is reported.
fn read_batch(
    input: &mut Lines<impl Read>,
    paired: bool,
    task: &str,
    batch: &mut Batch,
) -> Result<bool> {
    while batch.blank.len() < BATCH && (batch.blank.is_empty() || input.waiting()) {
        let Some(line) = input.next()? else { return Ok(true) };
        let parts: Vec<&str> = line.split('\t').collect();
        let (expected, hint) = if paired {
            (2, "the two texts of a pair are separated by one tab")
        } else {
            (1, "every line is one text; choose a column of a table with: cut -f, or use --in")
        };
        let empty = |text: &&str| text.trim().is_empty();
        if line.trim().is_empty() || parts.len() == expected && parts.iter().any(empty) {
            batch.blank.push(true);
            continue;
        }
        if parts.len() != expected {
            let found = parts.len();
            let texts = if expected == 1 { "1 text" } else { "2 texts" };
            let message = format!("the task {task:?} takes {texts} a line, found {found}");
            return Err(input.error(message).with_hint(hint));
        }
        batch.blank.push(false);
        batch.texts.push(parts[0].to_string());
        batch.pairs.extend(parts.get(1).map(|text| text.to_string()));
    }
    Ok(false)
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
