//! Transformers' tokenizer classes: which one reads a folder, and what each makes of a vocabulary.
//!
//! Held against Transformers 5.23, in which a class of its own takes from `tokenizer.json` the
//! vocabulary and the added tokens alone, and makes all else itself, by `tokenizer_config.json`; the
//! generic class takes the file as it is. `reference/check_tokenizers.py` compares their tokens.

use std::path::Path;

use serde_json::{Value, json};

use super::vocabulary::wrong;
use crate::Result;

/// What reads a folder's tokenizer.
#[derive(Clone, Copy)]
pub(super) enum Reader<'a> {
    /// A class that makes its parts itself.
    Own(&'static Class),
    /// The class that takes `tokenizer.json` as it is.
    Generic,
    /// Nobody says, or a class that is not known here.
    Unknown(Option<&'a str>),
}

/// A class that makes its parts itself.
pub(super) struct Class {
    /// Its names, the first its own; with `Fast` at the end they mean the same.
    pub(super) names: &'static [&'static str],
    style: Style,
    /// Whether its tokens have types where no `model_input_names` are stated.
    pub(super) typed: bool,
    /// Its special tokens where no file names others.
    pub(super) special: &'static [(&'static str, &'static str)],
}

/// How a class splits texts.
#[derive(Clone, Copy, PartialEq)]
enum Style {
    Bert,
    MpNet,
    Roberta,
    XlmRoberta,
    Camembert,
    Albert,
    DebertaV2,
}

const BERT_TOKENS: &[(&str, &str)] = &[
    ("unk_token", "[UNK]"),
    ("sep_token", "[SEP]"),
    ("pad_token", "[PAD]"),
    ("cls_token", "[CLS]"),
    ("mask_token", "[MASK]"),
];
const ROBERTA_TOKENS: &[(&str, &str)] = &[
    ("bos_token", "<s>"),
    ("eos_token", "</s>"),
    ("unk_token", "<unk>"),
    ("sep_token", "</s>"),
    ("pad_token", "<pad>"),
    ("cls_token", "<s>"),
    ("mask_token", "<mask>"),
];

const CLASSES: [Class; 8] = [
    Class {
        names: &["BertTokenizer", "ElectraTokenizer", "MobileBertTokenizer", "LayoutLMTokenizer"],
        style: Style::Bert,
        typed: true,
        special: BERT_TOKENS,
    },
    Class {
        names: &["DistilBertTokenizer"],
        style: Style::Bert,
        typed: false,
        special: BERT_TOKENS,
    },
    Class {
        names: &["MPNetTokenizer"],
        style: Style::MpNet,
        typed: false,
        special: &[
            ("bos_token", "<s>"),
            ("eos_token", "</s>"),
            ("unk_token", "[UNK]"),
            ("sep_token", "</s>"),
            ("pad_token", "<pad>"),
            ("cls_token", "<s>"),
            ("mask_token", "<mask>"),
        ],
    },
    Class {
        names: &["RobertaTokenizer", "BartTokenizer", "LongformerTokenizer"],
        style: Style::Roberta,
        typed: false,
        special: ROBERTA_TOKENS,
    },
    Class {
        names: &["XLMRobertaTokenizer"],
        style: Style::XlmRoberta,
        typed: false,
        special: ROBERTA_TOKENS,
    },
    Class {
        names: &["CamembertTokenizer"],
        style: Style::Camembert,
        typed: false,
        special: ROBERTA_TOKENS,
    },
    Class {
        names: &["AlbertTokenizer"],
        style: Style::Albert,
        typed: false,
        special: &[
            ("bos_token", "[CLS]"),
            ("eos_token", "[SEP]"),
            ("unk_token", "<unk>"),
            ("sep_token", "[SEP]"),
            ("pad_token", "<pad>"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
    },
    Class {
        names: &["DebertaV2Tokenizer"],
        style: Style::DebertaV2,
        typed: true,
        special: &[
            ("bos_token", "[CLS]"),
            ("eos_token", "[SEP]"),
            ("unk_token", "[UNK]"),
            ("sep_token", "[SEP]"),
            ("pad_token", "[PAD]"),
            ("cls_token", "[CLS]"),
            ("mask_token", "[MASK]"),
        ],
    },
];

/// The class that reads models of a `model_type` whose files name none.
const USUAL: [(&str, &str); 10] = [
    ("bert", "BertTokenizer"),
    ("distilbert", "BertTokenizer"),
    ("electra", "BertTokenizer"),
    ("nomic_bert", "BertTokenizer"),
    ("mpnet", "MPNetTokenizer"),
    ("roberta", "RobertaTokenizer"),
    ("xlm-roberta", "XLMRobertaTokenizer"),
    ("camembert", "CamembertTokenizer"),
    ("albert", "AlbertTokenizer"),
    ("deberta-v2", "DebertaV2Tokenizer"),
];

/// What `linocut export` puts before a `model_type`.
const EXPORTED: &str = "linocut_";

impl<'a> Reader<'a> {
    /// By `config.json` and `tokenizer_config.json`.
    pub(super) fn of(config: &'a Value, settings: &'a Value) -> Self {
        let class = |name: &str| CLASSES.iter().find(|class| class.names.contains(&name));
        let model = config["model_type"].as_str().unwrap_or_default();
        let model = model.strip_prefix(EXPORTED).unwrap_or(model);
        // Whatever class its folders name.
        if model == "modernbert" {
            return Self::Generic;
        }
        let named = [settings, config].into_iter().find_map(|f| f["tokenizer_class"].as_str());
        match named.map(|name| name.strip_suffix("Fast").unwrap_or(name)) {
            Some("PreTrainedTokenizer" | "TokenizersBackend" | "PythonBackend") => Self::Generic,
            Some(name) => class(name).map_or(Self::Unknown(named), Self::Own),
            None => {
                let usual = USUAL.iter().find(|(known, _)| *known == model);
                usual.and_then(|(_, name)| class(name)).map_or(Self::Unknown(None), Self::Own)
            }
        }
    }

    /// What to call it in `tokenizer_config.json`.
    pub(super) fn name(self) -> &'a str {
        match self {
            Self::Own(class) => class.names[0],
            Self::Generic => "PreTrainedTokenizerFast",
            Self::Unknown(name) => name.unwrap_or("PreTrainedTokenizerFast"),
        }
    }
}

impl Class {
    /// The type of the model that it makes, as `tokenizer.json` calls it.
    pub(super) fn model(&self) -> &'static str {
        match self.style {
            Style::Bert | Style::MpNet => "WordPiece",
            Style::Roberta => "BPE",
            _ => "Unigram",
        }
    }

    /// The files that it reads where there is no `tokenizer.json`.
    pub(super) fn vocabulary(&self) -> &'static str {
        match self.style {
            Style::Bert | Style::MpNet => "vocab.txt",
            Style::Roberta => "vocab.json and merges.txt",
            Style::XlmRoberta | Style::Camembert => "sentencepiece.bpe.model",
            Style::Albert => "spiece.model",
            Style::DebertaV2 => "spm.model",
        }
    }

    /// Whether words are split wherever there is white space.
    pub(super) fn splits_at_space(&self) -> bool {
        [Style::XlmRoberta, Style::Camembert, Style::Albert].contains(&self.style)
    }

    /// Whether white space before a special token that no file describes is part of it.
    pub(super) fn takes_space(&self, key: &str) -> bool {
        key == "mask_token" && [Style::MpNet, Style::Camembert].contains(&self.style)
    }

    /// Tokens that are special to it beside the named ones, where no file lists others.
    pub(super) fn extra(&self) -> &'static [&'static str] {
        match self.style {
            Style::Camembert => &["<s>NOTUSED", "</s>NOTUSED", "<unk>NOTUSED"],
            _ => &[],
        }
    }

    /// The model's fields beside the vocabulary; `unknown` is the unknown token, `vocab` what
    /// `tokenizer.json` has for a vocabulary.
    pub(super) fn fields(
        &self,
        unknown: &str,
        vocab: &Value,
        settings: &Value,
    ) -> Vec<(&'static str, Value)> {
        let position = |fits: &dyn Fn(&Value) -> bool| {
            vocab
                .as_array()
                .into_iter()
                .flatten()
                .position(|piece| piece[0] == unknown && fits(piece))
        };
        let unigram =
            |unknown: usize| vec![("unk_id", json!(unknown)), ("byte_fallback", json!(false))];
        match self.style {
            Style::Bert | Style::MpNet => vec![
                ("unk_token", json!(unknown)),
                ("continuing_subword_prefix", json!("##")),
                ("max_input_chars_per_word", json!(100)),
            ],
            Style::Roberta => vec![
                ("dropout", Value::Null),
                ("unk_token", Value::Null),
                ("continuing_subword_prefix", json!("")),
                ("end_of_word_suffix", json!("")),
                ("fuse_unk", json!(false)),
                ("byte_fallback", json!(false)),
                ("ignore_merges", json!(false)),
            ],
            Style::XlmRoberta => unigram(3),
            Style::Albert => unigram(1),
            Style::Camembert => unigram(position(&|_| true).unwrap_or(0)),
            Style::DebertaV2 => {
                let stated = settings["unk_id"].as_u64().map_or(1, |id| id as usize);
                unigram(position(&|piece| piece[1].as_f64() == Some(0.0)).unwrap_or(stated))
            }
        }
    }

    /// The normalizer; of `file`, `tokenizer.json`'s, only a table of characters is taken over.
    ///
    /// # Errors
    /// A setting that is no truth value.
    pub(super) fn normalizer(&self, path: &Path, settings: &Value, file: &Value) -> Result<Value> {
        let flag = |name, default| flag(path, settings, name, default);
        let steps = match self.style {
            Style::Bert | Style::MpNet => {
                return Ok(json!({
                    "type": "BertNormalizer",
                    "clean_text": true,
                    "handle_chinese_chars": flag("tokenize_chinese_chars", true)?,
                    "strip_accents": settings["strip_accents"],
                    "lowercase": flag("do_lower_case", true)?,
                }));
            }
            Style::Roberta => vec![],
            Style::XlmRoberta | Style::Camembert => characters(file).into_iter().collect(),
            Style::Albert => {
                let replace = |quotes: &str| json!({"type": "Replace", "pattern": {"String": quotes}, "content": "\""});
                let mut steps = vec![replace("``"), replace("''")];
                if !flag("keep_accents", false)? {
                    steps.extend([json!({"type": "NFKD"}), json!({"type": "StripAccents"})]);
                }
                if flag("do_lower_case", true)? {
                    steps.push(json!({"type": "Lowercase"}));
                }
                steps.extend(characters(file));
                steps
            }
            Style::DebertaV2 => {
                let lower = flag("do_lower_case", false)?.then(|| json!({"type": "Lowercase"}));
                let rest = [
                    json!({"type": "Replace", "pattern": {"Regex": r"\s{2,}|[\n\r\t]"}, "content": " "}),
                    json!({"type": "NFC"}),
                    json!({"type": "Strip", "strip_left": false, "strip_right": true}),
                ];
                lower.into_iter().chain(rest).collect()
            }
        };
        Ok(match steps.len() {
            0 => Value::Null,
            _ => json!({"type": "Sequence", "normalizers": steps}),
        })
    }

    /// What splits texts into words.
    ///
    /// # Errors
    /// A setting that is no truth value.
    pub(super) fn pre_tokenizer(&self, path: &Path, settings: &Value) -> Result<Value> {
        let flag = |name, default| flag(path, settings, name, default);
        let sequence = |first: Option<Value>, scheme: &str| {
            let last = json!({"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme,
                "split": true});
            let steps: Vec<Value> = first.into_iter().chain([last]).collect();
            json!({"type": "Sequence", "pretokenizers": steps})
        };
        Ok(match self.style {
            Style::Bert | Style::MpNet => json!({"type": "BertPreTokenizer"}),
            Style::Roberta => json!({
                "type": "ByteLevel",
                "add_prefix_space": flag("add_prefix_space", false)?,
                "trim_offsets": true,
                "use_regex": true,
            }),
            Style::XlmRoberta | Style::Camembert | Style::Albert => {
                let scheme = if flag("add_prefix_space", true)? { "always" } else { "never" };
                sequence(Some(json!({"type": "WhitespaceSplit"})), scheme)
            }
            Style::DebertaV2 => {
                let scheme = if flag("add_prefix_space", true)? { "always" } else { "first" };
                let points = json!({"type": "Punctuation", "behavior": "Isolated"});
                sequence(flag("split_by_punct", false)?.then_some(points), scheme)
            }
        })
    }

    /// What is put around texts; null where `tokenizer.json`'s stays. `token` gives the text of a
    /// special token and its number.
    ///
    /// # Errors
    /// Those of `token`.
    pub(super) fn post_processor(
        &self,
        token: impl Fn(&str) -> Result<(String, u64)>,
        file: &Value,
    ) -> Result<Value> {
        let [first, last] = match self.style {
            Style::XlmRoberta | Style::Camembert => ["bos_token", "eos_token"],
            Style::Albert if !file.is_null() => return Ok(Value::Null),
            _ => ["cls_token", "sep_token"],
        };
        let (first, last) = (token(first)?, token(last)?);
        Ok(match self.style {
            Style::Bert | Style::Albert | Style::DebertaV2 => {
                json!({"type": "BertProcessing", "sep": last, "cls": first})
            }
            _ => json!({"type": "RobertaProcessing", "sep": last, "cls": first,
                "trim_offsets": true, "add_prefix_space": false}),
        })
    }
}

fn flag(path: &Path, settings: &Value, name: &str, default: bool) -> Result<bool> {
    match settings.get(name) {
        None => Ok(default),
        Some(Value::Bool(flag)) => Ok(*flag),
        Some(other) => Err(wrong(path, format!("{name} is {other}, expected true or false"))),
    }
}

/// The table of characters among a normalizer's steps.
fn characters(normalizer: &Value) -> Option<Value> {
    let steps = normalizer["normalizers"].as_array().map_or(&[][..], Vec::as_slice);
    let mut steps = steps.iter().chain([normalizer]);
    steps.find(|step| step["type"] == "Precompiled").cloned()
}
