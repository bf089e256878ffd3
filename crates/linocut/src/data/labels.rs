//! A label column as classes, sets of classes or numbers: judged once, before it is believed.

mod infer;
mod lists;
mod spelling;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use super::column::Cell;
use super::remark::{Remark, shown};
use super::table::{Table, data_error};
use super::task::TaskSpec;
use super::{Problem, Targets};
use crate::nearest::nearest;
use crate::{Error, Result};
use infer::{Given, given, wrong};

/// The label, among those of rows to evaluate, of all that training has not seen.
pub(super) const UNSEEN: &str = "(not in training)";

/// How a label column is to be read.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Labels {
    pub(super) problem: Problem,
    /// In the order of the head's rows; empty for regression.
    pub(super) names: Vec<String>,
    /// Lists hold 0 or 1 for each of them, not names.
    by_position: bool,
    /// Whether a label may be missing among them.
    open: bool,
}

/// What the label column of training rows holds: problem and labels, as `spec` says or else as the
/// column looks. Says what was decided unless `spec` did.
///
/// # Errors
/// A column that cannot be meant: see [`infer::infer`]; nearly a label a row; lists of 0 and 1 of
/// different lengths, or of other numbers; a row without a label.
pub(super) fn judge(
    table: &Table,
    column: usize,
    spec: &TaskSpec,
    remarks: &mut Vec<Remark>,
) -> Result<Labels> {
    let listed = !spec.labels.is_empty();
    let (problem, why) = match spec.problem {
        Some(problem) => (problem, None),
        None => match infer::infer(table, column) {
            // Listed labels are classes, even if they look like numbers.
            Ok((Problem::Regression, _)) | Err(_) if listed => (Problem::SingleLabel, None),
            judged => judged.map(|(problem, why)| (problem, (!listed).then_some(why)))?,
        },
    };
    let places = match problem {
        Problem::MultiLabel => places(table, column)?,
        _ => None,
    };
    let names = match (problem, places) {
        (Problem::Regression, _) => Vec::new(),
        (_, Some(places)) if listed && spec.labels.len() != places => {
            return Err(places_differ(table, column, places, spec.labels.len()));
        }
        _ if listed => spec.labels.clone(),
        (_, Some(places)) => (0..places).map(|i| format!("LABEL_{i}")).collect(),
        _ => collect(table, column, problem, remarks)?,
    };
    if problem == Problem::SingleLabel && spec.problem.is_none() && !listed {
        infer::check_repeated(table, column, &names)?;
        if let Some((label, by)) = spelling::joined(&names) {
            let hint = match by {
                ',' => "`problem=multi-label` reads it as several",
                _ => "write several labels as a list, [\"a\", \"b\"]",
            };
            remarks.push(Remark::Warning(format!(
                "label {} is made of others, joined by {by:?}; {hint}",
                shown(label)
            )));
        }
    }
    if let Some(why) = why {
        let name = shown(&table.columns()[column]);
        let (what, why) = match (problem, names.len()) {
            (Problem::SingleLabel, 1) => ("1 label, one a row".into(), why),
            (Problem::SingleLabel, n) => (format!("{n} labels, one a row"), why),
            (Problem::MultiLabel, n) if places.is_some() => {
                (format!("{n} labels, any number a row"), "its lists say 0 or 1 for each".into())
            }
            (Problem::MultiLabel, n) => (format!("{n} labels, any number a row"), why),
            (Problem::Regression, _) => ("a number a row (regression)".into(), why),
        };
        remarks.push(Remark::Note(format!(
            "label column {name}: {what}, since {why}; `problem` says otherwise"
        )));
    }
    Ok(Labels { problem, names, by_position: places.is_some(), open: false })
}

/// How rows to evaluate are read when `problem` and `names` are known. Unless the task lists its
/// labels, one that is not among them is kept as [`UNSEEN`].
pub(super) fn known(
    table: &Table,
    column: usize,
    problem: Problem,
    names: &[String],
    open: bool,
) -> Result<Labels> {
    let places = match problem {
        Problem::MultiLabel if !names.iter().all(|name| lists::bit(name).is_some()) => {
            places(table, column)?
        }
        _ => None,
    };
    match places {
        Some(places) if places != names.len() => {
            Err(places_differ(table, column, places, names.len()))
        }
        _ => Ok(Labels { problem, names: names.to_vec(), by_position: places.is_some(), open }),
    }
}

fn places_differ(table: &Table, column: usize, places: usize, labels: usize) -> Error {
    data_error(format!(
        "{}: lists in column {:?} say 0 or 1 for {places} labels, the task has {labels}",
        table.path().display(),
        table.columns()[column],
    ))
}

/// How many labels the lists of a column say 0 or 1 for, if that is what they do.
fn places(table: &Table, column: usize) -> Result<Option<usize>> {
    let mut first: Option<(usize, usize)> = None;
    let (mut uneven, mut repeated, mut no_bit) = (None, false, None);
    let (mut numbers, mut fraction) = (true, None);
    for row in 0..table.rows() {
        let items = multiple(table, row, column)?;
        let (_, length) = *first.get_or_insert((row, items.len()));
        if items.len() != length {
            uneven.get_or_insert((row, items.len()));
        }
        let mut seen = [false; 2];
        for item in &items {
            match lists::bit(item) {
                Some(bit) => repeated |= std::mem::replace(&mut seen[usize::from(bit)], true),
                None => {
                    no_bit.get_or_insert(row);
                }
            }
            match item.trim().parse::<f64>() {
                Ok(value) if value.fract() != 0.0 => {
                    fraction.get_or_insert((row, item.clone()));
                }
                Ok(_) => {}
                Err(_) => numbers &= lists::bit(item).is_some(),
            }
        }
    }
    let Some((_, length)) = first else { return Ok(None) };
    match (no_bit, uneven, fraction) {
        (Some(_), None, Some((row, item))) if numbers && length > 1 => {
            Err(wrong(table, row, column, "0 or 1 for every label", &shown(&item))
                .with_hint("shares of labels cannot be learned; give 1 to those that apply"))
        }
        (None, None, _) if length > 1 => Ok(Some(length)),
        (None, Some((row, other)), _) if repeated => {
            let expected = format!("0 or 1 for {length} labels, as the first row has");
            Err(wrong(table, row, column, &expected, &format!("{other} of them")))
        }
        _ => Ok(None),
    }
}

/// The labels that occur, sorted: as numbers if all are whole numbers, else bytewise. Labels that
/// look alike are one; others that may be meant as one are said.
fn collect(
    table: &Table,
    column: usize,
    problem: Problem,
    remarks: &mut Vec<Remark>,
) -> Result<Vec<String>> {
    // For each label as written: its rows, and the first of them.
    let mut written: HashMap<String, (usize, usize)> = HashMap::new();
    let mut count = |row: usize, label: &str| match written.get_mut(label) {
        Some((rows, _)) => *rows += 1,
        None => drop(written.insert(label.to_string(), (1, row))),
    };
    for row in 0..table.rows() {
        match problem {
            Problem::SingleLabel => count(row, single(table, row, column)?),
            Problem::MultiLabel => {
                multiple(table, row, column)?.iter().for_each(|label| count(row, label));
            }
            Problem::Regression => {}
        }
    }
    let all_whole = written.keys().all(|label| spelling::whole(spelling::trimmed(label)).is_some());
    let mut groups: BTreeMap<String, Vec<(String, usize, usize)>> = BTreeMap::new();
    for (label, (rows, first)) in written {
        let key = spelling::key(&label);
        let key = if all_whole { spelling::whole(&key).unwrap_or(&key).to_string() } else { key };
        groups.entry(key).or_default().push((label, rows, first));
    }
    let mut rows = BTreeMap::new();
    let mut merged = Vec::new();
    for mut group in groups.into_values() {
        group.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let name = spelling::trimmed(&group[0].0).to_string();
        for (label, n, first) in &group[1..] {
            let place = table.place(*first);
            let rows = if *n == 1 { "1 row".into() } else { format!("{n} rows") };
            let (label, taken) = (shown(label), shown(&group[0].0));
            merged.push(format!("{label} ({rows}, the first {place}) for {taken}"));
        }
        rows.insert(name, group.iter().map(|(_, n, _)| n).sum::<usize>());
    }
    if !merged.is_empty() {
        remarks.push(Remark::Warning(format!(
            "labels that look alike are taken for one: {}",
            first_of(&merged)
        )));
    }
    let pair = |(a, b): &(&str, &str)| format!("{} and {}", shown(a), shown(b));
    for (pairs, what) in [
        (spelling::by_case(&rows), "labels that differ by case alone are different labels"),
        (spelling::slips(&rows), "labels of one row are one letter away from a frequent one"),
    ] {
        let pairs: Vec<String> = pairs.iter().map(pair).collect();
        if !pairs.is_empty() {
            remarks.push(Remark::Warning(format!(
                "{what}: {}; if they are the same, write them alike",
                first_of(&pairs)
            )));
        }
    }
    let mut labels: Vec<String> = rows.into_keys().collect();
    let whole: Option<Vec<i128>> = labels.iter().map(|l| l.parse().ok()).collect();
    if whole.is_some() {
        // Stable, so that "1" and "01" keep their bytewise order.
        labels.sort_by_key(|l| l.parse::<i128>().unwrap_or_default());
    }
    Ok(labels)
}

/// The first five, and how many more.
fn first_of(all: &[String]) -> String {
    let more = all.len().saturating_sub(5);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    all[..all.len().min(5)].join(", ") + &more
}

/// Positions of labels by the ways in which they may be written.
struct Positions<'a> {
    exact: HashMap<&'a str, u32>,
    keys: HashMap<String, u32>,
    whole: HashMap<&'a str, u32>,
}

impl<'a> Positions<'a> {
    fn new(names: &'a [String]) -> Self {
        let numbered = || names.iter().zip(0u32..).map(|(name, i)| (name.as_str(), i));
        let all_whole = names.iter().all(|name| spelling::whole(name).is_some());
        let whole = numbered().filter_map(|(name, i)| Some((spelling::whole(name)?, i)));
        Self {
            exact: numbered().collect(),
            keys: numbered().map(|(name, i)| (spelling::key(name), i)).collect(),
            whole: if all_whole { whole.collect() } else { HashMap::new() },
        }
    }

    fn find(&self, label: &str) -> Option<u32> {
        let exact = self.exact.get(label).copied();
        exact.or_else(|| {
            let key = spelling::key(label);
            let whole = || self.whole.get(spelling::whole(&key)?);
            self.keys.get(&key).or_else(whole).copied()
        })
    }
}

/// Reads the column by `labels`. `whose` names where they come from. Remarks on labels that are not
/// among them, whose rows count as [`UNSEEN`], a label that `labels` then ends with.
///
/// # Errors
/// Rows without a label, a label not among `labels`, unless some may be missing and others are not,
/// a value that is not a finite number.
pub(super) fn targets(
    table: &Table,
    column: usize,
    labels: &mut Labels,
    whose: &str,
    remarks: &mut Vec<Remark>,
) -> Result<Targets> {
    let rows = 0..table.rows();
    if labels.problem == Problem::Regression {
        return Ok(Targets::Values(
            rows.map(|row| value(table, row, column)).collect::<Result<_>>()?,
        ));
    }
    let positions = Positions::new(&labels.names);
    let unseen_at = labels.names.len() as u32;
    // Rows that have each label unseen, by the label, and the first row of any.
    let mut unseen: BTreeMap<String, usize> = BTreeMap::new();
    let mut first = None;
    let mut known_rows = 0;
    let mut number = |row: usize, label: &str| {
        let found = positions.find(label);
        if found.is_none() {
            *unseen.entry(label.to_string()).or_default() += 1;
            first.get_or_insert((row, label.to_string()));
        }
        found.unwrap_or(unseen_at)
    };
    let targets = match labels.problem {
        Problem::SingleLabel => {
            let classes = rows
                .map(|row| {
                    let class = number(row, single(table, row, column)?);
                    known_rows += usize::from(class != unseen_at);
                    Ok(class)
                })
                .collect::<Result<_>>()?;
            Targets::Classes(classes)
        }
        _ => {
            let sets = rows
                .map(|row| {
                    let given = multiple(table, row, column)?;
                    let set: BTreeSet<u32> = if labels.by_position {
                        let bits = given.iter().zip(0..);
                        bits.filter(|(bit, _)| lists::bit(bit) == Some(true))
                            .map(|(_, i)| i)
                            .collect()
                    } else {
                        given.iter().map(|label| number(row, label)).collect()
                    };
                    known_rows += usize::from(!set.contains(&unseen_at));
                    Ok(set.into_iter().collect())
                })
                .collect::<Result<_>>()?;
            Targets::MultiHot(sets)
        }
    };
    if let Some((row, label)) = first {
        if !labels.open || known_rows == 0 {
            return Err(unknown_label(table.place(row), &label, &labels.names, whose));
        }
        let rows = table.rows() - known_rows;
        let names: Vec<String> =
            unseen.iter().map(|(l, n)| format!("{} ({n})", shown(l))).collect();
        remarks.push(Remark::Warning(format!(
            "{}: {} have labels that are not among the {} of {whose}, and count as wrong: {}",
            table.path().display(),
            super::dataset::counted(rows, table.rows()),
            labels.names.len(),
            first_of(&names),
        )));
        labels.names.push(UNSEEN.to_string());
    }
    Ok(targets)
}

fn single(table: &Table, row: usize, column: usize) -> Result<&str> {
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

/// An empty list or an empty text is a row to which no label applies; null is a missing answer.
fn multiple(table: &Table, row: usize, column: usize) -> Result<Vec<String>> {
    let items = match (table.cell(row, column), given(table.cell(row, column))) {
        (Cell::Missing, _) => return Err(unlabelled(table, column, |c| c == Cell::Missing)),
        (_, Given::Other(what)) => {
            return Err(wrong(table, row, column, "a list of labels", what));
        }
        (_, Given::Blank) => return Ok(Vec::new()),
        (_, Given::List(items)) => items.into_owned(),
        (_, Given::Text(text)) if text.trim_start().starts_with(['[', '{', '(']) => {
            return Err(wrong(table, row, column, "a list of labels", &shown(text))
                .with_hint("lists are read as [\"a\", \"b\"]"));
        }
        (_, Given::Text(text)) => lists::split(text),
    };
    match items.iter().any(|item| item.trim().is_empty()) {
        true => Err(wrong(table, row, column, "labels", "an empty one in a list")),
        false => Ok(items),
    }
}

fn value(table: &Table, row: usize, column: usize) -> Result<f32> {
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
        super::dataset::counted(rows.len(), table.rows()),
    ))
    .with_hint("remove the rows without a label, or give them one")
}

/// The error of a `label` found in `place` that is none of `labels`, those of `whose`; the hint has the nearest.
pub(crate) fn unknown_label(
    place: impl Display,
    label: &str,
    labels: &[String],
    whose: &str,
) -> Error {
    let near = nearest(label, labels.iter().map(String::as_str), 5);
    let near: Vec<String> = near.into_iter().map(shown).collect();
    data_error(format!(
        "{place}: label {} is not among the {} labels of {whose}",
        shown(label),
        labels.len(),
    ))
    .with_hint(format!("the nearest known are {}", near.join(", ")))
}
