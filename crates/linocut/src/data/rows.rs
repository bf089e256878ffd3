//! Rows to learn from and rows to report on.

use super::remark::Remark;
use super::{Dataset, Metric, Reading, Table, TaskSpec, split_holdout};
use crate::Result;
use std::path::Path;

/// What a task is learned from and judged by.
#[derive(Debug, Clone)]
pub struct TaskRows {
    /// Rows to learn from.
    pub train: Dataset,
    /// Rows to report on; none where none were given or held out.
    pub dev: Dataset,
    /// The score to report, where the task says one.
    pub metric: Option<Metric>,
    /// Whether `dev` was held out of the training rows.
    pub held_out: bool,
}

/// Share of the training rows held out where there are no dev rows.
const HELD_OUT: f64 = 0.1;

impl TaskRows {
    /// Reads the rows of each file; without dev rows, holds some out by the seed if `hold_out` says so, or has none.
    /// `remarks` get what there is to say of them. Of training rows a limit takes those that the seed says; of dev rows
    /// those that `reading` says, so that runs of different seeds are scored on the same ones.
    ///
    /// # Errors
    /// As [`Table::read`], [`Dataset::train`], [`Dataset::evaluation`] and [`split_holdout`].
    pub fn read(
        spec: &TaskSpec,
        train: &Path,
        dev: Option<&Path>,
        reading: &Reading,
        (seed, hold_out): (u64, bool),
        remarks: &mut Vec<Remark>,
    ) -> Result<Self> {
        let hold_out = hold_out.then_some(seed);
        let table = Table::read(train, &Reading { seed, ..reading.clone() })?;
        remarks.extend_from_slice(table.remarks());
        let rows = Dataset::train(&table, spec, remarks)?;
        drop(table);
        let Some(dev) = dev else { return Self::new(rows, None, spec.metric.clone(), hold_out) };
        let table = Table::read(dev, reading)?;
        // Of a file like the training rows' the same is said.
        let same = same_file(train, dev);
        remarks.extend(table.remarks().iter().filter(|_| !same).cloned());
        let (problem, labels) = (rows.problem, &rows.labels);
        let dev_rows = Dataset::evaluation(&table, spec, problem, labels, remarks)?;
        if same {
            remarks.push(Remark::Warning(format!(
                "{} is the training file itself: its score says what was learned by heart",
                dev.display()
            )));
        } else {
            remarks.extend(rows.overlap(&dev_rows));
        }
        Self::new(rows, Some(dev_rows), spec.metric.clone(), hold_out)
    }

    /// Rows that are there already; without dev rows, some are held out by the seed of `hold_out`, or there are none.
    ///
    /// # Errors
    /// As [`split_holdout`].
    pub fn new(
        train: Dataset,
        dev: Option<Dataset>,
        metric: Option<Metric>,
        hold_out: Option<u64>,
    ) -> Result<Self> {
        let held_out = dev.is_none() && hold_out.is_some();
        let (train, dev) = match (dev, hold_out) {
            (Some(dev), _) => (train, dev),
            (None, Some(seed)) => split_holdout(&train, HELD_OUT, seed)?,
            (None, None) => {
                let none = train.select(&[]);
                (train, none)
            }
        };
        Ok(Self { train, dev, metric, held_out })
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
}
