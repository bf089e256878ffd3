//! `linocut predict`

mod explain;
mod file;
mod format;
mod kept;
mod lines;

pub(crate) use format::{More, Predictions};

use crate::args::{BaseArgs, FormatArgs};
use crate::choices;
use crate::model::{Model, note_texts_cut};
use crate::output::{coloured, print, print_data, print_json, say};
use crate::place;
use clap::Args;
use linocut::bank::Dtype;
use linocut::cut::Card;
use linocut::data::Problem;
use linocut::output::Lock;
use linocut::{Error, ErrorKind, Result};
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Label texts: one given here, those of a file, or the lines of standard input.
///
/// The columns of a file stand before the prediction and its probability.
///
/// From standard input every line is a text (for a task on pairs two texts, separated by a tab),
/// and gives one line: label and probability, or with --json an object. An empty line gives an
/// empty one.
#[derive(Args)]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut predict section.cut 'turn-based strategy game'
  linocut predict section.cut 'turn-based strategy game' --explain
  linocut predict section.cut --in mails.csv --text body --out queues.csv
  cut -f 2 mails.tsv | linocut predict section.cut --json")]
pub(crate) struct PredictArgs {
    /// Cut of the task
    #[arg(value_name = "CUT")]
    pub cut: PathBuf,

    /// Text to label [default: read standard input]
    #[arg(value_name = "TEXT", conflicts_with = "input")]
    pub one: Option<String>,

    /// Second text, for a task on pairs
    #[arg(value_name = "PAIR")]
    pub other: Option<String>,

    #[command(flatten)]
    pub base: BaseArgs,

    /// Numbers that matrices are computed in
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = choices::dtype())]
    pub dtype: Dtype,

    /// Rows to label: TSV, CSV, JSONL or Parquet
    #[arg(long = "in", value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// File to write, one row for each of --in: TSV, CSV or JSONL [default: standard output]
    #[arg(long, value_name = "FILE", requires = "input")]
    pub out: Option<PathBuf>,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,

    /// Columns of --in to keep, separated by commas; '' for none [default: all]
    #[arg(
        long,
        value_name = "COLUMNS",
        num_args = 0..=1,
        default_missing_value = "*",
        requires = "input"
    )]
    pub keep: Option<String>,

    /// Column of the text in --in [default: text, sentence, sentence1, …, the first present]
    #[arg(long, value_name = "COLUMN", requires = "input")]
    pub text: Option<String>,

    /// Column of the second text of a pair
    #[arg(long, value_name = "COLUMN", requires = "text")]
    pub text_pair: Option<String>,

    #[command(flatten)]
    pub format: FormatArgs,

    /// Least probability that is answered, in the place of the cut's own thresholds
    #[arg(long, value_name = "SHARE")]
    pub threshold: Option<f64>,

    /// Write the K most probable labels with their probabilities, the most probable first [default: 5
    /// shown for a single text]
    #[arg(long, value_name = "K", value_parser = at_least_one, conflicts_with = "scores")]
    pub top: Option<NonZeroUsize>,

    /// Say what each word of a text adds to the prediction, or to the probability of this label: each of 256 words is left
    /// out in turn
    #[arg(
        long,
        value_name = "LABEL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "input"
    )]
    pub explain: Option<String>,

    /// Print one JSON object a text, with the probability of every label (of --top, where it is given)
    #[arg(long, conflicts_with = "out")]
    pub json: bool,

    /// Add the probability of every label
    #[arg(long)]
    pub scores: bool,

    /// Add the raw logits of every label
    #[arg(long)]
    pub logits: bool,
}

pub(crate) fn run(args: PredictArgs) -> Result<()> {
    if let Some(input) = &args.input {
        return file::run(&args, input);
    }
    if let Some(text) = &args.one {
        return one(&args, text);
    }
    if std::io::stdin().is_terminal() {
        return Err(Error::new(ErrorKind::Config, "no text was given")
            .with_hint("give a TEXT, a file by --in, or lines on standard input"));
    }
    lines::run(&args)
}

/// One text, given on the command line.
fn one(args: &PredictArgs, text: &str) -> Result<()> {
    for (text, which) in [(Some(text), "TEXT"), (args.other.as_deref(), "PAIR")] {
        if text.is_some_and(|t| t.trim().is_empty()) {
            return Err(Error::new(ErrorKind::Data, format!("{which} is empty"))
                .with_hint("there is nothing to label in an empty text"));
        }
    }
    let model = Model::open(&args.cut, &args.base, args.dtype)?;
    let pairs: Option<Vec<String>> = args.other.clone().map(|other| vec![other]);
    if args.explained() == Some(None) && model.cut().card().labels.iter().any(|l| l == text) {
        say(&format!("note: {text:?} is read as the text; --explain={text} explains that label"));
    }
    let hint = "give TEXT and PAIR for a task on pairs, TEXT alone for any other";
    model.check_pairs(pairs.is_some(), "the command line", hint)?;
    let card = &choices::with_threshold(model.cut().card(), args.threshold)?;
    let more = args.more(card)?;
    let logits = model.logits(&[text.to_string()], pairs.as_deref(), |_| true)?;
    note_texts_cut(logits.texts_cut, card.extent());
    let predictions = Predictions::new(card, logits.values, more);
    let row = predictions.row(0);
    let pair = args.other.as_deref();
    let explanation = args.explained().map(|label| model.explain(text, pair, label)).transpose()?;
    explain::note_untried(explanation.as_ref().map_or(0, |found| found.untried));
    if args.json {
        let mut object = row.json();
        explanation.iter().for_each(|found| explain::add_to(&mut object, found));
        return print_json(&object.into());
    }
    print(&row.bars(if args.scores { usize::MAX } else { more.top.unwrap_or(TOP) }))?;
    match explanation {
        None => Ok(()),
        Some(found) if coloured(&std::io::stdout()) => {
            print_data(&format!("\n{}", explain::coloured(&found, text, pair)))
        }
        Some(found) => print(&format!("\n{}", explain::list(&found))),
    }
}

/// Labels shown for a single text, where nothing is said.
const TOP: usize = 5;

fn at_least_one(text: &str) -> std::result::Result<NonZeroUsize, String> {
    text.parse().map_err(|_| "expected a whole number, 1 or more".into())
}

impl PredictArgs {
    /// Where words are to be explained: the label, if one is named.
    fn explained(&self) -> Option<Option<&str>> {
        Some(self.explain.as_deref()?).map(|label| Some(label).filter(|label| !label.is_empty()))
    }

    fn more(&self, card: &Card) -> Result<More> {
        if card.problem == Problem::Regression && self.top.is_some() {
            let message = format!("--top has no meaning for {:?}, a regression", card.task);
            return Err(Error::new(ErrorKind::Config, message)
                .with_hint("its prediction is one number; leave --top out"));
        }
        Ok(More {
            scores: self.scores || self.json,
            logits: self.logits,
            top: self.top.map(NonZeroUsize::get),
        })
    }
}

/// Refuses an output that would be lost or cannot be written, and takes its place.
fn check_output(args: &PredictArgs, input: &std::path::Path) -> Result<Option<Lock>> {
    let Some(out) = &args.out else { return Ok(None) };
    let same = || Some(out.canonicalize().ok()? == input.canonicalize().ok()?);
    if same() == Some(true) {
        let message = format!("{} is the input itself", out.display());
        return Err(Error::new(ErrorKind::Config, message).with_hint("give another --out"));
    }
    place::claim(out, "out", args.force).map(Some)
}
