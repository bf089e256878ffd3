//! Against scikit-learn 1.9.1 and NumPy:
//!
//! ```python
//! i = np.arange(60)
//! z = ((i * 37) % 23 - 11) / 4
//! y = (i * i * 7) % 11 < 3 + 5 * (z > 0)
//! p = 1 / (1 + np.exp(-z))
//! right, sure = calibration_curve(y, p, n_bins=15)
//! for pick in [slice(None), slice(1, None, 3)]:
//!     precision, recall, threshold = precision_recall_curve(y[pick], p[pick])
//!     rows = np.c_[threshold, precision[:-1], recall[:-1]][::-1]
//!     print(len(rows), rows[[0, 3, 9, -1]], average_precision_score(y[pick], p[pick]))
//!
//! z = ((np.arange(40) ** 2 * 5 % 31 - 15) / 5).reshape(-1, 2)
//! s = np.exp(z); s /= s.sum(1, keepdims=True)
//! c = (np.arange(20) * 3) % 5 < 2
//! best = s.max(1); hit = z.argmax(1) == c
//! precision, _, threshold = precision_recall_curve(hit, best)
//! rows = np.c_[threshold, [(best >= t).mean() for t in threshold], precision[:-1]][::-1]
//! print(len(rows), rows[[0, 2, 5, -1]])
//!
//! r = ((np.arange(30) * 13) % 17 - 7) / 8
//! print(r.mean(), r.std(), abs(r).mean(), np.quantile(abs(r), 0.9, method="inverted_cdf"))
//! ```

use super::*;

/// Rows with these targets.
pub(in crate::tune) fn data(problem: Problem, labels: usize, targets: Targets) -> Dataset {
    let rows = match &targets {
        Targets::Classes(rows) => rows.len(),
        Targets::MultiHot(rows) => rows.len(),
        Targets::Values(rows) => rows.len(),
    };
    Dataset {
        name: "rows".into(),
        problem,
        labels: (0..labels).map(|i| format!("label {i}")).collect(),
        texts: vec!["text".into(); rows],
        pairs: None,
        targets,
        weights: None,
        taught: None,
    }
}

/// 20 rows of 3 labels.
fn many() -> (Dataset, Vec<f32>) {
    let logits: Vec<f32> = (0..60).map(|i| ((i * 37) % 23 - 11) as f32 / 4.0).collect();
    let has = |i: usize| (i * i * 7) % 11 < 3 + 5 * usize::from(logits[i] > 0.0);
    let hot = (0..20).map(|row| (0..3).filter(|&l| has(3 * row + l)).map(|l| l as u32).collect());
    (data(Problem::MultiLabel, 3, Targets::MultiHot(hot.collect())), logits)
}

/// 20 rows of 2 labels.
fn one() -> (Dataset, Vec<f32>) {
    let logits = (0..40i32).map(|i| (i * i * 5 % 31 - 15) as f32 / 5.0).collect();
    let classes = (0..20).map(|i| u32::from((i * 3) % 5 < 2)).collect();
    (data(Problem::SingleLabel, 2, Targets::Classes(classes)), logits)
}

fn close(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 1e-6, "{found:?}, expected {expected:?}");
    }
}

#[test]
fn bins_are_those_of_scikit_learn() {
    let (data, logits) = many();
    let bins = Scored::new(&data, &logits, None).unwrap().reliability();
    let expected = [
        [0.060087, 0.333333],
        [0.094004, 0.375],
        [0.168674, 0.2],
        [0.2227, 0.333333],
        [0.289693, 0.2],
        [0.377541, 0.5],
        [0.437823, 0.333333],
        [0.5, 0.333333],
        [0.562177, 0.5],
        [0.622459, 0.5],
        [0.705119, 0.5],
        [0.7773, 1.0],
        [0.834764, 0.5],
        [0.903196, 0.555556],
        [0.939913, 0.5],
    ];
    for (bin, expected) in bins.iter().zip(expected) {
        let bin = bin.unwrap();
        close(&[bin.sure, bin.right], &expected);
    }
    assert_eq!(bins.iter().flatten().map(|bin| bin.count).sum::<usize>(), 60);
    // Of one label a row only the most probable counts, and no bin is below ½.
    let (data, logits) = one();
    let bins = Scored::new(&data, &logits, None).unwrap().reliability();
    assert!(bins[..7].iter().all(Option::is_none));
    assert_eq!(bins.iter().flatten().map(|bin| bin.count).sum::<usize>(), 20);
}

#[test]
fn what_is_as_often_right_as_it_is_sure_has_no_error() {
    let bin = |count, sure, right| Some(Bin { count, sure, right });
    let mut bins = [None; BINS];
    assert_eq!(calibration_error(&bins), 0.0);
    (bins[3], bins[14]) = (bin(10, 0.25, 0.25), bin(30, 1.0, 1.0));
    assert_eq!(calibration_error(&bins), 0.0);
    bins[14] = bin(30, 1.0, 0.5);
    assert_eq!(calibration_error(&bins), 0.375); // ¾ of the rows are off by ½
}

#[test]
fn precision_and_recall_are_those_of_scikit_learn() {
    let (data, logits) = many();
    let scored = Scored::new(&data, &logits, None).unwrap();
    let cases: [(_, _, [[f64; 3]; 4], _); 2] = [
        (
            None,
            23,
            [
                [0.939913, 0.5, 0.038462],
                [0.880797, 0.545455, 0.230769],
                [0.622459, 0.576923, 0.576923],
                [0.060087, 0.433333, 1.0],
            ],
            0.549639,
        ),
        (
            Some(1),
            20,
            [[0.924142, 1.0, 0.1], [0.817574, 0.5, 0.2], [0.5, 0.6, 0.6], [0.060087, 0.5, 1.0]],
            0.698899,
        ),
    ];
    for (label, count, expected, average) in cases {
        let found = scored.precision_recall(label).unwrap();
        assert_eq!(found.points.len(), count);
        for (at, expected) in [0, 3, 9, count - 1].into_iter().zip(expected) {
            let Found { threshold, precision, recall } = found.points[at];
            close(&[f64::from(threshold), precision, recall], &expected);
        }
        close(&[found.average], &[average]);
    }
    assert_eq!(scored.support(), [11, 10, 5]);
}

#[test]
fn coverage_is_accuracy_from_a_probability_on() {
    let (data, logits) = one();
    let scored = Scored::new(&data, &logits, None).unwrap();
    let found = scored.coverage();
    assert_eq!(found.len(), 12);
    let expected = [
        [0.991837, 0.05, 0.0],
        [0.967705, 0.2, 0.25],
        [0.880797, 0.45, 0.222222],
        [0.549834, 1.0, 0.35],
    ];
    for (at, expected) in [0, 2, 5, 11].into_iter().zip(expected) {
        let Covered { threshold, share, accuracy } = found[at];
        close(&[f64::from(threshold), share, accuracy], &expected);
    }
    // A temperature moves thresholds and nothing else: of two labels it keeps the order.
    let cool = Decision { temperature: 2.0, thresholds: vec![], fitted: "test".into() };
    let cooled = Scored::new(&data, &logits, Some(&cool)).unwrap().coverage();
    for (a, b) in found.iter().zip(&cooled) {
        assert_eq!((a.share, a.accuracy), (b.share, b.accuracy));
        assert!(b.threshold < a.threshold);
    }
    let (data, logits) = many();
    assert!(Scored::new(&data, &logits, None).unwrap().coverage().is_empty());
}

/// A label that training has not seen is never right, and one that no row has gives no curve.
#[test]
fn labels_that_are_not_there() {
    let data = data(Problem::SingleLabel, 3, Targets::Classes(vec![0, 2, 2]));
    let scored = Scored::new(&data, &[1.0, 0.0, 1.0, 0.0, 0.0, 1.0], None).unwrap();
    assert_eq!(scored.support(), [1, 0]);
    assert_eq!(scored.precision_recall(Some(1)), None);
    let last = scored.coverage().pop().unwrap();
    close(&[last.share, last.accuracy], &[1.0, 1.0 / 3.0]);
}

#[test]
fn residuals_are_those_of_numpy() {
    let truths: Vec<f32> = (0..30).map(|i| ((i * 7) % 11) as f32 / 2.0).collect();
    let off = |i: i32| ((i * 13) % 17 - 7) as f32 / 8.0;
    let predicted: Vec<f32> = (0..30).map(|i| truths[i as usize] + off(i)).collect();
    let numbers = data(Problem::Regression, 0, Targets::Values(truths));
    let found = Residuals::of(&numbers, &predicted).unwrap();
    let Residuals { mean, deviation, absolute, most, points } = found;
    close(&[mean, deviation, absolute, most], &[0.09166667, 0.61146454, 0.53333333, 0.875]);
    assert_eq!(points.len(), 30);
    assert!(Scored::new(&numbers, &predicted, None).is_err());
    let none = data(Problem::Regression, 0, Targets::Values(vec![]));
    assert_eq!(Residuals::of(&none, &[]), None);
    let (labels, logits) = one();
    assert_eq!(Residuals::of(&labels, &logits), None);
}
