//! `linocut pack`

mod adapter;

use crate::args::{BaseArgs, ColumnArgs, FormatArgs};
use crate::choices;
use crate::model::note_texts_cut;
use crate::output::{print, print_json, say};
use crate::place;
use crate::task::Tell;
use clap::{ArgGroup, Args};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::cut::{Cut, TaskModel};
use linocut::data::{Dataset, Encoding, Problem, Table, TaskSpec};
use linocut::export;
use linocut::model::{self, Base, Encoder, Head, Pooling, Weights};
use linocut::output::{self, Budget, TemporaryFolder, in_words};
use linocut::pack::{self, Outline, Scores, Tuned};
use linocut::tune::metrics::percent;
use linocut::{Error, ErrorKind, Result, tune};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Store a fine-tuned model or a LoRA adapter as a cut of its base. Needs no training.
///
/// Of a model (--tuned) nothing is lost without --budget: `linocut export` gives back every tensor bit for
/// bit. With it, the file has at most that many bytes, and what matters least is left out. The model is a
/// ...ForSequenceClassification folder of a known family, or one that `linocut export` wrote. Of an adapter
/// (--adapter), as PEFT saves it for sequence classification, the factors are stored as they are.
#[derive(Args)]
#[command(group = ArgGroup::new("what").args(["tuned", "adapter"]).required(true))]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut pack --tuned trec6-full --out trec6.cut --verify
  linocut pack --tuned trec6-full --out trec6.cut --budget 500KB --data dev.tsv
  linocut pack --adapter irony-lora --labels no,yes --out irony.cut --verify")]
pub(crate) struct PackArgs {
    #[command(flatten)]
    pub base: BaseArgs,

    /// Folder of the fine-tuned model (config.json, model.safetensors or shards)
    #[arg(long, value_name = "DIR")]
    pub tuned: Option<PathBuf>,

    /// Folder of a LoRA adapter (adapter_config.json, adapter_model.safetensors)
    #[arg(long, value_name = "DIR", conflicts_with = "budget")]
    pub adapter: Option<PathBuf>,

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
    /// logits of some texts (of --data, too). Of an adapter, compare its logits with those of the base
    /// with the adapter merged in float64
    #[arg(long, conflicts_with = "budget")]
    pub verify: bool,

    /// Rows to score on, a model before and after: TSV, CSV, JSONL or Parquet
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

    /// What is predicted [default: what config.json says, else a number where there is one output]
    #[arg(long, value_name = "KIND", value_parser = choices::problem())]
    pub problem: Option<Problem>,

    /// Names of the labels, in the order of the outputs [default: LABEL_0, LABEL_1 and so on]
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        requires = "adapter",
        conflicts_with = "tuned"
    )]
    pub labels: Option<Vec<String>>,

    /// Texts come in pairs [default: as in --data, or as an export says]
    #[arg(long)]
    pub pairs: bool,

    /// Longest text in tokens [default: what the tokenizer says, else 512]
    #[arg(long, value_name = "TOKENS")]
    pub max_length: Option<usize>,

    /// Print the result as JSON
    #[arg(long)]
    pub json: bool,
}

/// Rows of `--data` that `--verify` compares logits on.
const TEXTS: usize = 100;

/// Rows to score on.
struct Rows {
    data: Dataset,
    encodings: Vec<Encoding>,
}

pub(crate) fn run(args: PackArgs) -> Result<()> {
    let _held = place::claim(&args.out, "out", args.force)?;
    match (&args.tuned, &args.adapter) {
        (Some(folder), _) => tuned(&args, folder),
        (None, Some(folder)) => adapter::run(&args, folder),
        (None, None) => unreachable!("one of the two is required"),
    }
}

/// Packs the model in `folder`.
fn tuned(args: &PackArgs, folder: &Path) -> Result<()> {
    let mut tuned = Tuned::open(folder, args.problem)?;
    let mut base = args.base.open(Some(Pooling::First))?;
    args.set(&mut tuned.outline, &base)?;
    if tuned.tokenizer().is_none() {
        say(&format!(
            "note: {} has no tokenizer: whether it read texts as {} does is not known",
            folder.display(),
            base.name
        ));
    }
    let rows = args.rows(&mut tuned.outline, &base)?;
    let score = rows.as_ref().map(|rows| rows.score(&tuned.outline));
    let score: Option<pack::Score<'_>> = score.as_ref().map(|score| score as _);

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
            Some(verify(args, &tuned, base, cut, rows.as_ref())?)
        }
        false => None,
    };
    let kept = output::keep(&args.out, args.force, |path, force| cut.write(path, force))?;
    report(args, &kept.path, tuned.bytes(), &cut, verified)?;
    kept.check(&args.out)
}

impl PackArgs {
    /// Puts what the options say in the place of what the files say.
    fn set(&self, outline: &mut Outline, base: &Base) -> Result<()> {
        outline.set(base, self.name.as_deref(), self.max_length, self.pairs)
    }

    /// Reads the rows of `--data`; whether they are pairs decides where nothing else does.
    fn rows(&self, outline: &mut Outline, base: &Base) -> Result<Option<Rows>> {
        let Some(file) = &self.data else { return Ok(None) };
        let mut spec = TaskSpec::default();
        self.columns.name_in(&mut spec);
        let table = Table::read(file, &self.format.reading(spec.columns(), self.limit))?;
        let mut remarks = table.remarks().to_vec();
        let data =
            Dataset::evaluation(&table, &spec, outline.problem, &outline.labels, &mut remarks)?;
        Tell { quiet: self.base.quiet, strict: false }.all(&remarks)?;
        if outline.pairs && data.pairs.is_none() {
            let message =
                format!("{}: the task takes pairs of texts, found one each", file.display());
            return Err(Error::new(ErrorKind::Data, message)
                .with_hint("name the columns: --text and --text-pair"));
        }
        outline.pairs = data.pairs.is_some();
        let (pairs, most) = (data.pairs.as_deref(), outline.max_length);
        let texts = base.tokenizer.encode_all(&data.texts, pairs, most)?;
        note_texts_cut(texts.cut, most.into());
        let encodings = texts.sequences;
        Ok(Some(Rows { data, encodings }))
    }
}

impl Rows {
    /// Scores a model on them.
    fn score(
        &self,
        outline: &Outline,
    ) -> impl Fn(&Encoder, &Weights, &Head) -> Result<Scores> + use<'_> {
        let metric = outline.metric.clone();
        move |encoder, weights, head| {
            let logits = model::logits(encoder, weights, head, &self.encodings, |_| {});
            let metrics = tune::evaluate(&self.data, &logits, None, Some(&metric))?.metrics;
            let defined = metrics.values.into_iter();
            Ok(defined.filter_map(|(name, value)| Some((name, value?))).collect())
        }
    }

    /// The first of the texts, and their pairs, that `--verify` compares logits on.
    fn some(&self) -> (&[String], Option<&[String]>) {
        let texts = &self.data.texts[..self.data.texts.len().min(TEXTS)];
        (texts, self.data.pairs.as_ref().map(|pairs| &pairs[..texts.len()]))
    }
}

/// What `--verify` compared.
enum Verified {
    /// A model's tensors and texts, to the bit.
    Exact { tensors: usize, texts: usize },
    /// An adapter's texts, and the largest difference of a logit, relative to the largest of its text or 1.
    Near { texts: usize, difference: f32 },
}

/// Exports the cut into a folder aside and compares that with the model, and the logits of the cut
/// with those of the model's own files.
fn verify(
    args: &PackArgs,
    tuned: &Tuned,
    base: Base,
    cut: Cut,
    rows: Option<&Rows>,
) -> Result<Verified> {
    let parent = output::folder_of(&args.out);
    let aside = TemporaryFolder::new(parent).map_err(|e| Error::io(parent, "write into", e))?;
    let model = TaskModel::new(base, cut)?;
    export::fill(&model, aside.path())?;
    let tensors = pack::check_restored(tuned, aside.path())?;
    let back = Tuned::open(aside.path(), None)?;
    let (back, expected) = (&back.outline, &tuned.outline);
    if (&back.labels, back.problem, back.pooling)
        != (&expected.labels, expected.problem, expected.pooling)
    {
        return Err(Error::new(
            ErrorKind::Cut,
            format!("the exported labels are {:?}, expected {:?}", back.labels, expected.labels),
        ));
    }
    let (texts, pairs) = rows.map_or((&[][..], None), Rows::some);
    let texts = pack::check_logits(tuned, &model.base, &model.head, texts, pairs)?;
    Ok(Verified::Exact { tensors, texts })
}

fn report(
    args: &PackArgs,
    out: &Path,
    whole: u64,
    cut: &Cut,
    verified: Option<Verified>,
) -> Result<()> {
    let (card, sizes) = (cut.card(), cut.sizes());
    let mut edits: BTreeMap<&str, usize> = BTreeMap::new();
    for note in card.tensors.values() {
        *edits.entry(note.edit.name()).or_default() += 1;
    }
    let before = &card.training["metrics_before"];
    let (tensors, texts, difference) = match verified {
        Some(Verified::Exact { tensors, texts }) => (Some(tensors), Some(texts), None),
        Some(Verified::Near { texts, difference }) => (None, Some(texts), Some(difference)),
        None => (None, None, None),
    };
    if args.json {
        let result = json!({
            "cut": out,
            "tuned": args.tuned,
            "adapter": args.adapter,
            "task": card.task,
            "method": card.method,
            "training": card.training,
            "edits": edits,
            "bytes": sizes.file,
            "head_bytes": sizes.head,
            "tuned_bytes": whole,
            "verified_tensors": tensors,
            "verified_texts": texts,
            "verified_difference": difference,
            "metrics_before": before,
            "metrics": args.data.as_ref().map(|_| &card.metrics),
        });
        return print_json(&result);
    }
    let share = 100.0 * sizes.file as f64 / whole as f64;
    let mut text = format!(
        "{}: {}, {share:.2}% of the {}'s {}\n",
        out.display(),
        in_words(sizes.file),
        if args.adapter.is_some() { "adapter" } else { "model" },
        in_words(whole)
    );
    let identical = card.training["identical"].as_u64().unwrap_or(0);
    let total = card.training["tensors"].as_u64().unwrap_or(0);
    let kinds: Vec<String> = edits.iter().map(|(kind, n)| format!("{n} {kind}")).collect();
    let kept = total - identical - card.tensors.len() as u64;
    let edited = if kinds.is_empty() { "none edited".into() } else { kinds.join(", ") };
    let kept = if kept > 0 { format!(", {kept} left as the base's") } else { String::new() };
    text += &format!("of {total} tensors: {edited}{kept}, {identical} identical\n");
    match verified {
        Some(Verified::Exact { tensors, texts }) => {
            text += &format!(
                "verified: exported, all {tensors} tensors equal bit for bit, labels too; logits of \
                 {texts} texts equal those that the model's own files give\n"
            );
        }
        Some(Verified::Near { texts, difference }) => {
            text += &format!(
                "verified: logits of {texts} texts within {difference:.0e} of those of the base with the \
                 adapter merged\n"
            );
        }
        None => {}
    }
    if args.data.is_some() {
        let name = card.metric.key();
        let (name_shown, after) =
            (name.replace('_', " "), percent(card.metrics.get(name).copied()));
        text += &match args.adapter {
            Some(_) => format!("{name_shown} {after}\n"),
            None => {
                format!("{name_shown} {} before, {after} after\n", percent(before[name].as_f64()))
            }
        };
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
