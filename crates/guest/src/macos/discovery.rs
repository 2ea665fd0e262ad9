//! Finds out about a macOS kernel: its image, the text by which it
//! names itself, its page of pointers, page tables and extensions. Each step takes
//! what those before it found, and goes on without what they did not.

use vmss2core_machine::paging::AddressSpace;
use vmss2core_machine::{Checkpoint, VcpuView};
use vmss2core_mem::{Found, PhysicalMemory, Problem};

use super::arch::{self, roots};
use super::low_globals::{self, LowGlobals};
use super::version::{self, DarwinVersion};
use super::{KernelImage, KextList, MacosFacts, kexts, panic, place};
use crate::cpu::Cpu;

/// A kernel is moved by less than this.
const MAX_SLIDE: u64 = 512 << 20;

/// Facts that were found, and what is missing.
#[derive(Debug)]
pub(crate) struct Analysis {
    pub(super) macos: MacosFacts,
    pub(super) how: String,
    pub(super) problems: Vec<Problem>,
}

/// Looks for macOS where it is cheap to see: a kernel's header at one of the places
/// where the boot loader puts it, which a vCPU's page tables map there.
pub(crate) fn quickly(memory: &PhysicalMemory, cpus: &[Cpu<'_>]) -> Option<Analysis> {
    let image = place::quickly(memory)?;
    roots::of_vcpus(cpus, &image.value)?;
    Some(of_image(memory, cpus, image))
}

/// Looks for macOS without page tables to know it by; in all of memory only if
/// something hints at it.
pub(crate) fn thoroughly(checkpoint: &Checkpoint, cpus: &[Cpu<'_>]) -> Option<Analysis> {
    let memory = &checkpoint.memory;
    if let Some(image) = place::quickly(memory) {
        return Some(of_image(memory, cpus, image));
    }
    if let Some(image) = place::narrow(memory) {
        return Some(of_narrow(memory, image));
    }
    if !is_hinted_at(checkpoint, cpus) {
        return None;
    }
    let seen = place::everywhere(memory);
    match (seen.image, seen.version) {
        (Some(image), _) => Some(of_image(memory, cpus, image)),
        (None, Some(version)) => Some(of_version(version)),
        (None, None) => None,
    }
}

/// Says of vCPUs whose page tables do not map the kernel which ones do.
pub(crate) fn set_kernel_roots(macos: &MacosFacts, cpus: &[Cpu<'_>], vcpus: &mut [VcpuView]) {
    let (Some(root), Some(image)) = (&macos.kernel_root, &macos.image) else { return };
    for facts in vcpus {
        let cpu = cpus.iter().find(|cpu| cpu.index == facts.index);
        let space = cpu.and_then(|cpu| cpu.space.as_ref());
        if space.is_some_and(|space| !roots::maps(space, &image.value)) {
            facts.kernel_root = Some(Found::new(root.value.1, root.how.as_str()));
        }
    }
}

/// Whether the machine is called a Mac, or a processor has an address that only XNU
/// uses: those within 4 GiB of its base.
fn is_hinted_at(checkpoint: &Checkpoint, cpus: &[Cpu<'_>]) -> bool {
    let guest = checkpoint.about.machine.configured_guest.as_deref().unwrap_or_default();
    if guest.to_ascii_lowercase().starts_with("darwin") {
        return true;
    }
    let is_static = |address: u64| address >> 32 == place::BASE >> 32;
    cpus.iter().any(|cpu| arch::addresses(cpu.registers).into_iter().any(is_static))
}

fn of_image(memory: &PhysicalMemory, cpus: &[Cpu<'_>], image: Found<KernelImage>) -> Analysis {
    let low = low_globals::find(memory, &image.value);
    let root = roots::of_vcpus(cpus, &image.value).or_else(|| roots::by_scan(memory, &image.value));
    let space = root.as_ref().map(|root| {
        let (mode, root) = root.value;
        AddressSpace::new(memory, mode, root)
    });
    let low_how = low.as_ref().map(|low| format!("lowGlo at physical {}", low.gpa));
    let low_how = || low_how.clone().unwrap_or_default();
    let kexts = space.zip(low.as_ref()).and_then(|(space, low)| kexts::read(&space, low.kmod));
    let macos = MacosFacts {
        is_64_bit: true,
        version: of_kernel(memory, &image.value, low.as_ref()),
        build: low.as_ref().and_then(|low| Some(Found::new(low.build.clone()?, low_how()))),
        slide: slide(&image.value),
        low_globals: low.as_ref().map(|low| Found::new(low.gpa, "its mark in the kernel's image")),
        kernel_root: root,
        panic: panic::find(memory, &image.value),
        kexts: kexts.map(|kexts| Found::new(kexts, format!("lgKmodptr of {}", low_how()))),
        image: Some(image),
    };
    let how = macos.image.as_ref().map(|image| image.how.clone()).unwrap_or_default();
    Analysis { problems: missing(&macos), macos, how }
}

fn of_narrow(memory: &PhysicalMemory, image: Found<KernelImage>) -> Analysis {
    let part = (image.value.gpa, 32 << 20);
    let version = place::pieces(memory, part, version::MAX_LEN as u64, |gpa, bytes| {
        version::places(bytes).find_map(|at| {
            let said = DarwinVersion::of(bytes.get(at..)?)?;
            Some(Found::new(
                said,
                format!("text at physical {:#x}", gpa.0.saturating_add(at as u64)),
            ))
        })
    });
    let how = image.how.clone();
    let macos = MacosFacts { version, image: Some(image), ..MacosFacts::default() };
    Analysis { problems: missing(&macos), macos, how }
}

/// All that there is to know without the image.
fn of_version(version: Found<DarwinVersion>) -> Analysis {
    let how = version.how.clone();
    let is_64_bit = version.value.is_64_bit().unwrap_or(true);
    let macos = MacosFacts { is_64_bit, version: Some(version), ..MacosFacts::default() };
    Analysis { problems: missing(&macos), macos, how }
}

/// The text in the kernel's image: the one for debuggers, which names this kernel, else
/// what the page of pointers leads to, else the first. Copies elsewhere are of no use.
fn of_kernel(
    memory: &PhysicalMemory,
    image: &KernelImage,
    low: Option<&LowGlobals>,
) -> Option<Found<DarwinVersion>> {
    let mut best: Option<Found<DarwinVersion>> = None;
    let mut consider = |said: DarwinVersion, how: String| {
        let is_other = said.uuid.is_some_and(|uuid| image.uuid.is_some_and(|own| own != uuid));
        let worth = best.as_ref().map(|best| best.value.worth());
        if !is_other && worth.is_none_or(|worth| said.worth() > worth) {
            best = Some(Found::new(said, how));
        }
    };
    if let Some(low) = low {
        consider(low.version.clone(), format!("lgVersion of lowGlo at physical {}", low.gpa));
    }
    for part in place::static_parts(image) {
        place::pieces(memory, part, version::MAX_LEN as u64, |gpa, bytes| {
            for at in version::places(bytes) {
                if let Some(said) = bytes.get(at..).and_then(DarwinVersion::of) {
                    let at = gpa.0.saturating_add(at as u64);
                    consider(said, format!("text in the kernel's image, physical {at:#x}"));
                }
            }
            None::<()>
        });
    }
    best
}

/// Kernels that are part of a collection lie anywhere in that, and are moved with it.
fn slide(image: &KernelImage) -> Option<Found<u64>> {
    let slide = image.collection.unwrap_or(image.gpa).0.checked_sub(place::LINKED)?;
    let is_slide = slide.is_multiple_of(place::STEP) && slide < MAX_SLIDE;
    let whose = image.collection.map_or("the header", |_| "the collection's header");
    let how = format!("distance of {whose} from 0xffffff8000200000");
    is_slide.then(|| Found::new(slide, how))
}

/// Missing parts, and why that matters.
fn missing(macos: &MacosFacts) -> Vec<Problem> {
    if !macos.is_64_bit {
        return vec![Problem::warning(
            "this is a 32-bit kernel of macOS (K32), of which no more is known than that: \
             physical memory and the registers of each vCPU are available",
        )];
    }
    let Some(image) = &macos.image else {
        return vec![Problem::incomplete(
            "the kernel's image was not found: no Mach-O header below 4 GiB says that it lies \
             where it does; extensions are not known, nor where symbols belong",
        )];
    };
    let mut missing = Vec::new();
    if macos.kernel_root.is_none() {
        missing.push(Problem::incomplete(format!(
            "no page tables were found that map the kernel at {}: each vCPU shows only what its \
             own map",
            image.value.base
        )));
    }
    if macos.low_globals.is_none() {
        missing.push(Problem::incomplete(
            "the page of pointers for debuggers (lowGlo) is not in the kernel's image: its \
             extensions and build are not known",
        ));
    }
    missing.extend(torn(macos));
    missing
}

fn torn(macos: &MacosFacts) -> Option<Problem> {
    let has_both = macos.low_globals.is_some() && macos.kernel_root.is_some();
    match &macos.kexts {
        Some(Found { value: KextList { torn, kexts }, .. }) => {
            let (why, count) = (torn.as_ref()?, kexts.len());
            Some(Problem::incomplete(format!(
                "the list of kernel extensions ends after {count}: {why}"
            )))
        }
        None => has_both.then(|| {
            Problem::incomplete("the list of kernel extensions (lgKmodptr) is not in memory")
        }),
    }
}
