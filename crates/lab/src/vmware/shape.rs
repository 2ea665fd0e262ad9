//! The ways in which one machine can come as a checkpoint.

use super::emit::Table;
use super::fastlz::Level;

/// How a checkpoint is written. The default is what today's products write:
/// memory beside the state, all tags, plain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Where the memory goes.
    pub placement: Placement,
    /// Suspended machine or snapshot: the name's ending.
    pub kind: Kind,
    /// First four bytes of the state file.
    pub magic: u32,
    /// Layout of the group table and of block lengths.
    pub table: Table,
    /// How registers are written.
    pub registers: Registers,
    /// How the memory is packed.
    pub packing: Packing,
    /// Memory in the state file starts at a multiple of this.
    pub alignment: u32,
    /// Which tags describe the regions.
    pub region_tags: RegionTags,
    /// How many regions in which order.
    pub regions: Regions,
    /// What kind of guest.
    pub platform: Platform,
    /// What else the state file holds.
    pub extras: Vec<Extra>,
    /// How the files are handed over.
    pub delivery: Delivery,
    /// Name of a memory file.
    pub companion: Companion,
}

/// Where the memory goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// A file of its own.
    Split,
    /// Into the state file.
    Monolithic,
    /// Nowhere: a snapshot without memory.
    Nowhere,
}

/// What made the checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Suspending; the file is a `.vmss`.
    Suspend,
    /// Taking a snapshot; the file is a `.vmsn`.
    Snapshot,
}

/// How registers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Registers {
    /// As a product of 2012 did: a tag for each register and each byte of FXSAVE.
    Year2012,
    /// As one of 2016 did: blocks in the hardware's order.
    Year2016,
    /// As one of 2022 did: more of them, other MSRs by number, and memory slots.
    Year2022,
    /// Nobody's: one tag per register, without hidden parts, MSRs and vectors.
    BareTags,
    /// Nobody's: general, control and table registers in blocks, and no more.
    BareBlocks,
    /// Nobody's: both of the above.
    BareBoth,
    /// No `cpu` group.
    Absent,
}

impl Registers {
    /// Whether nobody writes them like that.
    pub fn is_bare(self) -> bool {
        matches!(self, Self::BareTags | Self::BareBlocks | Self::BareBoth)
    }
}

/// How the memory is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// As it is.
    Plain,
    /// As it is, in a block that is marked as compressed.
    StoredAsCompressed,
    /// FastLZ streams in containers of 4 MiB.
    FastLz(Level),
    /// One zlib stream.
    Zlib,
}

/// Which tags describe the regions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionTags {
    /// None at all.
    Absent,
    /// Only a count of 0.
    CountZero,
    /// Count, and three tags per region.
    Full,
}

/// How many regions in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regions {
    /// How often a region is cut in two; 0 leaves the machine's ranges.
    pub cuts: usize,
    /// Order of the regions in the memory image.
    pub in_image: Order,
    /// Order of the regions' tags.
    pub in_tags: Order,
}

/// An order of regions, seen from their addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// By address.
    Ascending,
    /// The other way round.
    Descending,
    /// By address, but the last one first.
    LastFirst,
}

impl Order {
    pub(super) fn apply<T>(self, items: &mut [T]) {
        match self {
            Self::Ascending => {}
            Self::Descending => items.reverse(),
            Self::LastFirst => items.rotate_right(1.min(items.len())),
        }
    }
}

/// What kind of guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Platform {
    /// x86, 32 or 64 bits.
    X86,
    /// 64-bit Arm.
    Arm64,
}

/// Something that a state file may hold besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extra {
    /// Model-specific registers, beside bare forms.
    Msrs,
    /// Group `Snapshot` with the configuration file in it.
    Config,
    /// Group `MKSVMX` with one picture of the console.
    Screenshot,
    /// Two pictures, numbered from 1.
    Screenshots,
    /// The bitmaps of zero and of recently used pages.
    Bitmaps,
    /// Times of power on and suspend.
    Times,
}

/// How the files are handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// As they are.
    Plain,
    /// Each gzip'd.
    Gzip,
    /// Each cut into this many pieces.
    Fragments(usize),
    /// An unpacked support bundle: a folder with the pieces of a gzip'd archive
    /// that holds the files.
    Folder(usize),
    /// The same folder as a `.tgz`.
    Bundle(usize),
}

/// Name of a memory file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Companion {
    /// The state file's name with `.vmem`.
    SameName,
    /// A bare UUID, as exported from object storage.
    Uuid,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            placement: Placement::Split,
            kind: Kind::Suspend,
            magic: 0xbed2_bed2,
            table: Table::Wide,
            registers: Registers::Year2022,
            packing: Packing::Plain,
            alignment: 0x1_0000,
            region_tags: RegionTags::Full,
            regions: Regions { cuts: 0, in_image: Order::Ascending, in_tags: Order::Ascending },
            platform: Platform::X86,
            extras: Vec::new(),
            delivery: Delivery::Plain,
            companion: Companion::SameName,
        }
    }
}

impl Shape {
    /// Whether the state file holds `extra`.
    pub fn has(&self, extra: Extra) -> bool {
        self.extras.contains(&extra)
    }

    pub(super) fn platform_is_32_bit(&self) -> bool {
        self.table != Table::Wide
    }

    pub(super) fn extension(&self) -> &'static str {
        match self.kind {
            Kind::Suspend => "vmss",
            Kind::Snapshot => "vmsn",
        }
    }
}
