//! Puts the groups of a state file together.

use std::io::Write;

use anyhow::Result;
use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};

use super::contents::Contents;
use super::emit::{Emitted, Group, Header, Item, emit};
use super::machine::Machine;
use super::memory::{self, Image};
use super::shape::{Extra, Placement, Platform, Registers, Shape};
use super::{configuration, cpu};

/// A state file and the memory file that belongs beside it, if any.
pub struct Parts {
    /// The state file.
    pub state: Emitted,
    /// The memory file.
    pub memory: Option<Contents>,
}

/// Lays out both files of a checkpoint.
pub fn parts(machine: &Machine, shape: &Shape, stem: &str) -> Result<Parts> {
    let image = Image::new(machine, shape)?;
    let groups = groups(machine, shape, stem, &image)?;
    let mut state = emit(header(shape), &groups)?;
    // One reader asks for this much of the file before it looks at it.
    state.contents.grow_to(12 + 6400 * groups.len() as u64);
    let memory = (shape.placement == Placement::Split).then_some(image.packed);
    Ok(Parts { state, memory })
}

/// What the state file begins with.
pub(super) fn header(shape: &Shape) -> Header {
    Header { magic: shape.magic, version: 8, table: shape.table }
}

/// The groups of the state file in order.
pub(super) fn groups(
    machine: &Machine,
    shape: &Shape,
    stem: &str,
    image: &Image,
) -> Result<Vec<Group>> {
    let mut groups = vec![checkpoint(machine, shape)?];
    groups.extend(cpu::group(&machine.cpus, shape));
    groups.push(memory::group(image, shape)?);
    if shape.registers == Registers::Year2022 && shape.platform == Platform::X86 {
        groups.push(memory::slots(machine)?);
    }
    groups.extend(trailing_groups(machine, shape, stem)?);
    Ok(groups)
}

fn checkpoint(machine: &Machine, shape: &Shape) -> Result<Group> {
    let text = |name: &str, value: &str| {
        let mut bytes = value.as_bytes().to_vec();
        bytes.resize(256, 0);
        Item::plain_block(name, &[], bytes)
    };
    let platform = match shape.platform {
        Platform::X86 => 1,
        Platform::Arm64 => 3,
    };
    let items = vec![
        Item::word("fileversion", &[], 10),
        text("ProductName", "VMware Workstation"),
        text("VersionNumber", "17.6.3"),
        text("BuildNumber", "build-24583834"),
        Item::word("Platform", &[], platform),
        Item::word("usageMode", &[], 1),
        Item::word("memSize", &[], u32::try_from(machine.len_bytes().div_ceil(1 << 20))?),
        Item::word("maxFBSize", &[], 0x80_0000),
    ];
    Ok(Group::new("Checkpoint", items))
}

fn trailing_groups(machine: &Machine, shape: &Shape, stem: &str) -> Result<Vec<Group>> {
    let mut groups = Vec::new();
    if shape.has(Extra::Config) {
        let config = configuration::vmx(machine, stem, shape.extension()).into_bytes();
        groups.push(Group::new("Snapshot", vec![Item::plain_block("cfgFile", &[], config)]));
    }
    if shape.has(Extra::Screenshot) {
        let items = vec![Item::plain_block("imageData", &[], png(4, 3)?)];
        groups.push(Group::new("MKSVMX", items));
    }
    if shape.has(Extra::Screenshots) {
        groups.push(Group::new("MKSVMX", two_screenshots()?));
    }
    if shape.has(Extra::Times) {
        let items = vec![
            Item::quad("vm.powerOnTimeStamp.clientData", &[0], 1_700_000_000),
            // Twice, and the first is not a time.
            Item::quad("vm.suspendTime.clientData", &[0], 62_840),
            Item::quad("vm.suspendTime.clientData", &[0], 1_700_086_400),
            Item::inline("vm.uptime.clientData", &[0], &86_400.25_f64.to_le_bytes()),
        ];
        groups.push(Group::new("MStats", items));
    }
    Ok(groups)
}

fn two_screenshots() -> Result<Vec<Item>> {
    Ok(vec![
        Item::word("checkpoint.mks.numScreenshots", &[], 2),
        Item::plain_block("checkpoint.mks.screenshot", &[1], png(4, 3)?),
        Item::plain_block("checkpoint.mks.screenshot", &[2], png(5, 2)?),
    ])
}

/// A grey picture.
pub fn png(width: u32, height: u32) -> Result<Vec<u8>> {
    let row = vec![0x80; usize::try_from(width)? + 1];
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    for _ in 0..height {
        let (_, pixels) = row.split_at(1);
        encoder.write_all(&[0])?;
        encoder.write_all(pixels)?;
    }
    let mut shape = [width.to_be_bytes(), height.to_be_bytes()].concat();
    shape.extend_from_slice(&[8, 0, 0, 0, 0]);
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    png_chunk(&mut out, *b"IHDR", &shape)?;
    png_chunk(&mut out, *b"IDAT", &encoder.finish()?)?;
    png_chunk(&mut out, *b"IEND", &[])?;
    Ok(out)
}

fn png_chunk(out: &mut Vec<u8>, kind: [u8; 4], data: &[u8]) -> Result<()> {
    out.extend_from_slice(&u32::try_from(data.len())?.to_be_bytes());
    let mut crc = Crc::new();
    for bytes in [kind.as_slice(), data] {
        crc.update(bytes);
        out.extend_from_slice(bytes);
    }
    out.extend_from_slice(&crc.sum().to_be_bytes());
    Ok(())
}
