//! Ctrl-C and SIGTERM.
//!
//! While a file is being written, the first signal asks the writer to stop and
//! clean up. At any other time there is nothing to clean up, and a second signal
//! means that the user does not want to wait: both end the program at once.

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
        for (signal, number) in [(SIGINT, 2), (SIGTERM, 15)] {
            // Actions run in the order in which they were registered.
            flag::register_conditional_default(signal, Arc::clone(&immediate))?;
            flag::register(signal, Arc::clone(&immediate))?;
            flag::register_usize(signal, Arc::clone(&received), number)?;
        }
        Ok(Self { received, immediate })
    }

    /// Runs `write` in such a way that a first signal only asks it to stop.
    pub(crate) fn deferred<T>(&self, write: impl FnOnce() -> T) -> T {
        self.immediate.store(false, Ordering::SeqCst);
        let result = write();
        self.immediate.store(true, Ordering::SeqCst);
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
