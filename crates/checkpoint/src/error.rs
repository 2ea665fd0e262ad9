//! Why a checkpoint could not be opened.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

/// Why a checkpoint could not be opened. Every message says what to do next if
/// there is something to do.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The content of the file is none that we know.
    #[error("{}: not a checkpoint that this program knows", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
    },
    /// A file could not be read.
    #[error("{}: cannot read at offset {offset:#x}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// What the operating system said.
        source: io::Error,
    },
}
