//! Which tensors a method trains.

use crate::model::{Encoder, Kind, Layout, Place, TensorSpec};
use crate::{Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// A choice of tensors by layer and by kind or name; both restrict.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Selection {
    /// Encoder layers, 0-based; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub layers: Option<Vec<usize>>,
    /// Kinds (`query`, `layernorm`, …) or patterns of canonical names in which `*` stands for
    /// anything; `None` for all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub only: Option<Vec<String>>,
}

impl Selection {
    /// Reads `4-5`, `0,3`, `-2` (the last two) or any comma-separated mixture.
    ///
    /// # Errors
    /// Anything else, or a layer beyond `layers`.
    pub fn parse_layers(text: &str, layers: usize) -> Result<Vec<usize>> {
        let wrong = |what: String| {
            Error::new(ErrorKind::Config, format!("`layers={text}`: {what}")).with_hint(format!(
                "layers of this base are 0 to {}; -2 means the last two",
                layers - 1
            ))
        };
        let number = |part: &str| {
            part.parse::<usize>().map_err(|_| wrong(format!("`{part}` is not a layer")))
        };
        let mut chosen = Vec::new();
        for part in text.split(',').map(str::trim) {
            let range = match part.split_once('-') {
                Some(("", last)) => {
                    let last = number(last)?;
                    if last > layers {
                        return Err(wrong(format!("the base has {layers} layers")));
                    }
                    layers - last..=layers - 1
                }
                Some((from, to)) => number(from)?..=number(to)?,
                None => number(part)?..=number(part)?,
            };
            if range.is_empty() || *range.end() >= layers {
                return Err(wrong(format!("`{part}` is not within the base's {layers} layers")));
            }
            chosen.extend(range);
        }
        chosen.sort_unstable();
        chosen.dedup();
        Ok(chosen)
    }

    /// Checks `only` against the layout.
    ///
    /// # Errors
    /// An entry that is no kind and matches no tensor.
    pub fn check(&self, layout: &Layout) -> Result<()> {
        for item in self.only.iter().flatten() {
            let known = Kind::ALL.iter().any(|k| k.name() == item)
                || layout.tensors().iter().any(|t| matches(item, &t.name));
            if !known {
                let kinds: Vec<&str> = Kind::ALL.iter().map(|k| k.name()).collect();
                return Err(Error::new(
                    ErrorKind::Config,
                    format!(
                        "`only={item}`: neither a kind of tensor nor a pattern that matches one"
                    ),
                )
                .with_hint(format!(
                    "kinds: {}; or a pattern such as '*.output.dense.*'",
                    kinds.join(", ")
                )));
            }
        }
        Ok(())
    }

    /// Whether the tensor is chosen. What lies above the layers counts as above every one: it is left
    /// out only by `only`.
    pub fn contains(&self, tensor: &TensorSpec) -> bool {
        let by_layer = match (&self.layers, tensor.place) {
            (Some(layers), Place::Layer(layer)) => layers.contains(&layer),
            (Some(_), place) => place >= Place::Last,
            (None, _) => true,
        };
        let (kind, name) = (tensor.kind().name(), &tensor.name[..]);
        let named = |item: &String| item == kind || matches(item, name);
        by_layer && self.only.as_ref().is_none_or(|only| only.iter().any(named))
    }

    /// One flag a tensor: chosen by this selection, by `also`, and read under the encoder's pooling.
    pub fn marks(&self, encoder: &Encoder, also: impl Fn(&TensorSpec) -> bool) -> Vec<bool> {
        let tensors = encoder.layout().tensors().iter().enumerate();
        let has_entries = |tensor: &TensorSpec| !tensor.range.is_empty();
        tensors
            .map(|(i, t)| encoder.reads(i) && has_entries(t) && also(t) && self.contains(t))
            .collect()
    }
}

/// Whether `name` matches `pattern`, in which `*` stands for any run of characters.
pub(crate) fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((start, rest)) => name.strip_prefix(start).is_some_and(|name| {
            (0..=name.len())
                .filter(|&i| name.is_char_boundary(i))
                .any(|i| matches(rest, &name[i..]))
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Pooling;

    #[test]
    fn layers_as_people_write_them() {
        let parse = |text| Selection::parse_layers(text, 6);
        assert_eq!(parse("4-5").unwrap(), [4, 5]);
        assert_eq!(parse("0, 3,3").unwrap(), [0, 3]);
        assert_eq!(parse("-2").unwrap(), [4, 5]);
        for wrong in ["6", "5-4", "x", "", "-7", "-0", "2-9"] {
            let error = parse(wrong).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Config);
            assert!(error.to_string().contains("layers of this base are 0 to 5"), "{error}");
        }
    }

    #[test]
    fn kinds_and_patterns() {
        let selection = Selection {
            layers: Some(vec![1]),
            only: Some(vec!["query".into(), "*.output.dense.bias".into()]),
        };
        let encoder =
            Encoder::new(&serde_json::json!({"num_hidden_layers": 2}), true, Pooling::Cls).unwrap();
        let chosen = |name: &str| {
            let layout = encoder.layout();
            selection.contains(&layout.tensors()[layout.index(name).unwrap()])
        };
        assert!(chosen("encoder.layer.1.attention.self.query.weight"));
        assert!(!chosen("encoder.layer.0.attention.self.query.weight"));
        assert!(chosen("encoder.layer.1.output.dense.bias"));
        assert!(!chosen("encoder.layer.1.intermediate.dense.bias"));
        assert!(!chosen("pooler.dense.weight"));
        assert!(matches("*a*b", "xxaxxb") && !matches("*a*b", "xxaxxbx") && matches("*", ""));
    }
}
