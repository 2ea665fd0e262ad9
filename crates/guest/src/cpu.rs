//! A processor, as those who look for a guest's system see it.

use vmss2core_machine::paging::AddressSpace;
use vmss2core_machine::{Privilege, Registers};

/// One vCPU with its address space, if that is known.
pub(crate) struct Cpu<'a> {
    pub(crate) index: u32,
    pub(crate) registers: &'a Registers,
    pub(crate) space: Option<AddressSpace>,
}

impl Cpu<'_> {
    /// Whether it executes the kernel's code.
    pub(crate) fn is_in_kernel(&self) -> bool {
        self.registers.privilege() == Some(Privilege::Kernel)
    }
}
