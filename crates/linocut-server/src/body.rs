//! Reading request bodies, with this server's errors.

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::error::{Kind, Problem};

/// A body of JSON.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A body of bytes, read whole.
pub(crate) struct RawBody(pub(crate) Bytes);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let found = request.headers().get(header::CONTENT_TYPE);
        let found = found.and_then(|v| v.to_str().ok()).unwrap_or_default();
        let media = found.split(';').next().unwrap_or_default().trim();
        if !media.eq_ignore_ascii_case("application/json") {
            let message = format!("the content type is {found:?}, expected application/json");
            return Err(Problem::new(Kind::MediaType, message)
                .with_hint("curl -H 'content-type: application/json'"));
        }
        let RawBody(bytes) = RawBody::from_request(request, state).await?;
        // A derived type would take its fields from a list, too.
        if bytes.iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'[') {
            let message = "the body: found a list, expected an object";
            return Err(Problem::new(Kind::Validation, message));
        }
        serde_json::from_slice(&bytes).map(Self).map_err(|e| match e.classify() {
            Category::Data => Problem::new(Kind::Validation, format!("the body: {e}")),
            _ => Problem::new(Kind::MalformedJson, format!("the body is not JSON: {e}")),
        })
    }
}

impl<S: Send + Sync> FromRequest<S> for RawBody {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let said = request.body().size_hint().exact();
        Bytes::from_request(request, state).await.map(Self).map_err(|rejection| {
            let text = rejection.body_text();
            if rejection.into_response().status() != StatusCode::PAYLOAD_TOO_LARGE {
                return Problem::new(Kind::Validation, format!("the body broke off: {text}"));
            }
            let message = match said {
                Some(bytes) => format!("the body has {bytes} bytes, more than allowed"),
                None => "the body has more bytes than allowed".to_string(),
            };
            Problem::new(Kind::BodyTooLarge, message).with_hint("see the limits at /info")
        })
    }
}
