//! `linocut calibrate`

use crate::args::BaseArgs;
use crate::model::{self, note_texts_cut};
use crate::output::{print, print_json};
use crate::place;
use crate::rows::RowsArgs;
use crate::task::Tell;
use clap::Args;
use linocut::Result;
use linocut::data::Dataset;
use linocut::output::{in_words, keep};
use linocut::tune::{Calibration, Evaluation, Goal, calibrate, can_calibrate, evaluate};
use serde_json::json;
use std::path::PathBuf;

/// Fit how sure a cut is and what it answers, on labelled rows it was not trained on.
///
/// A temperature makes probabilities as sure as they say. Thresholds decide what is answered: with
/// several labels a row (for the F1 that the task is judged by, where nothing is said), with one label a
/// row only where --target-precision asks to be right so often; below its threshold nothing is answered.
#[derive(Args)]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut calibrate topics.cut --data june.csv --text body --label topics --out topics-f1.cut
  linocut calibrate queue.cut --data june.csv --target-precision 0.95 --out queue-sure.cut
  linocut eval queue-sure.cut --data july.csv        # what it keeps on other rows")]
pub(crate) struct CalibrateArgs {
    /// Cut to calibrate
    #[arg(value_name = "CUT")]
    pub cut: PathBuf,

    #[command(flatten)]
    pub base: BaseArgs,

    #[command(flatten)]
    pub rows: RowsArgs,

    /// File to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,

    /// Answer as often as possible while this share of the answers is right
    #[arg(long, value_name = "SHARE", conflicts_with = "target_recall")]
    pub target_precision: Option<f64>,

    /// Answer as little as possible while this share of each label's rows is found
    #[arg(long, value_name = "SHARE")]
    pub target_recall: Option<f64>,

    /// Print what was fitted as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn run(args: CalibrateArgs) -> Result<()> {
    let _held = place::claim(&args.out, "out", args.force)?;
    let (file, spec) = args.rows.file()?;
    let model = model::open(&args.cut, &args.base)?;
    let card = model.cut.card();
    let goal = Goal::of(args.target_precision, args.target_recall)?;
    let tell = Tell { quiet: args.base.quiet, strict: false };
    let data = args.rows.read((&file, &spec), &model.cut, None, tell)?;
    can_calibrate(&data, goal)?;
    let logits = model.logits(&data.texts, data.pairs.as_deref(), |_| true)?;
    note_texts_cut(logits.texts_cut, card.extent());
    let found = calibrate(&data, &logits.values, goal, &card.metric)?;
    let metric = Some(&card.metric);
    let before = evaluate(&data, &logits.values, None, metric)?;
    let after = evaluate(&data, &logits.values, Some(&found.decision), metric)?;
    let cut = model.cut.with_decision(Some(found.decision.clone()))?;
    let kept = keep(&args.out, args.force, |path, force| cut.write(path, force))?;
    match args.json {
        true => print_json(&json!({
            "cut": kept.path,
            "rows": data.rows(),
            "decision": found.decision,
            "calibration_error": {"before": found.errors[0], "after": found.errors[1]},
            "before": before.to_json(&data.labels),
            "after": after.to_json(&data.labels),
        }))?,
        false => {
            let size = in_words(cut.sizes().file);
            let text = text(&data, &found, [&before, &after]);
            print(&format!("{text}{}: {size}\n", kept.path.display()))?;
        }
    }
    kept.check(&args.out)
}

fn text(data: &Dataset, found: &Calibration, [before, after]: [&Evaluation; 2]) -> String {
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let [error, error_now] = found.errors.map(percent);
    let mut text = format!(
        "temperature {:.3} from {} rows: expected calibration error {error_now}, without it {error}\n",
        found.decision.temperature,
        data.rows(),
    );
    if let Some(answered) = after.answered {
        text += &format!(
            "answers from {:.3} on: {} of the rows, {} of them right; all rows: {}\n",
            found.decision.thresholds[0],
            percent(answered.share),
            answered.accuracy.map_or("none".into(), percent),
            before.metrics.values["accuracy"].map_or("none".into(), percent),
        );
    } else if let Some(answers) = found.decision.answers_from() {
        text += &format!("{answers}\n");
        text += &after.metrics.beside(&before.metrics, ["now", "at ½"]);
    }
    text += "these are the rows it was fitted on: `linocut eval` on others says what it keeps\n";
    text
}
