//! From the options that name a task's files to its rows.

use crate::args::TrainArgs;
use linocut::data::{Dataset, Reading, Remark, Table, TaskFolder, TaskRows, TaskSpec};
use linocut::tune::Unlabelled;
use linocut::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Reads what `--task`, or `--train` and `--dev`, name.
pub(crate) fn read(args: &TrainArgs) -> Result<TaskRows> {
    let (spec, train, dev) = files(args)?;
    let reading = args.format.reading(spec.columns(), args.limit);
    // With folds every row is reported on by a cut that was not trained on it.
    let hold_out = args.folds.is_none().then_some(args.seed);
    rows(&spec, &train, dev.as_deref(), &reading, hold_out, Tell::of(args))
}

/// Reads the texts that `--unlabelled` names, with the columns of the task's.
pub(crate) fn unlabelled(args: &TrainArgs) -> Result<Option<Unlabelled>> {
    let Some(file) = &args.unlabelled else { return Ok(None) };
    let (spec, ..) = files(args)?;
    let table = Table::read(file, &args.format.reading(spec.texts_only(), args.limit))?;
    Tell::of(args).all(table.remarks())?;
    Dataset::texts(&table, &spec).map(Some)
}

/// What the task is, its training rows and its dev rows.
fn files(args: &TrainArgs) -> Result<(TaskSpec, PathBuf, Option<PathBuf>)> {
    let (mut spec, train, dev) = match &args.task {
        Some(folder) => {
            let folder = TaskFolder::open(folder)?;
            (folder.spec, folder.train, folder.dev)
        }
        None => {
            let train = args.train.clone().expect("clap requires --task or --train");
            (TaskSpec::default(), train, args.dev.clone())
        }
    };
    args.columns.name_in(&mut spec);
    if let (Some(label), true) = (&args.columns.label, spec.name.is_empty()) {
        spec.name.clone_from(label);
    }
    if let Some(name) = &args.name {
        spec.name.clone_from(name);
    }
    if let Some(problem) = args.problem {
        spec.problem = Some(problem);
    }
    Ok((spec, train, dev))
}

/// [`TaskRows::read`], with what there is to say of them said.
pub(crate) fn rows(
    spec: &TaskSpec,
    train: &Path,
    dev: Option<&Path>,
    reading: &Reading,
    hold_out: Option<u64>,
    tell: Tell,
) -> Result<TaskRows> {
    let mut remarks = vec![];
    let rows = TaskRows::read(spec, train, dev, reading, hold_out, &mut remarks);
    // What was seen of a file may be the reason for what is wrong with it.
    let rows = rows.inspect_err(|_| tell.notes(&remarks))?;
    tell.all(&remarks)?;
    Ok(rows)
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
    pub(crate) fn of(args: &TrainArgs) -> Self {
        Self { quiet: args.base.quiet, strict: args.strict }
    }

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
