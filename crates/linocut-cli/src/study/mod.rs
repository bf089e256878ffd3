//! `linocut study`

mod charts;
pub(crate) mod report;
mod session;

use crate::args::BaseArgs;
use crate::choices;
use crate::flags;
use crate::interrupt;
use crate::output::{print, print_json, say};
use crate::task::TaskArgs;
use crate::time;
use clap::{ArgGroup, Args};
use linocut::checkpoint::write_atomically;
use linocut::data::{TaskFolder, TaskRows};
use linocut::model::Pooling;
use linocut::output::check_folder;
use linocut::study::{
    self, Advice, Arm, Folder, Grid, Setting, StudyTask, Summary, TaskFiles, choose, conclude,
};
use linocut::tune::Shared;
use linocut::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Compare many ways to train tasks: which layers, how many zeros, how many bytes.
///
/// Every run is a cut with its card in OUT/cuts. The same command again does only what is missing,
/// and may add tasks, arms and seeds. OUT/study.md and OUT/study.html say what was found.
#[derive(Args)]
#[command(group = ArgGroup::new("rows").args(["task", "train"]).required(true))]
#[command(after_help = "\
Arms (--arms takes names, patterns such as 'layer-*', core, all):
  core             head, full, mask, random-mask, magnitude, mask-0.05, bottom-K and top-K (the first and the last half
                   of the layers), critical-kinds (value, attention-output, output, biases and LayerNorms), lora-all-1
  bias             every bias
  layer-N          one layer alone; without-layer-N: all but one; layers: all, embeddings frozen
  top-K, bottom-K  the last or first K layers
  only-KIND        one kind of tensor in all layers, such as only-query; without-KIND: all others
  paper-exclusions neither embeddings, nor keys, nor the last two layers
  mask-S           masks with a share S of zeros: 0.005 to 0.6; mask-global-S: over all matrices
  soft-S           masks that start with the smallest share S below 0
  mask-threshold, mask-top-K, mask-critical (the half of the layers that moved most in full)
  mask-of-another-task  head over the zeros learned for the next task
  lora-R, lora-all-R  low-rank factors of query and value, or of every matrix, rank 1 to 32
  ARM+OPTION=N     an arm with epochs, batch, lr, mask_lr, head_lr, dropout or warmup: lora-1+lr=0.003+epochs=10
Examples:
  export LINOCUT_BASE=models/all-minilm-l6-v2
  linocut study --task tasks/trec6 --task tasks/cola --out study \\
    --time-budget 2h
  linocut study --train mails.csv --text body --label queue --out study")]
pub(crate) struct StudyArgs {
    #[command(flatten)]
    pub base: BaseArgs,

    /// Folder of the study
    #[arg(long, value_name = "DIR")]
    pub out: PathBuf,

    /// Arms to run, see below
    #[arg(long, value_name = "NAMES", value_delimiter = ',', default_value = "core")]
    pub arms: Vec<String>,

    /// Runs of every arm on every task
    #[arg(long, value_name = "N", default_value_t = 3)]
    pub seeds: u64,

    /// Runs at a time, each on its share of the threads. Of a small base, two runs on a thread each are
    /// faster than one on two, but each needs its own memory
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub jobs: usize,

    /// Start no run that would end later, e.g. 90m or 2h [default: no limit]
    #[arg(long, value_name = "TIME", value_parser = time::parse)]
    pub time_budget: Option<Duration>,

    /// Passes over the training rows [default: as train: 3 to 10, for about 1,500 steps]
    #[arg(long)]
    pub epochs: Option<usize>,

    /// How a text's hidden states become one vector [default: the base folder's own]
    #[arg(long, value_parser = choices::pooling())]
    pub pooling: Option<Pooling>,

    /// Points below full that are accepted where the smallest is advised
    #[arg(long, value_name = "POINTS", default_value_t = 0.5)]
    pub within: f64,

    /// Print the results as JSON
    #[arg(long)]
    pub json: bool,

    /// Folder with task.json, train.tsv and dev.tsv; may be repeated
    #[arg(long, value_name = "DIR", conflicts_with = "dev", help_heading = "Task")]
    pub task: Vec<PathBuf>,

    #[command(flatten, next_help_heading = "Task")]
    pub rows: TaskArgs,
}

pub(crate) fn run(args: StudyArgs) -> Result<()> {
    check(&args)?;
    let (tasks, files) = tasks(&args)?;
    let base = args.base.open(args.pooling)?;
    let arms = choose(&Arm::offered(&base.encoder, tasks.len()), &args.arms, base.config())?;
    let setting = Setting::new(&base, (args.epochs, args.rows.limit), files);
    let shared = Shared::default();
    let counted = |task| StudyTask::new(task, &base, &shared);
    let tasks = tasks.into_iter().map(counted).collect::<Result<Vec<_>>>()?;
    let mut folder = Folder::open(&args.out, &setting)?;
    for note in folder.passed_over() {
        say(&format!("note: {note}"));
    }
    let grid = Grid { tasks: &tasks, arms: &arms, seeds: args.seeds, epochs: args.epochs };
    let ended = session::run_missing(&args, &grid, &base, &mut folder, shared);
    if let Err(error) = &ended
        && error.kind() != ErrorKind::Interrupted
    {
        return ended;
    }
    // Tables and page are written whole or not at all: a signal may end the process now.
    interrupt::listen_no_more();

    let (summary, advice) = conclude(&folder, &tasks, &base, args.within / 100.0)?;
    write(&args, &setting, &summary, &advice)?;
    if ended.is_err() {
        return Err(Error::new(ErrorKind::Interrupted, "interrupted")
            .with_hint("what is done is kept: the same command goes on"));
    }
    if args.json {
        let shown = advice.iter().map(|one| {
            let train = one.train.as_ref().map(flags::of_method);
            json!({ "task": one.task, "text": one.text, "train": train })
        });
        let advice: Vec<Value> = shown.collect();
        return print_json(&json!({ "summary": summary, "advice": advice }));
    }
    print(&report::text(&summary, &advice, &args))
}

fn check(args: &StudyArgs) -> Result<()> {
    study::check(args.seeds, args.jobs, args.epochs)?;
    if !(0.0..=100.0).contains(&args.within) {
        let message = format!("--within is {}, expected 0 to 100 points", args.within);
        return Err(Error::new(ErrorKind::Config, message));
    }
    if args.out.exists() && !args.out.is_dir() {
        let message = format!("--out {}: a file, expected a folder", args.out.display());
        return Err(Error::new(ErrorKind::Io, message));
    }
    check_folder(&args.out)
}

/// The tasks' rows, and by name of the task the digests of their files or of the rows as read.
fn tasks(args: &StudyArgs) -> Result<(Vec<TaskRows>, BTreeMap<String, TaskFiles>)> {
    let (mut tasks, mut all) = (Vec::new(), BTreeMap::<String, TaskFiles>::new());
    let folders = match &args.task[..] {
        [] => vec![None],
        folders => folders.iter().map(|folder| Some(folder.as_path())).collect(),
    };
    for folder in folders {
        // The rows held out, where a task has no dev file, are the same for every seed.
        let task = args.rows.read(folder, (0, true), args.base.quiet)?;
        let mut files = match folder {
            Some(folder) => TaskFiles::of_folder(folder, &TaskFolder::open(folder)?)?,
            None => TaskFiles::of_rows(&task),
        };
        // Beside the files, options decide what is read.
        if !args.rows.flags().is_empty() {
            files.files.extend(TaskFiles::of_rows(&task).files);
        }
        let name = task.train.name.clone();
        let folder = files.folder.display().to_string();
        if let Some(other) = all.insert(name.clone(), files) {
            let message =
                format!("{} and {folder} are both named {name:?}", other.folder.display());
            return Err(Error::new(ErrorKind::Data, message)
                .with_hint("give each task a name of its own in its task.json"));
        }
        tasks.push(task);
    }
    Ok((tasks, all))
}

fn write(args: &StudyArgs, setting: &Setting, summary: &Summary, advice: &[Advice]) -> Result<()> {
    let sections = report::sections(args, setting, summary, advice);
    for (name, text) in
        [("study.md", report::markdown(&sections)), ("study.html", report::page(&sections))]
    {
        write_atomically(&args.out.join(name), |out| out.write_all(text.as_bytes()))?;
    }
    Ok(())
}
