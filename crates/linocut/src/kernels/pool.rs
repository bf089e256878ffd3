//! Many short parallel loops in a row.

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed, Ordering::Release};
use std::time::{Duration, Instant};

/// How long a thread watches in vain before it may fall asleep.
const PATIENCE: Duration = Duration::from_millis(10);

thread_local! {
    /// Whether this thread is within [`awake`], and must not wait for another's end.
    static LEADS: Cell<bool> = const { Cell::new(false) };
}

/// Runs `f` on a thread of the pool while the pool's other threads watch for work instead of falling
/// asleep between its parallel loops: waking one takes longer than many of the loops, and from
/// outside the pool every loop would wait for a thread to wake.
pub(crate) fn awake<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    let done = AtomicBool::new(false);
    rayon::scope(|scope| {
        let led = LEADS.replace(true);
        if !led {
            scope.spawn_broadcast(|_, _| {
                // Two that wait for each other's end would wait for ever; and this may run on top
                // of a loop's part that `f` waits for, which then goes on when patience ends.
                let mut worked = Instant::now();
                while !LEADS.get() && !done.load(Relaxed) && worked.elapsed() < PATIENCE {
                    if rayon::yield_now() == Some(rayon::Yield::Executed) {
                        worked = Instant::now();
                    } else {
                        // To other processes, if there are any: what they take is idle time.
                        std::thread::yield_now();
                    }
                }
            });
        }
        // Also where `f` panics.
        let _end = End { done: &done, led };
        f()
    })
}

struct End<'a> {
    done: &'a AtomicBool,
    led: bool,
}

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.done.store(true, Release);
        LEADS.set(self.led);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rayon::prelude::*;

    /// Passes at the same time, from outside and inside the pool and within each other, all end.
    #[test]
    fn passes_do_not_wait_for_each_other() {
        for threads in [1, 2, 3] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            let pass = |n: u64| {
                awake(|| {
                    (0..50)
                        .map(|i| {
                            let inner =
                                if i == 7 { awake(|| (0..n).into_par_iter().sum()) } else { 0 };
                            inner + (0..n).into_par_iter().map(|j| j % 7).sum::<u64>()
                        })
                        .sum::<u64>()
                })
            };
            let expected = pass(1000);
            std::thread::scope(|scope| {
                let runs: Vec<_> = (0..8)
                    .map(|_| scope.spawn(|| pool.install(|| (0..20).map(|_| pass(1000)).max())))
                    .collect();
                runs.into_iter().for_each(|run| assert_eq!(run.join().unwrap(), Some(expected)));
            });
            assert!(!LEADS.get());
        }
    }

    #[test]
    fn a_panic_comes_through_and_leaves_the_pool_usable() {
        let panicked = std::panic::catch_unwind(|| awake(|| panic!("as told")));
        assert!(panicked.is_err());
        assert_eq!(awake(|| (0..10).into_par_iter().sum::<u32>()), 45);
    }
}
