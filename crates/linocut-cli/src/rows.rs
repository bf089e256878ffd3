//! Labelled rows that a cut is held against.

use crate::args::{ColumnArgs, FormatArgs};
use crate::task::Tell;
use clap::{ArgGroup, Args};
use linocut::cut::Cut;
use linocut::data::{Dataset, Table, TaskFolder, TaskSpec};
use linocut::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Where the rows are, and how they are read.
#[derive(Args)]
#[command(group = ArgGroup::new("rows").args(["task", "data"]).required(true))]
pub(crate) struct RowsArgs {
    /// Folder with task.json, whose dev rows are taken
    #[arg(long, value_name = "DIR")]
    pub task: Option<PathBuf>,

    /// Rows to take: TSV, CSV, JSONL or Parquet
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    pub columns: ColumnArgs,

    #[command(flatten)]
    pub format: FormatArgs,
}

impl RowsArgs {
    /// The file and how to read it.
    pub(crate) fn file(&self) -> Result<(PathBuf, TaskSpec)> {
        let (file, mut spec) = match (&self.task, &self.data) {
            (Some(folder), _) => {
                let task = TaskFolder::open(folder)?;
                let dev = task.dev.ok_or_else(|| {
                    let message = format!("{} has no dev rows", folder.display());
                    Error::new(ErrorKind::Data, message).with_hint(
                        "expected dev.tsv, .csv, .jsonl or .parquet; or name a file: --data",
                    )
                })?;
                (dev, task.spec)
            }
            (None, Some(file)) => (file.clone(), TaskSpec::default()),
            (None, None) => {
                return Err(Error::new(ErrorKind::Config, "neither --task nor --data was given"));
            }
        };
        self.columns.name_in(&mut spec);
        Ok((file, spec))
    }

    /// The rows of that file, at most `limit`, as the cut's task judges them.
    pub(crate) fn read(
        &self,
        (file, spec): (&Path, &TaskSpec),
        cut: &Cut,
        limit: Option<usize>,
        tell: Tell,
    ) -> Result<Dataset> {
        let card = cut.card();
        let table = Table::read(file, &self.format.reading(spec.columns(), limit))?;
        let mut remarks = table.remarks().to_vec();
        let data = Dataset::evaluation(&table, spec, card.problem, &card.labels, &mut remarks)?;
        tell.all(&remarks)?;
        let hint = "name the columns: --text and --text-pair";
        cut.check_pairs(data.pairs.is_some(), &file.display().to_string(), hint)?;
        Ok(data)
    }
}
