//! The families of encoders that are known: each a file that says how its tensors are called and
//! writes its program.

mod albert;
mod bert;
mod deberta;
mod distilbert;
mod electra;
mod known;
mod layer;
mod modernbert;
mod mpnet;
mod nomic;
mod roberta;

use super::config::Fields;
use super::op::Value;
use super::program::{Builder, Program};
use super::{Layout, ModelConfig, Place, TensorSpec};
use crate::checkpoint::{Canonical, Checkpoint, Kind, Module, Pooling, Spelling};
use crate::nearest::nearest;
use crate::{Error, ErrorKind, Result};
pub(crate) use known::{POSITION_IDS, is_adapter, not_understood};
use serde_json::Value as Json;
use std::path::Path;

/// A family of encoders.
#[derive(Debug)]
pub struct Family {
    /// The values of `model_type` that name it, with what its class names begin with then, as `Bert` of
    /// `BertForMaskedLM`.
    pub models: &'static [(&'static str, &'static str)],
    /// The last layer of its `…ForSequenceClassification`.
    pub head: &'static str,
    /// Whether what lies above the layers belongs to its encoder class, and so has its prefix.
    pub owns_pooler: bool,
    /// What other names begin with, without the prefix, that a text classifier does not compute with:
    /// heads of pretraining, and poolers that it leaves out.
    pub by_products: &'static [&'static str],
    /// How it is written down.
    pub spelling: Spelling,
    /// Reads the sizes.
    sizes: fn(Fields<'_>) -> Result<ModelConfig>,
    /// Writes the program up to the last layer's states, which it returns.
    layers: fn(Fields<'_>, &ModelConfig, &mut Builder) -> Result<Value>,
    /// Writes what reads the row of a sequence that pooling starts from, and returns what the head reads.
    pooler: fn(Fields<'_>, &ModelConfig, &mut Builder, Value) -> Result<()>,
}

/// All of them.
const FAMILIES: [&Family; 9] = [
    &bert::BERT,
    &roberta::ROBERTA,
    &distilbert::DISTILBERT,
    &electra::ELECTRA,
    &mpnet::MPNET,
    &albert::ALBERT,
    &modernbert::MODERNBERT,
    &deberta::DEBERTA,
    &nomic::NOMIC,
];

/// The family of a model by its `config.json`.
///
/// # Errors
/// An architecture that is not known.
pub fn of(config: &Json) -> Result<&'static Family> {
    let named = config["model_type"].as_str();
    // Configs from before `model_type` existed name only a class, such as BertForMaskedLM.
    let class = config["architectures"][0].as_str();
    let found = match (named, class) {
        (Some(named), _) => {
            FAMILIES.iter().find(|family| family.models.iter().any(|(model, _)| *model == named))
        }
        (None, Some(class)) => FAMILIES
            .iter()
            .find(|family| family.models.iter().any(|(_, begins)| class.starts_with(begins))),
        (None, None) => FAMILIES.first(),
    };
    let what = match (found, named, class) {
        (Some(family), ..) if config["is_decoder"] == Json::Bool(true) => {
            let name = family.spelling.family;
            let message = format!("found a {name} decoder (is_decoder), expected an encoder");
            return Err(Error::new(ErrorKind::Base, message));
        }
        (Some(family), ..) => return Ok(family),
        (None, Some(named), _) => format!("model_type {named:?}"),
        (None, None, class) => format!("architecture {:?}", class.unwrap_or_default()),
    };
    let known = FAMILIES.iter().flat_map(|family| family.models).map(|(model, _)| *model);
    let known: Vec<&str> = known.collect();
    let message = format!("{what} is not known: expected one of {}", known.join(", "));
    let error = Error::new(ErrorKind::Base, message);
    // One that begins alike is nearer than one with fewer letters that differ.
    let nearest = named.and_then(|named| {
        let alike = known.iter().find(|name| name.starts_with(named) || named.starts_with(**name));
        alike.copied().or_else(|| nearest(named, known.iter().copied(), 1).first().copied())
    });
    Err(match nearest {
        Some(nearest) => error.with_hint(format!("the nearest is {nearest}")),
        None => error,
    })
}

/// Opens a model folder of a known family.
///
/// # Errors
/// As [`of`] and [`Checkpoint::open`].
pub fn open(folder: &Path) -> Result<Checkpoint> {
    Checkpoint::open(folder, |config| Ok(&of(config)?.spelling))
}

/// What the first family that knows it calls a tensor that is stored under this name.
pub fn canonical(stored: &str) -> Option<Canonical> {
    FAMILIES.iter().find_map(|family| family.spelling.canonical(stored))
}

impl Family {
    /// What its classes' names begin with for this `config.json`.
    pub fn class(&self, config: &Json) -> &'static str {
        let named = config["model_type"].as_str();
        let (_, class) =
            self.models.iter().find(|(model, _)| Some(*model) == named).unwrap_or(&self.models[0]);
        class
    }

    /// The `model_type` of this `config.json`, said or not.
    pub fn model_type(&self, config: &Json) -> &'static str {
        let class = self.class(config);
        self.models.iter().find(|(_, known)| *known == class).map_or("", |(model, _)| model)
    }

    /// What task models put before a tensor's canonical name.
    pub fn prefix(&self, tensor: &TensorSpec) -> &'static str {
        let bare = tensor.place == Place::Above && !self.owns_pooler;
        if bare { "" } else { self.spelling.prefixes[0] }
    }

    /// Sizes, tensors and the program of every pooling; with `depth`, of so many of the lowest layers.
    pub(super) fn programs(
        &'static self,
        config: &Json,
        depth: Option<usize>,
    ) -> Result<(ModelConfig, Layout, [Program; 3])> {
        let config = (self.spelling.fields)(config);
        let fields = Fields(&config);
        let sizes = (self.sizes)(fields)?;
        let sizes = depth.map_or(sizes.clone(), |depth| sizes.up_to(depth));
        let mut layouts = Vec::new();
        let mut program = |pooling| -> Result<Program> {
            let mut builder = Builder::new(&self.spelling, pooling, sizes.reads_mean);
            let states = (self.layers)(fields, &sizes, &mut builder)?;
            builder.at(Place::Above);
            let row = builder.gather(states);
            let gathered = (builder.len(), row);
            (self.pooler)(fields, &sizes, &mut builder, row)?;
            let (program, layout) = builder.finish(gathered);
            layouts.push(layout);
            Ok(program)
        };
        let programs = [program(Pooling::Cls)?, program(Pooling::First)?, program(Pooling::Mean)?];
        Ok((sizes, layouts.swap_remove(0), programs))
    }

    /// Number of layers that have tensors, and of the tensors of the first.
    pub(super) fn sizes(&'static self, config: &Json) -> Result<(usize, usize)> {
        let config = (self.spelling.fields)(config);
        let sizes = (self.sizes)(Fields(&config))?;
        let mut builder = Builder::new(&self.spelling, Pooling::Mean, true);
        let own_layers = sizes.own_layers;
        (self.layers)(Fields(&config), &sizes.up_to(1), &mut builder)?;
        Ok((own_layers, builder.tensors_of_layer()))
    }

    /// Names of the matrices above the layers.
    pub fn poolers(&self) -> impl Iterator<Item = String> {
        let matrix = |(name, module): &(&str, Module)| {
            (*module == Module::Matrix(Kind::Pooler)).then(|| format!("{name}.weight"))
        };
        self.spelling.modules.iter().filter_map(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn programs(family: &'static Family) -> (ModelConfig, Layout, [Program; 3]) {
        let (model_type, _) = family.models[0];
        family.programs(&serde_json::json!({ "model_type": model_type }), None).unwrap()
    }

    /// A bank walks the poolings' programs together until they part.
    #[test]
    fn poolings_share_tensors_and_the_way_up_to_the_last_layer() {
        for family in FAMILIES {
            let (sizes, _, programs) = programs(family);
            let (end, _) = programs[0].layer_end(sizes.layers - 2);
            for other in &programs[1..] {
                assert_eq!(programs[0].ops()[..end], other.ops()[..end]);
                for op in &other.ops()[..end] {
                    assert_eq!(programs[0].buffer(op.to()), other.buffer(op.to()));
                }
            }
        }
    }

    /// No value is overwritten by another while it is still read.
    #[test]
    fn buffers_are_shared_by_values_of_different_times_alone() {
        for family in FAMILIES {
            for program in programs(family).2 {
                for (at, op) in program.ops().iter().enumerate() {
                    let live: Vec<usize> =
                        program.live(at + 1).map(|v| program.buffer(v)).collect();
                    let distinct: std::collections::HashSet<_> = live.iter().collect();
                    assert_eq!(live.len(), distinct.len(), "{} {op:?}", family.spelling.family);
                    for read in op.reads() {
                        assert_ne!(program.buffer(read), program.buffer(op.to()), "{op:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn every_tensor_has_the_name_that_it_is_found_by() {
        for family in FAMILIES {
            let (sizes, layout, programs) = programs(family);
            for (i, tensor) in layout.tensors().iter().enumerate() {
                for prefix in family.spelling.prefixes.iter().chain(&[""]) {
                    let found = family.spelling.canonical(&format!("{prefix}{}", tensor.name));
                    let found = found.unwrap();
                    assert_eq!((&found.name, found.role), (&tensor.name, tensor.role));
                    assert_eq!(found.layer, tensor.layer());
                }
                // Texts are read through each, under `cls`.
                let part =
                    layout.parts().iter().position(|part| part.tensors.contains(&i)).unwrap();
                assert!(programs[0].first_read(part).is_some(), "{}", tensor.name);
            }
            assert_eq!(
                layout.tensors().iter().filter_map(TensorSpec::layer).max(),
                Some(sizes.own_layers - 1)
            );
        }
    }

    #[test]
    fn what_is_not_the_encoder_has_no_canonical_name() {
        for stored in [
            "",
            "weight",
            "classifier.weight",
            "bert.classifier.weight",
            "cls.predictions.transform.LayerNorm.gamma",
            "bert.embeddings.position_ids",
            "embeddings.word_embeddings.bias",
            "bert.bert.pooler.dense.weight",
            "encoder.layer.01.output.dense.weight",
            "encoder.layer.+1.output.dense.weight",
            "encoder.layer..output.dense.weight",
            "encoder.layer.99999999999999999999999.output.dense.weight",
            "encoder.layer.0.output.dense.gamma",
            "encoder.layer.0.attention.self.distance_embedding.weight",
        ] {
            assert_eq!(bert::BERT.spelling.canonical(stored), None, "{stored}");
        }
        let gamma = "bert.encoder.layer.11.output.LayerNorm.gamma";
        let found = bert::BERT.spelling.canonical(gamma).unwrap();
        assert_eq!(found.name, "encoder.layer.11.output.LayerNorm.weight");
    }

    #[test]
    fn an_architecture_that_is_not_known_gets_the_nearest() {
        let error = |config| of(&config).unwrap_err().to_string();
        let text = error(serde_json::json!({"model_type": "distill-bert"}));
        assert!(text.contains("\"distill-bert\" is not known") && text.contains("is distilbert"));
        let text = error(serde_json::json!({"architectures": ["GPT2Model"]}));
        assert!(text.contains("architecture \"GPT2Model\" is not known"), "{text}");
        assert!(of(&serde_json::json!({"architectures": ["RobertaForMaskedLM"]})).is_ok());
    }
}
