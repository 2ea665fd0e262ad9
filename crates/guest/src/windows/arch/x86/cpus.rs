//! Windows' processors: their control regions, and whose registers are whose.
//!
//! Members that the debugger data block names are taken from it. The control
//! region's head (`KPCR`: `Self`, `CurrentPrcb`, `IdtBase`, ...) is the same in
//! every version; `KPROCESSOR_STATE` of kernels without such a block is from the
//! spec's 8.2.

use vmss2core_machine::paging::{AddressSpace, Root};
use vmss2core_machine::x86;
use vmss2core_mem::{Found, Gva};

use crate::cpu::Cpu;
use crate::windows::kdbg::fields as kdbg_at;
use crate::windows::pe::{self, Headers};
use crate::windows::view::{element, pages_down};
use crate::windows::{ForeignVcpu, Kdbg, View, WindowsCpu, shared};

/// Most processors that any Windows has.
const MAX_CPUS: u64 = 2048;

/// Offsets in `KPCR` that never changed.
#[derive(Clone, Copy)]
struct ControlRegion {
    gdt: u64,
    tss: u64,
    itself: u64,
    prcb: u64,
    idt: u64,
    contained_prcb: u64,
}

impl ControlRegion {
    fn of(is_64_bit: bool) -> Self {
        if is_64_bit {
            Self { gdt: 0, tss: 8, itself: 0x18, prcb: 0x20, idt: 0x38, contained_prcb: 0x180 }
        } else {
            Self {
                gdt: 0x3c,
                tss: 0x40,
                itself: 0x1c,
                prcb: 0x20,
                idt: 0x38,
                contained_prcb: 0x120,
            }
        }
    }
}

/// Windows' processors with what is known of the kernel.
pub(in crate::windows) struct Search<'s, 'a> {
    pub(in crate::windows) view: View,
    pub(in crate::windows) is_64_bit: bool,
    pub(in crate::windows) kdbg: Option<&'s Kdbg>,
    pub(in crate::windows) build: Option<u32>,
    /// How many Windows says it has.
    pub(in crate::windows) count: Option<u32>,
    pub(in crate::windows) vcpus: &'s [Cpu<'a>],
}

impl Search<'_, '_> {
    /// All processors, in Windows' order, and the vCPUs that are none of them.
    pub(in crate::windows) fn run(&self) -> (Vec<WindowsCpu>, Vec<ForeignVcpu>) {
        let mut regions = self.of_processor_block();
        if regions.is_empty() {
            regions = self.of_registers();
        }
        let mut owners = self.by_tables(&regions);
        let foreign = self.foreign(&owners);
        self.by_order(&mut owners, &foreign);
        let numbered = (0_u32..).zip(regions.iter().zip(owners));
        let cpus = numbered.map(|(number, (kpcr, owner))| self.cpu(number, *kpcr, owner)).collect();
        (cpus, foreign)
    }

    fn word(&self, at: u64) -> Option<u64> {
        self.view.pointer(Gva(at)).map(|value| value.0)
    }

    /// Control regions of the kernel's own list. A slot may be empty.
    fn of_processor_block(&self) -> Vec<Gva> {
        let pointer = |at| self.kdbg?.pointer(at, self.is_64_bit);
        let Some(list) = pointer(kdbg_at::PROCESSOR_BLOCK) else { return Vec::new() };
        let head = ControlRegion::of(self.is_64_bit);
        let most = u64::from(self.count.unwrap_or(1024)).min(MAX_CPUS);
        let slots = (0..most).map_while(|slot| {
            let prcb = self.word(element(list, slot, self.view.word_len())?.0)?;
            (prcb != 0).then_some(prcb)
        });
        slots
            .map(|prcb| Gva(prcb.wrapping_sub(head.contained_prcb)))
            .filter(|kpcr| self.is_region(*kpcr))
            .collect()
    }

    /// Control regions that the vCPUs' own registers lead to, and the one that 32-bit
    /// kernels up to Windows Server 2003 have at a fixed address.
    pub(in crate::windows) fn of_registers(&self) -> Vec<Gva> {
        const FIXED: Gva = Gva(0xffdf_f000);
        let mut found: Vec<Gva> = Vec::new();
        let of_vcpu = |cpu: &Cpu<'_>| {
            self.candidates(cpu.registers.x86()?).into_iter().find(|kpcr| self.is_region(*kpcr))
        };
        let fixed = (!self.is_64_bit && self.is_region(FIXED)).then_some(FIXED);
        for region in self.vcpus.iter().filter_map(of_vcpu).chain(fixed) {
            if !found.contains(&region) {
                found.push(region);
            }
        }
        found
    }

    fn candidates(&self, vcpu: &x86::Registers) -> Vec<Gva> {
        let segments = &vcpu.segments;
        let bases = if self.is_64_bit {
            vec![segments.gs.base, vcpu.msrs.kernel_gs_base]
        } else {
            vec![segments.fs.base, self.base_of_selector(vcpu)]
        };
        // A processor's tables mostly lie in one allocation after its region.
        let below = vcpu.idtr.base.into_iter().flat_map(|idt| pages_down(Gva(idt)).take(0x21));
        bases.into_iter().flatten().map(Gva).chain(below).collect()
    }

    /// Base of the descriptor with which a 32-bit kernel finds its region; in user
    /// mode FS is something else.
    fn base_of_selector(&self, vcpu: &x86::Registers) -> Option<u64> {
        const SELECTOR: u64 = 0x30;
        let descriptor = self.view.uint(Gva(vcpu.gdtr.base?.checked_add(SELECTOR)?), 8)?;
        Some(x86::descriptor_base(descriptor))
    }

    fn is_region(&self, Gva(kpcr): Gva) -> bool {
        let head = ControlRegion::of(self.is_64_bit);
        let is = |at: u64, value: u64| self.word(kpcr.wrapping_add(at)) == Some(value);
        let prcb = kpcr.wrapping_add(head.contained_prcb);
        is(head.itself, kpcr) && is(head.prcb, prcb)
    }

    /// The vCPU of each region: descriptor tables are every processor's own.
    fn by_tables(&self, regions: &[Gva]) -> Vec<Option<Found<u32>>> {
        let mut taken = Vec::new();
        let mut owner = |kpcr: &Gva| {
            let free = self.vcpus.iter().filter(|cpu| !taken.contains(&cpu.index));
            let found = free
                .filter_map(|cpu| Some((cpu.index, self.match_of(*kpcr, cpu.registers.x86()?)?)));
            let (index, how) = found.min_by_key(|(_, (rank, _))| *rank)?;
            taken.push(index);
            Some(Found::new(index, how.1))
        };
        regions.iter().map(&mut owner).collect()
    }

    /// Evidence that a vCPU is the processor of this region, and how good that is.
    fn match_of(&self, kpcr: Gva, vcpu: &x86::Registers) -> Option<(u8, &'static str)> {
        let head = ControlRegion::of(self.is_64_bit);
        let segments = &vcpu.segments;
        let is = |at: u64, base: Option<u64>| {
            base.is_some_and(|base| base != 0 && self.word(kpcr.0.wrapping_add(at)) == Some(base))
        };
        let pointers = [segments.gs.base, vcpu.msrs.kernel_gs_base, segments.fs.base];
        if is(head.idt, vcpu.idtr.base) {
            Some((0, "IDTR is KPCR.IdtBase"))
        } else if is(head.gdt, vcpu.gdtr.base) {
            Some((1, "GDTR is KPCR.GdtBase"))
        } else if is(head.tss, segments.tr.base) {
            Some((2, "the task register is KPCR.TssBase"))
        } else if pointers.contains(&Some(kpcr.0)) {
            Some((3, "a segment's base is the KPCR"))
        } else {
            None
        }
    }

    /// vCPUs whose page tables know nothing of Windows and whose descriptor tables
    /// are no processor's.
    fn foreign(&self, owners: &[Option<Found<u32>>]) -> Vec<ForeignVcpu> {
        let owned = |index| owners.iter().flatten().any(|owner| owner.value == index);
        let others = self.vcpus.iter().filter(|cpu| !owned(cpu.index));
        let foreign = others.filter(|cpu| {
            let space = cpu.space.as_ref();
            space.is_some_and(|space| {
                shared::of_kernel(space).is_none() && shared::of_program(space).is_none()
            })
        });
        foreign
            .map(|cpu| ForeignVcpu {
                vcpu: cpu.index,
                holder: holder(cpu),
                how: "its page tables do not map Windows' shared data, and its interrupt table \
                      is no Windows processor's"
                    .to_owned(),
            })
            .collect()
    }

    /// What nothing tells is taken in order, if as many are left on both sides.
    fn by_order(&self, owners: &mut [Option<Found<u32>>], foreign: &[ForeignVcpu]) {
        let taken: Vec<u32> = owners.iter().flatten().map(|owner| owner.value).collect();
        let is_free =
            |index: &u32| !taken.contains(index) && !foreign.iter().any(|vcpu| vcpu.vcpu == *index);
        let free: Vec<u32> = self.vcpus.iter().map(|cpu| cpu.index).filter(is_free).collect();
        let open: Vec<_> = owners.iter_mut().filter(|owner| owner.is_none()).collect();
        if free.len() != open.len() {
            return;
        }
        for (owner, index) in open.into_iter().zip(free) {
            *owner = Some(Found::new(index, "a guess: nothing tells, taken in order"));
        }
    }

    fn cpu(&self, number: u32, kpcr: Gva, vcpu: Option<Found<u32>>) -> WindowsCpu {
        let head = ControlRegion::of(self.is_64_bit);
        let kprcb = Gva(kpcr.0.wrapping_add(head.contained_prcb));
        let at = |offset: u64| Gva(kprcb.0.wrapping_add(offset));
        let members = PrcbMembers::of(self);
        let thread = self.view.pointer(at(members.thread)).filter(|thread| thread.0 != 0);
        let process = thread.and_then(|thread| self.process_of(thread));
        WindowsCpu {
            number,
            kpcr,
            kprcb,
            vcpu,
            context: members
                .context
                .and_then(|offset| self.view.pointer(at(offset)))
                .filter(|context| self.view.is_kernel(*context)),
            embedded_context: members.embedded_context.map(at),
            special_registers: members.special_registers.map(at),
            thread,
            process,
            kernel_root: process.and_then(|process| self.root_of(process)),
        }
    }

    fn process_of(&self, thread: Gva) -> Option<Gva> {
        let offset = offset_of(self.kdbg, kdbg_at::THREAD_APC_PROCESS)
            .or_else(|| thread_process(self.is_64_bit, self.build?))?;
        let process = self.view.pointer(Gva(thread.0.wrapping_add(offset)))?;
        self.view.is_kernel(process).then_some(process)
    }

    fn root_of(&self, process: Gva) -> Option<Root> {
        let offset = directory_table(self.kdbg, self.is_64_bit);
        let value = self.view.pointer(Gva(process.0.wrapping_add(offset)))?;
        (value.0 != 0).then(|| self.view.space().mode().root_of(value.0))
    }
}

/// Who runs on a vCPU, by the PDB name of the image around its instruction
/// pointer.
fn holder(cpu: &Cpu<'_>) -> String {
    let name = cpu
        .space
        .as_ref()
        .zip(cpu.registers.pc())
        .and_then(|(space, rip)| pdb_around(space, Gva(rip)));
    match name.as_deref() {
        Some(name) if name.starts_with("hv") => format!("the hypervisor ({name})"),
        Some(name) if name.starts_with("securekernel") || name.starts_with("skci") => {
            format!("the secure kernel ({name})")
        }
        Some(name) => format!("{name}, which is not this Windows"),
        None => "the hypervisor or the secure kernel below Windows".to_owned(),
    }
}

/// PDB name of the image that holds an address.
fn pdb_around(space: &AddressSpace, gva: Gva) -> Option<String> {
    /// 16 MiB.
    const PAGES: usize = 4096;
    let view = View::new(space.memory(), space.mode(), space.root());
    pages_down(gva).take(PAGES).find_map(|base| {
        let headers = Headers::read(&view, base)?;
        Some(pe::pdb(&view, base, &headers)?.name)
    })
}

/// `KPROCESS.DirectoryTableBase`.
pub(in crate::windows) fn directory_table(kdbg: Option<&Kdbg>, is_64_bit: bool) -> u64 {
    let fixed = if is_64_bit { 0x28 } else { 0x18 };
    offset_of(kdbg, kdbg_at::PROCESS_ROOT).unwrap_or(fixed)
}

/// An offset that the block names; one of 0 is none.
fn offset_of(kdbg: Option<&Kdbg>, at: usize) -> Option<u64> {
    kdbg?.u16(at).filter(|offset| *offset != 0).map(u64::from)
}

/// `KTHREAD.ApcState.Process` of kernels whose block does not name it.
fn thread_process(is_64_bit: bool, build: u32) -> Option<u64> {
    Some(match (is_64_bit, build) {
        (true, ..6000) => 0x68,
        (true, 6000..7600) => 0x68,
        (true, 7600..9200) => 0x70,
        (true, _) => 0xb8,
        (false, ..3790) => 0x44,
        (false, _) => return None,
    })
}

/// Offsets in `KPRCB`.
struct PrcbMembers {
    thread: u64,
    /// `Context`, a pointer.
    context: Option<u64>,
    embedded_context: Option<u64>,
    special_registers: Option<u64>,
}

impl PrcbMembers {
    fn of(search: &Search<'_, '_>) -> Self {
        let named = |at| offset_of(search.kdbg, at);
        let (context, special) = processor_state(search.is_64_bit, search.build.unwrap_or(0));
        Self {
            thread: named(kdbg_at::PRCB_CURRENT_THREAD).unwrap_or(if search.is_64_bit {
                8
            } else {
                4
            }),
            context: named(kdbg_at::PRCB_CONTEXT),
            embedded_context: named(kdbg_at::PRCB_STATE_CONTEXT).or(context),
            special_registers: named(kdbg_at::PRCB_SPECIAL_REGISTERS).or(special),
        }
    }
}

/// `ProcessorState.ContextFrame` and `.SpecialRegisters` where the block does not
/// say: it did not yet in Windows XP, or was not found.
fn processor_state(is_64_bit: bool, build: u32) -> (Option<u64>, Option<u64>) {
    let (context, special) = match (is_64_bit, build) {
        (_, 0) => return (None, None),
        (true, ..15063) => (0x40 + 0xe0, 0x40),
        (true, _) => (0x100 + 0xf0, 0x100),
        (false, ..7600) => (0x1c, 0x1c + 0x2cc),
        (false, _) => (0x18, 0x18 + 0x2cc),
    };
    (Some(context), Some(special))
}
