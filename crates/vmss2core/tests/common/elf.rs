//! A tiny reader of ELF cores: program headers, notes, and memory by address.
//!
//! Source: System V ABI, chapters 4 and 5; note layouts as in the Linux kernel's
//! `elfcore.h`. Deliberately not the product's structures.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::walker::Physical;

const PT_LOAD: u64 = 1;
const PT_NOTE: u64 = 4;
const NT_PRSTATUS: u32 = 1;

/// An ELF core.
pub struct Core {
    file: File,
    pub is_64_bit: bool,
    pub machine: u64,
    pub loads: Vec<Load>,
    pub notes: Vec<Note>,
    pub len: u64,
}

/// A `PT_LOAD` segment.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    pub va: u64,
    pub pa: u64,
    pub offset: u64,
    pub len: u64,
}

/// A note.
#[derive(Clone, Debug)]
pub struct Note {
    pub owner: String,
    pub kind: u32,
    pub desc: Vec<u8>,
}

/// The little-endian number of `len` bytes at `at`.
pub fn number(bytes: &[u8], at: usize, len: usize) -> Result<u64> {
    let raw = bytes.get(at..at + len).with_context(|| format!("no {len} bytes at {at:#x}"))?;
    Ok(raw.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

fn read_at(file: &File, at: u64, len: u64) -> Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(len)?];
    file.read_exact_at(&mut bytes, at).with_context(|| format!("reading {len} at {at:#x}"))?;
    Ok(bytes)
}

/// One program header, whatever the class.
struct Header {
    kind: u64,
    load: Load,
    mem_len: u64,
}

fn header(raw: &[u8], is_64_bit: bool) -> Result<Header> {
    let at: [(usize, usize); 6] = if is_64_bit {
        [(0, 4), (16, 8), (24, 8), (8, 8), (32, 8), (40, 8)]
    } else {
        [(0, 4), (8, 4), (12, 4), (4, 4), (16, 4), (20, 4)]
    };
    let [kind, va, pa, offset, len, mem_len] = at.map(|(at, len)| number(raw, at, len));
    Ok(Header {
        kind: kind?,
        load: Load { va: va?, pa: pa?, offset: offset?, len: len? },
        mem_len: mem_len?,
    })
}

impl Core {
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("opening {}", path.display()))?;
        let head = read_at(&file, 0, 64)?;
        ensure!(head.starts_with(b"\x7fELF"), "not an ELF file: {}", path.display());
        let is_64_bit = number(&head, 4, 1)? == 2;
        let len = file.metadata()?.len();
        let machine = number(&head, 18, 2)?;
        let mut core = Self { file, is_64_bit, machine, loads: Vec::new(), notes: Vec::new(), len };
        for header in core.headers(&head)? {
            core.take(&header)?;
        }
        Ok(core)
    }

    fn headers(&self, head: &[u8]) -> Result<Vec<Header>> {
        let wide = self.is_64_bit;
        let (table, section, size, count) = if wide {
            (number(head, 32, 8)?, number(head, 40, 8)?, 56, number(head, 56, 2)?)
        } else {
            (number(head, 28, 4)?, number(head, 32, 4)?, 32, number(head, 44, 2)?)
        };
        // PN_XNUM: the real count is in sh_info of the first section header.
        let count = if count == 0xffff {
            let (len, at) = if wide { (64, 44) } else { (40, 28) };
            number(&read_at(&self.file, section, len)?, at, 4)?
        } else {
            count
        };
        let raw = read_at(&self.file, table, size * count)?;
        raw.chunks_exact(usize::try_from(size)?).map(|raw| header(raw, wide)).collect()
    }

    fn take(&mut self, header: &Header) -> Result<()> {
        let load = header.load;
        let end = load.offset.checked_add(load.len).context("segment past 2^64")?;
        ensure!(end <= self.len, "segment past the end of the file: {load:x?}");
        match header.kind {
            PT_LOAD => {
                // All or nothing: what a process has and the checkpoint does not.
                let is_whole = load.len == header.mem_len || load.len == 0;
                ensure!(is_whole, "not all in the file: {load:x?}");
                self.loads.push(load);
            }
            PT_NOTE => {
                let raw = read_at(&self.file, load.offset, load.len)?;
                self.notes.extend(notes(&raw)?);
            }
            _ => {}
        }
        Ok(())
    }

    /// The bytes from `start` on up to `len`, as far as segments hold them one
    /// after the other; `address` says by which of their addresses.
    fn read(&self, start: u64, len: usize, address: fn(&Load) -> u64) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            let at = start.wrapping_add(bytes.len() as u64);
            let holds = |load: &&Load| at.wrapping_sub(address(load)) < load.len;
            let Some(load) = self.loads.iter().find(holds) else { break };
            let skip = at - address(load);
            let piece = (load.len - skip).min((len - bytes.len()) as u64);
            bytes.extend(read_at(&self.file, load.offset + skip, piece)?);
        }
        Ok(bytes)
    }

    /// Bytes by virtual address.
    pub fn read_virtual(&self, va: u64, len: usize) -> Result<Vec<u8>> {
        self.read(va, len, |load| load.va)
    }

    /// Bytes by physical address.
    pub fn read_physical(&self, pa: u64, len: usize) -> Result<Vec<u8>> {
        self.read(pa, len, |load| load.pa)
    }

    pub fn prstatus(&self) -> Vec<&Note> {
        let is_thread = |note: &&Note| note.kind == NT_PRSTATUS && note.owner == "CORE";
        self.notes.iter().filter(is_thread).collect()
    }

    pub fn notes_of(&self, owner: &str) -> Vec<&Note> {
        self.notes.iter().filter(|note| note.owner == owner).collect()
    }
}

impl Physical for Core {
    fn read(&self, pa: u64, buf: &mut [u8]) -> Result<bool> {
        let bytes = self.read_physical(pa, buf.len())?;
        let whole = bytes.len() == buf.len();
        if whole {
            buf.copy_from_slice(&bytes);
        }
        Ok(whole)
    }
}

/// All notes; nothing may be left over, which makes gdb and lldb refuse a core.
fn notes(raw: &[u8]) -> Result<Vec<Note>> {
    let mut notes = Vec::new();
    let mut at = 0;
    while at < raw.len() {
        let field = |index| Ok::<_, anyhow::Error>(usize::try_from(number(raw, at + index, 4)?)?);
        let (name_len, desc_len, kind) = (field(0)?, field(4)?, field(8)?);
        let desc_at = at + 12 + name_len.next_multiple_of(4);
        let name = raw.get(at + 12..at + 12 + name_len).context("name of a note cut off")?;
        let desc = raw.get(desc_at..desc_at + desc_len).context("note cut off")?;
        let owner = String::from_utf8_lossy(name).trim_end_matches('\0').to_owned();
        notes.push(Note { owner, kind: u32::try_from(kind)?, desc: desc.to_vec() });
        at = desc_at + desc_len.next_multiple_of(4);
    }
    ensure!(at == raw.len(), "notes do not end with their segment: {at:#x}");
    Ok(notes)
}
