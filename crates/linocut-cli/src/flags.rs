//! The library speaks of fields, the command of its flags.

use linocut::tune::{Method, Sampling, Scope, Selection, Target};
use serde_json::Value;

/// Fields that the library's messages name and that are flags here: `max_length` is --max-length.
const FIELDS: [&str; 70] = [
    "adapter",
    "allow_nan",
    "arms",
    "base",
    "batch",
    "budget",
    "calibrate",
    "candidates",
    "class_weights",
    "clip",
    "compute",
    "cuts",
    "decay",
    "delimiter",
    "distill",
    "dropout",
    "dtype",
    "early_stop",
    "epochs",
    "eval_every",
    "fold_predictions",
    "folds",
    "force",
    "head_lr",
    "init_scale",
    "init_sparsity",
    "jobs",
    "label",
    "label_separator",
    "labels",
    "layers",
    "limit",
    "log",
    "long",
    "lr",
    "mask_lr",
    "max_length",
    "method",
    "objective",
    "only",
    "other",
    "out",
    "pairs",
    "pooling",
    "problem",
    "push",
    "quotes",
    "rank",
    "report",
    "resume",
    "sampling",
    "save_every",
    "search",
    "seed",
    "seeds",
    "sign",
    "sparsity",
    "sparsity_scope",
    "store",
    "study",
    "target_precision",
    "target_recall",
    "task",
    "task_memory",
    "text",
    "text_pair",
    "trust",
    "tuned",
    "unlabelled",
    "warmup",
];

/// A message of the library with the fields that it names as flags: `` `lr` `` as --lr, and
/// `` `method=head` `` as --method head. What stands in quotation marks is of the user's own, and stays.
pub(crate) fn in_message(text: &str) -> String {
    let (mut out, mut rest) = (String::new(), text);
    while let Some(at) = rest.find(['`', '"']) {
        let (before, found) = rest.split_at(at);
        out += before;
        let flag = found.strip_prefix('`').and_then(|code| code.split_once('`'));
        let flag = flag.and_then(|(code, after)| Some((of_field(code)?, after)));
        rest = match (flag, quotation(found)) {
            (Some((flag, after)), _) => {
                out += &flag;
                after
            }
            (None, length) => {
                out += &found[..length];
                &found[length..]
            }
        };
    }
    out + rest
}

/// Bytes up to the end of what stands in quotation marks at the start of `text`; 1 where it is not.
fn quotation(text: &str) -> usize {
    let mut escaped = false;
    let end = text.char_indices().skip(1).find(|(_, c)| {
        let ends = *c == '"' && !escaped;
        escaped = *c == '\\' && !escaped;
        ends
    });
    end.filter(|_| text.starts_with('"')).map_or(1, |(at, _)| at + 1)
}

/// The flag of a choice of a run and its value.
pub(crate) fn of_choice(name: &str, value: &Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_string);
    format!("--{} {value}", name.replace('_', "-"))
}

/// The flag of a field, or of a field and its value.
fn of_field(code: &str) -> Option<String> {
    let (name, value) = match code.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (code, None),
    };
    let flag = FIELDS.contains(&name).then(|| format!("--{}", name.replace('_', "-")))?;
    Some(value.map_or(flag.clone(), |value| format!("{flag} {value}")))
}

/// A value as a shell takes it for one word.
pub(crate) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./~=+@:,".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.into()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// The flags of `linocut train` that give `method`.
pub(crate) fn of_method(method: &Method) -> String {
    let mut flags = format!("--method {}", method.name());
    let mut select = |selection: &Selection| {
        if let Some(layers) = &selection.layers {
            let layers: Vec<String> = layers.iter().map(usize::to_string).collect();
            flags += &format!(" --layers {}", layers.join(","));
        }
        if let Some(only) = &selection.only {
            let only = only.join(",");
            // A shell would take a * for names of files.
            flags += &if only.contains('*') {
                format!(" --only '{only}'")
            } else {
                format!(" --only {only}")
            };
        }
    };
    match method {
        Method::Full | Method::Bias | Method::Head => {}
        Method::Layers(selection) => select(selection),
        Method::LowRank { rank, selection } => {
            select(selection);
            flags += &format!(" --rank {rank}");
        }
        Method::Mask { sampling, init_sparsity, candidates, target, selection, .. } => {
            select(selection);
            if *sampling == Sampling::Threshold {
                flags += " --sampling threshold";
            }
            match target {
                Some(Target { sparsity, scope }) => {
                    flags += &format!(" --sparsity {sparsity}");
                    if *scope == Scope::Global {
                        flags += " --sparsity-scope global";
                    }
                }
                None if *init_sparsity > 0.0 => {
                    flags += &format!(" --init-sparsity {init_sparsity}");
                }
                None => {}
            }
            if *candidates != Method::candidates(*init_sparsity) {
                flags += &format!(" --candidates {candidates}");
            }
        }
    }
    flags
}

#[cfg(test)]
mod tests {
    use super::*;
    use linocut::model::{Encoder, Pooling};
    use linocut::study::{Arm, Trains};

    #[test]
    fn fields_become_flags_and_what_is_quoted_stays() {
        for (text, shown) in [
            ("`max_length` is 3 tokens", "--max-length is 3 tokens"),
            ("use `pooling=mean` or `pooling=first`", "use --pooling mean or --pooling first"),
            ("`only=a=b`: neither", "--only a=b: neither"),
            ("`layers=`: é `lr`", "--layers : é --lr"),
            ("no `such` field, `make base` puts one", "no `such` field, `make base` puts one"),
            ("one ` and `lr", "one ` and `lr"),
            (
                r#"the text "`lr` and \"`lr`" is not `lr`"#,
                r#"the text "`lr` and \"`lr`" is not --lr"#,
            ),
            (r#"a path "C:\\" and `lr`"#, r#"a path "C:\\" and --lr"#),
            (r#"every " doubled: `quotes=none`"#, r#"every " doubled: --quotes none"#),
            ("", ""),
        ] {
            assert_eq!(in_message(text), shown);
        }
    }

    #[test]
    fn flags_say_what_train_must_be_given() {
        let config = serde_json::json!({"num_hidden_layers": 6, "hidden_size": 384});
        let all = Arm::all(&Encoder::new(&config, false, Pooling::Mean).unwrap());
        let of = |name: &str| {
            let arm = all.iter().find(|arm| arm.name == name).unwrap();
            let Trains::Method(method) = &arm.trains else { panic!("{name}") };
            of_method(method)
        };
        assert_eq!(of("mask"), "--method mask");
        assert_eq!(of("mask-global-0.2"), "--method mask --sparsity 0.2 --sparsity-scope global");
        assert_eq!(of("soft-0.4"), "--method mask --init-sparsity 0.4");
        assert_eq!(of("top-3"), "--method layers --layers 3,4,5");
        assert_eq!(of("mask-0.005"), "--method mask --sparsity 0.005");
        assert_eq!(of("lora-16"), "--method lora --only query,value --rank 16");
        assert_eq!(of("lora-all-2"), "--method lora --only '*' --rank 2");
        assert_eq!(
            of("paper-exclusions"),
            "--method layers --layers 0,1,2,3 --only query,value,attention-output,intermediate,output,layernorm,bias"
        );
    }
}
