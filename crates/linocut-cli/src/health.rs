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
        .build()
        .into();
    let url = format!("{}/health", args.url.trim_end_matches('/'));
    let silent =
        |e: ureq::Error| Error::new(ErrorKind::Io, format!("{url}: no answer: {e}")).with_source(e);
    let mut answer = agent.get(&url).call().map_err(silent)?;
    let body = answer.body_mut().with_config().limit(MOST).read_to_string().map_err(silent)?;
    let found: Value = serde_json::from_str(&body).unwrap_or_default();
    let said = found["status"].as_str().unwrap_or("no status");
    if answer.status().is_success() {
        return print(&format!("{said}\n"));
    }
    let message = format!("{url}: {said} (status {})", answer.status().as_u16());
    Err(Error::new(ErrorKind::Io, message))
}
