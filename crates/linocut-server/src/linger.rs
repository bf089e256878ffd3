//! Bodies that nobody reads to their end, as of refused uploads.
//!
//! A client that is still sending when the connection is closed sees that alone, and not the answer
//! that says why. So what is left of a body is read and thrown away, for a short time.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::{Request, header};
use tokio::runtime::Handle;

/// Time that a client may go on sending what nobody reads.
const MOST: Duration = Duration::from_secs(2);

/// A body that is read to its end when it is dropped.
pub(crate) struct Lingering {
    body: Option<Incoming>,
}

impl Lingering {
    /// The same request with such a body; one that is only sent when it is asked for stays as it is.
    pub(crate) fn of(request: Request<Incoming>) -> Request<axum::body::Body> {
        match request.headers().contains_key(header::EXPECT) {
            true => request.map(axum::body::Body::new),
            false => request.map(|body| axum::body::Body::new(Self { body: Some(body) })),
        }
    }
}

impl Body for Lingering {
    type Data = <Incoming as Body>::Data;
    type Error = <Incoming as Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        match &mut self.body {
            Some(body) => Pin::new(body).poll_frame(context),
            None => Poll::Ready(None),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        let left = self.body.take().filter(|body| !body.is_end_stream());
        if let (Some(mut body), Ok(runtime)) = (left, Handle::try_current()) {
            let drain = async move { while let Some(Ok(_)) = body.frame().await {} };
            runtime.spawn(tokio::time::timeout(MOST, drain));
        }
    }
}
