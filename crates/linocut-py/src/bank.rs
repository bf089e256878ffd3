//! Banks: one base with many tasks.

use crate::base::{Base, bytes};
use crate::cut::Cut;
use crate::errors::{detached, raised};
use linocut::bank::{self, Options, Request};
use linocut::{Error, ErrorKind};
use pyo3::prelude::*;
use std::sync::Arc;

/// Texts that are answered before Python is asked whether it wants to stop.
const TEXTS: usize = 1024;

/// A base and the tasks on it.
#[pyclass(frozen, module = "linocut._core")]
pub(crate) struct Bank(bank::Bank);

#[pymethods]
impl Bank {
    #[new]
    fn new(py: Python<'_>, base: &Base, task_memory: Option<usize>) -> PyResult<Self> {
        let base = Arc::clone(&base.base);
        let mut options = Options::default();
        if let Some(bytes) = task_memory {
            options.task_memory = bytes;
        }
        detached(py, || bank::Bank::new(base, options)).map(Self)
    }

    /// Adds a task, or puts it in the place of that of its name.
    fn put(&self, py: Python<'_>, name: &str, cut: &Cut) -> PyResult<()> {
        detached(py, || {
            let task = self.0.prepare(name, &cut.0)?;
            self.0.insert(task).map(drop)
        })
    }

    fn remove(&self, py: Python<'_>, name: &str) -> PyResult<()> {
        detached(py, || self.0.remove(name).map(drop))
    }

    fn names(&self) -> Vec<String> {
        self.0.tasks().iter().map(|task| task.name().to_string()).collect()
    }

    /// Bytes of memory of all tasks.
    fn size(&self) -> usize {
        self.0.bytes().0
    }

    /// For each task its logits, `[texts, outputs]` of float32, and how many texts were cut.
    fn logits(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        pairs: Option<Vec<String>>,
        tasks: Vec<String>,
    ) -> PyResult<Vec<(Vec<u8>, usize)>> {
        let mut found = vec![(Vec::new(), 0); tasks.len()];
        let mut pairs = pairs.map(Vec::into_iter);
        let requests: Vec<Request> = texts
            .into_iter()
            .map(|text| {
                let pair = pairs.as_mut().and_then(Iterator::next);
                Request { text, pair, tasks: tasks.clone() }
            })
            .collect();
        for (chunk, requests) in requests.chunks(TEXTS).enumerate() {
            py.check_signals()?;
            let answers = detached(py, || Ok(self.0.predict(requests)))?;
            for (i, answers) in answers.into_iter().enumerate() {
                let answers = answers.map_err(|error| {
                    let message = format!("text {}: {}", chunk * TEXTS + i, error.message());
                    let error = match error.hint() {
                        Some(hint) => Error::new(error.kind(), message).with_hint(hint),
                        None => Error::new(error.kind(), message),
                    };
                    raised(py, &error)
                })?;
                for (answer, (logits, cut)) in answers.into_iter().zip(&mut found) {
                    logits.extend(bytes(&answer.logits));
                    *cut += usize::from(answer.text_cut);
                }
            }
        }
        Ok(found)
    }

    /// The card of a task, as JSON.
    fn card(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        let task = detached(py, || self.0.task(name))?;
        serde_json::to_string(task.card())
            .map_err(|e| raised(py, &Error::new(ErrorKind::Cut, e.to_string())))
    }
}
