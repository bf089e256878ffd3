//! Predictions on the rows of a file.

use super::format::Predictions;
use super::kept::Kept;
use super::{PredictArgs, check_output};
use crate::choices;
use crate::model::{Model, note_texts_cut};
use crate::output::{json_line, say, stdout_error};
use crate::task::Tell;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::checkpoint::write_file;
use linocut::data::{Columns, Dataset, Table, TaskSpec};
use linocut::output;
use linocut::{Error, ErrorKind, Result};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// How predictions are written.
#[derive(Clone, Copy, PartialEq)]
enum Format {
    Tsv,
    Csv,
    Jsonl,
}

impl Format {
    /// That of a file's name.
    fn of(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_string_lossy().to_lowercase();
        match extension.as_str() {
            "tsv" | "txt" => Some(Format::Tsv),
            "csv" => Some(Format::Csv),
            "jsonl" | "json" => Some(Format::Jsonl),
            _ => None,
        }
    }
}

pub(super) fn run(args: &PredictArgs, input: &Path) -> Result<()> {
    let format = match &args.out {
        Some(out) => Format::of(out).ok_or_else(|| {
            let message = format!("cannot tell the format of --out {}", out.display());
            Error::new(ErrorKind::Config, message).with_hint(
                "expected a name ending in .tsv, .csv or .jsonl; without --out, rows go to standard \
                 output",
            )
        })?,
        None if args.json => Format::Jsonl,
        None => Format::of(input).unwrap_or(Format::Tsv),
    };
    let _held = check_output(args, input)?;
    let spec =
        TaskSpec { text: args.text.clone(), pair: args.text_pair.clone(), ..TaskSpec::default() };
    let keep = args.keep.as_deref().filter(|names| *names != "*");
    let columns = match (keep, spec.texts_only()) {
        (Some(names), Columns::Named(mut texts)) => {
            texts.extend(names.split(',').map(str::to_string));
            Columns::Named(texts)
        }
        _ => Columns::All,
    };
    let table = Table::read(input, &args.format.reading(columns, None))?;
    Tell { quiet: args.base.quiet, strict: false }.all(table.remarks())?;
    let (texts, pairs) = Dataset::texts(&table, &spec)?;
    let kept = Kept::of(&table, keep)?;
    drop(table);
    let model = Model::open(&args.cut, &args.base, args.dtype)?;
    let place = input.display().to_string();
    model.check_pairs(pairs.is_some(), &place, "name the columns: --text and --text-pair")?;
    let card = &choices::with_threshold(model.cut().card(), args.threshold)?;
    let more = args.more(card)?;
    let written = Written { kept, format };
    written.check(&card.labels, texts.len())?;
    let bar = progress(args.base.quiet, texts.len());
    let logits = model.logits(&texts, pairs.as_deref(), |done| {
        bar.set_position(done as u64);
        true
    })?;
    bar.finish_and_clear();
    let predictions = Predictions::new(card, logits.values, more);
    let result = match &args.out {
        Some(out) => {
            let write = |path: &Path, force: bool| {
                write_file(path, force, |to| written.write(&predictions, to))
            };
            Some((out, output::keep(out, args.force, write)?))
        }
        None => {
            let mut to = BufWriter::new(io::stdout().lock());
            written.write(&predictions, &mut to).and_then(|()| to.flush()).map_err(stdout_error)?;
            None
        }
    };
    note_texts_cut(logits.texts_cut, card.extent());
    let to = match &result {
        Some((_, kept)) => kept.path.display().to_string(),
        None => "standard output".into(),
    };
    if !args.base.quiet {
        let rows = match predictions.rows() {
            1 => "1 row".into(),
            n => format!("{n} rows"),
        };
        say(&format!("{to}: {rows} of {}", written.columns(&predictions)));
    }
    match result {
        Some((out, kept)) => kept.check(out),
        None => Ok(()),
    }
}

/// Predictions beside the columns kept.
struct Written {
    kept: Kept,
    format: Format,
}

impl Written {
    /// A TSV file cannot hold a tab or a line break.
    fn check(&self, labels: &[String], rows: usize) -> Result<()> {
        if self.format != Format::Tsv {
            return Ok(());
        }
        let breaks = |text: &str| text.contains(['\t', '\n', '\r']);
        let cannot = |what: String, hint: &str| {
            let message = format!("{what} cannot stand in a TSV file");
            Err(Error::new(ErrorKind::Data, message).with_hint(hint))
        };
        if let Some(label) = labels.iter().find(|label| breaks(label)) {
            return cannot(format!("the label {label:?}"), "write .csv or .jsonl instead");
        }
        let names = self.kept.names();
        if let Some(name) = names.iter().find(|name| breaks(name)) {
            return cannot(format!("a column named {name:?}"), "write .csv or .jsonl instead");
        }
        for row in 0..rows {
            let mut cells = names.iter().zip(self.kept.cells(row));
            if let Some((name, _)) = cells.find(|(_, cell)| breaks(cell)) {
                let what = format!("row {}: a tab or line break in column {name:?}", row + 1);
                return cannot(
                    what,
                    "write .csv or .jsonl, or name the columns to keep: --keep id",
                );
            }
        }
        Ok(())
    }

    /// Names of the columns.
    fn header(&self, predictions: &Predictions<'_>) -> Vec<String> {
        let mut names = self.kept.names().to_vec();
        names.extend(self.kept.beside(&predictions.header()));
        names
    }

    /// The columns for people, at most twelve of them.
    fn columns(&self, predictions: &Predictions<'_>) -> String {
        let names = match self.format {
            Format::Jsonl => {
                let row = self.kept.object(0, predictions.row(0).json());
                row.as_object().map(|o| o.keys().cloned().collect()).unwrap_or_default()
            }
            _ => self.header(predictions),
        };
        let more = match names.len().saturating_sub(12) {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        names.iter().take(12).map(String::as_str).collect::<Vec<_>>().join(", ") + &more
    }

    fn write(&self, predictions: &Predictions<'_>, to: &mut dyn Write) -> io::Result<()> {
        match self.format {
            Format::Tsv => writeln!(to, "{}", self.header(predictions).join("\t"))?,
            Format::Csv => writeln!(to, "{}", csv_line(&self.header(predictions)))?,
            Format::Jsonl => {}
        }
        for i in 0..predictions.rows() {
            let row = predictions.row(i);
            let cells = || self.kept.cells(i).chain(row.cells()).collect::<Vec<_>>();
            match self.format {
                Format::Tsv => writeln!(to, "{}", cells().join("\t"))?,
                Format::Csv => writeln!(to, "{}", csv_line(&cells()))?,
                Format::Jsonl => {
                    to.write_all(json_line(&self.kept.object(i, row.json())).as_bytes())?;
                }
            }
        }
        Ok(())
    }
}

/// Cells quoted where RFC 4180 asks for it.
fn csv_line(cells: &[String]) -> String {
    // A single empty cell unquoted would be an empty line, which is no row.
    if let [only] = cells
        && only.is_empty()
    {
        return "\"\"".into();
    }
    let quoted = |cell: &String| {
        if cell.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", cell.replace('"', "\"\""))
        } else {
            cell.clone()
        }
    };
    cells.iter().map(quoted).collect::<Vec<_>>().join(",")
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
