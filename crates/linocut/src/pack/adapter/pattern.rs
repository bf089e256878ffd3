//! Names of modules as PEFT matches them: by their ends, or by regular expressions of Python.

use fancy_regex::Regex;
use serde_json::{Map, Value};

use super::config::{texts, wrong};
use crate::Result;
use crate::pack::ingest::tuned_error;

/// A regular expression for names of modules.
pub(super) struct Pattern {
    field: String,
    regex: Regex,
}

impl Pattern {
    /// One that whole names match. (`match_target_against_key` of PEFT)
    fn whole(field: &str, pattern: &str) -> Result<Self> {
        Self::new(field, pattern, &format!("^(?:{pattern})$"))
    }

    /// One that names match from a dot, or their beginning, to their end. (`get_pattern_key` of PEFT)
    pub(super) fn end(field: &str, pattern: &str) -> Result<Self> {
        Self::new(field, pattern, &format!(r"^(.*\.)?({pattern})$"))
    }

    fn new(field: &str, pattern: &str, anchored: &str) -> Result<Self> {
        let regex = Regex::new(anchored).map_err(|e| {
            tuned_error(format!("{field} has {pattern:?}, which is no regular expression: {e}"))
                .with_source(e)
        })?;
        Ok(Self { field: field.into(), regex })
    }

    /// Whether the name of a module matches.
    ///
    /// # Errors
    /// A pattern that takes too long.
    pub(super) fn matches(&self, module: &str) -> Result<bool> {
        self.regex.is_match(module).map_err(|e| {
            tuned_error(format!("{} cannot be matched with {module}: {e}", self.field))
                .with_source(e)
        })
    }
}

/// Which modules an adapter has factors of.
pub(super) struct Targets {
    wanted: Names,
    unwanted: Option<Names>,
    /// Numbers of layers; all where there are none.
    layers: Vec<usize>,
    /// What stands before these numbers in names; any word where there are none.
    called: Vec<String>,
}

enum Names {
    /// All matrices.
    All,
    /// Names, or their ends after a dot.
    Ends(Vec<String>),
    Pattern(Pattern),
}

impl Targets {
    /// From the fields of an `adapter_config.json`.
    ///
    /// # Errors
    /// A field that is not understood.
    pub(super) fn new(fields: &Map<String, Value>) -> Result<Self> {
        let get = |name: &str| fields.get(name).unwrap_or(&Value::Null);
        let names = |field: &str| match get(field) {
            Value::Null => Ok(None),
            Value::String(pattern) => {
                Pattern::whole(field, pattern).map(|p| Some(Names::Pattern(p)))
            }
            list => texts(field, list).map(|ends| (!ends.is_empty()).then_some(Names::Ends(ends))),
        };
        let wanted = match get("target_modules") {
            Value::String(all) if all.eq_ignore_ascii_case("all-linear") => Some(Names::All),
            _ => names("target_modules")?,
        };
        let wanted = wanted.ok_or_else(|| {
            let expected = "a list of names of modules, a regular expression or \"all-linear\"";
            wrong("target_modules", get("target_modules"), expected)
        })?;
        let found = get("layers_to_transform");
        let number = |value: &Value| {
            let number = value.as_u64().map(|number| number as usize);
            number.ok_or_else(|| wrong("layers_to_transform", found, "numbers of layers"))
        };
        let layers = match found {
            Value::Null => vec![],
            Value::Array(list) => list.iter().map(number).collect::<Result<_>>()?,
            one => vec![number(one)?],
        };
        let called = match get("layers_pattern") {
            Value::String(name) if name.is_empty() => vec![],
            Value::String(name) => vec![name.clone()],
            list => texts("layers_pattern", list)?,
        };
        let plain = |name: &String| name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
        if !called.iter().all(plain) {
            return Err(wrong("layers_pattern", get("layers_pattern"), "names without signs"));
        }
        Ok(Self { wanted, unwanted: names("exclude_modules")?, layers, called })
    }

    /// Whether they name this module. Numbers of layers count beside lists of names alone, as in PEFT.
    ///
    /// # Errors
    /// A pattern that takes too long to match.
    pub(super) fn names(&self, module: &str) -> Result<bool> {
        if let Some(unwanted) = &self.unwanted
            && unwanted.have(module)?
        {
            return Ok(false);
        }
        let in_layers = match &self.wanted {
            // A whole name is of its own layer.
            Names::Ends(ends) if !ends.iter().any(|end| end == module) => {
                let layer = self.layer(module);
                self.layers.is_empty() || layer.is_some_and(|layer| self.layers.contains(&layer))
            }
            _ => true,
        };
        Ok(in_layers && self.wanted.have(module)?)
    }

    /// The number of a module's layer as PEFT finds it: the first in its name, after one of the words that
    /// layers are called by where there are such words. (`check_target_module_exists`)
    fn layer(&self, module: &str) -> Option<usize> {
        let words: Vec<&str> = module.split('.').collect();
        let mut inner = 2..words.len().saturating_sub(1);
        inner.find_map(|at| {
            let known = self.called.is_empty() || self.called.iter().any(|c| c == words[at - 1]);
            words[at].parse().ok().filter(|_| known)
        })
    }
}

impl Names {
    fn have(&self, module: &str) -> Result<bool> {
        match self {
            Names::All => Ok(true),
            Names::Pattern(pattern) => pattern.matches(module),
            Names::Ends(ends) => Ok(ends.iter().any(|end| {
                let before = module.strip_suffix(&end[..]);
                before.is_some_and(|before| before.is_empty() || before.ends_with('.'))
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const QUERY: &str = "bert.encoder.layer.1.attention.self.query";
    const DENSE: &str = "bert.encoder.layer.1.output.dense";
    const POOLER: &str = "bert.pooler.dense";

    #[test]
    fn names_as_peft_matches_them() {
        for (fields, expected) in [
            (json!({"target_modules": ["query"]}), [true, false, false]),
            (json!({"target_modules": ["uery"]}), [false, false, false]),
            (json!({"target_modules": ["output.dense", POOLER]}), [false, true, true]),
            (json!({"target_modules": "query"}), [false, false, false]),
            (json!({"target_modules": r".*\.(query|dense)"}), [true, true, true]),
            (json!({"target_modules": r".*(?<!pooler)\.dense"}), [false, true, false]),
            (json!({"target_modules": "All-Linear"}), [true, true, true]),
            (
                json!({"target_modules": "all-linear", "exclude_modules": ["dense"]}),
                [true, false, false],
            ),
            (
                json!({"target_modules": ["dense"], "exclude_modules": ".*pooler.*"}),
                [false, true, false],
            ),
            (
                json!({"target_modules": ["dense", "query"], "layers_to_transform": [0, 2]}),
                [false, false, false],
            ),
            (
                json!({"target_modules": ["dense", "query"], "layers_to_transform": 1}),
                [true, true, false],
            ),
            (
                json!({"target_modules": ["dense", QUERY], "layers_to_transform": 0}),
                [true, false, false],
            ),
            (
                json!({"target_modules": ["query"], "layers_to_transform": [1], "layers_pattern": "layer"}),
                [true, false, false],
            ),
            (
                json!({"target_modules": ["query"], "layers_to_transform": 1, "layers_pattern": ["h"]}),
                [false, false, false],
            ),
        ] {
            let targets = Targets::new(fields.as_object().unwrap()).unwrap();
            let found = [QUERY, DENSE, POOLER].map(|module| targets.names(module).unwrap());
            assert_eq!(found, expected, "{fields}");
        }
    }

    /// ALBERT's groups are numbered, and layers within them.
    #[test]
    fn the_first_number_is_the_layers() {
        let module = "albert.encoder.albert_layer_groups.1.albert_layers.0.ffn";
        let named = |called: serde_json::Value, layer: usize| {
            let fields = json!({
                "target_modules": ["ffn"], "layers_to_transform": layer, "layers_pattern": called,
            });
            Targets::new(fields.as_object().unwrap()).unwrap().names(module).unwrap()
        };
        assert!(named(json!(null), 1) && !named(json!([]), 0));
        assert!(named(json!("albert_layers"), 0) && !named(json!("albert_layers"), 1));
    }

    #[test]
    fn a_pattern_may_not_take_for_ever() {
        let pattern = Pattern::whole("target_modules", r"(?=(a+)+$)(a|a)+\1b").unwrap();
        let error = pattern.matches(&"a".repeat(40)).err().unwrap().to_string();
        assert!(error.contains("target_modules cannot be matched"), "{error}");
    }
}
