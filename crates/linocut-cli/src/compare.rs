//! `linocut compare`

use crate::args::BaseArgs;
use crate::model::note_texts_cut;
use crate::output::{print, print_json};
use crate::rows::RowsArgs;
use crate::task::Tell;
use clap::Args;
use linocut::Result;
use linocut::cut::{Cut, TaskModel};
use linocut::model::Pooling;
use linocut::tune::{can_compare, compare};
use serde_json::json;
use std::path::PathBuf;

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

pub(crate) fn run(args: CompareArgs) -> Result<()> {
    let (file, spec) = args.rows.file()?;
    let names = [&args.first, &args.second];
    let cuts = [Cut::read(names[0])?, Cut::read(names[1])?];
    let base = args.base.open(Some(Pooling::First))?;
    cuts.iter().try_for_each(|cut| cut.check_fits(&base))?;
    // What there is to remark on the rows is said once.
    let tell = |quiet| Tell { quiet, strict: false };
    let read = |i: usize, tell| args.rows.read((&file, &spec), &cuts[i], args.limit, tell);
    let data = [read(0, tell(args.base.quiet))?, read(1, tell(true))?];
    can_compare(&data[0], &data[1])?;
    let cards = cuts.each_ref().map(|cut| cut.card().clone());
    let mut logits = vec![];
    for (cut, data) in cuts.into_iter().zip(&data) {
        let model = TaskModel::new(base.clone(), cut)?;
        let found = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
        note_texts_cut(found.texts_cut, model.cut.card().extent());
        logits.push(found.values);
    }
    let metric = spec.metric.as_ref().unwrap_or(&cards[0].metric);
    let side = |i: usize| (&data[i], &logits[i][..], cards[i].decision.as_ref());
    let found = compare([side(0), side(1)], metric)?;
    if args.json {
        return print_json(&json!({"cuts": names, "data": file, "comparison": found}));
    }
    print(&found.in_words(names.map(|path| path.display().to_string())))
}
