//! A label column as classes, sets of classes or numbers.

use std::collections::{BTreeSet, HashMap};

use super::table::{Cell, Table, data_error};
use super::{Problem, Targets};
use crate::{Error, Result};

/// What the label column says when nobody else does.
pub(super) fn infer_problem(table: &Table, column: usize) -> Problem {
    let cells = || (0..table.rows()).map(|row| table.cell(row, column));
    if cells().all(|c| list(c).is_some() || is_blank(c)) && !cells().all(is_blank) {
        return Problem::MultiLabel;
    }
    let mut fraction = false;
    for cell in cells().filter(|c| !is_blank(c)) {
        // NaN and infinities count as numbers here and are refused as values later.
        match cell {
            Cell::Text(text) => match text.trim().parse::<f64>() {
                Ok(value) => fraction |= value.fract() != 0.0 && value.is_finite(),
                Err(_) => return Problem::SingleLabel,
            },
            _ => return Problem::SingleLabel,
        }
    }
    if fraction { Problem::Regression } else { Problem::SingleLabel }
}

/// The labels that occur, sorted: as numbers if all are whole numbers, else bytewise.
pub(super) fn collect(table: &Table, column: usize, problem: Problem) -> Result<Vec<String>> {
    let mut labels = BTreeSet::new();
    for row in 0..table.rows() {
        match problem {
            Problem::SingleLabel => drop(labels.insert(single(table, row, column)?.to_string())),
            Problem::MultiLabel => labels.extend(multiple(table, row, column)?),
            Problem::Regression => {}
        }
    }
    let mut labels: Vec<String> = labels.into_iter().collect();
    let whole: Option<Vec<i128>> = labels.iter().map(|l| l.parse().ok()).collect();
    if whole.is_some() {
        // Stable, so that "1" and "01" keep their bytewise order.
        labels.sort_by_key(|l| l.parse::<i128>().unwrap_or_default());
    }
    Ok(labels)
}

/// Reads the column by `labels` (unused for regression). `whose` names where they come from.
///
/// # Errors
/// Rows without a label, a label not among `labels`, a value that is not a finite number.
pub(super) fn targets(
    table: &Table,
    column: usize,
    problem: Problem,
    labels: &[String],
    whose: &str,
) -> Result<Targets> {
    let numbers: HashMap<&str, u32> =
        labels.iter().enumerate().map(|(i, l)| (l.as_str(), i as u32)).collect();
    let number = |row: usize, label: &str| {
        numbers.get(label).copied().ok_or_else(|| unknown(table, row, label, labels, whose))
    };
    let rows = 0..table.rows();
    Ok(match problem {
        Problem::SingleLabel => Targets::Classes(
            rows.map(|row| number(row, single(table, row, column)?)).collect::<Result<_>>()?,
        ),
        Problem::MultiLabel => Targets::MultiHot(
            rows.map(|row| {
                let given = multiple(table, row, column)?;
                let set: BTreeSet<u32> =
                    given.iter().map(|l| number(row, l)).collect::<Result<_>>()?;
                Ok(set.into_iter().collect())
            })
            .collect::<Result<_>>()?,
        ),
        Problem::Regression => {
            Targets::Values(rows.map(|row| value(table, row, column)).collect::<Result<_>>()?)
        }
    })
}

fn single(table: &Table, row: usize, column: usize) -> Result<&str> {
    match table.cell(row, column) {
        Cell::Text(text) if !text.trim().is_empty() => Ok(text),
        cell if is_blank(cell) => Err(unlabelled(table, column, is_blank)),
        _ => Err(data_error(format!(
            "{}: expected one label in column {:?}, found a list or an object",
            table.place(row),
            table.columns()[column],
        ))
        .with_hint("a list of labels in every row makes a multi-label task")),
    }
}

/// An empty list or an empty text is a row to which no label applies; null is a missing answer.
fn multiple(table: &Table, row: usize, column: usize) -> Result<Vec<String>> {
    match table.cell(row, column) {
        Cell::Missing => Err(unlabelled(table, column, |c| *c == Cell::Missing)),
        Cell::Nested => Err(data_error(format!(
            "{}: expected a list of labels in column {:?}, found an object",
            table.place(row),
            table.columns()[column],
        ))),
        cell => Ok(list(cell).unwrap_or_else(|| match cell {
            Cell::Text(text) => {
                let parts = text.split(',').map(str::trim);
                parts.filter(|p| !p.is_empty()).map(str::to_string).collect()
            }
            _ => Vec::new(),
        })),
    }
}

fn value(table: &Table, row: usize, column: usize) -> Result<f32> {
    let found = match table.cell(row, column) {
        cell if is_blank(cell) => return Err(unlabelled(table, column, is_blank)),
        Cell::Text(text) => match text.trim().parse::<f32>() {
            Ok(value) if value.is_finite() => return Ok(value),
            _ => format!("{text:?}"),
        },
        _ => "a list or an object".to_string(),
    };
    Err(data_error(format!(
        "{}: expected a finite number in column {:?}, found {found}",
        table.place(row),
        table.columns()[column],
    )))
}

/// A list cell, or a text that is a JSON list of strings, as a TSV file may hold.
fn list(cell: &Cell) -> Option<Vec<String>> {
    match cell {
        Cell::List(items) => Some(items.clone()),
        Cell::Text(text) if text.starts_with('[') => serde_json::from_str(text).ok(),
        _ => None,
    }
}

fn is_blank(cell: &Cell) -> bool {
    match cell {
        Cell::Missing => true,
        Cell::Text(text) => text.trim().is_empty(),
        Cell::List(_) | Cell::Nested => false,
    }
}

fn unlabelled(table: &Table, column: usize, absent: fn(&Cell) -> bool) -> Error {
    let rows: Vec<usize> =
        (0..table.rows()).filter(|&row| absent(table.cell(row, column))).collect();
    let first = rows.first().copied().unwrap_or_default();
    data_error(format!(
        "{}: no value in label column {:?} ({})",
        table.place(first),
        table.columns()[column],
        super::dataset::counted(rows.len(), table.rows()),
    ))
    .with_hint("remove the rows without a label, or give them one")
}

fn unknown(table: &Table, row: usize, label: &str, labels: &[String], whose: &str) -> Error {
    let mut near: Vec<&String> = labels.iter().collect();
    near.sort_by_key(|known| distance(known, label));
    let near: Vec<String> = near.into_iter().take(5).map(|l| format!("{l:?}")).collect();
    data_error(format!(
        "{}: label {label:?} is not among the {} labels of {whose}",
        table.place(row),
        labels.len(),
    ))
    .with_hint(format!("the nearest known are {}", near.join(", ")))
}

/// Edits between two labels, without regard to case.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().flat_map(char::to_lowercase).collect();
    let mut before: Vec<usize> = (0..=a.len()).collect();
    for (i, y) in b.chars().flat_map(char::to_lowercase).enumerate() {
        let mut now = vec![i + 1];
        for (j, x) in a.iter().enumerate() {
            let replaced = before[j] + usize::from(*x != y);
            now.push(replaced.min(before[j + 1] + 1).min(now[j] + 1));
        }
        before = now;
    }
    before[a.len()]
}
