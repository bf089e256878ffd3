//! What a label column says about its task when nobody else does.

use std::borrow::Cow;
use std::collections::HashSet;

use super::super::column::Cell;
use super::super::remark::shown;
use super::super::table::{Table, data_error};
use super::{Problem, lists, spelling};
use crate::{Error, Result};

/// Of so many rows on, a column that has a label for nearly each of them has none that can be
/// learned.
const MANY: usize = 20;

/// A cell of a label column.
pub(super) enum Given<'a> {
    Blank,
    Text(&'a str),
    /// A list, or a text that is one.
    List(Cow<'a, [String]>),
    Other(&'static str),
}

pub(super) fn given(cell: Cell<'_>) -> Given<'_> {
    match cell {
        Cell::Missing => Given::Blank,
        Cell::Text(text) if text.trim().is_empty() => Given::Blank,
        Cell::Text(text) => lists::parse(text).map_or(Given::Text(text), |l| Given::List(l.into())),
        Cell::List(items) => Given::List(items.into()),
        Cell::Other(what) => Given::Other(what),
    }
}

/// The problem, and why.
///
/// # Errors
/// A column that cannot be meant as any of them: lists beside labels, numbers of which a few are
/// none, decimal commas, vectors of 0 and 1 that are no lists.
pub(super) fn infer(table: &Table, column: usize) -> Result<(Problem, String)> {
    let (mut texts, mut listed) = (Vec::new(), Vec::new());
    for row in 0..table.rows() {
        match given(table.cell(row, column)) {
            Given::Blank => {}
            Given::Text(_) => texts.push(row),
            Given::List(_) => listed.push(row),
            Given::Other(what) => {
                return Err(wrong(table, row, column, "one label or a list of labels", what));
            }
        }
    }
    match (texts.first(), listed.first()) {
        (Some(&text), Some(&list)) => {
            let (row, what, others, count) = if listed.len() > texts.len() {
                (text, "one label", "lists", listed.len())
            } else {
                (list, "a list", "one label each", texts.len())
            };
            let expected = format!("{others}, as {count} of {} rows have", table.rows());
            Err(wrong(table, row, column, &expected, what)
                .with_hint("give every row a list, or every row one label"))
        }
        (None, Some(_)) => Ok((Problem::MultiLabel, "it holds lists".into())),
        _ => of_texts(table, column, &texts),
    }
}

pub(super) fn wrong(
    table: &Table,
    row: usize,
    column: usize,
    expected: &str,
    found: &str,
) -> Error {
    data_error(format!(
        "{}: expected {expected} in column {:?}, found {found}",
        table.place(row),
        table.columns()[column],
    ))
}

fn text(table: &Table, row: usize, column: usize) -> &str {
    match table.cell(row, column) {
        Cell::Text(text) => text.trim(),
        _ => "",
    }
}

/// The numbers among the texts of a column.
#[derive(Default)]
struct Numbers {
    count: usize,
    /// Rows of the first number that is not whole, and of the first text that is no number.
    fraction: Option<usize>,
    other: Option<usize>,
    /// Numbers with a decimal comma, such as `3,8`.
    commas: usize,
    comma: Option<usize>,
}

fn of_texts(table: &Table, column: usize, rows: &[usize]) -> Result<(Problem, String)> {
    let texts = || rows.iter().map(|&row| text(table, row, column));
    let mut bits = texts().map(lists::bits);
    if let Some(Some(first)) = bits.next()
        && rows.len() > 1
        && bits.all(|n| n == Some(first))
    {
        let found = shown(text(table, rows[0], column));
        let expected = "one label, or a list in brackets";
        return Err(wrong(table, rows[0], column, expected, &found).with_hint(
            "if these say yes or no for every label, write them as [1, 0, 0]; if each is the name \
             of a class: `problem=single-label`",
        ));
    }
    let mut numbers = Numbers::default();
    for (&row, text) in rows.iter().zip(texts()) {
        // NaN and infinities count as numbers here and are refused as values later.
        match text.parse::<f64>() {
            Ok(value) => {
                numbers.count += 1;
                if value.fract() != 0.0 && value.is_finite() {
                    numbers.fraction.get_or_insert(row);
                }
            }
            Err(_) => {
                numbers.other.get_or_insert(row);
                if has_decimal_comma(text) {
                    numbers.commas += 1;
                    numbers.comma.get_or_insert(row);
                }
            }
        }
    }
    let all = rows.len();
    let nearly = |count: usize| count * 10 >= all * 9 || count > 1 && count + 1 == all;
    match numbers {
        Numbers { fraction: Some(row), other: None, .. } => {
            Ok(of_numbers(table, column, rows, row))
        }
        Numbers { fraction: Some(_), other: Some(row), count, .. } if nearly(count) => {
            let found = shown(text(table, row, column));
            let expected = format!("a number, as {count} of {} rows have", table.rows());
            Err(wrong(table, row, column, &expected, &found).with_hint(
                "correct it; or, if every value is the name of a class: `problem=single-label`",
            ))
        }
        Numbers { comma: Some(row), commas, count, .. } if nearly(count + commas) => {
            let found = shown(text(table, row, column));
            Err(wrong(table, row, column, "a number with a decimal point, or a label", &found)
                .with_hint(
                    "write numbers as 3.8; if each value is the name of a class: \
                     `problem=single-label`; if it lists several: `problem=multi-label`",
                ))
        }
        Numbers { other: None, count: 1.., .. } => {
            Ok((Problem::SingleLabel, "its numbers are all whole".into()))
        }
        Numbers { other: Some(row), count, .. } if count > MANY && nearly(count) => {
            let (place, found) = (table.place(row), shown(text(table, row, column)));
            Ok((Problem::SingleLabel, format!("not all of it is numbers ({place}: {found})")))
        }
        _ => Ok((Problem::SingleLabel, "it holds texts".into())),
    }
}

fn has_decimal_comma(text: &str) -> bool {
    text.split_once(',').is_some_and(|(whole, part)| {
        let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        digits(whole.strip_prefix('-').unwrap_or(whole)) && digits(part)
    })
}

/// Numbers, that of row `fraction` not whole: amounts, unless few of them stand for many rows and
/// they are written as codes are.
fn of_numbers(table: &Table, column: usize, rows: &[usize], fraction: usize) -> (Problem, String) {
    let distinct: HashSet<&str> = rows.iter().map(|&row| text(table, row, column)).collect();
    let (values, all) = (distinct.len(), rows.len());
    let decimals = |text: &&str| text.split_once('.').map_or(0, |(_, part)| part.len());
    // One program writes numbers with as many decimals, or with as few as will do.
    let padded = distinct.iter().any(|t| decimals(t) > 1 && t.ends_with('0'));
    let uneven = distinct.iter().map(decimals).collect::<HashSet<_>>().len() > 1;
    if all >= 4 * values && (values == 2 || padded && uneven) {
        return (
            Problem::SingleLabel,
            format!("its {values} different numbers in {all} rows are hardly amounts"),
        );
    }
    let (place, found) = (table.place(fraction), text(table, fraction, column));
    let why = format!("its numbers are not all whole ({place}: {found})");
    (Problem::Regression, why)
}

/// Refuses a label for nearly each row, as of ids, texts or amounts.
pub(super) fn check_repeated(table: &Table, column: usize, labels: &[String]) -> Result<()> {
    if table.rows() < MANY || labels.len() * 20 < table.rows() * 19 {
        return Ok(());
    }
    let whole = labels.iter().all(|label| spelling::whole(label).is_some());
    let hint = if whole { "if they are amounts: `problem=regression`; " } else { "" };
    Err(data_error(format!(
        "{}: column {:?} has {} different labels in {} rows, so nearly every row has its own",
        table.path().display(),
        table.columns()[column],
        labels.len(),
        table.rows(),
    ))
    .with_hint(format!(
        "name the label column: `label`; {hint}to learn them all the same: `problem=single-label`"
    )))
}
