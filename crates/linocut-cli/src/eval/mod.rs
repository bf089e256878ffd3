//! `linocut eval`

mod charts;
mod page;

use crate::args::BaseArgs;
use crate::choices;
use crate::model::{Model, note_texts_cut};
use crate::output::{print, print_json};
use crate::place;
use crate::rows::RowsArgs;
use crate::task::Tell;
use clap::Args;
use linocut::Result;
use linocut::bank::Dtype;
use linocut::checkpoint::write_file;
use linocut::tune::{self, Interval};
use page::Page;
use serde_json::{Map, Value, json};
use std::path::PathBuf;

/// Score a cut on labelled rows.
#[derive(Args)]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut eval trec6.cut --task tasks/trec6 --report trec6.html
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

    #[command(flatten)]
    pub rows: RowsArgs,

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

    /// Write a page with all scores, confusions, how sure the cut is, precision and recall, and what it
    /// would answer from which probability on
    #[arg(long, value_name = "HTML")]
    pub report: Option<PathBuf>,

    /// Replace an existing report
    #[arg(long, requires = "report")]
    pub force: bool,
}

pub(crate) fn run(args: EvalArgs) -> Result<()> {
    let report = args.report.as_ref();
    let _held = report.map(|path| place::claim(path, "report", args.force)).transpose()?;
    let (file, spec) = args.rows.file()?;
    let model = Model::open(&args.cut, &args.base, args.dtype)?;
    let card = &choices::with_threshold(model.cut().card(), args.threshold)?;
    let tell = Tell { quiet: args.base.quiet, strict: args.strict };
    let data = args.rows.read((&file, &spec), model.cut(), args.limit, tell)?;
    let logits = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
    let metric = spec.metric.as_ref().unwrap_or(&card.metric);
    let decision = card.decision.as_ref();
    let mut evaluation = tune::evaluate(&data, &logits.values, decision, Some(metric))?;
    evaluation.interval = Interval::of(&data, &logits.values, decision, metric)?;
    let float = match args.dtype {
        Dtype::F32 => None,
        Dtype::Int8 => {
            let model = Model::open(&args.cut, &args.base, Dtype::F32)?;
            let logits = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
            Some(tune::evaluate(&data, &logits.values, decision, Some(metric))?)
        }
    };
    if let Some(path) = report {
        let mut about = format!("Cut {}, rows of {}.", args.cut.display(), file.display());
        if args.dtype == Dtype::Int8 {
            about += " Computed in int8.";
        }
        let page =
            Page { card, data: &data, logits: &logits.values, evaluation: &evaluation, about };
        let page = page.html()?;
        write_file(path, args.force, |out| out.write_all(page.as_bytes()))?;
    }
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
    note_texts_cut(logits.texts_cut, card.extent());
    let mut text = evaluation.in_words(&data.labels);
    if let Some(float) = float {
        let names = [args.dtype.name(), Dtype::F32.name()];
        text += &format!("\n{}", evaluation.metrics.beside(&float.metrics, names));
    }
    print(&text)
}
