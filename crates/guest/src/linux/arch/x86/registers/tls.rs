//! Segments that a thread has for its thread-local storage.
//!
//! 64-bit programs have a base in FS. 32-bit programs have a selector in GS and
//! a descriptor for it, which Linux puts into the GDT whenever the thread runs:
//! three of them in `thread_struct.tls_array`.

use vmss2core_mem::Gva;
use zerocopy::FromBytes;

use super::raw::Descriptor;
use crate::linux::{Kernel, Object};

/// `GDT_ENTRY_TLS_MIN` of 64-bit and 32-bit kernels.
const FIRST_ENTRY_64: u32 = 12;
const FIRST_ENTRY_32: u32 = 6;
/// `GDT_ENTRY_TLS_ENTRIES`.
const ENTRIES: usize = 3;
const DESCRIPTOR_BYTES: usize = 8;
/// Bytes between `tls_array` and `sp` of a 32-bit `thread_struct`: itself
/// and `sp0`; between `sp` and `gs`: `sysenter_cs` and `fs`.
const ARRAY_BEFORE_SP: u64 = 28;
const GS_BEHIND_SP: u64 = 12;

/// A segment for thread-local storage (`struct user_desc`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsSegment {
    /// Its entry in the GDT.
    pub entry: u32,
    /// Its base address.
    pub base: u32,
    /// Its limit, in pages if `flags` say so.
    pub limit: u32,
    /// `user_desc`'s bits: 1 32-bit, 2 and 4 the kind (0 for data), 8 not
    /// writable, 0x10 limit in pages, 0x20 not present, 0x40 usable.
    pub flags: u32,
}

impl TlsSegment {
    /// The descriptor's meaning; `None` for an empty slot.
    fn new(entry: u32, raw: Descriptor) -> Option<Self> {
        // Present, code or data, privilege 3.
        const WANT: u8 = 0xf0;
        if raw.access & WANT != WANT {
            return None;
        }
        let flag = |set: bool, bit: u32| if set { bit } else { 0 };
        let base = u32::from(raw.base_low.get())
            | u32::from(raw.base_middle) << 16
            | u32::from(raw.base_high) << 24;
        Some(Self {
            entry,
            base,
            limit: u32::from(raw.limit.get()) | u32::from(raw.flags & 0xf) << 16,
            flags: flag(raw.flags & 0x40 != 0, 1)
                | u32::from(raw.access >> 2 & 3) << 1
                | flag(raw.access & 2 == 0, 8)
                | flag(raw.flags & 0x80 != 0, 0x10)
                | flag(raw.flags & 0x10 != 0, 0x40),
        })
    }

    /// The selector of user mode for it.
    pub fn selector(&self) -> u16 {
        // There are three, far below the limit.
        u16::try_from(self.entry << 3 | 3).unwrap_or(u16::MAX)
    }
}

/// The segments of a thread that are in use.
pub(super) fn segments(kernel: &Kernel, task: &Object<'_>) -> Vec<TlsSegment> {
    let is_64_bit = kernel.linux().is_64_bit;
    let first = if is_64_bit { FIRST_ENTRY_64 } else { FIRST_ENTRY_32 };
    let Some(at) = array(is_64_bit, task) else { return Vec::new() };
    let mut bytes = [0; ENTRIES * DESCRIPTOR_BYTES];
    if kernel.read(at, &mut bytes, "thread_struct.tls_array").is_err() {
        return Vec::new();
    }
    let slots = bytes.chunks_exact(DESCRIPTOR_BYTES);
    let raw = slots.filter_map(|slot| Descriptor::read_from_bytes(slot).ok());
    (first..).zip(raw).filter_map(|(entry, raw)| TlsSegment::new(entry, raw)).collect()
}

fn array(is_64_bit: bool, task: &Object<'_>) -> Option<Gva> {
    let known = task.address_of("thread.tls_array").ok();
    known.or_else(|| {
        let sp = task.address_of("thread.sp").ok().filter(|_| !is_64_bit)?;
        Some(Gva(sp.0.wrapping_sub(ARRAY_BEFORE_SP)))
    })
}

/// The user's GS of a sleeping thread of a 32-bit kernel that does not store it
/// with the other registers (since 5.19, and before that in some configurations).
pub(super) fn lazy_gs(kernel: &Kernel, task: &Object<'_>) -> Option<u64> {
    let known = task.address_of("thread.gs").ok();
    let at = known.or_else(|| {
        let sp = task.address_of("thread.sp").ok()?;
        Some(Gva(sp.0.wrapping_add(GS_BEHIND_SP)))
    })?;
    let selector = kernel.read_uint(at, 4, "thread_struct.gs").ok()?;
    // A selector of privilege 3 is all that user mode can have there.
    (selector >> 16 == 0 && selector & 3 == 3).then_some(selector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_descriptor_becomes_what_the_program_asked_for() {
        // Base 0xf7f12740, limit 0xfffff pages, writable, 32-bit, usable.
        let raw = [0xff, 0xff, 0x40, 0x27, 0xf1, 0xf3, 0xdf, 0xf7];
        let segment = TlsSegment::new(12, Descriptor::read_from_bytes(&raw).unwrap()).unwrap();
        let want = TlsSegment { entry: 12, base: 0xf7f1_2740, limit: 0xf_ffff, flags: 0x51 };
        assert_eq!(segment, want);
        assert_eq!(segment.selector(), 0x63);
    }

    #[test]
    fn an_empty_slot_is_no_segment() {
        for raw in [[0; 8], [0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0]] {
            assert_eq!(TlsSegment::new(6, Descriptor::read_from_bytes(&raw).unwrap()), None);
        }
    }
}
