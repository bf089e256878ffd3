//! Bases: training, predicting, exporting and verifying on them.

use crate::cut::{Cut, Said, said};
use crate::errors::{detached, json, read, stoppable};
use crate::rows::{Rows, Told, columns, datasets, table, told};
use linocut::cut::{Card, Explanation, Logits, TaskModel};
use linocut::data::{Dataset, Metric, Problem, Remark, TaskSpec, check_listed};
use linocut::hub::{self, Fetch};
use linocut::model::{self, Pooling};
use linocut::output::{Budget, claim, hold};
use linocut::tune::{
    self, Choices, Evaluation, Event, Goal, Interval, Shared, Storage, Unlabelled,
};
use linocut::{Error, export, pack, study};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// What places are held for, for those who wait for them.
pub(crate) const DOING: &str = "linocut in Python";

/// A pretrained model in memory.
#[pyclass(frozen, module = "linocut._core")]
pub(crate) struct Base {
    pub(crate) base: Arc<model::Base>,
    /// What was said when it was opened.
    remarks: Told,
    /// The model of the cut that was asked last: its weights are a copy of the base's.
    last: Mutex<Option<(Arc<linocut::cut::Cut>, Arc<TaskModel>)>>,
}

/// What a task is, beside its rows and the choices of a run.
#[derive(Deserialize)]
struct Task {
    name: String,
    problem: Option<Problem>,
    /// The labels in their order; none where the rows say them.
    classes: Vec<String>,
    other: Option<String>,
    metric: Option<Metric>,
    budget: Option<Budget>,
    study: Option<PathBuf>,
    state: Option<PathBuf>,
    resume: bool,
    save_every: Option<usize>,
    /// MB
    trunk_memory: usize,
    /// Whether rows are held out where no dev rows are given.
    hold_out: bool,
}

/// A model to learn from.
#[derive(FromPyObject)]
enum Teacher {
    Cut(Py<Cut>),
    /// A cut's file, or a model's folder.
    Path(PathBuf),
}

/// What rows are scored by.
#[derive(Deserialize)]
struct Chosen {
    metric: Option<Metric>,
}

/// What thresholds are fitted for.
#[derive(Deserialize)]
struct Wanted {
    precision: Option<f64>,
    recall: Option<f64>,
}

/// What training gives: the cut, what is known of the run as JSON, what was predicted in folds, and remarks.
type Trained = (Cut, String, Option<Said>, Told);

/// How a base is read.
#[derive(Deserialize)]
struct Opening {
    pooling: Option<Pooling>,
}

#[pymethods]
impl Base {
    #[new]
    fn new(py: Python<'_>, name: &str, pooling: Option<&str>, progress: bool) -> PyResult<Self> {
        let Opening { pooling } = read(py, &json!({ "pooling": pooling }).to_string())?;
        let mut remarks = vec![];
        let base = detached(py, || {
            let fetch = Fetch { progress, own_pooling: pooling.is_none() };
            let folder = hub::find(name, fetch, &mut remarks)?;
            model::Base::open(&folder, pooling)
        })?;
        Ok(Self { base: Arc::new(base), remarks: told(remarks), last: Mutex::default() })
    }

    /// What was said when it was opened: whether each is a warning, and the text.
    fn remarks(&self) -> Told {
        self.remarks.clone()
    }

    /// Name, folder, fingerprint, pooling and sizes, as JSON.
    fn about(&self) -> PyResult<String> {
        let (base, config) = (&self.base, self.base.config());
        json(&json!({
            "name": base.name,
            "folder": base.folder,
            "fingerprint": base.fingerprint.to_string(),
            "pooling": base.encoder.pooling().name(),
            "family": base.encoder.family().model_type(base.encoder.json()),
            "layers": config.layers,
            "hidden": config.hidden,
            "vocabulary": config.vocab,
            "positions": config.positions,
            "parameters": base.encoder.layout().len(),
        }))
    }

    /// Learns a task from rows and, where some count more than others, their weights, and scores it on the third of
    /// `rows`. `distill` is a teacher to learn from, too, and more texts that it answers. `observe` gets events as
    /// JSON and stops the run by `False`.
    fn train(
        &self,
        py: Python<'_>,
        rows: (Rows, Option<Vec<f32>>, Option<Rows>),
        distill: Option<(Teacher, Option<Unlabelled>)>,
        task: &str,
        choices: &str,
        observe: Option<Py<PyAny>>,
    ) -> PyResult<Trained> {
        let (rows, weights, dev) = rows;
        let (task, choices): (Task, Choices) = (read(py, task)?, read(py, choices)?);
        let mut remarks = vec![];
        let state = task.state.clone();
        // An exception of the observer.
        let mut raised_there: Option<PyErr> = None;
        let done = stoppable(py, |goes_on| {
            let _held = match &state {
                None => None,
                Some(state) if task.resume => Some(hold(state, DOING)?),
                // Nothing is lost that stands there, and no place turns out bad after the work.
                Some(state) => Some(claim(state, "state", false, DOING).map_err(|error| {
                    let hint = "resume=True continues an earlier run's state; or name another file";
                    Error::new(error.kind(), error.message()).with_hint(hint)
                })?),
            };
            check_listed(&task.classes, Path::new("classes"), "place")?;
            let spec = TaskSpec {
                name: task.name,
                problem: task.problem,
                labels: task.classes,
                other: task.other,
                metric: task.metric,
                ..columns(&rows)
            };
            let choices = if distill.is_some() { choices.taught()? } else { choices };
            // With folds every row is reported on by a cut that was not trained on it.
            let hold_out = (task.hold_out && choices.folds.is_none()).then_some(choices.seed);
            let (mut train, dev, held_out) =
                datasets(rows, weights, dev, &spec, hold_out, &mut remarks)?;
            let budget =
                task.budget.map(|budget| budget.of(self.base.encoder.layout().len() as u64 * 4));
            let study = task.study.as_deref();
            let (method, choices, chosen) =
                study::method_for(choices, &self.base, &train, budget, study)?;
            if let Some(choice) = chosen {
                let notes = choice.passed_over.iter().cloned().map(Remark::Warning);
                remarks.extend(notes.chain([Remark::Note(choice.in_words())]));
            }
            let unlabelled = distill.as_ref().and_then(|(_, texts)| texts.as_ref());
            let more = unlabelled.map_or(0, |(texts, _)| texts.len());
            let size = (train.problem, train.rows() + more);
            let options = choices.options(method.clone(), size, self.base.config());
            options.check()?;
            options.check_for(&train)?;
            if let Some((teacher, texts)) = distill {
                let pairs = train.pairs.is_some();
                let teacher = match teacher {
                    Teacher::Cut(cut) => self.model(&cut.get().0)?,
                    Teacher::Path(path) => Arc::new(pack::teacher(&path, &self.base, pairs)?),
                };
                train = tune::teach(&teacher, train, texts, &mut remarks, &mut |_| goes_on())?;
            }
            let storage = Storage {
                state: task.state,
                resume: task.resume,
                save_every: task.save_every,
                trunk_memory: task.trunk_memory.saturating_mul(1 << 20),
                ..Storage::scratch(&std::env::temp_dir(), Shared::default())
            };
            let mut hear = |event: Event| {
                let Some(observe) = &observe else { return goes_on() };
                let heard = heard(observe, event_json(event));
                heard.unwrap_or_else(|e| {
                    raised_there = Some(e);
                    false
                })
            };
            let (base, metric) = (&self.base, spec.metric.as_ref());
            let (dev, asked) = (dev.as_ref(), (method, &choices));
            let tune::Trained { outcome, folds, .. } =
                tune::train_as(base, &train, dev, metric, asked, &storage, &mut hear)?;
            if let Some(error) = &outcome.undecided {
                remarks.push(Remark::Warning(format!(
                    "{}: the cut has no such threshold",
                    error.message()
                )));
            }
            if let Some(state) = &state
                && let Err(error) = tune::remove_state(state)
            {
                remarks.push(Remark::Warning(error.message().into()));
            }
            let size = outcome.cut.sizes().file;
            if let Some(budget) = budget.filter(|budget| size > *budget) {
                remarks.push(Remark::Warning(format!(
                    "the cut has {size} bytes, more than the {budget} of `budget`: it is whole; a smaller budget \
                     gives a smaller cut"
                )));
            }
            Ok((outcome, folds, held_out))
        });
        let (outcome, folds, held_out) = match raised_there {
            Some(error) => return Err(error),
            None => done?,
        };
        let labels = &outcome.cut.card().labels;
        let about = json!({
            "evaluation": outcome.evaluation.as_ref().map(|found| scores_json(found, labels)),
            "dev_rows_held_out": held_out,
            "training_texts_cut": outcome.texts_cut,
            "dev_texts_cut": outcome.evaluation_texts_cut,
            "folds": folds,
        });
        let predicted =
            folds.map(|folds| said(outcome.cut.card(), &folds.logits, 0)).transpose()?;
        Ok((Cut(Arc::new(outcome.cut)), json(&about)?, predicted, told(remarks)))
    }

    /// What a task says of texts.
    fn predict(
        &self,
        py: Python<'_>,
        cut: &Cut,
        texts: Vec<String>,
        pairs: Option<Vec<String>>,
    ) -> PyResult<Said> {
        let logits =
            stoppable(py, |goes_on| self.compute(cut, &texts, pairs.as_deref(), "texts", goes_on))?;
        said(cut.0.card(), &logits.values, logits.texts_cut)
    }

    /// What each word of a text, or of a pair of texts, adds to its prediction or to a label's probability, as JSON, and
    /// remarks.
    fn explain(
        &self,
        py: Python<'_>,
        cut: &Cut,
        text: String,
        pair: Option<String>,
        label: Option<String>,
    ) -> PyResult<(String, Told)> {
        let found = stoppable(py, |goes_on| {
            let model = self.model(&cut.0)?;
            model.check_pairs(pair.is_some(), "the text", "give `pair`, too, or leave it out")?;
            model.explain(&text, pair.as_deref(), label.as_deref(), |_| goes_on())
        })?;
        let note = Explanation::note(found.untried).map(Remark::Warning);
        Ok((json(&found.words)?, told(note.into_iter().collect())))
    }

    /// The scores of a cut on rows, as JSON, and remarks.
    fn evaluate(
        &self,
        py: Python<'_>,
        cut: &Cut,
        rows: Rows,
        metric: &str,
    ) -> PyResult<(String, Told)> {
        let Chosen { metric } = read(py, metric)?;
        let mut remarks = vec![];
        let found = stoppable(py, |goes_on| {
            let card = cut.0.card();
            let data = judged(card, rows, &mut remarks)?;
            let logits = self.compute(cut, &data.texts, data.pairs.as_deref(), "texts", goes_on)?;
            let metric = metric.as_ref().unwrap_or(&card.metric);
            let decision = card.decision.as_ref();
            let mut evaluation = tune::evaluate(&data, &logits.values, decision, Some(metric))?;
            evaluation.interval = Interval::of(&data, &logits.values, decision, metric)?;
            let mut found = scores_json(&evaluation, &data.labels);
            found.insert("texts_cut".into(), logits.texts_cut.into());
            Ok(found)
        })?;
        Ok((json(&found)?, told(remarks)))
    }

    /// Two cuts on the same rows, as JSON, and remarks.
    fn compare(
        &self,
        py: Python<'_>,
        first: &Cut,
        second: &Cut,
        rows: Rows,
        metric: &str,
    ) -> PyResult<(String, Told)> {
        let Chosen { metric } = read(py, metric)?;
        let mut remarks = vec![];
        let found = stoppable(py, |goes_on| {
            let cuts = [first, second];
            cuts.iter().try_for_each(|cut| cut.0.check_fits(&self.base))?;
            // What there is to remark on the rows is said once.
            let data = [
                judged(first.0.card(), rows.clone(), &mut remarks)?,
                judged(second.0.card(), rows, &mut vec![])?,
            ];
            tune::can_compare(&data[0], &data[1])?;
            let mut logits = vec![];
            for (cut, data) in cuts.into_iter().zip(&data) {
                let pairs = data.pairs.as_deref();
                logits.push(self.compute(cut, &data.texts, pairs, "texts", &mut *goes_on)?.values);
            }
            let metric = metric.as_ref().unwrap_or(&first.0.card().metric);
            let decision = |i: usize| cuts[i].0.card().decision.as_ref();
            let side = |i: usize| (&data[i], &logits[i][..], decision(i));
            tune::compare([side(0), side(1)], metric)
        })?;
        let mut said = json!(found);
        said["text"] = found.in_words(["first", "second"].map(String::from)).into();
        Ok((json(&said)?, told(remarks)))
    }

    /// Fits temperature and thresholds on rows: the cut with them, what was fitted as JSON, and remarks.
    fn calibrate(
        &self,
        py: Python<'_>,
        cut: &Cut,
        rows: Rows,
        goal: &str,
    ) -> PyResult<(Cut, String, Told)> {
        let goal: Wanted = read(py, goal)?;
        let mut remarks = vec![];
        let (cut, found) = stoppable(py, |goes_on| {
            let card = cut.0.card();
            let data = judged(card, rows, &mut remarks)?;
            let goal = Goal::of(goal.precision, goal.recall)?;
            tune::can_calibrate(&data, goal)?;
            let logits = self.compute(cut, &data.texts, data.pairs.as_deref(), "texts", goes_on)?;
            let found = tune::calibrate(&data, &logits.values, goal, &card.metric)?;
            let cut = (*cut.0).clone().with_decision(Some(found.decision.clone()))?;
            Ok((cut, found))
        })?;
        let [before, after] = found.errors;
        let about = json!({
            "decision": found.decision,
            "calibration_error": {"before": before, "after": after},
        });
        Ok((Cut(Arc::new(cut)), json(&about)?, told(remarks)))
    }

    /// Checks that a cut belongs here and gives the logits it was stored with; the largest difference.
    fn verify(&self, py: Python<'_>, cut: &Cut) -> PyResult<f32> {
        detached(py, || {
            let mut base = (*self.base).clone();
            let before = base.weights.digest();
            cut.0.verify(&mut base, before)
        })
    }

    /// Writes a Hugging Face folder, or one with a model of ONNX.
    fn export(
        &self,
        py: Python<'_>,
        cut: &Cut,
        out: PathBuf,
        format: &str,
        force: bool,
    ) -> PyResult<()> {
        detached(py, || {
            let format = format.parse()?;
            let _held = export::claim(&out, force, DOING)?;
            export::write(&*self.model(&cut.0)?, &out, format)
        })
    }
}

impl Base {
    /// Logits of texts, or of pairs of them; `place` names them in messages.
    fn compute(
        &self,
        cut: &Cut,
        texts: &[String],
        pairs: Option<&[String]>,
        place: &str,
        goes_on: &mut dyn FnMut() -> bool,
    ) -> linocut::Result<Logits> {
        let model = self.model(&cut.0)?;
        model.check_pairs(pairs.is_some(), place, "give `pairs`, too, or leave them out")?;
        model.logits(texts, pairs, |_| goes_on())
    }

    /// The base with a cut on it, made anew unless it was the last that was asked for.
    fn model(&self, cut: &Arc<linocut::cut::Cut>) -> linocut::Result<Arc<TaskModel>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, model)) = &*last
            && Arc::ptr_eq(known, cut)
        {
            return Ok(Arc::clone(model));
        }
        cut.check_fits(&self.base)?;
        *last = None; // its weights are not needed beside the new ones
        let base = (*self.base).clone();
        let model = Arc::new(TaskModel::new(base, (**cut).clone())?);
        *last = Some((Arc::clone(cut), Arc::clone(&model)));
        Ok(model)
    }
}

/// Rows as the task of this card judges them.
fn judged(card: &Card, rows: Rows, remarks: &mut Vec<Remark>) -> linocut::Result<Dataset> {
    let spec = columns(&rows);
    let table = table("the rows", rows)?;
    Dataset::evaluation(&table, &spec, card.problem, &card.labels, remarks)
}

/// Numbers as the bytes of float32, in the machine's order.
pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

/// Scores for programs and, as `text`, for people.
fn scores_json(
    evaluation: &Evaluation,
    labels: &[String],
) -> serde_json::Map<String, serde_json::Value> {
    let mut found = evaluation.to_json(labels);
    found.insert("text".into(), evaluation.in_words(labels).into());
    found
}

/// Whether who observes wants the work to go on.
pub(crate) fn heard(observe: &Py<PyAny>, event: serde_json::Value) -> PyResult<bool> {
    Python::attach(|py| {
        py.check_signals()?;
        observe.call1(py, (event.to_string(),))?.is_truthy(py)
    })
}

pub(crate) fn event_json(event: Event) -> serde_json::Value {
    match event {
        Event::Tokens(lengths) => json!({
            "event": "tokens",
            "rows": lengths.rows,
            "median": lengths.median,
            "longest": lengths.longest,
            "cut": lengths.cut,
            "text": lengths.in_words(),
        }),
        Event::Choosing { step, steps } => {
            json!({"event": "choosing", "step": step, "steps": steps})
        }
        Event::Tried(trial) => {
            json!({"event": "tried", "change": trial.change, "score": trial.score})
        }
        Event::Fold { fold, folds } => json!({"event": "fold", "fold": fold, "folds": folds}),
        Event::Trunk { done, rows } => json!({"event": "trunk", "done": done, "rows": rows}),
        Event::Start { step, steps, trained } => {
            json!({"event": "start", "step": step, "steps": steps, "trained": trained})
        }
        Event::Step { step, loss, tokens, sparsity } => {
            json!({"event": "step", "step": step, "loss": loss, "tokens": tokens, "sparsity": sparsity})
        }
        Event::Evaluated { step, score, held_out } => {
            json!({"event": "evaluated", "step": step, "score": score, "held_out": held_out})
        }
        Event::Saved { step } => json!({"event": "saved", "step": step}),
        Event::Unsaved { step, why } => json!({"event": "unsaved", "step": step, "why": why}),
    }
}
