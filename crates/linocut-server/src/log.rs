//! Lines of the log, written by a thread of their own: a reader that is slow or gone, or a full disk,
//! costs lines and nothing else.

use std::io::{self, Write};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::Duration;

/// Lines that may wait to be written.
const LINES: usize = 4096;
/// Most bytes of a line.
const LINE_BYTES: usize = 16_384;

/// Lines lost by this process, which has one log.
static LOST: AtomicU64 = AtomicU64::new(0);

/// Lines that were not written: too many waited, one was too long, or writing failed.
pub(crate) fn lost() -> u64 {
    LOST.load(Relaxed)
}

/// Takes whole lines, one a call of `write`, and never waits or fails.
#[derive(Clone)]
pub struct Log(SyncSender<Line>);

enum Line {
    Text(Vec<u8>),
    /// Says when all before it is written.
    Mark(SyncSender<()>),
}

impl Log {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn to(out: impl Write + Send + 'static) -> io::Result<Self> {
        let (sender, receiver) = sync_channel(LINES);
        std::thread::Builder::new().name("log".into()).spawn(move || write(out, &receiver))?;
        Ok(Self(sender))
    }

    /// Waits until the lines so far are written, at most for `most`.
    pub fn flush(&self, most: Duration) {
        let (mark, reached) = sync_channel(1);
        if self.0.try_send(Line::Mark(mark)).is_ok() {
            let _ = reached.recv_timeout(most);
        }
    }
}

impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let sent = match line.len() <= LINE_BYTES {
            true => self.0.try_send(Line::Text(line.to_vec())),
            false => Err(TrySendError::Full(Line::Text(vec![]))),
        };
        if sent.is_err() {
            LOST.fetch_add(1, Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn write(mut out: impl Write, lines: &Receiver<Line>) {
    for line in lines {
        match line {
            Line::Text(text) => {
                if out.write_all(&text).and_then(|()| out.flush()).is_err() {
                    LOST.fetch_add(1, Relaxed);
                }
            }
            Line::Mark(reached) => {
                let _ = reached.send(());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{self, Write};
    use std::sync::mpsc::{Receiver, channel};
    use std::time::Duration;

    use super::{LINES, Log, lost};

    /// Writes nothing until told to.
    struct Stalled(Receiver<()>);

    impl Write for Stalled {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// Has no room.
    struct Full;

    impl Write for Full {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::StorageFull.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_does_not_read_costs_lines_and_no_time() {
        let before = lost();
        let (go, stalled) = channel();
        let mut log = Log::to(Stalled(stalled)).unwrap();
        for _ in 0..LINES + 100 {
            log.write_all(b"a line\n").unwrap();
        }
        // One is with the writer at most.
        assert!(lost() - before >= 99, "{}", lost() - before);
        log.flush(Duration::from_millis(1));
        drop(go);

        let before = lost();
        let mut log = Log::to(Full).unwrap();
        log.write_all(b"a line\n").unwrap();
        log.flush(Duration::from_secs(60));
        assert!(lost() > before);
        log.write_all(&vec![b'x'; 100_000]).unwrap();
        assert!(lost() > before + 1);
    }
}
