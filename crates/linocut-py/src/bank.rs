//! Banks: one base with many tasks.

use crate::base::Base;
use crate::cut::{Cut, Said, card_json, said};
use crate::errors::{detached, raised};
use linocut::Result;
use linocut::bank::{self, Dtype, Options};
use pyo3::prelude::*;
use rayon::prelude::*;
use std::sync::Arc;

/// Texts that are answered before Python is asked whether it wants to stop.
const TEXTS: usize = 1024;

/// A base and the tasks on it.
#[pyclass(frozen, module = "linocut._core")]
pub(crate) struct Bank(bank::Bank);

#[pymethods]
impl Bank {
    #[new]
    fn new(py: Python<'_>, base: &Base, task_memory: Option<usize>, dtype: &str) -> PyResult<Self> {
        let base = Arc::clone(&base.base);
        let dtype = Dtype::named(dtype).map_err(|error| raised(py, &error))?;
        let mut options = Options { dtype, ..Options::default() };
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

    /// What each task, by its name, says of the texts. All texts see the same tasks.
    fn predict(
        &self,
        py: Python<'_>,
        texts: Vec<String>,
        pairs: Option<Vec<String>>,
        tasks: Option<Vec<String>>,
    ) -> PyResult<Vec<(String, Said)>> {
        let tasks = detached(py, || match tasks {
            Some(names) => self.0.find(&names),
            None => Ok(self.0.tasks()),
        })?;
        let mut found = vec![(Vec::new(), 0); tasks.len()];
        let texts: Vec<(usize, String)> = texts.into_iter().enumerate().collect();
        for texts in texts.chunks(TEXTS) {
            py.check_signals()?;
            let answers = detached(py, || {
                let ask = |(i, text): &(usize, String)| {
                    let pair = pairs.as_ref().map(|pairs| &pairs[*i][..]);
                    self.0.ask(text, pair, &tasks).map_err(|error| error.at(format!("texts[{i}]")))
                };
                let queries = texts.par_iter().map(ask).collect::<Result<Vec<_>>>()?;
                Ok(self.0.answer(&queries.iter().collect::<Vec<_>>()))
            })?;
            for answers in answers {
                for (answer, (logits, cut)) in answers.into_iter().zip(&mut found) {
                    logits.extend(answer.logits);
                    *cut += usize::from(answer.text_cut);
                }
            }
        }
        let all = tasks.iter().zip(found);
        all.map(|(task, (logits, cut))| Ok((task.name().into(), said(task.card(), &logits, cut)?)))
            .collect()
    }

    /// The card of a task, as JSON.
    fn card(&self, py: Python<'_>, name: &str) -> PyResult<String> {
        let task = detached(py, || self.0.task(name))?;
        card_json(task.card())
    }
}
