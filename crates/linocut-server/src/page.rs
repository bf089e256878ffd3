//! `GET /`: the web page, one file without anything from elsewhere.

use axum::http::header;
use axum::response::{Html, IntoResponse};

/// The page may talk to this server alone, and nobody may frame it.
const POLICY: &str = "default-src 'none'; connect-src 'self'; style-src 'unsafe-inline'; \
                      script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// Its parts, put together when compiled: what is served is one file.
const PAGE: &str = concat!(
    "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n",
    "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
    "<title>linocut</title>\n<style>\n",
    include_str!("page/style.css"),
    "</style>\n</head>\n<body>\n",
    include_str!("page/page.html"),
    "<script>\n",
    include_str!("page/common.js"),
    include_str!("page/tasks.js"),
    include_str!("page/change.js"),
    include_str!("page/answers.js"),
    include_str!("page/ask.js"),
    include_str!("page/start.js"),
    "</script>\n</body>\n</html>\n"
);

/// The page.
pub(crate) async fn page() -> impl IntoResponse {
    ([(header::CONTENT_SECURITY_POLICY, POLICY)], Html(PAGE))
}
