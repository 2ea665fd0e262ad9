//! How a processor sees memory.

use vmss2core_mem::{Found, PhysicalMemory};

use crate::paging::{AddressSpace, Paging, PagingError, PagingMode, Root};
use crate::{Privilege, Vcpu};

/// How a processor sees memory at one moment, and what the guest calls it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VcpuView {
    /// Index of the processor in the checkpoint.
    pub index: u32,
    /// Its page tables; `None` if the checkpoint lacks the registers that tell.
    pub paging: Option<Paging>,
    /// Root of the kernel's page tables where it is another one: page tables of a
    /// program that hide the kernel.
    pub kernel_root: Option<Found<Root>>,
    /// The kind of code that it executes.
    pub privilege: Option<Privilege>,
    /// The guest's own number of it.
    pub number: Option<u32>,
}

impl VcpuView {
    /// The view that its registers tell. If they do not tell its page tables, the error says why.
    pub fn new(memory: &PhysicalMemory, vcpu: &Vcpu) -> (Self, Option<PagingError>) {
        let (paging, error) = match vcpu.registers.paging(memory) {
            Ok(paging) => (Some(paging), None),
            Err(error) => (None, Some(error)),
        };
        let privilege = vcpu.registers.privilege();
        (Self { index: vcpu.index, paging, privilege, ..Self::default() }, error)
    }

    /// Its paging mode.
    pub fn mode(&self) -> Option<PagingMode> {
        self.paging.as_ref().map(|paging| paging.mode.value)
    }

    /// Root of its page tables.
    pub fn root(&self) -> Option<Root> {
        self.paging.as_ref().map(|paging| paging.root)
    }

    /// The address space that it sees.
    pub fn space(&self, memory: &PhysicalMemory) -> Option<AddressSpace> {
        Some(self.paging.as_ref()?.address_space(memory))
    }

    /// The kernel's address space where that is another one.
    pub fn kernel_space(&self, memory: &PhysicalMemory) -> Option<AddressSpace> {
        Some(self.space(memory)?.with_root(self.kernel_root.as_ref()?.value))
    }
}
