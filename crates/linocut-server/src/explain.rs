//! `POST /v1/explain`: which words of one text moved one task's answer.

use std::sync::Arc;

use axum::Extension;
use axum::extract::State as Shared;
use axum::response::Response;
use linocut::bank::Query;
use linocut::cut::{LeftOut, Word};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;

use crate::answer::described;
use crate::batch::Timing;
use crate::body::JsonBody;
use crate::error::{Kind, Problem};
use crate::input::{Input, Tasks};
use crate::keys::Access;
use crate::openapi;
use crate::state::State;

/// One text, one task, and what is to be explained.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ExplainBody {
    /// A text, or a pair of texts as a list of two.
    #[schema(schema_with = openapi::input)]
    input: Value,
    /// The task's name.
    task: String,
    /// The label whose probability the words change; the most probable one where left out.
    label: Option<String>,
}

/// What each word adds.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ExplainAnswer {
    /// The task's name.
    task: String,
    /// The label whose probability the words change; null for a regression, of which they change the number.
    label: Option<String>,
    /// That probability of the whole text (0 to 1), or the number.
    score: f32,
    /// Tokens read of the text.
    tokens: usize,
    /// Whether the text was longer than the task reads, so that a part was not read.
    text_cut: bool,
    /// The words in their order, those of a second text after those of the first.
    #[schema(value_type = Vec<Object>)]
    words: Vec<Word>,
    /// Words beyond 256 of a text, which were not tried.
    untried: usize,
}

/// Says what each word of a text adds to a task's answer, by leaving it out.
///
/// Each word takes a pass through the model, so that one such request is worked on at a time.
#[utoipa::path(
    post,
    path = "/v1/explain",
    tag = "predict",
    request_body = ExplainBody,
    responses(
        (
            status = 200, description = "Words", body = ExplainAnswer,
            headers(("server-timing" = String, description = "Milliseconds in the queue and in compute")),
        ),
        Problem
    )
)]
pub(crate) async fn explain(
    Shared(state): Shared<Arc<State>>,
    Extension(access): Extension<Arc<Access>>,
    JsonBody(body): JsonBody<ExplainBody>,
) -> Result<(Timing, Response), Problem> {
    let names = Tasks::parse(&json!([body.task]), &state, &access)?;
    let input = Input::parse("input", body.input, 2, &state.limits)?;
    let names = names.names(&state, &access, input.pair.is_some())?;
    let found = state.source.find(&names).await?;
    let task = Arc::clone(&found[0]);
    let card = task.card();
    card.check_pairs(task.name(), input.pair.is_some()).map_err(|e| Problem::of_input("", &e))?;
    let place = Arc::clone(&state.explaining).try_acquire_owned().map_err(|_| {
        let message = "another text is being explained, and they take turns";
        Problem::new(Kind::Overloaded, message).with_hint("try again later")
    })?;
    let (of_bank, of_task) = (Arc::clone(&state), Arc::clone(&task));
    let work = move || {
        let texts = (input.text.as_str(), input.pair.as_deref());
        let (tokenizer, label) = (&of_bank.bank.base().tokenizer, body.label.as_deref());
        (LeftOut::of(of_task.card(), tokenizer, texts, label), place)
    };
    // The place is held to the end of the work, even where nobody waits for it any more.
    let (left_out, _place) = tokio::task::spawn_blocking(work).await.map_err(|error| {
        tracing::error!(%error, "leaving words out broke off");
        Problem::new(Kind::Internal, "leaving words out broke off; see the server's logs")
    })?;
    let left_out = left_out.map_err(|e| Problem::of_input("", &e))?;
    let ask = |sequence: &_| Query::of(Arc::clone(&task), Clone::clone(sequence));
    let queries = left_out.sequences().iter().map(ask).collect();
    let (answers, timing) = state.queue.answer(access.name(), queries).await?;
    let logits: Vec<f32> = answers.into_iter().flatten().flat_map(|answer| answer.logits).collect();
    if let Some(logit) = logits.iter().find(|logit| !logit.is_finite()) {
        return Err(crate::predict::senseless(format!(
            "the task {:?} gives {logit} for this text",
            task.name()
        )));
    }
    let (tokens, text_cut) = left_out.read();
    let found = left_out.explain(card, logits);
    let answer = ExplainAnswer {
        task: task.name().to_string(),
        label: found.label,
        score: found.score,
        tokens,
        text_cut,
        words: found.words,
        untried: found.untried,
    };
    Ok((timing, described(&state, &answer)?))
}
