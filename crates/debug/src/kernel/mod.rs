//! All of a guest as its kernel sees it: one inferior whose threads are the processors.

use std::sync::Arc;

use vmss2core_gdb::description::Description;
use vmss2core_gdb::{Inferior, Library, MachKernel, Region, Slide, Target, Thread};
use vmss2core_machine::paging::AddressSpace;
use vmss2core_machine::{Checkpoint, Registers, Vcpu};
use vmss2core_mem::{Gva, PhysicalMemory};

mod linux;
mod macos;
mod memory;
mod view;

use memory::region_at;
pub use view::KernelView;

/// The number of the one inferior.
const PID: u32 = 1;

/// Threads that a guest's kernel is looked at through: its processors, or its tasks.
pub trait KernelThreads: Send + Sync {
    /// The threads.
    fn threads(&self) -> &[Thread];

    /// The vCPU that is on a thread.
    fn cpu(&self, tid: u32) -> Option<u32>;

    /// The registers of a thread; `None` if there is no such thread.
    fn registers(&self, view: &KernelView, tid: u32) -> Option<Registers>;

    /// Address spaces of a thread; the first that maps an address counts.
    fn spaces(&self, view: &KernelView, tid: u32) -> Vec<AddressSpace>;

    /// The vCPU whose own variables a thread means.
    fn variables_of(&self, tid: u32) -> Option<u32>;
}

/// A guest's kernel as one inferior.
pub struct KernelInferior<T> {
    view: KernelView,
    threads: T,
}

impl<T: KernelThreads> KernelInferior<T> {
    /// A kernel that is looked at through these threads.
    pub fn new(view: KernelView, threads: T) -> Self {
        Self { view, threads }
    }
}

impl<T: KernelThreads> Inferior for KernelInferior<T> {
    fn pid(&self) -> u32 {
        PID
    }

    fn threads(&self) -> &[Thread] {
        self.threads.threads()
    }

    fn description(&self) -> &Description {
        self.view.description()
    }

    fn cpu(&self, tid: u32) -> Option<u32> {
        self.threads.cpu(tid)
    }

    fn registers(&self, tid: u32) -> Option<Registers> {
        self.threads.registers(&self.view, tid)
    }

    fn read(&self, tid: u32, address: u64, buf: &mut [u8]) -> usize {
        let spaces = self.threads.spaces(&self.view, tid);
        self.view.read(&spaces, self.threads.variables_of(tid), address, buf)
    }

    fn region(&self, tid: u32, address: u64) -> Option<Region> {
        self.space(tid).map(|space| region_at(&space, Gva(address)))
    }

    fn space(&self, tid: u32) -> Option<AddressSpace> {
        self.threads.spaces(&self.view, tid).into_iter().next()
    }

    fn slide(&self) -> Option<Slide> {
        self.view.slide()
    }

    fn libraries(&self) -> Option<Vec<Library>> {
        self.view.libraries()
    }

    fn triple(&self) -> Option<String> {
        self.view.triple()
    }

    fn mach_kernel(&self) -> Option<MachKernel> {
        self.view.mach_kernel()
    }
}

/// The processors of a checkpoint.
pub struct Vcpus {
    threads: Vec<Thread>,
}

impl Vcpus {
    /// The processors of a checkpoint.
    pub fn of(checkpoint: &Checkpoint) -> Self {
        let mut threads: Vec<Thread> = checkpoint.vcpus.iter().map(thread).collect();
        if threads.is_empty() {
            threads.push(no_processor());
        }
        Self { threads }
    }
}

impl KernelThreads for Vcpus {
    fn threads(&self) -> &[Thread] {
        &self.threads
    }

    fn cpu(&self, tid: u32) -> Option<u32> {
        self.threads.iter().find(|thread| thread.tid == tid)?.core
    }

    fn registers(&self, view: &KernelView, tid: u32) -> Option<Registers> {
        self.threads.iter().find(|thread| thread.tid == tid)?;
        let vcpu = self.variables_of(tid).and_then(|index| view.vcpu(index));
        Some(vcpu.map_or_else(|| view.nowhere(), |vcpu| vcpu.registers.clone()))
    }

    fn spaces(&self, view: &KernelView, tid: u32) -> Vec<AddressSpace> {
        view.spaces(self.variables_of(tid))
    }

    fn variables_of(&self, tid: u32) -> Option<u32> {
        tid.checked_sub(1)
    }
}

/// The one thread of a checkpoint without registers: debuggers read memory only for
/// a thread.
fn no_processor() -> Thread {
    let (name, extra) = ("no registers", "the checkpoint has none");
    Thread { tid: 1, name: name.to_owned(), extra: extra.to_owned(), core: None }
}

/// Threads are numbered from 1: 0 is no thread.
fn thread(vcpu: &Vcpu) -> Thread {
    let level = vcpu.registers.level();
    let ring = level.map(|level| format!("{} {level}", vcpu.registers.arch().level_name()));
    let halted = vcpu.halted.unwrap_or(false).then(|| "halted".to_owned());
    let words: Vec<String> = ring.into_iter().chain(halted).collect();
    Thread {
        tid: vcpu.index.saturating_add(1),
        name: format!("vCPU {}", vcpu.index),
        extra: words.join(", "),
        core: Some(vcpu.index),
    }
}

/// A server's target that is one inferior: all processors of a guest without processes.
pub struct KernelTarget {
    memory: PhysicalMemory,
    inferior: Arc<dyn Inferior>,
}

impl KernelTarget {
    /// A target of this inferior; `memory` is that of the checkpoint.
    pub fn new(memory: &PhysicalMemory, inferior: Arc<dyn Inferior>) -> Self {
        Self { memory: memory.clone(), inferior }
    }
}

impl Target for KernelTarget {
    fn physical(&self) -> PhysicalMemory {
        self.memory.clone()
    }

    fn inferiors(&self) -> Vec<Arc<dyn Inferior>> {
        vec![self.inferior.clone()]
    }

    fn nothing_to_attach(&self) -> &'static str {
        "only processes of Linux guests can be attached to: \"target remote\" shows the \
         processors of this one"
    }
}
