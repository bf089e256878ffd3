//! Kinds of labels: numbers in any unit, sets of classes, and what cannot be learned or scored.

use super::{FOOD, base, check_probes, options, place, rows, storage};
use linocut::ErrorKind;
use linocut::cut::{Cut, StoreType};
use linocut::data::{Dataset, Metric, Problem, Targets};
use linocut::model::Base;
use linocut::tune::{self, ClassWeights, Event, Method, Storage, TrainOptions};
use std::path::Path;

/// The topics as numbers: how many of the four words are of food, at `unit` from `zero`.
pub(crate) fn numbers(count: usize, seed: u64, unit: f32, zero: f32) -> Dataset {
    let rows = rows(count, seed);
    let food = |text: &String| text.split(' ').filter(|word| FOOD.contains(word)).count();
    let values = rows.texts.iter().map(|text| zero + unit * food(text) as f32).collect();
    Dataset {
        name: "number".into(),
        problem: Problem::Regression,
        labels: vec![],
        targets: Targets::Values(values),
        weights: None,
        taught: None,
        ..rows
    }
}

#[test]
fn numbers_are_learned_in_any_unit() {
    let (_guard, folder) = place();
    let options = TrainOptions { head_lr: 5e-3, ..options(Method::Full) };
    // Pearson's correlation, error as a share of the labels' variance, cut.
    let learned = |unit: f32, zero: f32| {
        let (train, dev) = (numbers(400, 1, unit, zero), numbers(200, 9, unit, zero));
        let storage = storage(&folder);
        let base = base(&folder);
        let outcome =
            tune::train(&base, train, Some(&dev), None, &options, &storage, &mut |_| true).unwrap();
        let values = outcome.evaluation.unwrap().metrics.values;
        let spread = outcome.cut.card().training["label_spread"].as_f64().unwrap();
        let loss = outcome.cut.card().training["loss"].as_f64().unwrap();
        let error = values["mse"].unwrap() / spread.powi(2);
        (values["pearson"].unwrap(), error, loss / spread.powi(2), outcome.cut)
    };
    let (pearson, error, loss, cut) = learned(1.0, 0.0);
    assert!(pearson > 0.9 && error < 0.2, "{pearson} {error}");
    for (unit, zero) in [(20.0, 0.0), (1.0, 20.0), (-1.0, 0.0), (0.001, 0.0), (1.0, 3000.0)] {
        let (r, e, l, _) = learned(unit, zero);
        let same = |a: f64, b: f64| (a - b).abs() < 0.02;
        assert!(same(r, pearson) && same(e, error) && same(l, loss), "{unit} {zero}: {r} {e} {l}");
    }
    // A power of 2 changes no bit but those of the head's exponents.
    let (.., fourfold) = learned(4.0, 0.0);
    assert!(fourfold.edits() == cut.edits());
    let times_4 = |values: &[f32]| values.iter().map(|v| 4.0 * v).collect::<Vec<_>>();
    assert_eq!(fourfold.head().weight, times_4(&cut.head().weight));
    assert_eq!(fourfold.head().bias, times_4(&cut.head().bias));
    // Far from 0 the head is kept as f32, and only there.
    assert_eq!(cut.head().store, StoreType::Bf16);
    let (.., far) = learned(1.0, 3000.0);
    assert_eq!(far.head().store, StoreType::F32);
    assert_eq!(far.card().training["head_store"], "f32");
    check_probes_after(&folder, &far);
}

fn check_probes_after(folder: &Path, cut: &Cut) {
    let mut base = base(folder);
    let _ = cut.apply(&mut base.weights).unwrap();
    check_probes(&base, cut);
}

#[test]
fn numbers_stopped_and_resumed_give_the_same_cut() {
    let (_guard, folder) = place();
    let mut options = options(Method::mask());
    options.early_stop = Some(0.2);
    let with = |storage: &Storage, stop_at: usize| {
        let observe = &mut |event| !matches!(event, Event::Step { step, .. } if step == stop_at);
        let (train, dev) = (numbers(200, 1, 5.0, 300.0), numbers(50, 9, 5.0, 300.0));
        let base = Base::open(&folder, None).unwrap();
        tune::train(&base, train, Some(&dev), None, &options, storage, observe)
    };
    base(&folder);
    let whole = with(&storage(&folder), 0).unwrap();
    let state = Some(folder.join("n.state"));
    let mut kept = Storage { state, ..storage(&folder) };
    let stopped = with(&kept, 57).err().unwrap();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    kept.resume = true;
    // Another dropout would train on otherwise, and is no part of the base's fingerprint.
    let config = folder.join("config.json");
    let before = std::fs::read_to_string(&config).unwrap();
    let mut other: serde_json::Value = serde_json::from_str(&before).unwrap();
    other["attention_probs_dropout_prob"] = 0.25.into();
    std::fs::write(&config, other.to_string()).unwrap();
    let error = with(&kept, 0).err().unwrap().to_string();
    assert!(
        error.contains("the dropout probabilities of the base's config.json differ"),
        "{error}"
    );
    std::fs::write(&config, before).unwrap();
    let resumed = with(&kept, 0).unwrap();
    assert_eq!(resumed.cut.to_bytes(), whole.cut.to_bytes());
}

/// What a slim task keeps is found out once.
#[test]
fn a_slim_run_that_is_resumed_keeps_what_it_chose() {
    let (_guard, folder) = place();
    let options = TrainOptions { compute: Some(0.6), ..options(Method::mask()) };
    let base = base(&folder);
    let with = |storage: &Storage, stop_at: usize| {
        let mut chosen = 0;
        let observe = &mut |event| {
            chosen += usize::from(matches!(event, Event::Choosing { .. }));
            !matches!(event, Event::Step { step, .. } if step == stop_at)
        };
        let outcome = tune::train(&base, rows(200, 1), None, None, &options, storage, observe);
        (outcome, chosen)
    };
    let (whole, chosen) = with(&storage(&folder), 0);
    assert!(chosen > 0);
    let state = Some(folder.join("slim.state"));
    let mut kept = Storage { state, ..storage(&folder) };
    assert_eq!(with(&kept, 57).0.err().unwrap().kind(), ErrorKind::Interrupted);
    kept.resume = true;
    let (resumed, chosen) = with(&kept, 0);
    assert_eq!(chosen, 0);
    assert_eq!(resumed.unwrap().cut.to_bytes(), whole.unwrap().cut.to_bytes());
}

/// A task of two labels a row, `food` where there are food words and `rare` in one row of eight.
pub(crate) fn labelled(count: usize) -> Dataset {
    let rows = rows(count, 1);
    let of = |(i, text): (usize, &String)| {
        let food = text.split(' ').any(|word| FOOD.contains(&word)).then_some(0);
        food.into_iter().chain((i % 8 == 0).then_some(1)).collect()
    };
    Dataset {
        problem: Problem::MultiLabel,
        labels: vec!["food".into(), "rare".into()],
        targets: Targets::MultiHot(rows.texts.iter().enumerate().map(of).collect()),
        weights: None,
        taught: None,
        ..rows
    }
}

#[test]
fn balanced_weights_change_what_they_are_said_to_change() {
    let (_guard, folder) = place();
    let train = |data: Dataset, class_weights| {
        let options = TrainOptions { class_weights, epochs: 2, ..options(Method::Head) };
        let storage = storage(&folder);
        tune::train(&base(&folder), data, None, None, &options, &storage, &mut |_| true)
    };
    let balanced = train(labelled(200), ClassWeights::Balanced).unwrap().cut;
    let plain = train(labelled(200), ClassWeights::None).unwrap().cut;
    assert_ne!(balanced.head().weight, plain.head().weight);
    let said = |cut: &Cut, what: &str| cut.card().training.get(what).cloned();
    assert_eq!(said(&balanced, "positive_weights"), Some("balanced".into()));
    assert_eq!(said(&balanced, "class_weights"), None);
    assert_eq!(said(&plain, "positive_weights"), None);
    let single = train(rows(200, 1), ClassWeights::Balanced).unwrap().cut;
    assert_eq!(said(&single, "class_weights"), Some("balanced".into()));
    // By hand the same numbers give the same task, and a positive counts as PyTorch's pos_weight has it.
    let by_hand = |weights: &[(&str, f64)]| {
        ClassWeights::ByLabel(weights.iter().map(|(label, w)| (label.to_string(), *w)).collect())
    };
    let counts = labelled(200).label_counts();
    let weights: Vec<f64> = counts.iter().map(|&n| (200 - n) as f64 / n as f64).collect();
    let same =
        train(labelled(200), by_hand(&[("food", weights[0]), ("rare", weights[1])])).unwrap();
    assert_eq!(same.cut.head(), balanced.head());
    let said_of = |cut: &Cut| said(cut, "positive_weights").unwrap();
    let one = train(labelled(200), by_hand(&[("rare", 7.0)])).unwrap().cut;
    assert_eq!(said_of(&one), serde_json::json!({"rare": 7.0}));
    // A row of each counts the same: all that is said is how they compare.
    let twice = train(rows(200, 1), by_hand(&[("food", 2.0), ("travel", 2.0)])).unwrap().cut;
    let once = train(rows(200, 1), ClassWeights::None).unwrap().cut;
    for (a, b) in twice.head().weight.iter().zip(&once.head().weight) {
        assert!((a - b).abs() < 1e-2, "{a} {b}");
    }
    for (weights, expected) in [
        (by_hand(&[("fod", 2.0)]), "label \"fod\" is not among the 2 labels"),
        (by_hand(&[("food", 0.0)]), "the weight of label \"food\" is 0, expected"),
        (by_hand(&[("food", -1.0)]), "expected a number above 0"),
        (by_hand(&[("food", f64::NAN)]), "is NaN, expected"),
        (by_hand(&[("food", 1e39)]), "that float32 holds"),
        (by_hand(&[("food", 1e-60)]), "that float32 holds"),
    ] {
        let error = train(rows(50, 1), weights).err().unwrap().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let error = train(numbers(50, 1, 1.0, 0.0), by_hand(&[("food", 2.0)])).err().unwrap();
    assert!(error.to_string().contains("weights of labels have no meaning"), "{error}");
    let error = train(numbers(50, 1, 1.0, 0.0), ClassWeights::Balanced).err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("has no meaning for regression"), "{error}");
}

#[test]
fn what_could_select_or_score_nothing_is_refused_before_the_first_step() {
    let (_guard, folder) = place();
    let refused = |data: Dataset, metric: Option<&Metric>, early_stop| {
        let options = TrainOptions { early_stop, ..options(Method::Head) };
        let storage = storage(&folder);
        let observe = &mut |event| panic!("{event:?}");
        let run = tune::train(&base(&folder), data, None, metric, &options, &storage, observe);
        run.err().unwrap().to_string()
    };
    for (data, metric, said) in [
        (numbers(50, 1, 1.0, 0.0), Metric::Accuracy, "metric `accuracy` does not apply"),
        (rows(50, 1), Metric::PearsonSpearman, "metric `pearson_spearman` does not apply"),
        (rows(50, 1), Metric::BinaryF1 { positive: "sea".into() }, "positive label `sea`"),
    ] {
        let error = refused(data, Some(&metric), None);
        assert!(error.contains(said), "{error}");
    }
    // All but one row are alike, and so are those held out.
    let mut few = rows(50, 1);
    few.targets = Targets::Classes((0..50).map(|i| u32::from(i > 48)).collect());
    let mut same = numbers(50, 1, 1.0, 0.0);
    same.targets = Targets::Values((0..50).map(|i| if i > 48 { 1.5 } else { 3.0 }).collect());
    let mut bare = labelled(50);
    bare.targets = Targets::MultiHot((0..50).map(|i| vec![0; usize::from(i > 48)]).collect());
    for (data, metric, said) in [
        (
            few.clone(),
            Some(&Metric::Matthews),
            "matthews cannot select: they all have the same label",
        ),
        (
            few,
            Some(&Metric::BinaryF1 { positive: "travel".into() }),
            "f1_binary cannot select: none of them has the label \"travel\"",
        ),
        (same.clone(), None, "their labels are all the same number"),
        (bare, None, "f1_micro cannot select: none of them has a label"),
    ] {
        let error = refused(data, metric, Some(0.1));
        assert!(error.contains(said), "{error}");
    }
    same.targets = Targets::Values(vec![3.0; 50]);
    let error = refused(same, None, None);
    assert!(error.contains("all 50 training rows have the label 3"), "{error}");
}

#[test]
fn a_logit_that_is_no_number_is_not_scored() {
    let data = rows(2, 1);
    for bad in [f32::NAN, f32::INFINITY] {
        let error = tune::evaluate(&data, &[0.0, 1.0, bad, 0.5], None, None).unwrap_err();
        assert!(error.to_string().contains("topic, row 2: the model gives the logit"), "{error}");
    }
}
