//! The method whose cut fits a number of bytes, where nothing is known of the task.

use super::method::CANDIDATES;
use super::{Method, Scope, Selection, Target};
use crate::data::{Dataset, Problem};
use crate::model::Encoder;
use crate::{Error, ErrorKind, Result};

/// Shares of zeros that are chosen from: with 0.1% a mask is between the head alone and a mask of its
/// own size; above 1%, zeros cost bytes and masks learn no better (`bench/LOG.md`).
const LEAST: f64 = 0.001;
const MOST: f64 = 0.01;
/// Steps of the share, so that it reads well.
const STEP: f64 = 0.0005;
/// Bytes of card, probes and container, with room for longer names; and of a matrix's entries there.
const FIXED: f64 = 4096.0;
const PER_MATRIX: f64 = 320.0;

/// The method whose cut has at most `budget` bytes, by this rule: masks of all layers with the
/// largest share of zeros in every matrix that fits, from 0.1% to 1%; if 0.1% does not fit, masks
/// of the last layers, as many as fit with 0.1% or more; if none do, the head alone.
///
/// # Errors
/// A budget that not even the head fits.
pub fn method_within(budget: u64, encoder: &Encoder, task: &Dataset) -> Result<Method> {
    let (hidden, layers) = (encoder.config().hidden, encoder.config().own_layers);
    let outputs = task.labels.len().max(1);
    // Labels stand in the card, whose quotes and signs may be escaped twice.
    let labels: usize = task.labels.iter().map(|label| 2 * label.len() + 8).sum();
    // Of a regression the head may be stored as f32.
    let entry = if task.problem == Problem::Regression { 4 } else { 2 };
    let head = FIXED + (entry * outputs * (hidden + 1) + labels) as f64;
    let left = budget as f64 - head;
    if left < 0.0 {
        let message = format!("`budget` is {budget} bytes, expected at least {head:.0}");
        return Err(Error::new(ErrorKind::Config, message)
            .with_hint(format!("a head of {outputs} outputs and the card take as much")));
    }
    for count in (1..=layers).rev() {
        let last = (layers - count..layers).collect();
        let layers = (count < layers).then_some(last);
        let selection = Selection { layers, only: None };
        let matrices = matrices(&selection, encoder)?;
        let size = |share: f64| -> f64 {
            matrices.iter().map(|&entries| PER_MATRIX + zeros_bytes(entries, share)).sum()
        };
        let steps = (LEAST / STEP).round() as u32..=(MOST / STEP).round() as u32;
        let fits = |step: &u32| size(f64::from(*step) * STEP) <= left;
        if let Some(step) = steps.rev().find(fits) {
            // As it is written: 37 · 0.0005 is not quite 0.0185.
            let sparsity = f64::from(step) / (1.0 / STEP).round();
            return Ok(Method::mask_to(Target { sparsity, scope: Scope::Matrix }, selection));
        }
    }
    Ok(Method::Head)
}

/// Entries of every matrix that a mask of `selection` has.
fn matrices(selection: &Selection, encoder: &Encoder) -> Result<Vec<usize>> {
    let target = Target { sparsity: LEAST, scope: Scope::Matrix };
    let marks = Method::mask_to(target, selection.clone()).marks(encoder)?;
    let chosen = encoder.layout().tensors().iter().zip(marks).filter(|(_, mark)| *mark);
    Ok(chosen.map(|(tensor, _)| tensor.range.len()).collect())
}

/// Most bytes of a coded mask with a share of zeros, all of them candidates: 1.02 × the entropy of
/// their places among these and 64 bytes, see `docs/cut-format.md`.
fn zeros_bytes(entries: usize, share: f64) -> f64 {
    let p = share / CANDIDATES;
    let entropy = -p * p.log2() - (1.0 - p) * (1.0 - p).log2();
    1.02 * entropy * CANDIDATES * entries as f64 / 8.0 + 64.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Targets;
    use crate::model::Pooling;

    #[test]
    fn more_bytes_buy_more_zeros_and_more_layers() {
        let config = serde_json::json!({
            "num_hidden_layers": 6, "hidden_size": 384, "intermediate_size": 1536,
        });
        let encoder = Encoder::new(&config, false, Pooling::Mean).unwrap();
        let task = Dataset {
            name: "t".into(),
            problem: Problem::SingleLabel,
            labels: vec!["no".into(), "yes".into()],
            texts: vec![],
            pairs: None,
            targets: Targets::Classes(vec![]),
            weights: None,
            taught: None,
        };
        let method = |budget| method_within(budget, &encoder, &task);
        let mask = |budget| match method(budget).unwrap() {
            Method::Mask { target: Some(target), selection, .. } => {
                (target.sparsity, selection.layers.map_or(6, |layers| layers.len()))
            }
            other => panic!("{budget}: {other:?}"),
        };
        // 10.6 million entries: H(4%) / 8 of a quarter of them are 80,000 bytes, H(2%) / 8 46,900.
        assert_eq!(mask(1_000_000), (0.01, 6));
        let (share, layers) = mask(70_000);
        assert!(layers == 6 && (0.0045..0.006).contains(&share), "{share}");
        let (share, layers) = mask(20_000);
        assert!((1..6).contains(&layers) && share >= LEAST, "{share} {layers}");
        assert_eq!(method(6_000).unwrap(), Method::Head);
        let error = method(5_000).unwrap_err().to_string();
        assert!(error.contains("`budget` is 5000 bytes, expected at least"), "{error}");
    }
}
