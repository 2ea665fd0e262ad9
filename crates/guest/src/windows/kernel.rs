//! A Windows kernel to ask questions.

use std::sync::{Arc, OnceLock};

use vmss2core_machine::paging::{PagingMode, Root};
use vmss2core_machine::{Checkpoint, Registers};
use vmss2core_mem::{Gpa, Gva};

use super::{
    Kdbg, Layout, LayoutSource, Modules, View, WindowsCpu, WindowsError, WindowsFacts, kdbg_fields,
};

/// A Windows kernel at one moment: what holds from boot to boot, and a checkpoint.
/// A clone shares both.
#[derive(Clone, Debug)]
pub struct Kernel {
    checkpoint: Checkpoint,
    view: View,
    mode: PagingMode,
    knowledge: Arc<Knowledge>,
    modules: Arc<OnceLock<Modules>>,
}

/// Knowledge that holds from boot to boot.
#[derive(Debug)]
struct Knowledge {
    windows: Arc<WindowsFacts>,
    source: LayoutSource,
    layout: OnceLock<Layout>,
}

impl Kernel {
    /// Opens the kernel that was found in `checkpoint`.
    pub fn open(checkpoint: &Checkpoint, windows: &Arc<WindowsFacts>) -> Self {
        Self::with(Knowledge::new(windows.clone(), LayoutSource::All), checkpoint.clone())
    }

    /// This boot of the kernel at another moment.
    #[must_use]
    pub fn at(&self, checkpoint: Checkpoint) -> Self {
        Self::with(self.knowledge.clone(), checkpoint)
    }

    fn with(knowledge: Arc<Knowledge>, checkpoint: Checkpoint) -> Self {
        let (mode, root) = knowledge.windows.kernel_root.value;
        let view = View::new(&checkpoint.memory, mode, root);
        Self { checkpoint, view, mode, knowledge, modules: Arc::default() }
    }

    /// This kernel with layouts from these sources only.
    #[must_use]
    pub fn with_layout_from(self, source: LayoutSource) -> Self {
        Self { knowledge: Knowledge::new(self.knowledge.windows.clone(), source), ..self }
    }

    /// The checkpoint.
    pub fn checkpoint(&self) -> &Checkpoint {
        &self.checkpoint
    }

    /// The kernel, as far as known.
    pub fn windows(&self) -> &WindowsFacts {
        &self.knowledge.windows
    }

    /// The kernel's own view of memory.
    pub fn view(&self) -> &View {
        &self.view
    }

    /// The view of a process with this `DirectoryTableBase`.
    pub fn view_of(&self, directory_table_base: u64) -> View {
        self.view.with_root(self.root_of(directory_table_base))
    }

    pub(super) fn root_of(&self, directory_table_base: u64) -> Root {
        self.mode.root_of(directory_table_base)
    }

    /// Whether addresses have 64 bits.
    pub fn is_64_bit(&self) -> bool {
        self.windows().is_64_bit
    }

    /// Where members of structures lie.
    pub fn layout(&self) -> &Layout {
        self.knowledge.layout.get_or_init(|| Layout::of(self, self.knowledge.source))
    }

    /// Images that are loaded in the kernel, and those that were.
    pub fn modules(&self) -> &Modules {
        self.modules.get_or_init(|| Modules::of(self))
    }

    /// The debugger data block.
    pub(super) fn kdbg(&self) -> Option<&Kdbg> {
        self.windows().kdbg.as_ref().map(|kdbg| &kdbg.value)
    }

    /// The address of the kernel at an offset of the debugger data.
    pub(super) fn kdbg_address(&self, offset: usize) -> Option<Gva> {
        self.windows().kdbg_pointer(offset).filter(|gva| self.view.is_kernel(*gva))
    }

    /// `PsActiveProcessHead`.
    pub(super) fn process_head(&self) -> Option<Gva> {
        self.kdbg_address(kdbg_fields::PROCESS_HEAD)
    }

    /// `PsLoadedModuleList`: by the debugger data, else as 64-bit kernels export it.
    pub(super) fn module_head(&self) -> Option<Gva> {
        self.kdbg_address(kdbg_fields::MODULE_LIST).or_else(|| {
            let base = self.windows().image.as_ref()?.value.base;
            super::pe::export(&self.view, base, "PsLoadedModuleList")
        })
    }

    /// Windows' processor of this number.
    pub fn cpu(&self, number: u32) -> Result<&WindowsCpu, WindowsError> {
        let cpus = &self.windows().cpus;
        let found = cpus.iter().find(|cpu| cpu.number == number);
        found.ok_or(WindowsError::NoCpu { cpu: number, known: cpus.len() })
    }

    /// The registers of a vCPU of the checkpoint.
    pub(super) fn registers(&self, vcpu: u32) -> Option<&Registers> {
        Some(&self.checkpoint.vcpu(vcpu)?.registers)
    }

    /// The bytes of a member of a structure, `len` of them.
    pub(super) fn member(&self, at: Gva, member: super::Member, len: u64) -> Option<u64> {
        let offset = self.layout().offset(member)?;
        self.view.uint(Gva(at.0.checked_add(offset)?), len)
    }

    /// A member that is a pointer or as long as one.
    pub(super) fn word(&self, at: Gva, member: super::Member) -> Option<u64> {
        self.member(at, member, self.view.word_len())
    }

    /// Physical address of the page tables of a process.
    pub(super) fn process_root(&self, process: Gva) -> Option<Gpa> {
        let value = self.word(process, super::Member::DirectoryTableBase)?;
        Some(self.root_of(value).0)
    }
}

impl Knowledge {
    fn new(windows: Arc<WindowsFacts>, source: LayoutSource) -> Arc<Self> {
        Arc::new(Self { windows, source, layout: OnceLock::new() })
    }
}
