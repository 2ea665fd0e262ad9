//! The header of a guest dump: what memory there is, and where the processors
//! are. There is no magic, so the header's own arithmetic must do.

use vmss2core_formats::guestdump::{GuestDumpHeader, MainMem, OldMainMem, VcpuState1, VcpuState2};
use vmss2core_mem::{PAGE_SIZE, Pfn};
use zerocopy::FromBytes;

use super::versions::{ARCHITECTURE_X86, HEAD_LEN, RECORD_TAIL, VERSIONS, Version};

/// Processors that a machine has at most; VMware's limit is 768.
const MAX_VCPUS: u32 = 4096;

/// A run of page frames without memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Hole {
    pub(super) start: Pfn,
    pub(super) pages: u64,
}

/// A header that holds together.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) version: &'static Version,
    pub(super) num_vcpus: u32,
    pub(super) memory: MainMemory,
    pub(super) is_x86: bool,
}

/// The memory that a header describes.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct MainMemory {
    pub(super) pages: u64,
    /// Sorted and disjoint.
    pub(super) holes: Vec<Hole>,
}

impl Header {
    /// The header in the first bytes of a file, if they hold one.
    pub(super) fn parse(head: &[u8]) -> Option<Self> {
        let (header, _) = GuestDumpHeader::read_from_prefix(head).ok()?;
        let version = VERSIONS.iter().find(|v| v.number == header.version.get())?;
        let num_vcpus = header.num_vcpus.get();
        if !(1..=MAX_VCPUS).contains(&num_vcpus) || head.len() < HEAD_LEN {
            return None;
        }
        let memory = if version.number == 1 {
            MainMemory::old(head.get(version.main_mem..)?)?
        } else {
            MainMemory::new(head.get(version.main_mem..)?)?
        };
        let architecture = match version.architecture {
            Some(at) => {
                u32::read_from_prefix(head.get(at..)?).ok().map(|(a, _)| u32::from_le(a))?
            }
            None => ARCHITECTURE_X86,
        };
        let is_x86 = architecture == ARCHITECTURE_X86;
        Some(Self { version, num_vcpus, memory, is_x86 })
    }

    /// Whether this looks like the one version whose layout nobody knows: the
    /// memory description of another version fits somewhere.
    pub(super) fn is_version_2(head: &[u8]) -> bool {
        let Ok((header, _)) = GuestDumpHeader::read_from_prefix(head) else { return false };
        let plausible = (1..=MAX_VCPUS).contains(&header.num_vcpus.get());
        header.version.get() == 2
            && plausible
            && (8..32)
                .filter_map(|at| head.get(at..))
                .any(|bytes| MainMemory::old(bytes).or_else(|| MainMemory::new(bytes)).is_some())
    }

    /// Bytes of the record of one processor.
    pub(super) fn record_len(&self) -> u64 {
        const STATES: u64 = (size_of::<VcpuState1>() + size_of::<VcpuState2>()) as u64;
        STATES.saturating_add(self.version.gap).saturating_add(RECORD_TAIL)
    }

    /// Offset of the record of processor `index`.
    pub(super) fn record_offset(&self, index: u32) -> u64 {
        // Version 1 alone has a variable number of holes in front.
        let holes = if self.version.number == 1 { self.memory.holes.len() as u64 } else { 0 };
        self.version
            .vcpus
            .saturating_add(holes.saturating_mul(8))
            .saturating_add(u64::from(index).saturating_mul(self.record_len()))
    }

    /// Length that the whole file must have.
    pub(super) fn file_len(&self) -> u64 {
        self.record_offset(self.num_vcpus)
    }
}

impl MainMemory {
    fn old(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = OldMainMem::read_from_prefix(bytes).ok()?;
        let holes = raw.holes.map(|hole| (u64::from(hole.ppn.get()), u64::from(hole.pages.get())));
        let pages = raw.memsize_in_pages.get();
        Self::checked(raw.last_addr.get(), pages.into(), raw.mem_holes.get(), holes)
    }

    fn new(bytes: &[u8]) -> Option<Self> {
        let (raw, _) = MainMem::read_from_prefix(bytes).ok()?;
        let holes = raw.holes.map(|hole| (hole.ppn.get(), hole.pages.get()));
        let pages = raw.memsize_in_pages.get();
        Self::checked(raw.last_addr.get(), pages, raw.mem_holes.get(), holes)
    }

    /// Holds only if memory and holes together end at the last address, and the
    /// holes lie in order before it.
    fn checked(last: u64, pages: u64, count: u32, holes: [(u64, u64); 2]) -> Option<Self> {
        let count = usize::try_from(count).ok().filter(|count| *count <= holes.len())?;
        let holes: Vec<Hole> = holes
            .into_iter()
            .take(count)
            .map(|(ppn, pages)| Hole { start: Pfn(ppn), pages })
            .collect();
        let missing = holes.iter().try_fold(0_u64, |sum, hole| sum.checked_add(hole.pages))?;
        let end = pages.checked_add(missing)?;
        let mut at = 0;
        for hole in &holes {
            let before = hole.start.0 >= at;
            at = hole.start.0.checked_add(hole.pages).filter(|at| before && *at <= end)?;
        }
        let agrees = pages > 0 && end.checked_mul(PAGE_SIZE) == last.checked_add(1);
        agrees.then_some(Self { pages, holes })
    }

    /// Length of the memory file.
    pub(super) fn len_bytes(&self) -> u64 {
        self.pages.saturating_mul(PAGE_SIZE)
    }
}
