//! From the options that name a task's files to its rows.

use crate::args::TrainArgs;
use linocut::Result;
use linocut::data::{Dataset, Metric, Table, TaskFolder, TaskSpec, split_holdout};
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
            spec.problem = Some(problem.into());
        }
        Self::of(&spec, &train, dev.as_deref(), args.limit, args.seed)
    }

    /// Reads at most `limit` rows of each file; without dev rows, holds some out by `seed`.
    pub(crate) fn of(
        spec: &TaskSpec,
        train: &Path,
        dev: Option<&Path>,
        limit: Option<usize>,
        seed: u64,
    ) -> Result<Self> {
        let train = Dataset::train(&Table::read(train, limit)?, spec)?;
        let metric = spec.metric.clone();
        let Some(dev) = dev else {
            let (train, dev) = split_holdout(&train, HELD_OUT, seed)?;
            return Ok(Self { train, dev, metric, held_out: true });
        };
        let dev = Table::read(dev, limit)?;
        let dev = Dataset::evaluation(&dev, spec, train.problem, &train.labels)?;
        Ok(Self { train, dev, metric, held_out: false })
    }
}
