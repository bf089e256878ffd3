//! Every tensor of an adapter, and what it is there for: none is left out in silence.

use std::collections::BTreeMap;

use super::config::{AdapterConfig, CONFIG, MERGE};
use crate::checkpoint::{StoredTensor, StoredTensors};
use crate::cut::StoreType;
use crate::model::{Base, Head, Role, TensorSpec};
use crate::pack::ingest::tuned_error;
use crate::{Error, Result};

/// What PEFT puts before the names of a model's modules.
const PREFIX: &str = "base_model.model.";

const NOT_THIS: &str = "is adapter_config.json that of this adapter_model.safetensors?";

/// What an adapter does, by canonical name of the base's tensors.
pub(super) struct Contents {
    pub(super) factors: BTreeMap<String, Factors>,
    pub(super) replaced: BTreeMap<String, Vec<f32>>,
    pub(super) head: Head,
}

/// The factors of one matrix: it moves by scale·B·A.
pub(super) struct Factors {
    /// `[rank, columns]`
    pub(super) a: Vec<f32>,
    /// `[rows, rank]`
    pub(super) b: Vec<f32>,
    pub(super) rank: usize,
    pub(super) scale: f64,
}

/// The tensors of an adapter by what they are, each with its position among those stored.
#[derive(Default)]
struct Sorted {
    /// A and B by position in the base's layout.
    factors: BTreeMap<usize, [Option<usize>; 2]>,
    replaced: BTreeMap<usize, usize>,
    head: [Option<usize>; 2],
}

/// An adapter's file on the base that it is packed for.
struct Reader<'a> {
    shown: &'a str,
    config: &'a AdapterConfig,
    tensors: &'a StoredTensors,
    base: &'a Base,
}

impl Contents {
    /// Accounts for all `tensors` of the adapter in the folder `shown`, and reads them.
    ///
    /// # Errors
    /// Any tensor that is none of what is understood, or not of the base's shape; factors without their
    /// counterpart, of another rank, or of other modules than the config names; modules that are said to be
    /// saved and are not there; values that are not finite.
    pub(super) fn of(
        shown: &str,
        config: &AdapterConfig,
        tensors: &StoredTensors,
        base: &Base,
    ) -> Result<Self> {
        let reader = Reader { shown, config, tensors, base };
        let sorted = reader.sorted()?;
        reader.check_targets(&sorted)?;
        reader.check_saved(&sorted)?;
        let specs = base.encoder.layout().tensors();
        let mut factors = BTreeMap::new();
        for (&tensor, pair) in &sorted.factors {
            factors.insert(specs[tensor].name.clone(), reader.factors(&specs[tensor], *pair)?);
        }
        let mut replaced = BTreeMap::new();
        for (&tensor, &i) in &sorted.replaced {
            let values = reader.values(i, &specs[tensor].shape)?;
            replaced.insert(specs[tensor].name.clone(), values);
        }
        let head = reader.head(sorted.head)?;
        Ok(Self { factors, replaced, head })
    }
}

impl Reader<'_> {
    fn stored(&self, i: usize) -> &StoredTensor {
        &self.tensors.tensors()[i]
    }

    fn wrong(&self, what: String) -> Error {
        tuned_error(format!("{}: {what}", self.shown))
    }

    /// The module of a tensor of the base as the model calls it.
    fn module(&self, spec: &TensorSpec) -> String {
        let (path, _) = spec.name.rsplit_once('.').unwrap_or((&spec.name, ""));
        format!("{}{path}", self.base.encoder.family().prefix(spec))
    }

    /// The head's matrix and bias as the model calls them.
    fn head_names(&self) -> [String; 2] {
        ["weight", "bias"].map(|part| format!("{}.{part}", self.base.encoder.family().head))
    }

    fn sorted(&self) -> Result<Sorted> {
        let mut sorted = Sorted::default();
        let heads = self.head_names();
        for (i, tensor) in self.tensors.tensors().iter().enumerate() {
            let Some(name) = tensor.name.strip_prefix(PREFIX) else {
                return Err(self
                    .wrong(format!(
                        "the tensor {} has no name that begins with {PREFIX}",
                        tensor.name
                    ))
                    .with_hint("save the adapter with PEFT's save_pretrained"));
            };
            let place = if let Some(at) = heads.iter().position(|head| head == name) {
                &mut sorted.head[at]
            } else if let Some((module, part)) = factor(name) {
                let matrix = self.matrix(module, &tensor.name)?;
                &mut sorted.factors.entry(matrix).or_default()[part]
            } else {
                let at = self.whole(name, &tensor.name)?;
                if let Some(first) = sorted.replaced.insert(at, i) {
                    return Err(self.twice(first, i));
                }
                continue;
            };
            if let Some(first) = place.replace(i) {
                return Err(self.twice(first, i));
            }
        }
        Ok(sorted)
    }

    fn twice(&self, first: usize, second: usize) -> Error {
        let (first, second) = (&self.stored(first).name, &self.stored(second).name);
        self.wrong(format!("{first} and {second} are of one tensor of the base"))
    }

    /// Where in the base's layout a module's matrix stands, that the tensor `stored` is a factor of.
    fn matrix(&self, module: &str, stored: &str) -> Result<usize> {
        let (family, layout) = (self.base.encoder.family(), self.base.encoder.layout());
        let name = family.spelling.canonical(&format!("{module}.weight"));
        let name = name.filter(|name| name.role.is_matrix());
        if let Some(at) = name.and_then(|name| layout.index(&name.name)) {
            return Ok(at);
        }
        if module == family.head {
            let reason = "Transformers drew at random what they are added to, and it is not saved";
            return Err(self
                .wrong(format!("{stored} is a factor of the head: {reason}"))
                .with_hint("train it again with task_type SEQ_CLS, which saves the head whole"));
        }
        let name = family.spelling.family;
        Err(self
            .wrong(format!(
                "{stored} is a factor of {module}, which is no matrix of the {name} base"
            ))
            .with_hint(format!(
                "give the base that the adapter was trained on: `base`; or {MERGE}"
            )))
    }

    /// Where in the base's layout a tensor stands that the adapter brings whole.
    fn whole(&self, name: &str, stored: &str) -> Result<usize> {
        let unknown = ["lora_embedding_", "lora_magnitude_vector", "lora_B.bias", "lora_"];
        if let Some(kind) = unknown.iter().find(|kind| name.contains(*kind)) {
            let reason = match *kind {
                "lora_embedding_" => "is a factor of a table of embeddings",
                "lora_magnitude_vector" => "scales a matrix anew (DoRA)",
                "lora_B.bias" => "is a bias beside factors (lora_bias)",
                _ => "is no factor that is known here",
            };
            return Err(self.wrong(format!("{stored} {reason}")).with_hint(MERGE));
        }
        let (module, parameter) = name.rsplit_once('.').unwrap_or((name, ""));
        let module = module.strip_suffix(".base_layer").unwrap_or(module);
        let (family, layout) = (self.base.encoder.family(), self.base.encoder.layout());
        let canonical = family.spelling.canonical(&format!("{module}.{parameter}"));
        let at = canonical.and_then(|canonical| layout.index(&canonical.name));
        let Some(at) = at else {
            let class = family.class(self.base.encoder.json());
            return Err(self
                .wrong(format!("{stored} is no part of a {class}ForSequenceClassification"))
                .with_hint(format!(
                    "give the base that the adapter was trained on: `base`; or {MERGE}"
                )));
        };
        let spec = &layout.tensors()[at];
        // The table of words PEFT saves beside where it is told to, or where it grew.
        let is_words = at == self.base.encoder.words();
        if is_words || self.config.saves(&self.module(spec)) || self.is_trained_bias(spec)? {
            return Ok(at);
        }
        Err(self
            .wrong(format!("it holds {stored}, and modules_to_save does not name it"))
            .with_hint(NOT_THIS))
    }

    /// Whether it is the bias of a module with factors, and these are trained.
    fn is_trained_bias(&self, spec: &TensorSpec) -> Result<bool> {
        let is_bias = self.config.biases && spec.role == Role::Bias;
        Ok(is_bias && self.config.targets.names(&self.module(spec))?)
    }

    /// Checks that factors are those of the modules that the config names.
    fn check_targets(&self, sorted: &Sorted) -> Result<()> {
        for (at, spec) in self.base.encoder.layout().tensors().iter().enumerate() {
            if !spec.role.is_matrix() {
                continue;
            }
            let module = self.module(spec);
            let named = !self.config.saves(&module) && self.config.targets.names(&module)?;
            let what = match (named, sorted.factors.contains_key(&at)) {
                (true, false) => format!("target_modules names {module}, and it has no factors"),
                (false, true) => {
                    format!("it has factors of {module}, which target_modules does not name")
                }
                _ => continue,
            };
            return Err(self.wrong(what).with_hint(NOT_THIS));
        }
        Ok(())
    }

    /// Checks that what the config says is saved, and what the base lacks, is there.
    fn check_saved(&self, sorted: &Sorted) -> Result<()> {
        let (encoder, heads) = (&self.base.encoder, self.head_names());
        for (place, name) in sorted.head.iter().zip(&heads) {
            if place.is_none() {
                return Err(self.wrong(format!("it has no {PREFIX}{name}, the head's")).with_hint(
                    "train it with task_type SEQ_CLS, which saves the head with the adapter",
                ));
            }
        }
        if let Some(class) = &self.config.class {
            let expected =
                format!("{}ForSequenceClassification", encoder.family().class(encoder.json()));
            if *class != expected {
                return Err(self.wrong(format!(
                    "the adapter is of a {class} (auto_mapping), expected a {expected}"
                )));
            }
        }
        for (at, spec) in encoder.layout().tensors().iter().enumerate() {
            let module = self.module(spec);
            if sorted.replaced.contains_key(&at) {
                continue;
            }
            let named = match self.config.saves(&module) {
                true => Some("modules_to_save names"),
                false => {
                    self.is_trained_bias(spec)?.then_some("bias is \"lora_only\", which means")
                }
            };
            if let Some(named) = named {
                let what = format!("{named} {module}, and there is no {}", spec.name);
                return Err(self.wrong(what).with_hint("the adapter was not saved whole"));
            }
            if encoder.is_absent(at) {
                let (name, base) = (&spec.name, &self.base.name);
                let last = module.rsplit('.').nth(1).unwrap_or(&module);
                return Err(self
                    .wrong(format!(
                        "texts are read through {name}, which {base} lacks and the adapter does not bring: \
                         Transformers drew it at random"
                    ))
                    .with_hint(format!(
                        "train it with modules_to_save=[{last:?}]; or, where you have the whole model still, \
                         {MERGE}"
                    )));
            }
        }
        Ok(())
    }

    fn factors(&self, spec: &TensorSpec, pair: [Option<usize>; 2]) -> Result<Factors> {
        let module = self.module(spec);
        let [Some(a), Some(b)] = pair else {
            let (there, missing) =
                if pair[0].is_some() { ("lora_A", "lora_B") } else { ("lora_B", "lora_A") };
            let what = format!("{module} has {there} and no {missing}");
            return Err(self.wrong(what).with_hint("the adapter was not saved whole"));
        };
        let (rank, scale) = self.config.rank_and_scale(&module)?;
        let (rows, columns) = (spec.shape[0], spec.shape[1]);
        // The other side of each is its rank.
        for (i, side, expected) in [(a, 0, columns), (b, 1, rows)] {
            let (name, found) = (&self.stored(i).name, &self.stored(i).shape);
            if found.len() != 2 || found[1 - side] != expected {
                let what = format!("{name} is {found:?}, and the base's matrix {:?}", spec.shape);
                let hint = "give the base that the adapter was trained on: `base`";
                return Err(self.wrong(what).with_hint(hint));
            }
            if found[side] != rank {
                let what = format!("{name} has rank {}, and {CONFIG} says {rank}", found[side]);
                return Err(self.wrong(what).with_hint(NOT_THIS));
            }
        }
        let most = rows.min(columns);
        if rank > most {
            let what =
                format!("factors of {module} have rank {rank}, and the matrix at most {most}");
            return Err(self.wrong(what).with_hint(MERGE));
        }
        let (a, b) = (self.values(a, &[rank, columns])?, self.values(b, &[rows, rank])?);
        Ok(Factors { a, b, rank, scale })
    }

    fn head(&self, places: [Option<usize>; 2]) -> Result<Head> {
        let [Some(weight), Some(bias)] = places else {
            unreachable!("checked that they are there")
        };
        let (weight_shape, bias_shape) = (&self.stored(weight).shape, &self.stored(bias).shape);
        let (outputs, hidden) = (bias_shape.iter().product::<usize>(), self.base.config().hidden);
        if weight_shape[..] != [outputs, hidden] || bias_shape.len() != 1 || outputs == 0 {
            let [name, bias_name] = self.head_names();
            return Err(self.wrong(format!(
                "{name} is {weight_shape:?} and {bias_name} {bias_shape:?}, expected [labels, {hidden}] \
                 and [labels]"
            )));
        }
        let weight = self.values(weight, &[outputs, hidden])?;
        Ok(Head { weight, bias: self.values(bias, &[outputs])?, unit: false })
    }

    /// The values of a tensor of this shape.
    fn values(&self, i: usize, shape: &[usize]) -> Result<Vec<f32>> {
        let tensor = self.stored(i);
        let (name, found) = (&tensor.name, &tensor.shape);
        if found[..] != *shape {
            let grown = name.contains("word_embeddings") && found.first() > shape.first();
            let error =
                self.wrong(format!("{name} is {found:?}, expected {shape:?} as in the base"));
            return Err(error.with_hint(if grown {
                "tokens were added to the model, which a cut cannot hold"
            } else {
                "give the base that the adapter was trained on: `base`"
            }));
        }
        let Some(store) = StoreType::of(tensor.dtype) else {
            let what = format!("{name} is {}, expected F32, F16 or BF16", tensor.dtype);
            return Err(self.wrong(what));
        };
        let values = store.take(&self.tensors.bytes(tensor)?);
        let bad = values.iter().filter(|v| !v.is_finite()).count();
        if bad > 0 {
            let s = if bad == 1 { " is" } else { "s are" };
            return Err(self
                .wrong(format!("{bad} value{s} not finite (NaN or infinite) in {name}"))
                .with_hint(
                    "the training diverged, or the file is damaged; such a model labels nothing",
                ));
        }
        Ok(values)
    }
}

/// The module that a tensor of this name is a factor of, and which of the two.
fn factor(name: &str) -> Option<(&str, usize)> {
    let ends = [".lora_A.weight", ".lora_B.weight"].into_iter().enumerate();
    ends.filter_map(|(part, end)| Some((name.strip_suffix(end)?, part))).next()
}
