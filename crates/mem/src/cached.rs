//! Pages that were read lately, kept: a debugger asks for a few bytes at a time, and
//! each question walks the same page tables.

use std::sync::{Arc, Mutex};

use crate::{Gpa, PAGE_SIZE};

/// Pages that are kept: 4 MiB. A power of two.
const SLOTS: usize = 1024;
const PAGE_LEN: usize = 4096;
const _: () = assert!(PAGE_LEN as u64 == PAGE_SIZE);

/// The pages read last, one for each remainder of their number.
#[derive(Debug)]
pub(crate) struct Pages {
    slots: Vec<Mutex<Option<Page>>>,
}

#[derive(Debug)]
struct Page {
    number: u64,
    bytes: Box<[u8; PAGE_LEN]>,
}

impl Pages {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self { slots: (0..SLOTS).map(|_| Mutex::new(None)).collect() })
    }

    /// Fills `buf`, which lies in one page, from that page. `fill` reads a whole page that
    /// is not kept yet, and says whether it could; `false` if it could not.
    pub(crate) fn read(
        &self,
        gpa: Gpa,
        buf: &mut [u8],
        fill: impl FnOnce(Gpa, &mut [u8]) -> bool,
    ) -> bool {
        let number = gpa.0 / PAGE_SIZE;
        let slot = usize::try_from(number).unwrap_or(0) % SLOTS;
        // A panic elsewhere leaves a page whole or none.
        let Some(Ok(mut slot)) = self.slots.get(slot).map(Mutex::lock) else { return false };
        if slot.as_ref().is_none_or(|page| page.number != number) {
            let mut bytes = slot.take().map_or_else(|| Box::new([0; PAGE_LEN]), |page| page.bytes);
            if !fill(gpa.page_start(), bytes.as_mut_slice()) {
                return false;
            }
            *slot = Some(Page { number, bytes });
        }
        let start = usize::try_from(gpa.page_offset()).unwrap_or(PAGE_LEN);
        let kept = slot.as_ref().and_then(|page| page.bytes.get(start..));
        let Some(kept) = kept.and_then(|kept| kept.get(..buf.len())) else { return false };
        buf.copy_from_slice(kept);
        true
    }
}
