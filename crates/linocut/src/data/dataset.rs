//! A task's rows: texts, labels and what is to be predicted of each.

use super::table::{Cell, Table, data_error};
use super::task::TaskSpec;
use super::{Problem, labels};
use crate::Result;

/// What is to be predicted, for each row.
#[derive(Debug, Clone, PartialEq)]
pub enum Targets {
    /// The position in [`Dataset::labels`] of the row's one label.
    Classes(Vec<u32>),
    /// The positions of all labels that apply, ascending; possibly none.
    MultiHot(Vec<Vec<u32>>),
    /// The row's number, finite.
    Values(Vec<f32>),
}

/// The rows of a task, in the order of the file.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// Name of the task.
    pub name: String,
    /// What is predicted.
    pub problem: Problem,
    /// The labels in the order of the head's rows; empty for regression.
    pub labels: Vec<String>,
    /// The texts, none of them blank.
    pub texts: Vec<String>,
    /// The second texts of a task on pairs, one for each row.
    pub pairs: Option<Vec<String>>,
    /// What is to be predicted.
    pub targets: Targets,
}

impl Dataset {
    /// The rows to learn from; their labels become the task's, unless `spec` lists them.
    ///
    /// # Errors
    /// A missing column, a blank text, a row without its label, a label that `spec` does not list,
    /// a regression value that is not finite, or rows that all have the same label.
    pub fn train(table: &Table, spec: &TaskSpec) -> Result<Self> {
        let column = spec.label_column(table)?;
        let problem = match spec.problem {
            Some(problem) => problem,
            None if !spec.labels.is_empty() => {
                match labels::infer_problem(table, column) {
                    // Listed labels are classes, even if they look like numbers.
                    Problem::Regression => Problem::SingleLabel,
                    other => other,
                }
            }
            None => labels::infer_problem(table, column),
        };
        let known = match (problem, spec.labels.is_empty()) {
            (Problem::Regression, _) => Vec::new(),
            (_, false) => spec.labels.clone(),
            (_, true) => labels::collect(table, column, problem)?,
        };
        let dataset = Self::read(table, spec, column, problem, known, "the task")?;
        let only = match &dataset.targets {
            Targets::Classes(rows) => rows
                .iter()
                .all(|&r| r == rows[0])
                .then(|| format!("the label {:?}", dataset.labels[rows[0] as usize])),
            Targets::MultiHot(rows) => {
                rows.iter().all(Vec::is_empty).then(|| "no label at all".to_string())
            }
            Targets::Values(rows) => {
                rows.iter().all(|&r| r == rows[0]).then(|| format!("the value {}", rows[0]))
            }
        };
        match only {
            None => Ok(dataset),
            Some(only) => Err(data_error(format!(
                "{}: all {} rows have {only} in column {:?}, so there is nothing to learn",
                table.path().display(),
                table.rows(),
                table.columns()[column],
            ))),
        }
    }

    /// Rows to evaluate a known task on: `problem` and `labels` come from its training.
    ///
    /// # Errors
    /// As [`Dataset::train`], and a label unseen in training; any number of classes may occur.
    pub fn evaluation(
        table: &Table,
        spec: &TaskSpec,
        problem: Problem,
        labels: &[String],
    ) -> Result<Self> {
        let column = spec.label_column(table)?;
        Self::read(table, spec, column, problem, labels.to_vec(), "the training rows")
    }

    fn read(
        table: &Table,
        spec: &TaskSpec,
        column: usize,
        problem: Problem,
        labels: Vec<String>,
        whose: &str,
    ) -> Result<Self> {
        let (texts, pairs) = Self::texts(table, spec)?;
        let targets = labels::targets(table, column, problem, &labels, whose)?;
        let name = if spec.name.is_empty() {
            table.path().file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
        } else {
            spec.name.clone()
        };
        Ok(Self { name, problem, labels, texts, pairs, targets })
    }

    /// The texts alone, for prediction, and the second texts where the task has them.
    ///
    /// # Errors
    /// A missing column or a blank text.
    #[allow(clippy::type_complexity)] // two lists of texts, told apart by the sentence above
    pub fn texts(table: &Table, spec: &TaskSpec) -> Result<(Vec<String>, Option<Vec<String>>)> {
        let columns = spec.text_columns(table)?;
        let texts = text_column(table, columns.text)?;
        let pairs = columns.pair.map(|pair| text_column(table, pair)).transpose()?;
        Ok((texts, pairs))
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.texts.len()
    }

    /// The rows of the given numbers, in that order.
    ///
    /// # Panics
    /// If a number is out of range.
    #[must_use]
    pub fn select(&self, rows: &[usize]) -> Self {
        fn pick<T: Clone>(from: &[T], rows: &[usize]) -> Vec<T> {
            rows.iter().map(|&row| from[row].clone()).collect()
        }
        Self {
            name: self.name.clone(),
            problem: self.problem,
            labels: self.labels.clone(),
            texts: pick(&self.texts, rows),
            pairs: self.pairs.as_ref().map(|pairs| pick(pairs, rows)),
            targets: match &self.targets {
                Targets::Classes(all) => Targets::Classes(pick(all, rows)),
                Targets::MultiHot(all) => Targets::MultiHot(pick(all, rows)),
                Targets::Values(all) => Targets::Values(pick(all, rows)),
            },
        }
    }
}

fn text_column(table: &Table, column: usize) -> Result<Vec<String>> {
    let text = |row: usize| match table.cell(row, column) {
        Cell::Text(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    };
    let empty: Vec<usize> = (0..table.rows()).filter(|&row| text(row).is_none()).collect();
    let Some(&first) = empty.first() else {
        return Ok((0..table.rows()).filter_map(text).cloned().collect());
    };
    let name = &table.columns()[column];
    let problem = match table.cell(first, column) {
        Cell::Missing | Cell::Text(_) => format!("column {name:?} holds no text"),
        _ => format!("expected text in column {name:?}, found a list or an object"),
    };
    let message =
        format!("{}: {problem} ({})", table.place(first), counted(empty.len(), table.rows()));
    Err(data_error(message).with_hint("remove the rows without text"))
}

/// `1 of 20 rows`: how often a problem shown once occurs.
pub(super) fn counted(rows: usize, all: usize) -> String {
    format!("{rows} of {all} rows")
}
