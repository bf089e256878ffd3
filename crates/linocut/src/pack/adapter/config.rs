//! What an `adapter_config.json` makes of an adapter: only what is understood is packed.

use std::path::Path;

use serde_json::{Map, Value};

use super::pattern::{Pattern, Targets};
use crate::pack::ingest::tuned_error;
use crate::{Error, Result};

/// The file's name.
pub(in crate::pack) const CONFIG: &str = "adapter_config.json";

/// The way out for what is added to weights in another manner.
pub(super) const MERGE: &str = "merge the adapter into its base (PEFT: merge_and_unload), save that model \
                                and pack it with `tuned`";

/// Fields that are read below.
const READ: [&str; 15] = [
    "alpha_pattern",
    "auto_mapping",
    "base_model_name_or_path",
    "bias",
    "exclude_modules",
    "init_lora_weights",
    "layers_pattern",
    "layers_to_transform",
    "lora_alpha",
    "modules_to_save",
    "r",
    "rank_pattern",
    "target_modules",
    "task_type",
    "use_rslora",
];

/// Fields that change nothing about what a trained adapter computes.
const IDLE: [&str; 12] = [
    "corda_config",
    "eva_config",
    "inference_mode",
    "loftq_config",
    "lora_dropout",
    "lora_ga_config",
    "megatron_core",
    "peft_type",
    "peft_version",
    "qalora_group_size",
    "revision",
    "runtime_config",
];

/// Fields that must not be set, with what they make of the adapter.
const OFF: [(&str, &str); 16] = [
    ("alora_invocation_tokens", "it acts on some tokens of a text alone (aLoRA)"),
    ("arrow_config", "it chooses between adapters for every token (Arrow)"),
    ("ensure_weight_tying", "its layers share weights"),
    ("fan_in_fan_out", "its matrices are stored turned around"),
    ("kasa_config", "a diagonal stands between its factors (KaSA)"),
    ("layer_replication", "it repeats layers of the base"),
    ("lora_bias", "it has biases of its own beside the factors"),
    ("megatron_config", "its layers are Megatron's"),
    ("monteclora_config", "its factors are drawn at random (MonteCLoRA)"),
    ("target_parameters", "its factors are of parameters, not of modules"),
    ("trainable_token_indices", "it trains rows of the embeddings"),
    ("use_bdlora", "its factors are block-diagonal (BD-LoRA)"),
    ("use_dora", "it scales every matrix anew, which low-rank factors cannot say (DoRA)"),
    ("use_qalora", "it pools what its factors read (QA-LoRA)"),
    ("velora_config", "it is trained in another way (VeLoRA)"),
    ("enable_lora", "it adapts some of the matrices that one module joins"),
];

/// Initialisations after which the base's weights are others than they were.
const MOVES_BASE: [&str; 5] = ["pissa", "olora", "corda", "loftq", "lora_ga"];

/// What packing needs of the file.
pub(super) struct AdapterConfig {
    /// The base that it was trained on, as it was called then.
    pub(super) base: Option<String>,
    /// The class of the model, where no task type says it.
    pub(super) class: Option<String>,
    /// Which modules have factors.
    pub(super) targets: Targets,
    /// Ends of the names of modules that are saved whole.
    pub(super) saved: Vec<String>,
    /// Whether the biases of modules with factors are trained.
    pub(super) biases: bool,
    rank: usize,
    alpha: f64,
    ranks: Vec<(Pattern, usize)>,
    alphas: Vec<(Pattern, f64)>,
    root: bool,
}

impl AdapterConfig {
    /// Reads the file in `folder`.
    ///
    /// # Errors
    /// A missing or malformed file, another kind of adapter, any field that is not understood.
    pub(super) fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(CONFIG);
        if !path.exists() {
            let shown = folder.display();
            if folder.join("config.json").exists() {
                return Err(tuned_error(format!("{shown} has no {CONFIG}: it is no adapter"))
                    .with_hint("a whole model's folder is packed with `tuned`"));
            }
            let state =
                if folder.is_dir() { format!("has no {CONFIG}") } else { "is not a folder".into() };
            return Err(tuned_error(format!("{shown} {state}")).with_hint(format!(
                "an adapter is a folder that PEFT saved, with {CONFIG} and adapter_model.safetensors"
            )));
        }
        let bytes = std::fs::read(&path).map_err(|e| Error::io(&path, "read", e))?;
        let json: Value = serde_json::from_slice(&bytes).map_err(|e| {
            tuned_error(format!("{} is not JSON: {e}", path.display())).with_source(e)
        })?;
        let Value::Object(fields) = &json else {
            return Err(tuned_error(format!("{} is no JSON object", path.display())));
        };
        Self::of(fields).map_err(|e| e.at(path.display()))
    }

    fn of(fields: &Map<String, Value>) -> Result<Self> {
        let get = |name: &str| fields.get(name).unwrap_or(&Value::Null);
        check_kind(get("peft_type"))?;
        for (name, value) in fields.iter().filter(|(_, value)| is_set(value)) {
            if let Some((_, reason)) = OFF.iter().find(|(off, _)| off == name) {
                return Err(
                    tuned_error(format!("{name} is {}: {reason}", short(value))).with_hint(MERGE)
                );
            }
            if !READ.contains(&&name[..]) && !IDLE.contains(&&name[..]) {
                return Err(tuned_error(format!(
                    "the field {name} is not known here, and is set: {}",
                    short(value)
                ))
                .with_hint(MERGE));
            }
        }
        check_start(get("init_lora_weights"))?;
        let class = match (get("task_type"), &get("auto_mapping")["base_model_class"]) {
            (Value::String(task), _) if task == "SEQ_CLS" => None,
            (Value::Null, Value::String(class)) => Some(class.clone()),
            (found, _) => {
                return Err(wrong("task_type", found, "\"SEQ_CLS\"").with_hint(
                    "a cut labels texts; adapters for other tasks have no head for it",
                ));
            }
        };
        let biases = match get("bias") {
            Value::Null => false,
            Value::String(bias) if bias == "none" => false,
            Value::String(bias) if bias == "lora_only" => true,
            Value::String(bias) if bias == "all" => {
                return Err(tuned_error(
                    "bias is \"all\": its file holds the head's biases more than once".into(),
                )
                .with_hint(MERGE));
            }
            other => return Err(wrong("bias", other, "\"none\" or \"lora_only\"")),
        };
        let root = match get("use_rslora") {
            Value::Null => false,
            Value::Bool(root) => *root,
            other => return Err(wrong("use_rslora", other, "true or false")),
        };
        Ok(Self {
            base: get("base_model_name_or_path").as_str().map(str::to_string),
            class,
            targets: Targets::new(fields)?,
            saved: texts("modules_to_save", get("modules_to_save"))?,
            biases,
            rank: rank("r", get("r"))?,
            alpha: alpha("lora_alpha", get("lora_alpha"))?,
            ranks: patterns("rank_pattern", get("rank_pattern"), rank)?,
            alphas: patterns("alpha_pattern", get("alpha_pattern"), alpha)?,
            root,
        })
    }

    /// Rank of a module's factors, and what their product is multiplied by.
    ///
    /// # Errors
    /// A pattern that takes too long to match.
    pub(super) fn rank_and_scale(&self, module: &str) -> Result<(usize, f64)> {
        let rank = first(&self.ranks, module)?.unwrap_or(self.rank);
        let alpha = first(&self.alphas, module)?.unwrap_or(self.alpha);
        let over = if self.root { (rank as f64).sqrt() } else { rank as f64 };
        Ok((rank, alpha / over))
    }

    /// Whether the module is saved whole, by itself or within another, as PEFT finds it by the ends of
    /// names.
    pub(super) fn saves(&self, module: &str) -> bool {
        let dots = module.match_indices('.').map(|(at, _)| &module[..at]);
        let mut within = dots.chain([module]);
        within.any(|name| self.saved.iter().any(|end| name.ends_with(&end[..])))
    }
}

/// Checks that factors are what the adapter is made of.
fn check_kind(found: &Value) -> Result<()> {
    let kind = match found {
        Value::String(kind) if kind == "LORA" => return Ok(()),
        Value::String(kind) => kind,
        other => return Err(wrong("peft_type", other, "\"LORA\"")),
    };
    let (reason, mergeable) = match &kind[..] {
        "PREFIX_TUNING"
        | "PROMPT_TUNING"
        | "P_TUNING"
        | "MULTITASK_PROMPT_TUNING"
        | "CPT"
        | "ADAPTION_PROMPT" => {
            ("it puts vectors of its own before a text, which a cut cannot hold", false)
        }
        "IA3" => ("it scales activations", true),
        "ADALORA" => ("it has singular values between its factors", true),
        _ => ("what it computes is not known here", true),
    };
    let error = tuned_error(format!("peft_type is {kind:?}, expected \"LORA\": {reason}"));
    Err(if mergeable { error.with_hint(MERGE) } else { error })
}

/// Checks that training began on the base's own weights.
fn check_start(found: &Value) -> Result<()> {
    let start = match found {
        Value::Null | Value::Bool(_) => return Ok(()),
        Value::String(start) => start,
        other => return Err(wrong("init_lora_weights", other, "true, false or a name")),
    };
    if ["gaussian", "eva", "orthogonal"].contains(&&start[..]) {
        return Ok(());
    }
    let moves = MOVES_BASE.iter().any(|name| start.starts_with(name));
    let error = if moves {
        let reason = "it begins by changing the base's weights, and its factors belong to these";
        tuned_error(format!("init_lora_weights is {start:?}: {reason}"))
    } else {
        tuned_error(format!("init_lora_weights is {start:?}, which is not known here"))
    };
    Err(error.with_hint(
        "save it as plain LoRA (PEFT: save_pretrained with path_initial_model_for_weight_conversion), or \
         merge it (merge_and_unload) and pack the model with `tuned`",
    ))
}

/// Whether a field says anything: null, false and what is empty do not.
fn is_set(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(list) => !list.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::String(text) => !text.is_empty(),
        Value::Bool(true) | Value::Number(_) => true,
    }
}

/// The value of the first pattern that a module's name has.
fn first<T: Copy>(patterns: &[(Pattern, T)], module: &str) -> Result<Option<T>> {
    for (pattern, value) in patterns {
        if pattern.matches(module)? {
            return Ok(Some(*value));
        }
    }
    Ok(None)
}

fn patterns<T>(
    field: &str,
    found: &Value,
    of: impl Fn(&str, &Value) -> Result<T>,
) -> Result<Vec<(Pattern, T)>> {
    let fields = match found {
        Value::Null => return Ok(vec![]),
        Value::Object(fields) => fields,
        other => return Err(wrong(field, other, "numbers by names of modules")),
    };
    let one = |(key, value): (&String, &Value)| {
        Ok((Pattern::end(field, key)?, of(&format!("{field} of {key:?}"), value)?))
    };
    fields.iter().map(one).collect()
}

fn rank(field: &str, found: &Value) -> Result<usize> {
    let rank = found.as_u64().filter(|rank| (1..=1 << 24).contains(rank));
    rank.map(|rank| rank as usize).ok_or_else(|| wrong(field, found, "a whole number from 1"))
}

fn alpha(field: &str, found: &Value) -> Result<f64> {
    found.as_f64().filter(|alpha| alpha.is_finite()).ok_or_else(|| wrong(field, found, "a number"))
}

/// A list of texts; none where the field is absent.
pub(super) fn texts(field: &str, found: &Value) -> Result<Vec<String>> {
    let expected = "a list of names of modules";
    let list = match found {
        Value::Null => return Ok(vec![]),
        Value::Array(list) => list,
        other => return Err(wrong(field, other, expected)),
    };
    let text = |value: &Value| value.as_str().filter(|text| !text.is_empty()).map(str::to_string);
    list.iter().map(|value| text(value).ok_or_else(|| wrong(field, found, expected))).collect()
}

pub(super) fn wrong(field: &str, found: &Value, expected: &str) -> Error {
    tuned_error(format!("{field} is {}, expected {expected}", short(found)))
}

/// A value's beginning.
fn short(value: &Value) -> String {
    let text = value.to_string();
    let start: String = text.chars().take(60).collect();
    if start.len() < text.len() { start + "…" } else { start }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn config(change: impl FnOnce(&mut Value)) -> Result<AdapterConfig> {
        let mut json = json!({
            "peft_type": "LORA", "task_type": "SEQ_CLS", "r": 8, "lora_alpha": 16,
            "target_modules": ["query", "value"], "modules_to_save": ["classifier", "score"],
        });
        change(&mut json);
        AdapterConfig::of(json.as_object().unwrap())
    }

    #[test]
    fn the_first_pattern_decides_rank_and_scale() {
        let config = config(|c| {
            c["rank_pattern"] = json!({"query": 4, r"layer\.1\.attention\.self\.query": 2});
            c["alpha_pattern"] = json!({"layer.[01].attention.self.(query|key)": 6.5, "value": 1});
            c["use_rslora"] = json!(true);
        })
        .unwrap();
        let of = |module: &str| config.rank_and_scale(module).unwrap();
        let query = "bert.encoder.layer.1.attention.self.query";
        assert_eq!(of(query), (4, 6.5 / 2.0));
        assert_eq!(of("bert.encoder.layer.2.attention.self.query"), (4, 8.0));
        assert_eq!(of("bert.encoder.layer.1.attention.self.value"), (8, 1.0 / 8f64.sqrt()));
        assert_eq!(of("bert.encoder.layer.1.attention.self.myquery"), (8, 16.0 / 8f64.sqrt()));
    }

    #[test]
    fn saved_modules_are_found_by_the_ends_of_names() {
        let config = config(|_| {}).unwrap();
        for saved in ["classifier", "classifier.dense", "pre_classifier"] {
            assert!(config.saves(saved), "{saved}");
        }
        for other in ["bert.pooler.dense", "dense", "classifiers"] {
            assert!(!config.saves(other), "{other}");
        }
    }

    /// Every field that is refused, and what says nothing.
    #[test]
    fn what_is_not_understood_is_named() {
        for (name, _) in OFF {
            let error = config(|c| c[name] = json!({"a": 1})).err().unwrap();
            assert!(error.message().starts_with(&format!("{name} is {{")), "{error}");
            for off in [json!(null), json!(false), json!({}), json!([])] {
                assert!(config(|c| c[name] = off.clone()).is_ok(), "{name}");
            }
        }
        assert!(config(|c| c["new_field"] = json!(false)).is_ok());
        for (change, said) in [
            (
                (|c| c["new_field"] = json!(3)) as fn(&mut Value),
                "field new_field is not known here",
            ),
            (|c| c["peft_type"] = json!("IA3"), "\"IA3\", expected \"LORA\": it scales"),
            (|c| c["peft_type"] = json!("ADALORA"), "singular values"),
            (|c| c["peft_type"] = json!("PREFIX_TUNING"), "before a text"),
            (|c| c["peft_type"] = json!("VERA"), "not known here"),
            (|c| c["peft_type"] = json!(7), "peft_type is 7"),
            (
                |c| c["task_type"] = json!("CAUSAL_LM"),
                "task_type is \"CAUSAL_LM\", expected \"SEQ_CLS\"",
            ),
            (|c| c["task_type"] = json!(null), "task_type is null"),
            (|c| c["bias"] = json!("all"), "more than once"),
            (|c| c["bias"] = json!("some"), "\"none\" or \"lora_only\""),
            (|c| c["init_lora_weights"] = json!("pissa_niter_4"), "changing the base's weights"),
            (|c| c["init_lora_weights"] = json!("olora"), "changing the base's weights"),
            (|c| c["init_lora_weights"] = json!("corda"), "changing the base's weights"),
            (|c| c["init_lora_weights"] = json!("loftq"), "changing the base's weights"),
            (|c| c["init_lora_weights"] = json!("mica"), "which is not known here"),
            (|c| c["init_lora_weights"] = json!(1), "init_lora_weights is 1"),
            (|c| c["r"] = json!(0), "r is 0, expected a whole number"),
            (|c| c["r"] = json!(2.5), "r is 2.5"),
            (|c| c["lora_alpha"] = json!("16"), "lora_alpha is \"16\""),
            (|c| c["rank_pattern"] = json!({"query": -1}), "rank_pattern of \"query\" is -1"),
            (|c| c["rank_pattern"] = json!({"(": 1}), "rank_pattern"),
            (|c| c["alpha_pattern"] = json!([1]), "alpha_pattern is [1]"),
            (|c| c["use_rslora"] = json!("yes"), "use_rslora is \"yes\""),
            (|c| c["modules_to_save"] = json!("all"), "modules_to_save is \"all\""),
            (|c| c["target_modules"] = json!([""]), "target_modules is [\"\"]"),
            (|c| c["target_modules"] = json!(null), "target_modules is null"),
            (|c| c["target_modules"] = json!("(query"), "no regular expression"),
            (|c| c["layers_to_transform"] = json!("1"), "layers_to_transform is \"1\""),
            (|c| c["layers_pattern"] = json!("a.*b"), "layers_pattern is \"a.*b\""),
        ] {
            let error = config(change).err().unwrap_or_else(|| panic!("{said}")).to_string();
            assert!(error.contains(said), "{said}: {error}");
        }
        for start in [json!(true), json!(false), json!("gaussian"), json!("eva"), json!(null)] {
            assert!(config(|c| c["init_lora_weights"] = start).is_ok());
        }
    }
}
