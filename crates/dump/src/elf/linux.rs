//! The Linux vmcore: physical memory at the
//! addresses of the kernel's direct map, the kernel image at its own, and the
//! notes that crash, drgn, makedumpfile and libkdumpfile look for.
//!
//! The layout is that of a kdump: crash decides by the alignment (0) of the
//! first PT_LOAD that this is one, and only then looks at VMCOREINFO. A guest
//! that is not Linux gets the same file without addresses.

use vmss2core_guest::{KernelText, LinuxFacts};
use vmss2core_mem::Gpa;

use super::{hints, script};
use crate::elf_core::{
    Kind, Machine, assemble, expected_extents, guest_machine, vmcore_notes, vmcore_problems,
};
use crate::engine::Extent;
use crate::views::{Access, Body, Load, ram, runs_64_bit};
use crate::{Choice, DumpError, DumpFormat, Job, Summary, engine, not_linux};

/// kexec-tools' "no virtual address" for memory outside the direct map.
const NO_ADDRESS: u64 = 0xffff_ffff;
/// i386 keeps this much of its 4 GiB for vmalloc and fixed mappings.
const VMALLOC_RESERVE: u64 = 128 << 20;

/// ELF core in the form of a Linux kernel dump.
pub(crate) struct LinuxCore;

impl DumpFormat for LinuxCore {
    fn name(&self) -> &'static str {
        "elf"
    }

    fn about(&self) -> &'static str {
        "ELF vmcore for crash, drgn, makedumpfile and gdb (Linux guests)"
    }

    fn choices(&self) -> &'static [&'static Choice] {
        script::CHOICES
    }

    fn write(&self, job: &Job<'_>) -> Result<Summary, DumpError> {
        let mut hints = Vec::new();
        let layout = || {
            // Of a guest that is not known it is an ordinary core.
            if job.facts.linux().is_none() && job.facts.system().is_some() {
                return Err(not_linux(self.name(), job));
            }
            let machine = guest_machine(job);
            let kind = Kind { machine, load_align: 0 };
            let (notes, _) = vmcore_notes(job);
            let mut layout = assemble(kind, &notes, body(machine, job)?)?;
            hints = hints::linux(job);
            layout.companions = script::companions(job, &hints);
            Ok(layout)
        };
        let expected = expected(job);
        let layout = engine::write_early(&expected, layout, job)?;
        Ok(Summary {
            path: job.path.to_owned(),
            len_bytes: layout.len_bytes,
            memory_bytes: layout.memory_bytes(),
            problems: vmcore_problems(job),
            hints,
        })
    }
}

fn body(machine: Machine, job: &Job<'_>) -> Result<Body, DumpError> {
    let linux = job.facts.linux();
    let map = DirectMap::new(machine, linux);
    let mut body = Body::default();
    for range in ram(job) {
        add_memory(&mut body, &map, range)?;
    }
    if body.loads.is_empty() {
        return Err(DumpError::NoMemory { why: "the checkpoint holds no whole page".to_owned() });
    }
    let text = linux.and_then(|linux| linux.text.as_ref()).map(|text| text.value);
    if let Some(text) = text.filter(|_| machine.is_64_bit)
        && let Some(load) = text_load(&body, text)
    {
        body.loads.insert(0, load);
    }
    Ok(body)
}

/// The memory of a 32-bit guest is cut where its direct map ends, which only an
/// analysis tells.
fn expected(job: &Job<'_>) -> Vec<Extent> {
    if !runs_64_bit(job.checkpoint) {
        return Vec::new();
    }
    expected_extents(ram(job).into_iter())
}

fn add_memory(
    body: &mut Body,
    map: &DirectMap,
    range: std::ops::Range<u64>,
) -> Result<(), DumpError> {
    for (part, vaddr) in map.split(range) {
        let len_bytes = part.end.saturating_sub(part.start);
        let offset = body.append(Gpa(part.start), len_bytes)?;
        let paddr = part.start;
        body.loads.push(Load { vaddr, paddr, offset, len_bytes, access: Access::ALL });
    }
    Ok(())
}

/// The kernel image at its own addresses, in the bytes of the segment that
/// holds it. It gives gdb its symbols, crash and makedumpfile the load address.
fn text_load(body: &Body, text: KernelText) -> Option<Load> {
    let holder = body.loads.iter().find(|load| {
        load.paddr <= text.gpa.0 && text.gpa.0.saturating_sub(load.paddr) < load.len_bytes
    })?;
    let skip = text.gpa.0.saturating_sub(holder.paddr);
    let len_bytes = text.len.min(holder.len_bytes.saturating_sub(skip));
    (len_bytes != 0).then_some(Load {
        vaddr: text.start.0,
        paddr: text.gpa.0,
        offset: holder.offset.saturating_add(skip),
        len_bytes,
        access: Access::ALL,
    })
}

/// Which virtual address a segment of memory claims.
struct DirectMap {
    base: Option<u64>,
    /// First physical address that has none.
    end: u64,
}

impl DirectMap {
    fn new(machine: Machine, linux: Option<&LinuxFacts>) -> Self {
        let found = linux.and_then(|linux| linux.direct_map.as_ref()).map(|found| found.value.0);
        if machine.is_64_bit {
            return Self { base: found, end: u64::MAX };
        }
        let base = linux.map(|_| found.unwrap_or(0xc000_0000));
        let low = |base: u64| {
            ((1 << 32) - VMALLOC_RESERVE).saturating_sub(base.min((1 << 32) - VMALLOC_RESERVE))
        };
        Self { base, end: base.map_or(u64::MAX, low) }
    }

    fn split(
        &self,
        range: std::ops::Range<u64>,
    ) -> impl Iterator<Item = (std::ops::Range<u64>, u64)> {
        let low = range.start..range.end.min(self.end);
        let high = range.start.max(self.end)..range.end;
        let low_vaddr = self.base.map_or(0, |base| base.wrapping_add(low.start));
        [(low, low_vaddr), (high, NO_ADDRESS)].into_iter().filter(|(part, _)| part.start < part.end)
    }
}
