//! `linocut plan`

use crate::args::BaseArgs;
use crate::choices;
use crate::measure::number;
use crate::output::{aligned, print, print_json};
use clap::Args;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use linocut::bank::{Bank, Costs, Dtype, Options, TaskPlan};
use linocut::cut::Cut;
use linocut::model::Pooling;
use linocut::output::in_words;
use linocut::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Say how a folder of cuts would be served from one base, and what each costs.
///
/// Measures what matrix products cost on this machine, then lists for every cut where its rows part
/// from those of other tasks, whether its zeros are corrected after the base's product or
/// materialised as matrices of its own, its memory, and the time it adds to the base's.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut plan --base models/all-minilm-l6-v2 --cuts cuts")]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub base: BaseArgs,

    /// Numbers that matrices are computed in
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = choices::dtype())]
    pub dtype: Dtype,

    /// Folder of cuts; every file in it that ends in .cut
    #[arg(long, value_name = "DIR")]
    pub cuts: PathBuf,

    /// Tokens of a text, which is taken to be alone of its task in a batch
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub tokens: usize,

    /// Memory for materialised matrices in MB
    #[arg(long, value_name = "MB", default_value_t = 256)]
    pub materialise_budget: usize,

    /// Print everything as JSON
    #[arg(long)]
    pub json: bool,
}

pub(crate) fn run(args: PlanArgs) -> Result<()> {
    let paths = cuts_in(&args.cuts)?;
    let base = args.base.open(Some(Pooling::First))?;
    let most = base.config().positions;
    if !(1..=most).contains(&args.tokens) {
        let message = format!("--tokens is {}, expected 1 to {most} on this base", args.tokens);
        return Err(Error::new(ErrorKind::Config, message));
    }
    let budget = args.materialise_budget.checked_mul(1_000_000).ok_or_else(|| {
        let message = format!("--materialise-budget is {} MB", args.materialise_budget);
        Error::new(ErrorKind::Config, message).with_hint("more than this machine can address")
    })?;
    let options = Options { dtype: args.dtype, materialise_budget: budget, ..Options::default() };
    let bank = Bank::new(base, options)?;
    let bar = progress(args.base.quiet, paths.len());
    for (name, path) in &paths {
        let cut = Cut::read(path)?;
        bank.add(name, &cut).map_err(|e| {
            let error = Error::new(e.kind(), format!("{}: {}", path.display(), e.message()));
            match e.hint() {
                Some(hint) => error.with_hint(hint),
                None => error,
            }
        })?;
        bar.inc(1);
    }
    bar.finish_and_clear();
    let plans = bank.plan(args.tokens);
    match args.json {
        true => print_json(&as_json(&args, &bank, &plans)),
        false => print(&text(&args, &bank, &plans)),
    }
}

/// Name and path of every cut in `folder`, by name.
fn cuts_in(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let unreadable = |e| Error::io(folder, "read the folder", e);
    let mut cuts = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|e| e == "cut") {
            let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            cuts.push((name, path));
        }
    }
    if cuts.is_empty() {
        let message = format!("--cuts {}: no file in it ends in .cut", folder.display());
        return Err(Error::new(ErrorKind::Cut, message).with_hint("linocut train writes cuts"));
    }
    cuts.sort();
    Ok(cuts)
}

fn progress(quiet: bool, cuts: usize) -> ProgressBar {
    let target =
        if quiet { ProgressDrawTarget::hidden() } else { ProgressDrawTarget::stderr_with_hz(5) };
    let bar = ProgressBar::with_draw_target(Some(cuts as u64), target);
    if let Ok(style) = ProgressStyle::with_template("{wide_bar} {pos}/{len} cuts, {eta} left") {
        bar.set_style(style);
    }
    bar
}

/// Costs with what they are of.
fn costs(costs: &Costs) -> [(&'static str, f64); 7] {
    [
        ("multiply-add of a product over many rows", costs.dense),
        ("entry of a matrix of a task's own", costs.own),
        ("entry of it, when made from the base's", costs.make),
        ("zero, a pass over up to 64 rows", costs.zero),
        ("zero and row", costs.zero_row),
        ("entry turned on its side", costs.turn),
        ("multiply-add with low-rank factors", costs.thin),
    ]
}

/// Shapes of the base's matrices, `[outputs, inputs]`.
fn shapes(bank: &Bank) -> [(usize, usize); 3] {
    let (h, f) = (bank.base().config().hidden, bank.base().config().intermediate);
    [(h, h), (f, h), (h, f)]
}

/// From which share of zeros on a task has matrices of its own.
fn break_even(args: &PlanArgs, bank: &Bank) -> String {
    let shares = shapes(bank).map(|(outputs, inputs)| {
        let share = 100.0 * bank.costs().break_even(args.tokens, outputs, inputs);
        format!("{share:.1}% of {outputs} × {inputs}")
    });
    format!(
        "\nat {} tokens a matrix of a task's own is cheaper from this share of zeros on: {}\n",
        args.tokens,
        shares.join(", ")
    )
}

fn text(args: &PlanArgs, bank: &Bank, plans: &[TaskPlan]) -> String {
    let mut rows =
        vec![vec![format!("cost here in {}", bank.dtype().name()), "ns of one core".to_string()]];
    rows.extend(costs(bank.costs()).map(|(what, ns)| vec![what.into(), number(Some(ns))]));
    let mut text = aligned(&rows);
    text += &break_even(args, bank);
    text.push('\n');
    let header = [
        "task",
        "shared layers",
        "zeros",
        "corrected",
        "materialised",
        "replaced",
        "memory",
        "time",
    ];
    let mut rows = vec![header.map(String::from).to_vec()];
    for plan in plans {
        rows.push(vec![
            plan.task.name().to_string(),
            plan.shared_layers.to_string(),
            plan.task.zeros().to_string(),
            plan.corrected.to_string(),
            plan.materialised.to_string(),
            plan.replaced.to_string(),
            in_words(plan.task.bytes() as u64),
            format!("{:+.1}%", 100.0 * plan.cost),
        ]);
    }
    text += &aligned(&rows);
    let materialised: usize = plans.iter().map(|plan| plan.materialised_bytes).sum();
    let budget = args.materialise_budget as u64 * 1_000_000;
    text += &format!(
        "\n{} tasks in {}; materialised matrices would take {} of a budget of {}\n",
        plans.len(),
        in_words(bank.bytes().0 as u64),
        in_words(materialised as u64),
        in_words(budget),
    );
    if materialised as u64 > budget {
        text += "where the budget is full, those used longest ago give way\n";
    }
    text
}

fn as_json(args: &PlanArgs, bank: &Bank, plans: &[TaskPlan]) -> Value {
    let Costs { dense, own, make, zero, zero_row, turn, thin } = bank.costs();
    let break_even = shapes(bank).map(|(outputs, inputs)| {
        let zeros = bank.costs().break_even(args.tokens, outputs, inputs);
        json!({"shape": [outputs, inputs], "zeros": zeros})
    });
    let tasks: Vec<_> = plans
        .iter()
        .map(|plan| {
            json!({
                "task": plan.task.name(),
                "forks_at": plan.forks_at,
                "shared_layers": plan.shared_layers,
                "zeros": plan.task.zeros(),
                "corrected": plan.corrected,
                "materialised": plan.materialised,
                "materialised_bytes": plan.materialised_bytes,
                "replaced": plan.replaced,
                "bytes": plan.task.bytes(),
                "time": plan.cost,
            })
        })
        .collect();
    json!({
        "dtype": bank.dtype().name(),
        "tokens": args.tokens,
        "costs_ns": {
            "dense": dense, "own": own, "make": make, "zero": zero, "zero_row": zero_row,
            "turn": turn, "thin": thin,
        },
        "break_even": break_even,
        "tasks": tasks,
    })
}
