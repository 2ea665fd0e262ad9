//! Addition of a macOS kernel: its own place.

use vmss2core_gdb::MachKernel;
use vmss2core_guest::macos::MacosFacts;

/// Where lldb finds the kernel, which it would search for otherwise.
pub(super) fn kernel(macos: &MacosFacts) -> Option<MachKernel> {
    // lldb looks for 32-bit kernels where 64-bit ones are, and finds none.
    let image = &macos.image.as_ref().filter(|_| macos.is_64_bit)?.value;
    Some(MachKernel { address: image.base.0, uuid: image.uuid.map(|uuid| uuid.to_string()) })
}
