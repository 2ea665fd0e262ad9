//! Vectors that a reader must open.

use anyhow::Result;

use super::super::emit::{Group, Item, Table};
use super::super::fastlz::{Level, compress};
use super::super::machine::MemoryRange;
use super::super::shape::{
    Companion, Extra, Kind, Order, Packing, Platform, RegionTags, Regions, Registers, Shape,
};
use super::{Expect, Known, Machine, Vector, changed, in_group, monolithic, patched, plain, small};

pub(super) fn vectors() -> Result<Vec<Vector>> {
    let mut all = memory_maps()?;
    all.extend(register_forms()?);
    all.extend(magics()?);
    all.extend(packings()?);
    all.extend(odd_tags()?);
    all.extend(others()?);
    Ok(all)
}

fn whole(name: &str, machine: &Machine, shape: &Shape) -> Result<Vector> {
    let (_, files) = plain(machine, shape)?;
    Ok(Vector::new(name, files, Expect::opens(machine, Known::All)))
}

fn memory_maps() -> Result<Vec<Vector>> {
    let two = Machine::synthetic(&[(0, 0x2_0000), (4 << 30, 0x1_0000)], 2);
    let three = Machine::synthetic(&[(0, 0x8000), (4 << 30, 0x8000), (1 << 40, 0x1_0000)], 1);
    let untagged = Shape { region_tags: RegionTags::Absent, ..Shape::default() };
    let zero = Shape { region_tags: RegionTags::CountZero, ..Shape::default() };
    let shuffled = Shape {
        regions: Regions { cuts: 3, in_image: Order::LastFirst, in_tags: Order::Descending },
        ..Shape::default()
    };
    let groups_after = Shape {
        extras: vec![Extra::Config, Extra::Screenshot, Extra::Times],
        kind: Kind::Snapshot,
        ..monolithic()
    };
    let inside_untagged = Shape { region_tags: RegionTags::Absent, ..monolithic() };
    Ok(vec![
        whole("01-split-untagged", &small(), &untagged)?,
        whole("01-split-count-zero", &small(), &zero)?,
        whole("02-split-two-regions", &two, &Shape::default())?,
        whole("03-split-three-regions", &three, &Shape::default())?,
        whole("03-split-shuffled-regions", &three, &shuffled)?,
        whole("04-monolithic-padded-groups-after", &small(), &groups_after)?,
        whole("05-monolithic-untagged", &small(), &inside_untagged)?,
    ])
}

fn register_forms() -> Result<Vec<Vector>> {
    let shape = |registers| Shape { registers, ..Shape::default() };
    let both = shape(Registers::BareBoth);
    let (state, files) = plain(&small(), &both)?;
    // Tag word, name and one index stand before the value.
    let rbx = state.mark("cpu/rbx[0]")? + 2 + 3 + 4;
    let conflict = patched(files, rbx, &0x1234_5678_u64.to_le_bytes());
    let (_, no_group) = plain(&small(), &shape(Registers::Absent))?;
    let (_, no_control) = changed(&small(), &shape(Registers::BareTags), |groups| {
        in_group(groups, "cpu", |items| items.retain(|item| !item.name().starts_with("CR")));
    })?;
    let expect = |known| Expect::opens(&small(), known);
    let twice = Expect::opens_with(&small(), Known::WithoutFirstRbx, &["rbx"]);
    let form = |name: &str, registers, known| -> Result<Vector> {
        Ok(Vector::new(name, plain(&small(), &shape(registers))?.1, expect(known)))
    };
    Ok(vec![
        form("06-registers-2012", Registers::Year2012, Known::Year2012)?,
        form("06-registers-2016", Registers::Year2016, Known::All)?,
        form("06-registers-2022", Registers::Year2022, Known::All)?,
        form("06-block-registers", Registers::BareBlocks, Known::Bare)?,
        form("07-indexed-registers", Registers::BareTags, Known::Bare)?,
        form("08-both-registers", Registers::BareBoth, Known::Bare)?,
        Vector::new("08-conflicting-registers", conflict, twice),
        Vector::new("09-no-cpu-group", no_group, expect(Known::Nothing)),
        Vector::new("09-no-control-registers", no_control, expect(Known::WithoutControl)),
    ])
}

fn magics() -> Result<Vec<Vector>> {
    let mut all = Vec::new();
    let wide: [(u32, &[&str]); 5] = [
        (0xbed2_bed2, &[]),
        (0xbed3_bed3, &["partial"]),
        (0xbad1_bad1, &["resumed"]),
        (0xbad2_bad2, &[]),
        (0xbed1_bed1, &["resumed"]),
    ];
    for (magic, problems) in wide {
        let (_, files) = plain(&small(), &Shape { magic, ..monolithic() })?;
        let expect = Expect::opens_with(&small(), Known::All, problems);
        all.push(Vector::new(&format!("10-magic-{magic:08x}"), files, expect));
    }
    let narrow = Machine::synthetic_32_bit(0x1_0000, 2);
    for magic in [0xbed0_bed0, 0xbed2_bed0, 0xbad0_bad0] {
        for (table, entry) in [(Table::Narrow72, 72), (Table::Narrow80, 80)] {
            let (_, files) = plain(&narrow, &Shape { magic, table, ..monolithic() })?;
            let expect = Expect::opens(&narrow, Known::Narrow);
            all.push(Vector::new(&format!("10-magic-{magic:08x}-table-{entry}"), files, expect));
        }
    }
    Ok(all)
}

fn packings() -> Result<Vec<Vector>> {
    let inside = |packing| Shape { packing, ..monolithic() };
    let beside = |packing| Shape { packing, ..Shape::default() };
    let one = Packing::FastLz(Level::One);
    let two = Packing::FastLz(Level::Two);
    // More than one container, the last of them short.
    let long = Machine::synthetic(&[(0, 0x48_0000)], 1);
    Ok(vec![
        whole("11-stored-block", &small(), &inside(Packing::StoredAsCompressed))?,
        whole("11-fastlz-1-block", &small(), &inside(one))?,
        whole("11-fastlz-2-block", &small(), &inside(two))?,
        whole("11-fastlz-block-of-containers", &long, &inside(two))?,
        whole("11-zlib-block", &small(), &inside(Packing::Zlib))?,
        whole("11-fastlz-1-file", &small(), &beside(one))?,
        whole("11-fastlz-2-file", &long, &beside(two))?,
        bare_stream()?,
        gzip_block()?,
        dependent_blocks()?,
    ])
}

fn repacked(name: &str, pack: impl FnOnce(&[u8]) -> Result<Vec<u8>>) -> Result<Vector> {
    use super::super::emit::Block;
    let ram = small().ram.bytes()?;
    let data = pack(&ram)?.into();
    let block = Block { kind: 62, len_in_memory: ram.len() as u64, alignment: 0x1_0000, data };
    let (_, files) = changed(&small(), &monolithic(), |groups| {
        in_group(groups, "memory", |items| {
            items.pop();
            items.push(Item::block("Memory", &[0, 0], block));
        });
    })?;
    Ok(Vector::new(name, files, Expect::opens(&small(), Known::All)))
}

fn bare_stream() -> Result<Vector> {
    repacked("11-bare-fastlz-block", |ram| Ok(compress(ram, Level::Two)))
}

fn gzip_block() -> Result<Vector> {
    repacked("11-gzip-block", |ram| super::super::bundle::gzip(&ram.to_vec().into())?.bytes())
}

/// Tens of thousands of tiny blocks of which each repeats what was before it: a
/// byte of its own, then 63 bytes from 64 back. A reader that goes back to the
/// first block for each of them does not end.
fn dependent_blocks() -> Result<Vector> {
    const BLOCKS: usize = 60 << 10;
    let (mut ram, mut packed) = (vec![0; BLOCKS * 64], Vec::new());
    for (block, number) in ram.chunks_exact_mut(64).zip((1..=250).cycle()) {
        if let Some(first) = block.first_mut() {
            *first = number;
        }
        packed.extend_from_slice(&64_u64.to_le_bytes());
        packed.extend_from_slice(&5_u64.to_le_bytes());
        packed.extend_from_slice(&[0x20, number, 0xe0, 54, 63]);
    }
    let memory = vec![MemoryRange { gpa: 0, len: ram.len() as u64, offset: 0 }];
    let machine = Machine { memory, ram: ram.into(), cpus: small().cpus };
    let (_, mut files) = plain(&machine, &Shape::default())?;
    if let Some((_, contents)) = files.get_mut(1) {
        *contents = packed.into();
    }
    Ok(Vector::new("11-fastlz-dependent-blocks", files, Expect::opens(&machine, Known::All)))
}

fn odd_tags() -> Result<Vec<Vector>> {
    let odd = |group: &mut Vec<Item>| {
        let odd = [
            Item::inline("flag", &[3], &[]),
            Item::inline("neitherValueNorIndex", &[], &[]),
            Item::inline(&"n".repeat(255), &[1, 2, u32::MAX], &[0x5a; 61]),
            Item::plain_block("emptyBlock", &[0], Vec::new()),
            Item::word("", &[0], 1),
        ];
        let (sound, corrupt) = odd.split_at(4);
        let rest = group.split_off(1);
        group.extend_from_slice(sound);
        group.extend(rest);
        // Without a name nothing after it can be trusted, so it stands last.
        group.extend_from_slice(corrupt);
    };
    let (_, files) = changed(&small(), &Shape::default(), |groups| {
        in_group(groups, "cpu", odd);
        in_group(groups, "memory", odd);
        groups.push(Group::new("cpu", vec![Item::word("later", &[0], 1)]));
        groups.push(Group::new(&"g".repeat(64), vec![Item::word("full", &[], 1)]));
    })?;
    let expect = Expect::opens(&small(), Known::All);
    Ok(vec![Vector::new("12-odd-tags", files, expect)])
}

fn others() -> Result<Vec<Vector>> {
    let with = |extra| Shape { extras: vec![extra], ..Shape::default() };
    let uuid = Shape { companion: Companion::Uuid, ..Shape::default() };
    let (_, mut renamed) = plain(&small(), &uuid)?;
    if let Some((name, _)) = renamed.get_mut(1) {
        "5f2a1c9e-7b3d-4e60-8a11-0c29d4e85b77".clone_into(name);
    }
    // A file of another size must not be taken for it.
    renamed.push(("00000000-7b3d-4e60-8a11-0c29d4e85b77".to_owned(), vec![0; 8192].into()));
    let arm = Shape {
        platform: Platform::Arm64,
        region_tags: RegionTags::Absent,
        registers: Registers::BareBlocks,
        ..Shape::default()
    };
    let arm_machine = Machine::synthetic(&[(0x8000_0000, 17 << 20)], 2);
    let (_, arm_files) = plain(&arm_machine, &arm)?;
    let arm_expect = Expect::opens(&arm_machine, Known::Arm64);
    Ok(vec![
        Vector::new("15-uuid-memory", renamed, Expect::opens(&small(), Known::All)),
        whole("19-screenshot", &small(), &with(Extra::Screenshot))?,
        whole("19-screenshots", &small(), &with(Extra::Screenshots))?,
        Vector::new("21-arm64", arm_files, arm_expect),
        whole("22-known-zero-pages", &small(), &with(Extra::Bitmaps))?,
    ])
}
