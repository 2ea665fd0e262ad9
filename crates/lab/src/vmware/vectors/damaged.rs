//! Vectors that were whole once: cut short, encrypted, without their memory.

use anyhow::Result;

use super::super::fastlz::Level;
use super::super::shape::{Packing, Placement, Shape};
use super::{Expect, Named, Vector, cut, monolithic, patched, plain, small};

pub(super) fn vectors() -> Result<Vec<Vector>> {
    let mut all = truncated()?;
    all.extend(bad_streams()?);
    all.push(encrypted()?);
    all.push(no_memory()?);
    Ok(all)
}

fn truncated() -> Result<Vec<Vector>> {
    let (state, split) = plain(&small(), &Shape::default())?;
    let (inner, whole) = plain(&small(), &monolithic())?;
    let table = state.mark("table/memory")? + 30;
    let tag = state.mark("cpu/rip[1]")? + 4;
    let block = inner.mark("memory/Memory[0][0]/data")? + 0x1_8000;
    let short = with_memory_len(&split, 0x1_8000);
    let long = with_memory_len(&split, 0x2_3000);
    let gone = (0x1_8000, 0x8000);
    let expect_long = Expect::opens_with(&small(), super::Known::All, &["longer"]);
    Ok(vec![
        Vector::new("13-cut-in-header", cut(split.clone(), 7), Expect::fails(&[])),
        Vector::new("13-cut-in-table", cut(split.clone(), table), Expect::fails(&["0x"])),
        Vector::new("13-cut-in-tag", cut(split.clone(), tag), Expect::damaged(&small())),
        Vector::new("13-cut-in-block", cut(whole, block), Expect::lacks(&small(), gone, &[])),
        Vector::new("13-short-memory-file", short, Expect::lacks(&small(), gone, &["short"])),
        Vector::new("13-long-memory-file", long, expect_long),
    ])
}

fn with_memory_len(files: &[Named], len: u64) -> Vec<Named> {
    let mut files = files.to_vec();
    if let Some((_, memory)) = files.last_mut() {
        *memory = memory.truncated(len);
        memory.grow_to(len);
    }
    files
}

fn bad_streams() -> Result<Vec<Vector>> {
    let shape = Shape { packing: Packing::FastLz(Level::Two), ..monolithic() };
    let (state, files) = plain(&small(), &shape)?;
    let data = state.mark("memory/Memory[0][0]/data")?;
    let expect = || Expect::damaged(&small());
    let patch = |name: &str, at: u64, bytes: &[u8]| {
        Vector::new(name, patched(files.clone(), data + at, bytes), expect())
    };
    let zlib = Shape { packing: Packing::Zlib, ..monolithic() };
    let (inner, zlib_files) = plain(&small(), &zlib)?;
    let middle = inner.mark("memory/Memory[0][0]/data")? + 0x400;
    Ok(vec![
        // Level 3 does not exist.
        patch("11-fastlz-bad-level", 16, &[0x60]),
        // A match that runs far beyond the block.
        patch("11-fastlz-long-match", 18, &[0xff; 4096]),
        // A match into the time before the block.
        patch("11-fastlz-early-match", 19, &[0xff, 0x00, 0xff, 0x20, 0x00]),
        patch("11-container-size-too-large", 0, &u64::MAX.to_le_bytes()),
        patch("11-container-longer-than-block", 8, &0x7fff_ffff_u64.to_le_bytes()),
        patch("11-container-sizes-zero", 0, &[0; 16]),
        Vector::new("11-zlib-damaged", patched(zlib_files, middle, &[0xff; 64]), expect()),
    ])
}

/// The header of VMware's encrypted container, and noise after it.
fn encrypted() -> Result<Vector> {
    let mut file = Vec::new();
    for word in [0x8943_dd9e_u32, 1, 4064, 16, 16, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&0x4000_u64.to_le_bytes());
    file.resize(4096, 0);
    file.extend_from_slice(&small().ram.slice(0, 0x4000).bytes()?);
    Ok(Vector::new(
        "16-encrypted",
        vec![("x.vmss".to_owned(), file.into())],
        Expect::fails(&["encrypted"]),
    ))
}

fn no_memory() -> Result<Vector> {
    let shape = Shape { placement: Placement::Nowhere, ..Shape::default() };
    let (_, files) = plain(&small(), &shape)?;
    Ok(Vector::new("20-without-memory", files, Expect::fails(&["memory"])))
}
