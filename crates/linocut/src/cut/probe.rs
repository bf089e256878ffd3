//! Probes for a new cut: inputs, and the logits that the model gives for them.

use super::content::Probe;
use crate::data::{Batch, Encoding};
use crate::kernels::random::bits;
use crate::model::{Encoder, Head, Input, ModelConfig, Tape, Weights};

impl Probe {
    /// Four probes of at most `max_length` tokens, with the logits that `weights`, the cut applied,
    /// and `head` give.
    pub(crate) fn draw(
        encoder: &Encoder,
        weights: &Weights,
        head: &Head,
        max_length: usize,
        pairs: bool,
    ) -> Vec<Self> {
        let lengths = [3, 8, 17, 33].map(|n: usize| n.min(max_length));
        let inputs = lengths.map(|n| probe_input(encoder.config(), n, pairs));
        let mut tape = Tape::default();
        let batch = Batch::from_encodings(&inputs);
        let pooled = encoder.forward(weights, Input::Tokens(&batch), None, false, &mut tape);
        let logits = head.forward(pooled);
        let rows = logits.chunks_exact(head.outputs());
        inputs
            .into_iter()
            .zip(rows)
            .map(|(input, logits)| Probe {
                input_ids: input.ids,
                token_type_ids: input.type_ids,
                logits: logits.to_vec(),
            })
            .collect()
    }
}

/// Inputs that everyone can build: drawn from the vocabulary, not from anybody's texts.
fn probe_input(config: &ModelConfig, length: usize, pairs: bool) -> Encoding {
    const KEY: u64 = 0x6c69_6e6f_6375_7421;
    let ids = (0..length as u32).map(|i| bits(KEY ^ length as u64, i) % config.vocab as u32);
    let second = |i: usize| pairs && config.token_types > 1 && i >= length / 2;
    let type_ids = (0..length).map(|i| u32::from(second(i))).collect();
    Encoding { ids: ids.collect(), type_ids, cut: false }
}
