//! Models that others fine-tuned: measured and packed.

use crate::base::{Base, bytes};
use crate::cut::Cut;
use crate::errors::{detached, json, raised, read};
use linocut::checkpoint::StoredTensors;
use linocut::closeness::{self, Model};
use linocut::data::Problem;
use linocut::model::{self, Encoder, family};
use linocut::output::Budget;
use linocut::pack::{self, AdapterFolder, Outline, Tuned};
use linocut::{Error, ErrorKind, Result};
use pyo3::prelude::*;
use serde::Deserialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// [`closeness::Options`]
#[derive(Deserialize)]
struct Options {
    tolerance: f64,
    initializer_range: Option<f64>,
    sample_baseline: Option<u64>,
    allow_nan: bool,
}

/// How far models lie from their base, as JSON.
#[pyfunction]
pub(crate) fn measure(
    py: Python<'_>,
    base: PathBuf,
    tuned: Vec<PathBuf>,
    options: &str,
) -> PyResult<String> {
    let Options { tolerance, initializer_range, sample_baseline, allow_nan } = read(py, options)?;
    let options = closeness::Options { tolerance, initializer_range, sample_baseline, allow_nan };
    let report = detached(py, || {
        let tuned = tuned.iter().map(|path| Model::open(path)).collect::<Result<Vec<_>>>()?;
        closeness::measure(&base, &tuned, &options, |_, _| {})
    })?;
    json(&report)
}

/// A tensor by the name and shape that files have, and the bytes of its float32 values.
type Edited = (String, Vec<usize>, Vec<u8>);

/// The tensors that a cut changes of the model in `folder`, as they are after; its weights must be those of the
/// cut's base.
#[pyfunction]
pub(crate) fn edited(py: Python<'_>, folder: PathBuf, cut: &Cut) -> PyResult<Vec<Edited>> {
    detached(py, || {
        let cut = &cut.0;
        let checkpoint = family::open(&folder)?;
        let fingerprint = checkpoint.fingerprint().to_string();
        cut.check_base("the model in memory", &fingerprint).map_err(|error| {
            Error::new(error.kind(), error.message()).with_hint(
                "load the cut's own base in the type of its files (dtype=\"auto\"), without layers that they have \
                 not (add_pooling_layer=False), and take other cuts off first",
            )
        })?;
        if cut.card().slim.is_some() {
            let message = "a slim cut leaves out parts that a model in memory has";
            return Err(Error::new(ErrorKind::Cut, message)
                .with_hint("export it (base.export) and load the folder"));
        }
        let encoder = Encoder::open(&checkpoint, Some(cut.card().pooling))?;
        let mut weights = encoder.load(&checkpoint)?;
        drop(cut.apply(&mut weights)?);
        let stored = StoredTensors::open(&folder)?;
        let names = stored.tensors().iter().filter_map(|tensor| {
            let canonical = checkpoint.spelling().canonical(&tensor.name)?;
            Some((canonical.name, &tensor.name))
        });
        let names: HashMap<String, &String> = names.collect();
        let layout = weights.layout();
        let found = cut.edits().keys().filter_map(|name| {
            let i = layout.index(name)?;
            let shape = layout.tensors()[i].shape.clone();
            Some(((*names.get(name)?).clone(), shape, bytes(weights.at(i))))
        });
        let found: Vec<Edited> = found.collect();
        match found.len() == cut.edits().len() {
            true => Ok(found),
            false => {
                let message = "the model in memory has not all tensors that the cut changes";
                Err(Error::new(ErrorKind::Base, message))
            }
        }
    })
}

/// What is said of a model beside its files.
#[derive(Deserialize)]
struct Said {
    budget: Option<Budget>,
    name: Option<String>,
    problem: Option<Problem>,
    labels: Option<Vec<String>>,
    max_length: Option<usize>,
    pairs: bool,
}

impl Said {
    /// Puts what is said in the place of what the files say.
    fn set(&self, outline: &mut Outline, base: &model::Base) -> Result<()> {
        outline.set(base, self.name.as_deref(), self.max_length, self.pairs)
    }

    fn pack(&self, mut base: model::Base, folder: &Path) -> Result<linocut::cut::Cut> {
        if folder.join("adapter_config.json").exists() {
            if self.budget.is_some() {
                let message = "`budget` has no meaning for an adapter";
                return Err(Error::new(ErrorKind::Config, message));
            }
            let found = AdapterFolder::open(folder)?;
            let mut adapter = found.on(&base, self.problem, self.labels.clone())?;
            self.set(&mut adapter.outline, &base)?;
            return adapter.pack(&mut base, None);
        }
        if self.labels.is_some() {
            let message = "`labels` has no meaning for a model, whose config.json names them";
            return Err(Error::new(ErrorKind::Config, message));
        }
        let mut tuned = Tuned::open(folder, self.problem)?;
        self.set(&mut tuned.outline, &base)?;
        match &self.budget {
            None => pack::lossless(&mut base, &tuned, None, &|_, _| {}),
            Some(budget) => {
                let budget = budget.of(tuned.bytes());
                pack::to_budget(&mut base, &tuned, budget, None, &|_, _| {})
            }
        }
    }
}

/// A fine-tuned model or an adapter, packed on its base.
#[pyfunction]
pub(crate) fn pack_model(
    py: Python<'_>,
    base: &Base,
    folder: PathBuf,
    said: &str,
) -> PyResult<Cut> {
    let said: Said = read(py, said)?;
    if !folder.is_dir() {
        let message = format!("{}: no such folder", folder.display());
        return Err(raised(py, &Error::new(ErrorKind::Io, message)));
    }
    let cut = detached(py, || said.pack((*base.base).clone(), &folder))?;
    Ok(Cut(Arc::new(cut)))
}
