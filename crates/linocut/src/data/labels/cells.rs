//! The cells of a label column, when it is known what they hold.

use super::super::column::Cell;
use super::super::dataset::counted;
use super::super::remark::shown;
use super::super::table::{Table, data_error};
use super::infer::{Given, given, wrong};
use super::lists;
use crate::{Error, Result};

pub(super) fn single(table: &Table, row: usize, column: usize) -> Result<&str> {
    match table.cell(row, column) {
        Cell::Text(text) if !text.trim().is_empty() => Ok(text),
        cell if is_blank(cell) => Err(unlabelled(table, column, is_blank)),
        cell => {
            let found = match cell {
                Cell::Other(what) => what,
                _ => "a list",
            };
            Err(wrong(table, row, column, "one label", found)
                .with_hint("a list of labels in every row makes a multi-label task"))
        }
    }
}

/// An empty list or an empty text is a row to which no label applies; null is a missing answer. With a
/// separator every cell is a text to split at it.
pub(super) fn multiple(
    table: &Table,
    row: usize,
    column: usize,
    separator: Option<&str>,
) -> Result<Vec<String>> {
    let items = match (table.cell(row, column), given(table.cell(row, column))) {
        (Cell::Missing, _) => return Err(unlabelled(table, column, |c| c == Cell::Missing)),
        (_, Given::Other(what)) => {
            return Err(wrong(table, row, column, "a list of labels", what));
        }
        (_, Given::Blank) => return Ok(Vec::new()),
        (_, Given::List(_)) if let Some(separator) = separator => {
            let expected = format!("labels separated by {}", shown(separator));
            return Err(wrong(table, row, column, &expected, "a list")
                .with_hint("lists are read without `label_separator`"));
        }
        (_, Given::List(items)) => items.into_owned(),
        (_, Given::Text(text))
            if separator.is_none() && text.trim_start().starts_with(['[', '{', '(']) =>
        {
            return Err(wrong(table, row, column, "a list of labels", &shown(text))
                .with_hint("lists are read as [\"a\", \"b\"]"));
        }
        (_, Given::Text(text)) => lists::split(text, separator),
    };
    match items.iter().any(|item| item.trim().is_empty()) {
        true => Err(wrong(table, row, column, "labels", "an empty one in a list")),
        false => Ok(items),
    }
}

pub(super) fn value(table: &Table, row: usize, column: usize) -> Result<f32> {
    let found = match table.cell(row, column) {
        cell if is_blank(cell) => return Err(unlabelled(table, column, is_blank)),
        Cell::Text(text) => match text.trim().parse::<f32>() {
            Ok(value) if value.is_finite() => return Ok(value),
            _ => shown(text),
        },
        Cell::Other(what) => what.to_string(),
        _ => "a list".to_string(),
    };
    Err(wrong(table, row, column, "a finite number", &found))
}

fn is_blank(cell: Cell<'_>) -> bool {
    match cell {
        Cell::Missing => true,
        Cell::Text(text) => text.trim().is_empty(),
        Cell::List(_) | Cell::Other(_) => false,
    }
}

fn unlabelled(table: &Table, column: usize, absent: fn(Cell<'_>) -> bool) -> Error {
    let rows: Vec<usize> =
        (0..table.rows()).filter(|&row| absent(table.cell(row, column))).collect();
    let first = rows.first().copied().unwrap_or_default();
    data_error(format!(
        "{}: no value in label column {:?} ({})",
        table.place(first),
        table.columns()[column],
        counted(rows.len(), table.rows()),
    ))
    .with_hint("remove the rows without a label, or give them one")
}
