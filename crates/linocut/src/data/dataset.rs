//! A task's rows: texts, labels and what is to be predicted of each.

use std::collections::HashSet;

use super::Problem;
use super::column::Cell;
use super::labels::{self, Labels};
use super::remark::Remark;
use super::table::{Table, data_error};
use super::task::TaskSpec;
use super::taught::Taught;
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
    /// How much each row counts in training, above 0; equally without. Scores count all rows alike.
    pub weights: Option<Vec<f32>>,
    /// What a teacher says of the rows, where one is learned from.
    pub taught: Option<Taught>,
}

impl Dataset {
    /// The rows to learn from; their labels become the task's, unless `spec` lists them. The label
    /// column is judged before it is believed: `remarks` get what was decided and what may be a
    /// mistake.
    ///
    /// # Errors
    /// A missing column, one column as text and label, a blank text, a row without its label, a
    /// label that `spec` does not list, a regression value that is not finite, rows that all have
    /// the same label, or a label column that cannot be meant.
    pub fn train(table: &Table, spec: &TaskSpec, remarks: &mut Vec<Remark>) -> Result<Self> {
        let column = spec.label_column(table)?;
        let judged = labels::judge(table, column, spec, remarks)?;
        let dataset = Self::read(table, spec, column, judged, "the task", remarks)?;
        dataset.remark_few_texts(table, remarks);
        match dataset.only() {
            None => Ok(dataset),
            Some(only) => Err(data_error(format!(
                "{}: all {} rows have {only} in column {:?}, so there is nothing to learn",
                table.path().display(),
                table.rows(),
                table.columns()[column],
            ))),
        }
    }

    /// What all rows have, where that is one thing.
    fn only(&self) -> Option<String> {
        match &self.targets {
            Targets::Classes(rows) => rows
                .iter()
                .all(|&r| r == rows[0])
                .then(|| format!("the label {:?}", self.labels[rows[0] as usize])),
            Targets::MultiHot(rows) => {
                rows.iter().all(Vec::is_empty).then(|| "no label at all".to_string())
            }
            Targets::Values(rows) => {
                rows.iter().all(|&r| r == rows[0]).then(|| format!("the value {}", rows[0]))
            }
        }
    }

    /// Rows to evaluate a known task on: `problem` and `labels` come from its training.
    ///
    /// A label that is not among `labels` counts as wrong and is told in `remarks`, with how many
    /// rows have it; [`Dataset::labels`] then ends with one name for all such. It is an error where
    /// `spec` lists the labels. Where `spec` says what stands for others, it counts as that one.
    ///
    /// # Errors
    /// As [`Dataset::train`], and labels none of which is known; any number of classes may occur.
    pub fn evaluation(
        table: &Table,
        spec: &TaskSpec,
        problem: Problem,
        labels: &[String],
        remarks: &mut Vec<Remark>,
    ) -> Result<Self> {
        let column = spec.label_column(table)?;
        let known = labels::known(table, column, problem, labels, spec)?;
        Self::read(table, spec, column, known, "the training rows", remarks)
    }

    fn read(
        table: &Table,
        spec: &TaskSpec,
        column: usize,
        mut labels: Labels,
        whose: &str,
        remarks: &mut Vec<Remark>,
    ) -> Result<Self> {
        let (texts, pairs) = Self::texts(table, spec)?;
        let targets = labels::targets(table, column, &mut labels, whose, remarks)?;
        let name = if spec.name.is_empty() {
            table.path().file_stem().map_or_else(String::new, |s| s.to_string_lossy().into_owned())
        } else {
            spec.name.clone()
        };
        let Labels { problem, names, .. } = labels;
        Ok(Self {
            name,
            problem,
            labels: names,
            texts,
            pairs,
            targets,
            weights: None,
            taught: None,
        })
    }

    /// A text column with few different texts may be another one.
    fn remark_few_texts(&self, table: &Table, remarks: &mut Vec<Remark>) {
        let different = (0..self.rows()).map(|row| self.text(row)).collect::<HashSet<_>>().len();
        if self.rows() >= 50 && different * 20 <= self.rows() {
            remarks.push(Remark::Warning(format!(
                "{}: {} rows have {different} different texts; if that is not the column of the \
                 text, name it: `text`",
                table.path().display(),
                self.rows(),
            )));
        }
    }

    /// What is said of dev rows whose texts stand among these training rows, if any do.
    pub fn overlap(&self, dev: &Dataset) -> Option<Remark> {
        let learned: HashSet<_> = (0..self.rows()).map(|row| self.text(row)).collect();
        let both = (0..dev.rows()).filter(|&row| learned.contains(&dev.text(row))).count();
        (both > 0).then(|| {
            Remark::Warning(format!(
                "{both} of {} dev rows have a text that stands among the training rows, too: the \
                 score is too good by what was learned by heart",
                dev.rows()
            ))
        })
    }

    fn text(&self, row: usize) -> (&str, Option<&str>) {
        (&self.texts[row], self.pairs.as_ref().map(|pairs| pairs[row].as_str()))
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

    /// Number of rows that are learned from, with those that have no labels, if a teacher answers such.
    pub fn learned_rows(&self) -> usize {
        self.rows() + self.unlabelled().map_or(0, Self::rows)
    }

    /// Rows that have no labels, but a teacher's answers.
    pub fn unlabelled(&self) -> Option<&Self> {
        self.taught.as_ref()?.unlabelled.as_deref()
    }

    /// How many rows have each label of [`Dataset::labels`]; nothing of regression.
    pub fn label_counts(&self) -> Vec<usize> {
        let mut counts = vec![0; self.labels.len()];
        let mut count = |label: &u32| counts[*label as usize] += 1;
        match &self.targets {
            Targets::Classes(rows) => rows.iter().for_each(&mut count),
            Targets::MultiHot(rows) => rows.iter().flatten().for_each(&mut count),
            Targets::Values(_) => {}
        }
        counts
    }

    /// The label that most rows have, the first of equals; none of regression.
    pub fn most_frequent(&self) -> Option<usize> {
        let counts = self.label_counts();
        // Of equals `max_by_key` takes the last.
        (0..counts.len()).rev().max_by_key(|&label| counts[label])
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
            weights: self.weights.as_ref().map(|weights| pick(weights, rows)),
            taught: self.taught.as_ref().map(|taught| taught.select(self.rows(), rows)),
        }
    }

    /// The rows with `weights`, one each: how much a row counts in training beside the others, so that only ratios
    /// matter. Those of weight 0 are left out.
    ///
    /// # Errors
    /// As many weights as there are not rows, one that is negative or no finite number, or no row left.
    pub fn weighted(self, weights: &[f32]) -> Result<Self> {
        if weights.len() != self.rows() {
            let message = format!("{} weights for {} rows", weights.len(), self.rows());
            return Err(data_error(message));
        }
        if let Some(at) = weights.iter().position(|w| !w.is_finite() || *w < 0.0) {
            let message = format!("the weight of row {at} is {}, expected 0 or more", weights[at]);
            return Err(data_error(message));
        }
        let kept: Vec<usize> = (0..self.rows()).filter(|&row| weights[row] > 0.0).collect();
        if kept.is_empty() {
            return Err(data_error("every row has the weight 0"));
        }
        let mut left = self.select(&kept);
        if let Some(only) = left.only() {
            let message = format!("all rows of a weight above 0 have {only}: nothing to learn");
            return Err(data_error(message));
        }
        left.weights = Some(kept.into_iter().map(|row| weights[row]).collect());
        Ok(left)
    }
}

fn text_column(table: &Table, column: usize) -> Result<Vec<String>> {
    let text = |row: usize| match table.cell(row, column) {
        Cell::Text(text) if !text.trim().is_empty() => Some(text),
        _ => None,
    };
    let empty: Vec<usize> = (0..table.rows()).filter(|&row| text(row).is_none()).collect();
    let Some(&first) = empty.first() else {
        return Ok((0..table.rows()).filter_map(text).map(String::from).collect());
    };
    let name = &table.columns()[column];
    let found = match table.cell(first, column) {
        Cell::Missing | Cell::Text(_) => None,
        Cell::List(_) => Some("a list"),
        Cell::Other(what) => Some(what),
    };
    let (problem, hint) = match found {
        None => (format!("column {name:?} holds no text"), "remove the rows without text"),
        Some("an object") if table.rows() == 1 => (
            format!("expected text in column {name:?}, found an object"),
            "write one object a line; in pandas: df.to_json(PATH, orient=\"records\", lines=True)",
        ),
        Some(what) => (
            format!("expected text in column {name:?}, found {what}"),
            "give every row a text, or name another column: `text`",
        ),
    };
    let message =
        format!("{}: {problem} ({})", table.place(first), counted(empty.len(), table.rows()));
    Err(data_error(message).with_hint(hint))
}

/// `1 of 20 rows`: how often a problem shown once occurs.
pub(super) fn counted(rows: usize, all: usize) -> String {
    format!("{rows} of {all} rows")
}
