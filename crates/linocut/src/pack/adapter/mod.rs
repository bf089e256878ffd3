//! Low-rank adapters as PEFT saves them (LoRA, Hu et al. 2021), as cuts of their base.

mod config;
mod contents;
mod pattern;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::architecture::{labels, problem};
use super::build::{self, Score, Story, narrowest};
use super::ingest::tuned_error;
use super::outline::{Outline, folder_name, tokenizer_limit};
use super::tokenizer::Own;
use super::verify::ProbeTexts;
use crate::checkpoint::{StoredTensors, read_model_config};
use crate::cut::{Cut, Edit, LowRank, TensorEdit};
use crate::data::{Metric, Problem};
use crate::model::{self, Base, Head, Pooling, Weights};
use crate::{Error, ErrorKind, Result};
pub(super) use config::CONFIG;
use config::{AdapterConfig, MERGE};
use contents::{Contents, Factors};

const TENSORS: &str = "adapter_model.safetensors";

/// Logits of a cut may differ by this from those of the base with the adapter merged, relative to the largest
/// of a text or 1: as those of a cut's probes may.
const TOLERANCE: f32 = 1e-5;

/// An adapter on disk, on its own: what can be said of it before there is a base.
pub struct AdapterFolder {
    folder: PathBuf,
    config: AdapterConfig,
    tensors: StoredTensors,
    tokenizer: Option<Own>,
}

/// An adapter and what it does to the base that it is packed for.
pub struct Adapter {
    /// What it predicts.
    pub outline: Outline,
    /// The base that it was trained on, where its files call that otherwise than this base.
    pub other_base: Option<String>,
    /// Bytes of its tensors.
    pub bytes: u64,
    contents: Contents,
    tensors: StoredTensors,
}

impl AdapterFolder {
    /// Opens a folder with `adapter_config.json` and `adapter_model.safetensors`; reads the one and the
    /// header of the other.
    ///
    /// # Errors
    /// A missing or malformed file, another kind of adapter than LoRA, any field that is not understood.
    pub fn open(folder: &Path) -> Result<Self> {
        let config = AdapterConfig::read(folder)?;
        let path = folder.join(TENSORS);
        if !path.exists() {
            let error = tuned_error(format!("{} has no {TENSORS}", folder.display()));
            return Err(match folder.join("adapter_model.bin").exists() {
                true => error.with_hint(
                    "there is an adapter_model.bin; load the adapter with PEFT and save it again \
                     (save_pretrained)",
                ),
                false => error.with_hint("the adapter was not saved whole"),
            });
        }
        Ok(Self {
            folder: folder.to_path_buf(),
            config,
            tensors: StoredTensors::open(&path)?,
            tokenizer: Own::open(folder)?,
        })
    }

    /// Reads what the adapter does to `base`. `given` goes before what its files say of the problem, and
    /// `names` are those of its labels where they say none.
    ///
    /// # Errors
    /// Any tensor that is not understood, does not fit the base or holds other than numbers; a part that is
    /// missing; another tokenizer than the base's; labels or a problem that do not fit the head.
    pub fn on(
        self,
        base: &Base,
        given: Option<Problem>,
        names: Option<Vec<String>>,
    ) -> Result<Adapter> {
        let Self { folder, config, tensors, mut tokenizer } = self;
        let shown = folder.display().to_string();
        if base.config().token_types == 0 {
            tokenizer = tokenizer.map(Own::without_types);
        }
        let contents = Contents::of(&shown, &config, &tensors, base)?;
        if let Some(own) = tokenizer {
            own.check_same(&folder, base)?;
        }
        // Where training left the model's config beside the adapter, it says what the labels are.
        let said = read_model_config(&folder)?.unwrap_or(Value::Null);
        let outputs = contents.head.outputs();
        let problem = problem(&shown, &said, outputs, given)?;
        let own_names = labels(&shown, &said, outputs)?;
        let labels = match (names, problem) {
            (Some(names), _) => checked(names, outputs, problem)?,
            (None, Problem::Regression) => vec![],
            (None, _) => own_names,
        };
        let limit = tokenizer_limit(&folder).or_else(|| tokenizer_limit(&base.folder));
        let outline = Outline {
            name: folder_name(&folder),
            problem,
            labels,
            pooling: Pooling::Cls,
            max_length: limit.unwrap_or(512).clamp(4, base.config().positions.max(4)),
            pairs: false,
            metric: Metric::default_for(problem),
        };
        let last = |name: &str| {
            let name = name.trim_end_matches('/').rsplit('/').next();
            name.unwrap_or_default().to_lowercase()
        };
        let other_base = config.base.filter(|named| last(named) != last(&base.name));
        let bytes = tensors.tensors().iter().map(|t| t.size() as u64).sum();
        Ok(Adapter { outline, other_base, bytes, contents, tensors })
    }
}

/// Names of labels, as many as there are outputs and no two alike.
fn checked(names: Vec<String>, outputs: usize, problem: Problem) -> Result<Vec<String>> {
    let wrong = |what: String| Err(Error::new(ErrorKind::Config, format!("`labels` {what}")));
    if problem == Problem::Regression {
        return wrong("names labels, and a regression has none".into());
    }
    if names.len() != outputs {
        let s = if names.len() == 1 { "" } else { "s" };
        return wrong(format!("has {} name{s}, the adapter's head {outputs} outputs", names.len()));
    }
    if let Some(i) = names.iter().position(String::is_empty) {
        return wrong(format!("has an empty name, number {i}"));
    }
    if let Some(i) = (1..outputs).find(|&i| names[..i].contains(&names[i])) {
        return wrong(format!("has {:?} twice", names[i]));
    }
    Ok(names)
}

impl Factors {
    /// As a cut holds them: Aᵀ, and B times the scale. Where the scale is no power of two, each entry of B is
    /// rounded once.
    fn edit(&self, name: &str, shape: &[usize]) -> Result<Edit> {
        let (rows, columns, rank) = (shape[0], shape[1], self.rank);
        let a = (0..columns * rank).map(|i| self.a[i % rank * columns + i / rank]);
        let b = self.b.iter().map(|b| (f64::from(*b) * self.scale) as f32);
        let factors: Vec<f32> = a.chain(b).collect();
        if let Some(i) = factors.iter().position(|v| !v.is_finite()) {
            let message =
                format!("{name}: factors times {} come out as {}", self.scale, factors[i]);
            return Err(tuned_error(message).with_hint(MERGE));
        }
        let store = narrowest(factors.iter());
        Ok(Edit::LowRank(LowRank::new((rows, columns), store, factors)?))
    }

    /// `matrix`, `[rows, columns]`, += scale·B·A, in f64.
    fn merge(&self, matrix: &mut [f32]) {
        let columns = self.a.len() / self.rank;
        let rows = matrix.chunks_exact_mut(columns).zip(self.b.chunks_exact(self.rank));
        for (row, b) in rows {
            for (c, w) in row.iter_mut().enumerate() {
                let terms = b.iter().enumerate();
                let dot: f64 =
                    terms.map(|(p, b)| f64::from(*b) * f64::from(self.a[p * columns + c])).sum();
                *w = (f64::from(*w) + self.scale * dot) as f32;
            }
        }
    }
}

impl Adapter {
    /// Packs the adapter as a cut of `base`, which it was opened on: factors stay factors, what it brings
    /// whole replaces the base's. With `score`, the card has the score.
    ///
    /// # Errors
    /// Factors that are too large, or a file that changed meanwhile.
    pub fn pack(&self, base: &mut Base, score: Option<Score<'_>>) -> Result<Cut> {
        let specs = base.encoder.layout().tensors();
        let mut edits = BTreeMap::new();
        for (i, spec) in specs.iter().enumerate() {
            let edit = if let Some(factors) = self.contents.factors.get(&spec.name) {
                factors.edit(&spec.name, &spec.shape)?
            } else if let Some(values) = self.contents.replaced.get(&spec.name) {
                let pairs = values.iter().zip(base.weights.at(i));
                if !base.encoder.is_absent(i)
                    && pairs.into_iter().all(|(a, b)| a.to_bits() == b.to_bits())
                {
                    continue;
                }
                Edit::Replace { store: narrowest(values.iter()), values: values.clone() }
            } else {
                continue;
            };
            edits.insert(spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit });
        }
        let story = Story {
            method: json!({"name": "pack", "adapter": "lora"}),
            training: json!({"tensors": specs.len(), "identical": specs.len() - edits.len()}),
            metrics: BTreeMap::new(),
        };
        let cut = build::cut(base, &self.outline, &self.contents.head, edits, story, score)?;
        self.tensors.check_unchanged()?;
        Ok(cut)
    }

    /// Checks that `cut`, on `base`, gives the logits of the base with the adapter merged into its matrices in
    /// float64, on some built-in texts and on `texts`. Returns how many texts these were, and the largest
    /// difference, relative to the largest logit of its text or 1.
    ///
    /// # Errors
    /// The first text whose logits differ by more than 1e-5 so measured.
    ///
    /// # Panics
    /// If there are pairs, and not one for each text.
    pub fn check_logits(
        &self,
        base: &mut Base,
        cut: &Cut,
        texts: &[String],
        pairs: Option<&[String]>,
    ) -> Result<(usize, f32)> {
        let probes = ProbeTexts::new(&base.tokenizer, &self.outline, texts, pairs);
        let inputs = probes.encode(&base.tokenizer)?;
        let encoder = base.encoder.with_pooling(self.outline.pooling);
        let head = Head::from(cut);
        let merged = self.merged(&base.weights);
        let expected = model::logits(&encoder, &merged, &self.contents.head, &inputs, |_| {});
        drop(merged);
        let applied = cut.apply(&mut base.weights)?;
        let found = model::logits(&encoder, &base.weights, &head, &inputs, |_| {});
        applied.undo(&mut base.weights);
        let rows = found.chunks(head.outputs()).zip(expected.chunks(head.outputs()));
        let mut largest = 0.0f32;
        for (i, (found, expected)) in rows.enumerate() {
            let size = expected.iter().fold(1.0f32, |m, z| m.max(z.abs()));
            let off = found.iter().zip(expected).fold(0.0f32, |m, (f, e)| m.max((f - e).abs()));
            if (off / size).is_nan() || off / size > TOLERANCE {
                let start: String = probes.text(i).chars().take(60).collect();
                return Err(Error::new(
                    ErrorKind::Cut,
                    format!(
                        "the cut is not the packed adapter: {start:?} has the logits {found:?}, \
                         expected {expected:?}"
                    ),
                ));
            }
            largest = largest.max(off / size);
        }
        Ok((inputs.len(), largest))
    }

    /// The base's weights with everything that the adapter does to them.
    fn merged(&self, base: &Weights) -> Weights {
        let mut weights = base.clone();
        for (name, factors) in &self.contents.factors {
            factors.merge(weights.tensor_mut(name).expect("found in the base's layout"));
        }
        for (name, values) in &self.contents.replaced {
            let tensor = weights.tensor_mut(name).expect("found in the base's layout");
            tensor.copy_from_slice(values);
        }
        weights
    }
}
