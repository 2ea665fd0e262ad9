//! Why a checkpoint could not be opened.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::PathBuf;

use vmss2core_mem::text::shell_path;

/// Why a checkpoint could not be opened. Every message says what to do next if
/// there is something to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Nothing was named.
    #[error("no file named: give a checkpoint file or the directory that holds it")]
    NoInput,
    /// More files were named than belong to one checkpoint.
    #[error("{}: one file too many: a checkpoint has one state and one memory file", path.display())]
    TooManyInputs {
        /// The first file too many.
        path: PathBuf,
    },
    /// The content of the file is none that we know.
    #[error("{}: not a checkpoint that this program knows: {looks}", path.display())]
    NotACheckpoint {
        /// The file.
        path: PathBuf,
        /// The kind that it looks like instead.
        looks: String,
    },
    /// A directory or an archive without a checkpoint in it.
    #[error("{}: no checkpoint in its {files} files{}", path.display(), Listed(others))]
    NothingInside {
        /// The directory or archive.
        path: PathBuf,
        /// How many files were looked at.
        files: usize,
        /// Those of which more can be said.
        others: Vec<Other>,
    },
    /// A directory or an archive with more than one checkpoint in it.
    #[error("{}: holds several checkpoints, so name one:{}", path.display(), Commands(choices))]
    Ambiguous {
        /// The directory or archive.
        path: PathBuf,
        /// The files to choose from.
        choices: Vec<Candidate>,
    },
    /// Two files were named of which each is a checkpoint.
    #[error(
        "{} and {} are two checkpoints: name one, and its memory file if that lies elsewhere",
        first.display(),
        second.display()
    )]
    TwoCheckpoints {
        /// The one.
        first: PathBuf,
        /// The other.
        second: PathBuf,
    },
    /// The virtual machine is encrypted, and so is this file.
    #[error(
        "{}: part of an encrypted virtual machine: decrypt the machine in the product that made \
         it, or run \"crypto-util encobj decrypt\" for this file on ESXi, then try again",
        path.display()
    )]
    Encrypted {
        /// The file.
        path: PathBuf,
    },
    /// The memory lies in another file, which is not there.
    #[error(
        "{}: its memory is in another file, which was not found: looked for {looked_for}; copy \
         that file beside this one, or name it as the second file",
        path.display()
    )]
    MemoryNotFound {
        /// The state file.
        path: PathBuf,
        /// The names that were looked for, and where.
        looked_for: String,
    },
    /// A configuration names a checkpoint that is not there.
    #[error("{}: {}", path.display(), unmet(name.as_deref(), encryption.as_deref()))]
    NamedFileMissing {
        /// The configuration.
        path: PathBuf,
        /// The file that it names, if it can be read that far.
        name: Option<String>,
        /// The setting that says that the machine is encrypted.
        encryption: Option<String>,
    },
    /// A file of a format that has errors of its own cannot be read.
    #[error(transparent)]
    Format(FormatError),
    /// A file was recognised, and then turned out to be broken.
    #[error("{}: broken {what} at offset {offset:#x}: {detail}", path.display())]
    Broken {
        /// The file.
        path: PathBuf,
        /// Its kind.
        what: &'static str,
        /// Where the fault lies.
        offset: u64,
        /// The fault.
        detail: String,
    },
    /// A file was recognised whose version nobody outside knows how to read.
    #[error("{}: {what} is not publicly known; a sample would help", path.display())]
    Unknown {
        /// The file.
        path: PathBuf,
        /// The unknown feature.
        what: String,
    },
    /// A piece of a split file is missing or there twice.
    #[error("{}: {detail}; copy all pieces into one directory", path.display())]
    Pieces {
        /// The name that the pieces share.
        path: PathBuf,
        /// Which piece, and what is wrong with it.
        detail: String,
    },
    /// One of several pieces of a file, which lie beside each other.
    #[error("{}: one of {pieces}", path.display())]
    Piece {
        /// The piece.
        path: PathBuf,
        /// How many there are, of what, and how to join them.
        pieces: String,
    },
    /// Archives within archives, deeper than anything real.
    #[error("{}: nested more than {limit} archives deep", path.display())]
    TooDeep {
        /// The innermost archive reached.
        path: PathBuf,
        /// The limit.
        limit: u32,
    },
    /// A directory or an archive with more files than anything real.
    #[error("{}: more than {limit} files; name the checkpoint file itself", path.display())]
    TooManyFiles {
        /// The directory or archive.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// Unpacking would take more than the caller allows.
    #[error(
        "{}: unpacks to more than {limit} bytes, which is more than a file of its size should: if \
         that is meant, unpack it first",
        path.display()
    )]
    TooLarge {
        /// The compressed file.
        path: PathBuf,
        /// The limit.
        limit: u64,
    },
    /// The file is compressed, and there is no place to unpack it to.
    #[error(
        "{}: compressed, and no directory for temporary files is given: give one, or unpack the \
         file first",
        path.display()
    )]
    NoSpillDirectory {
        /// The compressed file.
        path: PathBuf,
    },
    /// The unpacked bytes could not be written.
    #[error("{}: unpacking into a temporary file in {}", path.display(), dir.display())]
    Spill {
        /// The compressed file.
        path: PathBuf,
        /// Where the temporary file is.
        dir: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// Neither a file nor a directory.
    #[error("{}: neither a regular file nor a directory", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// A file or directory could not be opened.
    #[error("{}: cannot open", path.display())]
    Open {
        /// The file or directory.
        path: PathBuf,
        /// The error of the operating system.
        source: io::Error,
    },
    /// A file could not be read.
    #[error("{}: cannot read at offset {offset:#x}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Where in it.
        offset: u64,
        /// The error of the operating system.
        source: io::Error,
    },
}

/// The format's own error.
#[derive(Debug)]
pub struct FormatError {
    /// Name of the format.
    pub format: &'static str,
    /// The error.
    pub error: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for FormatError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

fn unmet(name: Option<&str>, encryption: Option<&str>) -> String {
    let missing = match name {
        Some(name) => format!("it names the checkpoint {name}, which is not in this directory"),
        None => "no checkpoint is beside it".to_owned(),
    };
    let Some(encryption) = encryption else {
        return format!("{missing}; copy it, and its memory file, beside this one");
    };
    format!(
        "{missing}, and it says that the machine is encrypted ({encryption}): decrypt the machine \
         in the product that made it, then copy the checkpoint and its memory file beside this one"
    )
}

/// A file that is something else than a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its name in the directory or archive.
    pub name: String,
    /// The kind that it looks like.
    pub looks: String,
}

/// Prints a line for each of the first files.
struct Listed<'a>(&'a [Other]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Other { name, looks } in self.0.iter().take(MAX_COMMANDS) {
            write!(f, "\n  {name}: {looks}")?;
        }
        Ok(())
    }
}

/// Meanings of an [`OpenError`] for the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No checkpoint: the content is not recognised.
    NotACheckpoint,
    /// A checkpoint, and encrypted.
    NeedsKey,
    /// Anything else: missing, broken or unreadable.
    Failed,
}

impl OpenError {
    /// The meaning of this error for the caller.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::NotACheckpoint { .. } | Self::NothingInside { .. } | Self::NotAFile { .. } => {
                ErrorKind::NotACheckpoint
            }
            Self::Encrypted { .. } => ErrorKind::NeedsKey,
            _ => ErrorKind::Failed,
        }
    }
}

/// A checkpoint to choose.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its file.
    pub path: PathBuf,
    /// The snapshot that it is, as the machine's list of them has it.
    pub snapshot: Option<String>,
}

impl From<PathBuf> for Candidate {
    fn from(path: PathBuf) -> Self {
        Self { path, snapshot: None }
    }
}

/// One line per choice, ready to be pasted into a shell.
struct Commands<'a>(&'a [Candidate]);

/// Lines printed at most; a directory can hold thousands of snapshots.
const MAX_COMMANDS: usize = 20;

impl fmt::Display for Commands<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for candidate in self.0.iter().take(MAX_COMMANDS) {
            write!(f, "\n  vmss2core {}", shell_path(&candidate.path))?;
            if let Some(name) = &candidate.snapshot {
                write!(f, "  # {name}")?;
            }
        }
        match self.0.len().checked_sub(MAX_COMMANDS) {
            Some(more) if more > 0 => write!(f, "\n  and {more} more"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choices_are_printed_as_commands_that_a_shell_takes() {
        let paths = ["vm/a.vmss", "my vm/it's (1).vmsn"];
        let choices = paths.map(|path| PathBuf::from(path).into()).to_vec();
        let error = OpenError::Ambiguous { path: "vm".into(), choices };
        assert_eq!(
            error.to_string(),
            "vm: holds several checkpoints, so name one:\n  vmss2core vm/a.vmss\n  \
             vmss2core 'my vm/it'\\''s (1).vmsn'"
        );
    }

    #[test]
    fn a_long_list_of_choices_is_cut() {
        let choices =
            (0..MAX_COMMANDS + 3).map(|i| PathBuf::from(format!("{i}.vmsn")).into()).collect();
        let text = OpenError::Ambiguous { path: "vm".into(), choices }.to_string();
        assert_eq!(text.lines().count(), 1 + MAX_COMMANDS + 1);
        assert!(text.ends_with("\n  and 3 more"), "{text}");
    }
}
