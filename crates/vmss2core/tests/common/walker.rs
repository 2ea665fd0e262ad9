//! A second page walker, as naive as can be: it reads every entry anew with a
//! file read of its own and shares no code with the product.
//!
//! Source: Intel SDM volume 3, chapter 4, tables of the paging-structure
//! entries. Not done: protection, reserved bits, PSE-36 (no lab guest uses it).

use anyhow::{Result, ensure};

use super::rand::Rand;

/// Something that is addressed like the guest's memory.
pub trait Physical {
    /// Fills `buf` from `pa` on; `false` if not all of it is memory.
    fn read(&self, pa: u64, buf: &mut [u8]) -> Result<bool>;
}

/// One table level: the lowest address bit it translates, and how many.
#[derive(Clone, Copy, Debug)]
struct Level {
    shift: u32,
    bits: u32,
    /// An entry with bit 7 set maps memory itself.
    can_map: bool,
}

const fn level(shift: u32, bits: u32, can_map: bool) -> Level {
    Level { shift, bits, can_map }
}

/// How a processor translates addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    TwoLevel,
    Pae,
    FourLevel,
    FiveLevel,
}

impl Mode {
    /// The mode of a processor with these registers, paging on.
    pub fn of(cr0: u64, cr4: u64, efer: u64) -> Result<Self> {
        ensure!(cr0 >> 31 & 1 == 1, "paging is off: cr0 {cr0:#x}");
        Ok(match (cr4 >> 5 & 1, efer >> 10 & 1, cr4 >> 12 & 1) {
            (0, _, _) => Self::TwoLevel,
            (_, 0, _) => Self::Pae,
            (_, _, 0) => Self::FourLevel,
            _ => Self::FiveLevel,
        })
    }

    fn levels(self) -> &'static [Level] {
        const LONG: [Level; 5] = [
            level(48, 9, false),
            level(39, 9, false),
            level(30, 9, true),
            level(21, 9, true),
            level(12, 9, false),
        ];
        const PAE: [Level; 3] = [level(30, 2, false), level(21, 9, true), level(12, 9, false)];
        const TWO: [Level; 2] = [level(22, 10, true), level(12, 10, false)];
        match self {
            Self::TwoLevel => &TWO,
            Self::Pae => &PAE,
            Self::FourLevel => LONG.split_at(1).1,
            Self::FiveLevel => &LONG,
        }
    }

    fn root(self, cr3: u64) -> u64 {
        match self {
            Self::TwoLevel => cr3 & 0xffff_f000,
            Self::Pae => cr3 & 0xffff_ffe0,
            Self::FourLevel | Self::FiveLevel => cr3 & 0x000f_ffff_ffff_f000,
        }
    }

    fn entry_len(self) -> u64 {
        if self == Self::TwoLevel { 4 } else { 8 }
    }

    /// Address bits above those translated repeat the highest of them.
    fn canonical(self, va: u64) -> u64 {
        let unused = match self {
            Self::TwoLevel | Self::Pae => return va & 0xffff_ffff,
            Self::FourLevel => 16,
            Self::FiveLevel => 7,
        };
        (va << unused).cast_signed().wrapping_shr(unused).cast_unsigned()
    }

    /// Highest address + 1 that page tables can map in the lower half, or in all
    /// of a 32-bit address space.
    fn lower_half_end(self) -> u64 {
        match self {
            Self::TwoLevel | Self::Pae => 1 << 32,
            Self::FourLevel => 1 << 47,
            Self::FiveLevel => 1 << 56,
        }
    }
}

/// One address space.
pub struct Walker<'a> {
    memory: &'a dyn Physical,
    mode: Mode,
    root: u64,
}

/// A page that is mapped, of any size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leaf {
    pub va: u64,
    pub pa: u64,
    pub len: u64,
}

/// A decoded entry.
enum Entry {
    Absent,
    Table(u64),
    Page(u64),
}

impl<'a> Walker<'a> {
    pub fn new(memory: &'a dyn Physical, mode: Mode, cr3: u64) -> Self {
        Self { memory, mode, root: mode.root(cr3) }
    }

    pub fn mode(&self) -> Mode {
        self.mode
    }

    fn entry(&self, table: u64, index: u64, level: Level) -> Result<Entry> {
        let mut raw = [0; 8];
        let len = self.mode.entry_len();
        let read = raw.get_mut(..usize::try_from(len)?).unwrap_or_default();
        if !self.memory.read(table + index * len, read)? {
            return Ok(Entry::Absent);
        }
        let entry = u64::from_le_bytes(raw);
        let address = entry & 0x000f_ffff_ffff_f000;
        Ok(match (entry & 1, level.can_map && entry >> 7 & 1 == 1) {
            (0, _) => Entry::Absent,
            (_, true) => Entry::Page(address >> level.shift << level.shift),
            (_, false) if level.shift == 12 => Entry::Page(address),
            (_, false) => Entry::Table(address),
        })
    }

    /// Where `va` is, whether or not there is memory.
    pub fn translate(&self, va: u64) -> Result<Option<u64>> {
        if self.mode.canonical(va) != va {
            return Ok(None);
        }
        let mut table = self.root;
        for level in self.mode.levels() {
            let index = va >> level.shift & ((1 << level.bits) - 1);
            match self.entry(table, index, *level)? {
                Entry::Absent => return Ok(None),
                Entry::Table(next) => table = next,
                Entry::Page(page) => return Ok(Some(page + (va & ((1 << level.shift) - 1)))),
            }
        }
        Ok(None)
    }

    /// Every page that is mapped, in ascending order.
    pub fn leaves(&self) -> Result<Vec<Leaf>> {
        let mut leaves = Vec::new();
        self.visit(self.root, self.mode.levels(), 0, &mut leaves)?;
        Ok(leaves)
    }

    fn visit(&self, table: u64, levels: &[Level], base: u64, out: &mut Vec<Leaf>) -> Result<()> {
        ensure!(out.len() < 1 << 20, "too many pages for a lab guest");
        let Some((level, below)) = levels.split_first() else { return Ok(()) };
        for index in 0..1 << level.bits {
            let va = self.mode.canonical(base | index << level.shift);
            match self.entry(table, index, *level)? {
                Entry::Absent => {}
                Entry::Table(next) => self.visit(next, below, va, out)?,
                Entry::Page(pa) => out.push(Leaf { va, pa, len: 1 << level.shift }),
            }
        }
        Ok(())
    }

    /// The bytes from `va` on up to `len`, as far as they are mapped memory.
    pub fn read(&self, va: u64, len: usize) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let Some(at) = va.checked_add(bytes.len() as u64) else { break };
            let Some(pa) = self.translate(at)? else { break };
            let in_page = usize::try_from(4096 - at % 4096)?.min(len - bytes.len());
            let mut piece = vec![0; in_page];
            if !self.memory.read(pa, &mut piece)? {
                break;
            }
            bytes.extend(piece);
        }
        Ok(bytes)
    }
}

/// A read by virtual address, and what must come of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    pub va: u64,
    /// How many bytes to ask for.
    pub len: usize,
    /// The bytes up to the first one that is not mapped memory.
    pub bytes: Vec<u8>,
}

/// `count` reads spread over `leaves` so that each page, large or small, is as
/// likely as any other, one read in eight across its end.
pub fn mapped(walker: &Walker<'_>, leaves: &[Leaf], count: usize) -> Result<Vec<Sample>> {
    ensure!(!leaves.is_empty(), "nothing is mapped");
    let mut rand = Rand::new(0x5eed);
    let mut samples = Vec::new();
    while samples.len() < count {
        let leaf = rand.of(leaves);
        let across_the_end = rand.below(8) == 0;
        let from_end = 1 + if across_the_end { rand.below(32) } else { rand.below(leaf.len) };
        let sample = sample(walker, leaf.va + (leaf.len - from_end), 1 + rand.index(64))?;
        // Mapped, but to something other than memory: no core can hold it.
        if !sample.bytes.is_empty() {
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// One read at a random place of each of `leaves`.
pub fn each_page(walker: &Walker<'_>, leaves: &[Leaf]) -> Result<Vec<Sample>> {
    let mut rand = Rand::new(0xbead);
    let mut samples = Vec::new();
    for leaf in leaves {
        samples.push(sample(walker, leaf.va + rand.below(leaf.len), 1 + rand.index(64))?);
    }
    Ok(samples)
}

/// `count` reads of addresses that are not mapped, close to `leaves` and anywhere.
pub fn unmapped(walker: &Walker<'_>, leaves: &[Leaf], count: usize) -> Result<Vec<Sample>> {
    let mut rand = Rand::new(0xfeed);
    let mut samples = Vec::new();
    while samples.len() < count {
        let sample = sample(walker, unmapped_guess(walker.mode, leaves, &mut rand), 8)?;
        if sample.bytes.is_empty() {
            samples.push(sample);
        }
    }
    Ok(samples)
}

/// `count` reads of mapped addresses, and a quarter as many of others.
pub fn samples(walker: &Walker<'_>, leaves: &[Leaf], count: usize) -> Result<Vec<Sample>> {
    let mut samples = mapped(walker, leaves, count)?;
    samples.extend(unmapped(walker, leaves, count / 4)?);
    Ok(samples)
}

impl Sample {
    /// Whether every byte of it is there.
    pub fn is_whole(&self) -> bool {
        self.bytes.len() == self.len
    }
}

fn sample(walker: &Walker<'_>, va: u64, len: usize) -> Result<Sample> {
    Ok(Sample { va, len, bytes: walker.read(va, len)? })
}

fn unmapped_guess(mode: Mode, leaves: &[Leaf], rand: &mut Rand) -> u64 {
    let leaf = rand.of(leaves);
    match rand.below(3) {
        0 => mode.canonical(leaf.va.wrapping_sub(1 + rand.below(1 << 16))),
        1 => mode.canonical(leaf.va.wrapping_add(leaf.len + rand.below(1 << 16))),
        _ => mode.canonical(rand.below(mode.lower_half_end()) | rand.next() & (1 << 63)),
    }
}
