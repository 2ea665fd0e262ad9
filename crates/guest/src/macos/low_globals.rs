//! The page of pointers that XNU keeps for debuggers (`lowGlo`,
//! `osfmk/x86_64/lowmem_vectors.c`). It is part of the kernel's data.

use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::macho::{text, u64_at};
use super::version::{self, DarwinVersion};
use super::{KernelImage, place};

const MARK: &[u8] = b"Catfish ";
const VERSION: usize = 0x30;
const KMOD: usize = 0x8f8;
const OS_VERSION: usize = 0x920;
/// Longest build string.
const MAX_BUILD: usize = 16;

/// The page, and what its pointers lead to.
#[derive(Clone, Debug)]
pub(super) struct LowGlobals {
    pub(super) gpa: Gpa,
    /// The text that `lgVersion` leads to.
    pub(super) version: DarwinVersion,
    /// `lgKmodptr`: address of the variable that is the head of the list of extensions.
    pub(super) kmod: Gva,
    /// The text that `lgOSVersion` leads to.
    pub(super) build: Option<String>,
}

/// Looks for the page in the kernel's image.
pub(super) fn find(memory: &PhysicalMemory, image: &KernelImage) -> Option<LowGlobals> {
    place::static_parts(image).find_map(|(gpa, len)| {
        // Segments begin at pages.
        place::pieces(memory, (gpa.page_start(), len), 0, |at, bytes| {
            let pages = (at.0..).step_by(0x1000).zip(bytes.chunks(0x1000));
            pages
                .filter(|(_, page)| page.starts_with(MARK))
                .find_map(|(at, page)| of_page(memory, Gpa(at), page))
        })
    })
}

fn of_page(memory: &PhysicalMemory, gpa: Gpa, page: &[u8]) -> Option<LowGlobals> {
    let pointer = |at: usize| u64_at(page, at).map(Gva);
    let said = read(memory, pointer(VERSION)?, version::MAX_LEN);
    Some(LowGlobals {
        gpa,
        version: DarwinVersion::of(&said)?,
        kmod: pointer(KMOD)?,
        build: pointer(OS_VERSION).and_then(|at| build(&read(memory, at, MAX_BUILD))),
    })
}

/// As much as is there of `len` bytes at an address of the image.
fn read(memory: &PhysicalMemory, gva: Gva, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    let is_read = place::physical(gva).is_some_and(|gpa| memory.read(gpa, &mut bytes).is_ok());
    if is_read { bytes } else { Vec::new() }
}

/// `10K549`: digits, a letter, digits and perhaps a letter. Empty until the system has
/// told the kernel.
fn build(bytes: &[u8]) -> Option<String> {
    let build = text(bytes);
    let is_build = build.len() > 2
        && build.len() < MAX_BUILD
        && build.starts_with(|char: char| char.is_ascii_digit())
        && build.chars().all(|char| char.is_ascii_alphanumeric());
    is_build.then_some(build)
}
