//! A guest without its type information and symbol table.
//!
//! Kernels without BTF and with functions only in their symbol table are old or
//! 32-bit; to see what can be told of any kernel without them, they are wiped
//! out of a copy of its memory.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memchr::memmem;

use crate::cache;
use crate::command::succeed;
use crate::guest::{self, Guest};
use crate::make;

/// Magic, version, flags and length of the header of BTF
/// (`Documentation/bpf/btf.rst`).
pub const BTF_HEADER: [u8; 8] = [0x9f, 0xeb, 1, 0, 24, 0, 0, 0];
/// The tokens of digits follow one another in kallsyms' table of tokens
/// (`scripts/kallsyms.c`).
const DIGITS: &[u8] = b"\x000\x001\x002\x003\x004\x005\x006\x007\x008\x009\x00";
const CHUNK: usize = 4 << 20;

/// The guest of this name without BTF and kallsyms.
pub fn guest(name: &str) -> Result<Guest> {
    let whole = make::guest(name)?;
    let entry =
        cache::versioned(&format!("guests/{name}-hidden"), &format!("1 {}", whole.dir.display()));
    let dir = cache::once(&entry, |dir| copy(&whole, dir))?;
    Ok(Guest { name: format!("{name}-hidden"), ram: dir.join("ram"), ..whole })
}

fn copy(whole: &Guest, dir: &Path) -> Result<()> {
    let ram = dir.join("ram");
    let mut cp = Command::new("cp");
    succeed(cp.arg("--sparse=always").args([&whole.ram, &ram]), Duration::from_mins(5))?;
    let file = File::options().read(true).write(true).open(&ram)?;
    let types = wipe(&file, &BTF_HEADER)?;
    let symbols = wipe(&file, DIGITS)?;
    ensure!(symbols > 0, "{} has no kallsyms to hide", whole.name);
    fs::write(dir.join("wiped"), format!("{types} BTF headers, {symbols} tables of tokens\n"))?;
    Ok(())
}

/// Overwrites `wanted` with zeroes wherever it is, and says how often it was.
fn wipe(file: &File, wanted: &[u8]) -> Result<usize> {
    let mut count = 0;
    let mut chunk = vec![0; CHUNK + wanted.len()];
    let mut next = 0;
    while let Some(start) = guest::next_data(file, next)? {
        let len = read_up_to(file, &mut chunk, start).context("reading the copy")?;
        let found = memmem::find_iter(chunk.get(..len).unwrap_or_default(), wanted);
        for at in found.map(|at| start + at as u64) {
            file.write_all_at(&vec![0; wanted.len()], at)?;
            count += 1;
        }
        next = start + CHUNK as u64;
    }
    Ok(count)
}

fn read_up_to(file: &File, buf: &mut [u8], at: u64) -> Result<usize> {
    let mut len = 0;
    while let Some(rest) = buf.get_mut(len..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at + len as u64)? {
            0 => break,
            count => len += count,
        }
    }
    Ok(len)
}
