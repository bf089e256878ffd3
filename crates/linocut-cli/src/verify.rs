//! `linocut verify`

use crate::args::BaseArgs;
use crate::choices;
use crate::flags;
use crate::output::{print, print_json, shown};
use clap::Args;
use linocut::bank::{Bank, Dtype, Options};
use linocut::cut::{Cut, INT8_TOLERANCE};
use linocut::model::Pooling;
use linocut::{Error, ErrorKind, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Check that cuts are whole, belong to the base, and give the logits they were stored with.
///
/// Prints one line a cut, goes on after a bad one, and exits with 1 if there was any.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut verify cuts/*.cut --base models/all-minilm-l6-v2")]
pub(crate) struct VerifyArgs {
    /// Cuts to check
    #[arg(value_name = "CUT", required = true)]
    pub cuts: Vec<PathBuf>,

    #[command(flatten)]
    pub base: BaseArgs,

    /// Numbers that matrices are computed in; int8 is held to its own tolerance
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = choices::dtype())]
    pub dtype: Dtype,

    /// Print one JSON object a cut
    #[arg(long)]
    pub json: bool,
}

/// What was found in a good cut.
struct Verified {
    task: String,
    probes: usize,
    /// Largest difference of a logit, as [`Cut::check_probes`] counts it.
    difference: f32,
}

/// Gives the largest difference of a cut's logits, or says what is wrong with it.
type Check = Box<dyn FnMut(&Cut) -> Result<f32>>;

pub(crate) fn run(args: VerifyArgs) -> Result<()> {
    let mut base = args.base.open(Some(Pooling::First))?;
    let mut check: Check = match args.dtype {
        Dtype::F32 => {
            let before = base.weights.digest();
            Box::new(move |cut| cut.verify(&mut base, before))
        }
        Dtype::Int8 => {
            let bank = Bank::new(base, Options { dtype: args.dtype, ..Options::default() })?;
            Box::new(move |cut| bank.verify(cut))
        }
    };
    let mut failed = 0;
    for path in &args.cuts {
        let result = verify(path, &mut check);
        failed += usize::from(result.is_err());
        match args.json {
            true => print_json(&as_json(path, args.dtype, &result))?,
            false => print(&format!("{}\n", shown(&line(path, args.dtype, &result))))?,
        }
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Cut, format!("{failed} of {} cuts failed", args.cuts.len())))
}

fn verify(path: &Path, check: &mut Check) -> Result<Verified> {
    let cut = Cut::read(path)?; // its digest is checked here
    let difference = check(&cut)?;
    Ok(Verified { task: cut.card().task.clone(), probes: cut.probes().len(), difference })
}

fn line(path: &Path, dtype: Dtype, result: &Result<Verified>) -> String {
    let path = path.display();
    match result {
        Ok(v) => {
            let exact = v.difference == 0.0;
            let equal = if exact { "equal".into() } else { format!("within {:.0e}", v.difference) };
            let end = match dtype {
                Dtype::F32 => "base restored".into(),
                Dtype::Int8 => format!("at most {INT8_TOLERANCE} in int8"),
            };
            format!("ok      {path}: {}, {} probes {equal}, {end}", v.task, v.probes)
        }
        Err(error) => format!("FAILED  {path}: {}", one_line(path.to_string(), error)),
    }
}

fn as_json(path: &Path, dtype: Dtype, result: &Result<Verified>) -> Value {
    match result {
        Ok(v) => json!({
            "cut": path,
            "ok": true,
            "task": v.task,
            "probes": v.probes,
            "dtype": dtype.name(),
            "difference": v.difference,
        }),
        Err(error) => {
            let message = one_line(path.display().to_string(), error);
            json!({"cut": path, "ok": false, "error": message})
        }
    }
}

/// An error without the path that stands before it already.
fn one_line(path: String, error: &Error) -> String {
    let message = error.message();
    let message = message.strip_prefix(&format!("{path}: ")).unwrap_or(message);
    let hint = error.hint().map(|hint| format!("; {hint}")).unwrap_or_default();
    flags::in_message(&format!("{message}{hint}")).replace('\n', " ")
}
