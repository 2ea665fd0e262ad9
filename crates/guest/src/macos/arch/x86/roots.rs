//! Page tables that map the kernel.
//!
//! A root is believed if it maps the kernel's header where that lies. Those of all
//! processes do, but from 10.13.2 on not those that a program runs on.

use std::ops::ControlFlow;

use vmss2core_machine::paging::{AddressSpace, PagingMode, Root};
use vmss2core_machine::x86::entry::{ADDRESS, PRESENT};
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, PhysicalMemory};

use crate::cpu::Cpu;
use crate::macos::{KernelImage, place};
use crate::scan;

/// Bits of an entry that XNU leaves clear: all between address and no-execute.
const UNUSED: u64 = 0x7ff0_0000_0000_0000;
/// The kernel's own root lies after its image, not farther than this.
const NEAR: u64 = 512 << 20;

/// Whether page tables map the kernel.
pub(in crate::macos) fn maps(space: &AddressSpace, image: &KernelImage) -> bool {
    space.translate(image.base).is_ok_and(|found| found.gpa == image.gpa)
}

/// Those of a vCPU, in the kernel if there is one there.
pub(in crate::macos) fn of_vcpus(
    cpus: &[Cpu<'_>],
    image: &KernelImage,
) -> Option<Found<(PagingMode, Root)>> {
    let in_kernel = |cpu: &&Cpu<'_>| cpu.is_in_kernel();
    let (first, then): (Vec<_>, Vec<_>) = cpus.iter().partition(in_kernel);
    first.into_iter().chain(then).find_map(|cpu| {
        let space = cpu.space.as_ref().filter(|space| maps(space, image))?;
        let how = format!("page tables of vCPU {}", cpu.index);
        Some(Found::new((space.mode(), space.root()), how))
    })
}

/// A page after the kernel that is a root and maps it; best the kernel's own, which
/// maps no program.
pub(in crate::macos) fn by_scan(
    memory: &PhysicalMemory,
    image: &KernelImage,
) -> Option<Found<(PagingMode, Root)>> {
    let mut search = Search { memory, image, own: None, other: None };
    scan::data(memory, 0, &mut |gpa, bytes| search.visit(gpa, bytes));
    let Search { own, other, .. } = search;
    let root = |(gpa, what): (Gpa, &str)| {
        Found::new((modes::FOUR_LEVEL, Root(gpa)), format!("{what} at physical {gpa}"))
    };
    let own = own.map(|gpa| (gpa, "the kernel's own page tables"));
    own.or(other.map(|gpa| (gpa, "page tables of a process"))).map(root)
}

struct Search<'a> {
    memory: &'a PhysicalMemory,
    image: &'a KernelImage,
    own: Option<Gpa>,
    other: Option<Gpa>,
}

impl Search<'_> {
    fn visit(&mut self, gpa: Gpa, bytes: &[u8]) -> ControlFlow<()> {
        let is_near = gpa.0 < self.image.gpa.0.saturating_add(NEAR);
        if gpa.0 >= place::STATIC_LEN || !is_near && self.other.is_some() {
            return ControlFlow::Break(());
        }
        for (at, page) in (gpa.0..).step_by(0x1000).zip(bytes.as_chunks::<0x1000>().0) {
            let at = Gpa(at);
            if at < self.image.gpa || !self.is_root(at, page) {
                continue;
            }
            let entries = page.as_chunks::<8>().0;
            if entries.iter().take(256).all(|entry| *entry == [0; 8]) {
                self.own = Some(at);
                return ControlFlow::Break(());
            }
            self.other = self.other.or(Some(at));
        }
        ControlFlow::Continue(())
    }

    fn is_root(&self, at: Gpa, page: &[u8; 0x1000]) -> bool {
        let Some(last) = page.last_chunk().map(|entry| u64::from_le_bytes(*entry)) else {
            return false;
        };
        last & (PRESENT | UNUSED) == PRESENT
            && self.memory.contains(Gpa(last & ADDRESS), 0x1000)
            && maps(&AddressSpace::new(self.memory, modes::FOUR_LEVEL, Root(at)), self.image)
    }
}
