//! Training steps, or passes without, at one fixed length with random weights, as one line of JSON:
//! `cargo bench -p linocut --bench step -- minilm 32 64 full`, `-- modernbert-base 1 8192 forward`.
//! Arguments: shape, texts a batch, tokens a text, `full`, `mask` or `forward`, then optionally threads and
//! the number of timed steps.

use linocut::data::Batch;
use linocut::kernels::random::{bits, normal};
use linocut::model::{Encoder, Head, Input, Layout, LossTargets, Pooling, Tape, Weights};
use linocut::tune::{Examples, Method, Rates, Trainer};
use std::time::Instant;

const STEPS: usize = 9;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let [shape, texts, length, method, rest @ ..] = &args[..] else {
        eprintln!("usage: step -- SHAPE TEXTS LENGTH METHOD [THREADS [STEPS]]");
        return;
    };
    let threads = rest.first().map_or(2, |t| t.parse().expect("threads"));
    let steps = rest.get(1).map_or(STEPS, |steps| steps.parse().expect("steps"));
    let warm = steps.div_ceil(5);
    rayon::ThreadPoolBuilder::new().num_threads(threads).build_global().expect("first pool");
    let (texts, length): (usize, usize) =
        (texts.parse().expect("texts"), length.parse().expect("length"));
    let config = match shape.as_str() {
        "minilm" => serde_json::json!({
            "hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536,
        }),
        "bert-base-4-layers" => serde_json::json!({ "num_hidden_layers": 4 }),
        "roberta-base" => serde_json::json!({
            "model_type": "roberta", "max_position_embeddings": 514, "type_vocab_size": 1,
        }),
        "modernbert-base" => serde_json::json!({ "model_type": "modernbert" }),
        "deberta-v3-base" => serde_json::json!({
            "model_type": "deberta-v2", "hidden_size": 768, "num_hidden_layers": 12,
            "num_attention_heads": 12, "intermediate_size": 3072, "relative_attention": true,
            "position_buckets": 256, "position_biased_input": false, "share_att_key": true,
            "norm_rel_ebd": "layer_norm", "pos_att_type": "p2c|c2p",
        }),
        _ => {
            eprintln!("{shape}: no such shape");
            return;
        }
    };
    let encoder = Encoder::new(&config, true, Pooling::Mean).expect("a valid shape");
    let layout: &Layout = encoder.layout();
    let mut data = vec![1.0f32; layout.len()];
    for (i, spec) in layout.tensors().iter().enumerate().filter(|(_, t)| t.shape.len() == 2) {
        for (j, v) in data[spec.range.clone()].iter_mut().enumerate() {
            *v = 0.02 * normal(i as u64, j as u32);
        }
    }
    let weights = Weights::new(encoder.layout().clone(), data);
    let how = match method.as_str() {
        "mask" => Method::mask().settled(100),
        _ => Method::Full,
    };
    let marks = how.marks(&encoder).expect("something is trained");
    let rates = Rates {
        lr: 5e-5,
        mask_lr: 0.1,
        head_lr: 1e-3,
        decay: 0.01,
        clip: 1.0,
        warmup: 1,
        steps: 100,
        seed: 0,
    };
    let (vocab, hidden) = (encoder.config().vocab as u32, encoder.config().hidden);
    let head = Head::new(2, hidden, 0);
    let mut tape = Tape::default();
    let mut trainer = Trainer::new(encoder.clone(), weights, head, marks, &how, rates);
    let mut times = Vec::new();
    for step in 0..warm + steps {
        let tokens = (texts * length) as u32;
        let batch = Batch {
            ids: (0..tokens).map(|i| bits(step as u64, i) % vocab).collect(),
            type_ids: vec![0; tokens as usize],
            offsets: (0..=texts).map(|i| i * length).collect(),
        };
        let classes: Vec<u32> = (0..texts as u32).map(|i| i % 2).collect();
        let start = Instant::now();
        if method == "forward" {
            encoder.forward(trainer.weights(), Input::Tokens(&batch), None, false, &mut tape);
            times.push(start.elapsed().as_secs_f64());
            continue;
        }
        trainer
            .step(Examples {
                input: Input::Tokens(&batch),
                windows: &[],
                targets: LossTargets::Classes(&classes, None),
                weights: None,
                teacher: None,
            })
            .expect("a finite loss");
        times.push(start.elapsed().as_secs_f64());
    }
    let times = &mut times[warm..];
    times.sort_by(f64::total_cmp);
    let median = times[steps / 2];
    println!(
        "{}",
        serde_json::json!({
            "shape": shape, "texts": texts, "length": length, "method": method,
            "median_step_s": median, "tokens_per_s": (texts * length) as f64 / median,
        })
    );
}
