//! Whether a fine-tuned model's tokenizer makes the base's tokens of every text: a cut is used with its
//! base's.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use super::ingest::tuned_error;
use crate::Result;
use crate::data::{Sources, Tokenizer};
use crate::model::Base;

/// A model's own tokenizer, and the files that it is from.
pub(super) struct Own {
    pub(super) tokenizer: Tokenizer,
    sources: Sources,
}

impl Own {
    /// The same of a model without token types.
    pub(super) fn without_types(self) -> Self {
        Self { tokenizer: self.tokenizer.without_types(), ..self }
    }

    /// The tokenizer of a model folder; `None` where it has none.
    ///
    /// # Errors
    /// As [`Tokenizer::open`].
    pub(super) fn open(folder: &Path) -> Result<Option<Self>> {
        let found = Tokenizer::find(folder)?;
        Ok(found.map(|(tokenizer, sources)| Self { tokenizer, sources }))
    }

    /// Checks that it makes of every text what the base's makes.
    ///
    /// # Errors
    /// What differs, and where.
    pub(super) fn check_same(&self, folder: &Path, base: &Base) -> Result<()> {
        let (own, its) = (self.tokenizer.to_json(), base.tokenizer.to_json());
        let differ = |file: &str, what: String| {
            Err(tuned_error(format!(
                "{}: the model's tokenizer is not the base's: {what}",
                folder.join(file).display()
            ))
            .with_hint(format!(
                "a cut is used with its base's tokenizer, that of {}; give the base of this model",
                base.name
            )))
        };
        if let Some(what) = vocabularies(&own["model"]["vocab"], &its["model"]["vocab"]) {
            return differ(self.sources.vocabulary, what);
        }
        for part in ["model", "normalizer", "pre_tokenizer"] {
            let [a, b] = [&own, &its].map(|json| plain(&json[part]));
            if a != b {
                let (field, a, b) = first_difference(part, &a, &b);
                return differ(self.sources.part(part), format!("{field} is {a}, the base's {b}"));
            }
        }
        if let Some((token, what)) = added(&own["added_tokens"], &its["added_tokens"]) {
            let file = self.sources.tokens.get(&token);
            return differ(file.unwrap_or(&self.sources.vocabulary), what);
        }
        // With all else the same, one text and one pair show what is put around them.
        for pair in [None, Some("b")] {
            let [a, b] = [&self.tokenizer, &base.tokenizer].map(|t| t.encode("a", pair, 1 << 10));
            let (a, b) = (a?, b?);
            if a != b {
                let of = if pair.is_some() { "a pair" } else { "a text" };
                let shown = |ids: &[u32], types: &[u32]| format!("{ids:?} of types {types:?}");
                let (a, b) = (shown(&a.ids, &a.type_ids), shown(&b.ids, &b.type_ids));
                return differ(
                    self.sources.vocabulary,
                    format!("its post_processor makes of {of} {a}, the base's {b}"),
                );
            }
        }
        let [a, b] = [&self.tokenizer, &base.tokenizer].map(Tokenizer::cut_side);
        if a != b {
            return differ(
                self.sources.side,
                format!("it cuts the {a} of texts too long, the base's the {b}"),
            );
        }
        Ok(())
    }
}

/// The first token, in the order of numbers, that is not the same in both vocabularies.
fn vocabularies(own: &Value, its: &Value) -> Option<String> {
    if own == its {
        return None;
    }
    let (Some(own), Some(its)) = (own.as_object(), its.as_object()) else {
        return Some("its vocabulary is another".into());
    };
    let number = |id: Option<&Value>| id.and_then(Value::as_u64);
    let differing = own.iter().filter(|(token, id)| its.get(*token) != Some(id));
    let missing = its.keys().filter(|token| !own.contains_key(*token));
    let first = differing.map(|(token, _)| token).chain(missing).min_by_key(|token| {
        let ids = [own.get(*token), its.get(*token)].map(number);
        ids.into_iter().flatten().min()
    })?;
    let place = |id: Option<&Value>| id.map_or("absent".into(), |id| format!("number {id}"));
    let (own, its) = (place(own.get(first)), place(its.get(first)));
    Some(format!("in its vocabulary {first:?} is {own}, in the base's {its}"))
}

/// Without what is compared elsewhere, and with one spelling of what means the same.
fn plain(part: &Value) -> Value {
    let mut part = part.clone();
    if let Some(fields) = part.as_object_mut() {
        fields.remove("vocab");
        // Absent, accents go where letters become small.
        if fields.get("type").is_some_and(|kind| kind == "BertNormalizer")
            && fields.get("strip_accents").is_some_and(Value::is_null)
        {
            fields["strip_accents"] = fields.get("lowercase").cloned().unwrap_or_default();
        }
    }
    part
}

/// The first field, by name, that is not the same in both, and what it is in each.
fn first_difference(part: &str, own: &Value, its: &Value) -> (String, String, String) {
    let shown = |value: &Value| {
        let text = value.to_string();
        let short: String = text.chars().take(60).collect();
        if short.len() < text.len() { short + "…" } else { short }
    };
    if let (Some(a), Some(b)) = (own.as_object(), its.as_object()) {
        let mut names: Vec<&String> = a.keys().chain(b.keys()).collect();
        names.sort_unstable_by_key(|name| (*name != "type", *name));
        if let Some(name) = names.into_iter().find(|name| a.get(*name) != b.get(*name)) {
            let of = |fields: &serde_json::Map<String, Value>| {
                fields.get(name).map_or("absent".into(), shown)
            };
            return (format!("{part}.{name}"), of(a), of(b));
        }
    }
    (part.to_string(), shown(own), shown(its))
}

/// The first token that is added in one of the two alone, or differently. That it counts as special
/// changes no number.
fn added(own: &Value, its: &Value) -> Option<(String, String)> {
    let by_content = |list: &Value| -> BTreeMap<String, Value> {
        let tokens = list.as_array().into_iter().flatten().filter_map(|token| {
            let mut token = token.clone();
            token.as_object_mut()?.remove("special");
            Some((token["content"].as_str()?.to_string(), token))
        });
        tokens.collect()
    };
    let (own, its) = (by_content(own), by_content(its));
    let text = own.keys().chain(its.keys()).find(|text| own.get(*text) != its.get(*text))?;
    let what = match (own.get(text), its.get(text)) {
        (Some(_), None) => format!("it takes {text:?} as one token, which the base's does not"),
        (None, Some(_)) => format!("the base's takes {text:?} as one token, which it does not"),
        (a, b) => {
            let (a, b) = (a.cloned().unwrap_or_default(), b.cloned().unwrap_or_default());
            let (field, a, b) = first_difference("added_tokens", &a, &b);
            format!("of {text:?} {field} is {a}, the base's {b}")
        }
    };
    Some((text.clone(), what))
}
