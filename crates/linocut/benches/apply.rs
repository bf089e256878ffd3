//! Time to read a BERT-base-sized cut of 1% zeros and to put it on the base's weights.
//!
//!     RAYON_NUM_THREADS=2 cargo bench -p linocut --bench apply
//!
//! Prints the median and the least of 31 runs: decoding the file's bytes (digest included), applying,
//! taking off again. The weights are made up; the base's fingerprint is not part of it.

use linocut::cut::{BaseId, Card, Cut, Edit, FORMAT, Head, StoreType, TensorEdit, Zeros};
use linocut::data::{Metric, Problem};
use linocut::kernels::random::bits;
use linocut::model::{Encoder, Kind, Layout, Pooling, Weights};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

const RUNS: usize = 31;
const DENSITY: f64 = 0.01;

fn main() {
    let encoder = Encoder::new(&serde_json::json!({}), true, Pooling::Cls).expect("BERT-base");
    let layout = Arc::clone(encoder.layout());
    let values = (0..layout.len() as u32).map(|i| bits(1, i) as f32 / u32::MAX as f32 + 0.5);
    let mut weights = Weights::new(Arc::clone(&layout), values.collect());
    let file = cut(&layout).to_bytes();
    let before: Vec<u32> = weights.data().iter().map(|v| v.to_bits()).collect();

    let (mut decode, mut apply, mut undo) = (Vec::new(), Vec::new(), Vec::new());
    let mut zeros = 0;
    for _ in 0..RUNS {
        let start = Instant::now();
        let cut = Cut::from_bytes(&file).expect("a whole cut");
        decode.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        let applied = cut.apply(&mut weights).expect("a cut that fits");
        apply.push(start.elapsed().as_secs_f64() * 1e3);
        zeros = weights.data().iter().filter(|v| v.to_bits() == 0).count();
        let start = Instant::now();
        applied.undo(&mut weights);
        undo.push(start.elapsed().as_secs_f64() * 1e3);
    }
    assert!(weights.data().iter().map(|v| v.to_bits()).eq(before), "the base is restored");
    println!(
        "{} bytes, {zeros} zeros, {} weights, {} threads",
        file.len(),
        weights.data().len(),
        rayon::current_num_threads()
    );
    let both = decode.iter().zip(&apply).map(|(a, b)| a + b).collect();
    for (what, times) in
        [("decode", decode), ("apply", apply), ("decode + apply", both), ("undo", undo)]
    {
        let mut times: Vec<f64> = times;
        times.sort_by(f64::total_cmp);
        println!("{what:<15} median {:6.2} ms, least {:6.2} ms", times[RUNS / 2], times[0]);
    }
}

/// Zeros at random in the layers' matrices and the pooler's.
fn cut(layout: &Layout) -> Cut {
    let masked = |kind: Kind| !matches!(kind, Kind::Embeddings | Kind::LayerNorm | Kind::Bias);
    let least = (DENSITY * f64::from(u32::MAX)) as u32;
    let edits: BTreeMap<String, TensorEdit> = layout
        .tensors()
        .iter()
        .enumerate()
        .filter(|(_, spec)| masked(spec.kind()))
        .map(|(i, spec)| {
            let keep = (0..spec.range.len()).map(|j| bits(100 + i as u64, j as u32) >= least);
            let zeros = Zeros::from_keep(keep).expect("a small tensor");
            (spec.name.clone(), TensorEdit { shape: spec.shape.clone(), edit: Edit::Zeros(zeros) })
        })
        .collect();
    let card = Card {
        format: FORMAT,
        task: "bench".into(),
        problem: Problem::SingleLabel,
        labels: vec!["no".into(), "yes".into()],
        outputs: 2,
        pooling: Pooling::Cls,
        max_length: 128,
        long: None,
        unit: false,
        pairs: false,
        base: BaseId { name: "made up".into(), fingerprint: "0".repeat(64) },
        tokenizer: "0".repeat(64),
        method: json!("mask"),
        training: json!(null),
        metric: Metric::Accuracy,
        metrics: BTreeMap::new(),
        tensors: BTreeMap::new(),
        slim: None,
        decision: None,
        source: None,
    };
    let head = Head {
        store: StoreType::F32,
        hidden: 768,
        weight: vec![0.01; 2 * 768],
        bias: vec![0.0; 2],
    };
    Cut::new(card, head, edits, Vec::new()).expect("parts that fit")
}
