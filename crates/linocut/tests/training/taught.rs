//! Learning from a teacher.

use super::labels::{labelled, numbers};
use super::{accuracy, base, options, place, rows, storage};
use linocut::cut::{Cut, TaskModel};
use linocut::data::{Dataset, Targets};
use linocut::model::{Base, Pooling};
use linocut::tune::{self, Choices, Event, Method, Objective, Storage, TrainOptions};
use linocut::{ErrorKind, pack};
use std::path::Path;

/// A full fine-tune on 400 rows.
fn teacher(folder: &Path, train: Dataset) -> TaskModel {
    let options = options(Method::Full);
    let storage = storage(folder);
    let cut = tune::train(&base(folder), train, None, None, &options, &storage, &mut |_| true);
    TaskModel::new(base(folder), cut.unwrap().cut).unwrap()
}

/// `train` with what the teacher says of it, and of `more` texts.
fn taught(teacher: &TaskModel, train: Dataset, more: Option<Dataset>) -> Dataset {
    let more = more.map(|more| (more.texts, more.pairs));
    tune::teach(teacher, train, more, &mut vec![], &mut |_| true).unwrap()
}

fn learned(options: &TrainOptions, train: Dataset, dev: &Dataset, folder: &Path) -> tune::Outcome {
    let storage = storage(folder);
    tune::train(&base(folder), train, Some(dev), None, options, &storage, &mut |_| true).unwrap()
}

#[test]
fn rows_without_labels_teach_what_the_teacher_knows() {
    let (_guard, folder) = place();
    let teacher = teacher(&folder, rows(400, 1));
    let options = TrainOptions { mask_lr: 0.3, ..options(Method::mask()) };
    let few = || rows(8, 2);
    let alone = accuracy(&learned(&options, few(), &rows(200, 9), &folder));
    let many = taught(&teacher, few(), Some(rows(300, 3)));
    assert_eq!((many.rows(), many.learned_rows()), (8, 308));
    let outcome = learned(&options, many, &rows(200, 9), &folder);
    let both = accuracy(&outcome);
    assert!(both > alone + 0.1 && both > 0.85, "{alone} {both}");
    let training = &outcome.cut.card().training;
    assert_eq!((&training["rows"], &training["unlabelled_rows"]), (&8.into(), &300.into()));
    assert_eq!(training["steps"], 6 * 39);
    let fingerprint = blake3::hash(&teacher.cut.to_bytes()).to_string();
    assert_eq!(training["teacher"], "topic");
    assert_eq!(training["teacher_fingerprint"], fingerprint);
}

#[test]
fn sets_and_numbers_have_teachers_too() {
    let (_guard, folder) = place();
    let options = TrainOptions { head_lr: 5e-3, ..options(Method::Full) };
    let score = |outcome: tune::Outcome| outcome.evaluation.unwrap().metrics.primary.value.unwrap();
    let sets = teacher(&folder, labelled(400));
    let few = labelled(400).select(&(0..12).collect::<Vec<_>>());
    let train = taught(&sets, few, Some(rows(300, 3)));
    let found = score(learned(&options, train, &labelled(200), &folder));
    assert!(found > 0.7, "{found}");
    let of_numbers = teacher(&folder, numbers(400, 1, 20.0, 300.0));
    let train = taught(&of_numbers, numbers(12, 2, 20.0, 300.0), Some(rows(300, 3)));
    let found = score(learned(&options, train, &numbers(200, 9, 20.0, 300.0), &folder));
    assert!(found > 0.8, "{found}");
}

#[test]
fn a_teachers_labels_are_mapped_by_name() {
    let (_guard, folder) = place();
    let teacher = teacher(&folder, rows(400, 1));
    let said = |train: Dataset| taught(&teacher, train, None).taught.unwrap().logits;
    let plain = said(rows(20, 2));
    let mut turned = rows(20, 2);
    turned.labels.reverse();
    let turned = said(turned);
    let swapped: Vec<f32> = plain.chunks_exact(2).flat_map(|row| [row[1], row[0]]).collect();
    assert_eq!(turned, swapped);
    let split = taught(&teacher, rows(20, 2), Some(rows(5, 3)));
    let some = split.select(&[3, 0, 19]);
    let want = [&plain[6..8], &plain[0..2], &plain[38..40]].concat();
    assert_eq!((some.taught.as_ref().unwrap().logits.clone(), some.learned_rows()), (want, 8));
}

#[test]
fn a_models_folder_teaches_what_its_cut_does() {
    let (_guard, folder) = place();
    base(&folder);
    for pooling in [Pooling::Cls, Pooling::Mean] {
        let own = Base::open(&folder, Some(pooling)).unwrap();
        let (options, storage) = (options(Method::Bias), storage(&folder));
        let run = tune::train(&own, rows(50, 1), None, None, &options, &storage, &mut |_| true);
        let teacher = TaskModel::new(own.clone(), run.unwrap().cut).unwrap();
        let out = folder.join(pooling.name());
        linocut::export::write(&teacher, &out, linocut::export::Format::Transformers).unwrap();
        let model = pack::teacher(&out, &own, false).unwrap();
        assert!(!model.cut.card().pairs);
        let [a, b] = [teacher, model].map(|t| taught(&t, rows(20, 2), None).taught.unwrap());
        assert_eq!(a.logits, b.logits, "{}", pooling.name());
    }
}

#[test]
fn a_taught_run_resumes_to_the_same_cut() {
    let (_guard, folder) = place();
    let one = teacher(&folder, rows(400, 1));
    let options = TrainOptions { early_stop: Some(0.2), ..options(Method::mask()) };
    let train = |teacher: Option<&TaskModel>, storage: &Storage, stop: usize| {
        let observe = &mut |event| !matches!(event, Event::Step { step, .. } if step == stop);
        let train = match teacher {
            Some(teacher) => taught(teacher, rows(60, 2), Some(rows(40, 3))),
            None => rows(60, 2),
        };
        tune::train(&base(&folder), train, None, None, &options, storage, observe)
    };
    let whole = train(Some(&one), &storage(&folder), 0).unwrap().cut;
    let held_out = whole.card().training["held_out_rows"].as_u64().unwrap();
    assert!((8..=16).contains(&held_out), "of the 60 with labels: {held_out}");
    let mut kept = Storage { state: Some(folder.join("t.state")), ..storage(&folder) };
    let stopped = train(Some(&one), &kept, 37).err().unwrap();
    assert_eq!(stopped.kind(), ErrorKind::Interrupted);
    kept.resume = true;
    let other = teacher(&folder, rows(300, 4));
    for another in [None, Some(&other)] {
        let error = train(another, &kept, 0).err().unwrap().to_string();
        assert!(error.contains("the answers of the teacher differ"), "{error}");
    }
    let resumed = train(Some(&one), &kept, 0).unwrap().cut;
    assert_eq!(resumed.to_bytes(), whole.to_bytes());
}

#[test]
fn who_cannot_teach_is_refused() {
    let (_guard, folder) = place();
    let teacher = teacher(&folder, rows(100, 1));
    let refused = |train: Dataset, more: Option<tune::Unlabelled>| {
        let never = &mut |_| panic!("nothing is to be computed");
        let error = tune::teach(&teacher, train, more, &mut vec![], never).err().unwrap();
        (error.kind(), error.message().to_string())
    };
    let mut more_labels = rows(20, 2);
    more_labels.labels.push("art".into());
    let mut other_labels = rows(20, 2);
    other_labels.labels[0] = "meals".into();
    let pairs = Dataset { pairs: Some(rows(20, 3).texts), ..rows(20, 2) };
    for (train, said) in [
        (more_labels, "it does not know \"art\""),
        (other_labels, "it does not know \"meals\"; it knows \"food\", too"),
        (labelled(20), "is single-label, the training rows are multi-label"),
        (numbers(20, 1, 1.0, 0.0), "the training rows are regression"),
        (pairs, "takes one text, found a pair of texts"),
    ] {
        let (kind, message) = refused(train, None);
        assert!(kind == ErrorKind::Data && message.contains(said), "{message}");
    }
    let more = (rows(3, 3).texts, Some(rows(3, 4).texts));
    let (_, message) = refused(rows(20, 2), Some(more));
    assert!(message.contains("without labels are pairs of texts, those with labels single texts"));

    let said = Choices { objective: Some(Objective::Pairs), ..Choices::default() };
    assert!(said.taught().unwrap_err().message().contains("`distill`"));
    assert_eq!(Choices::default().taught().unwrap().objective, Some(Objective::Labels));
    let train = |data: Dataset| {
        let options = options(Method::Head).by(Objective::Pairs, 20);
        let storage = storage(&folder);
        let run = tune::train(&base(&folder), data, None, None, &options, &storage, &mut |_| true);
        run.err().unwrap().message().to_string()
    };
    assert!(train(taught(&teacher, rows(20, 2), None)).contains("`distill`"));
    let mut few = taught(&teacher, rows(20, 2), None);
    few.taught.as_mut().unwrap().logits.pop();
    let options = options(Method::Head);
    let error = options.check_for(&few).unwrap_err();
    assert_eq!(error.message(), "39 logits of a teacher, expected 40: 2 of each row");
}

/// Pairs of texts and more without labels, on frozen layers.
#[test]
fn pairs_are_taught_on_frozen_layers() {
    let (_guard, folder) = place();
    let paired = |count, seed| {
        let first = rows(count, seed);
        let Targets::Classes(classes) = &first.targets else { unreachable!() };
        let second = rows(count, seed + 50);
        let Targets::Classes(others) = &second.targets else { unreachable!() };
        let same = classes.iter().zip(others).map(|(a, b)| u32::from(a == b)).collect();
        let labels = vec!["no".into(), "yes".into()];
        Dataset { labels, targets: Targets::Classes(same), pairs: Some(second.texts), ..first }
    };
    let teacher = teacher(&folder, paired(200, 1));
    let train = taught(&teacher, paired(30, 2), Some(paired(50, 3)));
    let outcome = learned(&options(Method::Head), train, &paired(50, 4), &folder);
    let cut: &Cut = &outcome.cut;
    assert!(cut.card().pairs && cut.card().training["steps"] == 6 * 10);
}
