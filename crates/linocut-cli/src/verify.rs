//! `linocut verify`

use crate::args::BaseArgs;
use crate::model::{check, encoder, head};
use crate::output::print;
use clap::Args;
use linocut::cut::{Cut, Probe};
use linocut::data::Encoding;
use linocut::model::{self, Base, Pooling};
use linocut::{Error, ErrorKind, Result};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Logits of a probe may differ by this, relative to the largest of them or 1, whichever is more.
///
/// On the machine that trained the cut they agree to the bit. Another CPU sums products in another
/// order and width: a few float32 roundings (6e-8 each) a layer. PyTorch, which shares no code with
/// this engine, comes within 1.2e-6 on MiniLM (reference/results/export.md); this allows for deeper
/// bases too, and a wrong tensor, pooling or activation still moves logits by far more.
const TOLERANCE: f32 = 1e-5;

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

    /// Print one JSON object a cut
    #[arg(long)]
    pub json: bool,
}

/// What was found in a good cut.
struct Verified {
    task: String,
    probes: usize,
    /// Largest difference of a logit, as [`TOLERANCE`] counts it.
    difference: f32,
}

pub(crate) fn run(args: VerifyArgs) -> Result<()> {
    let mut base = args.base.open(Some(Pooling::First))?;
    let before = digest(base.weights.data());
    let mut failed = 0;
    for path in &args.cuts {
        let result = verify(path, &mut base, before);
        failed += usize::from(result.is_err());
        print(&if args.json { json_line(path, &result) } else { line(path, &result) })?;
    }
    if failed == 0 {
        return Ok(());
    }
    Err(Error::new(ErrorKind::Cut, format!("{failed} of {} cuts failed", args.cuts.len())))
}

fn verify(path: &Path, base: &mut Base, before: blake3::Hash) -> Result<Verified> {
    let cut = Cut::read(path)?; // its digest is checked here
    check(&cut, base)?;
    let card = cut.card();
    let encoder = encoder(base, card.pooling)?;
    let inputs = cut.probes().iter().map(|probe| input(probe, base)).collect::<Result<Vec<_>>>()?;
    let applied = cut.apply(&mut base.weights)?;
    let logits = model::logits(&encoder, &base.weights, &head(&cut), &inputs, |_| {});
    applied.undo(&mut base.weights);
    if digest(base.weights.data()) != before {
        return Err(Error::new(
            ErrorKind::Cut,
            "taking the cut off did not restore the base to the bit",
        ));
    }
    let mut difference = 0.0f32;
    for (i, (probe, found)) in cut.probes().iter().zip(logits.chunks(card.outputs)).enumerate() {
        let largest = probe.logits.iter().fold(1.0f32, |m, z| m.max(z.abs()));
        let pairs = probe.logits.iter().zip(found);
        let off = pairs.fold(0.0f32, |m, (a, b)| m.max((a - b).abs() / largest));
        if off.is_nan() || off > TOLERANCE {
            return Err(Error::new(
                ErrorKind::Cut,
                format!("probe {i}: logits {found:?}, expected {:?}", probe.logits),
            )
            .with_hint(
                "the cut was made by another engine, or this one computes differently here",
            ));
        }
        difference = difference.max(off);
    }
    Ok(Verified { task: card.task.clone(), probes: inputs.len(), difference })
}

/// A probe's tokens, if the base has rows for them.
fn input(probe: &Probe, base: &Base) -> Result<Encoding> {
    let config = base.config();
    let beyond = |ids: &[u32], rows: usize| ids.iter().any(|&id| id as usize >= rows);
    if beyond(&probe.input_ids, config.vocab) || beyond(&probe.token_type_ids, config.token_types) {
        return Err(Error::new(
            ErrorKind::Cut,
            "a probe has tokens that the base's embeddings do not know",
        ));
    }
    let (ids, type_ids) = (probe.input_ids.clone(), probe.token_type_ids.clone());
    Ok(Encoding { ids, type_ids, cut: false })
}

/// Equal only for weights equal to the bit, −0.0 and +0.0 being different.
fn digest(weights: &[f32]) -> blake3::Hash {
    let mut hasher = blake3::Hasher::new();
    let mut bytes = Vec::new();
    for chunk in weights.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(chunk.iter().flat_map(|w| w.to_bits().to_le_bytes()));
        hasher.update(&bytes);
    }
    hasher.finalize()
}

fn line(path: &Path, result: &Result<Verified>) -> String {
    let path = path.display();
    match result {
        Ok(v) => {
            let exact = v.difference == 0.0;
            let equal = if exact { "equal".into() } else { format!("within {:.0e}", v.difference) };
            format!("ok      {path}: {}, {} probes {equal}, base restored\n", v.task, v.probes)
        }
        Err(error) => format!("FAILED  {path}: {}\n", one_line(path.to_string(), error)),
    }
}

fn json_line(path: &Path, result: &Result<Verified>) -> String {
    let object = match result {
        Ok(v) => json!({
            "cut": path,
            "ok": true,
            "task": v.task,
            "probes": v.probes,
            "difference": v.difference,
        }),
        Err(error) => {
            let message = one_line(path.display().to_string(), error);
            json!({"cut": path, "ok": false, "error": message})
        }
    };
    format!("{object}\n")
}

/// An error without the path that stands before it already.
fn one_line(path: String, error: &Error) -> String {
    let message = error.to_string();
    let message = message.strip_prefix(&format!("{path}: ")).unwrap_or(&message);
    message.replace("\nhint: ", "; ").replace('\n', " ")
}
