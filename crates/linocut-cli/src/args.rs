//! The command line as typed.

use crate::calibrate::CalibrateArgs;
use crate::choices::{self, LabelWeights};
use crate::compare::CompareArgs;
use crate::describe::{CompletionsArgs, ManArgs};
use crate::doctor::DoctorArgs;
use crate::eval::EvalArgs;
use crate::export::ExportArgs;
use crate::health::HealthArgs;
use crate::inspect::InspectArgs;
use crate::measure::MeasureArgs;
use crate::output::{escaped, shown};
use crate::pack::PackArgs;
use crate::plan::PlanArgs;
use crate::predict::PredictArgs;
use crate::serve::ServeArgs;
use crate::store::{
    BaseCommand, GcArgs, HistoryArgs, KeygenArgs, ListArgs, PullArgs, PushArgs, RemoveArgs,
    RollbackArgs,
};
use crate::study::StudyArgs;
use crate::task::TaskArgs;
use crate::time;
use crate::verify::VerifyArgs;
use clap::{Arg, ArgGroup, Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use linocut::cut::StoreType;
use linocut::data::{Columns, Long, Reading, TaskSpec};
use linocut::model::Pooling;
use linocut::output::Budget;
use linocut::tune::{ClassWeights, Method, Objective, Sampling, Scope};
use std::any::TypeId;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

/// One pretrained language model, a thousand tasks: each stored as a small cut of the shared base.
#[derive(Parser)]
#[command(name = "linocut", version, propagate_version = true, arg_required_else_help = true)]
#[command(
    after_help = "Every option may be set in the environment: --listen of serve is LINOCUT_SERVE_LISTEN."
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line, or ends with what is wrong with it.
    pub(crate) fn read() -> Self {
        let matches = Self::command_line().try_get_matches();
        matches.and_then(|matches| Self::from_arg_matches(&matches)).unwrap_or_else(|error| {
            // Its message has colours, and all that an argument holds for a terminal to obey.
            let is_plain = |arg: &str| shown(arg) == arg;
            if std::env::args_os().all(|arg| is_plain(&arg.to_string_lossy())) {
                error.exit();
            }
            eprint!("{}", escaped(&error.render().to_string(), &['\n']));
            std::process::exit(error.exit_code());
        })
    }

    /// The command line's description. Every option that takes a value takes a negative number, so that
    /// its check says what it expects; whole numbers and others say what they are. Every option may be set in the
    /// environment: --max-inputs of `serve` is LINOCUT_SERVE_MAX_INPUTS.
    pub(crate) fn command_line() -> clap::Command {
        let option = |command: &str, arg: Arg| {
            if arg.is_positional() {
                return arg;
            }
            let arg = match (arg.get_env(), arg.get_long()) {
                (None, Some(long)) => {
                    let name = format!("LINOCUT_{command}_{long}").replace('-', "_");
                    arg.env(name.to_uppercase()).hide_env(true)
                }
                _ => arg,
            };
            if !arg.get_action().takes_values() {
                return arg;
            }
            let parser = arg.get_value_parser().type_id();
            let arg = arg.allow_negative_numbers(true);
            if parser == TypeId::of::<usize>() {
                arg.value_parser(whole::<usize>)
            } else if parser == TypeId::of::<u64>() {
                arg.value_parser(whole::<u64>)
            } else if parser == TypeId::of::<f64>() {
                arg.value_parser(number)
            } else {
                arg
            }
        };
        Self::command().mut_subcommands(|command| {
            let name = command.get_name().to_string();
            command.mut_args(|arg| option(&name, arg))
        })
    }
}

fn whole<N: FromStr>(text: &str) -> Result<N, String> {
    text.parse().map_err(|_| "expected a whole number, 0 or more".into())
}

fn number(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| "expected a number, such as 0.1".into())
}

#[derive(Subcommand)]
pub(crate) enum Command {
    Train(Box<TrainArgs>),
    Eval(EvalArgs),
    Compare(CompareArgs),
    Calibrate(CalibrateArgs),
    Predict(PredictArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
    Export(ExportArgs),
    Measure(Box<MeasureArgs>),
    Pack(PackArgs),
    Study(StudyArgs),
    Plan(PlanArgs),
    Serve(ServeArgs),
    Push(PushArgs),
    Pull(PullArgs),
    List(ListArgs),
    History(HistoryArgs),
    Rollback(RollbackArgs),
    Remove(RemoveArgs),
    Gc(GcArgs),
    Keygen(KeygenArgs),
    Base(BaseCommand),
    Doctor(DoctorArgs),
    Health(HealthArgs),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

/// The base, named alike by every command that needs it.
#[derive(Args)]
pub(crate) struct BaseArgs {
    /// Model folder (config.json, model.safetensors, tokenizer.json), or a hub name such as
    /// sentence-transformers/all-MiniLM-L6-v2
    #[arg(long, value_name = "DIR|NAME", env = "LINOCUT_BASE")]
    pub base: String,

    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// Columns of a table of texts, and how its labels are read.
#[derive(Args, Clone)]
pub(crate) struct ColumnArgs {
    /// Column of the text [default: text, sentence, sentence1, …, the first present]
    #[arg(long, value_name = "COLUMN")]
    pub text: Option<String>,

    /// Column of the second text of a pair
    #[arg(long, value_name = "COLUMN", requires = "text")]
    pub text_pair: Option<String>,

    /// Column of the label [default: label, labels, class, …, the first present]
    #[arg(long, value_name = "COLUMN")]
    pub label: Option<String>,

    /// What stands between labels in one text, such as ';': a row has any number of labels then [default: a
    /// comma, where the task is multi-label]
    #[arg(long, value_name = "SEP")]
    pub label_separator: Option<String>,

    /// The one of the task's labels that stands for all that are not among them
    #[arg(long, value_name = "LABEL")]
    pub other: Option<String>,
}

impl ColumnArgs {
    /// Puts what is named in place of the task's own.
    pub(crate) fn name_in(&self, spec: &mut TaskSpec) {
        if self.text.is_some() {
            spec.text.clone_from(&self.text);
            spec.pair.clone_from(&self.text_pair);
        }
        let own = [
            (&self.label, &mut spec.label),
            (&self.label_separator, &mut spec.label_separator),
            (&self.other, &mut spec.other),
        ];
        for (named, own) in own {
            if named.is_some() {
                own.clone_from(named);
            }
        }
    }
}

/// How a table of texts is written.
#[derive(Args, Clone)]
pub(crate) struct FormatArgs {
    /// What separates the cells of a TSV or CSV file: one character, or tab [default: seen from the
    /// header]
    #[arg(long, value_name = "CHAR", value_parser = delimiter)]
    pub delimiter: Option<char>,

    /// What quotation marks are in a TSV or CSV file [default: csv in .csv, else seen from the file]
    #[arg(long, value_name = "HOW")]
    pub quotes: Option<QuotesName>,
}

impl FormatArgs {
    /// How to read `columns`, and at most `limit` rows, of such a file.
    pub(crate) fn reading(&self, columns: Columns, limit: Option<usize>) -> Reading {
        let quotes = self.quotes.map(|quotes| matches!(quotes, QuotesName::Csv));
        Reading { columns, limit, delimiter: self.delimiter, quotes, ..Reading::default() }
    }
}

fn delimiter(text: &str) -> std::result::Result<char, String> {
    let mut chars = text.chars();
    match (text, chars.next(), chars.next()) {
        ("tab" | "\\t", ..) => Ok('\t'),
        (_, Some(c), None) if !matches!(c, '"' | '\n' | '\r') => Ok(c),
        _ => Err("expected one character, such as ';', or tab".into()),
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum QuotesName {
    /// They enclose cells, as in CSV
    Csv,
    /// They are text like any other
    None,
}

/// Learn a task as a cut of a base model.
///
/// The task is a folder with task.json, train.tsv and dev.tsv, or single files with the columns
/// named. The score on the dev rows is that of the cut as stored; nothing is selected by it.
#[derive(Args)]
#[command(group = ArgGroup::new("rows").args(["task", "train"]).required(true))]
#[command(after_help = "\
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut train --task tasks/trec6 --out trec6.cut
  linocut train --train mails.csv --text body --label queue --out queue.cut
  linocut train --task tasks/cola --method layers --layers 4-5 --out cola.cut")]
pub(crate) struct TrainArgs {
    #[command(flatten)]
    pub base: BaseArgs,

    /// Cut to write
    #[arg(long, value_name = "FILE")]
    pub out: PathBuf,

    /// Replace an existing cut
    #[arg(long)]
    pub force: bool,

    /// Continue an interrupted run from OUT.state
    #[arg(long)]
    pub resume: bool,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,

    /// Write what happens to a file while it happens, a JSON object a line: every step with its loss, evaluations, and in the
    /// end the results. With --resume the file of the interrupted run goes on
    #[arg(long, value_name = "FILE")]
    pub log: Option<PathBuf>,

    /// Folder with task.json, train.tsv and dev.tsv (or .csv, .jsonl, .parquet)
    #[arg(long, value_name = "DIR", conflicts_with = "dev", help_heading = "Task")]
    pub task: Option<PathBuf>,

    #[command(flatten, next_help_heading = "Task")]
    pub rows: TaskArgs,

    /// What is trained beside the head
    #[arg(long, default_value = "mask", help_heading = "Method", value_parser = choices::method())]
    pub method: Method,

    /// Layers to train or mask, e.g. 4-5 or 0,2 [default: all]
    #[arg(long, allow_hyphen_values = true, help_heading = "Method")]
    pub layers: Option<String>,

    /// Kinds (query, key, value, query-key-value, attention-output, intermediate, output, layernorm, bias, pooler)
    /// or name patterns with * to train or mask [default: all; lora: query,value]
    #[arg(long, value_delimiter = ',', value_name = "KINDS", help_heading = "Method")]
    pub only: Option<Vec<String>>,

    /// How a step turns scores into a mask [default: stochastic]
    #[arg(long, help_heading = "Method", value_parser = choices::sampling())]
    pub sampling: Option<Sampling>,

    /// Share of each matrix whose scores start below 0, the smallest entries [default: 0]
    #[arg(long, value_name = "SHARE", help_heading = "Method")]
    pub init_sparsity: Option<f64>,

    /// Share of each matrix that may become zero, the largest entries [default: 0.25; 1 with --init-sparsity or a
    /// --sparsity above 1%]
    #[arg(long, value_name = "SHARE", help_heading = "Method")]
    pub candidates: Option<f64>,

    /// Initial scores are plus or minus this [default: 6 to 8, by the number of steps]
    #[arg(long, value_name = "C", help_heading = "Method")]
    pub init_scale: Option<f64>,

    /// Rank of the factors of --method lora [default: 8]
    #[arg(long, value_name = "R", help_heading = "Method")]
    pub rank: Option<usize>,

    /// Share of zeros to have exactly: the lowest scores below 0 and, if these are too few, the smallest
    /// of the other entries. What is above 1% starts below 0. With --sampling threshold the share
    /// grows as training goes on
    #[arg(long, value_name = "SHARE", conflicts_with = "init_sparsity", help_heading = "Method")]
    pub sparsity: Option<f64>,

    /// Where entries compete for --sparsity [default: matrix]
    #[arg(long, value_name = "SCOPE", requires = "sparsity", help_heading = "Method", value_parser = choices::scope())]
    pub sparsity_scope: Option<Scope>,

    /// Leave out heads and neurons that the task needs least, in some layers maybe all of them, so that at most this share of the
    /// encoder's multiply-adds is left: those of matrix products and attention for a text of 64 tokens;
    /// embeddings and head are not counted [default: 1, all of it]
    #[arg(long, value_name = "SHARE", help_heading = "Method")]
    pub compute: Option<f64>,

    /// Most bytes of the cut (200KB), or its share of the base's (0.2%): chooses the method. Masks
    /// with up to 1% zeros in all layers; if 0.1% does not fit, in the last layers; else the head
    #[arg(
        long,
        value_name = "SIZE",
        conflicts_with_all = [
            "method", "layers", "only", "sampling", "init_sparsity", "candidates", "init_scale", "sparsity", "rank"
        ],
        help_heading = "Method"
    )]
    pub budget: Option<Budget>,

    /// With --budget: the best of this study that fits, instead of the rule
    #[arg(long, value_name = "DIR", requires = "budget", help_heading = "Method")]
    pub study: Option<PathBuf>,

    /// How a text's hidden states become one vector [default: the base folder's own]
    #[arg(long, help_heading = "Method", value_parser = choices::pooling())]
    pub pooling: Option<Pooling>,

    /// What is learned from [default: pairs for up to 500 rows with one label each, unless --epochs, --head-lr,
    /// --early-stop, --eval-every, --class-weights, --weights or --distill says how labels are learned; else labels]
    #[arg(long, help_heading = "Training", value_parser = choices::objective())]
    pub objective: Option<Objective>,

    /// Passes over the training rows [default: 3 to 10, for about 1,500 steps; of pairs 16 or
    /// more, for at least 100 steps]
    #[arg(long, help_heading = "Training")]
    pub epochs: Option<usize>,

    /// Rows a step [default: 32; of pairs 64]
    #[arg(long, help_heading = "Training")]
    pub batch: Option<usize>,

    /// Peak learning rate of weights [default: 0.0001; bias: 0.003; lora: 0.003 / √rank]
    #[arg(long, help_heading = "Training")]
    pub lr: Option<f64>,

    /// Peak learning rate of mask scores [default: 0.1]
    #[arg(long, help_heading = "Training")]
    pub mask_lr: Option<f64>,

    /// Peak learning rate of the head [default: 0.001; mask: 0.003; head: 0.01]
    #[arg(long, help_heading = "Training")]
    pub head_lr: Option<f64>,

    /// Probability of dropping hidden states, attention and what the head reads, while training; frozen
    /// layers below the lowest one trained drop nothing [default: 0]
    #[arg(long, value_name = "P", help_heading = "Training")]
    pub dropout: Option<f64>,

    /// Share of the steps that warm up [default: 0.1]
    #[arg(long, value_name = "SHARE", help_heading = "Training")]
    pub warmup: Option<f64>,

    /// Seed of everything random
    #[arg(long, default_value_t = 0, help_heading = "Training")]
    pub seed: u64,

    /// Most tokens read of a text at one time; longer ones are cut, counted and reported [default: 128]
    #[arg(long, value_name = "TOKENS", help_heading = "Training")]
    pub max_length: Option<usize>,

    /// Which part is read of a text longer than --max-length [default: as the tokenizer's files say, mostly head]
    #[arg(long, value_name = "PART", help_heading = "Training", value_parser = choices::long())]
    pub long: Option<Long>,

    /// Keep the best state on this share of the training rows, held out for it
    #[arg(long, value_name = "SHARE", num_args = 0..=1, default_missing_value = "0.1", help_heading = "Training")]
    pub early_stop: Option<f64>,

    /// Fit temperature and thresholds on this share of the training rows, held out for it; 0 fits none [default: 0.1 with
    /// several labels a row and 300 rows or more, or with a target]
    #[arg(
        long,
        value_name = "SHARE",
        num_args = 0..=1,
        default_missing_value = "0.1",
        conflicts_with = "folds",
        help_heading = "Decisions"
    )]
    pub calibrate: Option<f64>,

    /// Answer as often as possible while this share of the answers is right
    #[arg(
        long,
        value_name = "SHARE",
        conflicts_with = "target_recall",
        help_heading = "Decisions"
    )]
    pub target_precision: Option<f64>,

    /// Answer as little as possible while this share of each label's rows is found
    #[arg(long, value_name = "SHARE", help_heading = "Decisions")]
    pub target_recall: Option<f64>,

    /// Cross-validate: train K more cuts, each on all but one K-th of the rows, and score each on the rest. The cut written
    /// is trained on all rows; without --dev none are held out. Temperature and thresholds are fitted on the predictions of
    /// rows not trained on
    #[arg(long, value_name = "K", help_heading = "Decisions")]
    pub folds: Option<usize>,

    /// Write these predictions of every training row, as JSON lines
    #[arg(long, value_name = "FILE", requires = "folds", help_heading = "Decisions")]
    pub fold_predictions: Option<PathBuf>,

    /// Try for so long, 10m where nothing is said, what scores better: pairs or labels, the head alone, half and double the
    /// rate, double the epochs, dropout; on a fifth of the training rows, or by --folds. What is said is not changed
    #[arg(long, value_name = "TIME", num_args = 0..=1, default_missing_value = "10m", value_parser = time::parse, help_heading = "Training")]
    pub search: Option<Duration>,

    /// Steps between evaluations [default: once an epoch, with --early-stop]
    #[arg(long, value_name = "STEPS", help_heading = "Training")]
    pub eval_every: Option<usize>,

    /// Steps between saved states [default: about once a minute]
    #[arg(long, value_name = "STEPS", help_heading = "Training")]
    pub save_every: Option<usize>,

    /// How rows weigh in the loss of a task with labels
    #[arg(long, default_value = "none", help_heading = "Training", value_parser = choices::class_weights())]
    pub class_weights: ClassWeights,

    /// The same by hand, in the place of --class-weights: how much a row of the label counts beside others (spam=5,ham=1;
    /// may be repeated); with several labels a row, how much a row that has the label counts beside one that has it not
    /// [default: 1 for each label that is not named]
    #[arg(
        long,
        value_name = "LABEL=NUMBER",
        conflicts_with = "class_weights",
        help_heading = "Training"
    )]
    pub weights: Vec<LabelWeights>,

    /// Learn from a teacher, too: a cut of the same base, or the folder of a fine-tuned model. Half of the loss is how far the
    /// answers are from its own. Few rows are then learned by their labels, not in pairs
    #[arg(long, value_name = "CUT|DIR", help_heading = "Training")]
    pub distill: Option<PathBuf>,

    /// Rows without labels, on which the teacher alone is learned from: the text columns of the training rows
    #[arg(long, value_name = "FILE", requires = "distill", help_heading = "Training")]
    pub unlabelled: Option<PathBuf>,

    /// Format in which head and trained tensors are stored
    #[arg(long, default_value = "bf16", help_heading = "Training", value_parser = choices::store())]
    pub store: StoreType,

    /// Memory for frozen layers' outputs in MB; more go to a temporary file
    #[arg(long, value_name = "MB", default_value_t = 2048, help_heading = "Training")]
    pub trunk_memory: usize,
}
