//! Logits of many texts, and probabilities from logits.

use super::{Encoder, Head, Input, Tape, Weights};
use crate::data::{Batch, Encoding, Problem};
use crate::kernels::pool::awake;

/// Tokens of one batch: enough rows for the matrix products to run at full speed, few enough for
/// the activations to stay small.
const BATCH_TOKENS: usize = 2048;

/// Logits, `[texts, outputs]`, of texts in their order; `progress` hears of every batch how many
/// texts are done.
pub fn logits(
    encoder: &Encoder,
    weights: &Weights,
    head: &Head,
    texts: &[Encoding],
    mut progress: impl FnMut(usize),
) -> Vec<f32> {
    let goes_on = |done| {
        progress(done);
        true
    };
    logits_while(encoder, weights, head, texts, goes_on).unwrap_or_default()
}

/// [`logits`], or none if `goes_on`, which hears of every batch how many texts are done, says `false`.
pub fn logits_while(
    encoder: &Encoder,
    weights: &Weights,
    head: &Head,
    texts: &[Encoding],
    mut goes_on: impl FnMut(usize) -> bool,
) -> Option<Vec<f32>> {
    let mut tape = Tape::default();
    let mut logits = Vec::with_capacity(texts.len() * head.outputs());
    let mut start = 0;
    while start < texts.len() {
        let (mut end, mut tokens) = (start, 0);
        while end < texts.len() && (end == start || tokens + texts[end].ids.len() <= BATCH_TOKENS) {
            tokens += texts[end].ids.len();
            end += 1;
        }
        let batch = Batch::from_encodings(&texts[start..end]);
        logits.extend(awake(|| {
            let pooled = encoder.forward(weights, Input::Tokens(&batch), None, false, &mut tape);
            head.forward(pooled)
        }));
        start = end;
        if !goes_on(end) {
            return None;
        }
    }
    Some(logits)
}

/// Index of the largest logit, the first of equals.
pub fn argmax(row: &[f32]) -> usize {
    let mut best = 0;
    for (i, v) in row.iter().enumerate() {
        if *v > row[best] {
            best = i;
        }
    }
    best
}

/// Turns `logits`, `[rows, outputs]`, into probabilities: softmax over a row, or a sigmoid of each
/// label; a regression's values stay.
pub fn probabilities(problem: Problem, logits: &[f32], outputs: usize) -> Vec<f32> {
    match problem {
        Problem::SingleLabel => logits
            .chunks_exact(outputs)
            .flat_map(|row| {
                let most = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exps: Vec<f64> = row.iter().map(|&z| f64::from(z - most).exp()).collect();
                let sum: f64 = exps.iter().sum();
                exps.into_iter().map(move |e| (e / sum) as f32)
            })
            .collect(),
        Problem::MultiLabel => {
            logits.iter().map(|&z| (1.0 / (1.0 + (-f64::from(z)).exp())) as f32).collect()
        }
        Problem::Regression => logits.to_vec(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_of_each_problem() {
        let p = probabilities(Problem::SingleLabel, &[0.0, 0.0, 1000.0, -1000.0], 2);
        assert_eq!(p, [0.5, 0.5, 1.0, 0.0]);
        assert_eq!(probabilities(Problem::MultiLabel, &[0.0, 800.0], 2), [0.5, 1.0]);
        assert_eq!(probabilities(Problem::Regression, &[3.5], 1), [3.5]);
    }
}
