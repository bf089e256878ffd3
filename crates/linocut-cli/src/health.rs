//! `linocut health`

use crate::output::print;
use clap::Args;
use linocut::{Error, ErrorKind, Result};
use serde_json::Value;
use std::time::Duration;
use ureq::Agent;

/// Most bytes read of an answer.
const MOST: u64 = 1 << 16;

/// Ask a server whether it is well: exit 0 if so.
///
/// For the HEALTHCHECK of a container, in which there is nothing else that asks over HTTP. A server that has much to do is well;
/// one that is stopping, stands by for another, or does not answer in time is not.
#[derive(Args)]
#[command(after_help = "\
Example:
  linocut health http://localhost:8080")]
pub(crate) struct HealthArgs {
    /// Where it answers
    #[arg(value_name = "URL", default_value = "http://127.0.0.1:8080")]
    pub url: String,

    /// Seconds that it may take
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    pub timeout: f64,
}

pub(crate) fn run(args: HealthArgs) -> Result<()> {
    let time = Duration::try_from_secs_f64(args.timeout).map_err(|_| {
        let message = format!("--timeout is {}, expected a number of seconds", args.timeout);
        Error::new(ErrorKind::Config, message)
    })?;
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(time))
        .max_redirects(0)
        // It is mostly this machine that is asked, and always this very server.
        .proxy(None)
        .build()
        .into();
    if args.url.contains(['?', '#']) {
        let message = format!("{}: expected an address without ? and #", args.url);
        return Err(Error::new(ErrorKind::Config, message));
    }
    let url = format!("{}/health", args.url.trim_end_matches('/'));
    let silent =
        |e: ureq::Error| Error::new(ErrorKind::Io, format!("{url}: no answer: {e}")).with_source(e);
    let mut answer = agent.get(&url).call().map_err(silent)?;
    let body = answer.body_mut().with_config().limit(MOST).read_to_string().map_err(silent)?;
    let found: Value = serde_json::from_str(&body).unwrap_or_default();
    let status = answer.status().as_u16();
    match found["status"].as_str().or(found["error_type"].as_str()) {
        Some(said @ ("ready" | "overloaded")) if status == 200 => print(&format!("{said}\n")),
        Some(said) if status != 404 => {
            Err(Error::new(ErrorKind::Io, format!("{url}: {said} (status {status})")))
        }
        _ => {
            let message = format!("{url}: not the answer of `linocut serve` (status {status})");
            Err(Error::new(ErrorKind::Io, message)
                .with_hint("the address is that of the server, without a path: http://HOST:PORT"))
        }
    }
}
