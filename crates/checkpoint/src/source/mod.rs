//! Byte objects: files, and what is unpacked from files.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use vmss2core_mem::ReadAt;

/// One opened byte object: a file, or something unpacked from one.
#[derive(Clone)]
#[allow(dead_code, reason = "the readers that use it follow")]
pub(crate) struct Source {
    /// Where it lies, for messages; a member of an archive has the path of the
    /// archive with its own name behind it.
    pub(crate) path: PathBuf,
    /// Its bytes.
    pub(crate) bytes: Arc<dyn ReadAt>,
    /// How many there are.
    pub(crate) len: u64,
    /// How it was found: "given", "same name", "named in x.vmx".
    pub(crate) found: String,
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Source({}, {:#x} bytes, {})", self.path.display(), self.len, self.found)
    }
}
