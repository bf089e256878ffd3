//! Bases: training, predicting, exporting and verifying on them.

use crate::cut::Cut;
use crate::errors::{alive, detached, json, raised, read};
use crate::rows::{Rows, Told, columns, table, told};
use linocut::cut::{Logits, TaskModel};
use linocut::data::{Dataset, Metric, Problem, Remark, TaskRows, TaskSpec};
use linocut::hub::{self, Fetch};
use linocut::model::{self, Pooling};
use linocut::output::{claim, hold};
use linocut::tune::{self, Choices, Event, Shared, Storage};
use linocut::{Error, export};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::json;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What places are held for, for those who wait for them.
pub(crate) const DOING: &str = "linocut in Python";

/// How often a training run looks whether Python wants it to stop.
const LOOK: Duration = Duration::from_millis(200);

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
    metric: Option<Metric>,
    state: Option<PathBuf>,
    resume: bool,
    save_every: Option<usize>,
    /// MB
    trunk_memory: usize,
    /// Whether rows are held out where no dev rows are given.
    hold_out: bool,
}

#[pymethods]
impl Base {
    #[new]
    fn new(py: Python<'_>, name: &str, pooling: Option<&str>, progress: bool) -> PyResult<Self> {
        let pooling: Option<Pooling> = match pooling {
            Some(pooling) => read(py, &json!(pooling).to_string())?,
            None => None,
        };
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

    /// Learns a task; `observe` gets events as JSON and stops the run by `False`. Gives the cut, what is
    /// known of the run as JSON, and remarks.
    fn train(
        &self,
        py: Python<'_>,
        rows: Rows,
        dev: Option<Rows>,
        task: &str,
        choices: &str,
        observe: Option<Py<PyAny>>,
    ) -> PyResult<(Cut, String, Told)> {
        alive(py)?;
        let (task, choices): (Task, Choices) = (read(py, task)?, read(py, choices)?);
        let mut remarks = vec![];
        // An exception of the observer, or Ctrl-C.
        let mut raised_there: Option<PyErr> = None;
        let state = task.state.clone();
        let done = py.detach(|| {
            let _held = match &state {
                None => None,
                Some(state) if task.resume => Some(hold(state, DOING)?),
                // Nothing is lost that stands there, and no place turns out bad after the work.
                Some(state) => Some(claim(state, "state", false, DOING).map_err(|error| {
                    let hint = "resume=True continues an earlier run's state; or name another file";
                    Error::new(error.kind(), error.message()).with_hint(hint)
                })?),
            };
            let spec = TaskSpec {
                name: task.name,
                problem: task.problem,
                metric: task.metric,
                ..columns(&rows)
            };
            let train = Dataset::train(&table("the rows", rows)?, &spec, &mut remarks)?;
            let dev = match dev {
                None => None,
                Some(dev) => {
                    let table = table("the dev rows", dev)?;
                    let (problem, labels) = (train.problem, &train.labels);
                    let dev = Dataset::evaluation(&table, &spec, problem, labels, &mut remarks)?;
                    remarks.extend(train.overlap(&dev));
                    Some(dev)
                }
            };
            let (train, dev, held_out) = match (dev, task.hold_out) {
                (None, false) => (train, None, false),
                (dev, _) => {
                    let rows = TaskRows::new(train, dev, None, choices.seed)?;
                    (rows.train, Some(rows.dev), rows.held_out)
                }
            };
            let method = choices.method(self.base.config())?;
            let options = choices.options(method, train.rows(), self.base.config());
            let storage = Storage {
                state: task.state,
                resume: task.resume,
                save_every: task.save_every,
                trunk_memory: task.trunk_memory.saturating_mul(1 << 20),
                scratch: std::env::temp_dir(),
                shared: Shared::default(),
            };
            let mut looked = Instant::now();
            let mut hear = |event: Event| {
                if observe.is_none() && looked.elapsed() < LOOK {
                    return true;
                }
                looked = Instant::now();
                let heard = Python::attach(|py| {
                    py.check_signals()?;
                    let Some(observe) = &observe else { return Ok(true) };
                    let answer = observe.call1(py, (event_json(event).to_string(),))?;
                    // Nothing said is no wish to stop.
                    Ok(answer.is_none(py) || answer.is_truthy(py)?)
                });
                heard.unwrap_or_else(|e| {
                    raised_there = Some(e);
                    false
                })
            };
            let outcome = tune::train(
                &self.base,
                train,
                dev.as_ref(),
                spec.metric.as_ref(),
                &options,
                &storage,
                &mut hear,
            )?;
            if let Some(state) = &state
                && let Err(e) = std::fs::remove_file(state)
                && e.kind() != std::io::ErrorKind::NotFound
            {
                let message = format!("cannot remove {}: {e}", state.display());
                remarks.push(Remark::Warning(message));
            }
            Ok((outcome, held_out))
        });
        let (outcome, held_out) = match (done, raised_there) {
            (_, Some(error)) => return Err(error),
            (done, None) => done.map_err(|error: Error| raised(py, &error))?,
        };
        let labels = &outcome.cut.card().labels;
        let about = json!({
            "evaluation": outcome.evaluation.as_ref().map(|found| found.to_json(labels)),
            "dev_rows_held_out": held_out,
            "training_texts_cut": outcome.texts_cut,
            "dev_texts_cut": outcome.evaluation_texts_cut,
        });
        Ok((Cut(Arc::new(outcome.cut)), json(&about)?, told(remarks)))
    }

    /// Logits, `[texts, outputs]` of float32, and how many texts were cut.
    fn logits(
        &self,
        py: Python<'_>,
        cut: &Cut,
        texts: Vec<String>,
        pairs: Option<Vec<String>>,
    ) -> PyResult<(Vec<u8>, usize)> {
        let logits = detached(py, || self.compute(cut, &texts, pairs.as_deref(), "the texts"))?;
        Ok((bytes(&logits.values), logits.texts_cut))
    }

    /// The scores of logits, see [`Base::logits`], on rows, as JSON, and remarks.
    fn evaluate(
        &self,
        py: Python<'_>,
        cut: &Cut,
        rows: Rows,
        metric: Option<&str>,
    ) -> PyResult<(String, Told)> {
        let metric: Option<Metric> = metric.map(|metric| read(py, metric)).transpose()?;
        let mut remarks = vec![];
        let found = detached(py, || {
            let card = cut.0.card();
            let spec = columns(&rows);
            let table = table("the rows", rows)?;
            let (problem, labels) = (card.problem, &card.labels);
            let data = Dataset::evaluation(&table, &spec, problem, labels, &mut remarks)?;
            let logits = self.compute(cut, &data.texts, data.pairs.as_deref(), "the rows")?;
            let metric = metric.as_ref().unwrap_or(&card.metric);
            let evaluation = tune::evaluate(&data, &logits.values, Some(metric))?;
            let mut found = evaluation.to_json(&data.labels);
            found.insert("texts_cut".into(), logits.texts_cut.into());
            Ok(found)
        })?;
        Ok((json(&found)?, told(remarks)))
    }

    /// Checks that a cut belongs here and gives the logits it was stored with; the largest difference.
    fn verify(&self, py: Python<'_>, cut: &Cut) -> PyResult<f32> {
        detached(py, || {
            let mut base = (*self.base).clone();
            let before = base.weights.digest();
            cut.0.verify(&mut base, before)
        })
    }

    /// Writes a Hugging Face folder.
    fn export(&self, py: Python<'_>, cut: &Cut, out: PathBuf, force: bool) -> PyResult<()> {
        detached(py, || {
            let _held = export::claim(&out, force, DOING)?;
            export::write(&*self.model(&cut.0)?, &out)
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
    ) -> linocut::Result<Logits> {
        let model = self.model(&cut.0)?;
        model.check_pairs(pairs.is_some(), place, "give `pairs`, too, or leave them out")?;
        model.logits(texts, pairs, |_| {})
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

/// Numbers as the bytes of float32, in the machine's order.
pub(crate) fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_ne_bytes()).collect()
}

fn event_json(event: Event) -> serde_json::Value {
    match event {
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
