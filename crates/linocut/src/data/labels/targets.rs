//! From the cells of a label column to what is predicted of each row.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Display;

use super::super::Targets;
use super::super::dataset::counted;
use super::super::remark::{Remark, shown};
use super::super::table::{Table, data_error};
use super::cells::{multiple, single, value};
use super::{Labels, Problem, UNSEEN, lists, spelling};
use crate::nearest::nearest;
use crate::output::first_of;
use crate::{Error, ErrorKind, Result};

/// Reads the column by `labels`. `whose` names where they come from. Remarks on labels that are not
/// among them: their rows count as the label that stands for others or, without one, as [`UNSEEN`], a
/// label that `labels` then ends with.
///
/// # Errors
/// Rows without a label, a label not among `labels`, unless some may be missing and others are not,
/// a value that is not a finite number, lists of 0 and 1 beside a label that stands for others.
pub(in super::super) fn targets(
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
    let positions = Positions::new(&labels.names, labels.other.as_ref());
    let other = labels.other.as_ref();
    let other =
        other.map(|other| position_of_other(labels, other, &positions, whose)).transpose()?;
    let unseen_at = labels.names.len() as u32;
    let mut unseen = Unseen::default();
    let mut number = |row: usize, label: &str| {
        let found = positions.find(label);
        if found.is_none() {
            unseen.add(row, label);
        }
        found.or(other).unwrap_or(unseen_at)
    };
    let targets = match labels.problem {
        Problem::SingleLabel => {
            let class = |row| Ok(number(row, single(table, row, column)?));
            Targets::Classes(rows.map(class).collect::<Result<_>>()?)
        }
        _ => {
            let separator = labels.separator.as_deref();
            let set = |row| {
                let given = multiple(table, row, column, separator)?;
                let set: BTreeSet<u32> = if labels.by_position {
                    let bits = given.iter().zip(0..);
                    bits.filter(|(bit, _)| lists::bit(bit) == Some(true)).map(|(_, i)| i).collect()
                } else {
                    given.iter().map(|label| number(row, label)).collect()
                };
                Ok(set.into_iter().collect())
            };
            Targets::MultiHot(rows.map(set).collect::<Result<_>>()?)
        }
    };
    let Some((row, label)) = &unseen.first else { return Ok(targets) };
    if other.is_none() && (!labels.open || unseen.rows == table.rows()) {
        return Err(unknown(table, (*row, label), labels, &positions, whose));
    }
    let said = format!(
        "{}: {} have labels that are not among the {} of {whose}, and count as ",
        table.path().display(),
        counted(unseen.rows, table.rows()),
        labels.names.len(),
    );
    remarks.push(match &labels.other {
        Some(other) => Remark::Note(format!("{said}{}: {}", shown(other), unseen.in_words())),
        None => {
            let split = split_hint(labels, label, &positions);
            let split = split.map_or(String::new(), |hint| format!("; {hint}"));
            Remark::Warning(format!("{said}wrong: {}{split}", unseen.in_words()))
        }
    });
    if other.is_none() {
        labels.names.push(UNSEEN.to_string());
    }
    Ok(targets)
}

/// Labels that are not among those known.
#[derive(Default)]
struct Unseen {
    /// How often each stands in the rows.
    labels: BTreeMap<String, usize>,
    /// The first row that has one, and which.
    first: Option<(usize, String)>,
    /// Rows that have any, and the last of them.
    rows: usize,
    last: Option<usize>,
}

impl Unseen {
    /// Rows come one after the other.
    fn add(&mut self, row: usize, label: &str) {
        *self.labels.entry(label.to_string()).or_default() += 1;
        self.first.get_or_insert_with(|| (row, label.to_string()));
        self.rows += usize::from(self.last.replace(row) != Some(row));
    }

    fn in_words(&self) -> String {
        let labels = self.labels.iter();
        first_of(&labels.map(|(label, n)| format!("{} ({n})", shown(label))).collect::<Vec<_>>())
    }
}

/// Positions of labels by the ways in which they may be written.
pub(super) struct Positions<'a> {
    exact: HashMap<&'a str, u32>,
    keys: HashMap<String, u32>,
    whole: HashMap<&'a str, u32>,
}

impl<'a> Positions<'a> {
    /// Of `names`, among which `other` may be a word beside numbers.
    pub(super) fn new(names: &'a [String], other: Option<&String>) -> Self {
        let numbered = || names.iter().zip(0u32..).map(|(name, i)| (name.as_str(), i));
        let mut labels = names.iter().filter(|name| Some(*name) != other);
        let all_whole = labels.all(|name| spelling::whole(name).is_some());
        let whole = numbered().filter_map(|(name, i)| Some((spelling::whole(name)?, i)));
        Self {
            exact: numbered().collect(),
            keys: numbered().map(|(name, i)| (spelling::key(name), i)).collect(),
            whole: if all_whole { whole.collect() } else { HashMap::new() },
        }
    }

    pub(super) fn find(&self, label: &str) -> Option<u32> {
        let exact = self.exact.get(label).copied();
        exact.or_else(|| {
            let key = spelling::key(label);
            let whole = || self.whole.get(spelling::whole(&key)?);
            self.keys.get(&key).or_else(whole).copied()
        })
    }
}

/// Where the label is that stands for those not among `labels`.
fn position_of_other(
    labels: &Labels,
    other: &str,
    positions: &Positions<'_>,
    whose: &str,
) -> Result<u32> {
    let fail = |what: String, hint: String| {
        let message = format!("`other` is {}, {what}", shown(other));
        Err(Error::new(ErrorKind::Config, message).with_hint(hint))
    };
    match positions.find(other) {
        _ if labels.by_position => fail(
            "and the label column says 0 or 1 for every label, so that there are no others".into(),
            "leave `other` out".into(),
        ),
        None => fail(
            format!("which is not among the {} labels of {whose}", labels.names.len()),
            nearest_of(other, &labels.names),
        ),
        Some(at) => Ok(at),
    }
}

fn nearest_of(label: &str, labels: &[String]) -> String {
    let near = nearest(label, labels.iter().map(String::as_str), 5);
    let near: Vec<String> = near.into_iter().map(shown).collect();
    format!("the nearest known are {}", near.join(", "))
}

/// Says so where a text holds labels that are known, and another separator would have found them.
fn split_hint(labels: &Labels, label: &str, positions: &Positions<'_>) -> Option<String> {
    let splits = |by: &char| {
        label.contains(*by) && label.split(*by).all(|part| positions.find(part.trim()).is_some())
    };
    let by = [',', ';', '|'].into_iter().find(splits)?;
    (labels.problem == Problem::MultiLabel)
        .then(|| format!("`label_separator='{by}'` splits {} into known labels", shown(label)))
}

fn unknown(
    table: &Table,
    (row, label): (usize, &str),
    labels: &Labels,
    positions: &Positions<'_>,
    whose: &str,
) -> Error {
    let error = unknown_label(table.place(row), label, &labels.names, whose);
    match split_hint(labels, label, positions) {
        Some(hint) => error.with_hint(hint),
        // Where labels are listed, leaving some out may be meant.
        None if !labels.open => error.with_hint(format!(
            "{}; `other=LABEL` counts labels not among them as that one",
            nearest_of(label, &labels.names)
        )),
        None => error,
    }
}

/// The error of a `label` found in `place` that is none of `labels`, those of `whose`; the hint has the nearest.
pub(crate) fn unknown_label(
    place: impl Display,
    label: &str,
    labels: &[String],
    whose: &str,
) -> Error {
    let (found, known) = (shown(label), labels.len());
    data_error(format!("{place}: label {found} is not among the {known} labels of {whose}"))
        .with_hint(nearest_of(label, labels))
}
