//! Blocks anywhere in physical memory, old copies too.

use std::ops::ControlFlow;

use memchr::memmem;
use vmss2core_machine::paging::{Leaf, Limits};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory};

use super::super::Kdbg;
use super::super::view::{View, left_in_page};
use super::{Search, code, fields};
use crate::scan;

/// Longest block, less the byte that every piece has of its own.
const OVERLAP: usize = 0x5ff;
/// How many blocks are told of.
const MAX_BLOCKS: usize = 1024;

/// All blocks in the open, by where they lie. Those that the kernel's page tables
/// lead to come first, of these the ones that agree with the kernel; a block that
/// nothing maps has the address 0. What cannot be read is passed over.
pub(crate) fn scan_memory(memory: &PhysicalMemory, view: &View) -> Vec<(Gpa, Found<Kdbg>)> {
    let mut blocks = blocks(memory);
    map(view, &mut blocks);
    let search = Search { view, image: None };
    let rank = |kdbg: &Kdbg| {
        let is_sound = search.is_sound(kdbg);
        (kdbg.gva.0 == 0, !is_sound, !(is_sound && kdbg.is_linked(view)))
    };
    blocks.sort_by_cached_key(|(gpa, kdbg)| (rank(kdbg), *gpa));
    blocks.into_iter().map(|(gpa, kdbg)| (gpa, told(gpa, kdbg))).collect()
}

fn told(gpa: Gpa, kdbg: Kdbg) -> Found<Kdbg> {
    let how = match kdbg.gva.0 {
        0 => format!("tag in physical memory at {gpa}, which nothing maps"),
        _ => format!("tag in physical memory at {gpa}, mapped at {}", kdbg.gva),
    };
    Found::new(kdbg, how)
}

/// Blocks by address, at most as many as are told of.
fn blocks(memory: &PhysicalMemory) -> Vec<(Gpa, Kdbg)> {
    let tag = memmem::Finder::new(b"KDBG");
    let mut found: Vec<(Gpa, Kdbg)> = Vec::new();
    scan::all_data(memory, OVERLAP, &mut |gpa, bytes| {
        let blocks = tag.find_iter(bytes).filter_map(|at| block(bytes, at));
        // What begins in the overlap is shown again.
        let own = blocks.filter(|(skip, _)| *skip < scan::CHUNK);
        found.extend(own.filter_map(|(skip, kdbg)| Some((gpa.checked_add(skip)?, kdbg))));
        if found.len() < MAX_BLOCKS { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    found.truncate(MAX_BLOCKS);
    found
}

/// The block whose tag is here, and where it begins. Its next page may be
/// anywhere, so what lies there is only a guess until it is mapped.
fn block(bytes: &[u8], tag: usize) -> Option<(u64, Kdbg)> {
    let start = tag.checked_sub(fields::OWNER_TAG).filter(|start| start.is_multiple_of(4))?;
    let rest = bytes.get(start..)?;
    let len = u32::from_le_bytes(*rest.get(fields::SIZE..)?.first_chunk()?);
    let plain = rest.get(..usize::try_from(len).ok().filter(|_| code::is_length(len))?)?;
    Some((start as u64, Kdbg { gva: Gva(0), plain: plain.to_vec(), encoding: None }))
}

/// Gives blocks the first address of the kernel's half that is mapped to them,
/// and what is there.
fn map(view: &View, blocks: &mut [(Gpa, Kdbg)]) {
    let range =
        if view.word_len() == 8 { 0xffff_8000_0000_0000..u64::MAX } else { 1 << 31..1 << 32 };
    view.space().walk_range(range, &Limits::default(), &mut |leaf| {
        let end = Gpa(leaf.gpa.0.saturating_add(leaf.len_bytes()));
        let first = blocks.partition_point(|(gpa, _)| *gpa < leaf.gpa);
        let behind = blocks.iter_mut().skip(first).take_while(|(gpa, _)| *gpa < end);
        for (gpa, kdbg) in behind.filter(|(_, kdbg)| kdbg.gva.0 == 0) {
            place(view, leaf, *gpa, kdbg);
        }
        ControlFlow::Continue(())
    });
}

fn place(view: &View, leaf: Leaf, gpa: Gpa, kdbg: &mut Kdbg) {
    let skip = gpa.0.wrapping_sub(leaf.gpa.0);
    kdbg.gva = Gva(leaf.gva.0.wrapping_add(skip));
    let crosses = kdbg.plain.len() > left_in_page(kdbg.gva);
    if let Some(plain) = view.bytes(kdbg.gva, kdbg.plain.len()).filter(|_| crosses) {
        kdbg.plain = plain;
    }
}
