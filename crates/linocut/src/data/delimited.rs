//! TSV and CSV files: which delimiter, whether quoted, and their rows.

use std::path::Path;

use super::records::{Dialect, Fault, Records, Span};
use super::remark::Remark;
use super::table::{Reading, Table, data_error};
use super::text::read_text;
use crate::{Error, Result};

/// A quoted cell of more lines is worth a word even where they do not look like rows.
const LONG_CELL: usize = 200;

/// `usual` is the delimiter that the file's extension stands for.
pub(super) fn read(path: &Path, usual: char, reading: &Reading) -> Result<Table> {
    let text = read_text(path)?;
    let mut table = Table::new(path, "line", reading);
    table.has_header = true;
    let told = told(&text);
    let seen = || told.unwrap_or_else(|| delimiter(&text, usual));
    let delimiter = reading.delimiter.unwrap_or_else(seen);
    if reading.delimiter.is_none() && told.is_none() && delimiter != usual {
        table.remark(Remark::Note(format!(
            "{}: cells are separated by {}, as the header has it; `delimiter` says otherwise",
            path.display(),
            name(delimiter),
        )));
    }
    let quotes = match reading.quotes {
        Some(quotes) => quotes,
        None if usual == ',' => true,
        None if !opens_cells(&text, delimiter) => false,
        None => {
            let quotes = are_quoted(&text, delimiter);
            let how =
                if quotes { "enclose cells, as in CSV" } else { "are text, as in GLUE's files" };
            table.remark(Remark::Note(format!(
                "{}: quotation marks {how}; `quotes` says otherwise",
                path.display()
            )));
            quotes
        }
    };
    let dialect = Dialect { delimiter, quotes };
    let mut records = Records::new(&text, dialect);
    let mut cells = Vec::new();
    if told.is_some() {
        records.next(&mut cells).map_err(|f| fault(path, f, dialect))?;
    }
    let line = 1 + usize::from(told.is_some());
    if text.lines().nth(line - 1).is_none_or(|line| line.is_empty())
        || records.next(&mut cells).map_err(|f| fault(path, f, dialect))?.is_none()
    {
        return Err(data_error(format!("{}, line {line}: no column names", path.display())));
    }
    for cell in &cells {
        table.add_column(unquoted(*cell).into_owned(), reading);
    }
    let width = cells.len();
    let mut long = LongCells::default();
    while let Some(line) = records.next(&mut cells).map_err(|f| fault(path, f, dialect))? {
        if cells.len() != width {
            return Err(ragged(&table, line, &cells, dialect));
        }
        for cell in cells.iter().filter(|cell| cell.quoted) {
            long.look(cell, delimiter, width);
        }
        let Some(row) = table.start_row(line)? else { continue };
        for (number, cell) in cells.iter().enumerate() {
            if let Some(column) = table.kept(number) {
                column.put_text(row, &unquoted(*cell));
            }
        }
    }
    if let Some(remark) = long.remark(path) {
        table.remark(remark);
    }
    Ok(table)
}

/// The delimiter that a line `sep=;` before the header tells Excel.
fn told(text: &str) -> Option<char> {
    let mut said = text.lines().next()?.strip_prefix("sep=")?.chars();
    let delimiter = said.next()?;
    (delimiter != '"' && said.next().is_none()).then_some(delimiter)
}

/// The tab if the first line has one outside quotation marks; else that one of comma, semicolon
/// and pipe that it has most often; else the usual one.
fn delimiter(text: &str, usual: char) -> char {
    let mut counts = [('\t', 0), (',', 0), (';', 0), ('|', 0)];
    let mut inside = false;
    for c in text.lines().next().unwrap_or_default().chars() {
        inside ^= c == '"';
        if let (false, Some((_, n))) = (inside, counts.iter_mut().find(|(d, _)| *d == c)) {
            *n += 1;
        }
    }
    if counts[0].1 > 0 {
        return '\t';
    }
    // The last of equals counts: the comma.
    match counts[1..].iter().rev().max_by_key(|(_, n)| *n) {
        Some((delimiter, n)) if *n > 0 => *delimiter,
        _ => usual,
    }
}

fn name(delimiter: char) -> String {
    match delimiter {
        '\t' => "tabs".into(),
        ',' => "commas".into(),
        ';' => "semicolons".into(),
        '|' => "pipes".into(),
        other => format!("{other:?}"),
    }
}

/// Whether any cell begins with a quotation mark.
fn opens_cells(text: &str, delimiter: char) -> bool {
    text.match_indices('"').any(|(at, _)| {
        let before = text[..at].chars().next_back();
        before.is_none_or(|c| c == '\n' || c == delimiter)
    })
}

/// Whether a file that is not `.csv`, and in which cells begin with quotation marks, is quoted as
/// CSV is. It must read that way without a fault. Then it is if its lines alone are no table; if
/// each of its marks is needed, as pandas and Python's `csv` write; or if all names, or all cells of
/// some column, stand in marks. Else the marks are text: GLUE's files hold many such cells.
fn are_quoted(text: &str, delimiter: char) -> bool {
    let mut cells = Vec::new();
    let mut plain = Records::new(text, Dialect { delimiter, quotes: false });
    let mut widths = std::iter::from_fn(|| plain.next(&mut cells).ok()?.map(|_| cells.len()));
    let first = widths.next();
    let is_table = widths.all(|width| Some(width) == first);

    let mut cells = Vec::new();
    let mut records = Records::new(text, Dialect { delimiter, quotes: true });
    let Ok(Some(_)) = records.next(&mut cells) else { return false };
    let width = cells.len();
    let all_names = cells.iter().all(|cell| cell.quoted);
    let mut needed = cells.iter().all(|cell| !cell.quoted || cell.doubled);
    let mut always = vec![true; width];
    let mut rows = 0;
    loop {
        match records.next(&mut cells) {
            Err(_) => return false,
            Ok(None) => break,
            Ok(Some(_)) if cells.len() != width => return false,
            Ok(Some(_)) => rows += 1,
        }
        for (cell, always) in cells.iter().zip(&mut always) {
            *always &= cell.quoted;
            needed &= !cell.quoted || cell.doubled || cell.raw.contains([delimiter, '\n', '\r']);
        }
    }
    !is_table || needed || all_names || rows > 1 && always.contains(&true)
}

fn unquoted<'a>(cell: Span<'a>) -> std::borrow::Cow<'a, str> {
    if cell.doubled { cell.raw.replace("\"\"", "\"").into() } else { cell.raw.into() }
}

/// Quoted cells of several lines that may have been opened by a mark that was not meant to.
#[derive(Default)]
struct LongCells {
    first: Option<(usize, usize, bool)>,
    count: usize,
}

impl LongCells {
    fn look(&mut self, cell: &Span<'_>, delimiter: char, width: usize) {
        let breaks = cell.raw.bytes().filter(|&b| b == b'\n').count();
        if breaks < 4 {
            return;
        }
        // Without the first and the last line, which are parts of lines.
        let mut inner = cell.raw.split('\n').skip(1).take(breaks - 1);
        let rows = width > 1 && inner.all(|line| line.matches(delimiter).count() == width - 1);
        if rows || breaks > LONG_CELL {
            self.count += 1;
            self.first.get_or_insert((cell.line, cell.line + breaks, rows));
        }
    }

    fn remark(&self, path: &Path) -> Option<Remark> {
        let (first, last, rows) = self.first?;
        let alike = if rows { ", each of them like a row" } else { "" };
        let more = match self.count {
            1 => String::new(),
            n => format!(" ({n} such cells)"),
        };
        Some(Remark::Warning(format!(
            "{}, line {first}: a quoted cell goes on to line {last}{alike}{more}; if the mark that \
             opens it is text, write the cell as \"…\" with every \" in it doubled",
            path.display(),
        )))
    }
}

fn fault(path: &Path, fault: Fault, dialect: Dialect) -> Error {
    let (line, what) = match fault {
        Fault::Unclosed { line } => (line, "the quotation mark that opens a cell here is not closed".into()),
        Fault::AfterClosing { opened, closed } if opened == closed => (
            opened,
            "a cell in quotation marks is followed by text, expected a delimiter or the end of the line".into(),
        ),
        Fault::AfterClosing { opened, closed } => (
            opened,
            format!("the quotation mark that opens a cell here is closed in line {closed} in the middle of a cell"),
        ),
        Fault::Bare { line } => (line, "a quotation mark in a cell that does not begin with one".into()),
        Fault::Return { line } => (line, "a carriage return (CR) without a line feed in a cell".into()),
    };
    let error = data_error(format!("{}, line {line}: {what}", path.display()));
    error.with_hint(match fault {
        Fault::Return { .. } => {
            "such a cell stands in \"…\"; or convert line ends to LF".to_string()
        }
        _ => format!(
            "{QUOTING}; in a file where marks are text like any other: `quotes=none`{}",
            advice(dialect)
        ),
    })
}

const QUOTING: &str = "a cell with a delimiter, a line break or a quotation mark stands in \"…\", \
                       with every \" in it doubled";

fn advice(dialect: Dialect) -> String {
    match dialect.delimiter {
        ',' => String::new(),
        other => format!(" (cells are separated by {} here)", name(other)),
    }
}

fn ragged(table: &Table, line: usize, cells: &[Span<'_>], dialect: Dialect) -> Error {
    let error = data_error(format!(
        "{}, line {line}: expected {} cells, as the header has, found {}",
        table.path().display(),
        table.columns().len(),
        cells.len(),
    ));
    let long = cells.iter().find(|cell| cell.raw.contains('\n'));
    if let Some(cell) = long {
        let last = cell.line + cell.raw.matches('\n').count();
        return error.with_hint(format!(
            "a cell in quotation marks goes from line {} to line {last}; {QUOTING}",
            cell.line,
        ));
    }
    if dialect.quotes {
        return error.with_hint(format!("{QUOTING}{}", advice(dialect)));
    }
    let by = name(dialect.delimiter);
    error.with_hint(format!(
        "cells are separated by {by} and cannot hold one; nothing is quoted (`quotes=csv` if it is)"
    ))
}
