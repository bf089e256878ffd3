//! The pass over all entries of a base and any number of tuned models.

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;

use rayon::prelude::*;

use super::baseline;
use super::magnitudes::Magnitudes;
use super::overlap::overlap;
use super::pairing::{display_names, list, pair};
use super::report::{Measured, MeasuredModel, PairReport, Report};
use super::source::{Content, Model, Scratch, Stored, Tuned};
use crate::checkpoint::{StoredTensor, StoredTensors, read_model_config};
use crate::cut::Cut;
use crate::kernels::difference::{self, Differences, Entries, Pair, differences};
use crate::model::family;
use crate::{Error, ErrorKind, Result};

/// Entries that one task compares: two such blocks of f32 lie in a core's own cache.
const CHUNK: usize = 1 << 16;
/// Tasks whose sums are kept side by side, before they are added up in order.
const BATCH: usize = 1 << 10;
/// What BERT draws its weights with where a config does not say.
const INITIALIZER_RANGE: f64 = 0.02;

/// How to measure.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// An entry counts as changed if it differs by more; 0 or more.
    pub tolerance: f64,
    /// Standard deviation of the random baseline; by default the base config's
    /// `initializer_range`, else 0.02.
    pub initializer_range: Option<f64>,
    /// Draw the baseline with this seed instead of computing its expectation.
    pub sample_baseline: Option<u64>,
    /// Leave out entries that are NaN or infinite instead of failing.
    pub allow_nan: bool,
}

/// Measures how far each of `tuned` lies from the base at `path`, a model folder or a safetensors
/// file. `progress` is told (entries done, entries in all).
///
/// Sums are added in a fixed order: the same figures at any number of threads.
///
/// # Errors
/// A base that cannot be read; a tuned model of another architecture, or a cut of another base;
/// NaN or infinite entries unless allowed; an option out of range.
pub fn measure(
    path: &Path,
    tuned: &[Model],
    options: &Options,
    progress: impl Fn(u64, u64),
) -> Result<Report> {
    let sigma = initializer_range(path, options)?;
    let base_files = StoredTensors::open(path)?;
    let base = Base::new(path, &base_files)?;
    let widened = tuned.iter().map(|model| model.on_whole_base(path));
    let widened: Vec<Option<Model>> = widened.collect::<Result<_>>()?;
    let tuned = tuned.iter().zip(&widened);
    let tuned: Vec<&Model> =
        tuned.map(|(model, widened)| widened.as_ref().unwrap_or(model)).collect();
    let paired = tuned.iter().map(|model| Paired::new(&base, model));
    let models: Vec<Paired<'_>> = paired.collect::<Result<_>>()?;

    let sums = scan(&base, &models, sigma, options, progress)?;
    let files = tuned.iter().filter_map(|model| match &model.content {
        Content::Checkpoint(files) => Some(files),
        Content::Cut(_) => None,
    });
    files.chain([&base_files]).try_for_each(StoredTensors::check_unchanged)?;
    if !options.allow_nan {
        check_finite(path, &tuned, &base.names, &sums.models)?;
    }
    let measured =
        models.into_iter().zip(sums.models).zip(&tuned).map(|((paired, sums), model)| {
            let mut not_weights = base.not_weights.clone();
            not_weights.extend(paired.not_weights);
            not_weights.sort();
            not_weights.dedup();
            MeasuredModel { model, sums, only_in_tuned: paired.only_in_tuned, not_weights }
        });
    let shapes = base.tensors.iter().map(|t| t.shape.clone()).collect();
    let measured = Measured {
        names: base.names,
        shapes,
        sigma,
        sampled: options.sample_baseline.map(|_| sums.baseline),
        models: measured.collect(),
    };
    let mut report = measured.report(path, options);
    let mut cuts: Vec<Option<Cut>> = vec![None; tuned.len()];
    let mut magnitudes = Magnitudes::default();
    if tuned.iter().filter_map(|model| model.cut()).count() > 1 {
        let base = family::open(path)?;
        let spelled_out =
            |model: &&Model| model.cut().map(|cut| cut.with_positions(&base)).transpose();
        cuts = tuned.iter().map(spelled_out).collect::<Result<_>>()?;
        magnitudes = Magnitudes::of_masks(path, cuts.iter().flatten())?;
    }
    for (k, (i, j)) in pairs(tuned.len()).enumerate() {
        let cuts = cuts[i].as_ref().zip(cuts[j].as_ref());
        let mask = cuts.map(|(a, b)| overlap(a, b, &magnitudes));
        report.pairs.push(PairReport::of(i, j, &sums.pairs[k], mask));
    }
    Ok(report)
}

fn initializer_range(path: &Path, options: &Options) -> Result<f64> {
    let positive = |x: f64| x.is_finite() && x > 0.0;
    if !(options.tolerance.is_finite() && options.tolerance >= 0.0) {
        let message = format!("the tolerance is {}, expected 0 or more", options.tolerance);
        return Err(Error::new(ErrorKind::Config, message));
    }
    if let Some(range) = options.initializer_range {
        let message = format!("the initializer range is {range}, expected more than 0");
        return if positive(range) {
            Ok(range)
        } else {
            Err(Error::new(ErrorKind::Config, message))
        };
    }
    let config = read_model_config(path)?;
    let found = config.as_ref().and_then(|c| c.get("initializer_range")).filter(|v| !v.is_null());
    match found {
        None => Ok(INITIALIZER_RANGE),
        Some(value) => value.as_f64().filter(|&x| positive(x)).ok_or_else(|| {
            let file = path.join("config.json");
            Error::new(
                ErrorKind::Base,
                format!(
                    "{}: initializer_range is {value}, expected a number above 0",
                    file.display()
                ),
            )
        }),
    }
}

/// The base's weights.
struct Base<'a> {
    path: &'a Path,
    tensors: Vec<&'a StoredTensor>,
    stored: Vec<Stored<'a>>,
    names: Vec<String>,
    not_weights: Vec<String>,
}

impl<'a> Base<'a> {
    fn new(path: &'a Path, files: &'a StoredTensors) -> Result<Self> {
        let (tensors, stored, not_weights) = weights(path, files)?;
        if tensors.is_empty() {
            let message = format!("{} holds no weights", path.display());
            return Err(Error::new(ErrorKind::Base, message));
        }
        let names = display_names(&tensors);
        Ok(Self { path, tensors, stored, names, not_weights })
    }
}

type Weights<'a> = (Vec<&'a StoredTensor>, Vec<Stored<'a>>, Vec<String>);

/// The tensors that are weights, where their entries are, and the names of the others.
fn weights<'a>(path: &Path, files: &'a StoredTensors) -> Result<Weights<'a>> {
    let (mut tensors, mut found, mut others) = (Vec::new(), Vec::new(), Vec::new());
    for tensor in files.tensors() {
        match Stored::of(path, files, tensor)? {
            Some(stored) => {
                tensors.push(tensor);
                found.push(stored);
            }
            None => others.push(tensor.name.clone()),
        }
    }
    Ok((tensors, found, others))
}

/// A tuned model's tensors, in the order of the base's.
struct Paired<'a> {
    tensors: Vec<Option<Tuned<'a>>>,
    only_in_tuned: Vec<String>,
    not_weights: Vec<String>,
}

impl<'a> Paired<'a> {
    fn new(base: &Base<'_>, model: &'a Model) -> Result<Self> {
        let files = match &model.content {
            Content::Checkpoint(files) => files,
            Content::Cut(cut) => {
                for (name, edit) in cut.edits() {
                    let found = base.names.iter().position(|n| n == name);
                    if found.is_none_or(|i| base.tensors[i].shape != edit.shape) {
                        let message = format!(
                            "{} edits {name} of shape {:?}, which the base does not have",
                            model.path.display(),
                            edit.shape
                        );
                        return Err(Error::new(ErrorKind::Cut, message));
                    }
                }
                let tensors = base.names.iter().zip(&base.stored);
                let tensors = tensors
                    .map(|(name, stored)| Tuned::of_edit(cut.edits().get(name), *stored).map(Some))
                    .collect::<Result<_>>()?;
                return Ok(Self { tensors, only_in_tuned: vec![], not_weights: vec![] });
            }
        };
        let (tensors, stored, not_weights) = weights(&model.path, files)?;
        let pairs = pair((base.path, &base.tensors, &base.names), (&model.path, &tensors))?;
        let unused = (0..tensors.len()).filter(|&j| !pairs.contains(&Some(j)));
        let only_in_tuned = unused.map(|j| tensors[j].name.clone()).collect();
        let tensors = pairs.iter().map(|j| j.map(|j| Tuned::Stored(stored[j]))).collect();
        Ok(Self { tensors, only_in_tuned, not_weights })
    }
}

/// Every pair (i, j) with i < j < n.
fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

/// What the pass found.
struct Sums {
    /// By model and tensor; none where the model lacks the tensor.
    models: Vec<Vec<Option<Differences>>>,
    /// By pair of models, over the tensors that both have.
    pairs: Vec<Pair>,
    /// By tensor, if drawn.
    baseline: Vec<Differences>,
}

/// What one task found in one chunk.
struct Part {
    tensor: usize,
    models: Vec<Option<Differences>>,
    pairs: Vec<Pair>,
    baseline: Option<Differences>,
}

fn scan(
    base: &Base<'_>,
    models: &[Paired<'_>],
    sigma: f64,
    options: &Options,
    progress: impl Fn(u64, u64),
) -> Result<Sums> {
    let tensors = base.tensors.len();
    let mut sums = Sums {
        models: vec![vec![None; tensors]; models.len()],
        pairs: vec![Pair::default(); pairs(models.len()).count()],
        baseline: vec![Differences::default(); tensors],
    };
    // Tensors without entries have one empty chunk, so that they are reported too.
    let chunks = |tensor: usize| {
        let len = base.stored[tensor].len();
        (0..len.max(1)).step_by(CHUNK).map(move |start| (tensor, start..len.min(start + CHUNK)))
    };
    let jobs: Vec<(usize, Range<usize>)> = (0..tensors).flat_map(chunks).collect();
    let all: u64 = base.stored.iter().map(|e| e.len() as u64).sum();
    let mut done = 0;
    for batch in jobs.chunks(BATCH) {
        progress(done, all);
        let found: Vec<Part> = batch
            .par_iter()
            .map_init(
                || (Vec::new(), models.iter().map(|_| Scratch::default()).collect::<Vec<_>>()),
                |scratch, (tensor, range)| {
                    let mut part = compare(base, models, options, scratch, *tensor, range.clone())?;
                    let seed = options
                        .sample_baseline
                        .filter(|_| baseline::is_drawn(&base.tensors[*tensor].shape));
                    part.baseline = seed.map(|seed| {
                        let key = (seed, *tensor as u64, (range.start / CHUNK) as u64);
                        baseline::sampled(range.len(), sigma, key, options.tolerance)
                    });
                    Ok(part)
                },
            )
            .collect::<Result<_>>()?;
        for part in &found {
            for (model, found) in sums.models.iter_mut().zip(&part.models) {
                if let Some(found) = found {
                    model[part.tensor].get_or_insert_default().add(found);
                }
            }
            sums.pairs.iter_mut().zip(&part.pairs).for_each(|(sum, found)| sum.add(found));
            if let Some(found) = &part.baseline {
                sums.baseline[part.tensor].add(found);
            }
        }
        done += batch.iter().map(|(_, range)| range.len() as u64).sum::<u64>();
    }
    progress(done, all);
    Ok(sums)
}

fn compare(
    base: &Base<'_>,
    models: &[Paired<'_>],
    options: &Options,
    (buffer, scratch): &mut (Vec<u8>, Vec<Scratch>),
    tensor: usize,
    range: Range<usize>,
) -> Result<Part> {
    let before = base.stored[tensor].read(range.clone(), buffer)?;
    let after: Vec<Option<Entries<'_>>> = models
        .iter()
        .zip(scratch)
        .map(|(model, scratch)| {
            let tuned = model.tensors[tensor].as_ref();
            tuned.map(|tuned| tuned.entries(range.clone(), before, scratch)).transpose()
        })
        .collect::<Result<_>>()?;
    let compared = after.iter().map(|v| v.map(|v| differences(before, v, options.tolerance)));
    let models = compared.collect();
    let mut between = Vec::new();
    if after.len() > 1 {
        let u = wide(before);
        let wide: Vec<_> = after.iter().map(|v| v.map(wide)).collect();
        between.extend(pairs(after.len()).map(|(i, j)| match (&wide[i], &wide[j]) {
            (Some(v1), Some(v2)) => difference::pair(&u, v1, v2),
            _ => Pair::default(),
        }));
    }
    Ok(Part { tensor, models, pairs: between, baseline: None })
}

fn wide(entries: Entries<'_>) -> Cow<'_, [[u8; 4]]> {
    match entries {
        Entries::F32(x) => Cow::Borrowed(x),
        other => {
            let mut out = Vec::with_capacity(other.len());
            other.widen(&mut out);
            Cow::Owned(out)
        }
    }
}

/// Names the tensors of the first model that has entries to leave out.
fn check_finite(
    base: &Path,
    tuned: &[&Model],
    names: &[String],
    sums: &[Vec<Option<Differences>>],
) -> Result<()> {
    for (model, sums) in tuned.iter().zip(sums) {
        let bad: Vec<(usize, &Differences)> = sums
            .iter()
            .enumerate()
            .filter_map(|(i, sums)| Some((i, sums.as_ref().filter(|s| s.non_finite > 0)?)))
            .collect();
        if bad.is_empty() {
            continue;
        }
        let count: u64 = bad.iter().map(|(_, s)| s.non_finite).sum();
        let before: u64 = bad.iter().map(|(_, s)| s.non_finite_before).sum();
        let named: Vec<String> =
            bad.iter().map(|(i, s)| format!("{} ({})", names[*i], s.non_finite)).collect();
        let values = if count == 1 { "value is" } else { "values are" };
        let message = format!(
            "{}: {count} {values} not finite (NaN or infinite), {before} of them in the base {}: {}",
            model.path.display(),
            base.display(),
            list(named.iter().map(String::as_str)),
        );
        return Err(Error::new(ErrorKind::Base, message).with_hint(
            "the file is damaged or training diverged; `allow_nan` leaves such entries out",
        ));
    }
    Ok(())
}
