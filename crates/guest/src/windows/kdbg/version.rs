//! The version block of a 32-bit kernel. The region of its first processor leads to
//! it, and it to the debugger data: nothing need be searched for.
//!
//! Source of the layout: `DBGKD_GET_VERSION64` of the Windows SDK (`wdbgexts.h`),
//! whose addresses have their sign extended; `KPCR.KdVersionBlock` of public symbols.

use vmss2core_mem::{Found, Gva};

use super::super::view::View;

/// `KPCR.KdVersionBlock`.
const IN_REGION: u64 = 0x34;
const MAJOR: u64 = 0;
const MINOR: u64 = 2;
const MACHINE: u64 = 8;
const KERN_BASE: u64 = 0x10;
const DATA_LIST: u64 = 0x20;
const I386: u64 = 0x14c;
/// `MajorVersion` of a checked kernel; a free one has 15.
const CHECKED: u64 = 0xc;

/// Fields of a version block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::windows) struct VersionBlock {
    /// Where it is.
    pub(in crate::windows) gva: Gva,
    /// `MinorVersion`: the build.
    pub(in crate::windows) build: u32,
    /// A checked (debug) kernel.
    pub(in crate::windows) is_checked: bool,
    /// `KernBase`.
    pub(in crate::windows) kern_base: Gva,
    /// `DebuggerDataList`: head of the list of debugger data.
    pub(in crate::windows) list: Gva,
}

impl VersionBlock {
    /// The one that the first of these regions which has one leads to.
    pub(in crate::windows) fn of_regions(view: &View, regions: &[Gva]) -> Option<Found<Self>> {
        if view.word_len() != 4 {
            return None;
        }
        regions.iter().find_map(|kpcr| {
            let gva = view.pointer(kpcr.checked_add(IN_REGION)?)?;
            let block = Self::at(view, gva)?;
            Some(Found::new(block, format!("version block at {gva} of the KPCR at {kpcr}")))
        })
    }

    fn at(view: &View, gva: Gva) -> Option<Self> {
        let number = |at: u64, len| view.uint(gva.checked_add(at)?, len);
        // The low half is the address.
        let address = |at| number(at, 4).map(Gva).filter(|gva| view.is_kernel(*gva));
        if !view.is_kernel(gva) || number(MACHINE, 2)? != I386 {
            return None;
        }
        Some(Self {
            gva,
            build: u32::try_from(number(MINOR, 2)?).ok()?,
            is_checked: number(MAJOR, 2)? & 0xf == CHECKED,
            kern_base: address(KERN_BASE).filter(|base| base.page_offset() == 0)?,
            list: address(DATA_LIST)?,
        })
    }
}
