//! The same promises in whole numbers, where answers are equal to the bit.

use std::sync::Arc;

use super::samples::{To, alone, always, ask, base_of, cut, cuts, text};
use crate::bank::{Bank, Dtype, Options, Task};
use crate::cut::Probe;
use crate::data::Encoding;
use crate::model::Pooling;

fn bank(family: &str, materialised: bool) -> (Bank, Vec<Arc<Task>>) {
    let base = base_of(family);
    let cuts = cuts(&base);
    let costs = Some(always(materialised));
    let options = Options { dtype: Dtype::Int8, costs, ..Options::default() };
    let bank = Bank::new(base, options).unwrap();
    let tasks = cuts.iter().map(|(name, cut)| bank.add(name, cut).unwrap()).collect();
    (bank, tasks)
}

/// Every edit that there is, on every family: alone, as one of all tasks of a text, and in a batch of all, on
/// any number of threads, with matrices put right and with matrices of its own.
#[test]
fn every_mix_answers_to_the_bit_as_the_task_alone() {
    for family in
        ["bert", "distilbert", "albert", "modernbert", "deberta-v2", "deberta-v3", "nomic"]
    {
        let ([right, own], [tasks, owners]) = {
            let ((right, tasks), (own, owners)) = (bank(family, false), bank(family, true));
            ([right, own], [tasks, owners])
        };
        let texts: Vec<_> = [1, 3, 33, 150].map(|n| Arc::new(text(right.base(), n))).into();
        let one = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let alone: Vec<Vec<f32>> = one.install(|| {
            let each = |text: &Arc<Encoding>| {
                let text = std::slice::from_ref(text);
                tasks
                    .iter()
                    .flat_map(|task| ask(&right, text, std::slice::from_ref(task)))
                    .collect::<Vec<_>>()
            };
            texts.iter().flat_map(each).collect()
        });
        let three = rayon::ThreadPoolBuilder::new().num_threads(3).build().unwrap();
        for (bank, tasks) in [(&right, &tasks), (&own, &owners)] {
            assert_eq!(ask(bank, &texts, tasks), alone, "{family}, all");
            let one = |text| ask(bank, std::slice::from_ref(text), tasks);
            assert_eq!(texts.iter().flat_map(one).collect::<Vec<_>>(), alone, "{family}, a text");
            assert_eq!(three.install(|| ask(bank, &texts, tasks)), alone, "{family}, threads");
        }
        assert!(right.bytes().1 == 0 && own.bytes().1 > 0, "matrices of their own in the second");
    }
}

/// Near what f32 answers, whatever the cut does: what a wrong matrix or scale gives is not near at all. Single
/// logits of so narrow a base with random weights move far, on trained ones the probes are held to less.
#[test]
fn answers_are_near_those_of_f32() {
    let (whole, tasks) = bank("bert", true);
    let base = base_of("bert");
    let cuts = cuts(&base);
    let float = Bank::new(base, Options::default()).unwrap();
    let texts: Vec<_> = [3, 33, 100].map(|n| Arc::new(text(whole.base(), n))).into();
    for ((name, cut), task) in cuts.iter().zip(&tasks) {
        let other = float.add(name, cut).unwrap();
        let found = ask(&whole, &texts, std::slice::from_ref(task)).concat();
        let expected = ask(&float, &texts, &[other]).concat();
        let off: f32 = found.iter().zip(&expected).map(|(a, b)| (a - b).abs()).sum();
        let size: f32 = expected.iter().map(|z| z.abs()).sum();
        assert!(off < 0.3 * size, "{name}: {off} of {size}");
    }
}

/// A cut whose probes are too far off for eight bits is served in f32 alone.
#[test]
fn a_cut_too_far_off_is_refused() {
    let (bank, _) = bank("bert", false);
    let good = cut(bank.base(), 1, Pooling::Mean, 2, |_| To::Nothing);
    let text = text(bank.base(), 7);
    let with = |shift: f32| {
        let mut logits = alone(bank.base(), &good, &text);
        logits[0] += shift;
        let (input_ids, token_type_ids) = (text.ids.clone(), text.type_ids.clone());
        let (card, head, edits) = (good.card().clone(), good.head().clone(), good.edits().clone());
        crate::cut::Cut::new(card, head, edits, vec![Probe { input_ids, token_type_ids, logits }])
            .unwrap()
    };
    bank.add("near", &with(0.0)).unwrap();
    let error = bank.add("far", &with(100.0)).unwrap_err();
    assert!(error.message().contains("probe 0: logits"), "{error}");
    assert!(error.hint().unwrap().contains("serve it in f32"), "{error}");
}
