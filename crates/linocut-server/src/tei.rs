//! `POST /predict`: as text-embeddings-inference answers it, one task a request.

use std::sync::Arc;

use axum::Extension;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State as Shared};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;
use linocut::bank::Answer;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};

use crate::answer::Untaken;
use crate::batch::Timing;
use crate::body::JsonBody;
use crate::error::{Kind, Problem};
use crate::input::{Input, check_count, check_known, seen};
use crate::keys::{Access, Right};
use crate::openapi;
use crate::predict::{LabelScore, check_cut, ranked, scores, senseless};
use crate::state::State;

/// The header that names the task, where the query does not.
const TASK_HEADER: &str = "x-linocut-task";

/// The header that names the inputs that were longer than the task reads, by their numbers from 0.
const CUT_HEADER: &str = "x-linocut-text-cut";

/// A body as text-embeddings-inference takes it; fields that it knows and this server does not need
/// are ignored.
#[derive(Debug, Deserialize, ToSchema)]
pub(crate) struct TeiBody {
    /// A text, a list of one text or of a pair, or a list of such lists.
    #[schema(schema_with = openapi::tei_inputs)]
    inputs: Value,
    /// Logits in the place of probabilities.
    #[serde(default)]
    raw_scores: bool,
    /// Whether a text longer than the task reads is cut; else it is an error.
    truncate: Option<bool>,
}

/// Which task is asked.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(crate) struct TaskQuery {
    /// Its name; the header `x-linocut-task` may say it too, and a server with one task needs none.
    task: Option<String>,
}

/// Labels with their scores, the highest first; for a list of inputs a list of such.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
pub(crate) enum TeiAnswer {
    /// Of one input.
    One(Vec<LabelScore>),
    /// Of several.
    Many(Vec<Vec<LabelScore>>),
}

/// Answers one task as text-embeddings-inference would.
#[utoipa::path(
    post,
    path = "/predict",
    operation_id = "predict_one_task",
    tag = "predict",
    params(
        TaskQuery,
        ("x-linocut-task" = Option<String>, Header, description = "The task, where the query does not say"),
    ),
    request_body = TeiBody,
    responses(
        (
            status = 200, description = "Labels with scores", body = TeiAnswer,
            headers(
                ("server-timing" = String, description = "Milliseconds in the queue and in compute"),
                ("x-linocut-text-cut" = String, description = "Numbers of the inputs, from 0, that were longer than the task reads, so that their end was not read; left out where there is none"),
            ),
        ),
        Problem
    )
)]
pub(crate) async fn predict(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    query: Result<Query<TaskQuery>, QueryRejection>,
    headers: HeaderMap,
    JsonBody(body): JsonBody<TeiBody>,
) -> Result<(Timing, Response), Problem> {
    let Query(query) = query?;
    let task = [task(&state, &access, query.task, &headers)?];
    let tasks = state.source.find(&task).await?;
    let limits = &state.limits;
    let (inputs, many) = match body.inputs {
        Value::Array(values) if !values.is_empty() && values.iter().all(Value::is_array) => {
            check_count(values.len(), limits)?;
            let input = |(i, value)| Input::parse(&format!("inputs[{i}]"), value, 1, limits);
            (values.into_iter().enumerate().map(input).collect::<Result<Vec<_>, _>>()?, true)
        }
        single => (vec![Input::parse("inputs", single, 1, limits)?], false),
    };
    let room = Untaken::take(&state, &tasks, inputs.len(), None)?;
    let (answers, timing) = state.queue.predict(access.name(), inputs, tasks).await?;
    state.metrics.answers(&answers);
    check_cut(&answers, body.truncate.unwrap_or(limits.truncate))?;
    let cut = answers.iter().enumerate().filter(|(_, answers)| answers.iter().any(|a| a.text_cut));
    let cut: Vec<String> = cut.map(|(input, _)| input.to_string()).collect();
    let answer = |answer: &Answer| -> Result<Vec<LabelScore>, Problem> {
        let scores = scores(answer).map_err(senseless)?;
        Ok(ranked(answer, if body.raw_scores { &answer.logits } else { &scores }, None))
    };
    let answers = answers.iter().flatten().map(answer).collect::<Result<Vec<_>, _>>()?;
    let answer = match many {
        true => TeiAnswer::Many(answers),
        false => TeiAnswer::One(answers.into_iter().flatten().collect()),
    };
    let mut response = room.fill(&answer);
    if let (false, Ok(cut)) = (cut.is_empty(), HeaderValue::try_from(cut.join(","))) {
        response.headers_mut().insert(CUT_HEADER, cut);
    }
    Ok((timing, response))
}

/// The task asked: by query, by header, or the only one.
fn task(
    state: &State,
    access: &Access,
    query: Option<String>,
    headers: &HeaderMap,
) -> Result<String, Problem> {
    access.check_right(Right::Predict)?;
    let header = headers.get(TASK_HEADER).map(|value| {
        let text = value.to_str().map(String::from);
        text.map_err(|_| Problem::new(Kind::Validation, format!("{TASK_HEADER}: not plain text")))
    });
    if let Some(name) = query.map(Ok).or(header).transpose()? {
        access.check(Right::Predict, &name)?;
        check_known(state, access, &name)?;
        return Ok(name);
    }
    match seen(state, access).as_slice() {
        [(only, _)] => Ok(only.clone()),
        tasks => {
            let message = format!("which of {} tasks is asked?", tasks.len());
            Err(Problem::new(Kind::Validation, message)
                .with_hint(format!("/predict?task=NAME, or the header {TASK_HEADER}: NAME")))
        }
    }
}
