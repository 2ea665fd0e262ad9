//! A second kernel that runs because the first one has crashed (kdump).
//!
//! The first kernel keeps memory free for the second (`crashkernel=`). With the second
//! one it loads the head of an ELF core of itself into it, whose notes are where each CPU
//! leaves its registers at a crash (`crash_notes`) and the first kernel's VMCOREINFO
//! (`crash_prepare_elf64_headers`, kernel/kexec_file.c). So a kernel near which such a
//! head lies is either the one that the head is about, or the second one.
//!
//! It is looked for only if there is reason to: vCPUs execute two kernels, or the one
//! they execute has taken little of memory for its own.

use vmss2core_formats::elf::{
    ELFCLASS64, ELFDATA2LSB, EM_X86_64, ET_CORE, Ehdr64, MAGIC, PT_NOTE, Phdr64,
};
use vmss2core_mem::{Found, Gpa, PhysicalMemory};
use zerocopy::FromBytes;

use super::image::Image;
use super::{banner, vmcoreinfo};
use crate::linux::arch;
use crate::{CrashKernel, VmcoreInfo};

/// No machine keeps more memory for a second kernel.
const REACH: u64 = 1 << 30;
const PAGE_LEN: usize = 4096;
/// One for each CPU that there can be (`NR_CPUS`), some for memory.
const MOST_PROGRAM_HEADS: usize = 1 << 14;
/// A kernel has one, and the one before it perhaps.
const MOST_HEADS: usize = 8;

const HEAD: usize = size_of::<Ehdr64>();
const PROGRAM: usize = size_of::<Phdr64>();

/// The first of two kernels, and what is known of the second.
pub(super) struct Crashed {
    pub(super) image: Image,
    pub(super) banner: Option<Found<String>>,
    pub(super) vmcoreinfo: Found<VmcoreInfo>,
    pub(super) second: Found<CrashKernel>,
}

/// Looks for a second kernel among the images that vCPUs execute, and for the first
/// one that it belongs to, which perhaps no vCPU executes any more.
pub(super) fn find(memory: &PhysicalMemory, images: &[(Image, Found<String>)]) -> Option<Crashed> {
    is_suspect(memory, images).then_some(())?;
    images.iter().find_map(|(image, line)| {
        let head = core_head(memory, image)?;
        let (first, first_line) = kernel_of(memory, images, &head.vmcoreinfo.value)?;
        let how = format!(
            "the head of a core of the first kernel lies beside it, at physical {}",
            head.gpa
        );
        let second = CrashKernel {
            banner: line.value.clone(),
            release: banner::release(&line.value).unwrap_or_default().to_owned(),
            text: image.extent(),
            vcpus: image.vcpus.clone(),
            notes: head.notes,
        };
        let (vmcoreinfo, second) = (head.vmcoreinfo, Found::new(second, how));
        Some(Crashed { image: first, banner: first_line, vmcoreinfo, second })
    })
}

/// The head of a core of another kernel.
struct CoreHead {
    gpa: Gpa,
    /// Where CPUs leave their registers.
    notes: Vec<Gpa>,
    vmcoreinfo: Found<VmcoreInfo>,
}

/// The head of a core near an image, if it is of another kernel: one that only waits for
/// a crash has one as well.
fn core_head(memory: &PhysicalMemory, image: &Image) -> Option<CoreHead> {
    let is_head = |gpa: &Gpa| file_head(memory, *gpa).is_some();
    let heads = pages_around(image).filter(is_head).take(MOST_HEADS);
    let mut others = heads.filter_map(|gpa| read(memory, gpa)).filter(|head| {
        let text = arch::image::text_of(&head.vmcoreinfo.value);
        text.is_some_and(|text| !image.holds_physical(text))
    });
    others.next()
}

/// Where the head can be: in the memory that was kept for the image.
fn pages_around(image: &Image) -> impl Iterator<Item = Gpa> {
    let start = image.runs.first().map_or(0, |run| run.gpa.0);
    let pages = start.saturating_sub(REACH)..start.saturating_add(REACH);
    pages.step_by(PAGE_LEN).map(Gpa)
}

/// Whether an image can be of a second kernel.
fn is_suspect(memory: &PhysicalMemory, images: &[(Image, Found<String>)]) -> bool {
    let [(only, _)] = images else { return !images.is_empty() };
    only.space.mode().is_64_bit() && arch::image::covered(&only.space) < memory.len_bytes() / 2
}

/// Where the program heads of a core are whose own head lies at an address, and how many.
fn file_head(memory: &PhysicalMemory, gpa: Gpa) -> Option<(Gpa, usize)> {
    let mut head = [0; HEAD];
    memory.read(gpa, &mut head).ok()?;
    let head = Ehdr64::ref_from_bytes(&head).ok().filter(|head| is_of_core(head))?;
    Some((gpa.checked_add(head.e_phoff.get())?, usize::from(head.e_phnum.get())))
}

/// The head at an address, if there is one with VMCOREINFO among its notes.
fn read(memory: &PhysicalMemory, gpa: Gpa) -> Option<CoreHead> {
    let (programs, count) = file_head(memory, gpa)?;
    let count = count.min(MOST_PROGRAM_HEADS);
    let mut bytes = vec![0; count.checked_mul(PROGRAM)?];
    memory.read(programs, &mut bytes).ok()?;
    let programs = <[Phdr64]>::ref_from_bytes(&bytes).ok()?.iter();
    let notes = programs.filter(|program| program.p_type.get() == PT_NOTE);
    let mut notes: Vec<Gpa> = notes.map(|program| Gpa(program.p_offset.get())).collect();
    let place = |gpa: Gpa| format!("physical {gpa}, which the head of a core names");
    let info = |gpa: &Gpa| vmcoreinfo::note_at(memory, *gpa, &place(*gpa));
    let (index, vmcoreinfo) =
        notes.iter().enumerate().find_map(|(index, gpa)| Some((index, info(gpa)?)))?;
    notes.remove(index);
    Some(CoreHead { gpa, notes, vmcoreinfo })
}

fn is_of_core(head: &Ehdr64) -> bool {
    let ident = &head.e_ident;
    let is_wide = (ident.class, ident.data) == (ELFCLASS64, ELFDATA2LSB);
    let is_core = head.e_type.get() == ET_CORE && head.e_machine.get() == EM_X86_64;
    let has_heads = usize::from(head.e_phentsize.get()) == PROGRAM;
    ident.magic == MAGIC && is_wide && is_core && has_heads
}

/// The kernel that a VMCOREINFO is of: one that vCPUs execute, else the one that its
/// addresses lead to.
fn kernel_of(
    memory: &PhysicalMemory,
    images: &[(Image, Found<String>)],
    info: &VmcoreInfo,
) -> Option<(Image, Option<Found<String>>)> {
    let text = arch::image::text_of(info)?;
    let executed = images.iter().find(|(image, _)| image.holds_physical(text));
    if let Some((image, line)) = executed {
        return Some((image.clone(), Some(line.clone())));
    }
    let image = arch::image::of_vmcoreinfo(memory, info)?;
    let line = banner::find(&image);
    Some((image, line))
}
