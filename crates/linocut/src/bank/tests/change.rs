//! Tasks that come and go, and requests that cannot be answered.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use super::samples::{To, alone, always, assert_same, base, cut};
use crate::ErrorKind;
use crate::bank::{Bank, Options, Request};
use crate::cut::{Cut, Probe};
use crate::kernels::random::bits;
use crate::model::{Base, Pooling};

fn bank() -> Bank {
    Bank::new(base(), Options { costs: Some(always(false)), ..Options::default() }).unwrap()
}

fn request(text: &str, tasks: &[&str]) -> Request {
    let tasks = tasks.iter().map(|t| t.to_string()).collect();
    Request { text: text.into(), pair: None, tasks }
}

/// A cut of 10% zeros in layers from `lowest` on.
fn mask(base: &Base, version: u64, lowest: usize) -> Cut {
    cut(base, version, Pooling::Mean, 1 + version as usize % 3, |t| {
        if t.shape.len() == 2 && t.layer().is_some_and(|l| l >= lowest) {
            To::Zeros(0.1)
        } else {
            To::Nothing
        }
    })
}

#[test]
fn a_prepared_task_serves_once_inserted() {
    let bank = bank();
    let (first, second) = (mask(bank.base(), 1, 0), mask(bank.base(), 2, 0));
    let first = bank.prepare("billing", &first).unwrap();
    assert!(bank.tasks().is_empty());
    assert!(bank.insert(Arc::clone(&first)).unwrap().is_none());
    let second = bank.prepare("billing", &second).unwrap();
    assert!(Arc::ptr_eq(&bank.task("billing").unwrap(), &first));
    let old = bank.insert(Arc::clone(&second)).unwrap().unwrap();
    assert!(Arc::ptr_eq(&old, &first) && Arc::ptr_eq(&bank.task("billing").unwrap(), &second));

    let mut other = base();
    other.fingerprint.0[0] ^= 1;
    let other = Bank::new(other, Options { costs: Some(always(false)), ..Options::default() });
    let error = other.unwrap().insert(first).unwrap_err();
    assert!(error.to_string().contains("belongs to the base with fingerprint 0707"), "{error}");
}

#[test]
fn the_parts_of_a_query_answer_as_the_whole() {
    let bank = bank();
    let names = ["a", "b", "c", "d", "e"];
    for (i, name) in names.iter().enumerate() {
        bank.add(name, &mask(bank.base(), 1 + i as u64, i % 3)).unwrap();
    }
    let query = bank.encode(&request("the rain in spain", &names)).unwrap();
    let tokens = query.tokens() / names.len();
    let whole = bank.answer(&[&query]).remove(0);
    // Their masks start at layers 0, 1, 2, 0 and 1 of 3: 2/3 of a pass is shared, 11/3 is not.
    assert!((query.work() - 13.0 / 3.0 * tokens as f64).abs() < 1e-9);
    for (most, expected) in [(1, 5), (2 * tokens, 3), (3 * tokens, 2), (5 * tokens, 1)] {
        let parts = query.clone().split(most);
        assert_eq!(parts.len(), expected, "at most {most} tokens");
        assert!(parts.iter().all(|part| part.work() <= most.max(tokens) as f64));
        let answers = bank.answer(&parts.iter().collect::<Vec<_>>()).concat();
        assert_eq!(answers.len(), whole.len());
        for (part, whole) in answers.iter().zip(&whole) {
            assert!(Arc::ptr_eq(&part.task, &whole.task));
            assert_same(part.task.name(), &part.logits, &whole.logits);
        }
    }
    assert!(bank.encode(&request("rain", &[])).unwrap().split(9).is_empty());
}

#[test]
fn equal_changes_are_one_in_memory() {
    let bank = bank();
    let first = mask(bank.base(), 1, 1);
    // The same zeros under another head.
    let alike = cut(bank.base(), 1, Pooling::Mean, 5, |t| {
        if t.shape.len() == 2 && t.layer().is_some_and(|l| l >= 1) {
            To::Zeros(0.1)
        } else {
            To::Nothing
        }
    });
    assert_eq!(first.edits(), alike.edits());
    let other = mask(bank.base(), 2, 1);
    let tasks = [("first", &first), ("alike", &alike), ("other", &other)]
        .map(|(name, cut)| bank.add(name, cut).unwrap());
    let once = tasks[0].bytes() + tasks[1].head_bytes() + tasks[2].bytes();
    assert_eq!(bank.bytes().0, once);

    let text = bank.base().tokenizer.encode("the rain in spain", None, 40).unwrap();
    let answers = bank.predict(&[request("the rain in spain", &["first", "alike", "other"])]);
    for (answer, cut) in answers[0].as_ref().unwrap().iter().zip([&first, &alike, &other]) {
        assert_same(answer.task.name(), &answer.logits, &alone(bank.base(), cut, &text));
    }
    bank.remove("first").unwrap();
    drop((answers, tasks));
    let left = bank.task("alike").unwrap().bytes() + bank.task("other").unwrap().bytes();
    assert_eq!(bank.bytes().0, left);
}

#[test]
fn names_are_taken_or_unknown() {
    let bank = bank();
    let cut = mask(bank.base(), 1, 0);
    let error = bank.remove("billing").unwrap_err();
    assert_eq!(error.hint(), Some("there is no task at all"));
    for name in ["billing", "refund", "billing-2", "weather"] {
        bank.add(name, &cut).unwrap();
    }
    let error = bank.add("billing", &cut).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("there is a task \"billing\" already"), "{error}");
    for error in [
        bank.replace("bilings", &cut).unwrap_err(),
        bank.remove("bilings").unwrap_err(),
        bank.task("bilings").unwrap_err(),
        bank.predict(&[request("rain", &["billing", "bilings"])]).remove(0).unwrap_err(),
    ] {
        assert_eq!(
            error.to_string(),
            "there is no task \"bilings\"\n\
             hint: the nearest known are \"billing\", \"billing-2\", \"refund\""
        );
    }
    assert_eq!(bank.tasks().len(), 4);
}

#[test]
fn a_bad_request_does_not_concern_the_others() {
    let bank = bank();
    bank.add("a", &mask(bank.base(), 1, 0)).unwrap();
    let pair = Request { pair: Some("snow".into()), ..request("rain", &["a"]) };
    let requests = [
        request("rain", &["a"]),
        request(" \n", &["a"]),
        pair,
        request("snow", &["b"]),
        request("rain", &["a", "a"]),
    ];
    let answers = bank.predict(&requests);
    let message = |i: usize| answers[i].as_ref().unwrap_err().to_string();
    assert!(message(1).starts_with("empty text"));
    assert_eq!(message(2), "the task \"a\" takes one text, found a pair of texts");
    assert!(message(3).starts_with("there is no task \"b\""));
    let (first, last) = (answers[0].as_ref().unwrap(), answers[4].as_ref().unwrap());
    assert_eq!((first.len(), last.len()), (1, 2));
    assert_eq!(first[0].logits, last[0].logits);
    assert_eq!(last[0].logits, last[1].logits);
    assert!(!first[0].text_cut);
}

#[test]
fn a_cut_must_fit_and_answer_its_probes() {
    let bank = bank();
    let good = mask(bank.base(), 1, 0);
    let with = |change: &dyn Fn(&mut crate::cut::Card), probes: Vec<Probe>| {
        let mut card = good.card().clone();
        change(&mut card);
        Cut::new(card, good.head().clone(), good.edits().clone(), probes).unwrap()
    };
    let refused = |cut: &Cut, what: &str| {
        let error = bank.add("task", cut).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Cut);
        assert!(error.to_string().contains(what), "{error}");
        assert!(bank.tasks().is_empty());
    };
    refused(&with(&|card| card.base.fingerprint = "00".into(), vec![]), "belongs to the base");
    refused(&with(&|card| card.tokenizer = "00".into(), vec![]), "made with the tokenizer");
    refused(
        &with(&|card| card.max_length = 513, vec![]),
        "a maximum length of 513, expected at most 512",
    );
    let probe = |id: u32, shift: f32| {
        let text = super::samples::text(bank.base(), 7);
        let mut logits = alone(bank.base(), &good, &text);
        logits[0] += shift;
        let mut input_ids = text.ids;
        input_ids[6] = if id == 0 { input_ids[6] } else { id };
        vec![Probe { input_ids, token_type_ids: text.type_ids, logits }]
    };
    refused(&with(&|_| (), probe(99, 0.0)), "tokens that the base's embeddings do not know");
    refused(&with(&|_| (), probe(0, 1e-3)), "probe 0: logits");
    bank.add("task", &with(&|_| (), probe(0, 0.0))).unwrap();
}

/// A file of a few bytes does not become a copy of the base.
#[test]
fn what_is_sparse_in_a_cut_is_sparse_in_memory() {
    let bank = bank();
    let few = cut(bank.base(), 1, Pooling::Mean, 2, |t| match t.shape.len() {
        2 => To::Moved(0.005),
        _ => To::Nothing,
    });
    let task = bank.add("few", &few).unwrap();
    assert!(task.bytes() * 20 < 4 * bank.base().weights.data().len(), "{}", task.bytes());
}

#[test]
fn tasks_take_no_more_memory_than_they_may() {
    let base = base();
    let all = 4 * base.weights.data().len();
    let options =
        Options { costs: Some(always(false)), task_memory: all * 3 / 2, ..Options::default() };
    let bank = Bank::new(base, options).unwrap();
    let replaced = |version| cut(bank.base(), version, Pooling::Mean, 2, |_| To::Replaced);
    bank.add("first", &replaced(1)).unwrap();
    let error = bank.add("second", &replaced(2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Memory);
    let says = error.to_string();
    assert!(
        says.starts_with("the task \"second\" needs up to 0.") && says.contains("`task_memory`")
    );
    // A new version takes the place of the old one; what is small fits; what is prepared counts.
    bank.replace("first", &replaced(3)).unwrap();
    bank.add("small", &mask(bank.base(), 1, 2)).unwrap();
    bank.remove("first").unwrap();
    let prepared = bank.prepare("second", &replaced(2)).unwrap();
    assert_eq!(bank.add("third", &replaced(4)).unwrap_err().kind(), ErrorKind::Memory);
    drop(prepared);
    let prepared = bank.prepare("third", &replaced(4)).unwrap();
    bank.insert(prepared).unwrap();
    assert_eq!(*bank.pending.lock().unwrap(), 0);
}

/// Probes are computed a few at a time, and there are not many.
#[test]
fn probes_are_bounded() {
    let bank = bank();
    let good = mask(bank.base(), 1, 0);
    let with = |probes: Vec<Probe>| {
        Cut::new(good.card().clone(), good.head().clone(), good.edits().clone(), probes)
    };
    let text = super::samples::text(bank.base(), 256);
    let logits = alone(bank.base(), &good, &text);
    let probe = Probe { input_ids: text.ids, token_type_ids: text.type_ids, logits };
    bank.add("task", &with(vec![probe.clone(); 9]).unwrap()).unwrap();
    let error = with(vec![probe; 65]).unwrap_err().to_string();
    assert!(
        error.starts_with("65 probes of 16640 tokens, expected at most 64 of 16384"),
        "{error}"
    );
}

#[test]
fn a_removed_task_leaves_no_memory() {
    let options = Options { costs: Some(always(true)), ..Options::default() };
    let bank = Bank::new(base(), options).unwrap();
    let added = bank.add("a", &mask(bank.base(), 1, 0)).unwrap();
    assert!(bank.bytes().0 > 0 && bank.bytes().1 == 0);
    bank.predict(&[request("rain and snow", &["a"])]).remove(0).unwrap();
    let layers = 3 * 4 * (4 * 32 * 32 + 2 * 32 * 80);
    assert_eq!(bank.bytes().1, layers, "all matrices are kept ready");
    let query = bank.encode(&request("rain", &["a"])).unwrap();
    let weak = Arc::downgrade(&bank.remove("a").unwrap());
    drop(added);
    assert!(weak.upgrade().is_some(), "the query under way still has it");
    assert_eq!(bank.answer(&[&query])[0].len(), 1);
    drop(query);
    assert!(weak.upgrade().is_none());
    assert_eq!(bank.bytes(), (0, 0));
}

/// While tasks are added, replaced and removed, every answer is that of the version that it names,
/// and all answers of one call are of one state.
#[test]
fn tasks_come_and_go_while_predictions_run() {
    let bank = bank();
    let texts = ["rain", "and snow", "we go , today", "with one ticket"];
    let names = ["a", "b", "c", "d"];
    let cuts: Vec<Cut> = (0..6).map(|v| mask(bank.base(), v, v as usize % 3)).collect();
    let expected: HashMap<(u64, &str), Vec<f32>> = (0..6u64)
        .flat_map(|version| texts.iter().map(move |text| (version, *text)))
        .map(|(version, text)| {
            let encoding = bank.base().tokenizer.encode(text, None, 512).unwrap();
            ((version, text), alone(bank.base(), &cuts[version as usize], &encoding))
        })
        .collect();
    for name in &names[..2] {
        bank.add(name, &cuts[0]).unwrap();
    }
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let mut readers = Vec::new();
        for reader in 0..3u32 {
            let (bank, expected, stop, answered) = (&bank, &expected, &stop, &answered);
            readers.push(scope.spawn(move || {
                for round in 0.. {
                    if stop.load(Relaxed) {
                        return;
                    }
                    let requests: Vec<Request> = (0..4)
                        .map(|i| {
                            let draw = bits(u64::from(reader), round * 4 + i) as usize;
                            let other = names[draw % 4];
                            request(texts[draw / 4 % 4], &["a", "b", other])
                        })
                        .collect();
                    let mut versions = Vec::new();
                    for (request, answers) in requests.iter().zip(bank.predict(&requests)) {
                        let Ok(answers) = answers else { continue }; // its third task was removed
                        for answer in &answers {
                            let version = answer.task.card().training.as_u64().unwrap();
                            let right = &expected[&(version, request.text.as_str())];
                            assert_same(answer.task.name(), &answer.logits, right);
                            answered.fetch_add(1, Relaxed);
                        }
                        versions.push((Arc::clone(&answers[0].task), Arc::clone(&answers[1].task)));
                    }
                    for (a, b) in &versions {
                        assert!(Arc::ptr_eq(a, &versions[0].0) && Arc::ptr_eq(b, &versions[0].1));
                    }
                }
            }));
        }
        for round in 0.. {
            let failed = readers.iter().any(|reader| reader.is_finished());
            if failed || round >= 40 && answered.load(Relaxed) > 500 {
                break;
            }
            let version = &cuts[round % 6];
            bank.replace("a", version).unwrap();
            bank.replace("b", version).unwrap();
            let name = names[2 + round % 2];
            match bank.remove(name) {
                Ok(_) => {}
                Err(_) => drop(bank.add(name, version).unwrap()),
            }
        }
        stop.store(true, Relaxed);
    });
    assert!(answered.load(Relaxed) > 500);
}
