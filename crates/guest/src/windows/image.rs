//! The kernel's image in memory.
//!
//! Code of the kernel is at hand: handlers of interrupts and system calls, a
//! processor's place. The image begins below it, at some page: it names a kernel's
//! PDB or exports as `ntoskrnl.exe`; where neither name is in memory, it has
//! sections that only kernels have. Other images may lie between. Without code that
//! leads there every page that is mapped where kernels are is looked at.

use std::collections::{BTreeMap, HashSet};
use std::ops::{ControlFlow, Range};

use memchr::memmem;
use vmss2core_machine::paging::Limits;
use vmss2core_mem::{Found, Gva, PAGE_SIZE};

use super::pe::{self, Headers};
use super::view::{View, pages_down, pages_up};
use super::{Kdbg, KernelImage, PdbIdentity};

/// Longest kernel.
pub(super) const MAX_LEN: u64 = 32 << 20;
/// Shortest kernel: those of Windows XP with PAE have a little less than 2 MiB, older
/// ones less.
const MIN_LEN: u64 = 1 << 20;
const MAX_LEN_PAGES: usize = (MAX_LEN / PAGE_SIZE) as usize;
/// How many hints are followed.
const MAX_HINTS: usize = 64;
/// How many mapped pages are looked at without a hint: 8 GiB.
const MAX_PAGES: u32 = 1 << 21;
/// How many headers are read: more than there are drivers.
const MAX_HEADERS: u32 = 4096;
const AMD64: u16 = 0x8664;
const I386: u16 = 0x14c;

/// The kernel by the code that `hints` point into, each with how it is known;
/// else by the page tables. `None` too if the header page is not in memory.
pub(super) fn find(view: &View, hints: &[(Gva, String)]) -> Option<Found<KernelImage>> {
    let mut search = Search { view, seen: HashSet::new(), headers_left: MAX_HEADERS };
    let hinted = hints.iter().take(MAX_HINTS).find_map(|(hint, how)| {
        let image = search.below(*hint)?;
        Some(Found::new(image, format!("header below {hint} ({how})")))
    });
    hinted.or_else(|| search.everywhere())
}

struct Search<'a> {
    view: &'a View,
    /// Pages below hints that begin no kernel.
    seen: HashSet<Gva>,
    /// How many more headers are read.
    headers_left: u32,
}

impl Search<'_> {
    /// The kernel that has code at `hint`.
    fn below(&mut self, hint: Gva) -> Option<KernelImage> {
        let view = self.view;
        pages_down(hint).take(MAX_LEN_PAGES).take_while(|page| view.is_kernel(*page)).find_map(
            |page| {
                let image = if self.seen.insert(page) { self.at(page) } else { None }?;
                let is_inside = image.contains(hint);
                if !is_inside {
                    // Another hint may lie in it.
                    self.seen.remove(&page);
                }
                is_inside.then_some(image)
            },
        )
    }

    /// The kernel at any mapped page, or at one in transition before mapped ones.
    fn everywhere(&mut self) -> Option<Found<KernelImage>> {
        let (mut found, mut left, mut behind) = (None, MAX_PAGES, 0);
        let range = kernel_range(self.view);
        self.view.space().walk_range(range, &Limits::default(), &mut |leaf| {
            let first = leaf.gva.0;
            let before = (behind != first).then(|| first.wrapping_sub(PAGE_SIZE));
            let pages = leaf.pages.min(left);
            let own = pages_up(leaf.gva).take(usize::try_from(pages).unwrap_or(usize::MAX));
            found = before.map(Gva).into_iter().chain(own).find_map(|page| self.at(page));
            left = left.saturating_sub(pages);
            behind = first.wrapping_add(leaf.len_bytes());
            let ends = found.is_some() || left == 0;
            if ends { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        let how = "header among all pages mapped where kernels are";
        found.map(|image| Found::new(image, how))
    }

    /// The kernel that begins at this page, if one does.
    fn at(&mut self, base: Gva) -> Option<KernelImage> {
        if self.view.uint(base, 2) != Some(u64::from(pe::MZ)) {
            return None;
        }
        self.headers_left = self.headers_left.checked_sub(1)?;
        at(self.view, base)
    }
}

/// Where kernels are mapped.
pub(super) fn kernel_range(view: &View) -> Range<u64> {
    if view.word_len() == 8 {
        0xffff_f800_0000_0000..0xffff_f808_0000_0000
    } else {
        0x8000_0000..0xffc0_0000
    }
}

/// The kernel that begins at this page, if one does.
fn at(view: &View, base: Gva) -> Option<KernelImage> {
    let headers = Headers::read(view, base)?;
    let machine = if view.word_len() == 8 { AMD64 } else { I386 };
    let fits = (MIN_LEN..=MAX_LEN).contains(&u64::from(headers.size));
    if headers.machine != machine || !fits {
        return None;
    }
    let pdb = pe::pdb(view, base, &headers);
    let name = pe::export_name(view, base, &headers);
    let is_kernel = match (&pdb, &name) {
        // Both may be paged out.
        (None, None) => has_kernel_section(&headers),
        (pdb, name) => {
            pdb.as_ref().is_some_and(|pdb| is_kernel_pdb(&pdb.name))
                || name.as_ref().is_some_and(|name| name.eq_ignore_ascii_case("ntoskrnl.exe"))
        }
    };
    is_kernel.then(|| of_headers(base, headers, pdb))
}

fn of_headers(base: Gva, headers: Headers, pdb: Option<PdbIdentity>) -> KernelImage {
    KernelImage {
        base,
        size_bytes: headers.size,
        timestamp: Some(headers.timestamp),
        checksum: Some(headers.checksum),
        pdb,
        sections: headers.sections,
    }
}

/// Whether it has sections that no other image has: `hal.dll` and `ci.dll` are built
/// alike. Kernels of other linkers have none of them.
fn has_kernel_section(headers: &Headers) -> bool {
    const NAMES: [&str; 4] = ["POOLCODE", "INITKDBG", "PAGEKD", "PAGELK"];
    headers.sections.iter().any(|section| NAMES.contains(&section.name.as_str()))
}

/// Kernels by processors (one, many) and page tables (PAE, five levels).
fn is_kernel_pdb(name: &str) -> bool {
    const NAMES: [&str; 5] =
        ["ntkrnlmp.pdb", "ntkrla57.pdb", "ntoskrnl.pdb", "ntkrnlpa.pdb", "ntkrpamp.pdb"];
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// The kernel at the base that its debugger data states, where [`find`] found
/// none: what is known without the header page.
pub(super) fn from_kdbg(view: &View, kdbg: &Kdbg) -> Option<Found<KernelImage>> {
    let base = kdbg.kern_base(view)?;
    let how = format!("KernBase of the debugger data at {}", kdbg.gva);
    let stated = kdbg.first_module(view).filter(|(dll, _)| *dll == base).map(|(_, size)| size);
    Some(Found::new(from_base(view, base, stated), how))
}

/// The kernel at a base that is known; `size_bytes` is of use if the header page
/// is not in memory.
pub(super) fn from_base(view: &View, base: Gva, size_bytes: Option<u32>) -> KernelImage {
    if let Some(headers) = Headers::read(view, base) {
        let pdb = pe::pdb(view, base, &headers);
        return of_headers(base, headers, pdb);
    }
    let size = size_bytes.filter(|size| u64::from(*size) <= MAX_LEN);
    let len = size.map_or(MAX_LEN, u64::from);
    KernelImage {
        base,
        size_bytes: size.unwrap_or_default(),
        timestamp: None,
        checksum: None,
        pdb: any_kernel_pdb(view, base, len),
        sections: Vec::new(),
    }
}

/// A CodeView record of a kernel anywhere in the image.
fn any_kernel_pdb(view: &View, base: Gva, len: u64) -> Option<PdbIdentity> {
    let pages = usize::try_from(len / PAGE_SIZE).unwrap_or(usize::MAX);
    pages_up(base).take(pages).find_map(|at| {
        let bytes = view.bytes(at, 4096)?;
        memmem::find_iter(&bytes, b"RSDS").find_map(|skip| {
            // The record may go on in the next page.
            let record = view.prefix(at.checked_add(skip as u64)?, 64);
            pe::code_view(&record).filter(|pdb| is_kernel_pdb(&pdb.name))
        })
    })
}

/// Addresses that the kernel exports, by name. Empty if the directory is not in
/// memory.
pub(super) fn exports(view: &View, image: &KernelImage) -> BTreeMap<String, Gva> {
    let all = pe::exports(view, image.base).into_iter();
    all.filter(|(rva, _)| *rva < image.size_bytes)
        .filter_map(|(rva, name)| Some((name, image.base.checked_add(u64::from(rva))?)))
        .collect()
}

#[cfg(test)]
mod tests;
