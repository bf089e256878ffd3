//! Slim tasks beside whole ones: each answers what it does alone.

use std::sync::Arc;

use super::samples::{alone, always, ask, assert_same, base_of, cuts, text};
use crate::bank::{Bank, Dtype, Options};
use crate::cut::Cut;
use crate::data::Encoding;
use crate::model::{Base, Slim};

/// Bases that keep: some of every layer, no head or no neuron of a layer, the lower layers alone, and some
/// of the lowest layer alone.
fn slims(base: &Base) -> Vec<Base> {
    let config = base.config();
    let whole = Slim::whole(config);
    let mut some = whole.clone();
    for (number, layer) in some.layers.iter_mut().enumerate() {
        layer.heads[number % 4] = false;
        layer.groups[(number + 2) % 5] = false;
    }
    let mut halves = some.clone();
    halves.layers[0].heads.fill(false);
    halves.layers[1].groups.fill(false);
    let mut lowest = some.clone().up_to(1, config);
    lowest.layers[0].heads = vec![false, true, true, false];
    let all = [some, halves, whole.up_to(2, config), lowest];
    all.iter().map(|slim| base.slim(slim).unwrap()).collect()
}

/// Some cuts of each of these bases.
fn samples(bases: &[Base]) -> Vec<(String, Cut)> {
    let mut samples = vec![];
    for (number, base) in bases.iter().enumerate() {
        let all = cuts(base).into_iter();
        // Every kind with one pooling or another.
        let some = all.enumerate().filter(|(i, _)| i % 3 == number % 3 && i / 3 != 13);
        samples.extend(some.map(|(_, (name, cut))| (format!("{name}, slim {number}"), cut)));
    }
    samples
}

const FAMILIES: [&str; 9] = [
    "bert",
    "distilbert",
    "mpnet",
    "albert",
    "modernbert",
    "modernbert-biased",
    "deberta-v2",
    "deberta-v3",
    "nomic",
];

#[test]
fn slim_tasks_answer_what_training_computes_whatever_shares_the_batch() {
    for family in FAMILIES {
        let base = base_of(family);
        let bases: Vec<Base> = [vec![base.clone()], slims(&base)].concat();
        let samples = samples(&bases);
        let ways = if family == "bert" { vec![false, true] } else { vec![false] };
        for materialised in ways {
            let options = Options { costs: Some(always(materialised)), ..Options::default() };
            let bank = Bank::new(base.clone(), options).unwrap();
            let tasks: Vec<_> =
                samples.iter().map(|(name, cut)| bank.add(name, cut).unwrap()).collect();
            let texts: Vec<_> = [1, 3, 33].map(|n| Arc::new(text(&base, n))).into();
            let found = ask(&bank, &texts, &tasks);
            let mut found = found.iter();
            for text in &texts {
                for ((name, cut), task) in samples.iter().zip(&tasks) {
                    let kept = cut.card().slim.as_ref();
                    let mine = bases.iter().find(|base| base.encoder.kept() == kept).unwrap();
                    let what = format!("{family}, {name}, {} tokens", text.ids.len());
                    assert_same(&what, found.next().unwrap(), &alone(mine, cut, text));
                    assert_eq!(task.view().is_slim(), kept.is_some());
                }
            }
        }
    }
}

#[test]
fn in_int8_they_answer_to_the_bit_as_alone() {
    for family in ["bert", "mpnet", "albert", "modernbert", "deberta-v3"] {
        let base = base_of(family);
        let samples = samples(&[vec![base.clone()], slims(&base)].concat());
        let bank = |materialised| {
            let costs = Some(always(materialised));
            let options = Options { dtype: Dtype::Int8, costs, ..Options::default() };
            let bank = Bank::new(base.clone(), options).unwrap();
            let add = |(name, cut): &(String, _)| bank.add(name, cut).unwrap();
            let tasks: Vec<_> = samples.iter().map(add).collect();
            (bank, tasks)
        };
        let ((bank, tasks), (other, same)) = (bank(false), bank(true));
        let texts: Vec<_> = [1, 3, 33].map(|n| Arc::new(text(bank.base(), n))).into();
        let each = |text: &Arc<Encoding>| {
            let text = std::slice::from_ref(text);
            let one = |task| ask(&bank, text, std::slice::from_ref(task));
            tasks.iter().flat_map(one).collect::<Vec<_>>()
        };
        let alone: Vec<Vec<f32>> = texts.iter().flat_map(each).collect();
        assert_eq!(ask(&bank, &texts, &tasks), alone, "{family}");
        assert_eq!(ask(&other, &texts, &same), alone, "{family}, with matrices of their own");
    }
}

/// Tasks that keep the same share what they change alike; others never do.
#[test]
fn what_they_take_of_memory_is_their_own_changes() {
    let base = base_of("bert");
    let slim = &slims(&base)[0];
    let bank = Bank::new(base.clone(), Options::default()).unwrap();
    let all = cuts(slim);
    let (_, mask) = &all[6];
    let one = bank.add("one", mask).unwrap();
    let two = bank.add("two", mask).unwrap();
    assert!(Arc::ptr_eq(one.view(), two.view()));
    let whole = bank.add("whole", &cuts(&base)[6].1).unwrap();
    assert!(!Arc::ptr_eq(one.view(), whole.view()));
    assert!(one.bytes() < 4 * base.weights.data().len() / 10);
    let plan = bank.plan(32);
    let of = |name: &str| plan.iter().find(|plan| plan.task.name() == name).unwrap();
    assert!(of("one").compute < 1.0 && of("one").cost < of("whole").cost);
    assert!(of("whole").compute == 1.0);
}

#[test]
fn one_of_another_shape_is_refused() {
    let base = base_of("bert");
    let slim = &slims(&base)[0];
    let (_, cut) = cuts(slim).swap_remove(0);
    let mut card = cut.card().clone();
    card.slim.as_mut().unwrap().layers[1].groups.push(true);
    let other = Cut::new(card, cut.head().clone(), cut.edits().clone(), vec![]).unwrap();
    let bank = Bank::new(base, Options::default()).unwrap();
    let error = bank.add("other", &other).unwrap_err();
    assert!(error.message().contains("groups of neurons out of 6, expected 5"), "{error}");
}
