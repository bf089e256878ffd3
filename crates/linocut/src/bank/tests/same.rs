//! Every answer is the task's own, however the bank came to it.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;

use super::samples::{LENGTHS, alone, always, assert_same, base, base_of, cuts, one, text};
use crate::bank::{Bank, Costs, Options, Query, Task};
use crate::data::Encoding;

/// Texts, tasks, and for each text and task what the task answers alone.
struct Suite {
    texts: Vec<Arc<Encoding>>,
    expected: Vec<Vec<Vec<f32>>>,
}

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| {
        let base = base();
        let cuts = cuts(&base);
        let texts: Vec<_> = LENGTHS.iter().map(|&n| Arc::new(text(&base, n))).collect();
        let of_text =
            |text: &Arc<Encoding>| cuts.iter().map(|(_, cut)| alone(&base, cut, text)).collect();
        let expected = texts.iter().map(of_text).collect();
        Suite { texts, expected }
    })
}

fn bank(costs: Costs, budget: usize, batch_tokens: usize) -> (Bank, Vec<Arc<Task>>) {
    let base = base();
    let cuts = cuts(&base);
    let options = Options {
        materialise_budget: budget,
        batch_tokens,
        costs: Some(costs),
        ..Options::default()
    };
    let bank = Bank::new(base, options).unwrap();
    let tasks = cuts.iter().map(|(name, cut)| bank.add(name, cut).unwrap()).collect();
    (bank, tasks)
}

/// Asks `(text, tasks)` together and compares with what each task answers alone.
fn check(bank: &Bank, tasks: &[Arc<Task>], asked: &[(usize, Vec<usize>)]) {
    let suite = suite();
    let queries: Vec<Query> = asked
        .iter()
        .map(|(text, wanted)| Query {
            asks: wanted
                .iter()
                .map(|&task| (Arc::clone(&tasks[task]), one(&suite.texts[*text])))
                .collect(),
        })
        .collect();
    let answers = bank.answer(&queries.iter().collect::<Vec<_>>());
    assert_eq!(answers.len(), asked.len());
    for ((text, wanted), answers) in asked.iter().zip(&answers) {
        assert_eq!(wanted.len(), answers.len());
        for (&task, answer) in wanted.iter().zip(answers) {
            assert!(Arc::ptr_eq(&answer.task, &tasks[task]));
            let what = format!("{} on {} tokens", tasks[task].name(), answer.tokens);
            assert_same(&what, &answer.logits, &suite.expected[*text][task]);
        }
    }
}

/// Every edit that there is, on every family.
#[test]
fn every_family_answers_as_the_trainer_does() {
    for family in [
        "roberta",
        "distilbert",
        "electra",
        "mpnet",
        "albert",
        "modernbert",
        "modernbert-biased",
        "deberta-v2",
        "deberta-v3",
        "nomic",
    ] {
        let base = base_of(family);
        let cuts = cuts(&base);
        let texts: Vec<_> = [1, 3, 33, 150].map(|n| Arc::new(text(&base, n))).into();
        let expected: Vec<Vec<Vec<f32>>> = texts
            .iter()
            .map(|text| cuts.iter().map(|(_, cut)| alone(&base, cut, text)).collect())
            .collect();
        for (costs, materialise_budget) in ways() {
            let costs = Some(costs);
            let options = Options { materialise_budget, costs, ..Options::default() };
            let bank = Bank::new(base_of(family), options).unwrap();
            let tasks: Vec<_> =
                cuts.iter().map(|(name, cut)| bank.add(name, cut).unwrap()).collect();
            let asks = |text: &Arc<Encoding>| {
                tasks.iter().map(|task| (Arc::clone(task), one(text))).collect()
            };
            let queries: Vec<Query> = texts.iter().map(|text| Query { asks: asks(text) }).collect();
            let answers = bank.answer(&queries.iter().collect::<Vec<_>>());
            for (answer, expected) in answers.iter().flatten().zip(expected.iter().flatten()) {
                let what = format!("{family}, {} on {}", answer.task.name(), answer.tokens);
                assert_same(&what, &answer.logits, expected);
            }
        }
    }
}

/// Ways for matrices with zeros: corrected, materialised, and a budget for four of them.
fn ways() -> [(Costs, usize); 3] {
    [(always(false), 1 << 30), (always(true), 1 << 30), (always(true), 4 * 4 * 80 * 32)]
}

#[test]
fn each_task_alone() {
    for (costs, budget) in ways() {
        let (bank, tasks) = bank(costs, budget, 16_384);
        for task in 0..tasks.len() {
            for text in 0..LENGTHS.len() {
                check(&bank, &tasks, &[(text, vec![task])]);
            }
        }
    }
}

#[test]
fn one_text_asked_of_all_tasks() {
    for (costs, budget) in ways() {
        let (bank, tasks) = bank(costs, budget, 16_384);
        for text in 0..LENGTHS.len() {
            check(&bank, &tasks, &[(text, (0..tasks.len()).rev().collect())]);
            let ready = bank.bytes().1;
            assert!(ready <= budget && (ready > 0) == (costs == always(true)), "{ready} bytes");
        }
    }
}

#[test]
fn all_texts_asked_of_all_tasks() {
    for (costs, budget) in ways() {
        for batch_tokens in [1, 700, 16_384] {
            let (bank, tasks) = bank(costs, budget, batch_tokens);
            let texts = if batch_tokens == 1 { 5 } else { LENGTHS.len() - 1 };
            let all: Vec<_> = (0..texts).map(|text| (text, (0..tasks.len()).collect())).collect();
            check(&bank, &tasks, &all);
        }
    }
}

#[test]
fn one_task_a_text() {
    for (costs, budget) in ways() {
        let (bank, tasks) = bank(costs, budget, 16_384);
        let asked: Vec<_> = (0..2 * tasks.len())
            .map(|i| (5 * i % LENGTHS.len(), vec![7 * i % tasks.len()]))
            .collect();
        check(&bank, &tasks, &asked);
    }
}

#[test]
fn nothing_asked_is_nothing_answered() {
    let (bank, tasks) = bank(always(false), 0, 16_384);
    check(&bank, &tasks, &[]);
    check(&bank, &tasks, &[(3, vec![]), (1, vec![2, 2, 2]), (3, vec![])]);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_mix(
        asked in prop::collection::vec(
            (0..LENGTHS.len() - 2, prop::collection::vec(0..72usize, 0..6)), 1..12),
        way in 0..3usize,
    ) {
        static BANKS: OnceLock<Vec<(Bank, Vec<Arc<Task>>)>> = OnceLock::new();
        let banks = BANKS.get_or_init(|| {
            ways().into_iter().map(|(costs, budget)| bank(costs, budget, 16_384)).collect()
        });
        let (bank, tasks) = &banks[way];
        check(bank, tasks, &asked);
    }
}
