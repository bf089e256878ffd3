//! From the options that name a task's files to its rows.

use crate::args::TrainArgs;
use linocut::data::{Dataset, Metric, Reading, Remark, Table, TaskFolder, TaskSpec, split_holdout};
use linocut::{Error, ErrorKind, Result};
use std::path::Path;

/// Rows to learn from and to report on.
pub(crate) struct Task {
    pub train: Dataset,
    pub dev: Dataset,
    pub metric: Option<Metric>,
    /// Whether `dev` was held out of the training file.
    pub held_out: bool,
}

/// Share of the training rows held out where there is no dev file.
const HELD_OUT: f64 = 0.1;

impl Task {
    /// Reads what `--task`, or `--train` and `--dev`, name.
    pub(crate) fn read(args: &TrainArgs) -> Result<Self> {
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
        let reading = args.format.reading(spec.columns(), args.limit);
        let tell = Tell { quiet: args.base.quiet, strict: args.strict };
        Self::of(&spec, &train, dev.as_deref(), &reading, args.seed, tell)
    }

    /// Reads the rows of each file; without dev rows, holds some out by `seed`. Says what there is to
    /// say of them.
    pub(crate) fn of(
        spec: &TaskSpec,
        train: &Path,
        dev: Option<&Path>,
        reading: &Reading,
        seed: u64,
        tell: Tell,
    ) -> Result<Self> {
        let table = Table::read(train, reading)?;
        let mut remarks = table.remarks().to_vec();
        let rows = Dataset::train(&table, spec, &mut remarks);
        // What was seen of the file may be the reason for what is wrong with it.
        let rows = rows.inspect_err(|_| tell.notes(&remarks))?;
        drop(table);
        let metric = spec.metric.clone();
        let Some(dev) = dev else {
            tell.all(&remarks)?;
            let (train, dev) = split_holdout(&rows, HELD_OUT, seed)?;
            return Ok(Self { train, dev, metric, held_out: true });
        };
        let table = Table::read(dev, reading)?;
        // Of a file like the training rows' the same is said.
        let same = same_file(train, dev);
        remarks.extend(table.remarks().iter().filter(|_| !same).cloned());
        let (problem, labels) = (rows.problem, &rows.labels);
        let dev_rows = Dataset::evaluation(&table, spec, problem, labels, &mut remarks);
        let dev_rows = dev_rows.inspect_err(|_| tell.notes(&remarks))?;
        if same {
            remarks.push(Remark::Warning(format!(
                "{} is the training file itself: its score says what was learned by heart",
                dev.display()
            )));
        } else {
            remarks.extend(rows.overlap(&dev_rows));
        }
        tell.all(&remarks)?;
        Ok(Self { train: rows, dev: dev_rows, metric, held_out: false })
    }
}

fn same_file(a: &Path, b: &Path) -> bool {
    matches!((a.canonicalize(), b.canonicalize()), (Ok(a), Ok(b)) if a == b)
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
