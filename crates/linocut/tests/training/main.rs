//! Invariants of whole training runs on a tiny base with random weights.

#![allow(clippy::unwrap_used, reason = "in a test it says where it failed")]

mod few;
mod folds;
mod labels;
mod long;
mod taught;

use linocut::cut::{Cut, Edit};
use linocut::data::{Batch, Dataset, Problem, Targets, epoch_order};
use linocut::model::{Base, Head, Input, Tape};
use linocut::tune::{
    self, Dropout, Event, Method, Outcome, Sampling, Scope, Selection, Shared, Storage, Target,
    TrainOptions,
};
use std::path::{Path, PathBuf};

/// The fixtures' encoder with the tests' word-level tokenizer.
fn base(folder: &Path) -> Base {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testdata");
    for (from, to) in [
        ("bert/base/config.json", "config.json"),
        ("bert/base/model.safetensors", "model.safetensors"),
        ("tiny/tokenizer.json", "tokenizer.json"),
    ] {
        std::fs::copy(data.join(from), folder.join(to)).unwrap();
    }
    Base::open(folder, None).unwrap()
}

const FOOD: [&str; 6] = ["cook", "eat", "apple", "bread", "salt", "of"];
const TRAVEL: [&str; 6] = ["road", "ticket", "go", "with", "is", "no"];

/// Rows of four words, two of one topic and two of either; the label is the topic.
fn rows(count: usize, seed: u64) -> Dataset {
    let pick = epoch_order(count * 8, seed, 0);
    let mut texts = Vec::new();
    let mut classes = Vec::new();
    for i in 0..count {
        let n = |j: usize| pick[i * 8 + j] as usize;
        let class = n(0) % 2;
        let own = [FOOD, TRAVEL][class];
        let any: Vec<&str> = FOOD.into_iter().chain(TRAVEL).collect();
        texts.push([own[n(1) % 6], any[n(2) % 12], own[n(3) % 6], own[n(4) % 6]].join(" "));
        classes.push(class as u32);
    }
    Dataset {
        name: "topic".into(),
        problem: Problem::SingleLabel,
        labels: vec!["food".into(), "travel".into()],
        texts,
        pairs: None,
        targets: Targets::Classes(classes),
        weights: None,
        taught: None,
    }
}

fn storage(folder: &Path) -> Storage {
    Storage {
        state: None,
        resume: false,
        save_every: None,
        trunk_memory: 1 << 30,
        scratch: folder.to_path_buf(),
        shared: Shared::default(),
    }
}

fn options(method: Method) -> TrainOptions {
    TrainOptions { epochs: 6, batch: 8, max_length: 16, ..TrainOptions::new(method, 200) }
}

fn run(options: &TrainOptions, storage: &Storage, train: Dataset, folder: &Path) -> Outcome {
    tune::train(&base(folder), train, Some(&rows(200, 9)), None, options, storage, &mut |_| true)
        .unwrap()
}

fn place() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_path_buf();
    (folder, path)
}

fn accuracy(outcome: &Outcome) -> f64 {
    outcome.evaluation.as_ref().unwrap().metrics.primary.value.unwrap()
}

/// Masks with a tenth of every matrix zero.
fn tenth() -> Method {
    let target = Target { sparsity: 0.1, scope: Scope::Matrix };
    Method::mask_to(target, Selection::default())
}

#[test]
fn every_method_learns() {
    let (_guard, folder) = place();
    let layers = Selection { layers: Some(vec![1, 2]), only: None };
    let low_rank = Method::low_rank(4, Selection::default());
    for method in
        [Method::Full, Method::Layers(layers), Method::Bias, Method::mask(), tenth(), low_rank]
    {
        let mut options = options(method);
        options.mask_lr = 0.3;
        let learned = accuracy(&run(&options, &storage(&folder), rows(400, 1), &folder));
        assert!(learned > 0.85, "{}: {learned}", options.method.name());
    }
}

#[test]
fn permuted_training_labels_score_at_chance() {
    let (_guard, folder) = place();
    const RUNS: u64 = 8;
    for method in [Method::Full, Method::mask()] {
        let mut options = options(method);
        options.mask_lr = 0.3;
        let scores: Vec<f64> = (0..RUNS)
            .map(|seed| {
                let mut permuted = rows(400, 1);
                let Targets::Classes(classes) = &mut permuted.targets else { unreachable!() };
                let order = epoch_order(400, seed, 7);
                *classes = order.iter().map(|&i| classes[i as usize]).collect();
                accuracy(&run(&options, &storage(&folder), permuted, &folder))
            })
            .collect();
        // What noise teaches is a direction among the twelve words, so one run's accuracy spreads
        // far more than a coin's; the mean of eight does not.
        let mean = scores.iter().sum::<f64>() / RUNS as f64;
        assert!((mean - 0.5).abs() < 0.15, "{}: {scores:?}", options.method.name());
    }
}

#[test]
fn a_mask_cut_only_zeroes_and_the_base_comes_back_bit_for_bit() {
    let (_guard, folder) = place();
    let mut options = options(Method::mask());
    options.mask_lr = 0.3;
    let cut = run(&options, &storage(&folder), rows(400, 1), &folder).cut;
    assert!(cut.card().tensors.values().all(|note| note.zeros.is_some()));
    let zeros: usize = cut.edits().keys().map(|name| zeros_of(&cut, name)).sum();
    assert!(zeros > 0);

    let mut base = base(&folder);
    let before: Vec<u32> = base.weights.data().iter().map(|v| v.to_bits()).collect();
    let applied = cut.apply(&mut base.weights).unwrap();
    let mut changed = 0;
    for (now, before) in base.weights.data().iter().zip(&before) {
        // Every entry is the base's own or +0.0.
        assert!(now.to_bits() == *before || now.to_bits() == 0);
        changed += usize::from(now.to_bits() != *before);
    }
    assert!(changed > 0 && changed <= zeros);
    check_probes(&base, &cut);
    applied.undo(&mut base.weights);
    assert!(base.weights.data().iter().zip(&before).all(|(v, b)| v.to_bits() == *b));
}

fn zeros_of(cut: &Cut, tensor: &str) -> usize {
    cut.card().tensors.get(tensor).and_then(|note| note.zeros).unwrap_or(0) as usize
}

/// The logits in the file are those of the cut as applied.
fn check_probes(base: &Base, cut: &Cut) {
    let head = Head::from(cut);
    for probe in cut.probes() {
        let batch = Batch {
            ids: probe.input_ids.clone(),
            type_ids: probe.token_type_ids.clone(),
            offsets: vec![0, probe.input_ids.len()],
        };
        let mut tape = Tape::default();
        let input = Input::Tokens(&batch);
        let pooled = base.encoder.forward(&base.weights, input, None, false, &mut tape);
        for (got, want) in head.forward(pooled).iter().zip(&probe.logits) {
            assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "{got} {want}");
        }
    }
}

#[test]
fn the_dropout_asked_for_takes_the_place_of_the_bases_own() {
    let (_guard, folder) = place();
    let cut = |dropout| {
        let options = TrainOptions { dropout, epochs: 1, ..options(Method::Full) };
        let outcome = run(&options, &storage(&folder), rows(200, 1), &folder).cut;
        (outcome.edits().clone(), outcome.card().training.get("dropout").cloned())
    };
    let (own, said) = cut(Dropout::default());
    assert_eq!(said, None);
    // This base's configuration says 0.
    let (none, said) = cut(Dropout::Fixed(0.0));
    assert_eq!((none == own, said), (true, Some(0.0.into())));
    let (some, said) = cut(Dropout::Fixed(0.1));
    assert_eq!((some == own, said), (false, Some(0.1.into())));
    for wrong in [1.0, -0.1, f64::NAN] {
        let options = TrainOptions { dropout: Dropout::Fixed(wrong), ..options(Method::Full) };
        let error = options.check().unwrap_err().to_string();
        let want = format!("`dropout` is {wrong}, expected a number in [0, 1)");
        assert_eq!(error.lines().next(), Some(&want[..]));
    }
}

#[test]
fn a_share_of_zeros_is_met_to_the_entry() {
    let (_guard, folder) = place();
    let base = base(&folder);
    let layout = base.encoder.layout();
    for (scope, sparsity, how) in [
        (Scope::Matrix, 0.1, Sampling::Stochastic),
        (Scope::Matrix, 0.1, Sampling::Threshold),
        (Scope::Matrix, 0.003, Sampling::Stochastic),
        (Scope::Global, 0.037, Sampling::Stochastic),
        (Scope::Matrix, 0.9, Sampling::Threshold),
    ] {
        let selection = Selection { layers: Some(vec![0, 2]), only: None };
        let mut method = Method::mask_to(Target { sparsity, scope }, selection);
        if let Method::Mask { sampling, .. } = &mut method {
            *sampling = how;
        }
        let marks = method.marks(&base.encoder).unwrap();
        let mut options = options(method);
        options.mask_lr = 0.3;
        let cut = run(&options, &storage(&folder), rows(200, 1), &folder).cut;
        let share = |entries: usize| (sparsity * entries as f64).round() as usize;
        let (mut masked, mut zeros, mut uneven) = (0, 0, false);
        for (spec, _) in layout.tensors().iter().zip(&marks).filter(|(_, mark)| **mark) {
            let found = zeros_of(&cut, &spec.name);
            masked += spec.range.len();
            zeros += found;
            uneven |= found != share(spec.range.len());
        }
        match scope {
            Scope::Matrix => assert!(!uneven),
            Scope::Global => {
                assert_eq!(zeros, share(masked));
                assert!(uneven, "every matrix has the same share: nothing competed");
            }
        }
        assert_eq!(cut.card().method["sparsity"], sparsity);
    }
}

#[test]
fn layers_leave_everything_else_alone_and_the_cut_holds_what_was_scored() {
    let (_guard, folder) = place();
    let selection = Selection { layers: Some(vec![2]), only: Some(vec!["value".into()]) };
    let outcome =
        run(&options(Method::Layers(selection)), &storage(&folder), rows(200, 1), &folder);
    let names: Vec<&String> = outcome.cut.edits().keys().collect();
    assert_eq!(names, ["encoder.layer.2.attention.self.value.weight"]);
    let mut base = base(&folder);
    let _ = outcome.cut.apply(&mut base.weights).unwrap();
    check_probes(&base, &outcome.cut);
}

#[test]
fn low_rank_factors_of_query_and_value_are_all_that_moves() {
    let (_guard, folder) = place();
    let selection = Selection { layers: Some(vec![1]), only: None };
    let options = options(Method::low_rank(3, selection));
    let outcome = run(&options, &storage(&folder), rows(200, 1), &folder);
    let names: Vec<&str> = outcome.cut.edits().keys().map(String::as_str).collect();
    let name = |kind| format!("encoder.layer.1.attention.self.{kind}.weight");
    assert_eq!(names, [name("query"), name("value")]);
    for edit in outcome.cut.edits().values() {
        let Edit::LowRank(low_rank) = &edit.edit else { panic!("{edit:?}") };
        assert_eq!((low_rank.rank(), low_rank.factors().len()), (3, 3 * (36 + 36)));
        assert!(low_rank.factors().iter().all(|v| *v != 0.0), "a factor never moved");
    }
    let trained = &outcome.cut.card().training["trained_parameters"];
    assert_eq!(*trained, 2 * 3 * 72 + 2 * 36 + 2);
    let mut base = base(&folder);
    let before = base.weights.clone();
    let applied = outcome.cut.apply(&mut base.weights).unwrap();
    assert_ne!(base.weights.data(), before.data());
    check_probes(&base, &outcome.cut);
    applied.undo(&mut base.weights);
    assert_eq!(base.weights.data(), before.data());
}

#[test]
fn threads_and_where_the_trunk_lies_change_nothing() {
    let (_guard, folder) = place();
    let selection = Selection { layers: Some(vec![2]), only: None };
    let low_rank = Method::low_rank(2, selection.clone());
    let layers = Method::Layers(selection);
    for method in [Method::mask(), tenth(), low_rank, layers, Method::Full, Method::Head] {
        let options = options(method);
        let with = |threads: usize, trunk_memory: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let storage = Storage { trunk_memory, ..storage(&folder) };
            let train = || run(&options, &storage, rows(100, 1), &folder).cut.to_bytes();
            pool.install(train)
        };
        let one = with(1, 1 << 30);
        assert_eq!(one, with(2, 1 << 30), "{}", options.method.name());
        assert_eq!(one, with(3, 0), "{}", options.method.name());
    }
}

#[test]
fn what_runs_share_changes_nothing() {
    let (_guard, folder) = place();
    // Whether the run computed its frozen layers, and its cut.
    let run = |method: &Method, base: Base, storage: &Storage| {
        let mut computed = false;
        let observe = &mut |event| {
            computed |= matches!(event, Event::Trunk { .. });
            true
        };
        let dev = rows(50, 9);
        let options = options(method.clone());
        let (train, dev) = (rows(100, 1), Some(&dev));
        let outcome = tune::train(&base, train, dev, None, &options, storage, observe).unwrap();
        (computed, outcome.cut.to_bytes())
    };
    let shared = storage(&folder);
    let method = |layer: usize| Method::Layers(Selection { layers: Some(vec![layer]), only: None });
    for (method, computed) in
        [(method(2), true), (Method::Head, true), (method(2), false), (method(1), true)]
    {
        let alone = run(&method, base(&folder), &storage(&folder));
        assert_eq!((computed, alone.1), run(&method, base(&folder), &shared), "{method:?}");
    }
    // Other weights below are another trunk; above they are not.
    for (name, computed) in [
        ("encoder.layer.0.output.dense.weight", true),
        ("encoder.layer.2.output.dense.weight", false),
    ] {
        let changed = || {
            let mut base = base(&folder);
            base.weights.tensor_mut(name).unwrap()[3] += 0.5;
            base
        };
        let alone = run(&method(2), changed(), &storage(&folder));
        assert_eq!((computed, alone.1), run(&method(2), changed(), &shared), "{name}");
    }
    // No room for two: the last is kept.
    let states = rows(100, 1).texts.iter().map(|text| text.split(' ').count() + 2).sum::<usize>();
    let hidden = base(&folder).config().hidden;
    let narrow = Storage { trunk_memory: 4 * hidden * states, ..storage(&folder) };
    for (layer, computed) in [(2, true), (2, false), (1, true), (2, true)] {
        assert_eq!(run(&method(layer), base(&folder), &narrow).0, computed, "{layer}");
    }
}

#[test]
fn early_stopping_selects_on_held_out_rows_and_says_so() {
    let (_guard, folder) = place();
    let mut options = options(Method::Full);
    options.early_stop = Some(0.2);
    options.eval_every = Some(5);
    let mut scores = Vec::new();
    let dev = rows(50, 9);
    let observe = &mut |event| {
        if let Event::Evaluated { score, held_out, .. } = event {
            assert!(held_out, "nothing is scored on the reported rows before the end");
            scores.push(score);
        }
        true
    };
    let outcome = tune::train(
        &base(&folder),
        rows(200, 1),
        Some(&dev),
        None,
        &options,
        &storage(&folder),
        observe,
    );
    let cut = outcome.unwrap().cut;
    assert!(scores.len() > 5);
    let training = &cut.card().training;
    let held_out = training["held_out_rows"].as_u64().unwrap();
    assert_eq!(held_out + training["rows"].as_u64().unwrap(), 200);
    assert!(held_out > 10);
    let selected = training["selected_step"].as_u64().unwrap();
    assert!(selected.is_multiple_of(5) || selected == training["steps"].as_u64().unwrap());
}
