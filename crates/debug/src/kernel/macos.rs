//! What a macOS kernel adds: its own place, and the extensions that it has loaded.

use vmss2core_gdb::{Library, LibraryAddresses, MachKernel};
use vmss2core_guest::macos::{Kext, MacosFacts};

/// Where lldb finds the kernel, which it would search for otherwise.
pub(super) fn kernel(macos: &MacosFacts) -> Option<MachKernel> {
    // lldb looks for 32-bit kernels where 64-bit ones are, and finds none.
    let image = &macos.image.as_ref().filter(|_| macos.is_64_bit)?.value;
    Some(MachKernel { address: image.base.0, uuid: image.uuid.map(|uuid| uuid.to_string()) })
}

/// The extensions that have an image of their own. gdb reads no Mach-O file, but lists
/// them.
pub(super) fn kexts(macos: &MacosFacts) -> Option<Vec<Library>> {
    let library = |kext: &Kext| {
        let addresses = LibraryAddresses::Segment(kext.base?.0);
        Some(Library { name: kext.name.clone(), addresses })
    };
    Some(macos.kexts.as_ref()?.value.kexts.iter().filter_map(library).collect())
}
