//! `linocut eval`

use crate::args::{BaseArgs, ColumnArgs, FormatArgs};
use crate::choices;
use crate::model::{Model, note_texts_cut};
use crate::output::{print, print_json};
use crate::task::Tell;
use clap::{ArgGroup, Args};
use linocut::bank::Dtype;
use linocut::data::{Dataset, Table, TaskFolder, TaskSpec};
use linocut::{Error, ErrorKind, Result, tune};
use serde_json::{Map, Value, json};
use std::path::{Path, PathBuf};

/// Score a cut on labelled rows.
#[derive(Args)]
#[command(group = ArgGroup::new("rows").args(["task", "data"]).required(true))]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut eval trec6.cut --task tasks/trec6
  linocut eval queue.cut --data july.csv --text body --label queue")]
pub(crate) struct EvalArgs {
    /// Cut to score
    #[arg(value_name = "CUT")]
    pub cut: PathBuf,

    #[command(flatten)]
    pub base: BaseArgs,

    /// Numbers that matrices are computed in; with int8 the scores in f32 stand beside
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = choices::dtype())]
    pub dtype: Dtype,

    /// Folder with task.json, whose dev rows are scored
    #[arg(long, value_name = "DIR")]
    pub task: Option<PathBuf>,

    /// Rows to score: TSV, CSV, JSONL or Parquet
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    pub columns: ColumnArgs,

    #[command(flatten)]
    pub format: FormatArgs,

    /// Least probability that is answered, in the place of the cut's own thresholds
    #[arg(long, value_name = "SHARE")]
    pub threshold: Option<f64>,

    /// Read at most this many rows, spread over the file
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,

    /// Stop at what is otherwise warned of, such as labels that training has not seen
    #[arg(long)]
    pub strict: bool,

    /// Print the scores as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn run(args: EvalArgs) -> Result<()> {
    let (file, spec) = rows(args.task.as_deref(), args.data.as_deref(), &args.columns)?;
    let model = Model::open(&args.cut, &args.base, args.dtype)?;
    let card = model.cut().card();
    let table = Table::read(&file, &args.format.reading(spec.columns(), args.limit))?;
    let mut remarks = table.remarks().to_vec();
    let data = Dataset::evaluation(&table, &spec, card.problem, &card.labels, &mut remarks)?;
    Tell { quiet: args.base.quiet, strict: args.strict }.all(&remarks)?;
    let place = file.display().to_string();
    model.check_pairs(data.pairs.is_some(), &place, "name the columns: --text and --text-pair")?;
    let logits = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
    let metric = Some(spec.metric.as_ref().unwrap_or(&card.metric));
    let card = &choices::with_threshold(card, args.threshold)?;
    let decision = card.decision.as_ref();
    let evaluation = tune::evaluate(&data, &logits.values, decision, metric)?;
    let float = match args.dtype {
        Dtype::F32 => None,
        Dtype::Int8 => {
            let model = Model::open(&args.cut, &args.base, Dtype::F32)?;
            let logits = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
            Some(tune::evaluate(&data, &logits.values, decision, metric)?)
        }
    };
    if args.json {
        let mut result: Map<String, Value> = [
            ("cut", json!(args.cut)),
            ("task", json!(card.task)),
            ("data", json!(file)),
            ("rows", json!(evaluation.metrics.rows)),
            ("texts_cut", json!(logits.texts_cut)),
            ("dtype", json!(args.dtype.name())),
        ]
        .map(|(name, value)| (name.to_string(), value))
        .into_iter()
        .collect();
        result.extend(evaluation.to_json(&data.labels));
        if let Some(float) = float {
            result.insert("f32".into(), float.to_json(&data.labels).into());
        }
        return print_json(&result.into());
    }
    note_texts_cut(logits.texts_cut, card.max_length);
    let mut text = evaluation.in_words(&data.labels);
    if let Some(float) = float {
        let names = [args.dtype.name(), Dtype::F32.name()];
        text += &format!("\n{}", evaluation.metrics.beside(&float.metrics, names));
    }
    print(&text)
}

/// The file to score and how to read it.
pub(crate) fn rows(
    task: Option<&Path>,
    data: Option<&Path>,
    columns: &ColumnArgs,
) -> Result<(PathBuf, TaskSpec)> {
    let (file, mut spec) = match (task, data) {
        (Some(folder), _) => {
            let task = TaskFolder::open(folder)?;
            let dev = task.dev.ok_or_else(|| {
                let message = format!("{} has no dev rows", folder.display());
                Error::new(ErrorKind::Data, message)
                    .with_hint("expected dev.tsv, .csv, .jsonl or .parquet; or name a file: --data")
            })?;
            (dev, task.spec)
        }
        (None, Some(file)) => (file.into(), TaskSpec::default()),
        (None, None) => {
            return Err(Error::new(ErrorKind::Config, "neither --task nor --data was given"));
        }
    };
    columns.name_in(&mut spec);
    Ok((file, spec))
}
