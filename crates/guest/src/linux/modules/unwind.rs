//! Unwind tables of modules: `struct mod_arch_specific` of x86-64 kernels with ORC
//! (`arch/x86/include/asm/module.h`), which is in `struct module` as `arch`.

use vmss2core_mem::Gva;

use super::UnwindTables;
use super::shape::{Bytes, Shape};
use crate::linux::Kernel;

/// No module has more entries.
const MOST_ENTRIES: u64 = 1 << 22;
const IP_LEN: u64 = 4;
const ENTRY_LEN: u64 = 6;

/// Where `struct module` tells of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct UnwindShape {
    count: u64,
    ips: u64,
    entries: u64,
}

impl UnwindShape {
    pub(super) fn of_layout(kernel: &Kernel) -> Option<Self> {
        let offset = |path: &str| Some(kernel.layout().place("module", path)?.offset_bytes);
        Some(Self {
            count: offset("arch.num_orcs")?,
            ips: offset("arch.orc_unwind_ip")?,
            entries: offset("arch.orc_unwind")?,
        })
    }

    /// As it would be with the count at an offset.
    pub(super) fn at(offset: u64) -> Self {
        let pointer = |index: u64| offset.saturating_add(index.saturating_mul(8));
        Self { count: offset, ips: pointer(1), entries: pointer(2) }
    }

    pub(super) fn read(&self, module: &Bytes) -> Option<UnwindTables> {
        let count = module.uint(self.count, 4)?;
        let (ips, entries) = (module.uint(self.ips, 8)?, module.uint(self.entries, 8)?);
        let has_any = (1..=MOST_ENTRIES).contains(&count) && ips != 0 && entries != 0;
        has_any.then_some(UnwindTables { count, ips: Gva(ips), entries: Gva(entries) })
    }
}

impl UnwindTables {
    /// Whether they are in a module and about its code, in order.
    pub(super) fn are_of(&self, kernel: &Kernel, shape: &Shape, module: &Bytes) -> bool {
        let parts = shape.parts(module);
        let is_inside = |at: u64| parts.iter().any(|part| part.contains(&at));
        let end =
            |at: Gva, len: u64| at.0.checked_add(self.count.checked_mul(len)?)?.checked_sub(1);
        let are_inside = [(self.ips, IP_LEN), (self.entries, ENTRY_LEN)]
            .into_iter()
            .all(|(at, len)| is_inside(at.0) && end(at, len).is_some_and(is_inside));
        let last = self.count.saturating_sub(1);
        let targets = [0, last >> 1, last].map(|index| self.target(kernel, index));
        let [Some(first), Some(middle), Some(last)] = targets else { return false };
        // What initialised the module is gone, but not its entries.
        let is_about_it = is_inside(first) || is_inside(middle) || is_inside(last);
        are_inside && first <= middle && middle <= last && is_about_it
    }

    /// The address that an entry is about.
    fn target(&self, kernel: &Kernel, index: u64) -> Option<u64> {
        let at = self.ips.checked_add(index.checked_mul(IP_LEN)?)?;
        let distance = kernel.read_uint(at, IP_LEN, "ORC address").ok()?;
        let distance = u32::try_from(distance).ok()?.cast_signed();
        Some(at.0.wrapping_add_signed(distance.into()))
    }
}
