//! From the options that name a task's files to its rows.

use crate::args::{ColumnArgs, FormatArgs};
use crate::choices;
use crate::flags::quoted;
use clap::{Args, ValueEnum};
use linocut::data::{Dataset, Problem, Remark, Table, TaskFolder, TaskRows, TaskSpec, read_labels};
use linocut::tune::Unlabelled;
use linocut::{Error, ErrorKind, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Rows to learn a task from, and how they are read; `--task` stands with the commands.
#[derive(Args, Clone)]
pub(crate) struct TaskArgs {
    /// Training rows: TSV, CSV, JSONL or Parquet
    #[arg(long, value_name = "FILE")]
    pub train: Option<PathBuf>,

    /// Rows to report the score on [default: a tenth of the training rows, held out by `train`'s --seed]
    #[arg(long, value_name = "FILE")]
    pub dev: Option<PathBuf>,

    #[command(flatten)]
    pub columns: ColumnArgs,

    #[command(flatten)]
    pub format: FormatArgs,

    /// Name of the task in the card [default: the folder's or the label column's]
    #[arg(long)]
    pub name: Option<String>,

    /// What is predicted [default: seen from the label column]
    #[arg(long, value_name = "KIND", value_parser = choices::problem())]
    pub problem: Option<Problem>,

    /// File with all labels, one a line, in the order of the logits [default: those of the training rows, sorted].
    /// --other LABEL is added at the end unless it is there
    #[arg(long, value_name = "FILE")]
    pub labels: Option<PathBuf>,

    /// Read at most this many rows of each file, spread over it; `train`'s --seed says which of the training
    /// rows
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,

    /// Stop at what is otherwise warned of, such as dev labels that training has not seen
    #[arg(long)]
    pub strict: bool,
}

impl TaskArgs {
    /// Reads the task in `folder`, or what --train and --dev name, and says what there is to say of it. The seed says which
    /// training rows a limit takes and, where there is no dev file and rows are to be held out, which.
    pub(crate) fn read(
        &self,
        folder: Option<&Path>,
        (seed, hold_out): (u64, bool),
        quiet: bool,
    ) -> Result<TaskRows> {
        let (spec, train, dev) = self.files(folder)?;
        let reading = self.format.reading(spec.columns(), self.limit);
        let tell = Tell { quiet, strict: self.strict };
        let (dev, seed) = (dev.as_deref(), (seed, hold_out));
        let mut remarks = vec![];
        let rows = TaskRows::read(&spec, &train, dev, &reading, seed, &mut remarks);
        // What was seen of a file may be the reason for what is wrong with it.
        let rows = rows.inspect_err(|_| tell.notes(&remarks))?;
        tell.all(&remarks)?;
        Ok(rows)
    }

    /// Reads texts without labels, with the columns of the task's.
    pub(crate) fn unlabelled(
        &self,
        folder: Option<&Path>,
        file: &Path,
        quiet: bool,
    ) -> Result<Unlabelled> {
        let (spec, ..) = self.files(folder)?;
        let table = Table::read(file, &self.format.reading(spec.texts_only(), self.limit))?;
        Tell { quiet, strict: self.strict }.all(table.remarks())?;
        Dataset::texts(&table, &spec)
    }

    /// What the task is, its training rows and its dev rows.
    fn files(&self, folder: Option<&Path>) -> Result<(TaskSpec, PathBuf, Option<PathBuf>)> {
        let (mut spec, train, dev) = match folder {
            Some(folder) => {
                let folder = TaskFolder::open(folder)?;
                (folder.spec, folder.train, folder.dev)
            }
            None => {
                let train = self.train.clone().expect("clap requires --task or --train");
                (TaskSpec::default(), train, self.dev.clone())
            }
        };
        self.columns.name_in(&mut spec);
        if let (Some(label), true) = (&self.columns.label, spec.name.is_empty()) {
            spec.name.clone_from(label);
        }
        if let Some(name) = &self.name {
            spec.name.clone_from(name);
        }
        if let Some(problem) = self.problem {
            spec.problem = Some(problem);
        }
        if let Some(file) = &self.labels {
            if let (Some(folder), false) = (folder, spec.labels.is_empty()) {
                let task = folder.join("task.json");
                let message = format!("both --labels and {} list the labels", task.display());
                return Err(
                    Error::new(ErrorKind::Config, message).with_hint("leave one of the two out")
                );
            }
            spec.labels = read_labels(file)?;
        }
        Ok((spec, train, dev))
    }

    /// The flags of `linocut train` that read what these do, --limit left out.
    pub(crate) fn flags(&self) -> String {
        let Self { train, dev, columns, format, name, problem, labels, limit: _, strict: _ } = self;
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let delimiter =
            format.delimiter.map(|c| if c == '\t' { "tab".into() } else { c.to_string() });
        let flags = [
            ("train", path(train)),
            ("dev", path(dev)),
            ("text", columns.text.clone()),
            ("text-pair", columns.text_pair.clone()),
            ("label", columns.label.clone()),
            ("label-separator", columns.label_separator.clone()),
            ("labels", path(labels)),
            ("other", columns.other.clone()),
            ("problem", problem.and_then(|problem| json!(problem).as_str().map(String::from))),
            ("delimiter", delimiter),
            (
                "quotes",
                format
                    .quotes
                    .and_then(|quotes| Some(quotes.to_possible_value()?.get_name().into())),
            ),
            ("name", name.clone()),
        ];
        let given = flags.into_iter().filter_map(|(flag, value)| {
            let value = value?;
            let by = if value.starts_with('-') { '=' } else { ' ' };
            Some(format!(" --{flag}{by}{}", quoted(&value)))
        });
        given.collect()
    }
}

/// Whether and how remarks on data are told.
#[derive(Clone, Copy)]
pub(crate) struct Tell {
    /// Warnings alone.
    pub quiet: bool,
    /// Warnings are errors.
    pub strict: bool,
}

impl Tell {
    /// Says all remarks on standard error.
    ///
    /// # Errors
    /// A warning, where these are errors.
    pub(crate) fn all(self, remarks: &[Remark]) -> Result<()> {
        let warning = remarks.iter().find_map(|remark| match remark {
            Remark::Warning(text) if self.strict => Some(text),
            _ => None,
        });
        if let Some(text) = warning {
            self.notes(remarks);
            return Err(Error::new(ErrorKind::Data, text.clone())
                .with_hint("without --strict this is a warning"));
        }
        for remark in remarks {
            self.say(remark);
        }
        Ok(())
    }

    /// Says the notes alone.
    fn notes(self, remarks: &[Remark]) {
        let notes = remarks.iter().filter(|remark| matches!(remark, Remark::Note(_)));
        notes.for_each(|remark| self.say(remark));
    }

    fn say(self, remark: &Remark) {
        if !(self.quiet && matches!(remark, Remark::Note(_))) {
            crate::output::say(&remark.to_string());
        }
    }
}
