//! From a finished run to a cut: rounding, scoring as stored, probes, card.

use super::calibrate::{Goal, calibrate};
use super::evaluate::evaluate;
use super::run::Outcome;
use super::scale::Scale;
use super::solve::C;
use super::trainer::Parameters;
use super::{ClassWeights, Dropout, Method, Objective, TrainOptions, Trainer};
use crate::Result;
use crate::cut::{self, BaseId, Card, Cut, Edit, Probe, TensorEdit, Zeros};
use crate::data::{Dataset, Metric, Problem, Texts};
use crate::model::{Head, TEACHER_SHARE, TEMPERATURE, logits};
use serde_json::json;
use std::collections::BTreeMap;

/// What the card says of where the cut came from.
pub(super) struct Identity<'a> {
    pub(super) task: &'a Dataset,
    pub(super) base: String,
    pub(super) fingerprint: String,
    pub(super) tokenizer: String,
    pub(super) held_out: usize,
    pub(super) texts_cut: usize,
    pub(super) selected_step: Option<usize>,
    pub(super) epoch_loss: Option<f64>,
    /// The share of the base's compute that is left of a slim one.
    pub(super) compute: Option<f64>,
    /// The unit that the head was trained in.
    pub(super) scale: Option<Scale>,
}

/// Rows and what is read of them.
type Read<'a> = (&'a Dataset, &'a Texts);

/// Rounds what was trained to what the file holds, fits on the rows of `fit` what it decides, scores exactly that on
/// `dev`, and makes the cut.
pub(super) fn cut(
    mut trainer: Trainer,
    options: &TrainOptions,
    identity: Identity<'_>,
    (dev, fit): (Option<Read<'_>>, Option<(Read<'_>, Option<Goal>)>),
    metric: Option<&Metric>,
) -> Result<Outcome> {
    trainer.settle();
    let store = options.store;
    let layout = trainer.encoder().layout().clone();
    let mut edits = BTreeMap::new();
    match &mut trainer.parameters {
        Parameters::Masks(masks) => {
            for (i, kept) in masks.kept() {
                let spec = &layout.tensors()[i];
                let zeros = Zeros::from_keep(kept.into_iter())?;
                if !zeros.is_empty() {
                    let edit = Edit::of_zeros(zeros, masks.base(i));
                    let edit = TensorEdit { shape: spec.shape.clone(), edit };
                    edits.insert(spec.name.clone(), edit);
                }
            }
        }
        Parameters::LowRank(low_rank) => {
            for (name, (rows, columns), factors) in low_rank.per_tensor_mut(&layout) {
                store.round(name, factors)?;
                let edit = cut::LowRank::new((rows, columns), store, factors.to_vec())?;
                let edit = TensorEdit { shape: vec![rows, columns], edit: Edit::LowRank(edit) };
                edits.insert(name.to_string(), edit);
            }
            low_rank.write(&mut trainer.weights);
        }
        Parameters::Weights => {
            let marks = &trainer.marks;
            for (i, spec) in layout.tensors().iter().enumerate().filter(|(i, _)| marks[*i]) {
                let values = trainer.weights.at_mut(i);
                store.round(&spec.name, values)?;
                let edit = Edit::Replace { store, values: values.to_vec() };
                edits.insert(spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit });
            }
        }
    }
    let mut head_store = store;
    if let Some(scale) = identity.scale {
        trainer.head = scale.undone(&trainer.head);
        head_store = scale.store(store, &trainer.head);
    }
    head_store.round("head.weight", &mut trainer.head.weight)?;
    head_store.round("head.bias", &mut trainer.head.bias)?;

    let (encoder, weights, head) = (trainer.encoder(), trainer.weights(), trainer.head());
    let logits = |texts: &Texts| {
        let logits = logits(encoder, weights, head, &texts.sequences, |_| {});
        texts.means(logits, head.outputs())
    };
    let judged = metric.cloned().unwrap_or_else(|| Metric::default_for(identity.task.problem));
    let (mut decision, mut undecided) = (None, None);
    if let Some(((data, texts), goal)) = fit {
        let logits = logits(texts);
        let fitted = |goal| calibrate(data, &logits, goal, &judged);
        let found = fitted(goal).or_else(|error| {
            undecided = Some(error);
            fitted(None)
        })?;
        decision = Some(found.decision);
    }
    let (evaluation, logits) = match dev {
        Some((data, texts)) => {
            let logits = logits(texts);
            (Some(evaluate(data, &logits, decision.as_ref(), metric)?), logits)
        }
        None => (None, vec![]),
    };
    let metrics = evaluation.as_ref().map(|e| e.metrics.defined()).unwrap_or_default();
    let task = identity.task;
    let mut training = training(&trainer, options, &identity);
    if head_store != store {
        training["head_store"] = json!(head_store.name());
    }
    let card = Card {
        format: cut::FORMAT,
        task: task.name.clone(),
        problem: task.problem,
        labels: task.labels.clone(),
        outputs: head.outputs(),
        pooling: encoder.pooling(),
        unit: head.unit,
        max_length: options.max_length,
        long: options.long,
        pairs: task.pairs.is_some(),
        base: BaseId { name: identity.base, fingerprint: identity.fingerprint },
        tokenizer: identity.tokenizer,
        method: json!(options.method),
        training,
        metric: judged,
        metrics,
        tensors: BTreeMap::new(),
        slim: encoder.kept().cloned(),
        decision,
        source: None,
    };
    let probes = Probe::draw(encoder, weights, head, options.max_length, task.pairs.is_some());
    let hidden = encoder.config().hidden;
    let Head { weight, bias, .. } = head.clone();
    let cut = Cut::new(card, cut::Head { store: head_store, hidden, weight, bias }, edits, probes)?;
    let masks = match trainer.parameters {
        Parameters::Masks(masks) => Some(masks),
        _ => None,
    };
    let (texts_cut, evaluation_texts_cut) =
        (identity.texts_cut, dev.map_or(0, |(_, texts)| texts.cut));
    Ok(Outcome { cut, evaluation, logits, undecided, masks, texts_cut, evaluation_texts_cut })
}

/// The run in the card: nothing that differs between equal runs.
fn training(
    trainer: &Trainer,
    options: &TrainOptions,
    identity: &Identity<'_>,
) -> serde_json::Value {
    let mut said = json!({
        "rows": identity.task.rows(),
        "held_out_rows": identity.held_out,
        "texts_cut": identity.texts_cut,
        "epochs": options.epochs,
        "steps": trainer.steps_taken(),
        "batch": options.batch,
        "head_lr": options.head_lr,
        "warmup": options.warmup,
        "decay": options.decay,
        "clip": options.clip,
        "seed": options.seed,
        "trained_parameters": trainer.trained_parameters(),
    });
    if options.objective == Objective::Pairs {
        said["objective"] = json!(options.objective);
        said["head"] = json!(format!("logistic regression, C = {C}"));
        let unused = ["head_lr", if trainer.steps_taken() == 0 { "epochs" } else { "" }];
        said.as_object_mut().expect("made above").retain(|key, _| !unused.contains(&key.as_str()));
    }
    if let Some(compute) = identity.compute {
        said["compute"] = json!(compute);
        said["compute_counts"] = json!(
            "multiply-adds of matrix products and attention for a text of 64 tokens, embeddings and head \
             not counted, as a share of the base's"
        );
        said["compute_asked"] = json!(options.compute);
    }
    match options.method {
        Method::Mask { .. } => said["mask_lr"] = json!(options.mask_lr),
        Method::Head => {}
        _ => said["lr"] = json!(options.lr),
    }
    match options.dropout {
        Dropout::Fixed(probability) => said["dropout"] = json!(probability),
        Dropout::OfBase(1.0) => {}
        Dropout::OfBase(share) => said["share_of_base_dropout"] = json!(share),
    }
    if options.class_weights != ClassWeights::None {
        let weighted = match identity.task.problem {
            Problem::MultiLabel => "positive_weights",
            _ => "class_weights",
        };
        said[weighted] = json!(options.class_weights);
    }
    if let Some(taught) = &identity.task.taught {
        said["teacher"] = json!(taught.teacher);
        said["teacher_fingerprint"] = json!(taught.fingerprint);
        said["teacher_share"] = json!(TEACHER_SHARE);
        if identity.task.problem == Problem::SingleLabel {
            said["teacher_temperature"] = json!(TEMPERATURE);
        }
        said["unlabelled_rows"] = json!(identity.task.unlabelled().map_or(0, Dataset::rows));
    }
    if identity.task.weights.is_some() {
        said["row_weights"] = json!("given");
    }
    if let Some(Scale { mean, spread }) = identity.scale {
        said["label_mean"] = json!(mean);
        said["label_spread"] = json!(spread);
    }
    if let Some(loss) = identity.epoch_loss {
        said["loss"] = json!(loss);
    }
    if let Some(step) = identity.selected_step {
        said["selected_step"] = json!(step);
    }
    said
}
