//! `linocut measure`

pub(crate) mod axis;
pub(crate) mod charts;
mod csv;
pub(crate) mod page;
mod table;

pub(crate) use table::number;

use crate::args::BaseArgs;
use crate::output::{print, print_data, print_json, say};
use crate::{base, place, progress};
use clap::Args;
use linocut::checkpoint::write_file;
use linocut::closeness::{Distance, Model, Options, Report, measure};
use linocut::{Error, ErrorKind, Result};
use std::path::{Path, PathBuf};

/// Measure how far fine-tuned models lie from their base, layer by layer.
///
/// Takes model folders (safetensors, of any architecture), single safetensors files and cuts.
/// Beside each figure stands that of two random initialisations: how far is far.
#[derive(Args)]
#[command(after_help = "\
Examples:
  linocut measure models/all-minilm-l6-v2 sst2-hf --report sst2.html
  linocut measure bert-base-uncased/ tuned-a/ tuned-b/ cuts/*.cut
  linocut measure base/ tuned/ --fail-above angular=0.05 --quiet")]
pub(crate) struct MeasureArgs {
    /// Model folder, safetensors file or hub name
    #[arg(required_unless_present = "explain")]
    pub base: Option<String>,

    /// Models tuned from it: folders, safetensors files, cuts
    #[arg(required_unless_present = "explain")]
    pub tuned: Vec<PathBuf>,

    /// Distance that tables and bars go by
    #[arg(long, value_name = "DISTANCE", default_value = "angular", value_parser = distance)]
    pub by: Distance,

    /// Tensors listed, the most moved first
    #[arg(long, value_name = "N", default_value_t = 15)]
    pub tensors: usize,

    /// Print everything as JSON
    #[arg(long, conflicts_with = "csv")]
    pub json: bool,

    /// Print one line a tensor, layer, kind and model as CSV
    #[arg(long)]
    pub csv: bool,

    /// Write a page with heat maps, distributions and rankings
    #[arg(long, value_name = "HTML")]
    pub report: Option<PathBuf>,

    /// Replace an existing report
    #[arg(long)]
    pub force: bool,

    /// Exit with 1 if a tensor's distance is above this, e.g. angular=0.05; may be repeated
    #[arg(long, value_name = "DISTANCE=X", value_parser = limit)]
    pub fail_above: Vec<Limit>,

    /// Count an entry as changed if it differs by more
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    pub tolerance: f64,

    /// Standard deviation of the random baseline [default: the base's initializer_range, or 0.02]
    #[arg(long, value_name = "X")]
    pub initializer_range: Option<f64>,

    /// Draw the random baseline with this seed instead of computing its expectation
    #[arg(long, value_name = "SEED")]
    pub sample_baseline: Option<u64>,

    /// Leave out entries that are NaN or infinite instead of failing
    #[arg(long)]
    pub allow_nan: bool,

    /// Say what each figure means
    #[arg(long)]
    pub explain: bool,

    /// Threads to compute with [default: all cores]
    #[arg(long, value_name = "N")]
    pub threads: Option<usize>,

    /// No progress on standard error
    #[arg(long, short)]
    pub quiet: bool,
}

/// A distance and the most that it may be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limit {
    distance: Distance,
    most: f64,
}

fn distance(name: &str) -> std::result::Result<Distance, String> {
    Distance::ALL.into_iter().find(|d| d.name() == name).ok_or_else(|| {
        let names: Vec<&str> = Distance::ALL.into_iter().map(Distance::name).collect();
        format!("expected one of {}", names.join(", "))
    })
}

fn limit(text: &str) -> std::result::Result<Limit, String> {
    let (name, most) = text.split_once('=').ok_or("expected DISTANCE=X, such as angular=0.05")?;
    let number = most.parse().ok().filter(|x: &f64| x.is_finite() && *x >= 0.0);
    let most = number.ok_or_else(|| format!("{most:?} is no number of 0 or more"))?;
    Ok(Limit { distance: distance(name)?, most })
}

pub(crate) fn run(args: MeasureArgs) -> Result<()> {
    let (Some(base), false) = (&args.base, args.explain) else {
        return print(include_str!("explain.txt"));
    };
    let report = args.report.as_ref();
    let _held = report.map(|path| place::claim(path, "report", args.force)).transpose()?;
    base::start_threads(args.threads)?;
    let base = folder(base, &args)?;
    let tuned = args.tuned.iter().map(|path| open(path)).collect::<Result<Vec<_>>>()?;
    let options = Options {
        tolerance: args.tolerance,
        initializer_range: args.initializer_range,
        sample_baseline: args.sample_baseline,
        allow_nan: args.allow_nan,
    };
    let bar = progress::plain(args.quiet, "comparing {wide_bar} {percent}%, {eta} left");
    let report = measure(&base, &tuned, &options, |done, all| {
        bar.set_length(all);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let report = report?;

    if let Some(path) = &args.report {
        let page = page::page(&report, args.by);
        write_file(path, args.force, |out| out.write_all(page.as_bytes()))?;
    }
    match (args.json, args.csv) {
        (true, _) => print_json(&serde_json::json!(report))?,
        (_, true) => print_data(&csv::lines(&report)?)?,
        _ => print(&table::text(&report, args.by, args.tensors))?,
    }
    warn(&report);
    check_limits(&report, &args.fail_above)
}

fn open(path: &Path) -> Result<Model> {
    if !path.exists() {
        let message = format!("{}: no such file or folder", path.display());
        return Err(Error::new(ErrorKind::Io, message)
            .with_hint("give a model folder, a safetensors file or a cut"));
    }
    Model::open(path)
}

/// The base's folder or file; a hub name's copy in the cache.
fn folder(name: &str, args: &MeasureArgs) -> Result<PathBuf> {
    let path = PathBuf::from(name);
    if path.exists() {
        return Ok(path);
    }
    let base = BaseArgs { base: name.into(), threads: None, quiet: args.quiet };
    base.folder(false)
}

/// What the figures alone do not say, on standard error.
fn warn(report: &Report) {
    for model in &report.models {
        let figures = &model.all.figures;
        if figures.non_finite > 0 {
            let count = figures.non_finite;
            let tensors = model.tensors.iter().filter(|t| t.group.figures.non_finite > 0);
            let names: Vec<String> =
                tensors.map(|t| format!("{} ({})", t.name, t.group.figures.non_finite)).collect();
            say(&format!(
                "warning: {}: {count} entries are NaN or infinite and left out: {}",
                model.path,
                names.join(", ")
            ));
        }
        if model.unrelated {
            say(&format!(
                "warning: {} is as far from {} as a random initialisation (angular distance {}; \
                 two random ones: 0.5): probably not the base it was tuned from",
                model.path,
                report.base,
                table::number(figures.angular)
            ));
        } else if !model.far.is_empty() {
            say(&format!(
                "warning: {}: as far from the base as random, so probably initialised anew: {}",
                model.path,
                model.far.join(", ")
            ));
        }
    }
}

/// Fails naming every tensor above a limit. A tensor that moved to or from zero has no angle and
/// no ratio: it is above any limit of these.
fn check_limits(report: &Report, limits: &[Limit]) -> Result<()> {
    let mut broken = Vec::new();
    for Limit { distance, most } in limits {
        for model in &report.models {
            for tensor in &model.tensors {
                let figures = &tensor.group.figures;
                let found = distance.of(figures);
                if found.map_or(figures.l1 > 0.0, |found| found > *most) {
                    let found = found.map_or("undefined".into(), |x| table::number(Some(x)));
                    let distance = distance.name();
                    let (path, name) = (&model.path, &tensor.name);
                    broken.push(format!("{path}: {name}: {distance} {found}, allowed {most}"));
                }
            }
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    let message = format!("{} above --fail-above:\n{}", broken.len(), broken.join("\n"));
    Err(Error::new(ErrorKind::Data, message))
}
