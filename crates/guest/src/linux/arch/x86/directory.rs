//! The topmost page tables of a kernel.

use vmss2core_machine::paging::PagingMode;
use vmss2core_machine::x86::entry::{ADDRESS, PRESENT};
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Gpa, PhysicalMemory, little_endian};

/// The kernel's part of a topmost table; for PAE, whose topmost table has but
/// four entries, the directory that the last one leads to.
pub(in crate::linux) struct Directory {
    mode: PagingMode,
    kernel: Vec<u64>,
}

impl Directory {
    pub(in crate::linux) fn read(
        memory: &PhysicalMemory,
        mode: PagingMode,
        root: Gpa,
    ) -> Option<Self> {
        let kernel = if mode == modes::PAE {
            let last = target(memory.read_u64(root.checked_add(24)?).ok()?);
            entries::<8>(memory, Gpa(last & ADDRESS), TABLE).filter(|_| last != 0)?
        } else if modes::is_two_level(mode) {
            entries::<4>(memory, root.checked_add(3072)?, 1024)?
        } else {
            entries::<8>(memory, root.checked_add(2048)?, 2048)?
        };
        Some(Self { mode, kernel })
    }

    /// How many entries the table at `root` has in common with this one, if its
    /// user half is empty and none of its entries differs.
    pub(in crate::linux) fn shared_with(
        &self,
        memory: &PhysicalMemory,
        root: Gpa,
    ) -> Option<usize> {
        self.looks_like_root(memory, root).then_some(())?;
        let other = Self::read(memory, self.mode, root)?;
        let pairs = || self.kernel.iter().zip(&other.kernel);
        let differs = pairs().any(|(own, other)| *own != 0 && *other != 0 && own != other);
        (!differs).then(|| pairs().filter(|(own, other)| own == other && **own != 0).count())
    }

    /// Whether the page could be a table of the kernel alone: nothing for user
    /// mode, and for 64 bits the last entry, which maps the image itself, is
    /// ours. Nearly all pages fail this quick test.
    fn looks_like_root(&self, memory: &PhysicalMemory, root: Gpa) -> bool {
        let user_len = match self.mode {
            mode if mode == modes::PAE => 24,
            mode if modes::is_two_level(mode) => 1024,
            _ => 2048,
        };
        if self.mode.is_64_bit() {
            let last = root.checked_add(511 * 8).map(|gpa| memory.read_u64(gpa));
            let Some(Ok(last)) = last else { return false };
            if self.kernel.last() != Some(&target(last)) {
                return false;
            }
        }
        let mut user = vec![0; user_len];
        memory.read(root, &mut user).is_ok() && user.iter().all(|byte| *byte == 0)
    }
}

const TABLE: usize = 4096;

/// The targets of the entries, of `N` bytes each, in `len` bytes of a table.
fn entries<const N: usize>(memory: &PhysicalMemory, gpa: Gpa, len: usize) -> Option<Vec<u64>> {
    let mut bytes = vec![0; len];
    memory.read(gpa, &mut bytes).ok()?;
    Some(bytes.chunks_exact(N).map(|entry| target(little_endian(entry))).collect())
}

/// Target of an entry, 0 if there is none. The processor sets the accessed and
/// dirty bits of each copy on its own, so flags are not compared.
fn target(entry: u64) -> u64 {
    if entry & PRESENT == 0 { 0 } else { entry & ADDRESS | PRESENT }
}
