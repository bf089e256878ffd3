//! Applying a cut and taking it back.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod cut_samples;

use std::collections::BTreeMap;
use std::sync::Arc;

use cut_samples as samples;
use linocut::cut::{Cut, Delta, Edit, Sign, Sparse, StoreType, TensorEdit, Zeros};
use linocut::model::{Layout, Weights};
use proptest::prelude::*;

fn layout() -> Arc<Layout> {
    samples::weights().layout().clone()
}

/// Weights of any bits: both zeros, infinities, and NaNs with payloads among them.
fn weights(bits: impl Iterator<Item = u32>) -> Weights {
    let layout = layout();
    let len = layout.len();
    Weights::new(layout, bits.map(f32::from_bits).take(len).collect())
}

fn odd_weights() -> Weights {
    weights(
        [0x8000_0000, 0, 0x7fc0_1234, 0xffa0_0001, 0x7f80_0000, 0x3f80_0000].into_iter().cycle(),
    )
}

fn bits(weights: &Weights) -> Vec<u32> {
    weights.data().iter().map(|v| v.to_bits()).collect()
}

fn cut_with(edits: BTreeMap<String, TensorEdit>) -> Cut {
    let card = linocut::cut::Card { labels: vec!["a".into(), "b".into()], ..samples::card(2) };
    Cut::new(card, samples::head(StoreType::F32, 2, 8), edits, vec![]).unwrap()
}

#[test]
fn zeros_become_positive_zero_and_nothing_else_moves() {
    let mut weights = odd_weights();
    let before = bits(&weights);
    let cut = samples::zeros();
    let applied = cut.apply(&mut weights).unwrap();
    let layout = layout();
    let mut expected = before.clone();
    for (name, edit) in cut.edits() {
        let Edit::Zeros(zeros) = &edit.edit else { panic!() };
        let start = layout.tensors()[layout.index(name).unwrap()].range.start;
        zeros.positions().iter().for_each(|&p| expected[start + p as usize] = 0);
    }
    assert_eq!(bits(&weights), expected);
    applied.undo(&mut weights);
    assert_eq!(bits(&weights), before);
}

#[test]
fn replaced_tensors_are_the_stored_values() {
    let mut weights = odd_weights();
    let before = bits(&weights);
    let cut = samples::replaced();
    let applied = cut.apply(&mut weights).unwrap();
    for (name, edit) in cut.edits() {
        let Edit::Replace { values, .. } = &edit.edit else { panic!() };
        let found = weights.tensor(name).unwrap();
        assert!(found.iter().zip(values).all(|(a, b)| a.to_bits() == b.to_bits()));
    }
    assert_eq!(bits(&weights)[..69], before[..69], "the tensors before them");
    applied.undo(&mut weights);
    assert_eq!(bits(&weights), before);
}

#[test]
fn cuts_on_top_of_each_other_come_off_in_reverse() {
    let mut weights = odd_weights();
    let before = bits(&weights);
    let first = samples::zeros().apply(&mut weights).unwrap();
    let between = bits(&weights);
    let second = samples::replaced().apply(&mut weights).unwrap();
    second.undo(&mut weights);
    assert_eq!(bits(&weights), between);
    first.undo(&mut weights);
    assert_eq!(bits(&weights), before);
}

#[test]
fn an_edit_that_does_not_fit_leaves_every_weight_alone() {
    let mut weights = odd_weights();
    let before = bits(&weights);
    for (name, shape, said) in [
        ("zzz.last", vec![8, 8], "zzz.last, which the base does not have"),
        (samples::QUERY, vec![4, 16], "of shape [4, 16], the base has it as [8, 8]"),
    ] {
        let edits = BTreeMap::from([
            ("encoder.layer.1.output.dense.bias".into(), samples::zeros_edit(vec![8], vec![1])),
            (name.into(), samples::zeros_edit(shape, vec![0, 5])),
        ]);
        let error = cut_with(edits).apply(&mut weights).unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
        assert_eq!(bits(&weights), before);
    }
}

#[test]
fn another_base_or_tokenizer_is_named() {
    let cut = samples::zeros();
    let (base, tokenizer) = ("b4".repeat(32), "70".repeat(32));
    cut.check_base("renamed", &base).unwrap();
    cut.check_tokenizer(&tokenizer).unwrap();
    let error = cut.check_base("large", "beef").unwrap_err().to_string();
    for part in ["\"intent\"", "\"tiny\"", &base, "\"large\"", "beef", "hint:"] {
        assert!(error.contains(part), "{part} in {error}");
    }
    let error = cut.check_tokenizer("beef").unwrap_err().to_string();
    for part in ["\"intent\"", &tokenizer, "beef", "hint:"] {
        assert!(error.contains(part), "{part} in {error}");
    }
}

proptest! {
    #[test]
    fn undo_restores_any_bits_under_any_mask(
        data in prop::collection::vec(any::<u32>(), 173),
        keep in prop::collection::vec(any::<bool>(), 96),
        replaced in prop::option::of(-1e30f32..1e30),
    ) {
        let mut weights = weights(data.iter().copied());
        let zeros = Zeros::from_keep(keep.iter().copied()).unwrap();
        let mut edits = BTreeMap::from([(
            samples::OUTPUT.to_string(),
            TensorEdit { shape: vec![8, 12], edit: Edit::Zeros(zeros) },
        )]);
        if let Some(value) = replaced {
            let edit = samples::replace_edit(vec![8, 8], StoreType::F32, vec![value; 64]);
            edits.insert(samples::QUERY.into(), edit);
        }
        let applied = cut_with(edits).apply(&mut weights).unwrap();
        applied.undo(&mut weights);
        prop_assert_eq!(bits(&weights), data);
    }
}

#[test]
fn differences_give_what_they_say_and_come_off_again() {
    let mut weights = samples::weights();
    let before = weights.clone();
    let applied = samples::differences().apply(&mut weights).unwrap();
    let after = |name: &str| weights.tensor(name).unwrap();
    assert_eq!(after(samples::QUERY), samples::numbers(64, 0.501));
    assert_eq!(after("untouched"), before.tensor("untouched").unwrap());
    let bias = before.tensor(samples::BIAS).unwrap();
    for (i, (&old, &new)) in bias.iter().zip(after(samples::BIAS)).enumerate() {
        let amount = match i {
            1 => 0.5,
            6 => -0.0078125,
            _ => 0.0,
        };
        assert_eq!(new, old + amount);
    }
    // Rows 0, 3 and 7 move by their mean |δ| in bf16, as δ points.
    let steps = samples::numbers(96, 0.01);
    let output = before.tensor(samples::OUTPUT).unwrap();
    for (i, (&old, &new)) in output.iter().zip(after(samples::OUTPUT)).enumerate() {
        let row = i / 12;
        let mean = steps[row * 12..][..12].iter().map(|s| f64::from(s.abs())).sum::<f64>() / 12.0;
        let amount =
            if [0, 3, 7].contains(&row) { mean.copysign(f64::from(steps[i])) } else { 0.0 };
        let off = (f64::from(new) - f64::from(old) - amount).abs();
        assert!(off <= mean / 256.0 + 1e-7, "entry {i}: {old} became {new}, expected by {amount}");
    }
    applied.undo(&mut weights);
    assert_eq!(bits(&weights), bits(&before));
}

#[test]
fn low_rank_factors_add_their_product() {
    let mut weights = samples::weights();
    let before = weights.clone();
    let cut = samples::low_rank();
    let applied = cut.apply(&mut weights).unwrap();
    for (name, edit) in cut.edits() {
        let Edit::LowRank(low_rank) = &edit.edit else { panic!() };
        let (columns, rank) = (edit.shape[1], low_rank.rank());
        let (a, b) = low_rank.factors().split_at(columns * rank);
        let pairs = before.tensor(name).unwrap().iter().zip(weights.tensor(name).unwrap());
        for (i, (&old, &new)) in pairs.enumerate() {
            let product = |k| f64::from(b[i / columns * rank + k] * a[i % columns * rank + k]);
            let want = f64::from(old) + (0..rank).map(product).sum::<f64>();
            assert!((f64::from(new) - want).abs() < 1e-6, "{name}, entry {i}: {new} {want}");
        }
    }
    assert_eq!(weights.tensor(samples::BIAS), before.tensor(samples::BIAS));
    applied.undo(&mut weights);
    assert_eq!(bits(&weights), bits(&before));
}

#[test]
fn an_edit_that_gives_no_numbers_leaves_everything_as_it_was() {
    let sparse = Sparse::new(8, vec![3], StoreType::F32, vec![f32::MAX]).unwrap();
    let sign = Sign::nearest(&[f32::MAX / 2.0; 8], 8, vec![0]).unwrap();
    // From 0 to the largest number; one step up from 0 it leads to infinity.
    let (small, large) = (vec![0.0f32; 8], vec![f32::MAX; 8]);
    let delta = Delta::between(&small, &large, 8, StoreType::F32).unwrap();
    for (edit, base) in [
        (Edit::Sparse(sparse), f32::MAX),
        (Edit::Sign(sign), f32::MAX),
        (Edit::Delta(delta), f32::from_bits(1)),
    ] {
        let edits = BTreeMap::from([
            (samples::BIAS.into(), TensorEdit { shape: vec![8], edit }),
            (samples::QUERY.into(), samples::zeros_edit(vec![8, 8], vec![0, 1, 2])),
        ]);
        let mut weights = samples::weights();
        weights.tensor_mut(samples::BIAS).unwrap().fill(base);
        let before = bits(&weights);
        let error = cut_with(edits).apply(&mut weights).unwrap_err().to_string();
        assert!(error.contains("not finite"), "{error}");
        assert_eq!(bits(&weights), before);
    }
}
