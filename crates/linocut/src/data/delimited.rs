//! TSV without quoting and CSV with it.

use std::path::Path;

use super::table::{Cell, Table, data_error, read_text};
use crate::{Error, Result};

pub(super) fn read_tsv(path: &Path, limit: usize) -> Result<Table> {
    let text = read_text(path)?;
    let mut lines = text.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line));
    let columns: Vec<String> = match lines.next() {
        Some(header) if !header.is_empty() => header.split('\t').map(str::to_string).collect(),
        _ => return Err(data_error(format!("{}, line 1: no column names", path.display()))),
    };
    let width = columns.len();
    let mut table = Table::new(path, columns, "line");
    // Blank lines are allowed at the end only; inside they would be rows without their cells.
    let end = text.trim_end_matches(['\n', '\r']).split('\n').count();
    for (i, line) in lines.take(end - 1).take(limit).enumerate() {
        let cells: Vec<Cell> = line.split('\t').map(|c| Cell::Text(c.to_string())).collect();
        if cells.len() != width {
            return Err(ragged(&table, i + 2, cells.len())
                .with_hint("cells are separated by tabs and cannot hold one; nothing is quoted"));
        }
        table.push(i + 2, cells);
    }
    Ok(table)
}

pub(super) fn read_csv(path: &Path, limit: usize) -> Result<Table> {
    let text = read_text(path)?;
    let failed = |e: csv::Error| {
        let message = format!("{} is not CSV: {e}", path.display());
        data_error(message).with_source(e)
    };
    // Rows of another width come back as they are, for a message of our own.
    let mut reader = csv::ReaderBuilder::new().flexible(true).from_reader(text.as_bytes());
    let columns: Vec<String> =
        reader.headers().map_err(failed)?.iter().map(str::to_string).collect();
    let width = columns.len();
    let mut table = Table::new(path, columns, "line");
    for record in reader.into_records().take(limit) {
        let record = record.map_err(failed)?;
        let line = record.position().map_or(0, |p| p.line() as usize);
        if record.len() != width {
            return Err(ragged(&table, line, record.len()).with_hint(
                "a cell with a comma, a line break or a quotation mark stands in \"…\", with \
                 every \" in it doubled",
            ));
        }
        table.push(line, record.iter().map(|c| Cell::Text(c.to_string())).collect());
    }
    Ok(table)
}

fn ragged(table: &Table, line: usize, found: usize) -> Error {
    data_error(format!(
        "{}, line {line}: expected {} cells, as the header has, found {found}",
        table.path().display(),
        table.columns().len(),
    ))
}
