//! Predictions on the rows of a file.

use super::format::Predictions;
use super::{PredictArgs, check_output};
use crate::model::{TaskModel, note_texts_cut};
use crate::output::stdout_error;
use crate::task::Tell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::checkpoint::write_atomically;
use linocut::data::{Dataset, Table, TaskSpec};
use linocut::{Error, ErrorKind, Result};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// How predictions are written.
#[derive(Clone, Copy)]
enum Format {
    Tsv,
    Csv,
    Jsonl,
}

impl Format {
    fn of(path: &Path) -> Result<Self> {
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        match extension.as_deref() {
            Some("tsv" | "txt") => Ok(Format::Tsv),
            Some("csv") => Ok(Format::Csv),
            Some("jsonl" | "json") => Ok(Format::Jsonl),
            _ => {
                let message = format!("cannot tell the format of --out {}", path.display());
                Err(Error::new(ErrorKind::Config, message)
                    .with_hint("expected a name ending in .tsv, .csv or .jsonl"))
            }
        }
    }
}

pub(super) fn run(args: &PredictArgs, input: &Path) -> Result<()> {
    let format = match &args.out {
        Some(out) => Format::of(out)?,
        None if args.json => Format::Jsonl,
        None => Format::Tsv,
    };
    check_output(args, input)?;
    let spec =
        TaskSpec { text: args.text.clone(), pair: args.text_pair.clone(), ..TaskSpec::default() };
    let table = Table::read(input, &args.format.reading(spec.texts_only(), None))?;
    Tell { quiet: args.base.quiet, strict: false }.all(table.remarks())?;
    let (texts, pairs) = Dataset::texts(&table, &spec)?;
    let model = TaskModel::open(&args.cut, &args.base)?;
    let place = input.display().to_string();
    model.check_pairs(pairs.is_some(), &place, "name the columns: --text and --text-pair")?;
    let card = model.cut.card();
    if matches!(format, Format::Tsv) {
        check_labels(&card.labels)?;
    }
    let bar = progress(args.base.quiet, texts.len());
    let logits = model.logits(&texts, pairs.as_deref(), |done| bar.set_position(done as u64))?;
    bar.finish_and_clear();
    let predictions = Predictions::new(card, logits.values, args.logits);
    match &args.out {
        Some(out) => write_atomically(out, |to| write(&predictions, format, to))?,
        None => {
            let mut to = BufWriter::new(io::stdout().lock());
            write(&predictions, format, &mut to).and_then(|()| to.flush()).map_err(stdout_error)?;
        }
    }
    note_texts_cut(logits.texts_cut, card.max_length);
    Ok(())
}

fn write(predictions: &Predictions<'_>, format: Format, to: &mut dyn Write) -> io::Result<()> {
    match format {
        Format::Tsv => writeln!(to, "{}", predictions.header().join("\t"))?,
        Format::Csv => writeln!(to, "{}", csv_line(&predictions.header()))?,
        Format::Jsonl => {}
    }
    for i in 0..predictions.rows() {
        let row = predictions.row(i);
        match format {
            Format::Tsv => writeln!(to, "{}", row.cells().join("\t"))?,
            Format::Csv => writeln!(to, "{}", csv_line(&row.cells()))?,
            Format::Jsonl => writeln!(to, "{}", row.json())?,
        }
    }
    Ok(())
}

/// Cells quoted where RFC 4180 asks for it.
fn csv_line(cells: &[String]) -> String {
    let quoted = |cell: &String| {
        if cell.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",")
}

/// A TSV file cannot hold a label with a tab or a line break.
fn check_labels(labels: &[String]) -> Result<()> {
    match labels.iter().find(|label| label.contains(['\t', '\n', '\r'])) {
        Some(label) => {
            let message = format!("the label {label:?} cannot stand in a TSV file");
            Err(Error::new(ErrorKind::Data, message).with_hint("write .csv or .jsonl instead"))
        }
        None => Ok(()),
    }
}

fn progress(quiet: bool, rows: usize) -> ProgressBar {
    let target =
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(Some(rows as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} texts, {eta} left") {
        bar.set_style(style);
    }
    bar
}
