//! Choices by name on the command line, each the library's own type.

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use linocut::bank::Dtype;
use linocut::cut::{Card, Decision, StoreType};
use linocut::data::{Long, Problem};
use linocut::export::Format;
use linocut::model::Pooling;
use linocut::tune::{ClassWeights, Method, Objective, Sampling, Scope};
use linocut::{Error, ErrorKind, Result};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

/// One of these values by its name; the last of the three is its help.
fn choice<T: Clone + Send + Sync + 'static, const N: usize>(
    values: [(&'static str, T, &'static str); N],
) -> impl TypedValueParser<Value = T> {
    let shown = values.each_ref().map(|(name, _, help)| PossibleValue::new(*name).help(*help));
    PossibleValuesParser::new(shown).map(move |given| {
        let chosen = values.iter().find(|(name, ..)| *name == given);
        chosen.expect("one of the names").1.clone()
    })
}

/// A method as it is where nothing more is said.
pub(crate) fn method() -> impl TypedValueParser<Value = Method> {
    let help = [
        "Zero entries of the encoder's matrices: the smallest cuts",
        "Train some layers, kinds or names: see --layers and --only",
        "Train every bias",
        "Add low-rank factors to query and value (LoRA): see --rank, --layers and --only",
        "Train the head alone",
        "Train everything",
    ];
    let plain = |name| Method::plain(name).expect("a name of a method");
    choice(std::array::from_fn::<_, 6, _>(|i| (Method::NAMES[i], plain(Method::NAMES[i]), help[i])))
}

pub(crate) fn sampling() -> impl TypedValueParser<Value = Sampling> {
    choice([
        (
            "stochastic",
            Sampling::Stochastic,
            "Draw each mask from its scores' probabilities, as the paper does",
        ),
        ("threshold", Sampling::Threshold, "Keep entries whose score is at least 0"),
    ])
}

pub(crate) fn scope() -> impl TypedValueParser<Value = Scope> {
    choice([
        ("matrix", Scope::Matrix, "Every matrix has that share"),
        ("global", Scope::Global, "All matrices together have it"),
    ])
}

pub(crate) fn pooling() -> impl TypedValueParser<Value = Pooling> {
    choice([
        ("cls", Pooling::Cls, "First token through the base's pooler"),
        ("first", Pooling::First, "First token"),
        ("mean", Pooling::Mean, "Mean of all tokens"),
    ])
}

pub(crate) fn long() -> impl TypedValueParser<Value = Long> {
    let help = [
        "Its first tokens",
        "Its last tokens",
        "A quarter from its beginning, three from its end",
        "All of it, in up to 8 overlapping windows whose logits are averaged: slower by as much",
    ];
    choice(std::array::from_fn::<_, 4, _>(|i| (Long::ALL[i].name(), Long::ALL[i], help[i])))
}

pub(crate) fn problem() -> impl TypedValueParser<Value = Problem> {
    choice([
        ("single-label", Problem::SingleLabel, "Exactly one label a text"),
        ("multi-label", Problem::MultiLabel, "Any number of labels a text"),
        ("regression", Problem::Regression, "A number a text"),
    ])
}

pub(crate) fn objective() -> impl TypedValueParser<Value = Objective> {
    choice([
        ("labels", Objective::Labels, "Each row's label, in many passes"),
        (
            "pairs",
            Objective::Pairs,
            "Which rows have the same label; the head is then found outright. For few rows with one label each",
        ),
    ])
}

pub(crate) fn class_weights() -> impl TypedValueParser<Value = ClassWeights> {
    choice([
        ("none", ClassWeights::None, "All rows alike"),
        (
            "balanced",
            ClassWeights::Balanced,
            "Rare classes weigh more, as scikit-learn's `balanced`; with several labels a row, a label's \
             positives by its negatives over its positives, as PyTorch's `pos_weight`",
        ),
    ])
}

/// Labels and their weights, as one `--weights` has them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct LabelWeights(Vec<(String, f64)>);

impl FromStr for LabelWeights {
    type Err = String;

    /// `spam=5`, or several such with commas between them. A label may hold `=`, and commas, too: what stands before a
    /// comma and has no number is the label's beginning.
    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let expected = "expected LABEL=NUMBER, such as spam=5";
        let (mut weights, mut begun) = (vec![], String::new());
        for part in text.split(',') {
            let Some((label, number)) = part.rsplit_once('=') else {
                begun += &format!("{part},");
                continue;
            };
            let number =
                number.trim().parse().map_err(|_| format!("{expected}, found {part:?}"))?;
            weights.push((format!("{begun}{label}").trim().to_string(), number));
            begun.clear();
        }
        if begun.is_empty() { Ok(Self(weights)) } else { Err(expected.into()) }
    }
}

/// The weights that several `--weights` give; those of `--class-weights` where there is none.
///
/// # Errors
/// A label that is given twice.
pub(crate) fn all_weights(by_label: &[LabelWeights], or: &ClassWeights) -> Result<ClassWeights> {
    if by_label.is_empty() {
        return Ok(or.clone());
    }
    let mut all = BTreeMap::new();
    for (label, weight) in by_label.iter().flat_map(|LabelWeights(weights)| weights) {
        if all.insert(label.clone(), *weight).is_some() {
            let message = format!("--weights gives label {label:?} twice");
            return Err(Error::new(ErrorKind::Config, message));
        }
    }
    Ok(ClassWeights::ByLabel(all))
}

pub(crate) fn store() -> impl TypedValueParser<Value = StoreType> {
    choice([
        ("f32", StoreType::F32, "4 bytes a number, exact"),
        ("bf16", StoreType::Bf16, "2 bytes, 8 bits of precision"),
        ("f16", StoreType::F16, "2 bytes, 11 bits of precision, range ±65504"),
    ])
}

pub(crate) fn dtype() -> impl TypedValueParser<Value = Dtype> {
    choice([
        ("f32", Dtype::F32, "Floats of 32 bits: the reference"),
        (
            "int8",
            Dtype::Int8,
            "Whole numbers of 8 bits: faster and smaller, logits differ a little",
        ),
    ])
}

pub(crate) fn format() -> impl TypedValueParser<Value = Format> {
    let help = [
        "Hugging Face Transformers: config.json and model.safetensors",
        "An ONNX runtime: model.onnx",
    ];
    choice(std::array::from_fn::<_, 2, _>(|i| (Format::ALL[i].name(), Format::ALL[i], help[i])))
}

/// The card, with this threshold in the place of its own.
pub(crate) fn with_threshold(card: &Card, threshold: Option<f64>) -> Result<Cow<'_, Card>> {
    let Some(threshold) = threshold else { return Ok(Cow::Borrowed(card)) };
    if !(0.0..=1.0).contains(&threshold) {
        let message = format!("--threshold is {threshold}, expected a probability from 0 to 1");
        return Err(Error::new(ErrorKind::Config, message));
    }
    let decision = Decision::at(threshold, card)
        .map_err(|e| Error::new(ErrorKind::Config, format!("--threshold: {}", e.message())))?;
    Ok(Cow::Owned(Card { decision: Some(decision), ..card.clone() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_stand_behind_the_last_sign() {
        let read = |text: &str| text.parse().map(|LabelWeights(weights)| weights);
        let one = |label: &str, weight| (label.to_string(), weight);
        for (text, weights) in [
            ("spam=5", vec![one("spam", 5.0)]),
            ("spam=5, ham=1e-1", vec![one("spam", 5.0), one("ham", 0.1)]),
            ("a=b=2", vec![one("a=b", 2.0)]),
            ("salt, pepper=2,x=1", vec![one("salt, pepper", 2.0), one("x", 1.0)]),
            ("=3", vec![one("", 3.0)]),
            ("x=-1", vec![one("x", -1.0)]),
        ] {
            assert_eq!(read(text), Ok(weights), "{text}");
        }
        for wrong in ["", "spam", "spam=", "spam=much", "spam=1,ham", "spam:5"] {
            assert!(read(wrong).unwrap_err().contains("LABEL=NUMBER"), "{wrong}");
        }
        let given = ["a=1,b=2", "a=3"].map(|text| text.parse().unwrap());
        assert!(
            all_weights(&given, &ClassWeights::None).unwrap_err().message().contains("\"a\" twice")
        );
        assert_eq!(all_weights(&[], &ClassWeights::Balanced).unwrap(), ClassWeights::Balanced);
    }
}
