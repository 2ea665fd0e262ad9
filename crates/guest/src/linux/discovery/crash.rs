//! A second kernel that runs because the first one has crashed (kdump).
//!
//! The first kernel keeps memory free for the second (`crashkernel=`). With the second
//! one it loads the head of an ELF core of itself, whose notes are where each CPU leaves
//! its registers at a crash (`crash_notes`) and the first kernel's VMCOREINFO
//! (`crash_prepare_elf64_headers`, kernel/kexec_file.c). The second kernel keeps the
//! address in `elfcorehdr_addr`. So a kernel whose variables lead to such a head is
//! either the one that the head is about, or the second one.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use vmss2core_mem::{Gpa, PhysicalMemory};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::image::{Content, Image, KERNEL_MAP};
use super::{banner, image_of, vmcoreinfo};
use crate::{CrashKernel, Found, VmcoreInfo};

const MAGIC: &[u8] = b"\x7fELF\x02\x01";
const ET_CORE: u16 = 4;
const EM_X86_64: u16 = 62;
const PT_NOTE: u32 = 4;
/// The kernel and kexec-tools align the head to a page or to this.
const ALIGNMENT: u64 = 1 << 10;
/// More different numbers that could be its address are not worth following.
const MOST_POINTERS: usize = 1 << 16;
/// One for each CPU that there can be (`NR_CPUS`), some for memory.
const MOST_PROGRAM_HEADS: usize = 1 << 14;

/// `Elf64_Ehdr`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct FileHead {
    ident: [u8; 16],
    kind: U16,
    machine: U16,
    _version: U32,
    _entry: U64,
    programs: U64,
    _sections: U64,
    _flags: U32,
    _head_len: U16,
    program_len: U16,
    program_count: U16,
    _section_len: U16,
    _section_count: U16,
    _names: U16,
}

/// `Elf64_Phdr`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct ProgramHead {
    kind: U32,
    _flags: U32,
    /// Of a note, its physical address.
    offset: U64,
    _gva: U64,
    _gpa: U64,
    _file_len: U64,
    _memory_len: U64,
    _alignment: U64,
}

const HEAD: usize = 64;
const PROGRAM: usize = 56;
const _: () = assert!(size_of::<FileHead>() == HEAD && size_of::<ProgramHead>() == PROGRAM);

/// The first of two kernels, and what is known of the second.
pub(super) struct Crashed<'a> {
    pub(super) image: Image<'a>,
    pub(super) banner: Option<Found<String>>,
    pub(super) vmcoreinfo: Found<VmcoreInfo>,
    pub(super) second: Found<CrashKernel>,
}

/// Looks for a second kernel among the images that vCPUs execute, and for the first
/// one that it belongs to, which perhaps no vCPU executes any more.
pub(super) fn find<'a>(
    memory: &'a PhysicalMemory,
    images: &[(Image<'a>, Found<String>)],
) -> Option<Crashed<'a>> {
    images.iter().find_map(|(image, line)| {
        let head = core_head(memory, image)?;
        let (first, first_line) = kernel_of(memory, images, &head.vmcoreinfo.value)?;
        let how = format!(
            "its variables lead to the head of a core at physical {}, which is of the first kernel",
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

/// The head of a core that variables of an image lead to, if it is of another kernel:
/// one that only waits for a crash knows the head as well.
fn core_head(memory: &PhysicalMemory, image: &Image<'_>) -> Option<CoreHead> {
    let heads = pointers(memory, image).into_iter().filter_map(|gpa| read(memory, gpa));
    let mut others = heads.filter(|head| {
        let text = text_of(&head.vmcoreinfo.value);
        text.is_some_and(|text| !image.holds_physical(text))
    });
    others.next()
}

/// Variables that could be the address of a head.
fn pointers(memory: &PhysicalMemory, image: &Image<'_>) -> BTreeSet<Gpa> {
    let end = memory.end().0;
    let mut found = BTreeSet::new();
    image.scan_only(Content::Variables, 0, &mut |_, bytes| {
        for word in bytes.as_chunks().0.iter().map(|word| u64::from_le_bytes(*word)) {
            let plausible = word < end && word != 0 && word.is_multiple_of(ALIGNMENT);
            if plausible && found.len() < MOST_POINTERS {
                found.insert(Gpa(word));
            }
        }
        ControlFlow::<()>::Continue(())
    });
    found
}

/// The head at an address, if there is one with VMCOREINFO among its notes.
fn read(memory: &PhysicalMemory, gpa: Gpa) -> Option<CoreHead> {
    let mut head = [0; HEAD];
    memory.read(gpa, &mut head).ok()?;
    let head = FileHead::ref_from_bytes(&head).ok().filter(|head| head.is_of_core())?;
    let count = usize::from(head.program_count.get()).min(MOST_PROGRAM_HEADS);
    let mut bytes = vec![0; count.checked_mul(PROGRAM)?];
    memory.read(gpa.checked_add(head.programs.get())?, &mut bytes).ok()?;
    let programs = <[ProgramHead]>::ref_from_bytes(&bytes).ok()?.iter();
    let notes = programs.filter(|program| program.kind.get() == PT_NOTE);
    let mut notes: Vec<Gpa> = notes.map(|program| Gpa(program.offset.get())).collect();
    let place = |gpa: Gpa| format!("physical {gpa}, which the head of a core names");
    let info = |gpa: &Gpa| vmcoreinfo::note_at(memory, *gpa, &place(*gpa));
    let (index, vmcoreinfo) =
        notes.iter().enumerate().find_map(|(index, gpa)| Some((index, info(gpa)?)))?;
    notes.remove(index);
    Some(CoreHead { gpa, notes, vmcoreinfo })
}

impl FileHead {
    fn is_of_core(&self) -> bool {
        let is_core = self.kind.get() == ET_CORE && self.machine.get() == EM_X86_64;
        let has_heads = usize::from(self.program_len.get()) == PROGRAM;
        self.ident.starts_with(MAGIC) && is_core && has_heads
    }
}

/// Where the code of a 64-bit kernel lies in physical memory.
fn text_of(info: &VmcoreInfo) -> Option<Gpa> {
    let base = info.number("phys_base").unwrap_or(0).cast_unsigned();
    let stext = info.symbol("_stext")?.0.checked_sub(KERNEL_MAP)?;
    Some(Gpa(stext.wrapping_add(base)))
}

/// The kernel that a VMCOREINFO is of: one that vCPUs execute, else the one that its
/// addresses lead to.
fn kernel_of<'a>(
    memory: &'a PhysicalMemory,
    images: &[(Image<'a>, Found<String>)],
    info: &VmcoreInfo,
) -> Option<(Image<'a>, Option<Found<String>>)> {
    let text = text_of(info)?;
    let executed = images.iter().find(|(image, _)| image.holds_physical(text));
    if let Some((image, line)) = executed {
        return Some((image.clone(), Some(line.clone())));
    }
    let image = image_of(memory, info)?;
    let line = banner::find(&image);
    Some((image, line))
}
