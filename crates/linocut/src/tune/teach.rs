//! One task learned from another model's answers (knowledge distillation, Hinton et al. 2015).

use super::evaluate;
use super::metrics::percent;
use crate::cut::{Card, TaskModel};
use crate::data::{Dataset, Problem, Remark, Targets, Taught};
use crate::model::argmax;
use crate::output::first_of;
use crate::{Error, ErrorKind, Result};
use serde_json::json;
use std::sync::Arc;

/// Texts without labels, and their second texts where the task is on pairs.
pub type Unlabelled = (Vec<String>, Option<Vec<String>>);

/// The rows of `train` with what `teacher` says of them, and of `unlabelled` texts beside: [`train`](super::train) then
/// learns from both, as [`Head::loss`](crate::model::Head::loss) says. `remarks` get its score on the rows, and how many texts
/// it read in part; `goes_on` hears how many it has answered, and stops it by `false`.
///
/// # Errors
/// A teacher of another problem or with other labels, whatever their order; pairs of texts beside single ones; what
/// [`TaskModel::logits`] says.
pub fn teach(
    teacher: &TaskModel,
    train: Dataset,
    unlabelled: Option<Unlabelled>,
    remarks: &mut Vec<Remark>,
    goes_on: &mut dyn FnMut(usize) -> bool,
) -> Result<Dataset> {
    let card = teacher.cut.card();
    let order = order(card, &train)?;
    let pairs = train.pairs.is_some();
    let hint = "give a teacher of such rows, or name their columns: `text` and `text_pair`";
    teacher.check_pairs(pairs, "the teacher", hint)?;
    if let Some((_, second)) = &unlabelled
        && second.is_some() != pairs
    {
        let which = |pairs| if pairs { "pairs of texts" } else { "single texts" };
        let message = format!(
            "the rows without labels are {}, those with labels {}",
            which(!pairs),
            which(pairs)
        );
        return Err(
            Error::new(ErrorKind::Data, message).with_hint("give the same columns for both")
        );
    }
    let fingerprint = blake3::hash(&teacher.cut.to_bytes()).to_string();
    // Its logits in the order of our labels, as sure as it was calibrated to be.
    let temperature = card.decision.as_ref().map_or(1.0, |decision| decision.temperature);
    let mut texts_cut = 0;
    let mut answers =
        |texts: &[String], pairs: Option<&[String]>, before: usize| -> Result<Taught> {
            let found = teacher.logits(texts, pairs, |done| goes_on(before + done))?;
            texts_cut += found.texts_cut;
            let of_row = |row: &[f32]| order.iter().map(|&at| row[at]).collect::<Vec<_>>();
            let logits = found.values.chunks_exact(card.outputs).flat_map(of_row);
            let logits = logits.map(|z| (f64::from(z) / temperature) as f32).collect();
            let (teacher, fingerprint) = (card.task.clone(), fingerprint.clone());
            Ok(Taught { teacher, fingerprint, logits, unlabelled: None })
        };
    let mut taught = answers(&train.texts, train.pairs.as_deref(), 0)?;
    let score = evaluate(&train, &taught.logits, None, None)?.metrics.primary;
    remarks.push(Remark::Note(format!(
        "the teacher {:?} has {} {} on the {} training rows",
        card.task,
        score.name.replace('_', " "),
        percent(score.value),
        train.rows()
    )));
    if let Some((texts, second)) = unlabelled {
        let answered = answers(&texts, second.as_deref(), train.rows())?;
        taught.unlabelled = Some(Arc::new(Dataset {
            name: train.name.clone(),
            problem: train.problem,
            labels: train.labels.clone(),
            targets: targets(train.problem, &answered.logits, card.outputs),
            texts,
            pairs: second,
            weights: None,
            taught: Some(answered),
        }));
    }
    if texts_cut > 0 {
        remarks.push(Remark::Note(format!(
            "{texts_cut} texts are longer than the {} that the teacher reads, and were cut for it",
            card.extent()
        )));
    }
    Ok(Dataset { taught: Some(taught), ..train })
}

/// Where each label of `train` stands among the teacher's outputs; of a regression its one number.
fn order(card: &Card, train: &Dataset) -> Result<Vec<usize>> {
    if card.problem != train.problem {
        let message = format!(
            "the teacher {:?} is {}, the training rows are {}",
            card.task,
            json!(card.problem).as_str().unwrap_or_default(),
            json!(train.problem).as_str().unwrap_or_default(),
        );
        return Err(Error::new(ErrorKind::Data, message)
            .with_hint("give a teacher of the same task, or say what the rows are: `problem`"));
    }
    let lacking = |of: &[String], others: &[String]| {
        let lacking = of.iter().filter(|label| !others.contains(label));
        let lacking: Vec<String> = lacking.map(|label| format!("{label:?}")).collect();
        (!lacking.is_empty()).then(|| first_of(&lacking))
    };
    let unknown =
        lacking(&train.labels, &card.labels).map(|labels| format!("it does not know {labels}"));
    let spare =
        lacking(&card.labels, &train.labels).map(|labels| format!("it knows {labels}, too"));
    if unknown.is_some() || spare.is_some() {
        let found = unknown.into_iter().chain(spare).collect::<Vec<_>>().join("; ");
        let message =
            format!("the teacher {:?} has other labels than the training rows: {found}", card.task);
        return Err(Error::new(ErrorKind::Data, message).with_hint(
            "a teacher answers with the same labels, in any order; of labels that no training row has, `labels` or a task.json may \
             list all",
        ));
    }
    match train.problem {
        Problem::Regression => Ok(vec![0]),
        Problem::SingleLabel | Problem::MultiLabel => {
            let place = |label| card.labels.iter().position(|other| other == label);
            Ok(train.labels.iter().filter_map(place).collect())
        }
    }
}

/// What `logits`, `[rows, outputs]`, answer.
fn targets(problem: Problem, logits: &[f32], outputs: usize) -> Targets {
    let rows = logits.chunks_exact(outputs);
    match problem {
        Problem::SingleLabel => Targets::Classes(rows.map(|row| argmax(row) as u32).collect()),
        Problem::MultiLabel => {
            let said =
                |row: &[f32]| (0..outputs as u32).filter(|&i| row[i as usize] > 0.0).collect();
            Targets::MultiHot(rows.map(said).collect())
        }
        Problem::Regression => Targets::Values(logits.to_vec()),
    }
}
