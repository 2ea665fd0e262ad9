//! Registers of each processor, where a debugger looks for them.
//!
//! It reads `KiProcessorBlock` and in each `KPRCB` the `CONTEXT` (by pointer since
//! Windows 7, inside before) and `KSPECIAL_REGISTERS`. While Windows runs those
//! are stale: they are overlaid with what the vCPU has. When Windows crashed it
//! saved better ones itself; the vCPUs only spin.

use vmss2core_guest::windows::{WindowsCpu, WindowsFacts, kdbg_fields};
use vmss2core_machine::paging::{AddressSpace, Root};
use vmss2core_machine::{Checkpoint, Privilege, Registers};
use vmss2core_mem::{Gva, Problem};

use super::arch::{self, Context};
use super::choices::LIVE_CONTEXT;
use super::patch::Patch;

/// The guest of one dump.
pub(super) struct Guest<'a> {
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) facts: &'a WindowsFacts,
    /// Through the kernel's page tables.
    pub(super) space: AddressSpace,
    /// Registers of vCPUs rather than what a crash has saved.
    pub(super) is_live: bool,
}

/// Registers of all processors.
#[derive(Clone, Debug, Default)]
pub(super) struct Cpus {
    pub(super) patches: Vec<Patch>,
    /// The one of the processor the debugger begins with.
    pub(super) chosen: Option<Context>,
    pub(super) problems: Vec<Problem>,
}

/// Where the registers of a processor are from.
enum Origin {
    Vcpu(Context),
    Windows(Context),
    Nowhere,
}

impl Origin {
    fn context(&self) -> Option<&Context> {
        match self {
            Self::Vcpu(context) | Self::Windows(context) => Some(context),
            Self::Nowhere => None,
        }
    }
}

/// Works out the registers of every processor.
pub(super) fn cpus(guest: &Guest<'_>) -> Cpus {
    let mut cpus = Cpus::default();
    let origins: Vec<Origin> = guest.facts.cpus.iter().map(|cpu| guest.origin(cpu)).collect();
    for (cpu, origin) in guest.facts.cpus.iter().zip(&origins) {
        cpus.patches.extend(guest.context_patches(cpu, origin));
        cpus.patches.extend(guest.special_patch(cpu));
    }
    cpus.chosen = guest.chosen(&origins);
    let saved = origins.iter().filter(|origin| matches!(origin, Origin::Windows(_))).count();
    if saved > 0 {
        cpus.problems.push(Problem::note(format!(
            "Windows had crashed: registers of {saved} processors are those that it saved, not \
             those of the vCPUs; {LIVE_CONTEXT} takes the vCPUs'"
        )));
    }
    if cpus.chosen.is_none() {
        cpus.problems.push(Problem::incomplete(
            "no processor has registers of Windows: a debugger begins with all of them 0",
        ));
    }
    cpus
}

impl Guest<'_> {
    fn is_64_bit(&self) -> bool {
        self.facts.is_64_bit
    }

    fn vcpu(&self, cpu: &WindowsCpu) -> Option<&Registers> {
        let index = cpu.vcpu.as_ref()?.value;
        Some(&self.checkpoint.vcpu(index)?.registers)
    }

    fn origin(&self, cpu: &WindowsCpu) -> Origin {
        if let Some(saved) = self.saved(cpu) {
            return Origin::Windows(saved);
        }
        let context = |vcpu| Context::of_vcpu(vcpu, self.is_64_bit());
        self.vcpu(cpu).and_then(context).map_or(Origin::Nowhere, Origin::Vcpu)
    }

    /// Registers that Windows itself saved of a processor when it crashed.
    fn saved(&self, cpu: &WindowsCpu) -> Option<Context> {
        if self.facts.bugcheck.is_none() || self.is_live {
            return None;
        }
        let places = [cpu.context, cpu.embedded_context];
        places.into_iter().flatten().find_map(|gva| self.read_context(gva))
    }

    fn read_context(&self, gva: Gva) -> Option<Context> {
        let mut bytes = vec![0; Context::len_bytes(self.is_64_bit())];
        self.space.read(gva, &mut bytes).ok()?;
        Context::saved(bytes, self.is_64_bit())
    }

    /// A processor without registers gets zeroes, which debuggers say are none:
    /// what is in memory may be of a freeze long ago.
    fn context_patches(&self, cpu: &WindowsCpu, origin: &Origin) -> Vec<Patch> {
        let bytes = match origin {
            Origin::Windows(_) => return Vec::new(),
            Origin::Vcpu(context) => context.bytes.clone(),
            Origin::Nowhere => vec![0; Context::len_bytes(self.is_64_bit())],
        };
        let what = format!("registers of processor {}", cpu.number);
        let places = [cpu.context, cpu.embedded_context].into_iter().flatten();
        places.map(|gva| Patch { gva, bytes: bytes.clone(), what: what.clone() }).collect()
    }

    /// Those that are known, in what Windows has there since the processor was
    /// started.
    fn special_patch(&self, cpu: &WindowsCpu) -> Option<Patch> {
        let (gva, vcpu) = (cpu.special_registers?, self.vcpu(cpu)?);
        let mut bytes = vec![0; arch::special_len(cpu, self.is_64_bit())];
        self.space.read(gva, &mut bytes).ok()?;
        arch::set_special(&mut bytes, vcpu, cpu, self.cr3(cpu, vcpu));
        Some(Patch { gva, bytes, what: format!("control registers of processor {}", cpu.number) })
    }

    /// CR3, but never a root that hides the kernel (user mode under KVA shadow):
    /// a debugger would see nothing of it.
    fn cr3(&self, cpu: &WindowsCpu, vcpu: &Registers) -> Option<u64> {
        let mode = self.space.mode();
        let cr3 = arch::root_register(vcpu);
        let is_own = cr3.is_some_and(|cr3| self.maps_kernel(mode.root_of(cr3)));
        match cpu.kernel_root {
            Some(root) if !is_own && self.maps_kernel(root) => Some(root.0.0),
            _ if is_own => cr3,
            _ => Some(self.space.root().0.0),
        }
    }

    /// Whether a root maps the kernel's data as the known root does.
    fn maps_kernel(&self, root: Root) -> bool {
        let other = self.space.with_root(root);
        let facts = self.facts;
        let probes = [
            facts.kdbg.as_ref().map(|kdbg| kdbg.value.gva),
            facts.system_process.as_ref().map(|process| process.value),
            facts.image.as_ref().map(|image| image.value.base),
        ];
        let mut known = probes
            .into_iter()
            .flatten()
            .filter_map(|gva| self.space.translate(gva).ok().map(|found| (gva, found.gpa)));
        let probe = known.next();
        probe.is_none_or(|(gva, gpa)| other.translate(gva).is_ok_and(|found| found.gpa == gpa))
    }

    /// The one of the processor that crashed; else of the first one that is in the
    /// kernel; else of the first that has any.
    fn chosen(&self, origins: &[Origin]) -> Option<Context> {
        if let Some(crashed) = self.crashed(origins) {
            return Some(crashed);
        }
        let both = || self.facts.cpus.iter().zip(origins);
        let in_kernel = |(cpu, _): &(&WindowsCpu, &Origin)| {
            let privilege = self.vcpu(cpu).and_then(Registers::privilege);
            privilege == Some(Privilege::Kernel)
        };
        let mut first = both().filter(in_kernel).chain(both()).map(|(_, origin)| origin);
        first.find_map(Origin::context).cloned()
    }

    /// `*SavedContext`; else the only one that was not frozen by another
    /// processor, which saves vector registers, too.
    fn crashed(&self, origins: &[Origin]) -> Option<Context> {
        const WITH_VECTORS: u8 = 0x40;
        self.facts.bugcheck.as_ref().filter(|_| !self.is_live)?;
        let at = self.facts.kdbg_pointer(kdbg_fields::SAVED_CONTEXT);
        let at = at.map(|at| at.0).filter(|at| *at != 0);
        if let Some(saved) = at.and_then(|at| self.read_context(Gva(at))) {
            let same = |context: &&Context| {
                (context.instruction, context.stack) == (saved.instruction, saved.stack)
            };
            let of_processor = origins.iter().filter_map(Origin::context).find(same).cloned();
            return Some(of_processor.unwrap_or(saved));
        }
        let flags = if self.is_64_bit() { 0x30 } else { 0 };
        let is_frozen = |context: &&Context| {
            context.bytes.get(flags).is_none_or(|flags| flags & WITH_VECTORS != 0)
        };
        let saved = origins.iter().filter_map(|origin| match origin {
            Origin::Windows(context) => Some(context),
            _ => None,
        });
        let running: Vec<&Context> = saved.filter(|context| !is_frozen(context)).collect();
        match running.as_slice() {
            [only] => Some((*only).clone()),
            _ => None,
        }
    }
}
