//! Few rows: pairs of them, and a head found outright.

use super::{accuracy, check_probes, options, place, rows, run, storage};
use linocut::ErrorKind;
use linocut::data::{Problem, Targets};
use linocut::tune::{self, Choices, Event, Method, Objective, Storage, TrainOptions};

/// 16 rows of each topic, or so.
const ROWS: usize = 32;

fn by_pairs(method: Method) -> TrainOptions {
    TrainOptions { mask_lr: 0.3, ..options(method).by(Objective::Pairs, ROWS) }
}

#[test]
fn few_rows_teach_more_in_pairs_than_one_by_one() {
    let (_guard, folder) = place();
    let learned = |options: &TrainOptions| {
        let outcome = run(options, &storage(&folder), rows(ROWS, 1), &folder);
        let mut base = super::base(&folder);
        drop(outcome.cut.apply(&mut base.weights).unwrap());
        check_probes(&base, &outcome.cut);
        (accuracy(&outcome), outcome.cut)
    };
    let (pairs, cut) = learned(&by_pairs(Method::mask()));
    let (labels, _) = learned(&TrainOptions { mask_lr: 0.3, ..options(Method::mask()) });
    let (head, frozen) = learned(&by_pairs(Method::Head));
    assert!(pairs > labels && pairs > 0.85, "{pairs} {labels} {head}");
    assert!(
        cut.card().tensors.values().all(|note| note.zeros.is_some()) && !cut.edits().is_empty()
    );
    let training = &cut.card().training;
    assert_eq!((&training["objective"], &training["steps"]), (&"pairs".into(), &100.into()));
    // Nothing but the head, in no step.
    assert!(frozen.edits().is_empty() && frozen.card().training["steps"] == 0);
    assert!(frozen.card().training.get("epochs").is_none());
}

#[test]
fn a_run_of_pairs_resumes_to_the_same_cut() {
    let (_guard, folder) = place();
    let options = by_pairs(Method::mask());
    let storage = storage(&folder);
    let state = folder.join("run.state");
    let train = |storage: &Storage, stop: usize| {
        let observe = &mut |event| !matches!(event, Event::Step { step, .. } if step == stop);
        tune::train(&super::base(&folder), rows(ROWS, 1), None, None, &options, storage, observe)
    };
    let whole = train(&storage, 0).unwrap().cut;
    let kept = Storage { state: Some(state.clone()), ..storage.clone() };
    assert_eq!(train(&kept, 37).err().unwrap().kind(), ErrorKind::Interrupted);
    let resumed = train(&Storage { resume: true, ..kept }, 0).unwrap().cut;
    assert!(whole.edits() == resumed.edits() && whole.head() == resumed.head());
}

#[test]
fn few_rows_are_learned_in_pairs_unless_something_is_said_of_labels() {
    let (_guard, folder) = place();
    let base = super::base(&folder);
    let objective = |choices: Choices, problem, rows| {
        choices.options(Method::mask(), (problem, rows), base.config()).objective
    };
    let one = Problem::SingleLabel;
    assert_eq!(objective(Choices::default(), one, Objective::FEW), Objective::Pairs);
    assert_eq!(objective(Choices::default(), one, Objective::FEW + 1), Objective::Labels);
    assert_eq!(objective(Choices::default(), Problem::MultiLabel, 8), Objective::Labels);
    let said = Choices { epochs: Some(3), ..Choices::default() };
    assert_eq!(objective(said.clone(), one, 8), Objective::Labels);
    let both = Choices { objective: Some(Objective::Pairs), ..said };
    assert_eq!(objective(both, one, 5000), Objective::Pairs);
}

#[test]
fn pairs_are_refused_where_they_mean_nothing() {
    let (_guard, folder) = place();
    let mut several = rows(ROWS, 1);
    several.problem = Problem::MultiLabel;
    let Targets::Classes(classes) = several.targets else { unreachable!() };
    several.targets = Targets::MultiHot(classes.into_iter().map(|class| vec![class]).collect());
    let refused = |train, options: &TrainOptions| {
        let storage = storage(&folder);
        let run =
            tune::train(&super::base(&folder), train, None, None, options, &storage, &mut |_| true);
        let error = run.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Config);
        error.message().to_string()
    };
    let options = by_pairs(Method::mask());
    assert!(refused(several, &options).contains("one label each"));
    let early = TrainOptions { early_stop: Some(0.1), ..options };
    assert!(refused(rows(ROWS, 1), &early).contains("`early_stop` has no meaning"));
}
