//! Linux: where the kernel lies and what it says about itself, without symbols.
//!
//! Everything starts from the page tables of the vCPUs: they show the kernel
//! image, the image holds the banner and leads to VMCOREINFO, and VMCOREINFO is
//! believed only where it agrees with the page tables. A checkpoint without
//! usable registers is searched for VMCOREINFO alone, whose addresses then lead
//! to page tables.

use std::ops::Range;

use vmss2core_machine::VcpuView;
use vmss2core_machine::paging::{AddressSpace, PagingMode, Root};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory, Problem};

use crate::cpu::Cpu;
use crate::linux::arch::cpus;
use crate::scan::Scanned;
use crate::{CrashKernel, KernelText, LinuxFacts, VmcoreInfo};

mod banner;
mod crash;
mod image;
mod roots;
mod synthesise;
#[cfg(test)]
mod tests;
mod vmcoreinfo;

pub(in crate::linux) use image::Image;
use image::{FoundImage, KERNEL_MAP, View};
use roots::KernelTables;

/// Where an x86-64 kernel is linked above `__START_KERNEL_map`
/// (CONFIG_PHYSICAL_START, which hardly anyone changes).
const LINK_BASE: u64 = 16 << 20;

/// Where the kernel's part of an address space is, and what its direct map
/// looks like there.
struct KernelHalf {
    start: u64,
    end: u64,
    /// The direct map begins at a multiple of this.
    alignment: u64,
    /// Runs shorter than this have no say in where it is.
    shortest_vote: u64,
}

impl KernelHalf {
    fn of(mode: PagingMode) -> Self {
        let (start, end, alignment, shortest_vote) = match mode {
            PagingMode::FiveLevel => (0xff00 << 48, u64::MAX, 1 << 30, 2 << 20),
            PagingMode::FourLevel => (0xffff_8000 << 32, u64::MAX, 1 << 30, 2 << 20),
            // VMSPLIT_1G starts at 1 GiB, VMSPLIT_2G_OPT at 0x78000000.
            _ => (1 << 30, 1 << 32, 128 << 20, 64 << 10),
        };
        Self { start, end, alignment, shortest_vote }
    }

    fn range(&self) -> Range<u64> {
        self.start..self.end
    }
}

/// What was found, apart from the facts about Linux themselves.
pub(crate) struct Analysis {
    pub(crate) linux: LinuxFacts,
    pub(crate) problems: Vec<Problem>,
}

/// Looks for Linux. Fills in the kernel roots of `vcpus`, which are the entries
/// for `cpus`, and `lost`: that a kernel is known of which the checkpoint lacks the
/// page tables.
pub(crate) fn analyse(
    memory: &PhysicalMemory,
    cpus: &[Cpu<'_>],
    vcpus: &mut [VcpuView],
    lost: &mut Option<Problem>,
) -> Option<Analysis> {
    let view = |cpu: &Cpu<'_>| {
        Some(View { index: cpu.index, space: cpu.space.clone()?, idt: cpu.vcpu.idtr.base.map(Gva) })
    };
    let views: Vec<View> = cpus.iter().filter_map(view).collect();
    let images = images_with_banner(&views, vcpus);
    if let Some(crashed) = crash::find(memory, &images) {
        return Some(Search::of_crashed(memory, crashed).finish(cpus, vcpus));
    }
    if let Some((image, banner)) = images.into_iter().next() {
        return Some(Search::of_image(memory, image, Some(banner)).finish(cpus, vcpus));
    }
    // Registers that show another system are believed; without any, whatever
    // memory says is all there is.
    if views.iter().any(|view| view.space.mode() != PagingMode::Identity) {
        return None;
    }
    Some(without_registers(memory, lost)?.finish(cpus, vcpus))
}

/// The images that hold a banner, likeliest first: without one it is not Linux. Of
/// 32-bit kernels one at most: others are other parts of the same memory.
fn images_with_banner(views: &[View], vcpus: &mut [VcpuView]) -> Vec<(Image, Found<String>)> {
    for found in [image::find_64_bit(views), image::find_32_bit(views)].into_iter().flatten() {
        let FoundImage { images, kernel_roots } = found;
        let is_64_bit = images.iter().all(|image| image.space.mode().is_64_bit());
        let most = if is_64_bit { images.len() } else { 1 };
        let with_banner =
            images.into_iter().filter_map(|image| banner::find(&image).map(|line| (image, line)));
        let with_banner: Vec<_> = with_banner.take(most).collect();
        if !with_banner.is_empty() {
            for (index, root) in kernel_roots {
                if let Some(facts) = vcpus.iter_mut().find(|facts| facts.index == index) {
                    facts.kernel_root = Some(root);
                }
            }
            return with_banner;
        }
    }
    Vec::new()
}

/// VMCOREINFO from a search of all memory, and the image it leads to.
fn without_registers<'a>(
    memory: &'a PhysicalMemory,
    lost: &mut Option<Problem>,
) -> Option<Search<'a>> {
    let (candidates, scanned) = vmcoreinfo::in_memory(memory);
    *lost = candidates.iter().find_map(|candidate| lost_tables(memory, candidate));
    for candidate in candidates {
        if let Some(image) = image_of(memory, &candidate.value) {
            let banner = banner::find(&image);
            let mut search = Search::of_image(memory, image, banner);
            search.take_vmcoreinfo(vec![candidate]);
            search.note_scan(scanned);
            return Some(search);
        }
    }
    None
}

/// What is to be said if the page tables that a text names lie beyond the end of memory.
fn lost_tables(memory: &PhysicalMemory, info: &Found<VmcoreInfo>) -> Option<Problem> {
    let tables = info.value.symbol("swapper_pg_dir")?.0;
    let gpa = if tables >= KERNEL_MAP {
        let base = info.value.number("phys_base").unwrap_or(0);
        tables.checked_sub(KERNEL_MAP)?.checked_add_signed(base)?
    } else {
        // As low as it can be.
        let base = PAGE_OFFSETS.into_iter().find(|base| *base <= tables)?;
        tables.checked_sub(base)?
    };
    let end = memory.end();
    (gpa >= end.0).then(|| {
        Problem::incomplete(format!(
            "memory is missing: {} is of Linux {}, whose page tables are at {}, and the \
             checkpoint ends at {end}; was it cut off while it was copied?",
            info.how,
            info.value.get("OSRELEASE").unwrap_or("of unknown release"),
            Gpa(gpa),
        ))
    })
}

/// Follows the addresses of a text to page tables that confirm them.
fn image_of(memory: &PhysicalMemory, info: &VmcoreInfo) -> Option<Image> {
    let stext = info.symbol("_stext")?;
    if stext.0 >= KERNEL_MAP {
        let mode = match info.number("pgtable_l5_enabled") {
            Some(1) => PagingMode::FiveLevel,
            _ => PagingMode::FourLevel,
        };
        // Kernels before 4.10 do not say; before KASLR it was 0.
        let base = info.number("phys_base").unwrap_or(0).cast_unsigned();
        let space = confirmed(memory, info, mode, KERNEL_MAP.wrapping_sub(base))?;
        return image::of_64_bit(space);
    }
    let mode = match info.get("CONFIG_X86_PAE") {
        Some(_) => PagingMode::Pae,
        None => PagingMode::TwoLevel { large_pages: true },
    };
    let spaces = PAGE_OFFSETS.iter().filter_map(|base| confirmed(memory, info, mode, *base));
    spaces.flat_map(|space| image::of_32_bit(&space, stext)).find(|image| image.holds(stext.0))
}

/// CONFIG_PAGE_OFFSET of 32-bit kernels, by VMSPLIT, highest first.
const PAGE_OFFSETS: [u64; 5] = [0xc000_0000, 0xb000_0000, 0x8000_0000, 0x7800_0000, 0x4000_0000];

/// The address space below `swapper_pg_dir`, if it maps the kernel's code where
/// `slide`, virtual less physical address, says.
fn confirmed(
    memory: &PhysicalMemory,
    info: &VmcoreInfo,
    mode: PagingMode,
    slide: u64,
) -> Option<AddressSpace> {
    let (tables, stext) = (info.symbol("swapper_pg_dir")?, info.symbol("_stext")?);
    let root = Root(Gpa(tables.0.wrapping_sub(slide)));
    let space = AddressSpace::new(memory, mode, root);
    let mapped = space.translate(stext).ok()?;
    (mapped.gpa.0 == stext.0.wrapping_sub(slide)).then_some(space)
}

/// An analysis in the making.
struct Search<'a> {
    memory: &'a PhysicalMemory,
    image: Image,
    banner: Option<Found<String>>,
    direct_map: Option<Gva>,
    tables: Option<Found<KernelTables>>,
    vmcoreinfo: Option<Found<VmcoreInfo>>,
    crash_kernel: Option<Found<CrashKernel>>,
    problems: Vec<Problem>,
}

impl<'a> Search<'a> {
    fn of_image(memory: &'a PhysicalMemory, image: Image, banner: Option<Found<String>>) -> Self {
        let direct_map = image::direct_map(&image.space);
        let (tables, vmcoreinfo, crash_kernel, problems) = (None, None, None, Vec::new());
        Self { memory, image, banner, direct_map, tables, vmcoreinfo, crash_kernel, problems }
    }

    /// Of the first of two kernels.
    fn of_crashed(memory: &'a PhysicalMemory, crashed: crash::Crashed) -> Self {
        let mut search = Self::of_image(memory, crashed.image, crashed.banner);
        search.take_vmcoreinfo(vec![crashed.vmcoreinfo]);
        search.crash_kernel = Some(crashed.second);
        search
    }

    fn finish(mut self, cpus: &[Cpu<'_>], vcpus: &mut [VcpuView]) -> Analysis {
        if self.vmcoreinfo.is_none() {
            self.find_vmcoreinfo();
        }
        self.find_tables();
        self.complete_vmcoreinfo();
        let elsewhere = |cpu: &Cpu<'_>| {
            self.crash_kernel.as_ref().is_some_and(|kernel| kernel.value.vcpus.contains(&cpu.index))
        };
        let processors: Vec<_> =
            cpus.iter().map(|cpu| (!elsewhere(cpu)).then(|| processor(cpu, vcpus))).collect();
        let numbers = cpus::numbers(&self.image, &processors);
        if numbers.iter().any(Option::is_none) {
            self.problems.push(Problem::note(
                "the Linux CPU number of some vCPUs is not known; the checkpoint's order is kept",
            ));
        }
        for (cpu, number) in cpus.iter().zip(numbers) {
            if let Some(view) = vcpus.iter_mut().find(|view| view.index == cpu.index) {
                view.number = number;
            }
        }
        Analysis { linux: self.facts(), problems: self.problems }
    }

    fn find_vmcoreinfo(&mut self) {
        if let Some(base) = self.direct_map {
            // The image leads to every note there can be; to search the rest
            // of memory as well would be slow and find leftovers at best.
            self.take_vmcoreinfo(vmcoreinfo::in_image(&self.image, base));
        } else {
            let (candidates, scanned) = vmcoreinfo::in_memory(self.memory);
            self.take_vmcoreinfo(candidates);
            self.note_scan(scanned);
        }
    }

    /// Takes the first candidate that nothing speaks against. A kernel started
    /// by kexec, or a guest within the guest, leaves texts of others behind.
    fn take_vmcoreinfo(&mut self, candidates: Vec<Found<VmcoreInfo>>) {
        for candidate in candidates {
            match self.doubt(&candidate.value) {
                None => {
                    self.vmcoreinfo = Some(candidate);
                    return;
                }
                Some(doubt) => self.problems.push(Problem::note(format!(
                    "{} is not of the running kernel: {doubt}",
                    candidate.how
                ))),
            }
        }
    }

    /// What speaks against a text being of this kernel.
    fn doubt(&self, info: &VmcoreInfo) -> Option<String> {
        let release = self.release();
        if release.is_some_and(|release| info.get("OSRELEASE") != Some(release)) {
            return Some(format!("OSRELEASE is {}", info.get("OSRELEASE").unwrap_or("missing")));
        }
        let Some(stext) = info.symbol("_stext") else { return Some("_stext is missing".into()) };
        if !self.image.holds(stext.0) {
            return Some(format!("_stext {stext} is not in the kernel image"));
        }
        let text = self.image.extent().filter(|_| self.is_64_bit())?;
        let base = info.number("phys_base").filter(|base| *base != phys_base(text))?;
        Some(format!("phys_base {base:#x} is not that of the page tables"))
    }

    fn note_scan(&mut self, scanned: Scanned) {
        if let Scanned::UpTo(gpa) = scanned
            && self.vmcoreinfo.is_none()
        {
            self.problems.push(Problem::note(format!(
                "the search for VMCOREINFO ended at physical {gpa}, after 8 GiB of data"
            )));
        }
    }

    /// The kernel's own tables: where VMCOREINFO says if that holds, else the
    /// page in the image that looks like them.
    fn find_tables(&mut self) {
        let symbol = self.vmcoreinfo.as_ref().and_then(|info| info.value.symbol("swapper_pg_dir"));
        self.tables = symbol
            .and_then(|gva| roots::at_symbol(&self.image, gva))
            .map(|tables| Found::new(tables, "SYMBOL(swapper_pg_dir) of VMCOREINFO"))
            .or_else(|| roots::swapper(&self.image));
    }

    fn complete_vmcoreinfo(&mut self) {
        let Some(info) = &mut self.vmcoreinfo else {
            match synthesise::vmcoreinfo(&self.image, self.release(), self.tables.as_ref()) {
                Ok(made_up) => self.vmcoreinfo = Some(made_up),
                Err(lacking) => self.problems.push(Problem::warning(format!(
                    "no VMCOREINFO was found in the guest, and {lacking} to make one up was not \
                     found either; drgn and makedumpfile will not open a core of it"
                ))),
            }
            return;
        };
        // Kernels 3.14 to 4.9 do not say, and every reader goes by key.
        if self.image.space.mode().is_64_bit()
            && info.value.number("phys_base").is_none()
            && let Some(text) = self.image.extent()
        {
            info.value.push_line(&format!("NUMBER(phys_base)={}", phys_base(text)));
            info.how.push_str("; NUMBER(phys_base) added from page tables");
        }
    }

    fn facts(&self) -> LinuxFacts {
        let mode = self.image.space.mode();
        let text = self.image.extent();
        let how = &self.image.how;
        LinuxFacts {
            banner: self.banner.clone(),
            release: self.found_release(),
            is_64_bit: self.is_64_bit(),
            text: self.text(),
            kaslr_offset: text
                .filter(|_| self.is_64_bit())
                .and_then(|text| self.kaslr_offset(text)),
            phys_base: text
                .filter(|_| self.is_64_bit())
                .map(|text| Found::new(phys_base(text), how)),
            direct_map: self.direct_map.map(|base| {
                Found::new(base, format!("where most of memory is mapped in the {how}"))
            }),
            kernel_root: self
                .tables
                .as_ref()
                .map(|tables| Found::new((mode, tables.value.root), &tables.how)),
            vmcoreinfo: self.vmcoreinfo.clone(),
            crash_kernel: self.crash_kernel.clone(),
        }
    }

    /// Where the kernel is; from VMCOREINFO where page tables do not show it.
    fn text(&self) -> Option<Found<KernelText>> {
        if let Some(text) = self.image.extent() {
            return Some(Found::new(text, &self.image.how));
        }
        let start = self.vmcoreinfo.as_ref()?.value.symbol("_stext")?;
        let gpa = self.image.space.translate(start).ok()?.gpa;
        let last = self.image.runs.last()?;
        let len = last.gva.0.saturating_add(last.len_bytes()).checked_sub(start.0)?;
        let how = "SYMBOL(_stext) of VMCOREINFO; its length is the most there can be";
        Some(Found::new(KernelText { start, gpa, len }, how))
    }

    /// How far the kernel lies from its link address, which only KERNELOFFSET tells for
    /// sure. One that has a VMCOREINFO without it is older than KASLR as a rule, so that
    /// lying elsewhere than most it was linked there.
    fn kaslr_offset(&self, text: KernelText) -> Option<Found<u64>> {
        let said = self.vmcoreinfo.as_ref().filter(|info| !info.value.synthesised);
        if let Some(offset) = said.and_then(|info| info.value.kernel_offset()) {
            return Some(Found::new(offset, "KERNELOFFSET of VMCOREINFO"));
        }
        let offset = offset_from_default(text)?;
        let how = format!("{}, for a kernel linked at 16 MiB", self.image.how);
        (offset == 0 || said.is_none()).then(|| Found::new(offset, how))
    }

    fn release(&self) -> Option<&str> {
        banner::release(&self.banner.as_ref()?.value)
    }

    fn found_release(&self) -> Option<Found<String>> {
        if let Some(release) = self.release() {
            return Some(Found::new(release.to_owned(), "linux_banner"));
        }
        let release = self.vmcoreinfo.as_ref()?.value.get("OSRELEASE")?.to_owned();
        Some(Found::new(release, "OSRELEASE of VMCOREINFO"))
    }

    fn is_64_bit(&self) -> bool {
        self.image.space.mode().is_64_bit()
    }
}

/// How far above the usual link address a 64-bit kernel lies; `None` if it lies below,
/// so that it was linked elsewhere.
fn offset_from_default(text: KernelText) -> Option<u64> {
    text.start.0.checked_sub(KERNEL_MAP + LINK_BASE)
}

/// Physical less link address of the image, as the kernel counts it.
fn phys_base(text: KernelText) -> i64 {
    text.gpa.0.wrapping_sub(text.start.0.wrapping_sub(KERNEL_MAP)).cast_signed()
}

/// The vCPU with the address space that maps its descriptor table: the kernel's.
fn processor<'a>(cpu: &Cpu<'a>, vcpus: &[VcpuView]) -> cpus::Processor<'a> {
    let facts = vcpus.iter().find(|facts| facts.index == cpu.index);
    let root = facts.and_then(|facts| facts.kernel_root.as_ref()).map(|root| root.value);
    cpus::Processor {
        vcpu: cpu.vcpu,
        privilege: facts.and_then(|facts| facts.privilege),
        space: cpu.space.as_ref().map(|space| space.with_root(root.unwrap_or(space.root()))),
    }
}
