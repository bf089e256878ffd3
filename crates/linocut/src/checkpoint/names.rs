//! The one name that linocut gives each tensor of a BERT encoder, however a checkpoint spells it.

use crate::checkpoint::Kind;

/// A tensor's canonical name and what it says about the tensor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Canonical {
    /// As in `BertModel`: no `bert.` prefix, LayerNorm parameters called `weight` and `bias`.
    pub name: String,
    /// Role in the encoder.
    pub kind: Kind,
    /// Encoder layer, 0-based; `None` for embeddings and pooler.
    pub layer: Option<usize>,
}

/// The canonical form of a tensor name as stored in a checkpoint.
///
/// Strips the `bert.` prefix of task models and maps the `gamma` and `beta` of checkpoints
/// converted from TensorFlow to `weight` and `bias`. `None` for whatever is not a parameter of the
/// encoder: `position_ids`, heads (`classifier.*`, `cls.*`) and unknown names.
pub fn canonical(stored: &str) -> Option<Canonical> {
    let name = stored.strip_prefix("bert.").unwrap_or(stored);
    let (module, parameter) = name.rsplit_once('.')?;
    let parameter = match parameter {
        "gamma" if module.ends_with("LayerNorm") => "weight",
        "beta" if module.ends_with("LayerNorm") => "bias",
        "weight" | "bias" => parameter,
        _ => return None,
    };
    let (kind, layer) = match module {
        "embeddings.word_embeddings"
        | "embeddings.position_embeddings"
        | "embeddings.token_type_embeddings" => {
            // Embedding tables have no bias.
            if parameter != "weight" {
                return None;
            }
            (Kind::Embeddings, None)
        }
        "embeddings.LayerNorm" => (Kind::LayerNorm, None),
        "pooler.dense" => (Kind::Pooler, None),
        _ => {
            let (layer, part) = module.strip_prefix("encoder.layer.")?.split_once('.')?;
            let kind = match part {
                "attention.self.query" => Kind::Query,
                "attention.self.key" => Kind::Key,
                "attention.self.value" => Kind::Value,
                "attention.output.dense" => Kind::AttentionOutput,
                "attention.output.LayerNorm" | "output.LayerNorm" => Kind::LayerNorm,
                "intermediate.dense" => Kind::Intermediate,
                "output.dense" => Kind::Output,
                _ => return None,
            };
            (kind, Some(layer_number(layer)?))
        }
    };
    let kind = match parameter {
        "bias" if kind != Kind::LayerNorm => Kind::Bias,
        _ => kind,
    };
    Some(Canonical { name: format!("{module}.{parameter}"), kind, layer })
}

/// Digits only and without leading zeros, so that no two spellings name one layer.
fn layer_number(text: &str) -> Option<usize> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefix_and_layernorm_spelling_do_not_matter() {
        for stored in [
            "encoder.layer.11.output.LayerNorm.weight",
            "bert.encoder.layer.11.output.LayerNorm.weight",
            "bert.encoder.layer.11.output.LayerNorm.gamma",
        ] {
            let c = canonical(stored).unwrap();
            assert_eq!(c.name, "encoder.layer.11.output.LayerNorm.weight");
            assert_eq!((c.kind, c.layer), (Kind::LayerNorm, Some(11)));
        }
        let c = canonical("bert.embeddings.LayerNorm.beta").unwrap();
        assert_eq!((c.name.as_str(), c.kind), ("embeddings.LayerNorm.bias", Kind::LayerNorm));
    }

    #[test]
    fn kinds_follow_the_module() {
        let kind = |name: &str| canonical(name).map(|c| c.kind);
        assert_eq!(kind("embeddings.word_embeddings.weight"), Some(Kind::Embeddings));
        assert_eq!(kind("encoder.layer.0.attention.self.query.weight"), Some(Kind::Query));
        assert_eq!(kind("encoder.layer.0.attention.self.key.weight"), Some(Kind::Key));
        assert_eq!(kind("encoder.layer.0.attention.self.value.weight"), Some(Kind::Value));
        assert_eq!(kind("encoder.layer.0.attention.self.value.bias"), Some(Kind::Bias));
        assert_eq!(
            kind("encoder.layer.0.attention.output.dense.weight"),
            Some(Kind::AttentionOutput)
        );
        assert_eq!(kind("encoder.layer.0.intermediate.dense.weight"), Some(Kind::Intermediate));
        assert_eq!(kind("encoder.layer.0.output.dense.weight"), Some(Kind::Output));
        assert_eq!(kind("pooler.dense.weight"), Some(Kind::Pooler));
        assert_eq!(kind("bert.pooler.dense.bias"), Some(Kind::Bias));
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
            "distilbert.transformer.layer.0.ffn.lin1.weight",
        ] {
            assert_eq!(canonical(stored), None, "{stored}");
        }
    }
}
