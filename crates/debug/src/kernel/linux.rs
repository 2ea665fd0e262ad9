//! Additions of a Linux kernel: modules, and the variables of each processor.

use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;

use vmss2core_gdb::{Library, LibraryAddresses};
use vmss2core_guest::linux::{Kernel, Module, ModuleFile};
use vmss2core_mem::Gva;

/// Kernels reserve far less for the variables that every processor has of its own.
const MOST_PERCPU_BYTES: u64 = 64 << 20;

/// The modules whose files lie below a directory: gdb wants addresses in the order
/// of the file's sections, which only the file tells.
pub(super) fn modules(kernel: &Kernel, dir: &Path) -> Vec<Library> {
    let files = ModuleFile::below(dir);
    let library = |module: &Module| {
        let path = files.get(&module.name)?;
        let addresses = kernel.module_addresses(module, &ModuleFile::read(path)?)?;
        Some(Library {
            name: path.to_str()?.to_owned(),
            addresses: LibraryAddresses::Sections(
                addresses.into_iter().map(|address| address.0).collect(),
            ),
        })
    };
    kernel.modules().modules.iter().filter_map(library).collect()
}

/// Where symbols of per-CPU variables are, after a debugger has moved them along
/// with the kernel.
#[derive(Debug, Default)]
pub(super) struct PerCpu {
    range: OnceLock<Option<Range<u64>>>,
    offsets: OnceLock<Option<Offsets>>,
}

/// The array `__per_cpu_offset` of a kernel whose per-CPU symbols a debugger has moved
/// though they stay where they are.
#[derive(Clone, Debug)]
struct Offsets {
    array: Range<u64>,
    moved: u64,
}

impl PerCpu {
    /// The address at which a processor has its own of the variable that a debugger
    /// believes at `address`; `None` if that is none of such a variable.
    ///
    /// Only for addresses at which nothing is mapped: 64-bit kernels before 6.15 link
    /// these variables from 0 on, later ones give the pages of the template back.
    pub(super) fn own_address(&self, kernel: &Kernel, vcpu: u32, address: u64) -> Option<Gva> {
        let offset = kernel.linux().kaslr_offset.as_ref().map_or(0, |offset| offset.value);
        let image = kernel.linux().text.as_ref()?.value;
        let from_zero = address.wrapping_sub(offset) < MOST_PERCPU_BYTES;
        let in_image = address.wrapping_sub(image.start.0) < image.len.max(MOST_PERCPU_BYTES);
        if !from_zero && !in_image {
            return None;
        }
        let range = self.range.get_or_init(|| range(kernel)).clone()?;
        // A kernel that links from 0 is moved by its slide, those symbols included.
        let moved = if range.start < MOST_PERCPU_BYTES { offset } else { 0 };
        let linked = address.wrapping_sub(moved);
        if !range.contains(&linked) {
            return None;
        }
        Some(Gva(linked.wrapping_add(kernel.percpu_base(vcpu)?.value)))
    }
}

impl PerCpu {
    /// Makes entries of `__per_cpu_offset` less by as much as a debugger has moved the
    /// symbols of these variables, which then come out right where its users add the two:
    /// the kernel's own scripts do.
    pub(super) fn correct_offsets(&self, kernel: &Kernel, address: u64, bytes: &mut [u8]) {
        const WORD: u64 = 8;
        let known = self.offsets.get_or_init(|| offsets(kernel));
        let Some(Offsets { array, moved }) = known else { return };
        let end = address.saturating_add(bytes.len() as u64);
        if address >= array.end || end <= array.start {
            return;
        }
        // A word that is read in part is left as it is: debuggers read whole ones.
        let first = address.max(array.start).saturating_sub(array.start);
        let Some(first) = first.checked_next_multiple_of(WORD) else { return };
        let start = array.start.saturating_add(first).saturating_sub(address);
        let stop = array.end.min(end).saturating_sub(address);
        let (Ok(start), Ok(stop)) = (usize::try_from(start), usize::try_from(stop)) else { return };
        let Some(entries) = bytes.get_mut(start..stop) else { return };
        let (entries, _) = entries.as_chunks_mut();
        for entry in entries {
            *entry = u64::from_le_bytes(*entry).wrapping_sub(*moved).to_le_bytes();
        }
    }
}

fn offsets(kernel: &Kernel) -> Option<Offsets> {
    let moved = kernel.linux().kaslr_offset.as_ref()?.value;
    if moved == 0 || range(kernel)?.start >= MOST_PERCPU_BYTES {
        return None;
    }
    let symbols = &kernel.symbols()?.value;
    let start = symbols.address("__per_cpu_offset")?.0;
    let others = symbols.iter().map(|symbol| symbol.address.0);
    let end = others.filter(|address| *address > start).min()?;
    (end.checked_sub(start)? < MOST_PERCPU_BYTES).then_some(Offsets { array: start..end, moved })
}

fn range(kernel: &Kernel) -> Option<Range<u64>> {
    let symbols = &kernel.symbols()?.value;
    let (start, end) = (symbols.address("__per_cpu_start")?, symbols.address("__per_cpu_end")?);
    (end.0.checked_sub(start.0)? < MOST_PERCPU_BYTES).then_some(start.0..end.0)
}
