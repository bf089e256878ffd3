//! Cuts.

use crate::base::{DOING, bytes};
use crate::errors::{detached, json, raised};
use linocut::cut;
use linocut::output::claim;
use pyo3::prelude::*;
use std::path::PathBuf;
use std::sync::Arc;

/// A card as JSON; beside what the file says the key of its metric among its metrics.
pub(crate) fn card_json(card: &cut::Card) -> PyResult<String> {
    let mut all = serde_json::json!(card);
    all["metric_key"] = card.metric.key().into();
    json(&all)
}

/// What a task says of texts: its kind as JSON; the bytes of its logits and of their probabilities, `[texts,
/// outputs]` of float32, and of which labels are answered, a byte each; and how many texts were cut.
pub(crate) type Said = (String, Vec<u8>, Vec<u8>, Vec<u8>, usize);

/// What a task says whose logits these are.
pub(crate) fn said(card: &cut::Card, logits: &[f32], texts_cut: usize) -> PyResult<Said> {
    let (problem, labels, outputs) = (card.problem, &card.labels, card.outputs);
    let kind =
        json(&serde_json::json!({"problem": problem, "labels": labels, "outputs": outputs}))?;
    let answered = card.answered(logits).into_iter().map(u8::from).collect();
    Ok((kind, bytes(logits), bytes(&card.probabilities(logits)), answered, texts_cut))
}

/// A task as a cut of its base.
#[pyclass(frozen, module = "linocut._core")]
pub(crate) struct Cut(pub(crate) Arc<cut::Cut>);

#[pymethods]
impl Cut {
    /// Reads a file and checks it.
    #[staticmethod]
    fn read(py: Python<'_>, path: PathBuf) -> PyResult<Self> {
        let cut = detached(py, || cut::Cut::read(&path))?;
        Ok(Self(Arc::new(cut)))
    }

    /// The cut of a file's bytes.
    #[staticmethod]
    fn from_bytes(py: Python<'_>, bytes: &[u8]) -> PyResult<Self> {
        let cut = cut::Cut::from_bytes(bytes).map_err(|error| raised(py, &error))?;
        Ok(Self(Arc::new(cut)))
    }

    /// The file's bytes.
    fn to_bytes(&self, py: Python<'_>) -> PyResult<Vec<u8>> {
        detached(py, || Ok(self.0.to_bytes()))
    }

    /// Writes a file, whole or not at all.
    fn save(&self, py: Python<'_>, path: PathBuf, force: bool) -> PyResult<()> {
        detached(py, || {
            let _held = claim(&path, "path", force, DOING)?;
            self.0.write(&path, force)
        })
    }

    /// The card, as JSON.
    fn card(&self) -> PyResult<String> {
        card_json(self.0.card())
    }

    /// The head's weight, `[outputs, hidden]`, and bias, as float32.
    fn head(&self) -> (Vec<u8>, Vec<u8>) {
        let head = self.0.head();
        (bytes(&head.weight), bytes(&head.bias))
    }

    /// Bytes of the file.
    fn size(&self) -> u64 {
        self.0.sizes().file
    }
}
