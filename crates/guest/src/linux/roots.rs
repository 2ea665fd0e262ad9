//! The kernel's own page tables, and other things found by searching the image.

use std::ops::ControlFlow;

use vmss2core_mem::{Gpa, Gva, PAGE_SIZE};

use super::KernelHalf;
use super::image::Image;
use crate::Found;
use crate::paging::{AddressSpace, PagingMode, Root};

const ADDRESS: u64 = 0x000f_ffff_ffff_f000;
const PRESENT: u64 = 1;

/// Where `swapper_pg_dir` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct KernelTables {
    pub(super) gva: Gva,
    pub(super) root: Root,
}

/// Finds `swapper_pg_dir` in the image: the page whose kernel half is that of
/// the vCPU's table. A candidate may lack entries, never have others.
pub(super) fn swapper(image: &Image<'_>) -> Option<Found<KernelTables>> {
    let own = Directory::read(&image.space, image.space.root().0)?;
    let mut best: Option<(u32, KernelTables)> = None;
    for run in &image.runs {
        for page in 0..u64::from(run.pages) {
            let root = Root(Gpa(run.gpa.0 + page * PAGE_SIZE));
            let shared = own.shared_with(&image.space, root.0);
            // The later one of equals: 32-bit kernels keep a copy for starting
            // CPUs (`initial_page_table`) before the real one.
            if shared > 0 && best.as_ref().is_none_or(|(most, _)| shared >= *most) {
                best =
                    Some((shared, KernelTables { gva: Gva(run.gva.0 + page * PAGE_SIZE), root }));
            }
        }
    }
    let (shared, tables) = best?;
    let how = format!(
        "page in the kernel image with {shared} kernel entries of the table at physical {}",
        image.space.root()
    );
    Some(Found::new(tables, how))
}

/// The kernel half of a topmost table.
struct Directory {
    mode: PagingMode,
    /// The entry through which the image itself is mapped; always shared.
    key: usize,
    entries: Vec<u64>,
}

impl Directory {
    fn read(space: &AddressSpace<'_>, root: Gpa) -> Option<Self> {
        let mode = space.mode();
        let entries = kernel_entries(space, root)?;
        // The image's own entry: the last for 64-bit and PAE kernels.
        let key = match mode {
            PagingMode::TwoLevel { .. } => entries.iter().position(|entry| *entry != 0)?,
            _ => entries.len().checked_sub(1)?,
        };
        entries.get(key).filter(|entry| **entry != 0)?;
        Some(Self { mode, key, entries })
    }

    /// How many entries the table at `root` has in common with this one; 0 if
    /// it has one that differs.
    fn shared_with(&self, space: &AddressSpace<'_>, root: Gpa) -> u32 {
        if self.entry_of(space, root) != self.entries.get(self.key).copied() {
            return 0;
        }
        let Some(others) = kernel_entries(space, root) else { return 0 };
        let mut shared = 0;
        for (own, other) in self.entries.iter().zip(&others) {
            match other {
                0 => {}
                _ if own == other => shared += 1,
                _ if *own == 0 => {}
                _ => return 0,
            }
        }
        shared
    }

    /// The key entry of another table, read alone: most pages fail this test.
    fn entry_of(&self, space: &AddressSpace<'_>, root: Gpa) -> Option<u64> {
        let (start, len, entry_len) = kernel_half_of_table(self.mode);
        let at = start + (self.key * entry_len) as u64;
        debug_assert!(self.key * entry_len < len, "the key is one of the entries");
        entry_at(space, root.checked_add(at)?, entry_len)
    }
}

/// Offset, length and entry size of the kernel half of a topmost table.
fn kernel_half_of_table(mode: PagingMode) -> (u64, usize, usize) {
    match mode {
        PagingMode::Pae => (24, 8, 8),
        PagingMode::TwoLevel { .. } => (3072, 1024, 4),
        _ => (2048, 2048, 8),
    }
}

fn kernel_entries(space: &AddressSpace<'_>, root: Gpa) -> Option<Vec<u64>> {
    let (start, len, entry_len) = kernel_half_of_table(space.mode());
    let mut bytes = vec![0; len];
    space.memory().read(root.checked_add(start)?, &mut bytes).ok()?;
    Some(bytes.chunks_exact(entry_len).map(|entry| target(little_endian(entry))).collect())
}

fn entry_at(space: &AddressSpace<'_>, gpa: Gpa, entry_len: usize) -> Option<u64> {
    let entry = match entry_len {
        4 => u64::from(space.memory().read_u32(gpa).ok()?),
        _ => space.memory().read_u64(gpa).ok()?,
    };
    Some(target(entry))
}

/// What an entry points at, 0 if nothing. The processor sets the accessed and
/// dirty bits of each copy on its own, so flags are not compared.
fn target(entry: u64) -> u64 {
    if entry & PRESENT == 0 { 0 } else { entry & ADDRESS | PRESENT }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
}

/// `init_uts_ns`: where its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UtsNamespace {
    pub(super) gva: Gva,
    /// OFFSET(uts_namespace.name): 4 behind a reference count, 0 since 5.11.
    pub(super) name_offset: u64,
}

/// Length of each of the six strings of `struct new_utsname`.
const UTS_FIELD: usize = 65;

/// Finds `init_uts_ns` in the image: "Linux", any node name, and the release.
pub(super) fn init_uts_ns(image: &Image<'_>, release: &str) -> Option<UtsNamespace> {
    let finder = memchr::memmem::Finder::new(b"Linux\0");
    let (gva, before) = image.scan(6 * UTS_FIELD, &mut |gva, bytes| {
        for at in finder.find_iter(bytes) {
            let field = |n: usize| bytes.get(at + n * UTS_FIELD..at + (n + 1) * UTS_FIELD);
            if field(2).is_some_and(|text| is_string(text, release.as_bytes()))
                && field(3).is_some_and(|text| text.starts_with(b"#"))
            {
                let count = at.checked_sub(4).and_then(|start| bytes.get(start..at));
                return ControlFlow::Break((gva.0 + at as u64, count.map(little_endian)));
            }
        }
        ControlFlow::Continue(())
    })?;
    // The structure is aligned to words. For 32 bits that does not tell the
    // two layouts apart, but a small number there is a reference count.
    let counted = if image.space.mode().is_64_bit() {
        gva % 8 == 4
    } else {
        before.is_some_and(|count| (1..0x1_0000).contains(&count))
    };
    let name_offset = if counted { 4 } else { 0 };
    Some(UtsNamespace { gva: Gva(gva - name_offset), name_offset })
}

fn is_string(field: &[u8], text: &[u8]) -> bool {
    field.strip_prefix(text).is_some_and(|rest| rest.first() == Some(&0))
}

/// The tables that a symbol of VMCOREINFO names, if they do map the image.
pub(super) fn at_symbol(image: &Image<'_>, gva: Gva) -> Option<KernelTables> {
    let gpa = image.space.translate(gva).ok()?.gpa;
    let text = image.extent()?;
    let mode = image.space.mode();
    let root = mode.root_of(gpa.0);
    let mapped = image.space.with_root(root).translate(text.start).ok()?;
    (mapped.gpa == text.gpa && KernelHalf::of(mode).range().contains(&gva.0))
        .then_some(KernelTables { gva, root })
}
