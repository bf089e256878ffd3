//! One base in memory with any number of cuts on it: batches of many tasks, and one text for many
//! tasks with the layers that they share computed once.

mod base;
mod batch;
mod candidates;
mod flow;
mod forward;
mod plan;
mod product;
mod request;
mod shared;
mod task;
#[cfg(test)]
mod tests;
mod view;

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::cut::Cut;
use crate::data::Encoding;
use crate::kernels::pool::awake;
use crate::model::{Base, Pooling};
use crate::{Error, ErrorKind, Result};
use base::Matrices;
use batch::Stream;
use candidates::Known;
use forward::{Around, Pass, Row, Scratch};
use plan::Planner;
pub use plan::{Costs, TaskPlan};
pub use request::{Answer, Query, Request, nearest_known};
use shared::SharedChanges;
pub use task::Task;
use view::Views;

/// Buffers above this are given back after a batch instead of kept for the next, in bytes.
const SCRATCH_KEPT: usize = 64 << 20;

/// Tokens of one task that are computed at one time: others wait no longer for a cut that is checked.
const SMALL_TOKENS: usize = 1024;

/// The numbers that products with matrices are made of; all else is f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Dtype {
    /// Floats of 32 bits.
    #[default]
    F32,
    /// Whole numbers of 8 bits: see [`crate::kernels::quantized`].
    Int8,
}

impl Dtype {
    /// Both.
    pub const ALL: [Self; 2] = [Self::F32, Self::Int8];

    /// The one of this name.
    ///
    /// # Errors
    /// A name of none.
    pub fn named(name: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name).ok_or_else(|| {
            let message = format!("`dtype={name}`, expected f32 or int8");
            Error::new(ErrorKind::Config, message)
        })
    }

    /// `f32` or `int8`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Int8 => "int8",
        }
    }
}

/// How a bank computes.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The numbers of its products.
    pub dtype: Dtype,
    /// Most bytes of matrices of tasks' own, made from the base's where many entries are zero.
    pub materialise_budget: usize,
    /// Most bytes of memory of all tasks, as [`Bank::bytes`] counts them.
    pub task_memory: usize,
    /// Most tokens of one batch, counted once for every task that changes layers, and once for all
    /// others; at least 1. A single longer text is a batch alone.
    pub batch_tokens: usize,
    /// What products cost; measured at open where `None`.
    pub costs: Option<Costs>,
}

impl Default for Options {
    /// f32, 256 MB of own matrices, 4 GB of tasks, 16,384 tokens a batch, costs measured.
    fn default() -> Self {
        Self {
            dtype: Dtype::F32,
            materialise_budget: 256 << 20,
            task_memory: 4_000_000_000,
            batch_tokens: 16_384,
            costs: None,
        }
    }
}

/// A base and the tasks on it. Tasks come and go while predictions run: each prediction sees the
/// tasks that there were when it began, and a removed task's memory is freed when the last
/// prediction that sees it ends.
pub struct Bank {
    base: Arc<Base>,
    dtype: Dtype,
    matrices: Matrices,
    planner: Planner,
    batch_tokens: usize,
    task_memory: usize,
    /// Bytes of tasks that are prepared and not served yet.
    pending: Arc<Mutex<usize>>,
    tasks: RwLock<Tasks>,
    shared: Mutex<SharedChanges>,
    known: Known,
    views: Views,
    scratch: Mutex<Vec<Scratch>>,
}

/// Bytes of a task that is not served yet, which count until it is or is given up.
#[derive(Debug)]
struct Pending {
    all: Arc<Mutex<usize>>,
    bytes: usize,
}

impl Pending {
    /// Gives back what is beyond `bytes`.
    fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        *self.all.lock().unwrap_or_else(PoisonError::into_inner) -= self.bytes - bytes;
        self.bytes = bytes;
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        self.shrink(0);
    }
}

/// Bytes of memory of tasks, what they share counted once.
fn bytes_of<'a>(tasks: impl Iterator<Item = &'a Arc<Task>> + Clone) -> usize {
    let mut seen = HashSet::new();
    let changes = tasks.clone().flat_map(|task| task.changes()).map(|(_, change)| change);
    let changes = changes.filter(|change| seen.insert(Arc::as_ptr(change)));
    let bytes = changes.map(|change| change.bytes()).sum::<usize>();
    bytes + tasks.map(|task| task.head_bytes()).sum::<usize>()
}

/// Tasks by name.
type Tasks = BTreeMap<Arc<str>, Arc<Task>>;

impl Bank {
    /// A bank without tasks on the base in `folder`.
    ///
    /// # Errors
    /// As [`Base::open`], and options out of range.
    pub fn open(folder: &Path, options: Options) -> Result<Self> {
        // The pooling is each task's own; this one needs no pooler.
        Self::new(Base::open(folder, Some(Pooling::First))?, options)
    }

    /// A bank without tasks on `base`, whose own pooling does not matter.
    ///
    /// # Errors
    /// Options out of range, and matrices that the format of numbers has no room for.
    pub fn new(base: impl Into<Arc<Base>>, options: Options) -> Result<Self> {
        let base = base.into();
        if options.batch_tokens == 0 {
            let message = "a batch of 0 tokens, expected at least 1";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let dtype = options.dtype;
        let matrices = Matrices::new(&base, dtype)?;
        let costs = options.costs.unwrap_or_else(|| Costs::measure(&base, dtype));
        base.weights.give_back();
        Ok(Self {
            dtype,
            planner: Planner::new(costs, dtype, options.materialise_budget),
            batch_tokens: options.batch_tokens,
            task_memory: options.task_memory,
            pending: Arc::default(),
            tasks: RwLock::default(),
            shared: Mutex::default(),
            known: Known::default(),
            views: Views::new(Arc::clone(&base)),
            scratch: Mutex::default(),
            matrices,
            base,
        })
    }

    /// The base.
    pub fn base(&self) -> &Base {
        &self.base
    }

    /// The numbers of its products.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Bytes of the base's matrices, laid out for products.
    pub fn matrix_bytes(&self) -> usize {
        self.matrices.bytes()
    }

    /// What products cost here.
    pub fn costs(&self) -> &Costs {
        self.planner.costs()
    }

    /// Adds the task `name`.
    ///
    /// # Errors
    /// If there is a task of that name, the cut does not fit the base (see [`Cut::check_fits`]), or
    /// its probes get other logits here than it expects; nothing is then changed.
    pub fn add(&self, name: &str, cut: &Cut) -> Result<Arc<Task>> {
        self.put(name, cut, false)
    }

    /// Puts `cut` in the place of the task `name`: predictions under way end with the old version,
    /// all later ones use the new.
    ///
    /// # Errors
    /// If there is no task of that name, and as [`Bank::add`]; the old version then stays.
    pub fn replace(&self, name: &str, cut: &Cut) -> Result<Arc<Task>> {
        self.put(name, cut, true)
    }

    fn put(&self, name: &str, cut: &Cut, replace: bool) -> Result<Arc<Task>> {
        let check = |known: bool| match (known, replace) {
            (true, false) => {
                let error =
                    Error::new(ErrorKind::Config, format!("there is a task {name:?} already"));
                Err(error.with_hint("replace it, or choose another name"))
            }
            (false, true) => Err(self.unknown(name)),
            _ => Ok(()),
        };
        let known = self.read().contains_key(name);
        check(known)?; // before the work; once more when it is done
        let task = self.prepare(name, cut)?;
        let mut tasks = self.write();
        let known = tasks.contains_key(name);
        if known == replace {
            let old = tasks.insert(name.into(), Arc::clone(&task));
            task.settle();
            drop(tasks);
            drop(old); // may be much memory: not while others wait
            return Ok(task);
        }
        drop(tasks);
        check(known).map(|()| task)
    }

    /// Checks `cut` and makes a task of it that nobody is served by yet; see [`Bank::insert`].
    ///
    /// # Errors
    /// As [`Bank::add`], but for the name.
    pub fn prepare(&self, name: &str, cut: &Cut) -> Result<Arc<Task>> {
        self.prepare_checked(name, cut).map(|(task, _)| task)
    }

    /// The largest difference of a probe's logits here from those that the cut expects, as
    /// [`Cut::check_probes`] counts it.
    ///
    /// # Errors
    /// As [`Bank::prepare`].
    pub fn verify(&self, cut: &Cut) -> Result<f32> {
        self.prepare_checked(&cut.card().task, cut).map(|(_, difference)| difference)
    }

    fn prepare_checked(&self, name: &str, cut: &Cut) -> Result<(Arc<Task>, f32)> {
        cut.check_fits(&self.base)?;
        let view = self.views.of(&self.matrices, cut.card().slim.as_ref())?;
        let mut room = self.take_room(name, Task::need(cut, &view, self.dtype)?)?;
        let mut task = Task::new(name, cut, view, self.dtype, &self.known)?;
        let mut shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        let slim = cut.card().slim.clone();
        task.share(|number, change| shared.one_of((slim.as_ref(), number), change));
        drop(shared);
        room.shrink(task.unshared_bytes());
        task.hold(room);
        let task = Arc::new(task);
        let difference = self.check_probes(&task, cut)?;
        self.base.weights.give_back();
        Ok((task, difference))
    }

    /// Bytes of memory that a task of `cut` may need at most.
    ///
    /// # Errors
    /// If the cut does not fit the base.
    pub fn need(&self, cut: &Cut) -> Result<usize> {
        cut.check_fits(&self.base)?;
        let view = self.views.of(&self.matrices, cut.card().slim.as_ref())?;
        Task::need(cut, &view, self.dtype)
    }

    /// Most bytes of memory of all tasks.
    pub fn task_memory(&self) -> usize {
        self.task_memory
    }

    /// Room for a task of `need` bytes in the place of one named `name`, where there is one.
    fn take_room(&self, name: &str, need: usize) -> Result<Pending> {
        let tasks = self.read();
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let others = bytes_of(tasks.values().filter(|task| task.name() != name));
        let free = self.task_memory.saturating_sub(others).saturating_sub(*pending);
        if need > free {
            let mb = |bytes: usize| bytes as f64 / 1e6;
            let message = format!(
                "the task {name:?} needs up to {:.1} MB of memory, and {:.1} of {:.1} MB are free",
                mb(need),
                mb(free),
                mb(self.task_memory),
            );
            return Err(Error::new(ErrorKind::Memory, message)
                .with_hint("remove a task, or allow more (`task_memory`)"));
        }
        *pending += need;
        drop((pending, tasks));
        Ok(Pending { all: Arc::clone(&self.pending), bytes: need })
    }

    /// Serves a task that this bank prepared, in the place of one of its name where there is one,
    /// which is given back.
    ///
    /// # Errors
    /// If the task belongs to another base.
    pub fn insert(&self, task: Arc<Task>) -> Result<Option<Arc<Task>>> {
        let (found, expected) = (&task.card().base.fingerprint, self.base.fingerprint.to_string());
        if *found != expected {
            let message = format!(
                "the task {:?} belongs to the base with fingerprint {found}, found {expected}",
                task.name()
            );
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut tasks = self.write();
        task.settle();
        Ok(tasks.insert(task.name().into(), task))
    }

    /// Removes the task `name` and gives it back.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn remove(&self, name: &str) -> Result<Arc<Task>> {
        let removed = self.write().remove(name);
        removed.ok_or_else(|| self.unknown(name))
    }

    /// The task `name`.
    ///
    /// # Errors
    /// If there is none of that name; the hint has the nearest.
    pub fn task(&self, name: &str) -> Result<Arc<Task>> {
        let found = self.read().get(name).cloned();
        found.ok_or_else(|| self.unknown(name))
    }

    /// All tasks, by name.
    pub fn tasks(&self) -> Vec<Arc<Task>> {
        self.read().values().cloned().collect()
    }

    /// Bytes of memory of all tasks, what they share counted once, and of the matrices of their own
    /// that are kept ready.
    pub fn bytes(&self) -> (usize, usize) {
        (bytes_of(self.read().values()), self.planner.ready_bytes())
    }

    /// What the bank does with each task, by name, on texts of `tokens` tokens that are alone of
    /// their task in a batch.
    pub fn plan(&self, tokens: usize) -> Vec<TaskPlan> {
        self.tasks().into_iter().map(|task| self.planner.plan(&self.views, task, tokens)).collect()
    }

    /// The error of a task that there is not.
    fn unknown(&self, name: &str) -> Error {
        let names: Vec<Arc<str>> = self.read().keys().cloned().collect();
        request::unknown(name, &names)
    }

    // These locks are held for look-ups and single changes only, never while something is computed;
    // where `pending` is locked too, it is the second.
    fn read(&self) -> RwLockReadGuard<'_, Tasks> {
        self.tasks.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Tasks> {
        self.tasks.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_probes(&self, task: &Arc<Task>, cut: &Cut) -> Result<f32> {
        let found = self.logits(task, &cut.probe_inputs(), |_| true).unwrap_or_default();
        match self.dtype {
            Dtype::F32 => cut.check_probes(&found),
            Dtype::Int8 => cut.check_int8_probes(&found),
        }
    }

    /// Logits, `[texts, outputs]`, of texts of one task in their order, or none if `goes_on`, which hears of
    /// every batch how many texts are done, says `false`.
    pub fn logits(
        &self,
        task: &Arc<Task>,
        texts: &[Encoding],
        mut goes_on: impl FnMut(usize) -> bool,
    ) -> Option<Vec<f32>> {
        let mut found = Vec::with_capacity(texts.len() * task.card().outputs);
        let mut rest = texts;
        while !rest.is_empty() {
            let mut tokens = 0;
            let fits = |text: &&Encoding| {
                tokens += text.ids.len();
                tokens <= SMALL_TOKENS
            };
            let count = rest.iter().take_while(fits).count().max(1);
            let batch: Vec<&Encoding> = rest[..count].iter().collect();
            let streams = (0..count).map(|text| Stream { text, tasks: vec![0] }).collect();
            let mut rows = self.run(&batch, std::slice::from_ref(task), streams);
            rows.sort_by_key(|row| row.text);
            found.extend(rows.into_iter().flat_map(|row| row.logits));
            rest = &rest[count..];
            if !goes_on(texts.len() - rest.len()) {
                return None;
            }
        }
        Some(found)
    }

    /// Logits of one batch; `streams` has one stream a text.
    fn run(&self, texts: &[&Encoding], tasks: &[Arc<Task>], streams: Vec<Stream>) -> Vec<Row> {
        if streams.is_empty() {
            return vec![];
        }
        let pool = || self.scratch.lock().unwrap_or_else(PoisonError::into_inner);
        let mut scratch = pool().pop().unwrap_or_default();
        let around = Around::new(&self.base.encoder, texts);
        let pass = Pass::new((&self.matrices, &self.planner), &around, texts, tasks);
        let rows = awake(|| pass.run(streams, &mut scratch));
        if scratch.bytes() <= SCRATCH_KEPT {
            pool().push(scratch);
        }
        rows
    }
}
