//! `linocut base diff`

use super::score;
use crate::base::start_threads;
use crate::flags;
use crate::output::{aligned, print, print_json, rounded, say};
use clap::{Args, Subcommand};
use linocut::Result;
use linocut::cut::{Card, Cut, MovedProbes};
use linocut::hub::{self, Fetch};
use linocut::model::{Base, Pooling};
use linocut::store::{Known, Store};
use linocut::tune::Method;
use serde_json::{Value, json};

/// Look at bases.
#[derive(Args)]
pub(crate) struct BaseCommand {
    #[command(subcommand)]
    pub command: BaseCommands,
}

#[derive(Subcommand)]
pub(crate) enum BaseCommands {
    Diff(DiffArgs),
}

/// Say which tasks of a store another base would break, and by how much their probes move.
///
/// A cut belongs to one base, to the bit: with any other fingerprint it is refused. This puts each cut of the old
/// base on the new one all the same, and compares the logits of its probes (tokens drawn at random) with those
/// that it expects. Lines to train anew are printed where the card says how the cut was trained; the rows are
/// yours to name.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut base diff models/base-v1 models/base-v2 --store fleet")]
pub(crate) struct DiffArgs {
    /// Base of the tasks: folder or hub name
    #[arg(value_name = "OLD")]
    pub old: String,

    /// The other base: folder or hub name
    #[arg(value_name = "NEW")]
    pub new: String,

    /// Folder or bucket
    #[arg(long, value_name = "STORE")]
    pub store: String,

    /// Threads that compute [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

/// What becomes of a task.
struct Fate {
    name: String,
    card: Card,
    probes: usize,
    moved: Result<MovedProbes>,
}

pub(crate) fn base(args: BaseCommand) -> Result<()> {
    let BaseCommands::Diff(args) = args.command;
    start_threads(args.threads)?;
    let store = Store::open(&args.store)?;
    let (old, mut new) = (open(&args.old)?, open(&args.new)?);
    let tasks = store.records()?.tasks;
    let all = tasks.len();
    let mine = |known: &Known| known.current.about.base.fingerprint == old.fingerprint.to_string();
    let same = old.fingerprint == new.fingerprint
        && old.tokenizer.fingerprint() == new.tokenizer.fingerprint();
    let mut fates = Vec::new();
    for (name, known) in tasks.into_iter().filter(|(_, known)| mine(known)) {
        let cut = Cut::from_bytes(&store.read(&known.current)?)?;
        let moved = cut.on(&new).and_then(|cut| cut.moved_probes(&mut new));
        let (card, probes) = (cut.card().clone(), cut.probes().len());
        fates.push(Fate { name, card, probes, moved });
    }
    match args.json {
        true => print_json(&as_json(&fates, same, all)),
        false => print(&text(&args, &fates, same, all)),
    }
}

fn open(name: &str) -> Result<Base> {
    let mut remarks = vec![];
    let fetch = Fetch { progress: true, own_pooling: false };
    let folder = hub::find(name, fetch, &mut remarks)?;
    remarks.iter().for_each(|remark| say(&remark.to_string()));
    Base::open(&folder, Some(Pooling::First))
}

fn text(args: &DiffArgs, fates: &[Fate], same: bool, all: usize) -> String {
    let of = format!("{} of {all} tasks belong to {}", fates.len(), args.old);
    if same {
        return format!("{of}; {} is the same base and tokenizer: none breaks\n", args.new);
    }
    let mut text =
        format!("{of}; all of them are refused on {}, which is another base\n\n", args.new);
    let header = ["task", "score", "largest move of a probe's logit", "other label"];
    let mut rows = vec![header.map(String::from).to_vec()];
    for fate in fates {
        let (moved, labels) = match &fate.moved {
            Ok(moved) => (
                rounded(f64::from(moved.difference)),
                format!("{} of {} probes", moved.other_labels, fate.probes),
            ),
            Err(e) => (format!("does not fit: {}", e.message()), String::new()),
        };
        let about = linocut::store::About::of(&fate.card);
        rows.push(vec![fate.name.clone(), score(&about), moved, labels]);
    }
    text += &aligned(&rows);
    let lines = fates.iter().filter_map(|fate| retrain(&args.new, &fate.name, &fate.card));
    let lines: Vec<String> = lines.collect();
    if !lines.is_empty() {
        text +=
            &format!("\nto train them anew, with each one's own rows:\n  {}\n", lines.join("\n  "));
    }
    text
}

/// The command that trains a task as it was trained, where its card says so.
fn retrain(base: &str, name: &str, card: &Card) -> Option<String> {
    const FLAGS: [&str; 9] =
        ["epochs", "batch", "lr", "mask_lr", "head_lr", "dropout", "warmup", "seed", "objective"];
    let method: Method = serde_json::from_value(card.method.clone()).ok()?;
    let flags = FLAGS.iter().filter_map(|flag| {
        let value = card.training.get(*flag).filter(|value| !value.is_null())?;
        Some(flags::of_choice(flag, value))
    });
    let flags: Vec<String> = flags.collect();
    Some(format!(
        "linocut train --base {} --train ROWS {} {} --max-length {} --out {}",
        flags::quoted(base),
        flags::of_method(&method),
        flags.join(" "),
        card.max_length,
        flags::quoted(&format!("{name}.cut"))
    ))
}

fn as_json(fates: &[Fate], same: bool, all: usize) -> Value {
    let task = |fate: &Fate| {
        let (moved, error) = match &fate.moved {
            Ok(moved) => (Some(moved), None),
            Err(e) => (None, Some(e.message())),
        };
        json!({
            "task": fate.name,
            "breaks": !same,
            "difference": moved.map(|moved| moved.difference),
            "other_labels": moved.map(|moved| moved.other_labels),
            "probes": fate.probes,
            "error": error,
        })
    };
    json!({
        "same_base": same,
        "tasks_of_store": all,
        "tasks": fates.iter().map(task).collect::<Vec<_>>(),
    })
}
