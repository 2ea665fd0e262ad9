//! Bytes of a process that lie nowhere in the guest's memory as they are: what zram has
//! compressed.

use vmss2core_guest::linux::{Content, Kernel};
use vmss2core_mem::PAGE_SIZE;

use crate::DumpError;
use crate::engine::{Made as MadeBytes, Write};

/// Where in the file they go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) offset: u64,
    pub(crate) content: Content,
    pub(crate) len_bytes: u64,
}

/// Makes them, page by page.
pub(crate) struct MadePages<'m> {
    pub(crate) kernel: &'m Kernel,
    pub(crate) made: &'m [Made],
}

impl MadeBytes for MadePages<'_> {
    fn write(&self, write: &mut Write<'_>) -> Result<(), DumpError> {
        for made in self.made {
            for skip in (0..made.len_bytes).step_by(4096) {
                let len = PAGE_SIZE.min(made.len_bytes.saturating_sub(skip));
                let mut bytes = vec![0; usize::try_from(len).unwrap_or(0)];
                let read = self.kernel.read_content(made.content, skip, &mut bytes);
                read.map_err(|why| DumpError::Unmade { why })?;
                write(&bytes, made.offset.saturating_add(skip))?;
            }
        }
        Ok(())
    }
}
