//! The kernel's own page tables, and other things found by searching the image.

use std::collections::{HashMap, HashSet};
use std::ops::ControlFlow;

use vmss2core_machine::paging::Root;
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE, little_endian};

use super::image::Image;
use crate::linux::arch::{self, Directory};

/// Where `swapper_pg_dir` is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) struct KernelTables {
    pub(in crate::linux) gva: Gva,
    pub(in crate::linux) root: Root,
}

/// Finds `swapper_pg_dir` in the image: the page whose kernel half is that of
/// the vCPU's table, whose user half is empty, and which the kernel's data
/// points at (`init_mm.pgd`). The last tells it from tables of processes on
/// pages that the kernel has freed, and from the copy that 32-bit kernels keep
/// for starting CPUs.
pub(super) fn swapper(image: &Image) -> Option<Found<KernelTables>> {
    let own = Directory::read(image.space.memory(), image.space.mode(), image.space.root().0)?;
    let (shared, candidates) = alike(image, &own);
    let tables = most_pointed_at(image, &candidates)?;
    let how = format!(
        "page in the kernel image with {shared} kernel entries of the table at physical {}",
        image.space.root()
    );
    Some(Found::new(tables, how))
}

/// The pages that share the most entries with a table, and how many.
fn alike(image: &Image, own: &Directory) -> (usize, Vec<KernelTables>) {
    let (mut most, mut candidates) = (1, Vec::new());
    for run in &image.runs {
        for offset in (0..u64::from(run.pages)).map(|page| page.saturating_mul(PAGE_SIZE)) {
            let root = Root(Gpa(run.gpa.0.saturating_add(offset)));
            let shared = own.shared_with(image.space.memory(), root.0).unwrap_or(0);
            if shared > most {
                most = shared;
                candidates.clear();
            }
            if shared == most {
                candidates.push(KernelTables { gva: Gva(run.gva.0.saturating_add(offset)), root });
            }
        }
    }
    (most, candidates)
}

/// The candidate that most words of the image's data point at; of equals the
/// first.
fn most_pointed_at(image: &Image, candidates: &[KernelTables]) -> Option<KernelTables> {
    let mut pointers: HashMap<u64, usize> = HashMap::new();
    let word_len = if image.space.mode().is_64_bit() { 8 } else { 4 };
    if candidates.len() > 1 {
        let addresses: HashSet<u64> = candidates.iter().map(|tables| tables.gva.0).collect();
        image.scan(0, &mut |_, bytes| {
            for word in bytes.chunks_exact(word_len).map(little_endian) {
                if word & (PAGE_SIZE - 1) == 0 && addresses.contains(&word) {
                    let votes_of = pointers.entry(word).or_default();
                    *votes_of = votes_of.saturating_add(1);
                }
            }
            ControlFlow::<()>::Continue(())
        });
    }
    let count = |tables: &&KernelTables| pointers.get(&tables.gva.0).copied().unwrap_or(0);
    // The maximum is the last of equals, so count from the end.
    candidates.iter().rev().max_by_key(count).copied()
}

/// `init_uts_ns`: where its names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UtsNamespace {
    pub(super) gva: Gva,
    /// OFFSET(uts_namespace.name): 4 after a reference count, 0 since 5.11.
    pub(super) name_offset: u64,
}

/// Length of each of the six strings of `struct new_utsname`.
const UTS_FIELD: usize = 65;

/// Finds `init_uts_ns` in the image: "Linux", any node name, the release, and
/// the version with a build number. Unfinished copies have none, and copies on
/// pages that the kernel has freed need not be aligned.
pub(super) fn init_uts_ns(image: &Image, release: &str) -> Option<UtsNamespace> {
    let finder = memchr::memmem::Finder::new(b"Linux\0");
    let (gva, before) = image.scan(6 * UTS_FIELD, &mut |gva, bytes| {
        for at in finder.find_iter(bytes) {
            let field = |n: usize| {
                bytes.get(
                    at.saturating_add(n.saturating_mul(UTS_FIELD))
                        ..at.saturating_add(n.saturating_add(1).saturating_mul(UTS_FIELD)),
                )
            };
            if field(2).is_some_and(|text| is_string(text, release.as_bytes()))
                && field(3).is_some_and(has_build_number)
                && gva.0.saturating_add(at as u64).is_multiple_of(4)
            {
                let count = at.checked_sub(4).and_then(|start| bytes.get(start..at));
                return ControlFlow::Break((
                    gva.0.saturating_add(at as u64),
                    count.map(little_endian),
                ));
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
    Some(UtsNamespace { gva: Gva(gva.saturating_sub(name_offset)), name_offset })
}

/// `#1 SMP ...`
fn has_build_number(version: &[u8]) -> bool {
    version.starts_with(b"#") && version.get(1).is_some_and(u8::is_ascii_digit)
}

fn is_string(field: &[u8], text: &[u8]) -> bool {
    field.strip_prefix(text).is_some_and(|rest| rest.first() == Some(&0))
}

/// The tables that a symbol of VMCOREINFO names, if they do map the image.
pub(super) fn at_symbol(image: &Image, gva: Gva) -> Option<KernelTables> {
    let gpa = image.space.translate(gva).ok()?.gpa;
    let text = image.runs.first()?;
    let mode = image.space.mode();
    let root = mode.root_of(gpa.0);
    let mapped = image.space.with_root(root).translate(text.gva).ok()?;
    (mapped.gpa == text.gpa && arch::kernel_half(mode).contains(&gva.0))
        .then_some(KernelTables { gva, root })
}
