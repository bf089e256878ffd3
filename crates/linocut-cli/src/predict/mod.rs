//! `linocut predict`

mod file;
mod format;
mod lines;

use crate::args::{BaseArgs, FormatArgs};
use crate::model::{TaskModel, note_texts_cut};
use crate::output::{check_free, print};
use clap::Args;
use format::Predictions;
use linocut::{Error, ErrorKind, Result};
use std::io::IsTerminal;
use std::path::PathBuf;

/// Label texts: one given here, those of a file, or the lines of standard input.
///
/// From standard input every line is a text (for a task on pairs two texts, separated by a tab),
/// and gives one line: label and probability, or with --json an object.
#[derive(Args)]
#[command(after_help = "\
Examples:
  linocut predict trec6.cut --base models/all-minilm-l6-v2 'Who wrote Faust?'
  linocut predict queue.cut --base models/all-minilm-l6-v2 --in mails.csv --text body --out queues.csv
  cut -f 2 mails.tsv | linocut predict queue.cut --base models/all-minilm-l6-v2 --json")]
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

    /// Rows to label: TSV, CSV, JSONL or Parquet
    #[arg(long = "in", value_name = "FILE")]
    pub input: Option<PathBuf>,

    /// File to write, one row for each of --in: TSV, CSV or JSONL [default: standard output]
    #[arg(long, value_name = "FILE", requires = "input")]
    pub out: Option<PathBuf>,

    /// Replace an existing file
    #[arg(long)]
    pub force: bool,

    /// Column of the text in --in [default: text, sentence, sentence1, …, the first present]
    #[arg(long, value_name = "COLUMN", requires = "input")]
    pub text: Option<String>,

    /// Column of the second text of a pair
    #[arg(long, value_name = "COLUMN", requires = "text")]
    pub text_pair: Option<String>,

    #[command(flatten)]
    pub format: FormatArgs,

    /// Labels shown for a single text
    #[arg(long, value_name = "K", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..))]
    pub top: u32,

    /// Print one JSON object a text, with the probability of every label
    #[arg(long, conflicts_with = "out")]
    pub json: bool,

    /// Add the raw logits
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
    let model = TaskModel::open(&args.cut, &args.base)?;
    let pairs: Option<Vec<String>> = args.other.clone().map(|other| vec![other]);
    let hint = "give TEXT and PAIR for a task on pairs, TEXT alone for any other";
    model.check_pairs(pairs.is_some(), "the command line", hint)?;
    let logits = model.logits(&[text.to_string()], pairs.as_deref(), |_| {})?;
    let card = model.cut.card();
    note_texts_cut(logits.texts_cut, card.max_length);
    let predictions = Predictions::new(card, logits.values, args.logits);
    let row = predictions.row(0);
    if args.json {
        return print(&format!("{}\n", row.json()));
    }
    print(&row.bars(args.top as usize))
}

/// Refuses an output that would be lost or cannot be written.
fn check_output(args: &PredictArgs, input: &std::path::Path) -> Result<()> {
    let Some(out) = &args.out else { return Ok(()) };
    check_free(out, args.force)?;
    let same = || Some(out.canonicalize().ok()? == input.canonicalize().ok()?);
    if same() == Some(true) {
        let message = format!("{} is the input itself", out.display());
        return Err(Error::new(ErrorKind::Config, message).with_hint("give another --out"));
    }
    Ok(())
}
