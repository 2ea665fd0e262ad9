//! Fields of the debugger data block (`KDDEBUGGER_DATA64` of the Windows SDK's
//! `wdbgexts.h`), and what of it goes over the guest's memory.

use vmss2core_guest::windows::{Kdbg, WindowsFacts};

use super::context::low;
use super::patch::Patch;

pub(super) const KERN_BASE: usize = 0x18;
pub(super) const SAVED_CONTEXT: usize = 0x28;
pub(super) const MODULE_LIST: usize = 0x48;
pub(super) const PROCESS_HEAD: usize = 0x50;
pub(super) const PFN_DATABASE: usize = 0xc0;
pub(super) const PHYSICAL_MEMORY_BLOCK: usize = 0x270;

/// The block's fields. 32-bit kernels extend the sign of their addresses.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    plain: &'a [u8],
    is_64_bit: bool,
}

impl<'a> Fields<'a> {
    pub(super) fn new(kdbg: &'a Kdbg, facts: &WindowsFacts) -> Self {
        Self { plain: &kdbg.plain, is_64_bit: facts.is_64_bit }
    }

    /// An address; `None` if this Windows' block ends before it.
    pub(super) fn get(self, at: usize) -> Option<u64> {
        let bytes = self.plain.get(at..at.checked_add(8)?)?;
        let value = u64::from_le_bytes(bytes.try_into().ok()?);
        Some(if self.is_64_bit { value } else { low(value).into() })
    }
}

/// The block as a debugger wants it, and the byte that says that it is encoded.
pub(super) fn patches(kdbg: &Kdbg) -> Vec<Patch> {
    let Some(encoding) = kdbg.encoding else { return Vec::new() };
    let what = "decoded debugger data".to_owned();
    let block = Patch { gva: kdbg.gva, bytes: kdbg.plain.clone(), what };
    let flag = encoding.keys.map(|keys| Patch {
        gva: keys.flag,
        bytes: vec![0],
        what: "KdpDataBlockEncoded".to_owned(),
    });
    [block].into_iter().chain(flag).collect()
}
