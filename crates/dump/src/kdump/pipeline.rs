//! Packs portions on all processors and puts them into the file in their order.
//!
//! Each thread takes the next portion, packs it, waits for its turn to be told
//! where it goes, and writes it. So a thread holds one portion, whatever the
//! size of the guest; the place of a page depends on what comes before it, not on
//! who was faster; and the thread whose turn it is never waits for another.

use std::num::NonZeroUsize;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use vmss2core_mem::PhysicalMemory;

use super::codec::Compression;
use super::pack::{Entry, Packer, Stored};
use super::pages::{Portion, Portions};
use super::sink::Sink;
use super::tables::{Bitmap, Descriptors};
use crate::{DumpError, Observer};
use vmss2core_formats::kdump::BLOCK;

/// Where the parts of the file lie that depend on its pages.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    pub(super) stored_bitmap: u64,
    pub(super) descriptors: u64,
    /// The page of zeroes; after it come the others.
    pub(super) zero_page: u64,
}

/// The result.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    /// Length of the file.
    pub(super) len_bytes: u64,
    /// Pages with a descriptor.
    pub(super) pages: u64,
}

/// State that all threads share.
struct Shared<'a> {
    portions: Mutex<&'a mut (dyn FnMut() -> Result<Option<Portion>, DumpError> + Send)>,
    order: Mutex<Order>,
    turned: Condvar,
    sink: &'a dyn Sink,
    observer: &'a dyn Observer,
    zero_page: u64,
    total_bytes: u64,
}

/// Whose turn it is, and what depends on the order.
struct Order {
    next_index: u64,
    /// A thread has ended early: nobody's turn comes any more.
    has_failed: bool,
    /// Where the next bytes go.
    offset: u64,
    bitmap: Bitmap,
    descriptors: Descriptors,
}

/// The work.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) memory: &'a PhysicalMemory,
    pub(super) compression: Compression,
    pub(super) threads: NonZeroUsize,
    /// Bytes of memory, with what is left out.
    pub(super) total_bytes: u64,
}

/// Writes all pages, and the tables that say where they are.
pub(super) fn run(
    work: &Work<'_>,
    portions: &mut Portions<'_>,
    places: Places,
    sink: &dyn Sink,
    observer: &dyn Observer,
) -> Result<Written, DumpError> {
    sink.write_at(places.zero_page, &[0; 4096])?;
    let mut next = || portions.next();
    let shared = Shared {
        portions: Mutex::new(&mut next),
        order: Mutex::new(Order {
            next_index: 0,
            has_failed: false,
            offset: places.zero_page.saturating_add(BLOCK),
            bitmap: Bitmap::new(places.stored_bitmap),
            descriptors: Descriptors::new(places.descriptors..places.zero_page),
        }),
        turned: Condvar::new(),
        sink,
        observer,
        zero_page: places.zero_page,
        total_bytes: work.total_bytes,
    };
    std::thread::scope(|scope| {
        let others: Vec<_> =
            (1..work.threads.get()).map(|_| scope.spawn(|| shared.pack_all(work))).collect();
        let mut first = shared.pack_all(work);
        for other in others {
            // A thread that panicked has ended the others; its panic goes on.
            let result = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            first = worse(first, result);
        }
        first
    })?;
    shared.finish()
}

/// The first error, but not that of a thread which only saw another fail.
fn worse(a: Result<(), DumpError>, b: Result<(), DumpError>) -> Result<(), DumpError> {
    match (a, b) {
        (Ok(()) | Err(DumpError::Cancelled), Err(error)) => Err(error),
        (first, _) => first,
    }
}

impl Shared<'_> {
    /// The loop of each thread.
    fn pack_all(&self, work: &Work<'_>) -> Result<(), DumpError> {
        let ended = Ended(self);
        let mut packer = Packer::new(work.memory, work.compression)?;
        while let Some(portion) = self.take()? {
            packer.pack(&portion)?;
            self.put(&portion, &packer.entries, &packer.bytes)?;
        }
        ended.well();
        Ok(())
    }

    fn take(&self) -> Result<Option<Portion>, DumpError> {
        if self.observer.is_cancelled() {
            return Err(DumpError::Cancelled);
        }
        let mut portions = self.portions.lock().unwrap_or_else(PoisonError::into_inner);
        portions()
    }

    /// Writes a portion when its turn has come.
    fn put(&self, portion: &Portion, entries: &[Entry], bytes: &[u8]) -> Result<(), DumpError> {
        let mut order = self.wait_for_turn(portion.index)?;
        let offset = order.offset;
        order.enter(entries, self.zero_page, self.sink)?;
        if self.sink.keeps_order() {
            self.sink.write_at(offset, bytes)?;
        }
        self.observer.progress(portion.done_bytes, self.total_bytes);
        order.next_index = order.next_index.saturating_add(1);
        drop(order);
        self.turned.notify_all();
        if self.sink.keeps_order() { Ok(()) } else { self.sink.write_at(offset, bytes) }
    }

    fn wait_for_turn(&self, index: u64) -> Result<MutexGuard<'_, Order>, DumpError> {
        let order = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        let order = self
            .turned
            .wait_while(order, |order| order.next_index != index && !order.has_failed)
            .unwrap_or_else(PoisonError::into_inner);
        if order.has_failed { Err(DumpError::Cancelled) } else { Ok(order) }
    }

    fn finish(self) -> Result<Written, DumpError> {
        let mut order = self.order.into_inner().unwrap_or_else(PoisonError::into_inner);
        order.bitmap.flush(self.sink)?;
        order.descriptors.flush(self.sink)?;
        self.observer.progress(self.total_bytes, self.total_bytes);
        if self.observer.is_cancelled() {
            return Err(DumpError::Cancelled);
        }
        Ok(Written { len_bytes: order.offset, pages: order.descriptors.count() })
    }
}

impl Order {
    /// Enters the pages of a portion into the tables.
    fn enter(
        &mut self,
        entries: &[Entry],
        zero_page: u64,
        sink: &dyn Sink,
    ) -> Result<(), DumpError> {
        for Entry { pfns, stored } in entries {
            self.bitmap.set(pfns.clone(), sink)?;
            let pages = pfns.end.saturating_sub(pfns.start);
            match *stored {
                Stored::Zero => self.descriptors.push(zero_page, 4096, 0, pages, sink)?,
                Stored::Bytes { size, flags } => {
                    self.descriptors.push(self.offset, size, flags, pages, sink)?;
                    self.offset =
                        self.offset.checked_add(size.into()).ok_or(DumpError::TooLarge)?;
                }
            }
        }
        Ok(())
    }
}

/// Lets the other threads go if this one ends in any way but a good one.
struct Ended<'s, 'a>(&'s Shared<'a>);

impl Ended<'_, '_> {
    fn well(self) {
        std::mem::forget(self);
    }
}

impl Drop for Ended<'_, '_> {
    fn drop(&mut self) {
        self.0.order.lock().unwrap_or_else(PoisonError::into_inner).has_failed = true;
        self.0.turned.notify_all();
    }
}
