//! Texts longer than what is read at one time.

use super::{base, options, place, rows, storage};
use linocut::bank::{Bank, Options, Request};
use linocut::cut::TaskModel;
use linocut::data::{Dataset, Extent, Long};
use linocut::model::{Base, logits};
use linocut::tune::{self, Method, TrainOptions};

/// Rows whose four words stand behind, before or amid so many others that say nothing.
fn long_rows(count: usize, seed: u64, before: usize, after: usize) -> Dataset {
    let mut rows = rows(count, seed);
    for text in &mut rows.texts {
        *text = format!("{}{text}{}", "rain ".repeat(before), " rain".repeat(after));
    }
    rows
}

fn long(long: Long) -> TrainOptions {
    let long = Some(long);
    TrainOptions { max_length: 10, long, mask_lr: 0.3, epochs: 10, ..options(Method::Full) }
}

#[test]
fn only_who_reads_the_words_learns_them() {
    let (_guard, folder) = place();
    let score = |part, (before, after)| {
        let (train, dev) = (long_rows(400, 1, before, after), long_rows(200, 9, before, after));
        let storage = storage(&folder);
        let (base, options) = (base(&folder), long(part));
        let found = tune::train(&base, train, Some(&dev), None, &options, &storage, &mut |_| true);
        let found = found.unwrap();
        let cut = if part == Long::Windows { 0 } else { 400 };
        assert_eq!(found.texts_cut, cut);
        assert_eq!(found.cut.card().long, Some(part));
        super::accuracy(&found)
    };
    let (at_the_end, at_the_start) = ((20, 0), (0, 20));
    for (part, place, learns) in [
        (Long::Head, at_the_end, false),
        (Long::Head, at_the_start, true),
        (Long::Tail, at_the_start, false),
        (Long::Tail, at_the_end, true),
        (Long::HeadTail, at_the_end, true),
        (Long::Windows, at_the_end, true),
        (Long::Windows, at_the_start, true),
    ] {
        let found = score(part, place);
        match learns {
            true => assert!(found > 0.85, "{part:?} {place:?}: {found}"),
            false => assert!(found < 0.7, "{part:?} {place:?}: {found}"),
        }
    }
}

#[test]
fn windows_are_averaged_in_every_place() {
    let (_guard, folder) = place();
    let cut = {
        let options = TrainOptions { epochs: 1, ..long(Long::Windows) };
        let train = long_rows(64, 1, 20, 3);
        let storage = storage(&folder);
        tune::train(&base(&folder), train, None, None, &options, &storage, &mut |_| true)
            .unwrap()
            .cut
    };
    assert_eq!(cut.card().format, 5);
    let texts = long_rows(3, 5, 20, 3).texts;
    // Without a mean, by windows as rows of their own.
    let model = TaskModel::new(base(&folder), cut.clone()).unwrap();
    let Base { encoder, weights, tokenizer, .. } = &model.base;
    let extent = Extent { max_length: 10, long: Some(Long::Windows) };
    let read = tokenizer.encode_all(&texts, None, extent).unwrap();
    let each = logits(encoder, weights, &model.head, &read.sequences, |_| {});
    let expected: Vec<f32> = (0..texts.len())
        .flat_map(|i| {
            let of = read.of(i);
            assert_eq!(of.len(), 5);
            let mean = |label: usize| {
                let all = of.clone().map(|window| f64::from(each[2 * window + label]));
                (all.sum::<f64>() / of.len() as f64) as f32
            };
            [mean(0), mean(1)]
        })
        .collect();
    let found = model.logits(&texts, None, |_| true).unwrap();
    assert_eq!((found.values, found.texts_cut), (expected.clone(), 0));

    let bank = Bank::new(base(&folder), Options::default()).unwrap();
    bank.add("long", &cut).unwrap();
    let requests: Vec<Request> = texts
        .iter()
        .map(|text| Request { text: text.clone(), pair: None, tasks: vec!["long".into()] })
        .collect();
    let answers = bank.predict(&requests);
    for (i, answers) in answers.into_iter().enumerate() {
        let answer = &answers.unwrap()[0];
        assert_eq!((answer.tokens, answer.text_cut), (5 * 10, false));
        for (found, expected) in answer.logits.iter().zip(&expected[2 * i..]) {
            assert!((found - expected).abs() < 1e-5, "{found} {expected}");
        }
    }
    // More than all windows hold: said, and read as far as they go.
    let endless = [["rain"; 200].join(" ")];
    let found = model.logits(&endless, None, |_| true).unwrap();
    assert_eq!(found.texts_cut, 1);
}

#[test]
fn pairs_are_read_by_head_or_tail() {
    let (_guard, folder) = place();
    let mut train = rows(20, 1);
    train.pairs = Some(train.texts.clone());
    for (part, ends) in [(Long::Windows, true), (Long::HeadTail, true), (Long::Tail, false)] {
        let options = TrainOptions { epochs: 1, ..long(part) };
        let storage = storage(&folder);
        let train = train.clone();
        let found =
            tune::train(&base(&folder), train, None, None, &options, &storage, &mut |_| true);
        assert_eq!(found.is_err(), ends, "{part:?}");
        if let Err(error) = found {
            let want = format!("`long={}` is for texts alone, found pairs of texts", part.name());
            assert_eq!(error.message(), want);
        }
    }
}
