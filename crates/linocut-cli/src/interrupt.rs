//! Ctrl-C and SIGTERM. A command that works long finishes its step, saves and stops; any other ends at
//! once, and a second signal ends every command. Temporary files never stay.

use std::sync::atomic::{AtomicBool, Ordering};

/// Whether the command stops by itself when it is asked to.
static STOPS: AtomicBool = AtomicBool::new(false);
static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Starts listening for the signals.
#[cfg(unix)]
pub(crate) fn listen() {
    use signal_hook::consts::{SIGINT, SIGTERM};
    // Without it the signals end the process, as ever; the next start removes what that leaves.
    let Ok(mut signals) = signal_hook::iterator::Signals::new([SIGINT, SIGTERM]) else { return };
    std::thread::spawn(move || {
        for signal in signals.forever() {
            if STOPS.load(Ordering::SeqCst) && !INTERRUPTED.swap(true, Ordering::SeqCst) {
                continue;
            }
            linocut::output::remove_all();
            // A shell's loop ends with the signal, but not with an exit code.
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
    });
}

/// Elsewhere Ctrl-C ends the process, and training goes on from its last state.
#[cfg(not(unix))]
pub(crate) fn listen() {}

/// From now on the first signal only sets what [`interrupted`] says.
pub(crate) fn stop_when_asked() {
    STOPS.store(true, Ordering::SeqCst);
}

/// From now on the first signal ends the process at once again: nothing looks for it any more.
pub(crate) fn listen_no_more() {
    STOPS.store(false, Ordering::SeqCst);
}

/// Whether a signal has come.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}
