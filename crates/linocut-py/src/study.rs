//! Studies: many ways to train tasks, compared.

use crate::base::{Base, event_json, heard};
use crate::cut::Cut;
use crate::errors::{LOOK, alive, detached, json, raised, read, stoppable};
use crate::rows::{Rows, Told, columns, datasets, told};
use linocut::data::{Metric, Problem, Reading, Remark, TaskFolder, TaskRows, TaskSpec};
use linocut::study::{
    self, Arm, Folder, Grid, Happening, Pace, Record, Run, Setting, StudyTask, TaskFiles, Trains,
    choose, conclude, run_missing, run_one,
};
use linocut::tune::{Shared, Storage};
use linocut::{Error, ErrorKind, model};
use pyo3::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

/// A task by its name, with its rows.
type Given = (String, Rows, Option<Rows>, String);

/// What a task of rows is, beside them.
#[derive(Deserialize)]
struct About {
    problem: Option<Problem>,
    metric: Option<Metric>,
}

/// A run that comes from elsewhere, with the digests of the rows that it learned from.
#[derive(Deserialize)]
struct Added {
    rows: BTreeMap<String, String>,
    #[serde(flatten)]
    record: Record,
}

/// How the missing runs are done.
#[derive(Deserialize)]
struct How {
    arms: Vec<String>,
    seeds: u64,
    jobs: usize,
    /// Seconds
    time_budget: Option<f64>,
}

/// Tasks, and the folder of the runs on them.
#[pyclass(frozen, module = "linocut._core")]
pub(crate) struct Study {
    base: Arc<model::Base>,
    tasks: Vec<StudyTask>,
    files: BTreeMap<String, TaskFiles>,
    epochs: Option<usize>,
    shared: Shared,
    /// None where there is none, or it was closed.
    folder: Mutex<Option<Folder>>,
    remarks: Told,
}

#[pymethods]
impl Study {
    /// Reads tasks from folders and takes those given, and opens the study in `out`, or begins it there.
    #[new]
    fn new(
        py: Python<'_>,
        base: &Base,
        folders: Vec<PathBuf>,
        given: Vec<Given>,
        out: Option<PathBuf>,
        epochs: Option<usize>,
        limit: Option<usize>,
    ) -> PyResult<Self> {
        let given = given
            .into_iter()
            .map(|(name, rows, dev, about)| Ok((name, rows, dev, read::<About>(py, &about)?)))
            .collect::<PyResult<Vec<_>>>()?;
        let base = Arc::clone(&base.base);
        detached(py, || {
            study::check(1, 1, epochs)?;
            let (mut remarks, mut all, mut files) = (vec![], vec![], vec![]);
            for path in folders {
                let folder = TaskFolder::open(&path)?;
                let (spec, dev) = (&folder.spec, folder.dev.as_deref());
                let reading = Reading { columns: spec.columns(), limit, ..Reading::default() };
                let task =
                    TaskRows::read(spec, &folder.train, dev, &reading, (0, true), &mut remarks)?;
                files.push(TaskFiles::of_folder(&path, &folder)?);
                all.push(task);
            }
            for (name, rows, dev, About { problem, metric }) in given {
                let spec = TaskSpec { name, problem, metric, ..columns(&rows) };
                // The rows held out are the same for every seed.
                let (train, dev, _) = datasets(rows, None, dev, &spec, Some(0), &mut remarks)?;
                let task = TaskRows::new(train, dev, spec.metric, Some(0))?;
                files.push(TaskFiles::of_rows(&task));
                all.push(task);
            }
            let mut known = BTreeMap::new();
            for (task, files) in all.iter().zip(files) {
                let name = &task.train.name;
                if known.insert(name.clone(), files).is_some() {
                    let message = format!("two tasks are named {name:?}");
                    return Err(Error::new(ErrorKind::Data, message));
                }
            }
            let shared = Shared::default();
            let counted = |task| StudyTask::new(task, &base, &shared);
            let tasks = all.into_iter().map(counted).collect::<linocut::Result<Vec<_>>>()?;
            let setting = Setting::new(&base, (epochs, limit), known.clone());
            let folder = out.map(|out| Folder::open(&out, &setting)).transpose()?;
            let passed_over = folder.iter().flat_map(Folder::passed_over).cloned();
            remarks.extend(passed_over.map(Remark::Warning));
            let (folder, remarks) = (Mutex::new(folder), told(remarks));
            Ok(Self { base, tasks, files: known, epochs, shared, folder, remarks })
        })
    }

    /// What was said when it was opened.
    fn remarks(&self) -> Told {
        self.remarks.clone()
    }

    /// The names of the tasks.
    fn tasks(&self) -> Vec<String> {
        self.tasks.iter().map(|task| task.train.name.clone()).collect()
    }

    /// The names of all arms, those that tell most first.
    fn arms(&self) -> Vec<String> {
        self.all().into_iter().map(|arm| arm.name).collect()
    }

    /// Does what is missing, and says how many runs did not fit the time budget. `observe` gets what happens as JSON,
    /// and stops all by `False`.
    fn run(&self, py: Python<'_>, how: &str, observe: Option<Py<PyAny>>) -> PyResult<usize> {
        alive(py)?;
        let How { arms, seeds, jobs, time_budget } = read(py, how)?;
        let time_budget = match time_budget.map(Duration::try_from_secs_f64) {
            None => None,
            Some(Ok(time)) => Some(time),
            Some(Err(e)) => {
                let message = format!("`time_budget`: {e}");
                return Err(raised(py, &Error::new(ErrorKind::Config, message)));
            }
        };
        // A signal, or an exception of the observer.
        let (stop, raised_there) = (AtomicBool::new(false), Mutex::new(None));
        let heard_of = |happening: Happening<'_>| {
            if let Some(observe) = &observe {
                match heard(observe, happening_json(happening)) {
                    Ok(true) => {}
                    Ok(false) => stop.store(true, Ordering::SeqCst),
                    Err(e) => {
                        stop.store(true, Ordering::SeqCst);
                        lock(&raised_there).get_or_insert(e);
                    }
                }
            }
            !stop.load(Ordering::SeqCst)
        };
        let work = || {
            let arms = choose(&self.all(), &arms, self.base.config())?;
            let grid = Grid { tasks: &self.tasks, arms: &arms, seeds, epochs: self.epochs };
            let (pace, shared) = (Pace { jobs, time_budget }, self.shared.clone());
            self.with_folder(|folder| {
                let (late, _) = run_missing(&grid, &self.base, folder, &pace, shared, &heard_of)?;
                Ok(late)
            })
        };
        let done = py.detach(|| {
            std::thread::scope(|scope| {
                let (ends, ended) = channel();
                // Signals are heard on this thread alone.
                let work = scope.spawn(move || {
                    let _ends: std::sync::mpsc::Sender<()> = ends;
                    work()
                });
                while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(LOOK) {
                    if let Err(e) = Python::attach(|py| py.check_signals()) {
                        stop.store(true, Ordering::SeqCst);
                        lock(&raised_there).get_or_insert(e);
                    }
                }
                work.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            })
        });
        match lock(&raised_there).take() {
            Some(error) => Err(error),
            None => done.map_err(|error| raised(py, &error)),
        }
    }

    /// Trains one run, which [`Study::add`] adds to a study's folder: what is recorded of it, as JSON, and its cut
    /// unless it diverged. Needs no folder.
    fn train(
        &self,
        py: Python<'_>,
        task: &str,
        arm: &str,
        seed: u64,
    ) -> PyResult<(String, Option<Cut>)> {
        let (record, cut) = stoppable(py, |goes_on| {
            if seed >= study::SEEDS {
                let message = format!("`seed` is {seed}, expected 0 to {}", study::SEEDS - 1);
                return Err(Error::new(ErrorKind::Config, message));
            }
            let names = self.tasks();
            let Some(at) = names.iter().position(|name| name == task) else {
                let message = format!("no task {task:?}: there are {}", names.join(", "));
                return Err(Error::new(ErrorKind::Config, message));
            };
            let arms = choose(&self.all(), &[arm.to_string()], self.base.config())?;
            let [arm] = &arms[..] else {
                let names: Vec<&str> = arms.iter().map(|arm| &arm.name[..]).collect();
                let message = format!("`arm={arm}` needs more than one run: {}", names.join(", "));
                return Err(Error::new(ErrorKind::Config, message)
                    .with_hint("Study.run does them in order"));
            };
            let arms = std::slice::from_ref(arm);
            let grid = Grid { tasks: &self.tasks, arms, seeds: seed + 1, epochs: self.epochs };
            let run = Run { task: at, arm: 0, seed };
            let storage = Storage::scratch(&std::env::temp_dir(), self.shared.clone());
            run_one(&grid, run, &self.base, None, &storage, &mut |_| goes_on())
        })?;
        let mut told = json!(record);
        // By which a study of other rows knows that it is none of its runs.
        told["rows"] = json!(self.files[task].files);
        Ok((json(&told)?, cut.map(|cut| Cut(Arc::new(cut)))))
    }

    /// Adds a run that [`Study::train`] did, here or elsewhere.
    fn add(&self, py: Python<'_>, record: &str, cut: Option<&Cut>) -> PyResult<()> {
        let Added { rows, record } = read(py, record)?;
        detached(py, || {
            record.check(&self.files)?;
            if let Some(what) = self.foreign(&record, &rows, cut)? {
                let message = format!("this run is none of this study: {what}");
                return Err(Error::new(ErrorKind::Data, message)
                    .with_hint("add what Study.train gave for the same base, tasks and epochs"));
            }
            self.with_folder(|folder| {
                folder.check_adding()?;
                folder.add(record, cut.map(|cut| &*cut.0))
            })
        })
    }

    /// Lets go of the folder.
    fn close(&self, py: Python<'_>) -> PyResult<()> {
        detached(py, || {
            *self.held()? = None;
            Ok(())
        })
    }

    /// Every run so far, as JSON.
    fn records(&self, py: Python<'_>) -> PyResult<String> {
        let records = detached(py, || self.with_folder(|folder| Ok(folder.records().to_vec())))?;
        json(&records)
    }

    /// What the runs come down to, as JSON: `summary` and `advice`, where `within`, a share, is the loss that is
    /// accepted.
    fn found(&self, py: Python<'_>, within: f64) -> PyResult<String> {
        let found = detached(py, || {
            self.with_folder(|folder| {
                let (summary, advice) = conclude(folder, &self.tasks, &self.base, within)?;
                Ok(json!({ "summary": summary, "advice": advice }))
            })
        })?;
        json(&found)
    }
}

impl Study {
    /// Why a run that comes from elsewhere is none of this study, if so.
    fn foreign(
        &self,
        record: &Record,
        rows: &BTreeMap<String, String>,
        cut: Option<&Cut>,
    ) -> linocut::Result<Option<String>> {
        if *rows != self.files[&record.task].files {
            return Ok(Some(format!("its rows are not those of task {:?} here", record.task)));
        }
        if record.cut.is_some() != cut.is_some() {
            return Ok(Some("it has a cut if its record names one, and only then".into()));
        }
        let Some(cut) = cut else { return Ok(None) };
        cut.0.check_fits(&self.base)?;
        let Some(at) = self.tasks.iter().position(|task| task.train.name == record.task) else {
            return Ok(Some(format!("no task is named {:?}", record.task)));
        };
        let (card, train) = (cut.0.card(), &self.tasks[at].train);
        let same =
            (&card.task, card.problem, &card.labels) == (&train.name, train.problem, &train.labels);
        if !same || cut.0.sizes().file != record.bytes {
            return Ok(Some("the cut is not the one that the record is of".into()));
        }
        let arms = choose(&self.all(), std::slice::from_ref(&record.arm), self.base.config())?;
        let arm = arms.iter().position(|arm| arm.name == record.arm);
        let grid =
            Grid { tasks: &self.tasks, arms: &arms, seeds: record.seed + 1, epochs: self.epochs };
        let options = arm.and_then(|arm| match &arms[arm].trains {
            Trains::Method(method) => {
                let run = Run { task: at, arm, seed: record.seed };
                Some(json!(grid.options(run, method.clone(), self.base.config())))
            }
            _ => None,
        });
        Ok(match options {
            Some(options) if options == record.options => None,
            _ => Some(format!("its options are not those of arm {:?} here", record.arm)),
        })
    }

    /// The folder, as far as there is one and nothing else is at work in it: who observes a run may ask for what it
    /// holds.
    fn held(&self) -> linocut::Result<MutexGuard<'_, Option<Folder>>> {
        match self.folder.try_lock() {
            Ok(held) => Ok(held),
            Err(TryLockError::Poisoned(held)) => Ok(held.into_inner()),
            Err(TryLockError::WouldBlock) => Err(Error::new(
                ErrorKind::Config,
                "this study is at work: its folder is free when that ends",
            )),
        }
    }

    /// Does `work` with the folder.
    fn with_folder<T>(
        &self,
        work: impl FnOnce(&mut Folder) -> linocut::Result<T>,
    ) -> linocut::Result<T> {
        match &mut *self.held()? {
            Some(folder) => work(folder),
            None => {
                Err(Error::new(ErrorKind::Config, "this study has no folder, or it was closed")
                    .with_hint("open it with out=..."))
            }
        }
    }

    fn all(&self) -> Vec<Arm> {
        Arm::offered(&self.base.encoder, self.tasks.len())
    }
}

fn lock<T>(held: &Mutex<T>) -> MutexGuard<'_, T> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

fn happening_json(happening: Happening<'_>) -> Value {
    match happening {
        Happening::Planned { runs, missing, time, fitting } => json!({
            "event": "planned", "runs": runs, "missing": missing, "seconds": time.as_secs_f64(), "fitting": fitting,
        }),
        Happening::Begun { job, at: (at, of), names: (task, arm), seed, left } => json!({
            "event": "begun", "job": job, "at": at, "of": of, "task": task, "arm": arm, "seed": seed,
            "seconds_left": left.as_secs_f64(),
        }),
        Happening::Event { job, event } => {
            let mut event = event_json(event);
            event["job"] = job.into();
            event
        }
        Happening::Ended { job, record } => {
            json!({ "event": "ended", "job": job, "record": record })
        }
    }
}
