//! `linocut compare`

use crate::args::BaseArgs;
use crate::model::{self, note_texts_cut};
use crate::output::{print, print_json};
use crate::rows::RowsArgs;
use crate::task::Tell;
use clap::Args;
use linocut::Result;
use linocut::cut::{Card, Decision};
use linocut::data::{Dataset, Metric};
use linocut::tune::compare;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Tell whether one cut is better than another, on the same labelled rows.
///
/// Both answer every row, so that the difference is surer than the two scores: its interval is of the same rows
/// drawn again and again for both.
#[derive(Args)]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut compare queue-june.cut queue-july.cut --data august.csv --text body --label queue
  linocut compare mask.cut full.cut --task tasks/trec6")]
pub(crate) struct CompareArgs {
    /// The cut in use
    #[arg(value_name = "CUT")]
    pub first: PathBuf,

    /// The cut that may be better
    #[arg(value_name = "OTHER")]
    pub second: PathBuf,

    #[command(flatten)]
    pub base: BaseArgs,

    #[command(flatten)]
    pub rows: RowsArgs,

    /// Read at most this many rows, spread over the file
    #[arg(long, value_name = "ROWS")]
    pub limit: Option<usize>,

    /// Print the comparison as JSON
    #[arg(long)]
    pub json: bool,
}

/// What one cut answers.
struct Answers {
    data: Dataset,
    logits: Vec<f32>,
    decision: Option<Decision>,
    metric: Metric,
}

pub(crate) fn run(args: CompareArgs) -> Result<()> {
    let (file, spec) = args.rows.file()?;
    let answers = |cut: &Path, quiet: bool| -> Result<Answers> {
        let model = model::open(cut, &args.base)?;
        let tell = Tell { quiet, strict: false };
        let data = args.rows.read((&file, &spec), &model.cut, args.limit, tell)?;
        let logits = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
        let Card { max_length, decision, metric, .. } = model.cut.card().clone();
        note_texts_cut(logits.texts_cut, max_length);
        Ok(Answers { data, logits: logits.values, decision, metric })
    };
    let first = answers(&args.first, args.base.quiet)?;
    // What there is to remark on the rows has been said.
    let second = answers(&args.second, true)?;
    let metric = spec.metric.as_ref().unwrap_or(&first.metric);
    let sides = [&first, &second]
        .map(|answers| (&answers.data, &answers.logits[..], answers.decision.as_ref()));
    let found = compare(sides, metric)?;
    let names = [&args.first, &args.second];
    if args.json {
        return print_json(&json!({"cuts": names, "data": file, "comparison": found}));
    }
    print(&found.in_words(names.map(|path| path.display().to_string())))
}
