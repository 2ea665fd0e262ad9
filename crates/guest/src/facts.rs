//! Facts that were found out about the guest.

use std::any::Any;
use std::sync::Arc;

use vmss2core_machine::VcpuView;
use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_mem::{Found, Problem};

use crate::LinuxFacts;
use crate::macos::MacosFacts;
use crate::system::{Boot, System};
use crate::windows::WindowsFacts;

/// Everything that was found out. A clone shares what is large.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The system that runs, and by what it was recognised.
    pub boot: Option<Found<Arc<dyn Boot>>>,
    /// How each vCPU of the checkpoint sees memory, in its order.
    pub vcpus: Arc<[VcpuView]>,
    /// Parts that could not be found, and why that matters.
    pub problems: Vec<Problem>,
}

impl Facts {
    /// Facts that consist of one boot and how it was recognised.
    pub fn of(boot: impl Boot, how: &str) -> Self {
        let boot: Arc<dyn Boot> = Arc::new(boot);
        Self { boot: Some(Found::new(boot, how)), ..Self::default() }
    }

    /// How a vCPU sees memory.
    pub fn vcpu(&self, index: u32) -> Option<&VcpuView> {
        self.vcpus.iter().find(|vcpu| vcpu.index == index)
    }

    /// The operating system.
    pub fn system(&self) -> Option<&'static dyn System> {
        Some(self.boot.as_ref()?.value.system())
    }

    /// Whether its kernel has 64 bits.
    pub fn is_64_bit(&self) -> Option<bool> {
        Some(self.boot.as_ref()?.value.is_64_bit())
    }

    /// The kernel's own page tables.
    pub fn kernel_root(&self) -> Option<&Found<(PagingMode, Root)>> {
        self.boot.as_ref()?.value.kernel_root()
    }

    /// Facts about a Linux kernel, if it is one.
    pub fn linux(&self) -> Option<&LinuxFacts> {
        self.boot_as()
    }

    /// Facts about a Windows kernel, if it is one.
    pub fn windows(&self) -> Option<&WindowsFacts> {
        self.boot_as()
    }

    /// Facts about a macOS kernel, if it is one.
    pub fn macos(&self) -> Option<&MacosFacts> {
        self.boot_as()
    }

    fn boot_as<B: Boot>(&self) -> Option<&B> {
        let boot: &dyn Any = self.boot.as_ref()?.value.as_ref();
        boot.downcast_ref()
    }

    /// The facts of one system, to be kept.
    pub(crate) fn shared<B: Boot>(&self) -> Option<Arc<B>> {
        let boot: Arc<dyn Any + Send + Sync> = self.boot.as_ref()?.value.clone();
        boot.downcast().ok()
    }
}
