//! `POST /v1/predict`: some texts, each through some tasks.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use linocut::bank::Answer;
use linocut::cut::{Decision, answered};
use linocut::data::Problem as TaskKind;
use linocut::model::argmax;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use crate::answer::Untaken;
use crate::batch::Timing;
use crate::body::JsonBody;
use crate::error::{Kind, Problem};
use crate::input::{Input, Tasks, check_count};
use crate::keys::Access;
use crate::openapi;
use crate::state::{Limits, State};

/// Some texts and the tasks asked of each.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PredictBody {
    /// A text, a pair of texts as a list of two, or a list of such inputs. A list of two texts is a
    /// pair where all tasks asked take pairs, and else two inputs.
    #[schema(schema_with = openapi::inputs)]
    inputs: Value,
    /// Names of tasks, or "all": every task that takes such inputs (single texts or pairs).
    #[schema(schema_with = openapi::tasks)]
    tasks: Value,
    /// Most scores of an answer, the highest first; all where left out.
    #[schema(minimum = 1)]
    top_k: Option<usize>,
    /// Whether a text longer than a task reads is cut, which its answers then say; else it is an
    /// error. The server's own setting where left out.
    truncate: Option<bool>,
    /// Least probability of a label that is answered, in the place of the tasks' own thresholds.
    #[schema(minimum = 0, maximum = 1)]
    threshold: Option<f64>,
}

/// Answers to a request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct PredictAnswer {
    /// The numbers that products were made of: "f32" or "int8".
    dtype: &'static str,
    /// For every input, in their order.
    results: Vec<InputAnswer>,
}

/// Answers to one input.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct InputAnswer {
    /// Of every task, in the order asked; by name for "all".
    answers: Vec<TaskAnswer>,
}

/// What one task says of one input.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskAnswer {
    /// The task's name.
    task: String,
    /// Tokens read.
    tokens: usize,
    /// Whether the text was longer than the task reads, so that a part was not read.
    text_cut: bool,
    /// What is predicted.
    #[serde(flatten)]
    prediction: Prediction,
}

/// A prediction, by the kind of task.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(crate) enum Prediction {
    /// Exactly one label: probabilities by softmax.
    SingleLabel {
        /// The most probable label; null where the task is not sure enough to answer.
        label: Option<String>,
        /// Whether that is so; left out where it answers.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        abstained: bool,
        /// The probability of the most probable label.
        score: f32,
        /// Labels with their probabilities, the highest first.
        scores: Vec<LabelScore>,
    },
    /// Any number of labels: a probability for each by sigmoid.
    MultiLabel {
        /// The labels that are answered (more probable than not, unless the task has thresholds of its own), the
        /// highest first.
        labels: Vec<String>,
        /// Labels with their probabilities, the highest first.
        scores: Vec<LabelScore>,
    },
    /// A number.
    Regression {
        /// The number.
        value: f32,
    },
    /// None: what the task computes of this text is no number. Other answers are not concerned; where
    /// there is no other, the request is an error.
    None {
        /// Why.
        error: String,
    },
}

/// A label and its score.
#[derive(Debug, Clone, PartialEq, Serialize, ToSchema)]
pub(crate) struct LabelScore {
    /// The label.
    pub(crate) label: String,
    /// Its probability, 0 to 1.
    pub(crate) score: f32,
}

/// Answers some texts with some tasks.
#[utoipa::path(
    post,
    path = "/v1/predict",
    tag = "predict",
    request_body = PredictBody,
    responses(
        (
            status = 200, description = "Answers", body = PredictAnswer,
            headers(("server-timing" = String, description = "Milliseconds in the queue and in compute")),
        ),
        Problem
    )
)]
pub(crate) async fn predict(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    JsonBody(body): JsonBody<PredictBody>,
) -> Result<(Timing, Response), Problem> {
    if body.top_k == Some(0) {
        return Err(Problem::new(Kind::Validation, "top_k is 0, expected at least 1"));
    }
    if let Some(threshold) = body.threshold.filter(|least| !(0.0..=1.0).contains(least)) {
        let message = format!("threshold is {threshold}, expected 0 to 1");
        return Err(Problem::new(Kind::Validation, message));
    }
    let limits = &state.limits;
    let tasks = Tasks::parse(&body.tasks, &state, &access)?;
    let take_pairs = || tasks.take_pairs(&state, &access);
    let inputs = parse_inputs(body.inputs, take_pairs, limits)?;
    let tasks = tasks.names(&state, &access, inputs.iter().all(|input| input.pair.is_some()))?;
    let answers = inputs.len() * tasks.len();
    if answers > limits.answers {
        let message = format!(
            "{} inputs for {} tasks are {answers} answers, expected at most {} a request",
            inputs.len(),
            tasks.len(),
            limits.answers
        );
        return Err(Problem::new(Kind::TooManyInputs, message));
    }
    let tasks = state.source.find(&tasks).await?;
    let room = Untaken::take(&state, &tasks, inputs.len(), body.top_k)?;
    let (answers, timing) = state.queue.predict(access.name(), inputs, tasks).await?;
    state.metrics.answers(&answers);
    check_cut(&answers, body.truncate.unwrap_or(limits.truncate))?;
    check_sense(&answers)?;
    let task = |answer: &Answer| TaskAnswer {
        task: answer.task.name().to_string(),
        tokens: answer.tokens,
        text_cut: answer.text_cut,
        prediction: prediction(answer, body.top_k, body.threshold),
    };
    let input = |answers: Vec<Answer>| InputAnswer { answers: answers.iter().map(task).collect() };
    let results = answers.into_iter().map(input).collect();
    Ok((timing, room.fill(&PredictAnswer { dtype: state.bank.dtype().name(), results })))
}

fn parse_inputs(
    value: Value,
    two_texts_are_a_pair: impl FnOnce() -> bool,
    limits: &Limits,
) -> Result<Vec<Input>, Problem> {
    match value {
        Value::Array(values) => {
            let texts = values.len() == 2 && values.iter().all(Value::is_string);
            if texts && two_texts_are_a_pair() {
                return Ok(vec![Input::parse("inputs", Value::Array(values), 2, limits)?]);
            }
            check_count(values.len(), limits)?;
            let input = |(i, value)| Input::parse(&format!("inputs[{i}]"), value, 2, limits);
            values.into_iter().enumerate().map(input).collect()
        }
        single => Ok(vec![Input::parse("inputs", single, 2, limits)?]),
    }
}

/// Refuses texts that were cut where that is not wanted.
pub(crate) fn check_cut(answers: &[Vec<Answer>], truncate: bool) -> Result<(), Problem> {
    if truncate {
        return Ok(());
    }
    let mut all = answers.iter().enumerate().flat_map(|(i, a)| a.iter().map(move |a| (i, a)));
    match all.find(|(_, answer)| answer.text_cut) {
        None => Ok(()),
        Some((i, answer)) => {
            let (task, most) = (answer.task.name(), answer.task.card().extent());
            let message =
                format!("inputs[{i}] has more than the {most} that the task {task:?} reads");
            Err(Problem::new(Kind::TextTooLong, message)
                .with_hint("\"truncate\": true has only a part of it read, and says so"))
        }
    }
}

/// Labels with their scores, the highest logit first, at most `top`. Regression has one, `LABEL_0`,
/// as Hugging Face names it.
pub(crate) fn ranked(answer: &Answer, scores: &[f32], top: Option<usize>) -> Vec<LabelScore> {
    let labels = &answer.task.card().labels;
    order(&answer.logits, top)
        .into_iter()
        .map(|i| LabelScore {
            label: labels.get(i).cloned().unwrap_or_else(|| format!("LABEL_{i}")),
            score: scores[i],
        })
        .collect()
}

/// Places of the highest logits, the highest first and the first of equals: probabilities near 1
/// may be equal where their logits are not.
fn order(logits: &[f32], top: Option<usize>) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(top.unwrap_or(usize::MAX));
    order
}

/// Probabilities of an answer; of a regression its value.
///
/// # Errors
/// If the task's numbers are no numbers, which JSON could not say.
pub(crate) fn scores(answer: &Answer) -> Result<Vec<f32>, String> {
    let card = answer.task.card();
    match answer.logits.iter().find(|z| !z.is_finite()) {
        Some(logit) => {
            Err(format!("the task {:?} gives {logit} for this text", answer.task.name()))
        }
        None => Ok(card.probabilities(&answer.logits)),
    }
}

/// The error of an answer that is no number.
pub(crate) fn senseless(error: String) -> Problem {
    Problem::new(Kind::Internal, error)
        .with_hint("its cut holds values that are too large for this base")
}

/// Refuses to answer where not one answer makes sense.
fn check_sense(answers: &[Vec<Answer>]) -> Result<(), Problem> {
    let mut all = answers.iter().flatten().map(scores);
    match all.next() {
        Some(Err(error)) if all.all(|scores| scores.is_err()) => Err(senseless(error)),
        _ => Ok(()),
    }
}

fn prediction(answer: &Answer, top: Option<usize>, threshold: Option<f64>) -> Prediction {
    let card = answer.task.card();
    let given = threshold.and_then(|threshold| Decision::at(threshold, card).ok());
    let decision = given.as_ref().or(card.decision.as_ref());
    let answered = answered(decision, card.problem, &answer.logits, card.outputs);
    let scores = match scores(answer) {
        Ok(scores) => scores,
        Err(error) => return Prediction::None { error },
    };
    match card.problem {
        TaskKind::SingleLabel => {
            let best = argmax(&answer.logits);
            let label = answered[best].then(|| card.labels[best].clone());
            let (abstained, score) = (label.is_none(), scores[best]);
            Prediction::SingleLabel {
                label,
                abstained,
                score,
                scores: ranked(answer, &scores, top),
            }
        }
        TaskKind::MultiLabel => {
            let chosen = order(&answer.logits, None).into_iter().filter(|&i| answered[i]);
            let labels = chosen.map(|i| card.labels[i].clone()).collect();
            Prediction::MultiLabel { labels, scores: ranked(answer, &scores, top) }
        }
        TaskKind::Regression => Prediction::Regression { value: answer.logits[0] },
    }
}
