use super::super::curves::tests::data;
use super::*;
use crate::cut::probabilities;
use crate::data::Targets;
use crate::kernels::random::{normal, uniform};

/// Labels drawn from the probabilities of `logits`, so that these are as sure as they say.
fn drawn(logits: &[f32], outputs: usize) -> Vec<u32> {
    let scores = crate::model::probabilities(Problem::SingleLabel, logits, outputs);
    let row = |(i, row): (usize, &[f32])| {
        let mut left = uniform(9, i as u32);
        let found = row.iter().position(|p| {
            left -= p;
            left < 0.0
        });
        found.unwrap_or(outputs - 1) as u32
    };
    scores.chunks_exact(outputs).enumerate().map(row).collect()
}

#[test]
fn the_temperature_is_found_again() {
    let logits: Vec<f32> = (0..40_000).map(|i| 2.0 * normal(1, i)).collect();
    let task = data(Problem::SingleLabel, 4, Targets::Classes(drawn(&logits, 4)));
    for by in [0.5f32, 1.0, 3.0] {
        let scaled: Vec<f32> = logits.iter().map(|z| z * by).collect();
        let found = calibrate(&task, &scaled, None, &Metric::MacroF1).unwrap();
        let Decision { temperature, thresholds, .. } = &found.decision;
        assert!((temperature / f64::from(by) - 1.0).abs() < 0.03, "{by}: {temperature}");
        assert!(thresholds.is_empty());
        assert!(found.errors[1] < 0.015 && found.errors[1] <= found.errors[0] + 1e-3, "{found:?}");
        assert!(by == 1.0 || found.errors[0] > 0.05, "{found:?}");
    }
    // Several labels a row.
    let hot = logits.chunks(4).enumerate().map(|(row, logits)| {
        let yes = |(label, z): (u32, &f32)| {
            let key = 4 * row as u32 + label;
            (f64::from(uniform(5, key)) < 1.0 / (1.0 + (-f64::from(*z)).exp())).then_some(label)
        };
        (0..).zip(logits).filter_map(yes).collect()
    });
    let task = data(Problem::MultiLabel, 4, Targets::MultiHot(hot.collect()));
    let scaled: Vec<f32> = logits.iter().map(|z| z * 2.0).collect();
    let found = calibrate(&task, &scaled, None, &Metric::MacroF1).unwrap();
    assert!((found.decision.temperature / 2.0 - 1.0).abs() < 0.03, "{found:?}");
}

/// No temperature of a fine grid has a smaller loss, in float64.
#[test]
fn no_other_temperature_has_less_loss() {
    let logits: Vec<f32> = (0..600).map(|i| 3.0 * normal(3, i)).collect();
    let classes: Vec<u32> = (0..200).map(|i| (uniform(4, i) * 3.0) as u32).collect();
    let task = data(Problem::SingleLabel, 3, Targets::Classes(classes.clone()));
    let right = 201.0 / 202.0;
    let loss = |temperature: f64| -> f64 {
        let row = |(row, class): (&[f32], &u32)| {
            let z = |i: usize| f64::from(row[i]) / temperature;
            let target = |i: usize| if i == *class as usize { right } else { (1.0 - right) / 2.0 };
            let aimed: f64 = (0..3).map(|i| target(i) * z(i)).sum();
            (0..3).map(|i| z(i).exp()).sum::<f64>().ln() - aimed
        };
        logits.chunks(3).zip(&classes).map(row).sum()
    };
    let found = calibrate(&task, &logits, None, &Metric::MacroF1).unwrap().decision.temperature;
    for step in 0..2000 {
        let other = 0.01 * 1e4f64.powf(f64::from(step) / 2000.0);
        assert!(loss(found) <= loss(other) + 1e-9, "{found}, {other}");
    }
    // Nothing is wrong: as sure as 200 rows allow.
    let sure: Vec<f32> =
        classes.iter().flat_map(|c| [0, 1, 2].map(|i| (i == *c) as u8 as f32)).collect();
    let found = calibrate(&task, &sure, None, &Metric::MacroF1).unwrap().decision.temperature;
    let expected = 1.0 / (2.0 * right / (1.0 - right)).ln(); // e^(1/T) / (e^(1/T) + 2) = 201 / 202
    assert!((found / expected - 1.0).abs() < 1e-6, "{found}");
}

/// Every threshold is the best that there is, found by trying all.
#[test]
fn thresholds_are_the_best() {
    let (rows, labels) = (400, 6);
    let logits: Vec<f32> = (0..rows * labels).map(|i| (4.0 * normal(6, i)).round() / 4.0).collect();
    let hot: Vec<Vec<u32>> = (0..rows)
        .map(|row| {
            let yes = |label: &u32| {
                let i = row * labels + label;
                // The last label is too rare for a threshold of its own.
                let rare = if *label == 5 { 6.0 } else { f32::from(*label as u8) / 2.0 };
                logits[i as usize] + normal(7, i) > rare
            };
            (0..labels).filter(yes).collect()
        })
        .collect();
    let task = data(Problem::MultiLabel, labels as usize, Targets::MultiHot(hot.clone()));
    let rare = hot.iter().filter(|row| row.contains(&5)).count();
    assert!(rare < OWN, "{rare}");
    for goal in [Goal::MicroF1, Goal::Precision(0.7), Goal::Recall(0.9)] {
        let found = calibrate(&task, &logits, Some(goal), &Metric::MacroF1).unwrap().decision;
        let scores = probabilities(Some(&found), Problem::MultiLabel, &logits, labels as usize);
        let measure = |of: &[usize], threshold: f64| {
            let (mut hits, mut answered, mut positives) = (0.0, 0.0, 0.0);
            for row in 0..rows as usize {
                for &label in of {
                    let score = f64::from(scores[row * labels as usize + label]);
                    let is = hot[row].contains(&(label as u32));
                    positives += f64::from(u8::from(is));
                    if score >= threshold {
                        answered += 1.0;
                        hits += f64::from(u8::from(is));
                    }
                }
            }
            (hits, answered, positives)
        };
        for label in 0..labels as usize {
            let own = [label];
            let all: Vec<usize> = (0..labels as usize).collect();
            let shared = label == 5 || !matches!(goal, Goal::Recall(_));
            let of = if shared { &all[..] } else { &own[..] };
            let value = |threshold: f64| {
                let (hits, answered, positives): (f64, f64, f64) = measure(of, threshold);
                match goal {
                    Goal::F1 | Goal::MicroF1 => 2.0 * hits / (answered + positives),
                    Goal::Precision(share) if answered < 4.0 || hits / answered < share => -1e9,
                    Goal::Precision(_) => answered,
                    Goal::Recall(share) if hits / positives < share => -1e9,
                    Goal::Recall(_) => -answered,
                }
            };
            let mine = value(found.thresholds[label]);
            assert!(mine > -1e9);
            for &other in &scores {
                assert!(mine >= value(f64::from(other)), "{goal:?}, label {label}, {other}");
            }
        }
    }
}

/// Of macro F1 a label of many rows has nearly its own best threshold, one of few nearly that of all.
#[test]
fn thresholds_of_few_rows_are_near_that_of_all() {
    let logits: Vec<f32> = (0..3000).map(|i| 2.0 * normal(6, i)).collect();
    let hot = |many: f32, few: f32| -> Vec<Vec<u32>> {
        let row = |row: &[f32]| {
            let yes = [row[0] > many, row[1] > few];
            (0..2).filter(|label| yes[*label as usize]).collect()
        };
        logits.chunks(2).map(row).collect()
    };
    // 480 rows have the one label, 4 the other, each from some logit of its own on.
    let rows = hot(0.9, 5.5);
    let count = |label: u32| rows.iter().filter(|row| row.contains(&label)).count() as f64;
    let task = data(Problem::MultiLabel, 2, Targets::MultiHot(rows.clone()));
    let of = |goal| calibrate(&task, &logits, Some(goal), &Metric::MacroF1).unwrap().decision;
    let (own, all) = (of(Goal::F1), of(Goal::MicroF1));
    assert_eq!(all.thresholds[0], all.thresholds[1]);
    let logit = |p: f64| (p / (1.0 - p)).ln() * own.temperature;
    let (common, rare) = (logit(all.thresholds[0]), logit(own.thresholds[1]));
    let share = count(1) / (count(1) + FEW);
    assert!(count(0) > 300.0 && count(1) > 1.0 && count(1) < 20.0, "{} {}", count(0), count(1));
    assert!((logit(own.thresholds[0]) - 0.9).abs() < 0.1, "{own:?}");
    // Its own best lies just below 5.5.
    let expected = common + share * (5.5 - common);
    assert!((rare - expected).abs() < 0.3, "{rare}, expected about {expected}");
}

#[test]
fn a_task_that_abstains_is_as_often_right_as_asked() {
    let logits: Vec<f32> = (0..9000).map(|i| 1.5 * normal(1, i)).collect();
    let task = data(Problem::SingleLabel, 3, Targets::Classes(drawn(&logits, 3)));
    let found =
        calibrate(&task, &logits, Some(Goal::Precision(0.9)), &Metric::MacroF1).unwrap().decision;
    assert_eq!(found.thresholds.len(), 1);
    let evaluation = crate::tune::evaluate(&task, &logits, Some(&found), None).unwrap();
    let answered = evaluation.answered.unwrap();
    let all = evaluation.metrics.values["accuracy"].unwrap();
    assert!(all < 0.8 && answered.accuracy.unwrap() >= 0.9, "{answered:?}");
    assert!(answered.share > 0.2 && answered.rows < 3000, "{answered:?}");
}

#[test]
fn what_cannot_be_fitted_is_refused() {
    let error = |data: &Dataset, logits: &[f32], goal| {
        let error = calibrate(data, logits, goal, &Metric::MacroF1).unwrap_err();
        format!("{}; {}", error.message(), error.hint().unwrap())
    };
    let numbers = data(Problem::Regression, 0, Targets::Values(vec![1.0; 50]));
    assert!(error(&numbers, &[1.0; 50], None).contains("no probabilities"));
    let few = data(Problem::SingleLabel, 2, Targets::Classes(vec![0; 29]));
    assert!(error(&few, &[0.0; 58], None).contains("29 rows to fit it on, expected at least 30"));
    let some = data(Problem::SingleLabel, 2, Targets::Classes(vec![0; 50]));
    let goal = |goal| error(&some, &[0.0; 100], Some(goal));
    assert!(goal(Goal::Precision(0.99)).contains("50 rows to fit it on, expected at least 200"));
    assert!(goal(Goal::Recall(0.9)).contains("give a precision"));
    for bad in [0.0, 1.0, f64::NAN] {
        let error = calibrate(&some, &[0.0; 100], Some(Goal::Precision(bad)), &Metric::MacroF1)
            .unwrap_err();
        assert!(error.message().contains("`target_precision` is"), "{error}");
    }
    let half = data(Problem::SingleLabel, 2, Targets::Classes((0..50).map(|i| i % 2).collect()));
    let said = error(&half, &[1.0, 0.0].repeat(50), Some(Goal::Precision(0.9)));
    assert!(said.contains("precision 0.9 is not reached, at best 0.500"), "{said}");
    let hot =
        data(Problem::MultiLabel, 2, Targets::MultiHot((0..50).map(|i| vec![i % 2]).collect()));
    let said = error(&hot, &[1.0, 1.0].repeat(50), Some(Goal::Precision(0.9)));
    assert!(said.contains("precision 0.9 is not reached, at best 0.500"), "{said}");
}
