//! The one name that linocut gives each tensor of an encoder, however a checkpoint spells it.

use serde_json::Value;

use super::{Kind, Role};

/// How the models of a family are written down.
#[derive(Debug)]
pub struct Spelling {
    /// What people call the family.
    pub family: &'static str,
    /// What task models put before the encoder's names, with the dot.
    pub prefixes: &'static [&'static str],
    /// The encoder's modules and what their `weight` is; `#` stands for the number of a layer.
    pub modules: &'static [(&'static str, Module)],
    /// Those of its layers, where they are BERT's under names of their own.
    pub layer: Option<&'static LayerNames>,
    /// `config.json` with its fields under the names below, whatever they were called before.
    pub fields: fn(&Value) -> Value,
    /// The fields of `config.json` that change what is computed, with the value of those that are
    /// absent. They are part of every fingerprint, in this order, which never changes.
    pub identity: &'static [(&'static str, Field)],
}

/// What the modules of a layer are called that has BERT's; `#` stands for its number.
#[derive(Debug)]
pub struct LayerNames {
    /// Query projection.
    pub query: &'static str,
    /// Key projection.
    pub key: &'static str,
    /// Value projection.
    pub value: &'static str,
    /// Projection of the attention's output.
    pub attention_output: &'static str,
    /// LayerNorm after the attention.
    pub attention_norm: &'static str,
    /// First matrix of the feed-forward block.
    pub intermediate: &'static str,
    /// Second matrix of the feed-forward block.
    pub output: &'static str,
    /// LayerNorm after the feed-forward block.
    pub output_norm: &'static str,
}

impl LayerNames {
    fn modules(&self) -> [(&'static str, Module); 8] {
        [
            (self.query, Module::Matrix(Kind::Query)),
            (self.key, Module::Matrix(Kind::Key)),
            (self.value, Module::Matrix(Kind::Value)),
            (self.attention_output, Module::Matrix(Kind::AttentionOutput)),
            (self.attention_norm, Module::Norm),
            (self.intermediate, Module::Matrix(Kind::Intermediate)),
            (self.output, Module::Matrix(Kind::Output)),
            (self.output_norm, Module::Norm),
        ]
    }
}

/// What a module is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Module {
    /// A table, without bias.
    Table,
    /// A matrix of this kind, and maybe its bias.
    Matrix(Kind),
    /// Scale, and maybe shift, of a LayerNorm.
    Norm,
}

/// A field's value where `config.json` does not have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Field {
    /// A whole number, 0 or more.
    Count(u64),
    /// A real number.
    Real(f64),
    /// A word.
    Word(&'static str),
    /// Yes or no.
    Flag(bool),
}

/// A tensor's canonical name and what it says about the tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// As in the family's encoder class: no prefix, LayerNorm parameters called `weight` and `bias`.
    pub name: String,
    /// Role in the encoder.
    pub role: Role,
    /// Encoder layer, 0-based; `None` for embeddings and pooler.
    pub layer: Option<usize>,
}

impl Spelling {
    /// The canonical form of a tensor name as stored in a checkpoint.
    ///
    /// Strips the prefix of task models and maps the `gamma` and `beta` of checkpoints converted from
    /// TensorFlow to `weight` and `bias`. `None` for whatever is not a parameter of the encoder:
    /// `position_ids`, heads (`classifier.*`, `cls.*`) and unknown names.
    pub fn canonical(&self, stored: &str) -> Option<Canonical> {
        let name = self.prefixes.iter().find_map(|prefix| stored.strip_prefix(prefix));
        let (path, parameter) = name.unwrap_or(stored).rsplit_once('.')?;
        let of_layer = self.layer.iter().flat_map(|layer| layer.modules());
        let mut modules = self.modules.iter().copied().chain(of_layer);
        let (module, layer) =
            modules.find_map(|(pattern, module)| Some((module, layer(pattern, path)?)))?;
        let (role, parameter) = match (module, parameter) {
            (Module::Table, "weight") => (Role::Table, "weight"),
            (Module::Matrix(kind), "weight") => (Role::Matrix(kind), "weight"),
            (Module::Matrix(_), "bias") => (Role::Bias, "bias"),
            (Module::Norm, "weight" | "gamma") => (Role::Scale, "weight"),
            (Module::Norm, "bias" | "beta") => (Role::Shift, "bias"),
            _ => return None,
        };
        Some(Canonical { name: format!("{path}.{parameter}"), role, layer })
    }

    /// The fields that change what is computed and differ between two `config.json`: their names, and
    /// the values in `a` and in `b`.
    pub fn differences(&self, a: &Value, b: &Value) -> Vec<(&'static str, String, String)> {
        let (a, b) = &((self.fields)(a), (self.fields)(b));
        let shown =
            |config: &Value, (name, default): &(&str, Field)| match (&config[*name], default) {
                (Value::Null, Field::Count(count)) => count.to_string(),
                (Value::Null, Field::Real(value)) => value.to_string(),
                (Value::Null, Field::Word(word)) => (*word).to_string(),
                (Value::Null, Field::Flag(flag)) => flag.to_string(),
                (Value::String(word), _) => word.clone(),
                (Value::Number(value), Field::Real(_)) => {
                    value.as_f64().unwrap_or(f64::NAN).to_string()
                }
                (found, _) => found.to_string(),
            };
        let both = self.identity.iter().map(|field| (field.0, shown(a, field), shown(b, field)));
        both.filter(|(_, a, b)| a != b).collect()
    }

    /// A module of the encoder, for messages: the first that a layer has.
    pub(super) fn example(&self) -> String {
        let mut modules = self.modules.iter().map(|(pattern, _)| *pattern);
        let of_layer =
            self.layer.map(|layer| layer.query).or(modules.find(|pattern| pattern.contains('#')));
        of_layer.map_or(String::new(), |pattern| pattern.replacen('#', "0", 1))
    }
}

/// The number that stands at the pattern's `#` in `path`, or `Some(None)` where it has none and is the
/// path.
fn layer(pattern: &str, path: &str) -> Option<Option<usize>> {
    let Some((before, after)) = pattern.split_once('#') else {
        return (pattern == path).then_some(None);
    };
    let number = path.strip_prefix(before)?.strip_suffix(after)?;
    // Digits only and without leading zeros, so that no two spellings name one layer.
    let plain =
        number.bytes().all(|b| b.is_ascii_digit()) && (number == "0" || !number.starts_with('0'));
    if plain { number.parse().ok().map(Some) } else { None }
}
