//! One run of a study: an arm on a task with a seed.

use super::arms::{Borrowed, Trains};
use super::grid::{Grid, Run};
use super::summary::movement;
use crate::cut::{Cut, Edit, TensorEdit, Zeros};
use crate::kernels::random::{Purpose, bits, key};
use crate::kernels::select::first_by;
use crate::model::Base;
use crate::tune::{self, Event, Method, Outcome, Selection, Storage, TrainOptions};
use crate::{Error, ErrorKind, Result};
use std::collections::BTreeMap;
use std::path::Path;

/// Trains `run` on `base`, which is consumed. `needed` is the file of the cut that [`Grid::needs`]
/// names.
/// Returns the outcome and every option of the run.
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
) -> Result<(Outcome, TrainOptions)> {
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
    let options = grid.options(run, method, base.config().positions);
    let (train, metric) = (task.train.clone(), task.metric.as_ref());
    let mut outcome =
        tune::train(base, train, Some(&task.dev), metric, &options, storage, observe)?;
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
    Ok((outcome, options))
}

/// As many zeros in each matrix as `mask` has there.
fn zeros(base: &Base, mask: &Cut, from: Borrowed, seed: u64) -> Result<BTreeMap<String, Zeros>> {
    let layout = base.encoder.layout();
    let mut found = BTreeMap::new();
    for (name, edit) in mask.edits() {
        let tensor = edit.place(name, layout)?;
        let Edit::Zeros(zeros) = &edit.edit else { continue };
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
    let Method::Mask { sampling, init_scale, init_sparsity, target, .. } = Method::mask() else {
        return Err(Error::new(ErrorKind::Config, "Method::mask makes masks"));
    };
    let selection = Selection { layers: Some(order), only: None };
    Ok(Method::Mask { sampling, init_scale, init_sparsity, target, selection })
}
