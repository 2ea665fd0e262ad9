//! Orders for a machine that can run.
//!
//! An ability that not every machine has is an accessor that may be absent, never a
//! method that fails.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;
use vmss2core_mem::{Gpa, Gva};

/// Makes a machine go on, and stops it.
pub trait Control: Send + Sync {
    /// Lets the machine go on, and returns at once. Checkpoints that were taken before stay
    /// as they are.
    fn resume(&self, how: Resume) -> Result<(), ControlError>;

    /// Waits until the machine stops, by itself or because it is asked to. An interrupt
    /// that was asked for before counts too. Returns at once if the machine stands still.
    fn wait(&self, interrupt: &Interrupt) -> Result<Stop, ControlError>;

    /// Places where it stops by itself.
    fn breakpoints(&self) -> Option<&dyn Breakpoints> {
        None
    }

    /// Changes of its memory and registers.
    fn writes(&self) -> Option<&dyn Writes> {
        None
    }

    /// A recording that it runs along.
    fn replay(&self) -> Option<&dyn Replay> {
        None
    }
}

/// Places where a machine stops before it executes what is there, on any processor.
pub trait Breakpoints: Send + Sync {
    /// Adds one; one that is there stays.
    fn set(&self, at: Gva) -> Result<(), ControlError>;

    /// Takes one away, if it is there.
    fn clear(&self, at: Gva) -> Result<(), ControlError>;
}

/// Changes of a machine that stands still. The checkpoint that comes next has them.
pub trait Writes: Send + Sync {
    /// Writes all of the bytes, or says why not.
    fn memory(&self, at: Gpa, bytes: &[u8]) -> Result<(), ControlError>;

    /// Sets a register of a processor, by its name in the [`Table`](crate::Table).
    fn register(&self, cpu: u32, name: &str, value: u128) -> Result<(), ControlError>;
}

/// A recording. Of a machine that has one, [`Resume::Back`] and [`Resume::BackStep`] can be
/// asked.
pub trait Replay: Send + Sync {
    /// Where it stands, in the recording's own count.
    fn position(&self) -> u64;

    /// Goes to a position and stands still there.
    fn seek(&self, position: u64) -> Result<(), ControlError>;
}

/// How a machine goes on. Processors are named by their index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Resume {
    /// All processors run.
    Continue,
    /// One processor executes one instruction.
    Step(u32),
    /// All processors run towards the past.
    Back,
    /// One processor takes back one instruction.
    BackStep(u32),
}

/// Report that a machine stands still again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// Index of the processor that is the reason, if it is one of them.
    pub cpu: Option<u32>,
    /// Why.
    pub reason: StopReason,
}

/// Why a machine stands still.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopReason {
    /// It was asked to.
    Interrupted,
    /// A processor has executed the one instruction.
    Stepped,
    /// A processor has come to a breakpoint.
    Breakpoint,
    /// The recording begins here.
    ReplayStart,
    /// The recording ends here.
    ReplayEnd,
    /// It is switched off.
    Off,
}

/// Why a machine does not do what it is told.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It runs already, or still.
    #[error("the machine runs: stop it first")]
    Running,
    /// It refuses.
    #[error("{0}")]
    Refused(String),
    /// It cannot be reached, or does not answer as it should.
    #[error("the machine does not do it: {what}")]
    Unreachable {
        /// The order.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// Asks a machine to stop. A clone asks the same one.
#[derive(Clone, Default)]
pub struct Interrupt(Arc<Mutex<Asked>>);

#[derive(Default)]
struct Asked {
    is_asked: bool,
    wake: Option<Box<dyn FnOnce() + Send>>,
}

impl Interrupt {
    /// Asks it.
    pub fn ask(&self) {
        let wake = {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            asked.is_asked = true;
            asked.wake.take()
        };
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Whether it was asked.
    pub fn is_asked(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).is_asked
    }

    /// The action to take when it is asked, once: how [`Control::wait`] wakes up. Done at
    /// once if it was asked before.
    pub fn when_asked(&self, wake: impl FnOnce() + Send + 'static) {
        {
            let mut asked = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if !asked.is_asked {
                asked.wake = Some(Box::new(wake));
                return;
            }
        }
        wake();
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Interrupt").field(&self.is_asked()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn an_interrupt_wakes_whoever_waits_whenever_it_is_asked() {
        for is_early in [false, true] {
            let interrupt = Interrupt::default();
            let (woken, wakes) = mpsc::channel();
            if is_early {
                interrupt.clone().ask();
            }
            interrupt.when_asked(move || woken.send(()).unwrap());
            assert_eq!(wakes.try_recv().is_ok(), is_early);
            interrupt.clone().ask();
            interrupt.ask();
            assert!(interrupt.is_asked());
            // Once.
            assert_eq!(wakes.iter().count(), usize::from(!is_early));
        }
    }
}
