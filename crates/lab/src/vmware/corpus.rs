//! Small inputs that fuzzing starts from, one kind per target.
//!
//! They are sound on the whole: mutation breaks them, and must find its way
//! past the first checks.

use anyhow::Result;

use super::bundle::{folder, fragments, gzip, tar};
use super::contents::Contents;
use super::emit::{Table, emit};
use super::fastlz::{Level, compress, container_block};
use super::guestdump::guest_dump;
use super::machine::{Machine, page_of};
use super::memory::Image;
use super::shape::{
    Extra, Order, Packing, Placement, Platform, RegionTags, Regions, Registers, Shape,
};
use super::state;

/// One input.
#[derive(Clone, Debug)]
pub struct Seed {
    /// Fuzz target it is for.
    pub target: &'static str,
    /// File name.
    pub name: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// All inputs of all targets, together well below a megabyte.
pub fn seeds() -> Result<Vec<Seed>> {
    let mut all = state_files()?;
    all.extend(containers()?);
    all.extend(streams()?);
    all.extend(archives()?);
    all.extend(page_tables());
    Ok(all)
}

fn seed(target: &'static str, name: &str, bytes: Vec<u8>) -> Seed {
    Seed { target, name: name.to_owned(), bytes }
}

/// A state file without a byte too many.
fn state_file(machine: &Machine, shape: &Shape) -> Result<Contents> {
    let image = Image::new(machine, shape)?;
    let groups = state::groups(machine, shape, "x", &image)?;
    Ok(emit(state::header(shape), &groups)?.contents)
}

fn tiny() -> Machine {
    Machine::synthetic(&[(0, 0x1000), (0x10_0000, 0x1000)], 1)
}

fn inside() -> Shape {
    Shape { placement: Placement::Monolithic, alignment: 0x10, ..Shape::default() }
}

fn state_files() -> Result<Vec<Seed>> {
    let extras = vec![Extra::Msrs, Extra::Config, Extra::Screenshots, Extra::Bitmaps, Extra::Times];
    let regions = Regions { cuts: 0, in_image: Order::Descending, in_tags: Order::Descending };
    let narrow = |table| Shape { table, magic: 0xbed0_bed0, ..inside() };
    let arm = Shape { platform: Platform::Arm64, region_tags: RegionTags::Absent, ..inside() };
    let shapes = [
        ("split", Shape::default()),
        ("indexed", inside()),
        ("blocks", Shape { registers: Registers::BareBlocks, ..inside() }),
        ("year-2012", Shape { registers: Registers::Year2012, ..inside() }),
        ("year-2016", Shape { registers: Registers::Year2016, ..inside() }),
        ("both", Shape { registers: Registers::BareBoth, magic: 0xbad1_bad1, ..inside() }),
        ("extras", Shape { extras, ..inside() }),
        ("regions", Shape { regions, ..inside() }),
        ("untagged", Shape { region_tags: RegionTags::Absent, ..inside() }),
        ("stored", Shape { packing: Packing::StoredAsCompressed, ..inside() }),
        ("fastlz", Shape { packing: Packing::FastLz(Level::Two), ..inside() }),
        ("zlib", Shape { packing: Packing::Zlib, ..inside() }),
        ("narrow-72", narrow(Table::Narrow72)),
        ("narrow-80", narrow(Table::Narrow80)),
        ("arm64", arm),
    ];
    let mut all = Vec::new();
    for (name, shape) in shapes {
        let narrow = shape.table != Table::Wide;
        let machine = if narrow { Machine::synthetic_32_bit(0x1000, 1) } else { tiny() };
        all.push(seed("state_file", name, state_file(&machine, &shape)?.bytes()?));
    }
    for version in [1, 3, 5, 6, 7] {
        let name = format!("guest-{version}");
        all.push(seed("state_file", &name, guest_dump(&tiny(), version)?.bytes()?));
    }
    Ok(all)
}

/// A zero page, a repetitive one and noise.
fn pages() -> Vec<u8> {
    [3, 1, 2].into_iter().flat_map(page_of).collect()
}

fn containers() -> Result<Vec<Seed>> {
    let pages = pages();
    let (zero, rest) = pages.split_at(4096);
    let mut mixed = container_block(zero, Level::Two);
    mixed.extend(container_block(rest, Level::One));
    // Noise does not shrink, so this block is stored.
    let stored = container_block(&page_of(2), Level::Two);
    let flat = Machine::synthetic(&[(0, 0x6000)], 1).ram.bytes()?;
    Ok(vec![
        seed("container", "mixed", mixed),
        seed("container", "stored", stored),
        seed("container", "two", container_block(&flat, Level::Two)),
    ])
}

/// In front of a stream: how many bytes it expands to.
fn streams() -> Result<Vec<Seed>> {
    let mut all = Vec::new();
    let far: Vec<u8> = [pages(), vec![7; 9000], pages()].concat();
    for (level, level_name) in [(Level::One, "1"), (Level::Two, "2")] {
        for (name, input) in [("pages", &pages()), ("far", &far), ("short", &vec![5])] {
            let mut bytes = u32::try_from(input.len())?.to_le_bytes().to_vec();
            bytes.extend(compress(input, level));
            all.push(seed("fastlz", &format!("{name}-{level_name}"), bytes));
        }
    }
    Ok(all)
}

fn archives() -> Result<Vec<Seed>> {
    let shape = Shape { packing: Packing::FastLz(Level::Two), ..inside() };
    let file = state_file(&tiny(), &shape)?;
    let files = vec![("x-1a2b3c4d.vmss".to_owned(), file.clone())];
    let packed = |entries: &[super::Named]| gzip(&tar(entries)?)?.bytes();
    Ok(vec![
        seed("archive", "file.gz", gzip(&file)?.bytes()?),
        seed("archive", "plain.tar", tar(&files)?.bytes()?),
        seed("archive", "plain.tgz", packed(&files)?),
        seed("archive", "pieces.tgz", packed(&fragments("x.vmss", &file, 3))?),
        seed("archive", "bundle.tgz", packed(&folder(&files, 2)?)?),
    ])
}

/// Four control values (CR0, CR3, CR4, EFER), four addresses to look up, then
/// memory from physical address 0 on.
fn page_tables() -> Vec<Seed> {
    let long = [0x8005_0033, 0x1000, 0x20, 0xd01];
    let five = [0x8005_0033, 0x1000, 0x1020, 0xd01];
    let pae = [0x8005_0033, 0x1000, 0x20, 0x800];
    let old = [0x8005_0033, 0x1000, 0x10, 0];
    // Table, slot, entry: present and writable, bit 7 for a large page.
    let four_levels =
        [(1, 0, 0x2003), (1, 511, 0x1003), (2, 0, 0x3003), (2, 1, 0x83), (3, 0, 0x4003)];
    let with_leaves =
        [four_levels.as_slice(), &[(3, 1, 0x83), (4, 0, 0x5003), (4, 1, 0x3)]].concat();
    let loops = [(1, 0, 0x1003), (1, 1, 0x1003), (1, 256, 0x1003), (1, 511, 0x1003)];
    vec![
        page_table("four-levels", long, &with_leaves),
        page_table("five-levels", five, &with_leaves),
        page_table("loops", long, &loops),
        page_table(
            "pae",
            pae,
            &[(1, 0, 0x2001), (1, 3, 0x2001), (2, 0, 0x3003), (2, 1, 0x83), (3, 0, 0x3)],
        ),
        page_table("two-levels", old, &[(1, 0, 0x2003_0000_2003), (1, 1, 0x83), (2, 0, 0x3)]),
    ]
}

fn page_table(name: &str, control: [u64; 4], entries: &[(usize, usize, u64)]) -> Seed {
    let addresses = [0, 0x40_0000, 0xffff_8000_0000_0000, 0xffff_ffff_ffff_f000];
    let mut memory = vec![0_u64; 6 * 512];
    for (table, slot, entry) in entries {
        if let Some(word) = memory.get_mut(table * 512 + slot) {
            *word = *entry;
        }
    }
    let words = control.iter().chain(&addresses).chain(&memory);
    seed("paging", name, words.flat_map(|word| word.to_le_bytes()).collect())
}

/// Numbers without end from a seed, for mutations that can be repeated.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// A number below `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 8).unwrap_or_default() % limit.max(1)
    }
}

/// Numbers at which sizes and counts break.
const EDGES: [u64; 12] = [
    0,
    1,
    0x7f,
    0xff,
    0x1000,
    0xffff,
    0x7fff_ffff,
    0xffff_ffff,
    0x1_0000_0000,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_f000,
    u64::MAX,
];

/// Damages `bytes` in one to four places, the first 16 KiB more often.
pub fn mutate(bytes: &mut Vec<u8>, random: &mut Random) {
    for _ in 0..=random.below(4) {
        let front = bytes.len().min(0x4000);
        let reach = if random.below(4) > 0 { front } else { bytes.len() };
        let at = random.below(reach);
        match random.below(10) {
            0 => bytes.truncate(at),
            1 => {
                let len = random.below(64).min(bytes.len() - at);
                bytes.drain(at..at + len);
            }
            2 => {
                let len = random.below(64).min(bytes.len() - at);
                let copy = bytes.get(at..at + len).unwrap_or_default().to_vec();
                let to = random.below(bytes.len());
                bytes.splice(to..to, copy);
            }
            3..=5 => {
                let edge = EDGES.get(random.below(EDGES.len())).copied().unwrap_or_default();
                overwrite(bytes, at, &edge.to_le_bytes(), 1 << random.below(4));
            }
            _ => {
                let bit = 1_u8 << random.below(8);
                let noise = bytes.get(at).copied().unwrap_or_default() ^ bit;
                overwrite(bytes, at, &[noise], 1);
            }
        }
    }
}

fn overwrite(bytes: &mut [u8], at: usize, with: &[u8], len: usize) {
    for (byte, new) in bytes.iter_mut().skip(at).zip(with.iter().take(len)) {
        *byte = *new;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seeds_stay_small_and_are_the_same_each_time() {
        let all = seeds().unwrap();
        let total: usize = all.iter().map(|seed| seed.bytes.len()).sum();
        assert!(total < 700 << 10, "{total} bytes");
        let again = seeds().unwrap();
        assert!(all.iter().zip(&again).all(|(a, b)| a.bytes == b.bytes));
    }

    #[test]
    fn mutation_changes_things_and_can_be_repeated() {
        let original: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let mutant = |seed| {
            let mut bytes = original.clone();
            mutate(&mut bytes, &mut Random::new(seed));
            bytes
        };
        let changed = (0..200).filter(|seed| mutant(*seed) != original).count();
        assert!(changed > 190, "{changed}");
        assert!((0..200).all(|seed| mutant(seed) == mutant(seed)));
    }
}
