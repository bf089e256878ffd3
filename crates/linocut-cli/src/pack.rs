//! `linocut pack`

use crate::args::{BaseArgs, ColumnArgs, FormatArgs};
use crate::choices;
use crate::export;
use crate::model::{TaskModel, note_texts_cut};
use crate::output::{print, print_json, say};
use crate::place;
use crate::task::Tell;
use crate::train::bytes;
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::cut::Cut;
use linocut::data::{Dataset, Encoding, Problem, Table, TaskSpec};
use linocut::model::{self, Base, Encoder, Head, Pooling, Weights};
use linocut::output::TemporaryFolder;
use linocut::pack::{self, Scores, Tuned};
use linocut::{Error, ErrorKind, Result, tune};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Store an existing fine-tuned model as a cut of its base. Needs no training.
///
/// Without --budget nothing is lost: `linocut export` gives back every tensor bit for bit. With it, the
/// file has at most that many bytes, and what matters least is left out. The model is a
/// BertForSequenceClassification folder, or one that `linocut export` wrote.
#[derive(Args)]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut pack --tuned trec6-full --out trec6.cut --verify
  linocut pack --tuned trec6-full --out trec6.cut --budget 500KB --data dev.tsv")]
pub(crate) struct PackArgs {
    #[command(flatten)]
    pub base: BaseArgs,

    /// Folder of the fine-tuned model (config.json, model.safetensors or shards)
    #[arg(long, value_name = "DIR")]
    pub tuned: PathBuf,

    /// Cut to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Replace an existing cut
    #[arg(long)]
    pub force: bool,

    /// Most bytes of the cut (2MB, 500KB, 200000), or its share of the model's (0.5%)
    #[arg(long, value_name = "SIZE")]
    pub budget: Option<Budget>,

    /// Export the packed cut aside and compare it with the model, bit by bit, in its tensors and in its
    /// logits of some texts (of --data, too)
    #[arg(long, conflicts_with = "budget")]
    pub verify: bool,

    /// Rows to score the model on, before and after: TSV, CSV, JSONL or Parquet
    #[arg(long, value_name = "FILE")]
    pub data: Option<PathBuf>,

    #[command(flatten)]
    pub columns: ColumnArgs,

    #[command(flatten)]
    pub format: FormatArgs,

    /// Read at most this many rows, spread over the file
    #[arg(long, value_name = "ROWS", requires = "data")]
    pub limit: Option<usize>,

    /// Name of the task in the card [default: the folder's]
    #[arg(long)]
    pub name: Option<String>,

    /// What is predicted [default: what config.json says]
    #[arg(long, value_name = "KIND", value_parser = choices::problem())]
    pub problem: Option<Problem>,

    /// Texts come in pairs [default: as in --data, or as an export says]
    #[arg(long)]
    pub pairs: bool,

    /// Longest text in tokens [default: what the model's tokenizer says, else 512]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// A number of bytes, or a share of the model's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Budget {
    Bytes(f64),
    Share(f64),
}

impl std::str::FromStr for Budget {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = || format!("{text:?} is no size: expected one such as 2MB, 500KB or 0.5%");
        let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic() || c == '%');
        let number: f64 = digits.trim().parse().map_err(|_| expected())?;
        if !(number.is_finite() && number > 0.0) {
            return Err(expected());
        }
        let unit = match text[digits.len()..].to_ascii_uppercase().as_str() {
            "%" if number <= 100.0 => return Ok(Budget::Share(number / 100.0)),
            "" | "B" => 1.0,
            "K" | "KB" => 1e3,
            "M" | "MB" => 1e6,
            "G" | "GB" => 1e9,
            _ => return Err(expected()),
        };
        Ok(Budget::Bytes(number * unit))
    }
}

impl Budget {
    /// In bytes, rounded down, of a model of `whole` bytes.
    pub(crate) fn of(self, whole: u64) -> u64 {
        match self {
            Budget::Bytes(n) => n as u64,
            Budget::Share(share) => (share * whole as f64) as u64,
        }
    }
}

/// Rows of `--data` that `--verify` compares logits on.
const TEXTS: usize = 100;

/// Rows to score on.
struct Rows {
    data: Dataset,
    encodings: Vec<Encoding>,
}

pub(crate) fn run(args: PackArgs) -> Result<()> {
    let _held = place::claim(&args.out, "--out", args.force)?;
    let mut tuned = Tuned::open(&args.tuned, args.problem)?;
    let mut base = args.base.open(Some(Pooling::First))?;
    if let Some(max_length) = args.max_length {
        base.check_max_length(max_length)?;
        tuned.max_length = max_length;
    }
    if let Some(name) = &args.name {
        tuned.name.clone_from(name);
    }
    tuned.pairs |= args.pairs;
    if tuned.tokenizer().is_none() {
        say(&format!(
            "note: {} has no tokenizer: whether it read texts as {} does is not known",
            args.tuned.display(),
            base.name
        ));
    }
    let rows = args.data.as_ref().map(|file| rows(&args, file, &mut tuned, &base)).transpose()?;
    let metric = tuned.metric.clone();
    let score = |encoder: &Encoder, weights: &Weights, head: &Head| -> Result<Scores> {
        let Some(rows) = &rows else { return Ok(Scores::new()) };
        let logits = model::logits(encoder, weights, head, &rows.encodings, |_| {});
        let metrics = tune::evaluate(&rows.data, &logits, Some(&metric))?.metrics;
        let defined = metrics.values.into_iter();
        Ok(defined.filter_map(|(name, value)| Some((name, value?))).collect())
    };
    let score: Option<pack::Score<'_>> = if rows.is_some() { Some(&score) } else { None };

    let bar = progress(args.base.quiet);
    let show = |done: usize, of: usize| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
    };
    let cut = match args.budget {
        None => pack::lossless(&mut base, &tuned, score, &show),
        Some(budget) => {
            let budget = budget.of(tuned.bytes());
            pack::to_budget(&mut base, &tuned, budget, score, &show)
        }
    };
    bar.finish_and_clear();
    let cut = cut?;
    let packed = cut.to_bytes();
    let verified = match args.verify {
        true => {
            let cut = Cut::from_bytes(&packed)?;
            let rows = rows.as_ref().map(|rows| &rows.data);
            Some(verify(&args, &tuned, base, cut, rows)?)
        }
        false => None,
    };
    let kept = place::keep(&args.out, args.force, |path, force| cut.write(path, force))?;
    report(&args, &kept.path, &tuned, &cut, verified)?;
    kept.check(&args.out)
}

/// Reads the rows of `--data`; whether they are pairs decides where nothing else does.
fn rows(args: &PackArgs, file: &Path, tuned: &mut Tuned, base: &Base) -> Result<Rows> {
    let mut spec = TaskSpec::default();
    args.columns.name_in(&mut spec);
    let table = Table::read(file, &args.format.reading(spec.columns(), args.limit))?;
    let mut remarks = table.remarks().to_vec();
    let data = Dataset::evaluation(&table, &spec, tuned.problem, &tuned.labels, &mut remarks)?;
    Tell { quiet: args.base.quiet, strict: false }.all(&remarks)?;
    if tuned.pairs && data.pairs.is_none() {
        let message = format!("{}: the task takes pairs of texts, found one each", file.display());
        return Err(Error::new(ErrorKind::Data, message)
            .with_hint("name the columns: --text and --text-pair"));
    }
    tuned.pairs = data.pairs.is_some();
    let pairs = data.pairs.as_deref();
    let (encodings, texts_cut) = base.tokenizer.encode_all(&data.texts, pairs, tuned.max_length)?;
    note_texts_cut(texts_cut, tuned.max_length);
    Ok(Rows { data, encodings })
}

/// What `--verify` compared.
struct Verified {
    tensors: usize,
    texts: usize,
}

/// Exports the cut into a folder aside and compares that with the model, and the logits of the cut
/// with those of the model's own files.
fn verify(
    args: &PackArgs,
    tuned: &Tuned,
    base: Base,
    cut: Cut,
    rows: Option<&Dataset>,
) -> Result<Verified> {
    let parent = place::folder_of(&args.out);
    let aside = TemporaryFolder::new(parent).map_err(|e| Error::io(parent, "write into", e))?;
    let model = TaskModel::on(base, cut)?;
    export::fill(&model, aside.path())?;
    let tensors = pack::check_restored(tuned, aside.path())?;
    let back = Tuned::open(aside.path(), None)?;
    if (&back.labels, back.problem, back.pooling) != (&tuned.labels, tuned.problem, tuned.pooling) {
        return Err(Error::new(
            ErrorKind::Cut,
            format!("the exported labels are {:?}, expected {:?}", back.labels, tuned.labels),
        ));
    }
    let texts = rows.map_or(&[][..], |rows| &rows.texts[..rows.texts.len().min(TEXTS)]);
    let pairs = rows.and_then(|rows| Some(&rows.pairs.as_ref()?[..texts.len()]));
    let texts = pack::check_logits(tuned, &model.base, &model.head, texts, pairs)?;
    Ok(Verified { tensors, texts })
}

fn report(
    args: &PackArgs,
    out: &Path,
    tuned: &Tuned,
    cut: &Cut,
    verified: Option<Verified>,
) -> Result<()> {
    let (card, sizes, whole) = (cut.card(), cut.sizes(), tuned.bytes());
    let mut edits: BTreeMap<&str, usize> = BTreeMap::new();
    for note in card.tensors.values() {
        *edits.entry(note.edit.name()).or_default() += 1;
    }
    let before = &card.training["metrics_before"];
    if args.json {
        let result = json!({
            "cut": out,
            "tuned": args.tuned,
            "task": card.task,
            "method": card.method,
            "training": card.training,
            "edits": edits,
            "bytes": sizes.file,
            "head_bytes": sizes.head,
            "tuned_bytes": whole,
            "verified_tensors": verified.as_ref().map(|v| v.tensors),
            "verified_texts": verified.as_ref().map(|v| v.texts),
            "metrics_before": before,
            "metrics": args.data.as_ref().map(|_| &card.metrics),
        });
        return print_json(&result);
    }
    let share = 100.0 * sizes.file as f64 / whole as f64;
    let mut text = format!(
        "{}: {}, {share:.2}% of the model's {}\n",
        out.display(),
        bytes(sizes.file),
        bytes(whole)
    );
    let identical = card.training["identical"].as_u64().unwrap_or(0);
    let total = card.training["tensors"].as_u64().unwrap_or(0);
    let kinds: Vec<String> = edits.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let kept = total - identical - card.tensors.len() as u64;
    let edited = if kinds.is_empty() { "none edited".into() } else { kinds.join(", ") };
    let kept = if kept > 0 { format!(", {kept} left as the base's") } else { String::new() };
    text += &format!("of {total} tensors: {edited}{kept}, {identical} identical\n");
    if let Some(Verified { tensors, texts }) = verified {
        text += &format!(
            "verified: exported, all {tensors} tensors equal bit for bit, labels too; logits of {texts} \
             texts equal those that the model's own files give\n"
        );
    }
    if args.data.is_some() {
        let name = card.metric.key();
        let shown =
            |value: Option<f64>| value.map_or("undefined".into(), |v| format!("{:.2}", 100.0 * v));
        text += &format!(
            "{} {} before, {} after\n",
            name.replace('_', " "),
            shown(before[name].as_f64()),
            shown(card.metrics.get(name).copied())
        );
    }
    print(&text)
}

fn progress(quiet: bool) -> ProgressBar {
    let target =
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(None, target);
    let template = "packing {wide_bar} {human_pos}/{human_len} numbers, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::Budget;

    #[test]
    fn sizes() {
        let of = |text: &str| text.parse::<Budget>().map(|b| b.of(90_000_000));
        assert_eq!(of("200000"), Ok(200_000));
        assert_eq!(of("2MB"), Ok(2_000_000));
        assert_eq!(of("1.5 kb"), Ok(1_500));
        assert_eq!(of("0.5%"), Ok(450_000));
        for wrong in ["", "MB", "-1", "0", "2XB", "nan", "inf", "200%", "1e999"] {
            assert!(of(wrong).unwrap_err().contains("expected"), "{wrong}");
        }
    }
}
