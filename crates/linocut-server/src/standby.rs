//! Waiting for another server to end: of two that change one folder neither would see what the
//! other does.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use linocut::{Error, ErrorKind};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::error::{Kind, Problem};
use crate::folder;

/// Pause between looks at the other's lock.
const LOOK: Duration = Duration::from_millis(250);
/// Connections answered at one time, and the time that each may take.
const CONNECTIONS: usize = 64;
const TIME: Duration = Duration::from_secs(5);

/// Who works on the folder `cuts`, so that a server at `address` cannot have it now.
pub fn held(cuts: &Path, address: Option<SocketAddr>) -> Option<Error> {
    folder::lock(cuts, address).err().filter(|e| e.kind() == ErrorKind::Config)
}

/// Answers on `listener` that this server stands by (`GET /health/live` 200, everything else 503)
/// until nobody works on the folder `cuts` any more.
///
/// # Errors
/// If the listener fails.
pub async fn stand_by(listener: TcpListener, cuts: &Path) -> io::Result<()> {
    let address = listener.local_addr()?;
    let router = Router::new().route("/health/live", get(live)).fallback(stands_by);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut look = tokio::time::interval(LOOK);
    loop {
        let accepted = async {
            let place = Arc::clone(&places).acquire_owned().await.map_err(io::Error::other)?;
            Ok::<_, io::Error>((place, listener.accept().await?.0))
        };
        tokio::select! {
            _ = look.tick() => {
                if held(cuts, Some(address)).is_none() {
                    return Ok(());
                }
            }
            accepted = accepted => {
                // One that the system could not give: the next look is a pause.
                let Ok((place, connection)) = accepted else { continue };
                let service = TowerToHyperService::new(router.clone());
                let mut http = http1::Builder::new();
                let answered = http.keep_alive(false).serve_connection(TokioIo::new(connection), service);
                tokio::spawn(async move {
                    let _ = tokio::time::timeout(TIME, answered).await;
                    drop(place);
                });
            }
        }
    }
}

async fn live() -> Json<Value> {
    Json(json!({"status": "standing by"}))
}

async fn stands_by() -> Problem {
    let message = "another server works on the folder of cuts; this one stands by until it ends";
    Problem::new(Kind::StandingBy, message)
}
