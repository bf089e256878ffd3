//! Reading request bodies, with this server's errors.

use std::io::Read;
use std::sync::Arc;

use axum::body::HttpBody;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use flate2::read::MultiGzDecoder;
use http_body_util::BodyExt;
use serde::de::DeserializeOwned;
use serde_json::error::Category;

use crate::connections::Seat;
use crate::error::{Kind, Problem};
use crate::keys::Access;
use crate::room::{Room, Taken};
use crate::state::State;

/// Part of the largest body that any body counts as, at least.
const SHARE: usize = 64;

/// A body of JSON.
pub(crate) struct JsonBody<T>(pub(crate) T);

/// A body read whole, and the room that it takes.
pub(crate) struct Whole {
    pub(crate) bytes: Vec<u8>,
    taken: Taken,
}

impl<T: DeserializeOwned> FromRequest<Arc<State>> for JsonBody<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &Arc<State>) -> Result<Self, Problem> {
        let found = request.headers().get(header::CONTENT_TYPE);
        let found = found.and_then(|v| v.to_str().ok()).unwrap_or_default();
        if !media_type(found).eq_ignore_ascii_case("application/json") {
            let message = format!("the content type is {found:?}, expected application/json");
            return Err(Problem::new(Kind::MediaType, message)
                .with_hint("curl -H 'content-type: application/json'"));
        }
        let Whole { bytes, .. } =
            Whole::read(request, state.limits.body_bytes, &state.bodies).await?;
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

impl Whole {
    /// Reads a body of at most `limit` bytes, before and after decoding, into `room`.
    ///
    /// # Errors
    /// A coding that is not known, too many bytes, no room for them now, or a client that broke off.
    pub(crate) async fn read(
        request: Request,
        limit: usize,
        room: &Arc<Room>,
    ) -> Result<Self, Problem> {
        let too_large = |found: Option<u64>| {
            let found = found.map_or("more".to_string(), |bytes| bytes.to_string());
            let message = format!("the body has {found} bytes, expected at most {limit}");
            Problem::new(Kind::BodyTooLarge, message).with_hint("see the limits at /info")
        };
        let gzip = is_gzip(request.headers())?;
        let said = request.body().size_hint().exact();
        if said.is_some_and(|bytes| bytes > limit as u64) {
            return Err(too_large(said));
        }
        let (parts, mut body) = request.into_parts();
        let of = parts.extensions.get::<Arc<Access>>().map_or("", |access| access.name());
        let mut taken = room.begin(of);
        // However small, it is one of so many.
        taken.grow(limit / SHARE)?;
        let _reading = parts.extensions.get::<Arc<Seat>>().map(Seat::body);
        let mut bytes = Vec::new();
        while let Some(frame) = body.frame().await {
            let frame = frame
                .map_err(|e| Problem::new(Kind::BadRequest, format!("the body broke off: {e}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if bytes.len() + data.len() > limit {
                return Err(too_large(None));
            }
            taken.grow(bytes.len() + data.len())?;
            bytes.extend_from_slice(&data);
        }
        if !gzip {
            return Ok(Self { bytes, taken });
        }
        // Not on a thread that answers others.
        let decode = move || Self { bytes, taken }.decode(limit);
        let decoded = tokio::task::spawn_blocking(decode).await.map_err(|e| {
            tracing::error!(error = %e, "decoding a body broke off");
            Problem::new(Kind::Internal, "decoding the body broke off; see the server's logs")
        })?;
        decoded?.ok_or_else(|| too_large(None))
    }

    /// What the body is, which is gzip; none where that is more than `limit` bytes.
    fn decode(mut self, limit: usize) -> Result<Option<Self>, Problem> {
        let mut decoder = MultiGzDecoder::new(self.bytes.as_slice());
        let mut decoded = Vec::new();
        let mut chunk = [0; 1 << 14];
        loop {
            let read = decoder.read(&mut chunk).map_err(|e| {
                Problem::new(Kind::BadRequest, format!("the body is not gzip, as it says: {e}"))
            })?;
            if read == 0 {
                return Ok(Some(Self { bytes: decoded, taken: self.taken }));
            }
            if decoded.len() + read > limit {
                return Ok(None);
            }
            self.taken.grow(self.bytes.len() + decoded.len() + read)?;
            decoded.extend_from_slice(&chunk[..read]);
        }
    }
}

/// A content type without its parameters.
pub(crate) fn media_type(found: &str) -> &str {
    found.split(';').next().unwrap_or_default().trim()
}

/// Whether the body is compressed.
///
/// # Errors
/// If in another way than gzip, or more than once.
fn is_gzip(headers: &HeaderMap) -> Result<bool, Problem> {
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let texts: Vec<&str> = values.map(|value| value.to_str().unwrap_or("?")).collect();
    let codings: Vec<&str> = texts
        .iter()
        .flat_map(|text| text.split(','))
        .map(str::trim)
        .filter(|coding| !coding.is_empty() && !coding.eq_ignore_ascii_case("identity"))
        .collect();
    match codings[..] {
        [] => Ok(false),
        [one] if one.eq_ignore_ascii_case("gzip") || one.eq_ignore_ascii_case("x-gzip") => Ok(true),
        _ => {
            let found = codings.join(", ");
            let message = format!("the content encoding is {found:?}, expected gzip or none");
            Err(Problem::new(Kind::Encoding, message))
        }
    }
}
