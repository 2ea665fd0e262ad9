//! Vectors made to break a reader: numbers that overflow, overlap or multiply.

use std::io::Write;

use anyhow::Result;
use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::super::contents::Contents;
use super::super::emit::{Block, Group, Item};
use super::super::machine::Machine;
use super::super::shape::{Extra, Kind, Shape};
use super::{Expect, Named, Vector, changed, in_group, monolithic, patched, plain, small};

pub(super) fn vectors() -> Result<Vec<Vector>> {
    let mut all = tables()?;
    all.extend(regions()?);
    all.extend(blocks()?);
    all.extend(processors()?);
    all.push(groups_multiply()?);
    all.push(picture_lies()?);
    Ok(all)
}

/// Field of a group's table entry: after 64 bytes of name.
const POSITION: u64 = 64;
const SIZE: u64 = 72;

fn tables() -> Result<Vec<Vector>> {
    let (state, files) = plain(&small(), &Shape::default())?;
    let cpu = state.mark("table/cpu")?;
    let memory = state.mark("table/memory")?;
    let patch = |at: u64, bytes: &[u8]| patched(files.clone(), at, bytes);
    let max = u64::MAX.to_le_bytes();
    let overlap = state.mark("Checkpoint/fileversion")?.to_le_bytes();
    let past = (files.first().map_or(0, |(_, contents)| contents.len()) + 0x1000).to_le_bytes();
    let unterminated = patch(memory, &[b'm'; 64]);
    let damaged = || Expect::damaged(&small());
    Ok(vec![
        Vector::new("14-group-count-max", patch(8, &[0xff; 4]), Expect::fails(&["0x"])),
        Vector::new("14-position-past-end", patch(memory + POSITION, &past), damaged()),
        Vector::new("14-position-max", patch(memory + POSITION, &max), damaged()),
        Vector::new("14-size-max", patch(memory + SIZE, &max), damaged()),
        Vector::new("14-size-zero", patch(memory + SIZE, &[0; 8]), Expect::Survives),
        Vector::new("14-groups-overlap", patch(cpu + POSITION, &overlap), Expect::Survives),
        Vector::new("14-position-in-header", patch(cpu + POSITION, &[0; 8]), Expect::Survives),
        Vector::new("14-name-without-end", unterminated, Expect::Survives),
    ])
}

fn regions() -> Result<Vec<Vector>> {
    let two = Machine::synthetic(&[(0, 0x1_0000), (0x10_0000, 0x1_0000)], 1);
    let (state, files) = plain(&two, &Shape::default())?;
    let set = |name: &str, value: u32| -> Result<Vec<Named>> {
        // Tag word, name and index stand before the value.
        let indices = if name.contains('[') { 4 } else { 0 };
        let bare = name.split('[').next().unwrap_or(name);
        let at = state.mark(&format!("memory/{name}"))? + 2 + bare.len() as u64 + indices;
        Ok(patched(files.clone(), at, &value.to_le_bytes()))
    };
    let refused = |name: &str, files: Vec<Named>| Vector::new(name, files, Expect::damaged(&two));
    Ok(vec![
        refused("14-regions-overlap", set("regionPPN[1]", 8)?),
        refused("14-region-ppn-max", set("regionPPN[1]", u32::MAX)?),
        refused("14-region-size-max", set("regionSize[1]", u32::MAX)?),
        refused("14-region-page-max", set("regionPageNum[1]", u32::MAX)?),
        refused("14-region-sizes-zero", set("regionSize[1]", 0)?),
        refused("14-region-count-huge", set("regionsCount", u32::MAX)?),
        refused("14-regions-share-bytes", set("regionPageNum[1]", 0)?),
    ])
}

fn blocks() -> Result<Vec<Vector>> {
    let (state, files) = plain(&small(), &monolithic())?;
    // Tag word, name and two indices stand before the block's sizes.
    let sizes = state.mark("memory/Memory[0][0]")? + 2 + 6 + 8;
    let patch = |name: &str, at: u64, bytes: &[u8]| {
        let files = patched(files.clone(), at, bytes);
        Vector::new(name, files, Expect::damaged(&small()))
    };
    let max = u64::MAX.to_le_bytes();
    Ok(vec![
        patch("14-block-size-max", sizes, &max),
        patch("14-block-size-wraps", sizes, &(u64::MAX - 0x4000).to_le_bytes()),
        patch("14-block-memory-size-max", sizes + 8, &max),
        patch("14-block-pad-past-end", sizes + 16, &[0xff, 0xff]),
        bomb("14-zlib-bomb", u64::from(u32::MAX) << 12)?,
        bomb("14-zlib-bomb-max", u64::MAX)?,
    ])
}

/// A compressed block of 16 MiB of zeroes that claims to be `claimed` bytes.
fn bomb(name: &str, claimed: u64) -> Result<Vector> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 16 << 20])?;
    let data = Contents::from(encoder.finish()?);
    let block = Block { kind: 62, len_in_memory: claimed, alignment: 1, data };
    let (_, files) =
        changed(&small(), &Shape { kind: Kind::Snapshot, ..monolithic() }, |groups| {
            in_group(groups, "memory", |items| {
                items.retain(|item| !item.name().starts_with("region"));
                items.pop();
                items.push(Item::block("Memory", &[0, 0], block.clone()));
            });
            let device = vec![Item::block("state", &[], block)];
            groups.push(Group::new("SVGA", device));
        })?;
    Ok(Vector::new(name, files, Expect::Survives))
}

fn processors() -> Result<Vec<Vector>> {
    let (state, files) = plain(&small(), &Shape::default())?;
    let count = state.mark("cpu/cpu:numVCPUs")? + 2 + 12;
    let index = state.mark("cpu/rip[1]")? + 2 + 3;
    let patch = |at: u64| patched(files.clone(), at, &u32::MAX.to_le_bytes());
    Ok(vec![
        Vector::new("14-processor-count-max", patch(count), Expect::Survives),
        Vector::new("14-processor-index-max", patch(index), Expect::Survives),
    ])
}

/// Tens of thousands of table entries that all name the same long group:
/// a reader that keeps every item of every group needs a hundred gigabytes.
fn groups_multiply() -> Result<Vector> {
    const ENTRIES: u32 = 20_000;
    let tags = Item::verbatim(&[0, 1, b'a'].repeat(20_000));
    let (state, files) = changed(&small(), &monolithic(), |groups| {
        groups.insert(0, Group::new("many", vec![tags]));
    })?;
    let mut file =
        files.first().map(|(_, contents)| contents.bytes()).transpose()?.unwrap_or_default();
    let position = file.len() as u64;
    let table_at = usize::try_from(state.mark("table/many")?)?;
    let start = usize::try_from(state.mark("many/")?)?;
    let end = usize::try_from(state.mark("many/end")?)? + 2;
    let body = file.get(start..end).unwrap_or_default().to_vec();
    let mut entry = file.get(table_at..table_at + 80).unwrap_or_default().to_vec();
    let moved = (12 + u64::from(ENTRIES) * 80).max(position);
    entry.splice(64..72, moved.to_le_bytes());
    file.truncate(8);
    file.extend_from_slice(&ENTRIES.to_le_bytes());
    file.extend_from_slice(&entry.repeat(usize::try_from(ENTRIES)?));
    file.resize(usize::try_from(moved)?, 0);
    file.extend_from_slice(&body);
    let files = vec![("x.vmss".to_owned(), file.into())];
    Ok(Vector::new("14-groups-multiply", files, Expect::Survives))
}

/// A picture whose first chunk claims four gigabytes.
fn picture_lies() -> Result<Vector> {
    let shape = Shape { extras: vec![Extra::Screenshot], ..Shape::default() };
    let (state, files) = plain(&small(), &shape)?;
    let at = state.mark("MKSVMX/imageData/data")? + 8;
    let expect = Expect::opens(&small(), super::Known::All);
    Ok(Vector::new("14-picture-length-lies", patched(files, at, &[0xff; 4]), expect))
}
