//! vCPU mode: one inferior whose threads are the processors.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use vmss2core_guest::linux::Kernel;
use vmss2core_guest::paging::{AddressSpace, vcpu_paging};
use vmss2core_guest::{Facts, OperatingSystem, VcpuFacts};
use vmss2core_mem::{Checkpoint, Gva, PhysicalMemory, Vcpu, X86Vcpu};

use crate::description::{Description, Feature, Width};
use crate::target::{Inferior, Library, Region, Registers, Slide, Target, Thread};

mod kernel;
mod memory;

pub use kernel::{PerCpu, modules};
pub use memory::{read_prefix, region_at};

/// The number of the one inferior.
const PID: u32 = 1;

/// The processors of a checkpoint.
pub struct Vcpus<'a> {
    checkpoint: &'a Checkpoint,
    facts: &'a Facts,
    kernel: Option<&'a Kernel<'a>>,
    threads: Vec<Thread>,
    description: Description,
    percpu: PerCpu,
    module_dir: Option<PathBuf>,
    modules: OnceLock<Vec<Library>>,
}

impl<'a> Vcpus<'a> {
    /// The processors of a checkpoint; `kernel` is asked what a Linux guest knows.
    pub fn new(
        checkpoint: &'a Checkpoint,
        facts: &'a Facts,
        kernel: Option<&'a Kernel<'a>>,
    ) -> Self {
        let description = Description::new(width(checkpoint, facts), &features(checkpoint));
        let mut threads: Vec<Thread> =
            checkpoint.vcpus.iter().map(|vcpu| thread(vcpu, facts)).collect();
        if threads.is_empty() {
            threads.push(no_processor());
        }
        Self {
            checkpoint,
            facts,
            kernel,
            threads,
            description,
            percpu: PerCpu::default(),
            module_dir: None,
            modules: OnceLock::new(),
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

    fn vcpu(&self, tid: u32) -> Option<&'a Vcpu> {
        let index = tid.checked_sub(1)?;
        self.checkpoint.vcpus.iter().find(|vcpu| vcpu.index == index)
    }

    fn facts_of(&self, tid: u32) -> Option<&'a VcpuFacts> {
        let index = tid.checked_sub(1)?;
        self.facts.vcpus.iter().find(|vcpu| vcpu.index == index)
    }

    /// Where the per-CPU variable is that a debugger believes at `address`.
    fn own_variable(&self, tid: u32, address: u64) -> Option<Gva> {
        self.percpu.own_address(self.kernel?, tid.checked_sub(1)?, address)
    }

    /// What a processor sees: its own page tables, then the kernel's where they
    /// are others.
    fn spaces(&self, tid: u32) -> Vec<AddressSpace<'a>> {
        let memory = &self.checkpoint.memory;
        let own =
            self.vcpu(tid).and_then(Vcpu::x86).and_then(|vcpu| vcpu_paging(memory, vcpu).ok());
        let Some(own) = own.map(|paging| paging.address_space(memory)) else {
            return kernel_space(self.checkpoint, self.facts).into_iter().collect();
        };
        let kernel_root = self.facts_of(tid).and_then(|facts| facts.kernel_root.as_ref());
        std::iter::once(own).chain(kernel_root.map(|root| own.with_root(root.value))).collect()
    }
}

/// What the kernel sees, for checkpoints without registers.
fn kernel_space<'a>(checkpoint: &'a Checkpoint, facts: &Facts) -> Option<AddressSpace<'a>> {
    let linux = facts.linux.as_ref().and_then(|linux| linux.kernel_root.as_ref());
    let windows = facts.windows.as_ref().map(|windows| &windows.kernel_root);
    let (mode, root) = linux.or(windows)?.value;
    Some(AddressSpace::new(&checkpoint.memory, mode, root))
}

/// The one thread of a checkpoint without registers: debuggers read memory only for
/// a thread.
fn no_processor() -> Thread {
    let (name, extra) = ("no registers", "the checkpoint has none");
    Thread { tid: 1, name: name.to_owned(), extra: extra.to_owned(), core: None }
}

/// Its registers: gdb drops a thread of which it is not told where it stands.
fn nowhere() -> X86Vcpu {
    X86Vcpu { rip: Some(0), ..X86Vcpu::default() }
}

/// Threads are numbered from 1: 0 is no thread.
fn thread(vcpu: &Vcpu, facts: &Facts) -> Thread {
    let of = facts.vcpus.iter().find(|of| of.index == vcpu.index);
    let ring = of.and_then(|of| of.privilege).map(|ring| format!("ring {ring}"));
    let halted = vcpu.halted.unwrap_or(false).then(|| "halted".to_owned());
    let words: Vec<String> = ring.into_iter().chain(halted).collect();
    Thread {
        tid: vcpu.index.saturating_add(1),
        name: format!("vCPU {}", vcpu.index),
        extra: words.join(", "),
        core: Some(vcpu.index),
    }
}

fn width(checkpoint: &Checkpoint, facts: &Facts) -> Width {
    let modes = || facts.vcpus.iter().filter_map(|vcpu| vcpu.mode.as_ref());
    let linux = facts.linux.as_ref().is_some_and(|linux| linux.is_64_bit);
    let windows = facts.windows.as_ref().is_some_and(|windows| windows.is_64_bit);
    let in_real_mode = |vcpu: &X86Vcpu| vcpu.control.cr0.is_some_and(|cr0| cr0 & 1 == 0);
    if linux || windows || modes().any(|mode| mode.value.is_64_bit()) {
        Width::Bits64
    } else if !checkpoint.vcpus.is_empty()
        && checkpoint.vcpus.iter().filter_map(Vcpu::x86).all(in_real_mode)
    {
        Width::Bits16
    } else {
        Width::Bits32
    }
}

/// SSE even where the checkpoint lacks it: gdb wants it, and says "unavailable".
fn features(checkpoint: &Checkpoint) -> Vec<Feature> {
    let mut features = vec![Feature::Core, Feature::Sse, Feature::Segments];
    let has_avx = |vcpu: &X86Vcpu| matches!(vcpu.fpu, Some(vmss2core_mem::FpuState::Xsave(_)));
    if checkpoint.vcpus.iter().filter_map(Vcpu::x86).any(has_avx) {
        features.push(Feature::Avx);
    }
    features.push(Feature::System);
    features
}

impl Inferior for Vcpus<'_> {
    fn pid(&self) -> u32 {
        PID
    }

    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn description(&self) -> &Description {
        &self.description
    }

    fn registers(&self, tid: u32) -> Option<Registers> {
        self.threads.iter().find(|thread| thread.tid == tid)?;
        let cpu = match self.vcpu(tid) {
            Some(vcpu) => vcpu.x86().cloned().unwrap_or_default(),
            None => nowhere(),
        };
        Some(Registers { cpu, system_call: None })
    }

    fn read(&self, tid: u32, address: u64, buf: &mut [u8]) -> usize {
        let spaces = self.spaces(tid);
        let got = read_prefix(&spaces, Gva(address), buf);
        if got > 0 || buf.is_empty() {
            return got;
        }
        match self.own_variable(tid, address) {
            Some(own) => read_prefix(&spaces, own, buf),
            None => 0,
        }
    }

    fn region(&self, tid: u32, address: u64) -> Option<Region> {
        self.spaces(tid).first().map(|space| region_at(space, Gva(address)))
    }

    fn space(&self, tid: u32) -> Option<AddressSpace<'_>> {
        self.spaces(tid).into_iter().next()
    }

    fn slide(&self) -> Option<Slide> {
        let linux = self.facts.linux.as_ref()?;
        Some(Slide {
            text: linux.text.as_ref()?.value.start.0,
            offset: linux.kaslr_offset.as_ref().map_or(0, |offset| offset.value),
        })
    }

    fn libraries(&self) -> Option<Vec<Library>> {
        let (kernel, dir) = (self.kernel?, self.module_dir.as_deref()?);
        Some(self.modules.get_or_init(|| modules(kernel, dir)).clone())
    }

    /// None for what may be macOS: lldb then looks for that kernel by itself, which
    /// only wastes time elsewhere.
    fn triple(&self) -> Option<String> {
        let architecture = if self.width() == Width::Bits64 { "x86_64" } else { "i386" };
        let system = match self.facts.os.as_ref()?.value {
            OperatingSystem::Linux => "linux-gnu",
            _ => "unknown",
        };
        Some(format!("{architecture}-unknown-{system}"))
    }
}

/// A server's target in this mode.
pub struct VcpuTarget<'a> {
    vcpus: Arc<Vcpus<'a>>,
}

impl<'a> VcpuTarget<'a> {
    /// A target of these processors.
    pub fn new(vcpus: Vcpus<'a>) -> Self {
        Self { vcpus: Arc::new(vcpus) }
    }
}

impl Target for VcpuTarget<'_> {
    fn physical(&self) -> &PhysicalMemory {
        &self.vcpus.checkpoint.memory
    }

    fn inferiors(&self) -> Vec<Arc<dyn Inferior + '_>> {
        vec![self.vcpus.clone()]
    }

    fn attach(&self, _: u32) -> Result<Arc<dyn Inferior + '_>, String> {
        Err("only processes of Linux guests can be attached to: \"target remote\" shows the \
             processors of this one"
            .to_owned())
    }
}
