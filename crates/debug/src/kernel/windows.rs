//! What a Windows kernel adds: the images that it has loaded.

use vmss2core_gdb::{Library, LibraryAddresses};
use vmss2core_guest::windows::{Kernel, Module};

/// Where an image's first section usually lies, behind its headers.
const FIRST_SECTION: u64 = 0x1000;

/// The kernel and its drivers. gdb takes the address of the one segment of an image
/// for that of its lowest section, as gdbserver has it on Windows itself (`win32-low.cc`
/// adds 0x1000 to each base).
pub(super) fn images(kernel: &Kernel) -> Vec<Library> {
    let library = |module: &Module| {
        let sections = module.sections().iter().map(|section| u64::from(section.rva));
        let first = sections.min().unwrap_or(FIRST_SECTION);
        Library {
            name: module.name.clone(),
            addresses: LibraryAddresses::Segment(module.base.0.wrapping_add(first)),
        }
    };
    kernel.modules().modules.iter().map(library).collect()
}
