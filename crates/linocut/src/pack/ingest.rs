//! Reading a fine-tuned model, and whether it came from a base.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use rayon::prelude::*;
use serde_json::Value;

use super::survey::Survey;
use crate::checkpoint::{StoredTensor, StoredTensors, canonical, read_model_config};
use crate::cut::{self, Other, Source, StoreType};
use crate::data::{Metric, Problem};
use crate::model::{Base, Head, ModelConfig, Pooling, Weights};
use crate::{Error, ErrorKind, Result};

/// A fine-tuned text classifier on disk: an encoder of the BERT family with a linear head, as
/// `BertForSequenceClassification` or `linocut export` saves it. What its files do not say
/// (`pairs`, `metric`) or may say wrongly can be set before packing.
pub struct Tuned {
    /// Name of the task: the folder's, or what an export says.
    pub name: String,
    /// What is predicted.
    pub problem: Problem,
    /// Label names in the order of the logits; empty for regression.
    pub labels: Vec<String>,
    /// How hidden states become the vector that the head reads.
    pub pooling: Pooling,
    /// Longest text in tokens: what the folder's tokenizer says, else 512, at most the positions.
    pub max_length: usize,
    /// Whether texts come in pairs.
    pub pairs: bool,
    /// The score that the task is judged by.
    pub metric: Metric,
    folder: PathBuf,
    config: ModelConfig,
    tensors: StoredTensors,
    /// Encoder tensors by canonical name, and the head's two: positions in `tensors`.
    encoder: BTreeMap<String, usize>,
    weight: usize,
    bias: usize,
}

impl Tuned {
    /// Opens a model folder; reads headers and the head, no more. `problem` overrides what
    /// `config.json` says: a `problem_type`, else one label means regression and several mean
    /// single-label.
    ///
    /// # Errors
    /// A missing or malformed file, another architecture, no head of one linear layer, labels that
    /// do not fit it, two tensors of one canonical name.
    pub fn open(folder: &Path, problem: Option<Problem>) -> Result<Self> {
        let shown = folder.display().to_string();
        let config = read_model_config(folder)?.ok_or_else(|| {
            let state = if folder.is_dir() { "has no config.json" } else { "is not a folder" };
            tuned_error(format!("{shown} {state}")).with_hint(
                "a fine-tuned model is a Hugging Face folder with config.json and model.safetensors",
            )
        })?;
        let (model_config, pooling) = architecture(&shown, &config)?;
        let tensors = StoredTensors::open(folder)?;
        let mut encoder: BTreeMap<String, usize> = BTreeMap::new();
        for (i, tensor) in tensors.tensors().iter().enumerate() {
            let Some(name) = canonical(&tensor.name).map(|c| c.name) else { continue };
            if let Some(first) = encoder.insert(name.clone(), i) {
                let (first, second) = (&tensors.tensors()[first].name, &tensor.name);
                return Err(tuned_error(format!(
                    "{shown} holds tensor {name} twice: as {first} and as {second}"
                )));
            }
        }
        let find = |name: &str| tensors.tensors().iter().position(|t| t.name == name);
        let (Some(weight), Some(bias)) = (find(HEAD[0]), find(HEAD[1])) else {
            let others = tensors.tensors().iter().map(|t| &t.name[..]);
            let mut others: Vec<&str> = others.filter(|n| canonical(n).is_none()).collect();
            others.truncate(4);
            let found = if others.is_empty() { "none".into() } else { others.join(", ") };
            return Err(tuned_error(format!(
                "{shown} has no head: expected classifier.weight and classifier.bias, found \
                 beside the encoder: {found}"
            ))
            .with_hint("only models fine-tuned as BertForSequenceClassification can be packed"));
        };
        let (shape, bias_shape) =
            (&tensors.tensors()[weight].shape, &tensors.tensors()[bias].shape);
        let outputs = bias_shape.iter().product();
        if shape[..] != [outputs, model_config.hidden] || bias_shape.len() != 1 || outputs == 0 {
            return Err(tuned_error(format!(
                "{shown}: classifier.weight is {shape:?} and classifier.bias {bias_shape:?}, \
                 expected [labels, {}] and [labels]",
                model_config.hidden
            )));
        }
        let problem = problem.map_or_else(|| problem_of(&shown, &config, outputs), Ok)?;
        let labels = match problem {
            Problem::Regression => Vec::new(),
            _ => labels(&shown, &config, outputs)?,
        };
        let absolute = std::path::absolute(folder).ok();
        let last = absolute.as_deref().and_then(Path::file_name);
        let folder_name = last.map_or_else(|| "task".into(), |n| n.to_string_lossy().into_owned());
        let exported = &config["linocut"];
        let limit = tokenizer_limit(folder);
        Ok(Self {
            name: exported["task"].as_str().map_or(folder_name, str::to_string),
            problem,
            labels,
            pooling,
            max_length: limit.unwrap_or(512).clamp(4, model_config.positions.max(4)),
            pairs: exported["pairs"].as_bool().unwrap_or(false),
            metric: Metric::default_for(problem),
            folder: folder.to_path_buf(),
            config: model_config,
            tensors,
            encoder,
            weight,
            bias,
        })
    }

    /// Bytes of all its tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.tensors().iter().map(|t| self.tensors.bytes(t).len() as u64).sum()
    }

    /// Its tensors as they are stored.
    pub fn tensors(&self) -> &StoredTensors {
        &self.tensors
    }

    /// Checks that the model is of the base's architecture and holds numbers.
    ///
    /// # Errors
    /// Another architecture or shapes, naming the first that differ; tensors missing on one side;
    /// NaN or infinite values, counted by tensor.
    pub(super) fn check_fits(&self, base: &Base) -> Result<()> {
        let (a, b) = (base.config(), &self.config);
        let differing: Vec<String> = [
            ("hidden_size", a.hidden, b.hidden),
            ("num_hidden_layers", a.layers, b.layers),
            ("num_attention_heads", a.heads, b.heads),
            ("intermediate_size", a.intermediate, b.intermediate),
            ("vocab_size", a.vocab, b.vocab),
            ("max_position_embeddings", a.positions, b.positions),
            ("type_vocab_size", a.token_types, b.token_types),
        ]
        .into_iter()
        .filter(|(_, a, b)| a != b)
        .map(|(name, a, b)| format!("{name} is {a} in the base, {b} in the model"))
        .chain(
            (a.eps != b.eps).then(|| {
                format!("layer_norm_eps is {} in the base, {} in the model", a.eps, b.eps)
            }),
        )
        .chain((a.activation != b.activation).then(|| {
            format!("hidden_act is {:?} in the base, {:?} in the model", a.activation, b.activation)
        }))
        .chain(self.differing_tensors(base))
        .collect();
        if !differing.is_empty() {
            return Err(tuned_error(format!(
                "{} is no fine-tuned {}: {}{}",
                self.folder.display(),
                base.name,
                differing[..differing.len().min(3)].join("; "),
                if differing.len() > 3 {
                    format!("; and {} more", differing.len() - 3)
                } else {
                    String::new()
                },
            ))
            .with_hint("give the base that the model was fine-tuned from: --base"));
        }
        self.check_tokenizer(base)?;
        let names = self.encoder.keys().map(String::as_str).chain(cut::HEAD_TENSORS);
        let bad: Vec<(&str, usize)> = names
            .collect::<Vec<_>>()
            .into_par_iter()
            .map(|name| Ok((name, self.values(name)?.iter().filter(|v| !v.is_finite()).count())))
            .filter(|found| found.as_ref().map_or(true, |&(_, n)| n > 0))
            .collect::<Result<_>>()?;
        if bad.is_empty() {
            return Ok(());
        }
        let total: usize = bad.iter().map(|(_, n)| n).sum();
        let first = bad.iter().take(3).map(|(name, n)| format!("{n} in {name}"));
        let first = first.collect::<Vec<_>>().join(", ");
        let more = if bad.len() > 3 {
            format!(" and {} tensors more", bad.len() - 3)
        } else {
            String::new()
        };
        Err(tuned_error(format!(
            "{}: {total} values are not finite (NaN or infinite): {first}{more}",
            self.folder.display()
        ))
        .with_hint("the training diverged, or the file is damaged; such a model labels nothing"))
    }

    /// Checks that the model's tokenizer, where its folder has one, makes the base's tokens of a
    /// text: the base's is used with the cut. Saving a tokenizer anew may add fields to its file, so
    /// only the vocabulary and the normalizer are compared.
    fn check_tokenizer(&self, base: &Base) -> Result<()> {
        let read = |folder: &Path| -> Option<Value> {
            serde_json::from_slice(&std::fs::read(folder.join("tokenizer.json")).ok()?).ok()
        };
        let (Some(own), Some(its)) = (read(&self.folder), read(&base.folder)) else {
            return Ok(());
        };
        for (what, a, b) in [
            ("vocabulary", &own["model"]["vocab"], &its["model"]["vocab"]),
            ("normalizer", &own["normalizer"], &its["normalizer"]),
        ] {
            if a != b {
                return Err(tuned_error(format!(
                    "{}: its tokenizer.json has another {what} than that of {}",
                    self.folder.display(),
                    base.name
                ))
                .with_hint(
                    "a cut is used with its base's tokenizer; give the base of this model",
                ));
            }
        }
        Ok(())
    }

    /// Tensors that one side lacks or has in another shape. A pooler that is not read may be absent.
    fn differing_tensors(&self, base: &Base) -> Vec<String> {
        let layout = base.encoder.layout();
        let mut said = Vec::new();
        for spec in layout.tensors() {
            let (name, shape) = (&spec.name, &spec.shape);
            match self.encoder.get(name).map(|&i| &self.tensors.tensors()[i].shape) {
                Some(found) if found == shape => {}
                Some(found) => {
                    said.push(format!("{name} is {shape:?} in the base, {found:?} in the model"));
                }
                None if self.pooling != Pooling::Cls && name.starts_with("pooler.") => {}
                None => said.push(format!("the model lacks {name}")),
            }
        }
        let unknown = self.encoder.keys().filter(|name| layout.index(name).is_none());
        said.extend(unknown.map(|name| format!("the base lacks {name}")));
        said
    }

    /// Checks that the base is the one the model was fine-tuned from.
    ///
    /// Of two unrelated models, ‖a − b‖² is about ‖a‖² + ‖b‖²; fine-tuning moves matrices by a few
    /// percent. Half of that is taken as the line.
    ///
    /// # Errors
    /// If the matrices of the layers differ by as much as those of unrelated models.
    pub(super) fn check_related(&self, base: &Base, survey: &Survey) -> Result<()> {
        let (moved, unrelated) = survey.matrices();
        if moved < 0.5 * unrelated {
            return Ok(());
        }
        Err(tuned_error(format!(
            "{} was not fine-tuned from {}: its matrices differ from the base's by {:.0}% of what \
             unrelated models (random initialisations) differ by",
            self.folder.display(),
            base.name,
            100.0 * (moved / unrelated).sqrt(),
        ))
        .with_hint("give the base that the model was fine-tuned from: --base"))
    }

    /// The stored tensor of this canonical name, or `head.weight` or `head.bias`.
    pub(super) fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        let i = match name {
            "head.weight" => self.weight,
            "head.bias" => self.bias,
            _ => *self.encoder.get(name)?,
        };
        Some(&self.tensors.tensors()[i])
    }

    /// The element type of that tensor.
    pub(super) fn store(&self, tensor: &StoredTensor) -> Result<StoreType> {
        StoreType::of(tensor.dtype).ok_or_else(|| {
            tuned_error(format!(
                "{}: tensor {} is {}, expected F32, F16 or BF16",
                self.folder.display(),
                tensor.name,
                tensor.dtype
            ))
        })
    }

    /// The values of that tensor, as f32.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub(super) fn values(&self, name: &str) -> Result<Vec<f32>> {
        let tensor = self.tensor(name).expect("a tensor that was found before");
        Ok(self.store(tensor)?.take(self.tensors.bytes(tensor)))
    }

    /// The head as the engine takes it.
    pub(super) fn head(&self) -> Result<Head> {
        Ok(Head { weight: self.values("head.weight")?, bias: self.values("head.bias")? })
    }

    /// The whole encoder's weights, in the base's layout; what the model lacks is the base's.
    pub(super) fn weights(&self, base: &Base) -> Result<Weights> {
        let mut weights = base.weights.clone();
        for name in self.encoder.keys() {
            let values = self.values(name)?;
            let Some(to) = weights.tensor_mut(name) else { continue };
            to.copy_from_slice(&values);
        }
        Ok(weights)
    }

    /// Names and element types, for export to give back.
    pub(super) fn source(&self, base: &Base) -> Result<Source> {
        let stored = |i: &usize| &self.tensors.tensors()[*i];
        let prefixed =
            self.encoder.values().filter(|i| stored(i).name.starts_with("bert.")).count();
        let prefix = if 2 * prefixed > self.encoder.len() { "bert." } else { "" };
        let mut stores = BTreeMap::new();
        for name in self.encoder.keys().map(String::as_str).chain(cut::HEAD_TENSORS) {
            let tensor = self.tensor(name).expect("just listed");
            stores.insert(name.to_string(), self.store(tensor)?);
        }
        let most = [StoreType::F32, StoreType::Bf16, StoreType::F16]
            .into_iter()
            .rev()
            .max_by_key(|store| stores.values().filter(|s| *s == store).count())
            .expect("three to choose from");
        stores.retain(|_, store| *store != most);
        let names = self.encoder.iter().map(|(name, i)| (name.clone(), stored(i).name.clone()));
        let layout = base.encoder.layout().tensors().iter().map(|spec| &spec.name);
        let absent: BTreeSet<String> =
            layout.filter(|name| !self.encoder.contains_key(*name)).cloned().collect();
        Ok(Source {
            prefix: prefix.into(),
            names: names.filter(|(name, stored)| *stored != format!("{prefix}{name}")).collect(),
            store: most,
            stores,
            absent,
        })
    }

    /// The tensors that are neither the encoder's nor the head's.
    pub(super) fn others(&self) -> BTreeMap<String, Other> {
        let tensors = self.tensors.tensors().iter();
        tensors
            .filter(|t| canonical(&t.name).is_none() && !HEAD.contains(&&t.name[..]))
            .map(|t| {
                let (dtype, shape) = (t.dtype, t.shape.clone());
                (t.name.clone(), Other { dtype, shape, bytes: self.tensors.bytes(t).to_vec() })
            })
            .collect()
    }
}

/// The head's tensors as stored.
const HEAD: [&str; 2] = ["classifier.weight", "classifier.bias"];

fn tuned_error(message: String) -> Error {
    Error::new(ErrorKind::Base, message)
}

/// The encoder's sizes and the pooling: BERT's own, or what an export says.
fn architecture(folder: &str, config: &Value) -> Result<(ModelConfig, Pooling)> {
    let pooling = match (config["model_type"].as_str(), config["linocut_pooling"].as_str()) {
        (Some("linocut_bert"), Some("mean")) => Pooling::Mean,
        (Some("linocut_bert"), Some("first")) => Pooling::First,
        (Some("linocut_bert"), other) => {
            return Err(tuned_error(format!(
                "{folder}: linocut_pooling is {other:?}, expected mean or first"
            )));
        }
        (None | Some("bert"), _) => Pooling::Cls,
        (Some(other), _) => {
            return Err(tuned_error(format!(
                "{folder}: expected an encoder of model_type \"bert\", found {other:?}"
            ))
            .with_hint("supported: models fine-tuned as BertForSequenceClassification"));
        }
    };
    let mut config = config.clone();
    config["model_type"] = "bert".into();
    Ok((ModelConfig::from_json(&config)?, pooling))
}

fn problem_of(folder: &str, config: &Value, outputs: usize) -> Result<Problem> {
    match config["problem_type"].as_str() {
        Some("regression") => Ok(Problem::Regression),
        Some("single_label_classification") => Ok(Problem::SingleLabel),
        Some("multi_label_classification") => Ok(Problem::MultiLabel),
        Some(other) => Err(tuned_error(format!(
            "{folder}: problem_type {other:?}, expected regression, single_label_classification \
             or multi_label_classification"
        ))),
        // As Transformers decides it, which then looks at the labels' type.
        None if outputs == 1 => Ok(Problem::Regression),
        None => Ok(Problem::SingleLabel),
    }
}

/// `id2label`, or where it is absent what Transformers assumes.
fn labels(folder: &str, config: &Value, outputs: usize) -> Result<Vec<String>> {
    let Some(map) = config["id2label"].as_object() else {
        return Ok((0..outputs).map(|i| format!("LABEL_{i}")).collect());
    };
    let label = |i: usize| map.get(&i.to_string()).and_then(Value::as_str).map(str::to_string);
    let labels: Option<Vec<String>> = (0..outputs).map(label).collect();
    match labels {
        Some(labels) if map.len() == outputs => Ok(labels),
        _ => Err(tuned_error(format!(
            "{folder}: id2label has {} labels, expected one for each of the head's outputs, 0 to {}",
            map.len(),
            outputs - 1
        ))),
    }
}

/// The longest text that the folder's tokenizer gives, where it says a number that means one.
fn tokenizer_limit(folder: &Path) -> Option<usize> {
    let settings = std::fs::read(folder.join("tokenizer_config.json")).ok()?;
    let settings: Value = serde_json::from_slice(&settings).ok()?;
    usize::try_from(settings["model_max_length"].as_u64()?).ok()
}
