//! Where the tables are read from, and what is known beforehand.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{AddressSpace, Limits};
use vmss2core_mem::{Gva, PAGE_SIZE};

use crate::KernelText;
use crate::linux::Kernel;
use crate::linux::symbols::Entry;

/// An image has a handful of mappings; one that needs more is something odd.
const LIMITS: Limits = Limits { visits_per_table: 8, tables: 1 << 12, runs: 1 << 10 };

/// Variables whose addresses VMCOREINFO tells of as a rule.
const IN_VMCOREINFO: [&str; 4] = ["_stext", "init_uts_ns", "node_online_map", "swapper_pg_dir"];

/// The beginning of the text at `linux_banner`.
const BANNER: &[u8] = b"Linux version ";

/// The kernel image.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) space: AddressSpace,
    /// Bytes of a pointer.
    pub(crate) word_len: u64,
    /// Mapped parts of the image, sorted.
    pub(crate) ranges: Vec<Range<u64>>,
    /// Symbols whose addresses are known from elsewhere.
    pub(crate) known: Vec<(&'static str, Gva)>,
}

/// Which symbols must have which address for a table to be right.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Of each known name, its address and the indices of all symbols of that name.
    pub(super) symbols: Vec<(Gva, Vec<usize>)>,
    /// The symbol that points at the banner.
    pub(super) banner: Option<usize>,
}

impl Source {
    /// An image of which nothing is known yet but where it lies.
    pub(in crate::linux) fn of_image(space: &AddressSpace, text: KernelText) -> Self {
        let range = text.start.0..text.start.0.saturating_add(text.len);
        Self {
            space: space.clone(),
            word_len: if space.mode().is_64_bit() { 8 } else { 4 },
            ranges: mapped(space, range),
            known: Vec::new(),
        }
    }

    /// The image of a kernel.
    pub(super) fn of(kernel: &Kernel) -> Self {
        let linux = kernel.linux();
        let info = linux.vmcoreinfo.as_ref().filter(|info| !info.value.synthesised);
        let mut known: Vec<_> = IN_VMCOREINFO
            .into_iter()
            .filter_map(|name| Some((name, info?.value.symbol(name)?)))
            .collect();
        // Only a 64-bit image begins with `_text` for sure.
        let text = linux.text.as_ref().filter(|_| linux.is_64_bit);
        known.extend(text.map(|text| ("_text", text.value.start)));
        let ranges = linux.text.as_ref().map(|text| {
            let start = text.value.start.0;
            mapped(kernel.space(), start..start.saturating_add(text.value.len))
        });
        Self {
            space: kernel.space().clone(),
            word_len: kernel.word_len(),
            ranges: ranges.unwrap_or_default(),
            known,
        }
    }

    /// Bytes at an address, all of them or none.
    pub(super) fn bytes(&self, at: Gva, len: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; len];
        self.space.read(at, &mut bytes).ok()?;
        Some(bytes)
    }

    /// Bytes at an address, as many as there are before memory ends.
    pub(super) fn bytes_up_to(&self, at: Gva, len: usize) -> Vec<u8> {
        if let Some(bytes) = self.bytes(at, len) {
            return bytes;
        }
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let next = Gva(at.0.saturating_add(bytes.len() as u64));
            let in_page =
                usize::try_from(PAGE_SIZE.saturating_sub(next.0 % PAGE_SIZE)).unwrap_or(len);
            match self.bytes(next, in_page.min(len.saturating_sub(bytes.len()))) {
                Some(page) => bytes.extend_from_slice(&page),
                None => break,
            }
        }
        bytes
    }

    pub(super) fn u32(&self, at: Gva) -> Option<u32> {
        self.space.read_u32(at).ok()
    }

    /// The pointer at an address.
    pub(super) fn word(&self, at: Gva) -> Option<u64> {
        match self.word_len {
            8 => self.space.read_u64(at).ok(),
            _ => self.space.read_u32(at).ok().map(u64::from),
        }
    }

    /// The mapped range that an address lies in.
    pub(super) fn range_of(&self, at: Gva) -> Option<&Range<u64>> {
        self.ranges.iter().find(|range| range.contains(&at.0))
    }

    /// Which of some symbols are known.
    pub(super) fn known_among(&self, names: &str, entries: &[Entry]) -> Known {
        let mut known = Known {
            symbols: self.known.iter().map(|(_, address)| (*address, Vec::new())).collect(),
            banner: None,
        };
        for (index, entry) in entries.iter().enumerate() {
            let start = usize::try_from(entry.start).unwrap_or(usize::MAX);
            let name = names.as_bytes().get(start..start.saturating_add(entry.len.into()));
            let name = name.unwrap_or_default();
            if name == b"linux_banner" {
                known.banner = Some(index);
            }
            let wanted = self.known.iter().position(|(wanted, _)| wanted.as_bytes() == name);
            if let Some((_, indices)) = wanted.and_then(|wanted| known.symbols.get_mut(wanted)) {
                indices.push(index);
            }
        }
        known
    }

    pub(super) fn is_banner(&self, at: Gva) -> bool {
        self.bytes(at, BANNER.len()).is_some_and(|bytes| bytes == BANNER)
    }
}

/// Mapped parts of a range, neighbours joined.
fn mapped(space: &AddressSpace, range: Range<u64>) -> Vec<Range<u64>> {
    let mut ranges: Vec<Range<u64>> = Vec::new();
    space.walk_range(range.clone(), &LIMITS, &mut |leaf| {
        // A large page may reach beyond the image, where leftovers of others lie.
        let start = leaf.gva.0.max(range.start);
        let end = leaf.gva.0.saturating_add(leaf.len_bytes()).min(range.end);
        match ranges.last_mut() {
            Some(last) if last.end == start => last.end = end,
            _ if start < end => ranges.push(start..end),
            _ => {}
        }
        ControlFlow::Continue(())
    });
    ranges
}
