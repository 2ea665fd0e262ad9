//! Ctrl-C, SIGTERM and SIGHUP.
//!
//! While a file is being written, the first signal asks the writer to stop and
//! clean up. At any other time there is nothing to clean up, and a second signal
//! means that the user does not want to wait: both end the program at once, less
//! the temporary files.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::flag;

/// Whether the user wants to stop.
#[derive(Debug)]
pub(crate) struct Cancel {
    received: Arc<AtomicUsize>,
    /// The next signal ends the program.
    immediate: Arc<AtomicBool>,
}

impl Cancel {
    /// Takes over the signals.
    pub(crate) fn install() -> io::Result<Self> {
        let received = Arc::new(AtomicUsize::new(0));
        let immediate = Arc::new(AtomicBool::new(true));
        let signals = imp::signals();
        for (signal, number) in &signals {
            flag::register_usize(*signal, Arc::clone(&received), *number)?;
        }
        imp::end_program(signals.iter().map(|(signal, _)| *signal), &immediate)?;
        Ok(Self { received, immediate })
    }

    /// Runs `write` in such a way that a first signal only asks it to stop.
    pub(crate) fn deferred<T>(&self, write: impl FnOnce() -> T) -> T {
        self.immediate.store(false, Ordering::SeqCst);
        let result = write();
        // One that has come is still to be reported.
        if self.signal().is_none() {
            self.immediate.store(true, Ordering::SeqCst);
        }
        result
    }

    /// Number of the signal that asked to stop.
    pub(crate) fn signal(&self) -> Option<u8> {
        match self.received.load(Ordering::SeqCst) {
            0 => None,
            number => u8::try_from(number).ok(),
        }
    }
}

#[cfg(unix)]
mod imp {
    use std::thread;

    use signal_hook::consts::SIGHUP;
    use signal_hook::iterator::Signals;
    use signal_hook::low_level::emulate_default_handler;

    use super::{Arc, AtomicBool, Ordering, SIGINT, SIGTERM, io};

    /// The signals that stop us, with their numbers; not those that whoever started us
    /// had ignored, as `nohup` does.
    pub(super) fn signals() -> Vec<(i32, usize)> {
        let ignored = ignored().unwrap_or(HANGUP);
        let all = [(SIGHUP, 1), (SIGINT, 2), (SIGTERM, 15)];
        all.into_iter()
            .filter(|(_, number)| ignored >> usize::saturating_sub(*number, 1) & 1 == 0)
            .collect()
    }

    /// Where it is not known, `nohup` is believed to have been there.
    const HANGUP: u64 = 1;

    /// A bit for each ignored signal.
    fn ignored() -> Option<u64> {
        let status = std::fs::read_to_string("/proc/self/status").ok()?;
        let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"))?;
        u64::from_str_radix(mask.trim(), 16).ok()
    }

    /// Ends the program at a signal, if it has come to that. In a thread, as a handler
    /// may not remove files.
    pub(super) fn end_program(
        signals: impl Iterator<Item = i32>,
        immediate: &Arc<AtomicBool>,
    ) -> io::Result<()> {
        let mut signals = Signals::new(signals)?;
        let immediate = Arc::clone(immediate);
        let listen = move || {
            for signal in signals.forever() {
                if immediate.swap(true, Ordering::SeqCst) {
                    let _held = vmss2core_dump::output::abandon();
                    // It fails for signals that it does not know, which these are not.
                    let _ = emulate_default_handler(signal);
                }
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(listen)?;
        Ok(())
    }
}

#[cfg(not(unix))]
mod imp {
    use super::{Arc, AtomicBool, SIGINT, SIGTERM, flag, io};

    pub(super) fn signals() -> Vec<(i32, usize)> {
        vec![(SIGINT, 2), (SIGTERM, 15)]
    }

    pub(super) fn end_program(
        signals: impl Iterator<Item = i32>,
        immediate: &Arc<AtomicBool>,
    ) -> io::Result<()> {
        for signal in signals {
            // Actions run in the order in which they were registered.
            flag::register_conditional_default(signal, Arc::clone(immediate))?;
            flag::register(signal, Arc::clone(immediate))?;
        }
        Ok(())
    }
}
