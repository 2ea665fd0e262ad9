//! Linux: where the kernel lies and what it says about itself, without symbols.
//!
//! Everything starts from the page tables of the vCPUs: they show the kernel
//! image, the image holds the banner and leads to VMCOREINFO, and VMCOREINFO is
//! believed only where it agrees with the page tables. A checkpoint without
//! usable registers is searched for VMCOREINFO alone, whose addresses then lead
//! to page tables.

use vmss2core_machine::VcpuView;
use vmss2core_machine::paging::PagingMode;
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE, PhysicalMemory, Problem};

use crate::cpu::Cpu;
use crate::linux::Kernel;
use crate::linux::arch::{self, cpus};
use crate::scan::Scanned;
use crate::{CrashKernel, KernelText, LinuxFacts, VmcoreInfo};

mod banner;
mod bounds;
mod crash;
mod image;
mod roots;
mod synthesise;
#[cfg(test)]
mod tests;
mod vmcoreinfo;

pub use bounds::Bounds;
pub(in crate::linux) use image::{Content, FoundImage, Image, View, parts};
pub(in crate::linux) use roots::KernelTables;

/// After the code and constants of a 32-bit kernel, its variables are near.
const NEAR: u64 = 64 << 20;

/// Findings apart from the facts about Linux themselves.
pub(crate) struct Analysis {
    pub(crate) linux: LinuxFacts,
    pub(crate) problems: Vec<Problem>,
}

/// Looks for Linux. Fills in the kernel roots of `vcpus`, which are the entries
/// for `cpus`, and `lost`: that a kernel is known of which the checkpoint lacks the
/// page tables.
pub(crate) fn analyse<'a>(
    memory: &PhysicalMemory,
    cpus: &[Cpu<'a>],
    vcpus: &mut [VcpuView],
    lost: &mut Option<Problem>,
) -> Option<Analysis> {
    let view = |cpu: &Cpu<'a>| {
        Some(View { index: cpu.index, space: cpu.space.clone()?, registers: cpu.registers })
    };
    let views: Vec<View<'_>> = cpus.iter().filter_map(view).collect();
    let images = images_with_banner(&views, vcpus);
    if let Some(crashed) = crash::find(memory, &images) {
        return Some(Search::of_crashed(memory, crashed).finish(cpus, vcpus));
    }
    if let Some((image, banner)) = images.into_iter().next() {
        return Some(Search::of_image(memory, image, Some(banner)).finish(cpus, vcpus));
    }
    // Registers that show another system are believed; without any, whatever
    // memory says is all there is.
    if views.iter().any(|view| view.space.mode() != PagingMode::IDENTITY) {
        return None;
    }
    Some(without_registers(memory, lost)?.finish(cpus, vcpus))
}

/// The images that hold a banner, likeliest first: without one it is not Linux.
fn images_with_banner(views: &[View<'_>], vcpus: &mut [VcpuView]) -> Vec<(Image, Found<String>)> {
    for found in arch::image::find(views) {
        let FoundImage { images, most, kernel_roots } = found;
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
        if let Some(image) = arch::image::of_vmcoreinfo(memory, &candidate.value) {
            let banner = banner::find(&image);
            let mut search = Search::of_image(memory, image, banner);
            search.take_vmcoreinfo(vec![candidate]);
            search.note_scan(scanned);
            return Some(search);
        }
    }
    None
}

/// The problem if the page tables that a text names lie beyond the end of memory.
fn lost_tables(memory: &PhysicalMemory, info: &Found<VmcoreInfo>) -> Option<Problem> {
    let tables = info.value.symbol("swapper_pg_dir")?.0;
    let gpa = arch::image::lowest_place(&info.value, tables)?;
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

/// An image within its bounds, if page tables do not show where it begins: old 32-bit kernels
/// write-protect nothing, or their constants only; old 64-bit ones map what lies before them
/// as well.
fn bounded(image: Image) -> Image {
    if image.space.mode().is_64_bit() {
        let may_begin_later = arch::image::may_begin_later(&image);
        return match may_begin_later.then(|| bounds::find(&image)).flatten() {
            Some(bounds) => image.without_front(&bounds),
            None => image,
        };
    }
    let Some(extent) = image.extent() else {
        return match bounds::find(&image) {
            Some(bounds) => image.within(&bounds),
            None => image,
        };
    };
    match bounds::first(&image) {
        Some(bounds) if bounds.value.start < extent.start => image.from(&bounds, extent),
        // What comes after it need not be searched.
        Some(bounds) if bounds.value.start == extent.start => image.up_to(bounds.value.end),
        _ => image,
    }
}

/// The bounds of a kernel's image, as it has them itself.
pub(in crate::linux) fn bounds(kernel: &Kernel) -> Option<Found<Bounds>> {
    let text = kernel.linux().text.as_ref()?.value;
    let start = text.start.0;
    let within =
        |len: u64| bounds::find(&Image::of_range(kernel.space(), start..start.saturating_add(len)));
    // Of a 32-bit kernel it may be that only what is write-protected is known.
    let may_go_on = !kernel.linux().is_64_bit && text.len < NEAR;
    // Its data may end where it ends.
    let image = text.len.saturating_add(PAGE_SIZE);
    within(image).or_else(|| may_go_on.then(|| within(NEAR)).flatten())
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
        let image = bounded(image);
        let direct_map = arch::image::direct_map(&image.space);
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

    /// Evidence against a text being of this kernel.
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
        let base = info.number("phys_base").filter(|base| *base != arch::image::phys_base(text))?;
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
            info.value.push_line(&format!("NUMBER(phys_base)={}", arch::image::phys_base(text)));
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
                .map(|text| Found::new(arch::image::phys_base(text), how)),
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
        let offset = arch::image::offset_from_default(text)?;
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

/// The vCPU with the address space that maps its descriptor table: the kernel's.
fn processor<'a>(cpu: &Cpu<'a>, vcpus: &[VcpuView]) -> cpus::Processor<'a> {
    let facts = vcpus.iter().find(|facts| facts.index == cpu.index);
    let root = facts.and_then(|facts| facts.kernel_root.as_ref()).map(|root| root.value);
    cpus::Processor {
        registers: cpu.registers,
        privilege: facts.and_then(|facts| facts.privilege),
        space: cpu.space.as_ref().map(|space| space.with_root(root.unwrap_or(space.root()))),
    }
}
