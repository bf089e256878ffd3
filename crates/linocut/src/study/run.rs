//! One run of a study: an arm on a task with a seed.

use super::arms::{Borrowed, Trains};
use super::grid::{Grid, Run, StudyTask};
use super::summary::movement;
use crate::Result;
use crate::cut::{Cut, Edit, TensorEdit, Zeros};
use crate::kernels::random::{Purpose, bits, key};
use crate::kernels::select::first_by;
use crate::model::{self, Base, Head};
use crate::tune::{
    self, Event, Masks, Method, Outcome, Sampling, Selection, Shared, Storage, TrainOptions,
    evaluate,
};
use std::collections::BTreeMap;
use std::path::Path;

/// What a run of an arm leaves.
#[non_exhaustive]
pub struct ArmOutcome {
    /// The cut with its scores.
    pub outcome: Outcome,
    /// Every option of the run.
    pub options: TrainOptions,
    /// Primary score with masks drawn entry by entry, as in training, instead of thresholded: the
    /// mean of [`DRAWS`] draws. None where nothing was drawn in training or the score is undefined.
    pub sampled: Option<f64>,
}

/// Draws of masks that the score of sampled inference is the mean of.
pub const DRAWS: u64 = 3;

/// Trains `run` on `base`, which is consumed. `needed` is the file of the cut that [`Grid::needs`]
/// names.
///
/// # Errors
/// As [`tune::train`], and a `needed` cut that cannot be read or does not fit the base.
///
/// # Panics
/// If `needed` is not given where it is needed.
pub fn train_arm(
    grid: &Grid<'_>,
    run: Run,
    mut base: Base,
    needed: Option<&Path>,
    storage: &Storage,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<ArmOutcome> {
    let task = &grid.tasks[run.task];
    let needed = || needed.expect("the cut that the arm starts from");
    let (method, zeros) = match &grid.arms[run.arm].trains {
        Trains::Method(method) => (method.clone(), None),
        Trains::Head(from) => {
            (Method::Head, Some(zeros(&base, &Cut::read(needed())?, *from, run.seed)?))
        }
        Trains::Critical => (critical(&base, needed())?, None),
    };
    for (name, zeros) in zeros.iter().flatten() {
        if let Some(values) = base.weights.tensor_mut(name) {
            zeros.positions().iter().for_each(|&p| values[p as usize] = 0.0);
        }
    }
    let layout = base.encoder.layout().clone();
    let (place, pooling) = (base.folder.clone(), base.encoder.pooling());
    let options = grid.options(run, method, base.config());
    let (train, metric) = (task.train.clone(), task.metric.as_ref());
    let mut outcome =
        tune::train(&base, train, Some(&task.dev), metric, &options, storage, observe)?;
    if let Some(zeros) = zeros {
        // What the head was trained over belongs to the cut.
        let edits = zeros.into_iter().filter_map(|(name, zeros)| {
            let shape = layout.tensors()[layout.index(&name)?].shape.clone();
            Some((name, TensorEdit { shape, edit: Edit::Zeros(zeros) }))
        });
        let (head, probes) = (outcome.cut.head().clone(), outcome.cut.probes().to_vec());
        let mut card = outcome.cut.card().clone();
        card.method = serde_json::json!({ "name": grid.arms[run.arm].name });
        outcome.cut = Cut::new(card, head, edits.collect(), probes)?;
    }
    let sampled = match (&outcome.masks, &options.method) {
        (Some(masks), Method::Mask { sampling: Sampling::Stochastic, target: None, .. }) => {
            let base = Base::open(&place, Some(pooling))?;
            let base = match &outcome.cut.card().slim {
                Some(slim) => base.slim(slim)?,
                None => base,
            };
            sampled(base, masks, &outcome.cut, task, &options, &storage.shared)?
        }
        _ => None,
    };
    Ok(ArmOutcome { outcome, options, sampled })
}

/// Mean score on the task's dev rows where each draw keeps an entry with its probability.
fn sampled(
    base: Base,
    masks: &Masks,
    cut: &Cut,
    task: &StudyTask,
    options: &TrainOptions,
    shared: &Shared,
) -> Result<Option<f64>> {
    let Base { encoder, mut weights, tokenizer, .. } = base;
    let dev = &task.dev;
    let tokens = shared.encode(&tokenizer, dev, options.extent())?;
    let head = Head::from(cut);
    // Steps that training did not reach have draws of their own.
    let steps = (options.epochs * task.train.rows().div_ceil(options.batch)) as u64;
    let mut sum = 0.0;
    for draw in 0..DRAWS {
        masks.write_sample(&mut weights, steps + draw, 1.0);
        let logits = model::logits(&encoder, &weights, &head, &tokens.sequences, |_| {});
        let logits = tokens.means(logits, head.outputs());
        let Some(score) = evaluate(dev, &logits, None, task.metric.as_ref())?.metrics.primary.value
        else {
            return Ok(None);
        };
        sum += score;
    }
    Ok(Some(sum / DRAWS as f64))
}

/// As many zeros in each matrix as `mask` has there.
fn zeros(base: &Base, mask: &Cut, from: Borrowed, seed: u64) -> Result<BTreeMap<String, Zeros>> {
    let layout = base.encoder.layout();
    let mut found = BTreeMap::new();
    for (name, edit) in mask.edits() {
        let tensor = edit.place(name, layout)?;
        let Some(zeros) = edit.zeros(base.weights.at(tensor))? else { continue };
        let (len, count) = (zeros.len(), zeros.positions().len());
        let positions = match from {
            Borrowed::Task => zeros.positions().to_vec(),
            Borrowed::Random => {
                let stream = key(seed, Purpose::RandomMask, 0, tensor as u64);
                first_by(len, count, |i| bits(stream, i))
            }
            Borrowed::Magnitude => {
                let weight = base.weights.at(tensor);
                // The bits of numbers without sign are in the numbers' order.
                first_by(len, count, |i| weight[i as usize].abs().to_bits())
            }
        };
        found.insert(name.clone(), Zeros::new(len, positions)?);
    }
    Ok(found)
}

/// Masks of the half of the layers that moved most in the full fine-tune `full`.
fn critical(base: &Base, full: &Path) -> Result<Method> {
    let moved = movement(&base.folder, full)?;
    let mut order: Vec<usize> = (0..moved.len()).collect();
    order.sort_by(|&a, &b| moved[b].total_cmp(&moved[a]));
    order.truncate(moved.len().div_ceil(2));
    order.sort_unstable();
    Ok(Method::mask_of(Selection { layers: Some(order), only: None }))
}
