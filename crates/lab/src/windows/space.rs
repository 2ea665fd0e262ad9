//! Address spaces: what is mapped where, written first by virtual address and
//! turned into page tables at the end.
//!
//! Layouts of entries: Intel SDM volume 3, 4.3 to 4.5.

use std::collections::BTreeMap;

use super::ram::{PAGE, Ram};
use super::truth::Mapping;

/// How the processor translates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paging {
    /// 32 bits, two levels.
    TwoLevel,
    /// 32 bits, physical address extension.
    Pae,
    /// 64 bits, four levels.
    FourLevel,
    /// 64 bits, five levels (LA57).
    FiveLevel,
}

impl Paging {
    /// Bits of an address below each level, from the root, and bits of an index.
    fn levels(self) -> &'static [(u32, u32)] {
        match self {
            Self::TwoLevel => &[(22, 10), (12, 10)],
            Self::Pae => &[(30, 2), (21, 9), (12, 9)],
            Self::FourLevel => &[(39, 9), (30, 9), (21, 9), (12, 9)],
            Self::FiveLevel => &[(48, 9), (39, 9), (30, 9), (21, 9), (12, 9)],
        }
    }

    fn entry_len(self) -> u64 {
        if self == Self::TwoLevel { 4 } else { 8 }
    }

    /// Whether addresses have 64 bits.
    pub fn is_64_bit(self) -> bool {
        matches!(self, Self::FourLevel | Self::FiveLevel)
    }

    pub(super) fn is_kernel(self, va: u64) -> bool {
        va >= if self.is_64_bit() { 1 << 63 } else { 0x8000_0000 }
    }
}

/// How a page is mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// Kernel data.
    Data,
    /// Kernel constants.
    Constant,
    /// Kernel code.
    Code,
    /// User pages.
    User,
}

/// Where the content of a virtual page is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Residence {
    /// In memory, mapped.
    Present,
    /// In memory, but the entry says transition.
    Transition,
    /// Not in memory: in the page file.
    PagedOut,
}

#[derive(Clone, Copy, Debug)]
struct Page {
    pa: u64,
    access: Access,
    residence: Residence,
    len: u64,
}

/// One root and what it maps besides the kernel's half.
pub(super) struct Space {
    root: u64,
    kind: Kind,
    pages: BTreeMap<u64, Page>,
}

/// What a root has besides its own pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// The System process: the kernel's half is its own.
    First,
    /// The kernel's half of the first.
    Process,
    /// The user's half of another, and nothing that maps itself.
    Shadow(SpaceId),
    /// Nothing, but it maps itself.
    Other,
    /// Nothing at all.
    Bare,
}

/// Number of an address space. The first is that of the System process.
pub(super) type SpaceId = usize;

/// Memory, physical and virtual.
pub(super) struct Memory {
    pub(super) ram: Ram,
    pub(super) paging: Paging,
    /// Index of the entry by which a 64-bit root maps itself.
    pub(super) self_map: u64,
    spaces: Vec<Space>,
    regions: Vec<(u64, u64, Access)>,
}

impl Memory {
    pub(super) fn new(ram: Ram, paging: Paging, self_map: u64, root: u64) -> Self {
        let mut memory = Self { ram, paging, self_map, spaces: Vec::new(), regions: Vec::new() };
        memory.add(root, Kind::First);
        memory
    }

    fn add(&mut self, root: u64, kind: Kind) -> SpaceId {
        self.ram.put(root, &[0; 32]);
        self.spaces.push(Space { root, kind, pages: BTreeMap::new() });
        self.spaces.len() - 1
    }

    /// Another process. PAE roots of 32 bytes lie anywhere in their pages.
    pub(super) fn process(&mut self) -> SpaceId {
        let within = if self.paging == Paging::Pae { self.spaces.len() as u64 * 0x20 } else { 0 };
        let root = self.ram.take() + within;
        self.add(root, Kind::Process)
    }

    /// What user mode of a process sees when the kernel hides itself.
    pub(super) fn shadow(&mut self, process: SpaceId) -> SpaceId {
        let root = self.ram.take();
        self.add(root, Kind::Shadow(process))
    }

    /// A root of something that is not NT.
    pub(super) fn foreign(&mut self, maps_itself: bool) -> SpaceId {
        let root = self.ram.take();
        self.add(root, if maps_itself { Kind::Other } else { Kind::Bare })
    }

    pub(super) fn root(&self, space: SpaceId) -> u64 {
        self.spaces.get(space).map_or(0, |space| space.root)
    }

    /// Says how pages from here on are mapped when they are written first.
    pub(super) fn region(&mut self, va: u64, len: u64, access: Access) {
        self.regions.push((va, va + len, access));
    }

    fn access(&self, va: u64) -> Access {
        let mut regions = self.regions.iter().rev();
        let region = regions.find(|(start, end, _)| (*start..*end).contains(&va));
        match region {
            Some((_, _, access)) => *access,
            None if self.paging.is_kernel(va) => Access::Data,
            None => Access::User,
        }
    }

    /// Where the page of `va` is, in the space or in the kernel's half that it shares.
    fn find(&self, space: SpaceId, va: u64) -> Option<Page> {
        let space = self.spaces.get(space)?;
        let of = |space: &Space| space.pages.get(&(va & !(PAGE - 1))).copied();
        let shared = || {
            let large = |space: &Space| {
                let (start, page) = space.pages.range(..=va).next_back()?;
                (va < start + page.len)
                    .then_some(Page { pa: page.pa + (va & !(PAGE - 1)) - start, ..*page })
            };
            let sees = matches!(space.kind, Kind::First | Kind::Process);
            self.spaces.first().filter(|_| sees && self.paging.is_kernel(va)).and_then(large)
        };
        of(space).or_else(shared)
    }

    /// Maps a page, or 2 MiB (4 MiB) if `len` says so.
    pub(super) fn map(&mut self, space: SpaceId, va: u64, pa: u64, len: u64) {
        let page = Page { pa, access: self.access(va), residence: Residence::Present, len };
        if let Some(space) = self.spaces.get_mut(space) {
            space.pages.insert(va, page);
        }
    }

    /// Takes a page out of a space, as the memory manager would.
    pub(super) fn evict(&mut self, space: SpaceId, va: u64, residence: Residence) {
        let page = self.spaces.get_mut(space).and_then(|space| space.pages.get_mut(&va));
        if let Some(page) = page {
            page.residence = residence;
        }
    }

    /// The physical address of `va`, which is mapped now if it was not.
    pub(super) fn translate(&mut self, space: SpaceId, va: u64) -> u64 {
        if let Some(page) = self.find(space, va) {
            return page.pa + va % PAGE;
        }
        let owner = self.spaces.get(space).map_or(0, |own| {
            if own.kind == Kind::Process && self.paging.is_kernel(va) { 0 } else { space }
        });
        let pa = self.ram.take();
        self.map(owner, va & !(PAGE - 1), pa, PAGE);
        pa + va % PAGE
    }

    /// Writes in a space; pages come into being as needed.
    pub(super) fn put(&mut self, space: SpaceId, va: u64, bytes: &[u8]) {
        let (mut at, mut rest) = (va, bytes);
        while !rest.is_empty() {
            let room = usize::try_from(PAGE - at % PAGE).unwrap_or_default();
            let (now, later) = rest.split_at(rest.len().min(room));
            let pa = self.translate(space, at);
            self.ram.put(pa, now);
            at += now.len() as u64;
            rest = later;
        }
    }

    /// Writes the page tables of all spaces and says what they map.
    pub(super) fn finish(&mut self) -> Vec<Mapping> {
        if self.paging == Paging::Pae {
            self.page_directories();
        }
        let mut mappings = Vec::new();
        for id in 0..self.spaces.len() {
            let root = self.root(id);
            let pages = self.spaces.get(id).map(|space| space.pages.clone()).unwrap_or_default();
            for (va, page) in pages {
                self.enter(root, va, page);
                let Page { pa, residence, len, .. } = page;
                mappings.push(Mapping { root, va, pa, len, residence });
            }
            self.share(id);
        }
        mappings
    }

    /// Every PAE root has its four directories from the start. Those of the first
    /// lie after it, as the loader made them.
    fn page_directories(&mut self) {
        for id in 0..self.spaces.len() {
            let root = self.root(id);
            for index in 0..4 {
                let directory = if id == 0 { root + (index + 1) * PAGE } else { self.ram.take() };
                self.ram.put(root + index * 8, &(directory | 1).to_le_bytes());
            }
        }
    }

    fn enter(&mut self, root: u64, va: u64, page: Page) {
        let levels = self.paging.levels();
        let leaf = if page.len > PAGE { levels.len() - 2 } else { levels.len() - 1 };
        let mut table = root;
        for (shift, bits) in levels.iter().take(leaf) {
            let at = self.slot(table, va, *shift, *bits);
            table = self.next_table(at, page.access);
        }
        let Some((shift, bits)) = levels.get(leaf) else { return };
        let at = self.slot(table, va, *shift, *bits);
        let entry = self.leaf_entry(page);
        self.set(at, entry);
    }

    fn slot(&self, table: u64, va: u64, shift: u32, bits: u32) -> u64 {
        table + ((va >> shift) & ((1 << bits) - 1)) * self.paging.entry_len()
    }

    fn entry(&self, at: u64) -> u64 {
        let entry = self.ram.get_u64(at & !7);
        match self.paging {
            Paging::TwoLevel => (entry >> ((at & 4) * 8)) & 0xffff_ffff,
            _ => entry,
        }
    }

    fn set(&mut self, at: u64, entry: u64) {
        let bytes = entry.to_le_bytes();
        let len = usize::try_from(self.paging.entry_len()).unwrap_or_default();
        self.ram.put(at, bytes.get(..len).unwrap_or_default());
    }

    fn next_table(&mut self, at: u64, access: Access) -> u64 {
        let entry = self.entry(at);
        if entry & 1 != 0 {
            return entry & 0x000f_ffff_ffff_f000;
        }
        let table = self.ram.take();
        // Accessed, dirty, writable; user pages say so at every level.
        let flags = if access == Access::User { 0x67 } else { 0x63 };
        self.set(at, table | flags);
        table
    }

    fn leaf_entry(&self, page: Page) -> u64 {
        let no_execute = if self.paging == Paging::TwoLevel { 0 } else { 1 << 63 };
        let flags = match page.access {
            Access::Data => 0x163 | no_execute,
            Access::Constant => 0x121 | no_execute,
            Access::Code => 0x121,
            Access::User => 0x67,
        };
        let large = if page.len > PAGE { 0x80 } else { 0 };
        match page.residence {
            Residence::Present => page.pa | flags | large,
            // Bit 11 says transition; protection is in bits 5 to 9.
            Residence::Transition => page.pa | 0x800 | 0x80,
            // Page file 0, some offset in its upper half.
            Residence::PagedOut => {
                let offset = 0x1234 + (page.pa >> 12);
                if self.paging == Paging::TwoLevel {
                    offset << 12 | 0x80
                } else {
                    offset << 32 | 0x80
                }
            }
        }
    }

    /// Gives a root the half that it shares, and the entries that map itself.
    fn share(&mut self, id: SpaceId) {
        let (root, first) = (self.root(id), self.root(0));
        let Some(kind) = self.spaces.get(id).map(|space| space.kind) else { return };
        if self.paging == Paging::Pae {
            self.share_pae(root, first, kind == Kind::Process);
            return;
        }
        match kind {
            Kind::Process => self.copy(first + 0x800, root + 0x800, 0x800),
            Kind::Shadow(process) => self.copy(self.root(process), root, 0x800),
            Kind::First | Kind::Other | Kind::Bare => {}
        }
        if matches!(kind, Kind::Shadow(_) | Kind::Bare) {
            return;
        }
        if self.paging == Paging::TwoLevel {
            self.set(root + 0x300 * 4, root | 0x63);
        } else {
            self.set(root + self.self_map * 8, root | 0x63 | 1 << 63);
        }
    }

    fn share_pae(&mut self, root: u64, first: u64, shares: bool) {
        let directory = |memory: &Self, root: u64, index: u64| {
            memory.ram.get_u64(root + index * 8) & 0x000f_ffff_ffff_f000
        };
        for index in [2, 3].into_iter().filter(|_| shares) {
            let (from, to) = (directory(self, first, index), directory(self, root, index));
            self.copy(from, to, 0x1000);
        }
        let last = directory(self, root, 3);
        for index in 0..4 {
            let own = directory(self, root, index);
            self.set(last + index * 8, own | 0x63);
        }
    }

    fn copy(&mut self, from: u64, to: u64, len: usize) {
        let bytes = self.ram.get(from, len);
        self.ram.put(to, &bytes);
    }
}
