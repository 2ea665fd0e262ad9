//! Call frames as DWARF describes them (System V ABI: AMD64, 3.6.2; i386, 2.4.2).

use crate::linux::process::FrameMachine;

/// Of 64-bit code.
pub(in crate::linux) const FRAMES_64: FrameMachine = FrameMachine {
    address_bytes: 8,
    return_address: 16,
    stack_pointer: 7,
    // Not canonical.
    nowhere: 1 << 63,
};

/// Of 32-bit code.
pub(in crate::linux) const FRAMES_32: FrameMachine = FrameMachine {
    address_bytes: 4,
    return_address: 8,
    stack_pointer: 4,
    // The kernel's.
    nowhere: 0xffff_fff0,
};
