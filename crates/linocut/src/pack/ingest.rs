//! Reading a fine-tuned model, and whether it came from a base.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::adapter;
use super::architecture::{architecture, labels, problem};
use super::contents::Contents;
use super::outline::{Outline, folder_name, tokenizer_limit};
use super::survey::Survey;
use super::tokenizer::Own;
use crate::checkpoint::{StoredTensor, StoredTensors, read_model_config};
use crate::cut::{self, Other, Source, StoreType};
use crate::data::{Metric, Problem, Tokenizer};
use crate::model::{Base, Encoder, Head, Weights};
use crate::{Error, ErrorKind, Result};
use rayon::prelude::*;

/// A fine-tuned text classifier on disk: an encoder of a known family with its head, as the family's
/// `…ForSequenceClassification` or `linocut export` saves it. What its files do not say
/// (`pairs`, `metric`) or may say wrongly can be set in its outline before packing.
pub struct Tuned {
    /// What it predicts.
    pub outline: Outline,
    folder: PathBuf,
    encoder: Encoder,
    tensors: StoredTensors,
    contents: Contents,
    tokenizer: Option<Own>,
}

impl Tuned {
    /// Opens a model folder; reads its small files, headers and the head, no more. `problem` goes
    /// before what `config.json` says: a `problem_type`, else one label means regression and several
    /// mean single-label.
    ///
    /// # Errors
    /// A missing or malformed file, a class that is not understood, no head of one linear layer,
    /// labels or a problem that do not fit it, any tensor that is no part of such a model.
    pub fn open(folder: &Path, problem_given: Option<Problem>) -> Result<Self> {
        let shown = folder.display().to_string();
        let config = read_model_config(folder)?.ok_or_else(|| {
            if folder.join(adapter::CONFIG).exists() {
                return tuned_error(format!("{shown} is an adapter: it has {} and no config.json", adapter::CONFIG))
                    .with_hint("an adapter is packed with `adapter` instead of `tuned`");
            }
            let state = if folder.is_dir() { "has no config.json" } else { "is not a folder" };
            tuned_error(format!("{shown} {state}")).with_hint(
                "a fine-tuned model is a Hugging Face folder with config.json and model.safetensors",
            )
        })?;
        let (of_encoder, pooling) = architecture(folder, &config)?;
        let tensors = StoredTensors::open(folder)?;
        let (contents, encoder) = Contents::of(&shown, &tensors, &of_encoder, pooling)?;
        let outputs = tensors.tensors()[contents.bias].shape.iter().product();
        let problem = problem(&shown, &config, outputs, problem_given)?;
        let mut labels = labels(&shown, &config, outputs)?;
        if problem == Problem::Regression {
            labels.clear();
        }
        let exported = &config["linocut"];
        let limit = tokenizer_limit(folder);
        let mut tokenizer = Own::open(folder)?;
        if encoder.config().token_types == 0 {
            tokenizer = tokenizer.map(Own::without_types);
        }
        let name = exported["task"].as_str().map(str::to_string);
        let outline = Outline {
            name: name.unwrap_or_else(|| folder_name(folder)),
            problem,
            labels,
            pooling,
            max_length: limit.unwrap_or(512).clamp(4, encoder.config().positions.max(4)),
            pairs: exported["pairs"].as_bool().unwrap_or(false),
            metric: Metric::default_for(problem),
        };
        Ok(Self { outline, folder: folder.to_path_buf(), encoder, tensors, contents, tokenizer })
    }

    /// Bytes of all its tensors.
    pub fn bytes(&self) -> u64 {
        self.tensors.tensors().iter().map(|t| t.size() as u64).sum()
    }

    /// Its own tokenizer, where its folder has one.
    pub fn tokenizer(&self) -> Option<&Tokenizer> {
        self.tokenizer.as_ref().map(|own| &own.tokenizer)
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
        let wrong_base = "give the base that the model was fine-tuned from: `base`";
        let place = self.folder.display();
        let (base_type, own_type) = (
            base.encoder.json()["model_type"].as_str(),
            self.encoder.json()["model_type"].as_str(),
        );
        let family = base.encoder.family();
        if !std::ptr::eq(family, self.encoder.family()) {
            return Err(tuned_error(format!(
                "{place} is no fine-tuned {}: its model_type is {}, the base's {}",
                base.name,
                own_type.unwrap_or("bert"),
                base_type.unwrap_or("bert"),
            ))
            .with_hint(wrong_base));
        }
        let (ours, theirs) = (base.encoder.json(), self.encoder.json());
        let differing = family.spelling.differences(ours, theirs);
        let differing: Vec<String> = differing
            .into_iter()
            .map(|(name, ours, theirs)| {
                format!("{name} is {ours} in the base, {theirs} in the model")
            })
            .collect();
        let tokens_alone =
            base.config().vocab < self.encoder.config().vocab && differing.len() == 1;
        if !differing.is_empty() {
            return Err(tuned_error(format!(
                "{place} is no fine-tuned {}: {}{}",
                base.name,
                differing[..differing.len().min(3)].join("; "),
                if differing.len() > 3 {
                    format!("; and {} more", differing.len() - 3)
                } else {
                    String::new()
                },
            ))
            .with_hint(if tokens_alone {
                "tokens were added to the model, which a cut cannot hold; or give the base that the \
                 model was fine-tuned from: `base`"
            } else {
                wrong_base
            }));
        }
        if let Some(own) = &self.tokenizer {
            own.check_same(&self.folder, base)?;
        }
        let names = self.contents.encoder.keys().map(String::as_str).chain(cut::HEAD_TENSORS);
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
        .with_hint("give the base that the model was fine-tuned from: `base`"))
    }

    /// The stored tensor of this canonical name, or `head.weight` or `head.bias`.
    pub(super) fn tensor(&self, name: &str) -> Option<&StoredTensor> {
        let i = match name {
            "head.weight" => self.contents.weight,
            "head.bias" => self.contents.bias,
            _ => *self.contents.encoder.get(name)?,
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
        Ok(self.store(tensor)?.take(&self.tensors.bytes(tensor)?))
    }

    /// The head as the engine takes it.
    pub(super) fn head(&self) -> Result<Head> {
        Ok(Head {
            weight: self.values("head.weight")?,
            bias: self.values("head.bias")?,
            unit: false,
        })
    }

    /// The model as its own files have it: nothing of it is the base's.
    pub(super) fn model(&self) -> Result<(Encoder, Weights, Head)> {
        let layout = self.encoder.layout().clone();
        let mut weights = Weights::new(layout.clone(), vec![0.0; layout.len()]);
        let tensors = layout.tensors().iter().enumerate();
        for (i, spec) in tensors.filter(|(i, _)| !self.encoder.is_absent(*i)) {
            weights.at_mut(i).copy_from_slice(&self.values(&spec.name)?);
        }
        Ok((self.encoder.clone(), weights, self.head()?))
    }

    /// Names and element types, for export to give back.
    pub(super) fn source(&self, base: &Base) -> Result<Source> {
        let stored = |i: &usize| &self.tensors.tensors()[*i];
        let encoder = &self.contents.encoder;
        let usual = base.encoder.family().spelling.prefixes[0];
        let prefixed = encoder.values().filter(|i| stored(i).name.starts_with(usual)).count();
        let prefix = if 2 * prefixed > encoder.len() { usual } else { "" };
        let mut stores = BTreeMap::new();
        for name in encoder.keys().map(String::as_str).chain(cut::HEAD_TENSORS) {
            let tensor = self.tensor(name).expect("just listed");
            stores.insert(name.to_string(), self.store(tensor)?);
        }
        let most = [StoreType::F32, StoreType::Bf16, StoreType::F16]
            .into_iter()
            .rev()
            .max_by_key(|store| stores.values().filter(|s| *s == store).count())
            .expect("three to choose from");
        stores.retain(|_, store| *store != most);
        let names = encoder.iter().map(|(name, i)| (name.clone(), stored(i).name.clone()));
        let layout = base.encoder.layout().tensors().iter().map(|spec| &spec.name);
        let absent: BTreeSet<String> =
            layout.filter(|name| !encoder.contains_key(*name)).cloned().collect();
        Ok(Source {
            prefix: prefix.into(),
            names: names.filter(|(name, stored)| *stored != format!("{prefix}{name}")).collect(),
            store: most,
            stores,
            absent,
        })
    }

    /// The tensors that are neither the encoder's nor the head's.
    pub(super) fn others(&self) -> Result<BTreeMap<String, Other>> {
        let others = self.contents.others.iter().map(|&i| &self.tensors.tensors()[i]);
        others
            .map(|t| {
                let (dtype, shape) = (t.dtype, t.shape.clone());
                Ok((t.name.clone(), Other { dtype, shape, bytes: self.tensors.bytes(t)? }))
            })
            .collect()
    }
}

pub(super) fn tuned_error(message: String) -> Error {
    Error::new(ErrorKind::Base, message)
}
