//! State that all threads of a kernel share, be they processors or tasks: its symbols'
//! place, its modules, and what each processor sees.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use vmss2core_gdb::description::Description;
use vmss2core_gdb::{Library, LibraryAddresses, MachKernel, Slide};
use vmss2core_guest::linux::Kernel;
use vmss2core_guest::model::Image;
use vmss2core_guest::{Facts, Now};
use vmss2core_machine::arch::ASSUMED;
use vmss2core_machine::paging::{AddressSpace, PagingMode};
use vmss2core_machine::{Arch, Checkpoint, Registers, Scope, Vcpu, VcpuView, Width};
use vmss2core_mem::Gva;

use super::linux::{PerCpu, modules};
use super::macos;
use super::memory::read_prefix;

/// A checkpoint as its kernel sees it.
pub struct KernelView {
    checkpoint: Checkpoint,
    facts: Facts,
    now: Option<Arc<dyn Now>>,
    description: Description,
    percpu: PerCpu,
    module_dir: Option<PathBuf>,
    libraries: OnceLock<Option<Vec<Library>>>,
}

impl KernelView {
    /// A checkpoint; `now` is asked what the guest's system knows.
    pub fn new(checkpoint: &Checkpoint, facts: &Facts, now: Option<Arc<dyn Now>>) -> Self {
        Self {
            checkpoint: checkpoint.clone(),
            facts: facts.clone(),
            now,
            description: description(checkpoint, facts),
            percpu: PerCpu::default(),
            module_dir: None,
            libraries: OnceLock::new(),
        }
    }

    /// Lists the kernel's modules whose files lie below a directory.
    pub fn with_module_files(self, dir: Option<PathBuf>) -> Self {
        Self { module_dir: dir, ..self }
    }

    /// How wide the guest's code is.
    pub fn width(&self) -> Width {
        self.description.width()
    }

    /// The registers of its threads.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Facts about the guest.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// A processor of the checkpoint.
    pub fn vcpu(&self, index: u32) -> Option<&Vcpu> {
        self.checkpoint.vcpu(index)
    }

    /// Address spaces of a processor: its own page tables, then the kernel's where they
    /// are others. What the kernel sees if there is no such processor.
    pub fn spaces(&self, vcpu: Option<u32>) -> Vec<AddressSpace> {
        let memory = &self.checkpoint.memory;
        let view = vcpu.and_then(|index| self.facts.vcpu(index));
        let own = view.and_then(|view| view.space(memory));
        if own.is_none() {
            return self.kernel_space().into_iter().collect();
        }
        let kernels = view.and_then(|view| view.kernel_space(memory));
        own.into_iter().chain(kernels).collect()
    }

    /// The kernel's address space.
    pub fn kernel_space(&self) -> Option<AddressSpace> {
        let (mode, root) = self.facts.kernel_root()?.value;
        Some(AddressSpace::new(&self.checkpoint.memory, mode, root))
    }

    /// Fills `buf` from an address on; returns how many bytes there are. What is not
    /// mapped may be a processor's own variable, and how far those of each lie from their
    /// symbols is what a debugger has to add.
    pub fn read(
        &self,
        spaces: &[AddressSpace],
        vcpu: Option<u32>,
        address: u64,
        buf: &mut [u8],
    ) -> usize {
        let got = read_prefix(spaces, Gva(address), buf);
        if got > 0 || buf.is_empty() {
            if let (Some(kernel), Some(read)) = (self.linux(), buf.get_mut(..got)) {
                self.percpu.correct_offsets(kernel, address, read);
            }
            return got;
        }
        match self.own_variable(vcpu, address) {
            Some(own) => read_prefix(spaces, own, buf),
            None => 0,
        }
    }

    /// Where the per-CPU variable is that a debugger believes at `address`.
    fn own_variable(&self, vcpu: Option<u32>, address: u64) -> Option<Gva> {
        self.percpu.own_address(self.linux()?, vcpu?, address)
    }

    /// Where the symbol file of a Linux kernel belongs.
    pub fn slide(&self) -> Option<Slide> {
        let linux = self.facts.linux()?;
        Some(Slide {
            text: linux.text.as_ref()?.value.start.0,
            offset: linux.kaslr_offset.as_ref().map_or(0, |offset| offset.value),
        })
    }

    /// Where lldb finds the kernel of macOS.
    pub fn mach_kernel(&self) -> Option<MachKernel> {
        macos::kernel(self.facts.macos()?)
    }

    /// Images of the kernel; of Linux, the modules whose files are there.
    pub fn libraries(&self) -> Option<Vec<Library>> {
        let Some(linux) = self.linux() else {
            return self.libraries.get_or_init(|| images(self.now.as_deref()?)).clone();
        };
        let dir = self.module_dir.as_deref()?;
        self.libraries.get_or_init(|| Some(modules(linux, dir))).clone()
    }

    fn linux(&self) -> Option<&Kernel> {
        self.now.as_deref()?.as_kernel()
    }

    /// Registers of which nothing is known: gdb drops a thread of which it is not told
    /// where it stands.
    pub(crate) fn nowhere(&self) -> Registers {
        arch(&self.checkpoint).registers_at(0)
    }

    /// None for what is not known and may be macOS: lldb then looks for that kernel by
    /// itself, which only wastes time elsewhere.
    pub fn triple(&self) -> Option<String> {
        let architecture = arch(&self.checkpoint).triple_name(self.width());
        Some(format!("{architecture}-{}", self.facts.system()?.triple()))
    }
}

/// The images that have symbols of their own; gdb lists also those that it cannot read.
fn images(now: &dyn Now) -> Option<Vec<Library>> {
    let images = now.images().filter(|images| !images.loaded.is_empty())?;
    let library = |image: &Image| {
        let addresses = LibraryAddresses::Segment(image.symbols_at?.0);
        Some(Library { name: image.name.clone(), addresses })
    };
    Some(images.loaded.iter().filter_map(library).collect())
}

/// The architecture of a checkpoint's processors.
fn arch(checkpoint: &Checkpoint) -> &'static dyn Arch {
    let vcpu = checkpoint.vcpus.first().map(|vcpu| vcpu.registers.arch());
    vcpu.or(checkpoint.about.machine.architecture).unwrap_or(ASSUMED)
}

fn description(checkpoint: &Checkpoint, facts: &Facts) -> Description {
    let vcpus: Vec<&Registers> = checkpoint.vcpus.iter().map(|vcpu| &vcpu.registers).collect();
    let width = width(checkpoint, facts);
    Description::new(arch(checkpoint).table(width, Scope::Processors, &vcpus))
}

fn width(checkpoint: &Checkpoint, facts: &Facts) -> Width {
    let modes = || facts.vcpus.iter().filter_map(VcpuView::mode);
    if facts.is_64_bit() == Some(true) || modes().any(PagingMode::is_64_bit) {
        Width::Bits64
    } else if !checkpoint.vcpus.is_empty()
        && checkpoint.vcpus.iter().all(|vcpu| vcpu.registers.width() == Some(Width::Bits16))
    {
        Width::Bits16
    } else {
        Width::Bits32
    }
}

#[cfg(test)]
mod tests;
