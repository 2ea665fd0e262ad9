//! Where checkpoints come from.

use thiserror::Error;

use crate::Checkpoint;
use crate::control::Control;

/// Where checkpoints come from: a file has the same one for ever, a machine that runs
/// another one for each stop.
///
/// A checkpoint that was read from a file is its own source:
///
/// ```
/// use vmss2core_machine::{Checkpoint, Source};
///
/// let file: &dyn Source = &Checkpoint::default();
/// assert_eq!(file.checkpoint()?.number, 0);
/// assert!(file.control().is_none());
/// # Ok::<(), vmss2core_machine::SourceError>(())
/// ```
pub trait Source: Send + Sync {
    /// The machine as it stands still now. What was handed out before stays as it is.
    fn checkpoint(&self) -> Result<Checkpoint, SourceError>;

    /// The control that makes the machine go on; `None` if it stands still for ever.
    fn control(&self) -> Option<&dyn Control> {
        None
    }
}

/// Why there is no checkpoint now.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SourceError {
    /// It has not been stopped.
    #[error("the machine runs: stop it first")]
    Running,
    /// It cannot be reached, or does not answer as it should.
    #[error("the machine cannot be asked: {what}")]
    Unreachable {
        /// The request.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

impl Source for Checkpoint {
    fn checkpoint(&self) -> Result<Checkpoint, SourceError> {
        Ok(self.clone())
    }
}
