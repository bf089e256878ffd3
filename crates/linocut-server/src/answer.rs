//! Answers as bytes, within bounds of how many there may be.

use std::sync::Arc;

use axum::body::Bytes;
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use linocut::bank::Task;
use linocut::data::Problem as TaskKind;
use serde::Serialize;
use tokio::sync::OwnedSemaphorePermit;

use crate::error::{Kind, Problem};
use crate::state::State;

/// Bytes of an answer up to which it takes none of the room: connections bound their number.
const SMALL: usize = 64 << 10;
/// Bytes of a label and its score beside the label's text.
const SCORE: usize = 40;
/// Bytes of a task's answer beside its name and labels.
const ANSWER: usize = 128;

/// Room for an answer from before it is computed until its client has taken it.
pub(crate) struct Untaken {
    _place: Option<OwnedSemaphorePermit>,
}

impl Untaken {
    /// For the answers of `tasks` to so many inputs, each with at most `top` scores.
    ///
    /// # Errors
    /// If they may be larger than an answer may be, or others that are not taken leave no room.
    pub(crate) fn take(
        state: &State,
        tasks: &[Arc<Task>],
        inputs: usize,
        top: Option<usize>,
    ) -> Result<Self, Problem> {
        let one: usize = tasks.iter().map(|task| most_bytes(task, top)).sum();
        let (bytes, most) = (one.saturating_mul(inputs), state.limits.answer_bytes);
        if bytes > most {
            let message = format!("the answer may have {bytes} bytes, expected at most {most}");
            let hint = "ask for fewer scores (\"top_k\" of /v1/predict), inputs or tasks at a time";
            return Err(Problem::new(Kind::AnswerTooLarge, message).with_hint(hint));
        }
        Self::of(state, bytes)
    }

    /// For so many bytes.
    fn of(state: &State, bytes: usize) -> Result<Self, Problem> {
        if bytes <= SMALL {
            return Ok(Self { _place: None });
        }
        let most = state.limits.untaken_bytes;
        if bytes > most {
            let message = format!("the answer has {bytes} bytes, and there is room for {most}");
            return Err(Problem::new(Kind::AnswerTooLarge, message));
        }
        let kib = u32::try_from(bytes.div_ceil(1024)).unwrap_or(u32::MAX);
        let place = Arc::clone(&state.untaken).try_acquire_many_owned(kib).map_err(|_| {
            let message = "large answers that their clients have not taken fill their room";
            Problem::new(Kind::Overloaded, message)
                .with_hint("try again later, or ask for less at a time")
        })?;
        Ok(Self { _place: Some(place) })
    }

    /// The answer, which keeps the room until it is sent.
    pub(crate) fn fill(self, answer: &impl Serialize) -> Response {
        match json(answer) {
            Ok(bytes) => self.hold(bytes),
            Err(problem) => problem.into_response(),
        }
    }

    fn hold(self, bytes: Vec<u8>) -> Response {
        let json = HeaderValue::from_static("application/json");
        let bytes = Bytes::from_owner(Held { bytes, _room: self });
        ([(header::CONTENT_TYPE, json)], bytes).into_response()
    }
}

/// An answer whose size shows only when it is there: what a server tells of its tasks.
///
/// # Errors
/// If others that are not taken leave no room for it.
pub(crate) fn described(state: &State, answer: &impl Serialize) -> Result<Response, Problem> {
    let bytes = json(answer)?;
    Ok(Untaken::of(state, bytes.len())?.hold(bytes))
}

/// A file whose bytes are held until they are sent.
///
/// # Errors
/// If others that are not taken leave no room for it.
pub(crate) fn file(state: &State, bytes: Vec<u8>) -> Result<Response, Problem> {
    let mut response = Untaken::of(state, bytes.len())?.hold(bytes);
    let octets = HeaderValue::from_static("application/octet-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, octets);
    Ok(response)
}

fn json(answer: &impl Serialize) -> Result<Vec<u8>, Problem> {
    serde_json::to_vec(answer).map_err(|e| Problem::new(Kind::Internal, format!("the answer: {e}")))
}

struct Held {
    bytes: Vec<u8>,
    _room: Untaken,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// Most bytes that a task's answer to one input has as JSON.
fn most_bytes(task: &Task, top: Option<usize>) -> usize {
    let card = task.card();
    let lengths = || card.labels.iter().map(|label| SCORE + json_bytes(label));
    let (all, longest) = (lengths().sum::<usize>(), lengths().max().unwrap_or(0));
    let scores = top.map_or(all, |top| all.min(longest.saturating_mul(top)));
    let chosen = match card.problem {
        TaskKind::SingleLabel => longest,
        TaskKind::MultiLabel => all,
        TaskKind::Regression => SCORE,
    };
    ANSWER + json_bytes(task.name()) + chosen + scores
}

/// Bytes of a text in JSON, without its quotes.
fn json_bytes(text: &str) -> usize {
    let more = |b: u8| match b {
        b'"' | b'\\' => 1,
        0..0x20 => 5,
        _ => 0,
    };
    text.len() + text.bytes().map(more).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::json_bytes;

    #[test]
    fn no_text_has_more_bytes_in_json_than_said() {
        for text in ["", "plain", "a\"b\\c\n\u{1}\u{7f}", "ü漢🙂", "\u{2028}"] {
            let found = serde_json::to_string(text).unwrap().len() - 2;
            assert!(found <= json_bytes(text), "{text:?}: {found}");
        }
        assert_eq!((json_bytes("plain"), json_bytes("\"")), (5, 2));
    }
}
