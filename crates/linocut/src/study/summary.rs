//! What the runs of a study say together.

use super::arms::Arm;
use super::folder::Folder;
use super::record::Record;
use super::stats::{Paired, mean_and_deviation, paired};
use crate::Result;
use crate::closeness::{
    Magnitudes, Model, ModelReport, Named, Options, Overlap, OverlapByPlace, measure, overlap,
    overlap_by_place,
};
use crate::cut::Cut;
use crate::model::{Kind, family};
use crate::tune::metrics::spearman;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// Everything that is said of a study.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Summary {
    /// Each task, in the order given.
    pub tasks: Vec<TaskSummary>,
    /// The mean over the tasks, seed by seed; an arm counts the seeds that all tasks have.
    pub all: Vec<Row>,
    /// Every arm beside `full`, task by task: what another task may see.
    pub over_tasks: Vec<OverTasks>,
    /// Arm `mask` over `random-mask` on that mean, seed by seed.
    pub mask_over_random: Option<Paired>,
    /// On that mean, sampled masks.
    pub sampled: Option<Sampled>,
    /// Masks of arm `mask` compared two by two.
    pub overlaps: Vec<Pair>,
}

/// The arms on one task.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct TaskSummary {
    /// Its name.
    pub name: String,
    /// Name of its score.
    pub metric: String,
    /// The arms that have run, in the study's order.
    pub rows: Vec<Row>,
    /// Arm `mask` over `random-mask`, seed by seed.
    pub mask_over_random: Option<Paired>,
    /// Inference with arm `mask`'s masks drawn as in training.
    pub sampled: Option<Sampled>,
    /// Which layers and kinds matter, by three signals.
    pub critical: Critical,
    /// How far the first full fine-tune moved, as stored; none before there is one.
    pub closeness: Option<ModelReport>,
}

/// An arm's differences to `full` over the tasks that both have run on, each the mean over the seeds that both
/// have there.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct OverTasks {
    /// Its name.
    pub arm: String,
    /// Mean and interval; its pairs are tasks.
    pub to_full: Paired,
    /// Sample deviation of the differences; none below two tasks.
    pub deviation: Option<f64>,
    /// The task on which the arm loses most, and its difference there.
    pub worst: (String, f64),
}

/// Arm `mask` with every entry kept with its probability instead of by threshold.
#[derive(Debug, Clone, Copy, Serialize)]
#[non_exhaustive]
pub struct Sampled {
    /// Mean score of the drawn masks over seeds.
    pub mean: f64,
    /// The thresholded mask's score, which is the cut's, over it; seed by seed.
    pub thresholded_over: Paired,
}

/// One arm's runs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Row {
    /// Its name.
    pub arm: String,
    /// What it trains.
    pub about: String,
    /// Seeds that count.
    pub seeds: usize,
    /// Runs that diverged or could not start.
    pub failed: usize,
    /// Mean score; 0 to 1 for most metrics.
    pub mean: f64,
    /// Its sample deviation over seeds; none below two.
    pub deviation: Option<f64>,
    /// Differences to arm `full`, seed by seed; none without it.
    pub to_full: Option<Paired>,
    /// Mean bytes of a cut.
    pub bytes: f64,
    /// The same with every mask as a bitmap of one bit an entry; none without masks.
    pub bitmap_bytes: Option<f64>,
    /// Mean share of zeros in the masked matrices; none without masks.
    pub sparsity: Option<f64>,
    /// Trained numbers beside head and embeddings.
    pub trained: u64,
}

/// Which layers and kinds matter.
#[derive(Debug, Clone, Default, Serialize)]
#[non_exhaustive]
pub struct Critical {
    /// Each layer, in order.
    pub layers: Vec<Signals>,
    /// Each kind that the layers have.
    pub kinds: Vec<Signals>,
    /// Spearman's rank correlations over the layers: movement with alone, movement with left out,
    /// alone with left out.
    pub correlations: [Option<f64>; 3],
}

/// Three signals for one layer or kind; none where an arm that it needs has not run.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Signals {
    /// The layer's number or the kind's name.
    pub name: String,
    /// Angular distance from the base in the full fine-tunes, mean over seeds.
    pub movement: Option<f64>,
    /// Score of it trained alone over that of the head alone, mean over the seeds that both have.
    pub alone: Option<f64>,
    /// Score of all layers over that of all but this, likewise.
    pub left_out: Option<f64>,
}

/// The masks of two runs.
#[derive(Debug, Clone, Serialize)]
#[non_exhaustive]
pub struct Pair {
    /// Task and seed of one.
    pub first: (String, u64),
    /// Task and seed of the other.
    pub second: (String, u64),
    /// What they have in common.
    pub overlap: Overlap,
    /// The same by layer and by kind.
    pub places: OverlapByPlace,
}

/// Summarises the runs of `arms` in `folder`, whose base lies in `base` and has `layers` layers.
///
/// # Errors
/// A cut that cannot be read.
pub fn summarise(
    folder: &Folder,
    tasks: &[String],
    arms: &[Arm],
    base: &Path,
    layers: usize,
) -> Result<Summary> {
    let records = folder.records();
    let mut summaries = Vec::new();
    for name in tasks {
        let mut of: Vec<&Record> = records.iter().filter(|r| r.task == *name).collect();
        // Whichever ended first, when several run at a time.
        of.sort_by_key(|r| r.seed);
        let rows: Vec<Row> = arms.iter().filter_map(|arm| row(arm, &of)).collect();
        let metric = of.first().map_or(String::new(), |r| r.metric.clone());
        let mut reports = full(folder, &of, base)?;
        let critical = critical(&of, &reports, layers);
        summaries.push(TaskSummary {
            name: name.clone(),
            metric,
            rows,
            mask_over_random: over(&of, "mask", "random-mask"),
            sampled: sampled(&of),
            critical,
            closeness: if reports.is_empty() { None } else { Some(reports.swap_remove(0)) },
        });
    }
    let means = means(records, tasks, arms);
    let means: Vec<&Record> = means.iter().collect();
    Ok(Summary {
        over_tasks: arms.iter().filter_map(|arm| over_tasks(arm, &summaries)).collect(),
        tasks: summaries,
        all: arms.iter().filter_map(|arm| row(arm, &means)).collect(),
        mask_over_random: over(&means, "mask", "random-mask"),
        sampled: sampled(&means),
        overlaps: overlaps(folder, tasks, base)?,
    })
}

/// The mean over the tasks of every arm and seed that all tasks have, as runs of one task.
fn means(records: &[Record], tasks: &[String], arms: &[Arm]) -> Vec<Record> {
    let mut means = Vec::new();
    let scored = || records.iter().filter(|r| r.score.is_some());
    let runs: BTreeMap<_, &Record> = scored().map(|r| (r.key(), r)).collect();
    let seeds: BTreeSet<u64> = scored().map(|r| r.seed).collect();
    for arm in arms {
        for &seed in &seeds {
            let of = |task: &String| runs.get(&(&task[..], &arm.name[..], seed)).copied();
            let Some(runs) = tasks.iter().map(of).collect::<Option<Vec<&Record>>>() else {
                continue;
            };
            let Some(first) = runs.first() else { continue };
            let n = runs.len() as u64;
            let sum = |f: fn(&Record) -> u64| runs.iter().map(|r| f(r)).sum::<u64>();
            let mean = |f: fn(&Record) -> Option<f64>| {
                runs.iter().map(|r| f(r)).sum::<Option<f64>>().map(|sum| sum / n as f64)
            };
            means.push(Record {
                score: mean(|r| r.score),
                sampled: mean(|r| r.sampled),
                bytes: sum(|r| r.bytes) / n,
                head_bytes: sum(|r| r.head_bytes) / n,
                zeros: sum(|r| r.zeros) / n,
                masked: sum(|r| r.masked) / n,
                trained: sum(|r| r.trained) / n,
                ..(*first).clone()
            });
        }
    }
    means
}

/// None of `full` itself, and where the two have run on no task together.
fn over_tasks(arm: &Arm, tasks: &[TaskSummary]) -> Option<OverTasks> {
    let of = |task: &TaskSummary| {
        let row = task.rows.iter().find(|row| row.arm == arm.name && arm.name != "full")?;
        Some((task.name.clone(), row.to_full?.mean))
    };
    let differences: Vec<(String, f64)> = tasks.iter().filter_map(of).collect();
    let pairs: Vec<(f64, f64)> = differences.iter().map(|(_, d)| (*d, 0.0)).collect();
    let (_, deviation) = mean_and_deviation(&pairs.iter().map(|p| p.0).collect::<Vec<_>>())?;
    let worst = differences.into_iter().min_by(|a, b| a.1.total_cmp(&b.1))?;
    Some(OverTasks { arm: arm.name.clone(), to_full: paired(&pairs)?, deviation, worst })
}

/// Scores of `arm` by seed.
fn scores(records: &[&Record], arm: &str) -> BTreeMap<u64, f64> {
    let of = records.iter().filter(|r| r.arm == arm);
    of.filter_map(|r| Some((r.seed, r.score?))).collect()
}

/// Scores of `arm` minus those of `other`, seed by seed.
fn over(records: &[&Record], arm: &str, other: &str) -> Option<Paired> {
    let others = scores(records, other);
    let pair = |(seed, score)| Some((score, *others.get(&seed)?));
    paired(&scores(records, arm).into_iter().filter_map(pair).collect::<Vec<_>>())
}

fn sampled(records: &[&Record]) -> Option<Sampled> {
    let runs = records.iter().filter(|r| r.arm == "mask");
    let pairs: Vec<(f64, f64)> = runs.filter_map(|r| Some((r.score?, r.sampled?))).collect();
    let (mean, _) = mean_and_deviation(&pairs.iter().map(|pair| pair.1).collect::<Vec<_>>())?;
    Some(Sampled { mean, thresholded_over: paired(&pairs)? })
}

/// The runs of `arm` among `records`; none if no run of it has a score.
fn row(arm: &Arm, records: &[&Record]) -> Option<Row> {
    let runs: Vec<&Record> = records.iter().copied().filter(|r| r.arm == arm.name).collect();
    let values: Vec<f64> = scores(records, &arm.name).into_values().collect();
    let (mean, deviation) = mean_and_deviation(&values)?;
    let done: Vec<&&Record> = runs.iter().filter(|r| r.failed.is_none()).collect();
    let masked: u64 = done.iter().map(|r| r.masked).sum();
    let zeros: u64 = done.iter().map(|r| r.zeros).sum();
    let mean_bytes =
        |f: fn(&Record) -> f64| done.iter().map(|r| f(r)).sum::<f64>() / done.len().max(1) as f64;
    let bitmap = mean_bytes(|r| r.head_bytes as f64 + r.masked as f64 / 8.0);
    Some(Row {
        arm: arm.name.clone(),
        about: arm.about.clone(),
        seeds: values.len(),
        failed: runs.len() - done.len(),
        mean,
        deviation,
        to_full: over(records, &arm.name, "full"),
        bytes: mean_bytes(|r| r.bytes as f64),
        bitmap_bytes: (masked > 0).then_some(bitmap),
        sparsity: (masked > 0).then(|| zeros as f64 / masked as f64),
        trained: done.first().map_or(0, |r| r.trained),
    })
}

/// How far every full fine-tune of a task moved, by seed.
fn full(folder: &Folder, records: &[&Record], base: &Path) -> Result<Vec<ModelReport>> {
    let cuts = records.iter().filter(|r| r.arm == "full").filter_map(|r| folder.cut_of(r));
    cuts.map(|path| report(base, &path)).collect()
}

fn report(base: &Path, cut: &Path) -> Result<ModelReport> {
    let mut report = measure(base, &[Model::open(cut)?], &Options::default(), |_, _| {})?;
    Ok(report.models.remove(0))
}

/// Angular distance of every layer's tensors, in order; 0 where undefined.
fn by_layer(report: &ModelReport) -> Vec<f64> {
    let numbered = report.layers.iter().filter(|l| l.name.parse::<usize>().is_ok());
    numbered.map(|l| l.group.figures.angular.unwrap_or(0.0)).collect()
}

/// The same of the cut in a file, against the base in a folder.
pub(super) fn movement(base: &Path, cut: &Path) -> Result<Vec<f64>> {
    Ok(by_layer(&report(base, cut)?))
}

fn critical(records: &[&Record], reports: &[ModelReport], layers: usize) -> Critical {
    // Seed by seed: arms may have run with other seeds, whose scores differ by themselves.
    let minus = |a: &str, b: &str| over(records, a, b).map(|difference| difference.mean);
    let signals = |name: String, arms: &str, of: fn(&ModelReport) -> &[Named]| {
        let moved = |report| of(report).iter().find(|n| n.name == name)?.group.figures.angular;
        let moved: Vec<f64> = reports.iter().filter_map(moved).collect();
        let (alone, without) = match arms {
            "layer" => (format!("layer-{name}"), format!("without-layer-{name}")),
            _ => (format!("only-{name}"), format!("without-{name}")),
        };
        let movement = mean_and_deviation(&moved).map(|(mean, _)| mean);
        let alone = minus(&alone, "head");
        Signals { name, movement, alone, left_out: minus("layers", &without) }
    };
    let layers: Vec<Signals> =
        (0..layers).map(|layer| signals(layer.to_string(), "layer", |r| &r.layers)).collect();
    let nowhere = [Kind::Embeddings, Kind::Projection, Kind::QueryKeyValue, Kind::Pooler];
    let kinds = Kind::ALL.into_iter().filter(|kind| !nowhere.contains(kind));
    let kinds = kinds.map(|kind| signals(kind.name().into(), "kind", |r| &r.kinds));
    let correlation = |a: fn(&Signals) -> Option<f64>, b: fn(&Signals) -> Option<f64>| {
        let both = layers.iter().filter_map(|layer| Some((a(layer)?, b(layer)?)));
        let (a, b): (Vec<f64>, Vec<f64>) = both.unzip();
        // Ranks of two layers say nothing.
        if a.len() < 3 { None } else { spearman(&a, &b) }
    };
    let correlations = [
        correlation(|s| s.movement, |s| s.alone),
        correlation(|s| s.movement, |s| s.left_out),
        correlation(|s| s.alone, |s| s.left_out),
    ];
    Critical { kinds: kinds.collect(), layers, correlations }
}

/// Masks of a task that are compared with others; pairs grow with the square.
const MASKS_A_TASK: usize = 8;

/// The masks of arm `mask` two by two: of one task with different seeds, and of two tasks with
/// different seeds too, since equal seeds draw the same numbers; where two tasks have no others,
/// those with equal ones.
fn overlaps(folder: &Folder, tasks: &[String], base: &Path) -> Result<Vec<Pair>> {
    let mut masks = Vec::new();
    for task in tasks {
        let of = folder.records().iter().filter(|r| r.task == *task && r.arm == "mask");
        let mut of: Vec<_> = of.collect();
        of.sort_by_key(|r| r.seed);
        let cuts = of.into_iter().filter_map(|record| Some((record, folder.cut_of(record)?)));
        for (record, cut) in cuts.take(MASKS_A_TASK) {
            masks.push(((record.task.clone(), record.seed), Cut::read(cut)?));
        }
    }
    if masks.len() < 2 {
        return Ok(Vec::new());
    }
    let files = family::open(base)?;
    for (_, cut) in &mut masks {
        *cut = cut.with_positions(&files)?;
    }
    let magnitudes = Magnitudes::of_masks(base, masks.iter().map(|(_, cut)| cut))?;
    let mut pairs = Vec::new();
    for (i, (first, a)) in masks.iter().enumerate() {
        for (second, b) in &masks[i + 1..] {
            let others = |task: &str, seed| masks.iter().any(|((t, s), _)| t == task && *s != seed);
            let only_equal = || !(others(&first.0, second.1) || others(&second.0, first.1));
            if first.1 != second.1 || only_equal() {
                pairs.push(Pair {
                    first: first.clone(),
                    second: second.clone(),
                    overlap: overlap(a, b, &magnitudes),
                    places: overlap_by_place(a, b, &magnitudes),
                });
            }
        }
    }
    Ok(pairs)
}
