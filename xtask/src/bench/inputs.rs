//! The checkpoints that are measured, made once and kept in the cache.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use vmss2core_lab::vmware::{Contents, Cpu, Machine, MemoryRange, Shape, write_checkpoint};
use vmss2core_lab::windows::{MiniNt, Truth, fixture, make};

const GIB: u64 = 1 << 30;

/// A checkpoint on disk.
pub(super) struct Input {
    /// What it is, for the table.
    pub(super) name: &'static str,
    /// Its state file.
    pub(super) state: PathBuf,
    /// Its memory file.
    pub(super) memory: PathBuf,
    /// Bytes of the memory file that are not holes.
    pub(super) data_bytes: u64,
}

impl Input {
    fn at(name: &'static str, dir: &Path) -> Result<Self> {
        use std::os::unix::fs::MetadataExt;
        let (state, memory) = (dir.join("bench.vmss"), dir.join("bench.vmem"));
        let data_bytes = fs::metadata(&memory).context("the memory file")?.blocks() * 512;
        Ok(Self { name, state, memory, data_bytes })
    }
}

/// The sparse 6 GiB guest of the lab.
pub(super) fn sparse_guest(dir: &Path) -> Result<Input> {
    let guest = vmss2core_lab::make::guest("linux-6.1-6g")?;
    wrap("sparse 6 GiB Linux guest", &Machine::of_guest(&guest)?, &dir.join("sparse-6g"))
}

/// The same guest grown to 256 GiB of which nearly all is hole.
pub(super) fn huge_guest(dir: &Path) -> Result<Input> {
    let guest = vmss2core_lab::make::guest("linux-6.1-6g")?;
    let mut machine = Machine::of_guest(&guest)?;
    machine.ram.grow_to(256 * GIB);
    machine.memory = layout(256 * GIB);
    wrap("sparse 256 GiB", &machine, &dir.join("huge"))
}

/// 4 GiB in which every page is random.
pub(super) fn random(dir: &Path) -> Result<Input> {
    let dir = dir.join("random-4g-without-paging");
    let noise = dir.join("noise");
    if !dir.join("bench.vmem").exists() {
        fs::create_dir_all(&dir)?;
        write_noise(&noise, 4 * GIB)?;
    }
    let ram = if noise.exists() { Contents::of_file(&noise)? } else { Contents::hole(0) };
    let mut cpu = Cpu::synthetic(0);
    // Without paging: page tables of noise would not map what the processor executes.
    cpu.control[0] &= !(1 << 31);
    let machine = Machine { memory: layout(4 * GIB), ram, cpus: vec![cpu] };
    let input = wrap("4 GiB of random pages", &machine, &dir)?;
    if noise.exists() {
        fs::remove_file(&noise)?;
    }
    Ok(input)
}

/// A small Windows guest grown to `gib` GiB, of which 16 MiB are used in each
/// `gib` / 32: half a GiB or more, as a guest has that has run a while.
pub(super) fn windows(dir: &Path, gib: u64) -> Result<(Input, Truth)> {
    const USED: u64 = 16 << 20;
    let (name, folder) = match gib {
        4 => ("sparse 4 GiB Windows guest", "windows-4g-used"),
        _ => ("sparse 64 GiB Windows guest", "windows-64g-used"),
    };
    let dir = dir.join(folder);
    let MiniNt { mut machine, truth } = small_windows()?;
    if !dir.join("done").exists() {
        fs::create_dir_all(&dir)?;
        let noise = dir.join("noise");
        write_noise(&noise, USED)?;
        for part in 1..32 {
            machine.ram.grow_to(part * gib * GIB / 32);
            machine.ram.push(&Contents::of_file(&noise)?);
        }
        machine.ram.grow_to(gib * GIB);
    }
    machine.memory = layout(gib * GIB);
    Ok((wrap(name, &machine, &dir)?, truth))
}

/// The same guest, all pages of 4 GiB that it does not use being random.
pub(super) fn random_windows(dir: &Path) -> Result<Input> {
    let dir = dir.join("windows-random-4g");
    let noise = dir.join("noise");
    let MiniNt { mut machine, .. } = small_windows()?;
    if !dir.join("done").exists() {
        fs::create_dir_all(&dir)?;
        write_noise(&noise, 4 * GIB - machine.ram.len())?;
        machine.ram.push(&Contents::of_file(&noise)?);
    }
    machine.memory = layout(4 * GIB);
    let input = wrap("4 GiB Windows guest of random pages", &machine, &dir)?;
    if noise.exists() {
        fs::remove_file(&noise)?;
    }
    Ok(input)
}

fn small_windows() -> Result<MiniNt> {
    make(&fixture("win10-19041-x64").context("no such Windows guest")?)
}

/// How VMware lays out more than 3 GiB.
fn layout(len: u64) -> Vec<MemoryRange> {
    let low = 3 * GIB;
    vec![
        MemoryRange { gpa: 0, len: low, offset: 0 },
        MemoryRange { gpa: 4 * GIB, len: len - low, offset: low },
    ]
}

fn wrap(name: &'static str, machine: &Machine, dir: &Path) -> Result<Input> {
    let done = dir.join("done");
    if !done.exists() {
        fs::create_dir_all(dir)?;
        write_checkpoint(machine, &Shape::default(), dir, "bench")?;
        fs::write(&done, "")?;
    }
    Input::at(name, dir)
}

fn write_noise(path: &Path, len: u64) -> Result<()> {
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path)?);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..len / 8 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.write_all(&state.to_le_bytes())?;
    }
    Ok(out.flush()?)
}
