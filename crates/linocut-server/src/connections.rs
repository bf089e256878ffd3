//! Places for connections, which clients that send nothing cannot hold.

use std::collections::HashMap;
use std::io::{self, IoSlice};
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

use crate::state::Limits;

/// What a connection is at; in the order in which they give way to others where places run out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    /// Nothing has come yet, or a part of a head.
    Head,
    /// Between two requests, or its last answer is being taken.
    Between,
    /// A part of a body has come, of a client with a key where there are keys.
    Body,
    /// A request is under way.
    Busy,
}

/// A connection's place.
pub(crate) struct Seat {
    id: u64,
    peer: IpAddr,
    /// What it is at, and since when.
    now: Mutex<(Stage, Instant)>,
    close: Notify,
}

impl Seat {
    fn now(&self) -> MutexGuard<'_, (Stage, Instant)> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, stage: Stage) {
        *self.now() = (stage, Instant::now());
    }

    /// A request is under way until the guard is dropped.
    pub(crate) fn request(self: &Arc<Self>) -> During {
        self.set(Stage::Busy);
        During { seat: Arc::clone(self), then: Stage::Between }
    }

    /// Its body is being read until the guard is dropped.
    pub(crate) fn body(self: &Arc<Self>) -> During {
        self.set(Stage::Body);
        During { seat: Arc::clone(self), then: Stage::Busy }
    }

    /// Ends when the place is needed, or its time is up.
    pub(crate) async fn closed(&self) {
        self.close.notified().await;
    }
}

/// While it lives the connection is at something; `then` at the next.
pub(crate) struct During {
    seat: Arc<Seat>,
    then: Stage,
}

impl Drop for During {
    fn drop(&mut self) {
        self.seat.set(self.then);
    }
}

/// All connections.
pub(crate) struct Connections {
    most: usize,
    head: Duration,
    idle: Duration,
    open: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    /// A place has become free.
    pub(crate) freed: Notify,
}

impl Connections {
    pub(crate) fn new(limits: &Limits) -> Self {
        Self {
            most: limits.connections,
            head: limits.head,
            idle: limits.idle,
            open: Mutex::default(),
            next: AtomicU64::new(0),
            freed: Notify::new(),
        }
    }

    fn open(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place for a connection from `peer`; where all are taken, that of another that waits for its
    /// client. None where all are at work.
    pub(crate) fn enter(&self, peer: IpAddr) -> Option<Arc<Seat>> {
        if self.open().len() >= self.most && !self.make_room() {
            return None;
        }
        let seat = Arc::new(Seat {
            id: self.next.fetch_add(1, Relaxed),
            peer,
            now: Mutex::new((Stage::Head, Instant::now())),
            close: Notify::new(),
        });
        self.open().insert(seat.id, Arc::clone(&seat));
        Some(seat)
    }

    /// Closes the connection that has waited longest for its client, of whoever holds the most; one
    /// whose body is coming only where there is no other. Says whether there was one.
    pub(crate) fn make_room(&self) -> bool {
        let mut open = self.open();
        let mut held: HashMap<u128, usize> = HashMap::new();
        for seat in open.values() {
            *held.entry(network(seat.peer)).or_default() += 1;
        }
        let candidates = open.values().filter_map(|seat| {
            let (stage, since) = *seat.now();
            let of_one = held.get(&network(seat.peer)).copied().unwrap_or_default();
            let rank = (std::cmp::Reverse(of_one), stage == Stage::Body, since, seat.id);
            (stage != Stage::Busy).then_some((rank, seat.id))
        });
        let Some(seat) = candidates.min().and_then(|(_, id)| open.remove(&id)) else {
            return false;
        };
        seat.close.notify_one();
        true
    }

    /// Closes those whose clients have taken too long for a head, or between two requests.
    pub(crate) fn close_late(&self) {
        self.close(|stage, since| match stage {
            Stage::Head => since.elapsed() > self.head,
            Stage::Between => since.elapsed() > self.idle,
            Stage::Body | Stage::Busy => false,
        });
    }

    /// Closes those without a whole head: their requests are not taken any more.
    pub(crate) fn close_heads(&self) {
        self.close(|stage, _| stage == Stage::Head);
    }

    fn close(&self, which: impl Fn(Stage, Instant) -> bool) {
        self.open().retain(|_, seat| {
            let (stage, since) = *seat.now();
            let closes = which(stage, since);
            if closes {
                seat.close.notify_one();
            }
            !closes
        });
    }

    /// Time between two looks for late ones.
    pub(crate) fn interval(&self) -> Duration {
        (self.head.min(self.idle) / 4).clamp(Duration::from_millis(10), Duration::from_secs(1))
    }

    /// Gives a place back.
    pub(crate) fn leave(&self, seat: &Seat) {
        self.open().remove(&seat.id);
        self.freed.notify_one();
    }
}

/// What one client may be taken to have: an address, or a network of 2^64 of IPv6.
fn network(peer: IpAddr) -> u128 {
    match peer.to_canonical() {
        IpAddr::V4(ip) => u128::from(ip.to_bits()),
        IpAddr::V6(ip) => ip.to_bits() >> 64 << 64,
    }
}

/// A connection that tells its seat what comes and goes.
pub(crate) struct Watched<T> {
    pub(crate) stream: Pin<Box<T>>,
    pub(crate) seat: Arc<Seat>,
}

impl<T: AsyncRead> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(self.stream.as_mut().poll_read(context, buffer))?;
        let mut now = self.seat.now();
        if now.0 == Stage::Between && buffer.filled().len() > before {
            *now = (Stage::Head, Instant::now());
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite> Watched<T> {
    /// An answer is being taken: its time begins anew.
    fn wrote(&self, bytes: usize) -> Poll<io::Result<usize>> {
        let mut now = self.seat.now();
        if now.0 == Stage::Between && bytes > 0 {
            now.1 = Instant::now();
        }
        Poll::Ready(Ok(bytes))
    }
}

impl<T: AsyncWrite> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream.as_mut().poll_write(context, bytes))?;
        self.wrote(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = ready!(self.stream.as_mut().poll_write_vectored(context, bytes))?;
        self.wrote(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}
