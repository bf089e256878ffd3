//! Which heads and neurons a task can do without.

use super::batches::{Batches, Rows, Step};
use super::options::{Objective, TrainOptions};
use super::run::Event;
use super::scale::Scale;
use super::shared::Tokens;
use super::{Method, Rates, Selection, Trainer};
use crate::data::Dataset;
use crate::model::{Base, GROUP, Head, Kind, Role, Slim};
use crate::{Error, ErrorKind, Result};
use std::sync::Arc;

/// Passes over the training rows that the base is tuned for to see what it needs.
const EPOCHS: usize = 1;

/// Steps of few rows.
const LEAST_STEPS: usize = 60;

/// The share of these steps that come before the first that counts: a head that has learned nothing says
/// nothing.
const WARM: f64 = 0.2;

/// What to keep of `base` for at most `share` of its compute.
///
/// The whole base is tuned for [`EPOCHS`]. Each step says of every head and group of neurons how much the
/// loss would change were it scaled: g = Σ ∂L/∂W∘W over its columns of the matrix that reads it. The mean
/// of g² over the steps estimates what leaving it out costs (Fisher information, as in Kwon et al. 2022);
/// what costs least for its compute is left out first.
///
/// # Errors
/// A share below what the least encoder needs; what [`super::train`] says of a run.
pub(super) fn choose(
    base: &Base,
    (train, tokens): (&Dataset, &Arc<Tokens>),
    (options, scale): (&TrainOptions, Option<Scale>),
    share: f64,
    observe: &mut dyn FnMut(Event) -> bool,
) -> Result<Slim> {
    let whole = Slim::whole(base.config());
    let mut slim = whole.clone();
    for layer in &mut slim.layers {
        layer.heads.fill(false);
        layer.groups.fill(false);
    }
    // What a head and a group of every layer take.
    let mut shares = vec![];
    for layer in 0..whole.layers.len() {
        let of = |is_head: bool| -> Result<f64> {
            let mut without = whole.clone();
            *bit(&mut without, layer, is_head, 0) = false;
            Ok(1.0 - base.encoder.compute_of(&without)?)
        };
        shares.push([of(true)?, of(false)?]);
    }
    let nothing = base.encoder.compute_of(&slim)?;
    let least = nothing + shares.iter().flatten().copied().fold(1.0, f64::min);
    if share < least {
        let message = format!(
            "`compute` is {share}, expected at least {:.4}: what one group of {GROUP} neurons takes",
            (1e4 * least).ceil() / 1e4
        );
        return Err(Error::new(ErrorKind::Config, message));
    }
    let costs = Costs::measure(base, (train, tokens), (options, scale), observe)?;
    // What costs most for its compute is kept first.
    let mut structures = vec![];
    for (layer, shares) in shares.iter().enumerate() {
        for (is_head, share, costs) in
            [(true, shares[0], &costs.heads[layer]), (false, shares[1], &costs.groups[layer])]
        {
            let each = costs.iter().enumerate();
            structures.extend(each.map(|(i, cost)| (cost / share, share, (layer, is_head, i))));
        }
    }
    structures.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut left = share - nothing;
    for (_, share, (layer, is_head, i)) in structures {
        if share <= left {
            left -= share;
            *bit(&mut slim, layer, is_head, i) = true;
        }
    }
    Ok(slim)
}

fn bit(slim: &mut Slim, layer: usize, is_head: bool, i: usize) -> &mut bool {
    let layer = &mut slim.layers[layer];
    if is_head { &mut layer.heads[i] } else { &mut layer.groups[i] }
}

/// What leaving out every head and group is expected to cost the loss, layer by layer, in a unit of their
/// own.
struct Costs {
    heads: Vec<Vec<f64>>,
    groups: Vec<Vec<f64>>,
}

impl Costs {
    /// Tunes `base` on the task, and adds up.
    fn measure(
        base: &Base,
        (train, tokens): (&Dataset, &Arc<Tokens>),
        (options, scale): (&TrainOptions, Option<Scale>),
        observe: &mut dyn FnMut(Event) -> bool,
    ) -> Result<Self> {
        let config = base.config();
        let options = &TrainOptions { objective: Objective::Labels, ..options.clone() };
        let mut batches = Batches::new(train, Rows::Tokens(Arc::clone(tokens)), options, scale);
        let steps = (EPOCHS * batches.per_epoch()).max(LEAST_STEPS);
        let method = Method::Layers(Selection::default());
        let marks = method.marks(&base.encoder)?;
        let defaults = TrainOptions::new(method.clone(), train.rows());
        let (lr, head_lr) = (defaults.lr, defaults.head_lr);
        let rates = Rates::of(&TrainOptions { lr, head_lr, ..options.clone() }, steps);
        let head = Head::new(train.labels.len().max(1), config.hidden, options.seed);
        let encoder = base.encoder.clone().with_dropout(|_| 0.0);
        let mut trainer = Trainer::new(encoder, base.weights.clone(), head, marks, &method, rates);
        let mut sums = Self {
            heads: vec![vec![0.0; config.heads]; config.own_layers],
            groups: vec![vec![0.0; config.intermediate.div_ceil(GROUP)]; config.own_layers],
        };
        let warm = (WARM * steps as f64) as usize;
        for step in 0..steps {
            if !observe(Event::Choosing { step, steps }) {
                let message = "interrupted while it was found out what the task needs";
                return Err(Error::new(ErrorKind::Interrupted, message));
            }
            let Step { input, targets, row_weights, teacher } = batches.at(step)?;
            trainer.step(input, targets, row_weights, teacher)?;
            if step >= warm {
                sums.add(&trainer, config.hidden / config.heads);
            }
        }
        Ok(sums)
    }

    /// Adds the squares of the last step's gradients.
    fn add(&mut self, trainer: &Trainer, size: usize) {
        for (i, spec) in trainer.encoder().layout().tensors().iter().enumerate() {
            let (Some(layer), Role::Matrix(kind)) = (spec.layer(), spec.role) else { continue };
            let (sums, width) = match kind {
                Kind::AttentionOutput => (&mut self.heads[layer], size),
                Kind::Output => (&mut self.groups[layer], GROUP),
                _ => continue,
            };
            let mut gates = vec![0.0f64; sums.len()];
            let (grad, weights) = (trainer.grads().tensor(i), trainer.weights().at(i));
            for (at, (g, w)) in grad.iter().zip(weights).enumerate() {
                gates[at % spec.shape[1] / width] += f64::from(*g) * f64::from(*w);
            }
            sums.iter_mut().zip(gates).for_each(|(sum, gate)| *sum += gate * gate);
        }
    }
}
