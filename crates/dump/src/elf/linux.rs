//! The Linux vmcore (`-N`, `convert --format elf`): physical memory at the
//! addresses of the kernel's direct map, the kernel image at its own, and the
//! notes that crash, drgn, makedumpfile and libkdumpfile look for.
//!
//! The layout is that of a kdump: crash decides by the alignment (0) of the
//! first PT_LOAD that this is one, and only then looks at VMCOREINFO. A guest
//! that is not Linux gets the same file without addresses.

use std::fmt::Write;

use vmss2core_guest::{KernelText, LinuxFacts, VmcoreInfo};
use vmss2core_machine::Vcpu;
use vmss2core_mem::{Gpa, Problem};

use super::assemble::{Access, Body, Kind, Load, assemble};
use super::notes::Notes;
use super::{
    Machine, expected_extents, guest_machine, hints, missing_registers, page_ranges, runs_64_bit,
    script, thread_id,
};
use crate::engine::Extent;
use crate::{Choice, DumpError, DumpFormat, Job, Summary, engine};

/// Video memory and option ROMs of a PC; never RAM, though VMware's memory file
/// has bytes there.
const VIDEO: std::ops::Range<u64> = 0xa_0000..0xc_0000;
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
            let machine = guest_machine(job);
            let kind = Kind { machine, load_align: 0 };
            let (notes, _) = notes(job);
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
            problems: problems(job),
            hints,
        })
    }
}

fn body(machine: Machine, job: &Job<'_>) -> Result<Body, DumpError> {
    let linux = job.facts.linux.as_deref();
    let map = DirectMap::new(machine, linux);
    let mut body = Body::default();
    for range in ram(job) {
        add_memory(&mut body, &map, range)?;
    }
    if body.loads.is_empty() {
        return Err(DumpError::NoMemory { why: "the checkpoint holds no whole page".to_owned() });
    }
    let text = linux.and_then(|linux| linux.text.as_ref()).map(|text| text.value);
    if let Some(text) = text.filter(|_| machine == Machine::X86_64)
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

/// The guest's memory in whole pages.
pub(crate) fn ram(job: &Job<'_>) -> Vec<std::ops::Range<u64>> {
    page_ranges(&job.checkpoint.memory).into_iter().flat_map(without_video).collect()
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

fn without_video(range: std::ops::Range<u64>) -> impl Iterator<Item = std::ops::Range<u64>> {
    let below = range.start..range.end.min(VIDEO.start);
    let above = range.start.max(VIDEO.end)..range.end;
    [below, above].into_iter().filter(|part| part.start < part.end)
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
        if machine != Machine::I386 {
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

/// crash and drgn count these notes to number the processors, so a vCPU without
/// registers keeps its place. Where the text of VMCOREINFO lies in the notes comes
/// with them, and its length.
pub(crate) fn notes(job: &Job<'_>) -> (Vec<u8>, Option<(usize, usize)>) {
    let machine = guest_machine(job);
    let vcpus = in_cpu_order(job);
    let mut notes = Notes::default();
    for (cpu, vcpu) in (0..).zip(&vcpus) {
        notes.vcpu_status(machine, vcpu, thread_id(cpu));
    }
    let text = vmcoreinfo_text(job.facts.linux.as_deref());
    let vmcoreinfo = text.map(|text| (notes.vmcoreinfo(&text), text.len()));
    for vcpu in &vcpus {
        notes.qemu(vcpu);
    }
    (notes.into_bytes(), vmcoreinfo)
}

/// The vCPUs as the kernel numbers them, or as the checkpoint does if that is
/// not known of every one.
fn in_cpu_order<'a>(job: &Job<'a>) -> Vec<&'a Vcpu> {
    let vcpus: Vec<&Vcpu> = job.checkpoint.vcpus.iter().collect();
    let number = |vcpu: &&Vcpu| job.facts.vcpu(vcpu.index)?.number;
    let known: Option<Vec<u32>> = vcpus.iter().map(number).collect();
    let Some(numbers) = known else { return vcpus };
    let mut numbered: Vec<(u32, &Vcpu)> = numbers.into_iter().zip(vcpus).collect();
    numbered.sort_by_key(|(cpu, _)| *cpu);
    numbered.into_iter().map(|(_, vcpu)| vcpu).collect()
}

/// The kernel's text, with the one line that kernels 3.14 to 4.9 lack and that
/// makedumpfile and drgn want.
fn vmcoreinfo_text(linux: Option<&LinuxFacts>) -> Option<String> {
    const KEY: &str = "NUMBER(phys_base)";
    let linux = linux?;
    let info: &VmcoreInfo = &linux.vmcoreinfo.as_ref()?.value;
    let mut text = info.text.clone();
    if let Some(phys_base) = &linux.phys_base
        && linux.is_64_bit
        && info.get(KEY).is_none()
    {
        if !text.ends_with('\n') {
            text.push('\n');
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{KEY}={}", phys_base.value);
    }
    Some(text)
}

/// What readers of the file will miss.
pub(crate) fn problems(job: &Job<'_>) -> Vec<Problem> {
    let vcpus = job.checkpoint.vcpus.iter();
    let mut problems: Vec<Problem> =
        missing_registers(vcpus, "its registers read as 0").into_iter().collect();
    let Some(linux) = &job.facts.linux else {
        problems.push(Problem::warning(
            "no Linux kernel found in the guest: crash and drgn will not open this core; \
             for other guests use the formats elf-linear or elf-physical",
        ));
        return problems;
    };
    match &linux.vmcoreinfo {
        None => problems.push(Problem::warning(
            "no VMCOREINFO in the guest: drgn and makedumpfile will not open this core",
        )),
        Some(found) if found.value.synthesised => problems.push(Problem::warning(format!(
            "VMCOREINFO was made up from what was found in memory ({}): makedumpfile cannot \
             filter with it",
            found.how
        ))),
        Some(_) => {}
    }
    if linux.direct_map.is_none() && linux.is_64_bit {
        problems.push(Problem::note(
            "the kernel's direct map was not found: memory has no virtual addresses in this core",
        ));
    }
    problems
}
