//! Rows as Python gives them.

use linocut::Result;
use linocut::data::{Dataset, Remark, Table, TaskRows, TaskSpec, Value};
use pyo3::prelude::*;

/// Texts, their second texts and their labels, row by row.
pub(crate) type Rows = (Vec<String>, Option<Vec<String>>, Vec<Label>);

/// What one row is labelled with.
#[derive(Clone, FromPyObject)]
pub(crate) enum Label {
    /// One label, or a number as text.
    Text(String),
    /// Any number of labels.
    List(Vec<String>),
}

/// The columns' names in messages, which are also the arguments' in Python.
const COLUMNS: [&str; 3] = ["texts", "pairs", "labels"];

/// Which columns of [`table`] the rows' texts and labels are.
pub(crate) fn columns(rows: &Rows) -> TaskSpec {
    TaskSpec {
        text: Some(COLUMNS[0].into()),
        pair: rows.1.is_some().then(|| COLUMNS[1].into()),
        label: Some(COLUMNS[2].into()),
        ..TaskSpec::default()
    }
}

/// The rows as a table.
pub(crate) fn table(name: &str, (texts, pairs, labels): Rows) -> Result<Table> {
    let text = |texts: Vec<String>| texts.into_iter().map(Value::Text).collect();
    let label = |label| match label {
        Label::Text(text) => Value::Text(text),
        Label::List(items) => Value::List(items),
    };
    let mut columns = vec![(COLUMNS[0], text(texts))];
    columns.extend(pairs.map(|pairs| (COLUMNS[1], text(pairs))));
    columns.push((COLUMNS[2], labels.into_iter().map(label).collect()));
    Table::of_columns(name, columns)
}

/// Rows to learn from, and rows to report on where there are some: those given, or with `hold_out` a share of the
/// others. The last says whether they were held out.
pub(crate) fn datasets(
    rows: Rows,
    weights: Option<Vec<f32>>,
    dev: Option<Rows>,
    spec: &TaskSpec,
    hold_out: Option<u64>,
    remarks: &mut Vec<Remark>,
) -> Result<(Dataset, Option<Dataset>, bool)> {
    let train = Dataset::train(&table("the rows", rows)?, spec, remarks)?;
    let train = match weights {
        Some(weights) => train.weighted(&weights)?,
        None => train,
    };
    if let Some(dev) = dev {
        let table = table("the dev rows", dev)?;
        let dev = Dataset::evaluation(&table, spec, train.problem, &train.labels, remarks)?;
        remarks.extend(train.overlap(&dev));
        return Ok((train, Some(dev), false));
    }
    match hold_out {
        None => Ok((train, None, false)),
        Some(seed) => {
            let rows = TaskRows::new(train, None, None, Some(seed))?;
            Ok((rows.train, Some(rows.dev), true))
        }
    }
}

/// Remarks: whether each is a warning, and its text.
pub(crate) type Told = Vec<(bool, String)>;

/// Remarks as Python gets them.
pub(crate) fn told(remarks: Vec<Remark>) -> Told {
    remarks
        .into_iter()
        .map(|remark| match remark {
            Remark::Note(text) => (false, text),
            Remark::Warning(text) => (true, text),
        })
        .collect()
}
