//! Rows and columns from TSV, CSV, JSONL and Parquet files.

use std::path::{Path, PathBuf};

use crate::{Error, ErrorKind, Result};

/// One value of a table.
#[derive(Debug, Clone, PartialEq)]
pub enum Cell {
    /// No value: null, or a JSON object without this key. A TSV or CSV file has none; its empty
    /// cells are empty texts.
    Missing,
    /// A text, or a number or truth value as text.
    Text(String),
    /// A list of such values.
    List(Vec<String>),
    /// An object or a list of lists; fine in a column that nobody reads.
    Nested,
}

/// A table as read from one file.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    columns: Vec<String>,
    rows: Vec<Vec<Cell>>,
    /// For each row its 1-based line, or in Parquet its 1-based number.
    lines: Vec<usize>,
    /// `line`, or `row` for Parquet.
    unit: &'static str,
}

impl Table {
    /// Reads a file, at most its first `limit` rows; the format follows the file's extension:
    ///
    /// - `.tsv`, `.txt`: a header line, then one row a line, separated by tabs. No quoting: a `"`
    ///   is a `"`, as in the GLUE files.
    /// - `.csv`: a header row, quoting as in RFC 4180.
    /// - `.jsonl`, `.json`: one JSON object a line.
    /// - `.parquet`.
    ///
    /// Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF.
    ///
    /// # Errors
    /// An unreadable file, another extension, bytes that are not UTF-8, a row with more or fewer
    /// cells than the header, malformed JSON or Parquet, a column name given twice, or no rows.
    pub fn read(path: &Path, limit: Option<usize>) -> Result<Self> {
        let limit = limit.unwrap_or(usize::MAX);
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let mut table = match extension.as_deref() {
            Some("tsv" | "txt") => super::delimited::read_tsv(path, limit),
            Some("csv") => super::delimited::read_csv(path, limit),
            Some("jsonl" | "json") => super::jsonl::read_jsonl(path, limit),
            Some("parquet") => super::parquet::read_parquet(path, limit),
            _ => {
                let message = format!("cannot tell the format of {}", path.display());
                return Err(Error::new(ErrorKind::Data, message)
                    .with_hint("expected a name ending in .tsv, .txt, .csv, .jsonl or .parquet"));
            }
        }?;
        for (i, column) in table.columns.iter().enumerate() {
            if table.columns[..i].contains(column) {
                return Err(data_error(format!(
                    "{}: two columns are called {column:?}",
                    path.display()
                )));
            }
        }
        if table.rows.is_empty() {
            return Err(data_error(format!("{} has no rows", path.display())));
        }
        // Objects of a JSONL file that lack a key seen later.
        let width = table.columns.len();
        table.rows.iter_mut().for_each(|row| row.resize(width, Cell::Missing));
        Ok(table)
    }

    pub(super) fn new(path: &Path, columns: Vec<String>, unit: &'static str) -> Self {
        Self { path: path.to_path_buf(), columns, rows: Vec::new(), lines: Vec::new(), unit }
    }

    pub(super) fn push(&mut self, line: usize, row: Vec<Cell>) {
        self.rows.push(row);
        self.lines.push(line);
    }

    pub(super) fn columns_mut(&mut self) -> &mut Vec<String> {
        &mut self.columns
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Column names in the order of the file.
    pub fn columns(&self) -> &[String] {
        &self.columns
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// The value in row `row` (0-based) of column `column`, as [`Table::column`] numbers it.
    ///
    /// # Panics
    /// If either is out of range.
    pub fn cell(&self, row: usize, column: usize) -> &Cell {
        &self.rows[row][column]
    }

    /// The number of the column called `name`.
    ///
    /// # Errors
    /// No such column; names the columns present.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.columns.iter().position(|c| c == name).ok_or_else(|| {
            data_error(format!(
                "{} has no column {name:?}; its columns are {}",
                self.path.display(),
                self.column_list(),
            ))
        })
    }

    /// Where a row (0-based) stands in the file, for messages: `train.tsv, line 7`.
    pub fn place(&self, row: usize) -> String {
        format!("{}, {} {}", self.path.display(), self.unit, self.lines[row])
    }

    /// The columns for messages: `"text", "label"`, at most twenty of them.
    pub(super) fn column_list(&self) -> String {
        let shown: Vec<String> = self.columns.iter().take(20).map(|c| format!("{c:?}")).collect();
        let more = if self.columns.len() > 20 { ", …" } else { "" };
        shown.join(", ") + more
    }
}

pub(super) fn data_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, message)
}

/// The text of a file without its byte-order mark.
pub(super) fn read_text(path: &Path) -> Result<String> {
    let bytes = std::fs::read(path).map_err(|e| Error::io(path, "read", e))?;
    if bytes.is_empty() {
        return Err(data_error(format!("{} is empty", path.display())));
    }
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(data_error(format!("{} is UTF-16, expected UTF-8", path.display()))
            .with_hint("convert it with: iconv -f UTF-16 -t UTF-8"));
    }
    match String::from_utf8(bytes) {
        Ok(mut text) => {
            if text.starts_with('\u{feff}') {
                text.drain(..'\u{feff}'.len_utf8());
            }
            Ok(text)
        }
        Err(e) => {
            let at = e.utf8_error().valid_up_to();
            let before = &e.as_bytes()[..at];
            let line = 1 + before.iter().filter(|&&b| b == b'\n').count();
            let column = at - before.iter().rposition(|&b| b == b'\n').map_or(0, |n| n + 1) + 1;
            let message = format!(
                "{}, line {line}: byte {column} is 0x{:02x}, which is not UTF-8",
                path.display(),
                e.as_bytes()[at],
            );
            Err(data_error(message)
                .with_hint("if the file is Latin-1, convert it with: iconv -f LATIN1 -t UTF-8"))
        }
    }
}
