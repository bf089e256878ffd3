//! `GET /`: the web page, one file without anything from elsewhere.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// The page may talk to this server alone, and nobody may frame it.
const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// The page.
pub(crate) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(include_str!("page.html")))
}
