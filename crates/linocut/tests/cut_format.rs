//! The cut file: round trips, golden bytes, the safetensors container, sizes.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod cut_samples;

use std::collections::BTreeMap;
use std::path::PathBuf;

use cut_samples as samples;
use linocut::cut::{
    Card, Cut, Delta, Edit, Head, LargeZeros, LowRank, Sign, Sparse, StoreType, TensorEdit, Zeros,
};
use linocut::data::Problem;
use proptest::prelude::*;
use safetensors::{Dtype, SafeTensors};
use serde_json::json;

#[test]
fn bytes_and_cut_round_trip() {
    for (name, cut) in samples::all() {
        samples::assert_sound(&cut);
        let bytes = cut.to_bytes();
        let back = Cut::from_bytes(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
        assert_eq!(back, cut);
        assert_eq!(back.to_bytes(), bytes);
    }
}

/// Every format version is readable for ever, and today's writer gives the very bytes of the first one's.
/// `LINOCUT_BLESS=1` writes them anew, which only a new format version may ask for.
#[test]
fn golden_files_are_read_and_reproduced() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../testdata/cut");
    for (name, cut) in samples::all() {
        let path = folder.join(format!("v{}-{name}.cut", cut.card().format));
        if std::env::var_os("LINOCUT_BLESS").is_some() {
            std::fs::write(&path, cut.to_bytes()).unwrap();
        }
        let read = Cut::read(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), read.to_bytes(), "{name}: what is written");
        if name != "differences" {
            assert_eq!(read, cut, "{name}: what is read");
            continue;
        }
        // Another zstd may compress otherwise; what comes out is the same to the bit.
        let weights = |cut: &Cut| {
            let mut weights = samples::weights();
            drop(cut.apply(&mut weights).unwrap());
            weights.data().iter().map(|v| v.to_bits()).collect::<Vec<_>>()
        };
        assert_eq!(weights(&read), weights(&cut));
        assert_eq!((read.card(), read.others()), (cut.card(), cut.others()));
    }
}

#[test]
fn negative_zero_and_subnormals_keep_their_bits() {
    let back = Cut::from_bytes(&samples::replaced().to_bytes()).unwrap();
    let Edit::Replace { values, .. } = &back.edits()[samples::BIAS].edit else { panic!() };
    assert_eq!(values[1].to_bits(), (-0.0f32).to_bits());
    assert_eq!(values[2].to_bits(), (f32::MIN_POSITIVE / 2.0).to_bits());
}

#[test]
fn any_safetensors_reader_opens_it_and_the_digest_comes_last() {
    for (_, cut) in samples::all() {
        let bytes = cut.to_bytes();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let (header, metadata) = SafeTensors::read_metadata(&bytes).unwrap();
        let card: Card =
            serde_json::from_str(&metadata.metadata().as_ref().unwrap()["linocut"]).unwrap();
        assert_eq!(card, *cut.card());
        assert_eq!(header % 8, 0);
        assert_eq!(metadata.offset_keys().last().unwrap(), "digest");
        let digest = file.tensor("digest").unwrap();
        assert_eq!((digest.dtype(), digest.shape()), (Dtype::U8, &[32][..]));
        assert_eq!(digest.data(), blake3::hash(&bytes[..bytes.len() - 32]).as_bytes());
        assert_eq!(
            file.tensor("head.weight").unwrap().shape(),
            [cut.card().outputs, cut.head().hidden]
        );
        for (name, tensor) in file.iter() {
            let at = tensor.data().as_ptr() as usize - bytes.as_ptr() as usize;
            assert_eq!(at % (tensor.dtype().bitsize() / 8), 0, "{name} is aligned");
        }
    }
    let zeros = samples::zeros().to_bytes();
    let names: Vec<_> = SafeTensors::read_metadata(&zeros).unwrap().1.offset_keys();
    assert_eq!(
        names,
        [
            "probe.logits",
            "probe.input_ids",
            "probe.lengths",
            "probe.token_type_ids",
            "head.bias",
            "head.weight",
            &format!("zeros/{}", samples::QUERY),
            &format!("zeros/{}", samples::OUTPUT),
            "digest"
        ]
    );
}

#[test]
fn sizes_add_up_to_the_file() {
    for (_, cut) in samples::all() {
        let s = cut.sizes();
        assert_eq!(s.file, cut.to_bytes().len() as u64);
        let tensors = s.zeros + s.replaced + s.differences;
        assert_eq!(s.file, s.card + s.container + s.head + tensors + s.others + s.probes);
        assert_eq!(s.tensors.values().sum::<u64>(), tensors);
        assert_eq!(s.head, ((cut.head().weight.len() + cut.head().bias.len()) * 2) as u64);
    }
    assert_eq!(samples::replaced().sizes().tensors[samples::OUTPUT], 96 * 2);
    assert_eq!(samples::replaced().sizes().tensors[samples::BIAS], 8 * 4);
    // Rank 1 of 8 × 8, rank 3 of 8 × 12, in bf16.
    let sizes = samples::low_rank().sizes();
    assert_eq!(sizes.tensors[samples::QUERY], 16 * 2);
    assert_eq!(sizes.tensors[samples::OUTPUT], 20 * 3 * 2);
    let sizes = samples::differences().sizes();
    assert_eq!(sizes.others, 4 * 8);
    // Coded positions and their length, then two amounts in bf16.
    assert_eq!(sizes.tensors[samples::BIAS], 1 + 2 + 2 * 2);
    // Coded rows and their length, three amounts in bf16, a bit for each of 36 entries.
    assert_eq!(sizes.tensors[samples::OUTPUT], 1 + 2 + 3 * 2 + 5);
}

/// Every way in which the parts given to `Cut::new` may fail to fit, and the message.
#[test]
fn parts_that_do_not_fit_are_refused() {
    type Parts = (Card, Head, BTreeMap<String, TensorEdit>, Vec<linocut::cut::Probe>);
    type Change = fn(&mut Parts);
    let cases: [(Change, &str); 19] = [
        (|p| p.0.outputs = 4, "4 outputs, expected 3"),
        (|p| p.0.labels.truncate(2), "2 labels, expected 3"),
        (|p| p.0.labels[2] = "refund".into(), "\"refund\" twice"),
        (|p| p.0.problem = Problem::Regression, "3 labels for a regression"),
        (|p| p.0.max_length = 0, "max_length 0"),
        (|p| p.0.tokenizer.clear(), "no fingerprint"),
        (|p| p.0.metrics = BTreeMap::from([("f1".into(), f64::NAN)]), "metric f1 is NaN"),
        (|p| p.1.weight.truncate(23), "with 23 weights"),
        (|p| p.1.hidden = 0, "over 0 inputs"),
        (|p| p.1.bias[1] = f32::INFINITY, "head.bias, entry 1: inf"),
        (|p| p.1.weight[7] = 0.1, "head.weight, entry 7: 0.1 cannot be stored as bf16"),
        (|p| p.2.values_mut().for_each(|e| e.shape[0] = 3), "entries, expected"),
        (|p| drop(p.2.insert("a/b".into(), samples::zeros_edit(vec![1], vec![]))), "\"a/b\" is no"),
        (|p| drop(p.2.insert("e".into(), samples::zeros_edit(vec![2, 0], vec![]))), "shape [2, 0]"),
        (|p| p.3[1].input_ids.clear(), "probe 1: 0 tokens"),
        (|p| p.3[0].input_ids = vec![1; 129], "probe 0: 129 tokens, expected 1 to 128"),
        (|p| p.3[0].token_type_ids.truncate(1), "1 token types for 3 tokens"),
        (|p| p.3[0].input_ids[0] = 1 << 31, "token id or type 2147483648"),
        (|p| p.3[0].logits[0] = f32::NAN, "logit NaN"),
    ];
    for (change, said) in cases {
        let cut = samples::zeros();
        let mut parts =
            (cut.card().clone(), cut.head().clone(), cut.edits().clone(), cut.probes().to_vec());
        change(&mut parts);
        let error = Cut::new(parts.0, parts.1, parts.2, parts.3).unwrap_err().to_string();
        assert!(error.contains(said), "{said:?} in {error:?}");
    }
}

fn any_edit() -> impl Strategy<Value = TensorEdit> {
    let shape = prop::collection::vec(1usize..24, 1..4);
    let store = prop::sample::select(vec![StoreType::F32, StoreType::Bf16, StoreType::F16]);
    (shape, 0.0f64..=1.0, store, any::<u64>(), 0..7).prop_map(
        |(shape, density, store, seed, kind)| {
            let len: usize = shape.iter().product();
            let mut state = seed | 1;
            let random: Vec<f64> = (0..len)
                .map(|_| {
                    state = state
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_040_888_963_407);
                    (state >> 33) as f64 / (1u64 << 31) as f64
                })
                .collect();
            let mut values: Vec<f32> = random.iter().map(|&r| (r as f32 - 0.5) * 100.0).collect();
            store.round("t", &mut values).unwrap();
            // At density 1 every one, at 0 none.
            let chosen = |n: usize| -> Vec<u32> {
                (0..n).filter(|&i| random[i] < density).map(|i| i as u32).collect()
            };
            let edit = match kind {
                0 => Edit::Replace { store, values },
                1 => Edit::Zeros(Zeros::new(len, chosen(len)).unwrap()),
                6 => {
                    let zeros = Zeros::new(len, chosen(len)).unwrap();
                    Edit::LargeZeros(LargeZeros::new(&zeros, &samples::numbers(len, 2.0)))
                }
                2 => Edit::Delta(
                    Delta::between(
                        &samples::numbers(len, 9.0),
                        &values,
                        *shape.last().unwrap(),
                        store,
                    )
                    .unwrap(),
                ),
                3 if shape.len() == 2 => {
                    let (rows, columns) = (shape[0], shape[1]);
                    let rank = 1 + (density * (rows.min(columns) - 1) as f64) as usize;
                    let factors = values.iter().cycle().take(rank * (rows + columns)).copied();
                    let factors = factors.collect();
                    Edit::LowRank(LowRank::new((rows, columns), store, factors).unwrap())
                }
                3 | 4 => {
                    let positions = chosen(len);
                    values.truncate(positions.len());
                    Edit::Sparse(Sparse::new(len, positions, store, values).unwrap())
                }
                _ => {
                    let columns = *shape.last().unwrap();
                    Edit::Sign(Sign::nearest(&values, columns, chosen(len / columns)).unwrap())
                }
            };
            TensorEdit { shape, edit }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn any_cut_round_trips(
        edits in prop::collection::btree_map("[a-z][a-z0-9._-]{0,20}", any_edit(), 0..5),
        metrics in prop::collection::btree_map(".{0,5}", prop::num::f64::NORMAL, 0..4),
        labels in prop::collection::btree_set(".{0,8}", 1..6),
        lr in prop::num::f64::NORMAL | prop::num::f64::SUBNORMAL,
        probes in prop::collection::vec((1usize..9, any::<f32>()), 0..4),
    ) {
        let outputs = labels.len();
        let card = Card {
            labels: labels.into_iter().collect(),
            metrics,
            method: json!({"z": lr, "a": [lr, null, {"b": true}]}),
            ..samples::card(outputs)
        };
        let probes = probes
            .into_iter()
            .map(|(n, logit)| {
                let logit = if logit.is_finite() { logit } else { 0.5 };
                samples::probe(&vec![7; n], &vec![0; n], &vec![logit; outputs])
            })
            .collect();
        let cut = Cut::new(card, samples::head(StoreType::F32, outputs, 5), edits, probes).unwrap();
        let bytes = cut.to_bytes();
        let back = Cut::from_bytes(&bytes).unwrap();
        prop_assert_eq!(&back, &cut);
        prop_assert_eq!(back.to_bytes(), bytes);
    }
}
