//! The page tables of the Windows kernel.
//!
//! A root is believed if it maps `KUSER_SHARED_DATA` at the kernel's address. It
//! is looked for where it is cheap first: the processors' own, the one that a
//! hidden kernel keeps for each processor, the one by which processors start,
//! and then every page that looks like a root.

use std::ops::ControlFlow;

use vmss2core_machine::paging::{AddressSpace, PagingMode, Root};
use vmss2core_machine::x86::entry::{ADDRESS, PRESENT};
use vmss2core_machine::x86::{self, modes};
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use crate::cpu::Cpu;
use crate::scan;
use crate::windows::view::pages_down;
use crate::windows::{SharedData, shared};

/// Page tables that map the kernel.
#[derive(Clone, Debug)]
pub(in crate::windows) struct KernelTables {
    pub(in crate::windows) space: AddressSpace,
    pub(in crate::windows) how: String,
    pub(in crate::windows) shared: SharedData,
}

impl KernelTables {
    fn of(space: AddressSpace, how: String) -> Option<Self> {
        let shared = shared::of_kernel(&space)?;
        Some(Self { space, how, shared })
    }
}

/// Those of a vCPU, in the kernel if there is one there.
pub(in crate::windows) fn of_vcpus(cpus: &[Cpu<'_>]) -> Option<KernelTables> {
    let in_kernel = |cpu: &&Cpu<'_>| cpu.is_in_kernel();
    let (first, then): (Vec<_>, Vec<_>) = cpus.iter().partition(in_kernel);
    first.into_iter().chain(then).find_map(|cpu| {
        KernelTables::of(cpu.space.clone()?, format!("page tables of vCPU {}", cpu.index))
    })
}

/// Facts that are found without looking at all of memory.
pub(in crate::windows) fn quickly(
    memory: &PhysicalMemory,
    cpus: &[Cpu<'_>],
) -> Option<KernelTables> {
    of_vcpus(cpus).or_else(|| of_hidden_kernel(cpus)).or_else(|| of_low_stub(memory))
}

/// A kernel that hides itself from programs keeps its root in each processor's
/// control region, which even the programs' page tables map. How far after its
/// start differs by build.
fn of_hidden_kernel(cpus: &[Cpu<'_>]) -> Option<KernelTables> {
    let slots = (0x5000..=0xc000_u64).step_by(0x1000);
    cpus.iter().find_map(|cpu| {
        let space = cpu.space.as_ref().filter(|space| space.mode().is_64_bit())?;
        control_regions(cpu, space).find_map(|kpcr| {
            slots.clone().find_map(|slot| {
                let value = space.read_u64(Gva(kpcr.0.wrapping_add(slot))).ok()?;
                let root = space.mode().root_of(value);
                let how = format!("KernelDirectoryTableBase of vCPU {}'s KPCR", cpu.index);
                KernelTables::of(space.with_root(root), how).filter(|_| value != 0)
            })
        })
    })
}

/// Addresses where the `KPCR` of a vCPU is, as its page tables show it.
fn control_regions<'s>(
    cpu: &'s Cpu<'_>,
    space: &'s AddressSpace,
) -> impl Iterator<Item = Gva> + 's {
    /// Pages from the interrupt table down to the region's start.
    const PAGES: usize = 0x21;
    let x86 = cpu.registers.x86();
    let gs = |x86: &x86::Registers| [x86.segments.gs.base, x86.msrs.kernel_gs_base];
    let by_gs = x86.map(gs).into_iter().flatten().flatten();
    let idt = x86.and_then(|x86| x86.idtr.base).map(Gva);
    let below = idt.into_iter().flat_map(|idt| pages_down(idt).take(PAGES));
    by_gs.map(Gva).chain(below).filter(move |kpcr| {
        let word = |at: u64| space.read_u64(Gva(kpcr.0.wrapping_add(at))).ok();
        word(0x18) == Some(kpcr.0) && word(0x20) == Some(kpcr.0.wrapping_add(0x180))
    })
}

/// The block below 1 MiB with which 64-bit Windows starts processors.
#[derive(Clone, Copy, Debug)]
pub(in crate::windows) struct LowStub {
    /// Where it is.
    pub(in crate::windows) gpa: Gpa,
    /// An address in the kernel's code.
    pub(in crate::windows) target: Gva,
    cr3: u64,
    cr4: u64,
}

/// Looks for a processor start block (`PROCESSOR_START_BLOCK`).
pub(in crate::windows) fn low_stub(memory: &PhysicalMemory) -> Option<LowStub> {
    (0x1000..0xa_0000).step_by(0x1000).map(Gpa).find_map(|gpa| {
        let word = |at: u64| memory.read_u64(gpa.checked_add(at)?).ok();
        let (target, cr3) = (word(0x70)?, word(0xa0)?);
        let is_stub = word(0)? & 0xffff_ffff_ffff_00ff == 0x0000_0001_0006_00e9
            && target & 0xffff_f800_0000_0003 == 0xffff_f800_0000_0000
            && cr3 & 0xffff_ff00_0000_0fff == 0;
        is_stub.then_some(())?;
        Some(LowStub { gpa, target: Gva(target), cr3, cr4: word(0xa8)? })
    })
}

fn of_low_stub(memory: &PhysicalMemory) -> Option<KernelTables> {
    const LA57: u64 = 1 << 12;
    let stub = low_stub(memory)?;
    let mode = if stub.cr4 & LA57 == 0 { modes::FOUR_LEVEL } else { modes::FIVE_LEVEL };
    let how = format!("processor start block at physical {:#x}", stub.gpa.0);
    KernelTables::of(AddressSpace::new(memory, mode, mode.root_of(stub.cr3)), how)
}

/// Any page in memory that looks like a root and maps the kernel. Where nothing
/// hints at Windows only the lowest memory is looked at, in which the System
/// process's root mostly is: to read all of a guest of another system takes as long
/// as to copy it.
pub(in crate::windows) fn by_scan(
    memory: &PhysicalMemory,
    cpus: &[Cpu<'_>],
) -> Option<KernelTables> {
    const LOW: u64 = 16 << 20;
    let end = if may_be_windows(cpus) { u64::MAX } else { LOW };
    let mut found = None;
    scan::data(memory, 0, &mut |gpa, bytes| {
        if gpa.0 >= end {
            return ControlFlow::Break(());
        }
        for (page, entries) in (gpa.0..).step_by(0x1000).zip(bytes.chunks_exact(0x1000)) {
            found = of_page(memory, Gpa(page), entries);
            if found.is_some() {
                return ControlFlow::Break(());
            }
        }
        ControlFlow::Continue(())
    });
    found
}

/// Whether there are no page tables to know better by, or a program's show what
/// every program of Windows sees.
fn may_be_windows(cpus: &[Cpu<'_>]) -> bool {
    let mut spaces = cpus.iter().filter_map(|cpu| cpu.space.as_ref());
    let has_paging = |space: &AddressSpace| space.mode() != PagingMode::IDENTITY;
    !spaces.clone().any(has_paging) || spaces.any(|space| shared::of_program(space).is_some())
}

fn of_page(memory: &PhysicalMemory, gpa: Gpa, page: &[u8]) -> Option<KernelTables> {
    let tables = |mode: PagingMode, root: Gpa, what: &str| {
        let how = format!("{what} at physical {:#x}", root.0);
        KernelTables::of(AddressSpace::new(memory, mode, Root(root)), how)
    };
    let itself = |mode| tables(mode, gpa, "a root that maps itself");
    let wide = [modes::FOUR_LEVEL, modes::FIVE_LEVEL];
    let found = wide.into_iter().filter(|_| maps_itself_64(gpa, page)).find_map(itself);
    let narrow = || {
        let mode = modes::TWO_LEVEL_PSE;
        maps_itself_32(gpa, page).then(|| itself(mode)).flatten()
    };
    let extended = || {
        pae_roots(page).into_iter().find_map(|at| {
            tables(modes::PAE, gpa.checked_add(at)?, "a table of four page directories")
        })
    };
    found.or_else(narrow).or_else(extended)
}

/// One entry of the upper half is the page itself; a root has empty parts in
/// both halves.
fn maps_itself_64(gpa: Gpa, page: &[u8]) -> bool {
    const PRESENT_AND_FRAME: u64 = PRESENT | ADDRESS;
    let wanted = gpa.0 | PRESENT;
    let entries = page.as_chunks::<8>().0;
    let upper = entries.iter().skip(256);
    let to_itself = upper.filter(|entry| u64::from_le_bytes(**entry) & PRESENT_AND_FRAME == wanted);
    to_itself.count() == 1
}

/// Entry 0x300 is the page itself.
fn maps_itself_32(gpa: Gpa, page: &[u8]) -> bool {
    let entry = page.get(0xc00..).and_then(<[u8]>::first_chunk).map(|e| u32::from_le_bytes(*e));
    entry.is_some_and(|entry| u64::from(entry & 0xffff_f001) == gpa.0 | 1)
}

/// Offsets in a page of what may be the four entries of a PAE root: present,
/// no other flags than caching, all different.
fn pae_roots(page: &[u8]) -> Vec<u64> {
    const FLAGS: u64 = 0xfff0_0000_0000_0fe7;
    let is_entry = |entry: &[u8; 8]| {
        let entry = u64::from_le_bytes(*entry);
        entry & FLAGS == 1 && entry >> 12 != 0
    };
    let tables = (0_u64..).step_by(32).zip(page.as_chunks::<8>().0.as_chunks::<4>().0);
    let roots = tables.filter(|(_, entries)| {
        let all = entries.iter().all(is_entry);
        all && entries.windows(2).all(|pair| pair.first() != pair.last())
    });
    roots.map(|(at, _)| at).collect()
}
