//! What can go wrong with a request, and the status and `error_type` that say so.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use linocut::ErrorKind;
use serde::Serialize;
use utoipa::openapi::response::{Response as Described, ResponseBuilder};
use utoipa::openapi::{ContentBuilder, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

/// Kinds of refusals and failures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is none that HTTP knows, or broke off.
    BadRequest,
    /// The body is not JSON.
    MalformedJson,
    /// The body is not said to be of the type that this address takes.
    MediaType,
    /// The body is compressed in a way that is not known.
    Encoding,
    /// A field is missing, of the wrong type or out of range.
    Validation,
    /// A text is longer than allowed.
    TextTooLong,
    /// No key, or not a known one.
    Unauthorized,
    /// A key that may not do this.
    Forbidden,
    /// Asked by a name that is not known to be this server's.
    WrongHost,
    /// A page of another site asks.
    CrossOrigin,
    /// No such task.
    UnknownTask,
    /// There is a file of the task, which cannot be served.
    TaskUnavailable,
    /// No such address.
    NotFound,
    /// The address knows other methods.
    MethodNotAllowed,
    /// The body has too many bytes.
    BodyTooLarge,
    /// Too many inputs, or too many answers asked for.
    TooManyInputs,
    /// The answer would have too many bytes.
    AnswerTooLarge,
    /// No memory is left for another task.
    TaskMemory,
    /// An uploaded cut is malformed, altered, or of another base or tokenizer.
    BadCut,
    /// This server changes no tasks.
    ReadOnly,
    /// As many requests are waiting as may.
    Overloaded,
    /// No answer in time.
    Timeout,
    /// The server is stopping.
    ShuttingDown,
    /// The server waits for another to end.
    StandingBy,
    /// The cuts folder cannot be written.
    Storage,
    /// The server's own fault.
    Internal,
}

impl Kind {
    const ALL: [Kind; 26] = [
        Kind::BadRequest,
        Kind::MalformedJson,
        Kind::MediaType,
        Kind::Encoding,
        Kind::Validation,
        Kind::TextTooLong,
        Kind::Unauthorized,
        Kind::Forbidden,
        Kind::WrongHost,
        Kind::CrossOrigin,
        Kind::UnknownTask,
        Kind::TaskUnavailable,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::BodyTooLarge,
        Kind::TooManyInputs,
        Kind::AnswerTooLarge,
        Kind::TaskMemory,
        Kind::BadCut,
        Kind::ReadOnly,
        Kind::Overloaded,
        Kind::Timeout,
        Kind::ShuttingDown,
        Kind::StandingBy,
        Kind::Storage,
        Kind::Internal,
    ];

    /// The one table: a kind's HTTP status and its name, which never changes.
    fn status(self) -> (StatusCode, &'static str) {
        match self {
            Kind::BadRequest => (StatusCode::BAD_REQUEST, "bad_request"),
            Kind::MalformedJson => (StatusCode::BAD_REQUEST, "malformed_json"),
            Kind::MediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type"),
            Kind::Encoding => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_encoding"),
            Kind::Validation => (StatusCode::UNPROCESSABLE_ENTITY, "validation"),
            Kind::TextTooLong => (StatusCode::UNPROCESSABLE_ENTITY, "text_too_long"),
            Kind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Kind::WrongHost => (StatusCode::MISDIRECTED_REQUEST, "wrong_host"),
            Kind::CrossOrigin => (StatusCode::FORBIDDEN, "cross_origin"),
            Kind::UnknownTask => (StatusCode::NOT_FOUND, "unknown_task"),
            Kind::TaskUnavailable => (StatusCode::SERVICE_UNAVAILABLE, "task_unavailable"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not_found"),
            Kind::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed"),
            Kind::BodyTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "body_too_large"),
            Kind::TooManyInputs => (StatusCode::PAYLOAD_TOO_LARGE, "too_many_inputs"),
            Kind::AnswerTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "answer_too_large"),
            Kind::TaskMemory => (StatusCode::INSUFFICIENT_STORAGE, "task_memory"),
            Kind::BadCut => (StatusCode::UNPROCESSABLE_ENTITY, "bad_cut"),
            Kind::ReadOnly => (StatusCode::FORBIDDEN, "read_only"),
            Kind::Overloaded => (StatusCode::TOO_MANY_REQUESTS, "overloaded"),
            Kind::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "timeout"),
            Kind::ShuttingDown => (StatusCode::SERVICE_UNAVAILABLE, "shutting_down"),
            Kind::StandingBy => (StatusCode::SERVICE_UNAVAILABLE, "standing_by"),
            Kind::Storage => (StatusCode::INTERNAL_SERVER_ERROR, "storage"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        }
    }

    /// Seconds after which trying again may help.
    fn retry_after(self) -> Option<u32> {
        match self {
            Kind::Overloaded | Kind::Timeout => Some(1),
            Kind::ShuttingDown | Kind::StandingBy => Some(5),
            _ => None,
        }
    }
}

/// The `error_type` of an error, beside the response for logs and counters.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ErrorType(pub(crate) &'static str);

/// An answer that is an error.
#[derive(Debug)]
pub(crate) struct Problem {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

/// An error as clients see it.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ErrorBody {
    /// What was found and what was expected.
    error: String,
    /// A name of the kind of error that never changes.
    #[schema(value_type = String)]
    error_type: &'static str,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// An error of the library, as `kind`, with `place` before its message.
    pub(crate) fn of(kind: Kind, place: &str, error: &linocut::Error) -> Self {
        let message = format!("{place}{}", error.message());
        Self { kind, message, hint: error.hint().map(String::from) }
    }

    /// The error of a text that could not be asked.
    pub(crate) fn of_input(place: &str, error: &linocut::Error) -> Self {
        let kind = match error.kind() {
            // Of a base that has no rows for pairs, say.
            ErrorKind::Data | ErrorKind::Config | ErrorKind::Base => Kind::Validation,
            _ => Kind::Internal,
        };
        Self::of(kind, place, error)
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::new(Kind::Validation, format!("the query: {}", rejection.body_text()))
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::new(Kind::Validation, format!("the address: {}", rejection.body_text()))
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let (status, error_type) = self.kind.status();
        let hint = self.hint.as_deref().map(bounded);
        let body = Json(ErrorBody { error: bounded(&self.message), error_type, hint });
        let mut response = (status, body).into_response();
        response.extensions_mut().insert(ErrorType(error_type));
        if self.kind == Kind::Unauthorized {
            // HTTP wants the scheme named.
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if self.kind == Kind::Encoding {
            // As RFC 9110 has it: which would do.
            response
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Some(seconds) = self.kind.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// A message that quotes what a client sent, or a file holds: nothing in it moves a terminal's
/// cursor or turns its text around, and of a long one its middle is left out.
pub(crate) fn bounded(message: &str) -> String {
    const MOST: usize = 1000;
    let length = message.chars().count();
    let (start, end) = if length <= MOST { (length, 0) } else { (MOST * 2 / 3, MOST / 3) };
    let mut shown = String::with_capacity(message.len().min(2 * MOST));
    for (i, c) in message.chars().enumerate() {
        if i == start {
            shown.push_str(" […] ");
        }
        if i >= start && i < length - end {
            continue;
        }
        let plain = matches!(c, '\'' | '"' | '\\') || c.escape_debug().len() == 1;
        if plain { shown.push(c) } else { shown.extend(c.escape_debug()) }
    }
    shown
}

/// As the description of the interface has it: any address may give any of them.
impl IntoResponses for Problem {
    fn responses() -> BTreeMap<String, RefOr<Described>> {
        let body = Ref::from_schema_name(ErrorBody::name());
        let content = ContentBuilder::new().schema(Some(body)).build();
        Kind::ALL
            .iter()
            .map(|kind| {
                let (status, _) = kind.status();
                let names: Vec<&str> = Kind::ALL
                    .iter()
                    .map(|kind| kind.status())
                    .filter(|(other, _)| *other == status)
                    .map(|(_, name)| name)
                    .collect();
                let response = ResponseBuilder::new()
                    .description(names.join(", "))
                    .content("application/json", content.clone());
                (status.as_str().to_string(), response.build().into())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::bounded;

    #[test]
    fn messages_are_bounded_and_of_printable_characters() {
        assert_eq!(bounded("the task \"a\\b\" is 'né'"), "the task \"a\\b\" is 'né'");
        assert_eq!(bounded("a\u{1b}[2J\u{202e}b\r\nc"), "a\\u{1b}[2J\\u{202e}b\\r\\nc");
        assert_eq!(bounded(&"x".repeat(1000)).len(), 1000);
        let long = format!("field `{}`, expected `inputs`", "ü".repeat(1_000_000));
        let shown = bounded(&long);
        assert!(shown.starts_with("field `ü") && shown.ends_with("ü`, expected `inputs`"));
        assert!(shown.contains("ü […] ü") && shown.chars().count() < 1010, "{shown}");
    }
}
