//! A label column as classes, sets of classes or numbers: judged once, before it is believed.

mod cells;
mod infer;
mod listed;
mod lists;
mod spelling;
mod targets;

use std::collections::{BTreeMap, HashMap};

use super::Problem;
use super::column::Cell;
use super::remark::{Remark, shown};
use super::table::{Table, data_error};
use super::task::TaskSpec;
use crate::output::{counted, first_of};
use crate::{Error, ErrorKind, Result};
use cells::{multiple, single};
use infer::wrong;
pub use listed::{check_listed, read_labels};
pub(super) use targets::targets;
pub(crate) use targets::unknown_label;

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
    /// What stands between the labels of a text; `None` for commas.
    separator: Option<String>,
    /// The label that stands for those missing among them.
    other: Option<String>,
}

/// What the label column of training rows holds: problem and labels, as `spec` says or else as the
/// column looks. Says what was decided unless `spec` did.
///
/// # Errors
/// A column that cannot be meant: see [`infer::infer`]; nearly a label a row; lists of 0 and 1 of
/// different lengths, or of other numbers; a row without a label; a `spec` that contradicts itself.
pub(super) fn judge(
    table: &Table,
    column: usize,
    spec: &TaskSpec,
    remarks: &mut Vec<Remark>,
) -> Result<Labels> {
    let listed = !spec.labels.is_empty();
    let (problem, why) = match spec.said_problem() {
        Some(problem) => (problem, None),
        None => match infer::infer(table, column) {
            // Listed labels are classes, even if they look like numbers.
            Ok((Problem::Regression, _)) | Err(_) if listed => (Problem::SingleLabel, None),
            judged => judged.map(|(problem, why)| (problem, (!listed).then_some(why)))?,
        },
    };
    spec.fits(problem)?;
    let separator = spec.label_separator.as_deref();
    let places = match problem {
        Problem::MultiLabel => places(table, column, separator)?,
        _ => None,
    };
    let names = match (problem, places) {
        (Problem::Regression, _) => Vec::new(),
        (_, Some(places)) if listed && spec.labels.len() != places => {
            return Err(places_differ(table, column, places, spec.labels.len()));
        }
        _ if listed => listed::with_other(&spec.labels, spec.other.as_ref()),
        _ if spec.other.is_some() => {
            let message = "`other` stands for labels that are not listed, and none are listed";
            return Err(
                Error::new(ErrorKind::Config, message).with_hint("list the others: `labels`")
            );
        }
        (_, Some(places)) => (0..places).map(|i| format!("LABEL_{i}")).collect(),
        _ => collect(table, column, problem, separator, remarks)?,
    };
    remarks.extend(separator.and_then(|separator| separates_none(table, column, separator)));
    if problem == Problem::SingleLabel && spec.problem.is_none() && !listed {
        infer::check_repeated(table, column, &names)?;
        if let Some((label, by)) = spelling::joined(&names) {
            let hint = match by {
                ',' => "`problem=multi-label` reads it as several".to_string(),
                _ => format!("`label_separator='{by}'` reads it as several"),
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
    Ok(Labels::new(spec, problem, names, places.is_some(), false))
}

/// What is said of a separator that stands in no row.
fn separates_none(table: &Table, column: usize, separator: &str) -> Option<Remark> {
    let has = |row| matches!(table.cell(row, column), Cell::Text(text) if text.contains(separator));
    (!(0..table.rows()).any(has)).then(|| {
        Remark::Warning(format!(
            "{}: {} separates no labels in column {}; if something else does, name that: \
             `label_separator`",
            table.path().display(),
            shown(separator),
            shown(&table.columns()[column]),
        ))
    })
}

impl Labels {
    fn new(
        spec: &TaskSpec,
        problem: Problem,
        names: Vec<String>,
        by_position: bool,
        open: bool,
    ) -> Self {
        let (separator, other) = (spec.label_separator.clone(), spec.other.clone());
        Self { problem, names, by_position, open, separator, other }
    }
}

/// How rows to evaluate are read when `problem` and `names` are known. Unless `spec` lists the labels
/// or says what stands for others, one that is not among them is kept as [`UNSEEN`].
pub(super) fn known(
    table: &Table,
    column: usize,
    problem: Problem,
    names: &[String],
    spec: &TaskSpec,
) -> Result<Labels> {
    spec.fits(problem)?;
    let places = match problem {
        Problem::MultiLabel if !names.iter().all(|name| lists::bit(name).is_some()) => {
            places(table, column, spec.label_separator.as_deref())?
        }
        _ => None,
    };
    match places {
        Some(places) if places != names.len() => {
            Err(places_differ(table, column, places, names.len()))
        }
        _ => {
            let open = spec.labels.is_empty();
            Ok(Labels::new(spec, problem, names.to_vec(), places.is_some(), open))
        }
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
fn places(table: &Table, column: usize, separator: Option<&str>) -> Result<Option<usize>> {
    let mut first: Option<(usize, usize)> = None;
    let (mut uneven, mut repeated, mut no_bit) = (None, false, None);
    let (mut numbers, mut fraction) = (true, None);
    for row in 0..table.rows() {
        let items = multiple(table, row, column, separator)?;
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
    separator: Option<&str>,
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
                let labels = multiple(table, row, column, separator)?;
                labels.iter().for_each(|label| count(row, label));
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
            let rows = counted(*n, "row");
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
