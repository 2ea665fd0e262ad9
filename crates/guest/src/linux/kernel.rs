//! A kernel to ask questions.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};

use vmss2core_machine::paging::AddressSpace;
use vmss2core_machine::{Checkpoint, Privilege, Registers, Vcpu, VcpuView};
use vmss2core_mem::{Found, Gva, PhysicalMemory, Problem};

use super::discovery::{self, Bounds};
use super::layout::{Stated, lists_tasks};
use super::process::gate::Gate;
use super::process::swap::SwapAreas;
use super::{
    Btf, GeneratedCode, Layout, Learned, LinuxError, Modules, Object, Symbols, Types, arch, btf,
    kallsyms, learn,
};
use crate::{Facts, LinuxFacts};

/// Sources that know better than the guest: files of this very kernel.
#[derive(Debug, Default)]
pub struct BetterSources {
    /// Structure layouts, best first.
    pub types: Vec<Found<Arc<dyn Types>>>,
    /// A symbol table, with the addresses that this guest has.
    pub symbols: Option<Found<Symbols>>,
    /// Doubts about them.
    pub problems: Vec<Problem>,
}

/// A Linux kernel at one moment: what holds from boot to boot, and a checkpoint.
/// A clone shares both.
#[derive(Clone, Debug)]
pub struct Kernel {
    checkpoint: Checkpoint,
    vcpus: Arc<[VcpuView]>,
    space: AddressSpace,
    knowledge: Arc<Knowledge>,
    pub(super) moment: Arc<Moment>,
}

/// Knowledge that holds from boot to boot. Parts are found when a question first needs them.
#[derive(Debug)]
struct Knowledge {
    linux: Arc<LinuxFacts>,
    given: BetterSources,
    kallsyms: OnceLock<Option<Found<Symbols>>>,
    exported: OnceLock<Option<Found<Symbols>>>,
    btf: OnceLock<Option<Found<Arc<Btf>>>>,
    layout: OnceLock<Layout>,
    bounds: OnceLock<Option<Found<Bounds>>>,
    learned: OnceLock<Option<Arc<Learned>>>,
    ticks: OnceLock<Option<u64>>,
    code: arch::unwind::CodeFacts,
    gate: OnceLock<Option<arch::gate::Gate>>,
}

/// Facts that hold for one checkpoint only.
#[derive(Debug, Default)]
pub(super) struct Moment {
    pub(super) modules: OnceLock<Modules>,
    pub(super) generated: OnceLock<Vec<GeneratedCode>>,
    /// By vCPU that has left for a second kernel.
    left: OnceLock<HashMap<u32, Registers>>,
    swap: OnceLock<SwapAreas>,
    pub(super) gate: OnceLock<Option<Gate>>,
}

impl Kernel {
    /// Opens the kernel that `facts` found in `checkpoint`.
    pub fn open(
        checkpoint: &Checkpoint,
        facts: &Facts,
        better: BetterSources,
    ) -> Result<Self, LinuxError> {
        let linux = facts.shared().ok_or(LinuxError::NotLinux)?;
        let knowledge = Arc::new(Knowledge {
            linux,
            given: better,
            kallsyms: OnceLock::new(),
            exported: OnceLock::new(),
            btf: OnceLock::new(),
            layout: OnceLock::new(),
            bounds: OnceLock::new(),
            learned: OnceLock::new(),
            ticks: OnceLock::new(),
            code: arch::unwind::CodeFacts::default(),
            gate: OnceLock::new(),
        });
        Self::with(knowledge, checkpoint.clone(), facts.vcpus.clone())
    }

    /// This boot of the kernel at another moment: nothing that was found out about
    /// the boot is looked for again.
    pub fn at(&self, checkpoint: Checkpoint, vcpus: Arc<[VcpuView]>) -> Result<Self, LinuxError> {
        Self::with(self.knowledge.clone(), checkpoint, vcpus)
    }

    fn with(
        knowledge: Arc<Knowledge>,
        checkpoint: Checkpoint,
        vcpus: Arc<[VcpuView]>,
    ) -> Result<Self, LinuxError> {
        let space = space(&checkpoint.memory, &vcpus, &knowledge.linux);
        let space = space.ok_or(LinuxError::NoPageTables)?;
        Ok(Self { checkpoint, vcpus, space, knowledge, moment: Arc::default() })
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// Guest physical memory.
    pub fn memory(&self) -> &PhysicalMemory {
        &self.checkpoint.memory
    }

    /// How each vCPU sees memory.
    pub fn vcpus(&self) -> &[VcpuView] {
        &self.vcpus
    }

    /// The kernel, as far as known.
    pub fn linux(&self) -> &LinuxFacts {
        &self.knowledge.linux
    }

    /// The kernel's own view of memory: all that every process shares.
    pub fn space(&self) -> &AddressSpace {
        &self.space
    }

    /// The registers of a vCPU as far as they are about this kernel: of one that executes
    /// a second kernel since this one crashed, those that it left here.
    pub fn registers_of(&self, vcpu: u32) -> Option<&Registers> {
        if self.linux().has_left(vcpu) {
            return self.moment.left.get_or_init(|| self.left_registers()).get(&vcpu);
        }
        Some(&self.checkpoint.vcpu(vcpu)?.registers)
    }

    /// How a vCPU sees memory.
    pub fn vcpu(&self, index: u32) -> Option<&VcpuView> {
        self.vcpus.iter().find(|vcpu| vcpu.index == index)
    }

    /// The kind of code that a vCPU executes; the kernel's if it has left for a second one.
    pub fn privilege_of(&self, vcpu: u32) -> Option<Privilege> {
        if self.linux().has_left(vcpu) {
            return Some(Privilege::Kernel);
        }
        self.vcpu(vcpu)?.privilege
    }

    /// All vCPUs whose registers are known.
    pub(super) fn all_registers(&self) -> impl Iterator<Item = &Registers> {
        let indices = self.checkpoint.vcpus.iter().map(|vcpu: &Vcpu| vcpu.index);
        indices.filter_map(|index| self.registers_of(index))
    }

    /// Bytes of a pointer and of a `long`.
    pub fn word_len(&self) -> u64 {
        if self.linux().is_64_bit { 8 } else { 4 }
    }

    /// The kernel's symbols: those that the user gave, or the kernel's own table.
    pub fn symbols(&self) -> Option<&Found<Symbols>> {
        let own = || self.knowledge.kallsyms.get_or_init(|| kallsyms::find(self)).as_ref();
        self.knowledge.given.symbols.as_ref().or_else(own)
    }

    /// The address of a function or variable, and who says so: VMCOREINFO, which
    /// costs nothing, or the symbol table.
    pub fn symbol(&self, name: &str) -> Result<Found<Gva>, LinuxError> {
        let info = self.linux().vmcoreinfo.as_ref();
        if let Some(address) = info.and_then(|info| info.value.symbol(name)) {
            return Ok(Found::new(address, format!("SYMBOL({name}) of VMCOREINFO")));
        }
        let found = self
            .symbols()
            .and_then(|symbols| Some(Found::new(symbols.value.address(name)?, &symbols.how)));
        found.ok_or_else(|| LinuxError::UnknownSymbol { name: name.to_owned() })
    }

    /// The address of a variable that modules may use. Its name is among the exported ones
    /// too where the symbol table has functions only.
    pub(super) fn exported_variable(&self, name: &str) -> Option<Gva> {
        let exported = || {
            let table = self.knowledge.exported.get_or_init(|| kallsyms::exported(self));
            table.as_ref()?.value.address(name)
        };
        self.symbol(name).map(|found| found.value).ok().or_else(exported)
    }

    /// Where the kernel's image and its code begin and end, as the kernel has it.
    pub fn bounds(&self) -> Option<&Found<Bounds>> {
        self.knowledge.bounds.get_or_init(|| discovery::bounds(self)).as_ref()
    }

    /// The type information that the kernel carries.
    pub fn btf(&self) -> Option<&Found<Arc<Btf>>> {
        self.knowledge.btf.get_or_init(|| btf::find(self)).as_ref()
    }

    /// Where members of structures lie.
    pub fn layout(&self) -> &Layout {
        self.knowledge.layout.get_or_init(|| {
            let mut layout = Layout::default();
            for given in &self.knowledge.given.types {
                self.add_checked(&mut layout, given.clone());
            }
            if let Some(stated) = self.stated_types() {
                self.add_checked(&mut layout, stated);
            }
            if let Some(btf) = self.btf() {
                layout.push(Found::new(btf.value.clone(), &btf.how));
            // A file with all types leaves nothing to learn.
            } else if layout.size_of("mm_struct").is_none()
                && let Some(learned) = self.learned_types()
            {
                layout.push(learned);
            }
            layout
        })
    }

    /// Structures as VMCOREINFO describes them.
    fn stated_types(&self) -> Option<Found<Arc<dyn Types>>> {
        let info = self.linux().vmcoreinfo.as_ref()?;
        let stated = Stated::of(&info.value)?;
        Some(Found::new(Arc::new(stated), &info.how))
    }

    /// Adds a source if it does not contradict the list of tasks.
    fn add_checked(&self, layout: &mut Layout, source: Found<Arc<dyn Types>>) {
        match lists_tasks(self, source.value.as_ref()) {
            Ok(_) => layout.push(source),
            Err(why) => layout.refuse(&source.how, &why),
        }
    }

    /// Learns structures from the kernel's own data, for kernels that say
    /// nothing about them. `None` if not even the first task was found.
    pub fn learned(&self) -> Option<&Learned> {
        self.learn().map(AsRef::as_ref)
    }

    /// What was learned so far, without learning anything.
    pub(super) fn learned_already(&self) -> Option<&Learned> {
        self.knowledge.learned.get()?.as_deref()
    }

    fn learned_types(&self) -> Option<Found<Arc<dyn Types>>> {
        let types: Arc<dyn Types> = self.learn()?.clone();
        Some(Found::new(types, "learned from the kernel's data"))
    }

    fn learn(&self) -> Option<&Arc<Learned>> {
        self.knowledge.learned.get_or_init(|| learn::learn(self).map(Arc::new)).as_ref()
    }

    /// How many ticks a second has, by which kernels of 2.4 tell time.
    pub(super) fn ticks_per_second(&self) -> Option<u64> {
        *self.knowledge.ticks.get_or_init(|| self.find_ticks())
    }

    /// Facts about the kernel's code.
    pub(super) fn code_facts(&self) -> &arch::unwind::CodeFacts {
        &self.knowledge.code
    }

    /// Where all programs can call the kernel, if they can.
    pub(super) fn gate(&self) -> Option<arch::gate::Gate> {
        *self.knowledge.gate.get_or_init(|| arch::gate::find(self))
    }

    /// The swap areas.
    pub(super) fn swap_areas(&self) -> &SwapAreas {
        self.moment.swap.get_or_init(|| SwapAreas::of(self))
    }

    /// The first task, the idle one of CPU 0: by its symbol, else as its data shows
    /// it (32-bit Debian kernels have no symbols of variables).
    pub fn init_task(&self) -> Result<Found<Gva>, LinuxError> {
        let learned = || self.learned().map(|learned| learned.init_task().clone());
        self.symbol("init_task").or_else(|error| learned().ok_or(error))
    }

    /// Doubts about the sources that answers come from, those that were
    /// looked at so far.
    pub fn source_problems(&self) -> impl Iterator<Item = &Problem> {
        let of_layout = self.knowledge.layout.get().into_iter().flat_map(Layout::problems);
        self.knowledge.given.problems.iter().chain(of_layout)
    }

    /// A structure of the kernel.
    pub fn object(&self, gva: Gva, structure: &'static str) -> Object<'_> {
        Object::new(self, gva, structure)
    }

    /// Reads kernel memory; `what` names it in an error.
    pub fn read(&self, gva: Gva, buf: &mut [u8], what: &str) -> Result<(), LinuxError> {
        self.space
            .read(gva, buf)
            .map_err(|source| LinuxError::Read { what: format!("{what} at {gva}"), source })
    }

    /// The little-endian number of `size_bytes` (1 to 8) at an address.
    pub fn read_uint(&self, gva: Gva, size_bytes: u64, what: &str) -> Result<u64, LinuxError> {
        let mut bytes = [0; 8];
        let len = usize::try_from(size_bytes).unwrap_or(8).min(8);
        let (used, _) = bytes.split_at_mut(len);
        self.read(gva, used, what)?;
        Ok(u64::from_le_bytes(bytes))
    }

    /// The pointer at an address.
    pub fn read_pointer(&self, gva: Gva, what: &str) -> Result<Gva, LinuxError> {
        self.read_uint(gva, self.word_len(), what).map(Gva)
    }
}

/// The kernel's page tables; those of a vCPU if they were not found.
fn space(memory: &PhysicalMemory, vcpus: &[VcpuView], linux: &LinuxFacts) -> Option<AddressSpace> {
    if let Some(root) = &linux.kernel_root {
        let (mode, root) = root.value;
        return Some(AddressSpace::new(memory, mode, root));
    }
    let mut here = vcpus.iter().filter(|vcpu| !linux.has_left(vcpu.index));
    here.find_map(|vcpu| {
        let space = vcpu.kernel_space(memory).or_else(|| vcpu.space(memory))?;
        (space.mode().is_64_bit() == linux.is_64_bit).then_some(space)
    })
}
