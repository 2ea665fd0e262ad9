//! The mappings of a process as the kernel lists them.
//!
//! Up to 6.0 they are a list (`mm_struct.mmap`, `vm_area_struct.vm_next`), since 6.1 a
//! maple tree (`mm_struct.mm_mt`). What is in there is checked: order, owner, number.
//! If something is amiss, the page tables tell what else is mapped.

use std::ops::{ControlFlow, Range};

use vmss2core_machine::paging::{AddressSpace, Limits};
use vmss2core_mem::{Gva, PAGE_SIZE, Problem};

use super::super::{Kernel, LinuxError, Object};
use super::fields::Fields;
use super::maple;
use super::vma::VmaFlags;
use crate::linux::arch;

/// More than any process has: `vm.max_map_count` is 65,530 unless it is raised.
const MAX_AREAS: usize = 1 << 21;

/// A `struct vm_area_struct`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Area {
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) flags: VmaFlags,
    pub(super) page_offset: u64,
    /// Pointers, 0 if there is none.
    pub(super) file: u64,
    pub(super) private_data: u64,
    /// `None` if it is not known.
    pub(super) operations: Option<u64>,
    /// `anon_vma_name` (5.17), 0 if there is none.
    pub(super) anon_name: u64,
    /// It was found in the page tables only.
    pub(super) is_guess: bool,
}

impl Area {
    /// Where in its file it begins, as `/proc/PID/maps` shows it: `of_memory` too if the
    /// kernel shows for memory without a file what it counts in place of that.
    pub(super) fn offset_bytes(&self, of_memory: bool) -> u64 {
        if self.file != 0 || of_memory { self.page_offset.wrapping_mul(PAGE_SIZE) } else { 0 }
    }
}

/// Areas that were found.
#[derive(Debug, Default)]
pub(super) struct Areas {
    /// In order, not empty, not overlapping.
    pub(super) areas: Vec<Area>,
    pub(super) problems: Vec<Problem>,
}

const NAMES: [&str; 10] = [
    "vm_start",
    "vm_end",
    "vm_flags|__vm_flags|flags",
    "vm_pgoff",
    "vm_file",
    "vm_private_data",
    "vm_ops",
    "anon_name",
    "vm_mm",
    "vm_next",
];

/// The mappings of the process whose memory is `mm`.
pub(super) fn read_areas(kernel: &Kernel, mm: Object<'_>, space: &AddressSpace) -> Areas {
    let mut reader = Reader {
        kernel,
        mm: mm.gva().0,
        fields: Fields::of(kernel, "vm_area_struct", NAMES),
        limit: arch::user_limit(space.mode(), kernel),
        found: Areas::default(),
        refused: 0,
        first_refused: None,
    };
    let listed = if mm.has("mm_mt.ma_root") { reader.tree(mm) } else { reader.list(mm) };
    let mut complete = true;
    if let Err(error) = listed {
        reader.problem(format!("the list of mappings cannot be read: {}", with_source(&error)));
        complete = false;
    }
    complete &= reader.check(mm);
    let Reader { mut found, limit, .. } = reader;
    if !complete {
        add_what_is_mapped(&mut found, space, limit);
    }
    found
}

/// Shortens stacks by the page at which old kernels made them grow: nobody can read it, and
/// `/proc/PID/maps` leaves it out (`stack_guard_page_start`).
pub(super) fn leave_out_guard_pages(areas: &mut [Area]) {
    let mut before = None;
    for area in areas {
        let is_stack = !area.is_guess && area.flags.contains(VmaFlags::GROWS_DOWN);
        let (start, end) = (area.start, area.end);
        if is_stack && before != Some(start) && end.saturating_sub(start) > PAGE_SIZE {
            area.start = start.saturating_add(PAGE_SIZE);
        }
        before = is_stack.then_some(end);
    }
}

/// An error with what caused it, on one line.
fn with_source(error: &LinuxError) -> String {
    let source = std::error::Error::source(error);
    source.map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

struct Reader<'r> {
    kernel: &'r Kernel,
    mm: u64,
    fields: Fields<10>,
    limit: u64,
    found: Areas,
    /// Mappings that make no sense, and what is wrong with the first.
    refused: u64,
    first_refused: Option<String>,
}

impl Reader<'_> {
    fn problem(&mut self, message: String) {
        self.found.problems.push(Problem::incomplete(message));
    }

    fn tree(&mut self, mm: Object<'_>) -> Result<(), LinuxError> {
        let root = mm.pointer("mm_mt.ma_root")?;
        let word_len = usize::try_from(self.kernel.word_len()).unwrap_or(8);
        let kernel = self.kernel;
        let tree = maple::entries(root.0, word_len, &|gva, buf| {
            kernel.read(Gva(gva), buf, "maple_node").is_ok()
        });
        if tree.broken_nodes > 0 {
            let nodes = tree.broken_nodes;
            self.problem(format!("{nodes} nodes of the tree of mappings make no sense"));
        }
        for entry in tree.entries {
            if let Some((area, _)) = self.area(entry.pointer)?
                && (area.start, area.end.wrapping_sub(1)) != (entry.first, entry.last)
            {
                self.refuse(entry.pointer, "it is not where the tree has it");
            } else if let Some((area, _)) = self.area(entry.pointer)? {
                self.take(entry.pointer, area);
            }
        }
        Ok(())
    }

    fn list(&mut self, mm: Object<'_>) -> Result<(), LinuxError> {
        let mut next = mm.pointer("mmap")?.0;
        while next != 0 && self.found.areas.len() < MAX_AREAS {
            let Some((area, after)) = self.area(next)? else { break };
            if !self.take(next, area) {
                // What comes after it may be anything, and may lead back.
                break;
            }
            next = after;
        }
        Ok(())
    }

    /// The mapping at an address, and the one after it in the list.
    fn area(&mut self, gva: u64) -> Result<Option<(Area, u64)>, LinuxError> {
        let values = match self.fields.read(self.kernel, Gva(gva)) {
            Ok(values) => values,
            Err(error) => {
                self.refuse(gva, &with_source(&error));
                return Ok(None);
            }
        };
        let [start, end, flags, page_offset, file, private_data, operations, anon, mm, next] =
            values;
        let known = |value: Option<u64>, member: &str| {
            let structure = "vm_area_struct".to_owned();
            value.ok_or_else(|| LinuxError::UnknownMember { structure, member: member.to_owned() })
        };
        if mm.is_some_and(|mm| mm != self.mm) {
            self.refuse(gva, "it belongs to another process");
            return Ok(None);
        }
        let area = Area {
            start: known(start, "vm_start")?,
            end: known(end, "vm_end")?,
            flags: VmaFlags(known(flags, "vm_flags")?),
            page_offset: page_offset.unwrap_or(0),
            file: file.unwrap_or(0),
            private_data: private_data.unwrap_or(0),
            operations,
            anon_name: anon.unwrap_or(0),
            is_guess: false,
        };
        Ok(Some((area, next.unwrap_or(0))))
    }

    /// Takes a mapping if it makes sense and lies after those before it.
    fn take(&mut self, gva: u64, area: Area) -> bool {
        let pages = |address: u64| address.is_multiple_of(PAGE_SIZE);
        let before = self.found.areas.last().map_or(0, |last| last.end);
        if area.start >= area.end || area.end > self.limit || !pages(area.start | area.end) {
            self.refuse(gva, &format!("it is said to be at {:#x}-{:#x}", area.start, area.end));
            return false;
        }
        if area.start < before || self.found.areas.len() >= MAX_AREAS {
            self.refuse(gva, "it does not lie after the one before it");
            return false;
        }
        self.found.areas.push(area);
        true
    }

    fn refuse(&mut self, gva: u64, why: &str) {
        self.refused = self.refused.saturating_add(1);
        self.first_refused.get_or_insert_with(|| format!("that at {gva:#x}: {why}"));
    }

    /// Says what is amiss; false if mappings may be missing.
    fn check(&mut self, mm: Object<'_>) -> bool {
        if let Some(first) = self.first_refused.take() {
            self.problem(format!("{} mappings make no sense, first {first}", self.refused));
        }
        let counted = mm.uint("map_count").ok();
        let found = self.found.areas.len() as u64;
        if let Some(counted) = counted.filter(|counted| *counted != found) {
            self.problem(format!("{found} mappings were found, but the kernel counts {counted}"));
        }
        self.found.problems.is_empty()
    }
}

/// Adds what the page tables map outside of the mappings known, by what they allow.
fn add_what_is_mapped(found: &mut Areas, space: &AddressSpace, limit: u64) {
    let mut guesses: Vec<Area> = Vec::new();
    let summary = space.walk_range(0..limit, &Limits::default(), &mut |leaf| {
        let allowed = leaf.permissions;
        if !allowed.user || leaf.gva.0 >= limit {
            return ControlFlow::Continue(());
        }
        let letter = |set, flag: VmaFlags| if set { flag.0 } else { 0 };
        let write = letter(allowed.write, VmaFlags::WRITE);
        let flags = VmaFlags(VmaFlags::READ.0 | write | letter(allowed.execute, VmaFlags::EXECUTE));
        let end = leaf.gva.0.saturating_add(leaf.len_bytes()).min(limit);
        let start = leaf.gva.0;
        match guesses.last_mut() {
            Some(last) if last.end == start && last.flags == flags => last.end = end,
            _ => guesses.push(Area { start, end, flags, is_guess: true, ..Area::default() }),
        }
        ControlFlow::Continue(())
    });
    let known: Vec<Range<u64>> = found.areas.iter().map(|area| area.start..area.end).collect();
    let before = found.areas.len();
    found.areas.extend(guesses.into_iter().flat_map(|guess| outside(guess, &known)));
    let added = found.areas.len().saturating_sub(before);
    found.areas.sort_by_key(|area| area.start);
    if added > 0 || summary.truncated {
        let more = if summary.truncated { ", and there are more" } else { "" };
        found.problems.push(Problem::incomplete(format!(
            "{added} mappings were put together from the page tables{more}: they have no names, \
             and lack pages that were not in use"
        )));
    }
}

/// The parts of a mapping that lie in none of the ranges, which are in order.
fn outside(area: Area, known: &[Range<u64>]) -> Vec<Area> {
    let mut parts = Vec::new();
    let mut start = area.start;
    let first = known.partition_point(|range| range.end <= area.start);
    for range in known.iter().skip(first).take_while(|range| range.start < area.end) {
        if start < range.start {
            parts.push(Area { start, end: range.start, ..area });
        }
        start = range.end;
    }
    if start < area.end {
        parts.push(Area { start, ..area });
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stack_begins_after_its_guard_page() {
        let area =
            |start, end, flags| Area { start, end, flags: VmaFlags(flags), ..Area::default() };
        let mut areas = [
            area(0x1000, 0x2000, 0x73),
            area(0x4000, 0x9000, 0x100_173),
            // Split by mprotect: one stack.
            area(0x9000, 0xa000, 0x100_171),
            area(0xb000, 0xc000, 0x100_173),
        ];
        leave_out_guard_pages(&mut areas);
        let starts: Vec<u64> = areas.iter().map(|area| area.start).collect();
        assert_eq!(starts, [0x1000, 0x5000, 0x9000, 0xb000]);
    }

    #[test]
    fn what_is_known_is_cut_out_of_a_guess() {
        let guess = Area { start: 0x1000, end: 0x9000, ..Area::default() };
        let parts = |known: &[(u64, u64)]| -> Vec<(u64, u64)> {
            let known: Vec<_> = known.iter().map(|(start, end)| *start..*end).collect();
            outside(guess, &known).iter().map(|part| (part.start, part.end)).collect()
        };
        assert_eq!(parts(&[]), [(0x1000, 0x9000)]);
        assert_eq!(
            parts(&[(0, 0x2000), (0x3000, 0x4000), (0x8000, 0xa000)]),
            [(0x2000, 0x3000), (0x4000, 0x8000)]
        );
        assert_eq!(parts(&[(0x1000, 0x9000)]), []);
        assert_eq!(parts(&[(0x9000, 0xa000)]), [(0x1000, 0x9000)]);
    }
}
