//! Files of the guest from its page cache.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use vmss2core_gdb::{FileError, GuestFile};
use vmss2core_guest::linux::{Kernel, MappedFile, RestoredFile, SectionTable};
use vmss2core_mem::Gva;

use super::{Attached, SYSROOT};

/// How many sections that have lost bytes are named.
const NAMED: usize = 6;

/// Where the bytes of open files are. A file that is opened twice is looked through
/// once.
pub(super) struct Caches {
    kernel: Kernel,
    open: Mutex<HashMap<Gva, Weak<RestoredFile>>>,
}

/// A file of the guest, open.
pub(super) struct CachedFile {
    kernel: Kernel,
    file: Arc<RestoredFile>,
}

impl Caches {
    pub(super) fn new(kernel: &Kernel) -> Self {
        Self { kernel: kernel.clone(), open: Mutex::default() }
    }

    /// Opens a file that the process has mapped; the error is a sentence.
    pub(super) fn open(&self, process: &Attached, file: &MappedFile) -> Result<CachedFile, String> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|_, content| content.strong_count() > 0);
        let key = file.mapping.unwrap_or(file.gva);
        let content = match open.get(&key).and_then(Weak::upgrade) {
            Some(known) => known,
            None => Arc::new(process.process().restored_file(file).map_err(|error| {
                format!("its length is not known: {error}; serve with {SYSROOT}")
            })?),
        };
        open.insert(key, Arc::downgrade(&content));
        Ok(CachedFile { kernel: self.kernel.clone(), file: content })
    }
}

impl CachedFile {
    /// The missing parts, a sentence after the name of the file; `None` if it is all
    /// there.
    pub(super) fn problem(&self) -> Option<String> {
        let (missing, len) = (self.file.counts().unavailable(), self.file.own_len_bytes());
        let so = match self.file.section_table() {
            SectionTable::Own => "symbols may be missing".to_owned(),
            SectionTable::Reduced(lost) => {
                let names: Vec<&str> = lost.iter().take(NAMED).map(String::as_str).collect();
                let more = if lost.len() > NAMED { " and more" } else { "" };
                format!(
                    "some of {}{more} among them: symbols are missing, and stacks stop where what \
                     describes their frames is lost",
                    names.join(", ")
                )
            }
            SectionTable::Made => "section headers among them: a section table was made from the \
                                   program headers, and the only symbols are those that the file \
                                   exports"
                .to_owned(),
            SectionTable::Lost => "section headers among them, and the program headers do not \
                                   tell enough: debuggers cannot use the file"
                .to_owned(),
        };
        let header = if self.file.is_header_made() {
            "the ELF header among them: one was made from what the process has mapped; "
        } else {
            ""
        };
        (missing > 0).then(|| {
            format!(
                "{missing} of {len} bytes are not in the guest's memory, {header}{so}; serve with \
                 {SYSROOT}, a directory that has the guest's file"
            )
        })
    }
}

impl GuestFile for CachedFile {
    fn len_bytes(&self) -> u64 {
        self.file.len_bytes()
    }

    fn read(&self, offset: u64, buf: &mut [u8]) -> Result<usize, FileError> {
        let is_end = buf.is_empty() || offset >= self.file.len_bytes();
        match self.file.read(&self.kernel, offset, buf) {
            0 if !is_end => Err(FileError::Unreadable),
            got => Ok(got),
        }
    }
}
