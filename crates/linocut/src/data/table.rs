//! Rows and columns from TSV, CSV, JSONL and Parquet files.

use std::path::{Path, PathBuf};

use super::batch::SplitMix64;
use super::column::{Cell, Column, Value};
use super::remark::Remark;
use crate::nearest::{distance, nearest};
use crate::{Error, ErrorKind, Result};

/// How to read a file. `Reading::default()` reads all of it.
#[derive(Debug, Clone, Default)]
pub struct Reading {
    /// The columns whose cells are kept.
    pub columns: Columns,
    /// At most so many rows, spread over the file: which, follows from a hash of their numbers and `seed`.
    /// A larger limit keeps the rows of a smaller one.
    pub limit: Option<usize>,
    /// Which rows a `limit` takes.
    pub seed: u64,
    /// What separates cells of a TSV or CSV file; `None` sees it from the header.
    pub delimiter: Option<char>,
    /// Whether cells of such a file may stand in quotation marks, as RFC 4180 has it. `None`: those
    /// of `.csv` may; for others the file decides.
    pub quotes: Option<bool>,
}

/// Columns of a table.
#[derive(Debug, Clone, Default)]
pub enum Columns {
    /// All of them.
    #[default]
    All,
    /// Those of these names that are present.
    Named(Vec<String>),
}

impl Columns {
    pub(super) fn contains(&self, name: &str) -> bool {
        match self {
            Columns::All => true,
            Columns::Named(names) => names.iter().any(|n| n == name),
        }
    }
}

/// A table as read from one file.
///
/// It takes the texts of the cells kept and about 16 bytes more for each; while it is read, the
/// file stands in memory beside it.
#[derive(Debug, Clone)]
pub struct Table {
    path: PathBuf,
    /// `line`, or `row` for Parquet.
    unit: &'static str,
    /// Whether the first line gives the names.
    pub(super) has_header: bool,
    names: Vec<String>,
    /// For each name its place in `columns`, if its cells are kept.
    kept: Vec<Option<u32>>,
    columns: Vec<Column>,
    /// For each row its 1-based line, or in Parquet its 1-based number.
    lines: Vec<u32>,
    /// Rows of the file so far, and the sample of them that is kept.
    seen: usize,
    sample: Option<Sample>,
    remarks: Vec<Remark>,
}

/// The `limit` rows with the smallest hashes of those seen, and up to as many more.
#[derive(Debug, Clone)]
struct Sample {
    limit: usize,
    /// Of the seed; 0 of seed 0.
    salt: u64,
    hashes: Vec<u64>,
    /// Rows with larger hashes are not of the sample any more.
    most: u64,
}

impl Table {
    /// Reads a file; the format follows its extension:
    ///
    /// - `.tsv`, `.txt`, `.csv`: a header, then a row a line; see [`Reading`] for delimiter and
    ///   quotation marks.
    /// - `.jsonl`, `.json`: one JSON object a line.
    /// - `.parquet`.
    ///
    /// Text is UTF-8, with or without a byte-order mark; lines end in LF or CRLF. Names of columns
    /// may be empty or stand twice where nobody reads them.
    ///
    /// # Errors
    /// An unreadable file, another extension, bytes that are not UTF-8, a row with more or fewer
    /// cells than the header, a quotation mark that RFC 4180 has no place for, malformed JSON or
    /// Parquet, a key that stands twice in an object, or no rows.
    pub fn read(path: &Path, reading: &Reading) -> Result<Self> {
        if reading.limit == Some(0) {
            return Err(Error::new(
                ErrorKind::Config,
                "the limit of rows is 0, expected 1 or more",
            ));
        }
        let extension = path.extension().map(|e| e.to_string_lossy().to_lowercase());
        let mut table = match extension.as_deref() {
            Some("tsv" | "txt") => super::delimited::read(path, '\t', reading),
            Some("csv") => super::delimited::read(path, ',', reading),
            Some("jsonl" | "json") => super::jsonl::read(path, reading),
            Some("parquet") => super::parquet::read(path, reading),
            _ => {
                let message = format!("cannot tell the format of {}", path.display());
                return Err(Error::new(ErrorKind::Data, message)
                    .with_hint("expected a name ending in .tsv, .txt, .csv, .jsonl or .parquet"));
            }
        }?;
        if table.seen == 0 {
            return Err(data_error(format!("{} has no rows", path.display())));
        }
        table.shrink();
        if table.lines.len() < table.seen {
            let (rows, seen) = (table.lines.len(), table.seen);
            let by = match reading.seed {
                0 => String::new(),
                seed => format!(" and `seed={seed}`"),
            };
            table.remark(Remark::Note(format!(
                "{}: {rows} of {seen} rows are read, chosen by a hash of their numbers{by}",
                path.display()
            )));
        }
        Ok(table)
    }

    /// Rows that are in memory already, by their columns; `name` stands for the file in messages, which
    /// count rows from 0.
    ///
    /// # Errors
    /// Columns of different lengths, no rows, or more than 2³².
    pub fn of_columns(name: &str, columns: Vec<(&str, Vec<Value>)>) -> Result<Self> {
        let reading = Reading::default();
        let mut table = Self::new(Path::new(name), "row", &reading);
        let rows = columns.first().map_or(0, |(_, cells)| cells.len());
        for (column, cells) in &columns {
            if cells.len() != rows {
                let (first, found) = (columns[0].0, cells.len());
                let message = format!(
                    "{name}: column {column:?} has {found} rows, expected {rows} as of column {first:?}"
                );
                return Err(data_error(message));
            }
            table.add_column(column.to_string(), &reading);
        }
        if rows == 0 {
            return Err(data_error(format!("{name}: there are no rows")));
        }
        for row in 0..rows {
            table.start_row(row)?;
        }
        for (number, (_, cells)) in columns.into_iter().enumerate() {
            for (row, cell) in cells.into_iter().enumerate() {
                table.columns[number].put(row as u32, cell);
            }
        }
        Ok(table)
    }

    pub(super) fn new(path: &Path, unit: &'static str, reading: &Reading) -> Self {
        let salt = SplitMix64::new(reading.seed).next() ^ SplitMix64::new(0).next();
        let sample = |limit| Sample { limit, salt, hashes: Vec::new(), most: u64::MAX };
        let sample = reading.limit.map(sample);
        Self {
            path: path.to_path_buf(),
            unit,
            has_header: false,
            names: Vec::new(),
            kept: Vec::new(),
            columns: Vec::new(),
            lines: Vec::new(),
            seen: 0,
            sample,
            remarks: Vec::new(),
        }
    }

    /// Adds a column; its cells are kept if `reading` asks for them.
    pub(super) fn add_column(&mut self, name: String, reading: &Reading) {
        let keep = reading.columns.contains(&name);
        self.names.push(name);
        self.kept.push(keep.then_some(self.columns.len() as u32));
        if keep {
            self.columns.push(Column::default());
        }
    }

    /// Starts a row; its cells are put by [`Table::kept`], unless this is `None`.
    ///
    /// # Errors
    /// More lines than 2³².
    pub(super) fn start_row(&mut self, line: usize) -> Result<Option<u32>> {
        let line = u32::try_from(line).map_err(|_| {
            data_error(format!("{} has more than 2^32 {}s", self.path.display(), self.unit))
        })?;
        let salt = self.sample.as_ref().map_or(0, |sample| sample.salt);
        let hash = SplitMix64::new(self.seen as u64 ^ salt).next();
        self.seen += 1;
        if let Some(sample) = &self.sample {
            if hash > sample.most {
                return Ok(None);
            }
            if self.lines.len() >= sample.limit.saturating_mul(2) {
                self.shrink();
            }
        }
        if let Some(sample) = &mut self.sample {
            sample.hashes.push(hash);
        }
        self.lines.push(line);
        Ok(Some(self.lines.len() as u32 - 1))
    }

    /// The cells of a column, by its number, where they are kept.
    pub(super) fn kept(&mut self, number: usize) -> Option<&mut Column> {
        self.kept[number].map(|place| &mut self.columns[place as usize])
    }

    /// Leaves no more rows than the sample should have.
    fn shrink(&mut self) {
        let Some(sample) = &mut self.sample else { return };
        if sample.hashes.len() <= sample.limit {
            return;
        }
        let mut hashes = sample.hashes.clone();
        // Generator and salt are bijections: no two rows have the same hash.
        sample.most = *hashes.select_nth_unstable(sample.limit - 1).1;
        let kept: Vec<bool> = sample.hashes.iter().map(|&hash| hash <= sample.most).collect();
        let mut keep = kept.iter().copied();
        self.lines.retain(|_| keep.next().unwrap_or(false));
        let mut keep = kept.iter().copied();
        sample.hashes.retain(|_| keep.next().unwrap_or(false));
        self.columns.iter_mut().for_each(|column| column.retain(&kept));
    }

    pub(super) fn remark(&mut self, remark: Remark) {
        self.remarks.push(remark);
    }

    /// What is to be said of how the file was read.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// The file it was read from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Names of all columns in the order of the file, kept or not.
    pub fn columns(&self) -> &[String] {
        &self.names
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.lines.len()
    }

    /// The value in row `row` (0-based) of column `column`, as [`Table::column`] numbers it;
    /// nothing where the column was not kept.
    ///
    /// # Panics
    /// If either is out of range.
    pub fn cell(&self, row: usize, column: usize) -> Cell<'_> {
        assert!(row < self.rows(), "row {row} of {}", self.rows());
        self.kept[column]
            .map_or(Cell::Missing, |place| self.columns[place as usize].get(row as u32))
    }

    /// The number of the column called `name`.
    ///
    /// # Errors
    /// No such column, or two; names the columns present.
    pub fn column(&self, name: &str) -> Result<usize> {
        let mut found = (0..self.names.len()).filter(|&i| self.names[i] == name);
        let Some(first) = found.next() else { return Err(self.no_column(name)) };
        if found.next().is_some() {
            let path = self.path.display();
            return Err(data_error(format!("{path}: two columns are called {name:?}"))
                .with_hint("rename one of them"));
        }
        Ok(first)
    }

    fn no_column(&self, name: &str) -> Error {
        let error = data_error(format!(
            "{} has no column {name:?}; its columns are {}",
            self.path.display(),
            self.column_list(),
        ));
        let near = nearest(name, self.names.iter().map(String::as_str), 1);
        let most = 2.min(name.chars().count() / 2);
        match near.first().filter(|near| distance(near.trim(), name.trim()) <= most) {
            Some(near) => error.with_hint(format!("the nearest is {near:?}")),
            None => self.with_header_hint(error),
        }
    }

    /// Says so where the first line of a file looks like a row rather than like names.
    fn with_header_hint(&self, error: Error) -> Error {
        let row = |name: &String| {
            name.parse::<f64>().is_ok()
                || name.split_whitespace().count() > 4
                || name.trim_end().ends_with(['.', '!', '?'])
        };
        if self.has_header && self.names.iter().any(row) {
            return error.with_hint(
                "the first line must name the columns, and looks like a row here: add such a line",
            );
        }
        error
    }

    /// Where a row (0-based) stands in the file, for messages: `train.tsv, line 7`.
    pub fn place(&self, row: usize) -> String {
        format!("{}, {} {}", self.path.display(), self.unit, self.lines[row])
    }

    /// The columns for messages: `"text", "label"`, at most twenty of them.
    pub(super) fn column_list(&self) -> String {
        let shown: Vec<String> =
            self.names.iter().take(20).map(|c| super::remark::shown(c)).collect();
        let more = if self.names.len() > 20 { ", …" } else { "" };
        shown.join(", ") + more
    }
}

pub(super) fn data_error(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Data, message)
}
