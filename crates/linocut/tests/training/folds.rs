//! Cross-validation, what is fitted in training, and searching.

use super::{base, options, place, rows, storage};
use linocut::data::{Dataset, Problem, Targets, split_folds};
use linocut::tune::{self, Choices, Fit, Folds, Goal, Method, Search, Selection, TrainOptions};
use std::time::Duration;

#[test]
fn every_row_is_predicted_by_a_cut_that_was_not_trained_on_it() {
    let (_guard, folder) = place();
    let (data, base) = (rows(90, 1), base(&folder));
    for method in [Method::mask(), Method::Head] {
        let options = TrainOptions { epochs: 2, ..options(method) };
        let storage = storage(&folder);
        let mut heard = 0;
        let (outcome, found) = tune::train_in_folds(
            &base,
            &data,
            None,
            None,
            &options,
            (3, None),
            &storage,
            &mut |event| {
                heard += usize::from(matches!(event, tune::Event::Fold { .. }));
                true
            },
        )
        .unwrap();
        assert_eq!((heard, found.scores.len(), found.of.len()), (3, 3, 90));
        let parts = split_folds(&data, 3, options.seed).unwrap();
        for (fold, part) in parts.iter().enumerate() {
            let others: Vec<usize> = (0..90).filter(|row| !part.contains(row)).collect();
            let (rest, held) = (data.select(&others), data.select(part));
            let storage = super::storage(&folder);
            let alone =
                tune::train(&base, rest, Some(&held), None, &options, &storage, &mut |_| true);
            let alone = alone.unwrap();
            assert_eq!(found.scores[fold], alone.evaluation.unwrap().metrics.primary.value);
            for (&row, expected) in part.iter().zip(alone.logits.chunks_exact(2)) {
                assert_eq!(found.of[row], fold);
                // Frozen layers of all rows share other batches.
                for (found, expected) in found.logits[2 * row..].iter().zip(expected) {
                    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
                }
            }
        }
        // The cut is of all rows, and says what the folds said.
        let whole = tune::train(&base, data.clone(), None, None, &options, &storage, &mut |_| true);
        let (whole, cut) = (whole.unwrap().cut, outcome.cut);
        assert_eq!((whole.edits(), whole.head()), (cut.edits(), cut.head()));
        let scores: Vec<f64> = found.scores.iter().map(|score| score.unwrap()).collect();
        let mean = scores.iter().sum::<f64>() / 3.0;
        let deviation = (scores.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / 2.0).sqrt();
        let said = &cut.card().training["folds"];
        assert!((said["mean"].as_f64().unwrap() - mean).abs() < 1e-12);
        assert!((said["deviation"].as_f64().unwrap() - deviation).abs() < 1e-12);
        let all = &found.evaluation.metrics;
        assert_eq!((all.rows, cut.card().metrics["accuracy"]), (90, all.primary.value.unwrap()));
        assert!(cut.card().decision.as_ref().unwrap().thresholds.is_empty());
    }
    for (folds, says) in [(1, "`folds` is 1, expected 2 to 20"), (21, "`folds` is 21")] {
        let error = split_folds(&data, folds, 0).unwrap_err();
        assert!(error.message().contains(says), "{error}");
    }
    let error = split_folds(&data.select(&[0, 1]), 3, 0).unwrap_err();
    assert!(error.message().contains("2 different texts, expected at least 3"), "{error}");
}

#[test]
fn folds_keep_labels_and_equal_texts_together() {
    let mut data = rows(100, 3);
    data.texts[7] = data.texts[3].clone();
    data.texts[90] = data.texts[3].clone();
    let parts = split_folds(&data, 4, 5).unwrap();
    let mut all: Vec<usize> = parts.concat();
    all.sort_unstable();
    assert_eq!(all, (0..100).collect::<Vec<_>>());
    assert!(parts.iter().any(|part| [3, 7, 90].iter().all(|row| part.contains(row))));
    let Targets::Classes(classes) = &data.targets else { unreachable!() };
    let share = |rows: &[usize]| {
        rows.iter().map(|&row| f64::from(classes[row])).sum::<f64>() / rows.len() as f64
    };
    let whole = share(&all);
    assert!(parts.iter().all(|part| (share(part) - whole).abs() < 0.08), "{whole}");
}

/// The topics as labels that may both apply.
fn topics(count: usize, seed: u64) -> Dataset {
    let rows = rows(count, seed);
    let Targets::Classes(classes) = &rows.targets else { unreachable!() };
    let hot = classes.iter().enumerate().map(|(i, &class)| match i % 5 {
        0 => vec![],
        1 => vec![0, 1],
        _ => vec![class],
    });
    let targets = Targets::MultiHot(hot.collect());
    Dataset { problem: Problem::MultiLabel, targets, ..rows }
}

#[test]
fn several_labels_a_row_get_thresholds_from_rows_held_out() {
    let (_guard, folder) = place();
    let base = base(&folder);
    let choices = Choices { epochs: Some(2), batch: Some(8), ..Choices::default() };
    let of = |choices: &Choices, rows| {
        choices.options(Method::mask(), (Problem::MultiLabel, rows), base.config()).calibrate
    };
    assert_eq!(of(&choices, 299), None);
    assert_eq!(of(&choices, 300), Some(Fit { share: 0.1, goal: None }));
    let none = Choices { calibrate: Some(0.0), ..choices.clone() };
    assert_eq!(of(&none, 300), None);
    let sure = Choices { target_precision: Some(0.9), ..choices.clone() };
    assert_eq!(of(&sure, 40), Some(Fit { share: 0.1, goal: Some(Goal::Precision(0.9)) }));

    let run = |goal| {
        let fit = Some(Fit { share: 0.2, goal });
        let options = TrainOptions { calibrate: fit, epochs: 2, ..options(Method::mask()) };
        let (data, storage) = (topics(400, 1), storage(&folder));
        let dev = topics(100, 9);
        tune::train(&base, data, Some(&dev), None, &options, &storage, &mut |_| true)
    };
    let fitted = run(None).unwrap();
    let card = fitted.cut.card();
    let decision = card.decision.as_ref().unwrap();
    assert_eq!((decision.thresholds.len(), card.training["rows"].as_u64()), (2, Some(320)));
    let scored = tune::evaluate(&topics(100, 9), &fitted.logits, Some(decision), None).unwrap();
    let evaluation = fitted.evaluation.unwrap();
    assert_eq!(evaluation.metrics.primary.value, scored.metrics.primary.value);
    // What is not reached loses nothing.
    let missed = run(Some(Goal::Precision(0.97))).unwrap();
    let says = missed.undecided.unwrap();
    assert!(says.message().contains("precision 0.97 is not reached, at best"), "{says}");
    assert_eq!(missed.cut.card().decision.as_ref().unwrap(), decision);
    // Rows too few for what is asked: before anything is trained.
    let error = run(Some(Goal::Precision(0.99))).err().unwrap();
    assert!(error.message().contains("80 rows to fit it on, expected at least 200"), "{error}");
}

#[test]
fn a_search_keeps_what_scores_better() {
    let (_guard, folder) = place();
    let (base, data) = (base(&folder), rows(200, 1));
    let choices =
        Choices { epochs: Some(1), batch: Some(8), max_length: Some(16), ..Choices::default() };
    let run = |seconds: u64, folds| {
        let search = Search { time: Duration::from_secs(seconds), folds };
        let given = (Method::mask(), &choices);
        search.run(&base, &data, None, given, &storage(&folder), &mut |_| true).unwrap()
    };
    for folds in [None, Some(2)] {
        let found = run(3600, folds);
        assert_eq!((found.untried, found.rows), (0, if folds.is_some() { 200 } else { 40 }));
        let names: Vec<&String> =
            found.trials.iter().flat_map(|trial| trial.change.keys()).collect();
        assert_eq!((names[0].as_str(), names[names.len() - 1].as_str()), ("mask_lr", "dropout"));
        // What it chose gives that score again.
        let method = found.choices.method(base.config()).unwrap();
        let size = (data.problem, data.rows());
        let options = found.choices.options(method, size, base.config());
        let again = match folds {
            Some(folds) => {
                let storage = storage(&folder);
                Folds::run(&base, &data, None, &options, folds, &storage, &mut |_| true)
                    .unwrap()
                    .mean
            }
            None => {
                let (rest, held) = linocut::data::split_holdout(&data, 0.2, 0).unwrap();
                let storage = storage(&folder);
                tune::train(&base, rest, Some(&held), None, &options, &storage, &mut |_| true)
                    .unwrap()
                    .evaluation
                    .and_then(|evaluation| evaluation.metrics.primary.value)
            }
        };
        assert_eq!(again, found.score());
        let cut =
            tune::train(&base, data.clone(), None, None, &options, &storage(&folder), &mut |_| {
                true
            });
        let cut = found.noted(cut.unwrap().cut).unwrap();
        let said = cut.card().training["search"]["tried"].as_array().unwrap().len();
        assert_eq!(said, found.trials.len());
    }
    let hurried = run(0, None);
    assert_eq!(hurried.trials.len(), 1);
    assert!(hurried.untried > 0 && hurried.changes().is_empty());
}

#[test]
fn a_search_keeps_the_method_that_it_is_given() {
    let (_guard, folder) = place();
    let (base, data) = (base(&folder), rows(60, 1));
    // As a budget chooses it, where choices say nothing of layers.
    let method = Method::mask_of(Selection { layers: Some(vec![2]), only: None });
    let search = Some(0.0);
    let choices = Choices { epochs: Some(1), batch: Some(8), search, ..Choices::default() };
    for folds in [None, Some(2)] {
        let choices = Choices { folds, max_length: Some(16), ..choices.clone() };
        let (asked, storage) = ((method.clone(), &choices), storage(&folder));
        let trained = tune::train_as(&base, &data, None, None, asked, &storage, &mut |_| true);
        let trained = trained.unwrap();
        let card = trained.outcome.cut.card();
        assert_eq!(card.method["layers"], serde_json::json!([2]));
        assert!(card.training["search"]["tried"].is_array());
        assert_eq!(trained.folds.is_some(), folds.is_some());
    }
    let both = Choices { folds: Some(2), calibrate: Some(0.2), ..choices };
    let asked = (method, &both);
    let error = tune::train_as(&base, &data, None, None, asked, &storage(&folder), &mut |_| {
        unreachable!("it is refused before the work")
    });
    let says = "`calibrate` and `folds` cannot be given together";
    assert_eq!(error.err().unwrap().message(), says);
}
