//! Against scikit-learn and SciPy; `reference/metrics.py` wrote the expected values.

use serde_json::Value;

use super::*;
use crate::data::Problem;

fn cases(kind: &str) -> Vec<Value> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../testdata/metrics/metrics.json");
    let all: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    all[kind].as_array().unwrap().clone()
}

fn parse<T: serde::de::DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap()
}

#[track_caller]
fn same(found: Option<f64>, expected: &Value, what: &str) {
    match (found, expected.as_f64()) {
        (Some(a), Some(b)) => assert!((a - b).abs() < 1e-12, "{what}: {a}, expected {b}"),
        (a, b) => assert_eq!(a, b, "{what}"),
    }
}

fn labels(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("class {i}")).collect()
}

/// Binary F1 of class `n`.
fn f1_of(n: usize) -> Metric {
    Metric::BinaryF1 { positive: format!("class {n}") }
}

#[test]
fn single_label_agrees_with_scikit_learn() {
    for case in cases("single") {
        let name = case["name"].as_str().unwrap();
        let (truth, predicted): (Vec<usize>, Vec<usize>) =
            (parse(&case["truth"]), parse(&case["predicted"]));
        let labels = labels(parse(&case["classes"]));
        let metric = if labels.len() == 2 { f1_of(1) } else { Metric::Matthews };
        let scores = Metrics::single_label(&truth, &predicted, &labels, &metric).unwrap();
        assert_eq!(scores.rows, truth.len());
        for key in ["accuracy", "f1_macro", "f1_micro", "matthews"] {
            same(scores.values[key], &case[key], &format!("{name}: {key}"));
        }
        same(scores.primary.value, &case[metric.key()], name);

        let counts = Confusion::new(&truth, &predicted, labels.len());
        assert_eq!(counts.counts, parse::<Vec<Vec<usize>>>(&case["confusion"]), "{name}");
        for (i, class) in counts.report().iter().enumerate() {
            same(Some(class.precision), &case["precision"][i], name);
            same(Some(class.recall), &case["recall"][i], name);
            same(Some(class.f1), &case["f1"][i], name);
            assert_eq!(class.support, parse::<usize>(&case["support"][i]), "{name}");
        }
    }
}

#[test]
fn multi_label_agrees_with_scikit_learn() {
    for case in cases("multi") {
        let name = case["name"].as_str().unwrap();
        let flat = |v: &Value| parse::<Vec<Vec<u8>>>(v).concat().iter().map(|&x| x == 1).collect();
        let (truth, predicted): (Vec<bool>, Vec<bool>) =
            (flat(&case["truth"]), flat(&case["predicted"]));
        let labels = case["truth"][0].as_array().unwrap().len();
        let metric = Metric::default_for(Problem::MultiLabel);
        let scores = Metrics::multi_label(&truth, &predicted, labels, &metric).unwrap();
        assert_eq!((scores.rows, scores.primary.name.as_str()), (30, "f1_micro"));
        for key in ["accuracy", "f1_macro", "f1_micro"] {
            same(scores.values[key], &case[key], &format!("{name}: {key}"));
        }
    }
}

#[test]
fn regression_agrees_with_scipy() {
    for case in cases("regression") {
        let name = case["name"].as_str().unwrap();
        let (truth, predicted): (Vec<f32>, Vec<f32>) =
            (parse(&case["truth"]), parse(&case["predicted"]));
        let metric = Metric::default_for(Problem::Regression);
        let scores = Metrics::regression(&truth, &predicted, &metric).unwrap();
        for key in ["pearson", "spearman"] {
            same(scores.values[key], &case[key], &format!("{name}: {key}"));
        }
        let mean = case["pearson"].as_f64().zip(case["spearman"].as_f64());
        same(scores.primary.value, &mean.map(|(p, s)| (p + s) / 2.0).into(), name);
    }
}

#[test]
fn what_is_undefined_is_null_and_never_nan() {
    let names = labels(2);
    let empty = [
        Metrics::single_label(&[], &[], &names, &f1_of(1)).unwrap(),
        Metrics::multi_label(&[], &[], 3, &Metric::Accuracy).unwrap(),
        Metrics::multi_label(&[], &[], 0, &Metric::Accuracy).unwrap(),
        Metrics::regression(&[], &[], &Metric::PearsonSpearman).unwrap(),
        Metrics::regression(&[1.0, 2.0], &[f32::NAN, 1.0], &Metric::PearsonSpearman).unwrap(),
        Metrics::regression(&[1.0, 2.0], &[f32::INFINITY, 1.0], &Metric::PearsonSpearman).unwrap(),
    ];
    for scores in empty {
        assert!(scores.values.values().all(Option::is_none), "{scores:?}");
        let json = serde_json::to_value(&scores).unwrap();
        assert!(json["primary"]["value"].is_null());
        assert_eq!(parse::<Metrics>(&json), scores);
    }
}

#[test]
fn a_metric_is_checked_against_the_task() {
    let scores = Metrics::single_label(&[0, 0, 1], &[0, 1, 1], &labels(2), &f1_of(0)).unwrap();
    same(scores.primary.value, &(2.0 / 3.0).into(), "F1 of class 0");

    let message = |result: Result<Metrics>| result.unwrap_err().to_string();
    let missing = Metric::BinaryF1 { positive: "spam".into() };
    let result = Metrics::single_label(&[0], &[0], &labels(2), &missing);
    assert!(message(result).contains("`spam` is not among the labels: class 0, class 1"));
    let result = Metrics::regression(&[1.0], &[1.0], &Metric::Accuracy);
    assert!(message(result).contains("metric `accuracy` does not apply"));
}
