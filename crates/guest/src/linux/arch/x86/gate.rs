//! The page through which old programs call the kernel on x86-64, `[vsyscall]`
//! (`Documentation/arch/x86/x86_64/mm.rst`, `arch/x86/entry/vsyscall/vsyscall_64.c`).
//!
//! It is in no process's list: the kernel has one `struct vm_area_struct` for all, `gate_vma`.
//! If it has been told to offer the page no more (`vsyscall=none`), that one is left as it is,
//! but nothing is mapped there; and if the page is only for execution, which the kernel
//! emulates, neither, but that one says so.

use std::ops::ControlFlow;

use memchr::memmem;
use vmss2core_mem::{Gva, PAGE_SIZE};

use crate::linux::discovery::{Content, Image};
use crate::linux::{Kernel, VmaFlags};

/// `VSYSCALL_ADDR`.
const START: u64 = 0xffff_ffff_ff60_0000;
/// Its end; old kernels (2.6.18) count room for more pages to it.
const ENDS: [u64; 2] = [START + PAGE_SIZE, 0xffff_ffff_ffe0_0000];

/// The page as 64-bit programs are told of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::linux) struct Gate {
    pub(in crate::linux) start: Gva,
    pub(in crate::linux) end: Gva,
    pub(in crate::linux) flags: VmaFlags,
}

/// The page, if this kernel offers it.
pub(in crate::linux) fn find(kernel: &Kernel) -> Option<Gate> {
    if !kernel.linux().is_64_bit {
        return None;
    }
    let start = kernel.layout().member("vm_area_struct", "vm_start")?.value.offset_bytes;
    let named = kernel.symbol("gate_vma").ok().and_then(|area| area.value.checked_add(start));
    let named = named.and_then(|at| Some((at, end_at(kernel, at)?)));
    let (at, end) = named.or_else(|| search(kernel))?;
    let area = kernel.object(Gva(at.0.checked_sub(start)?), "vm_area_struct");
    let flags = area.uint("vm_flags|__vm_flags|flags").ok()?;
    let is_mapped = kernel.space().translate(Gva(START)).is_ok_and(|page| page.permissions.user);
    let is_offered = is_mapped || flags == VmaFlags::EXECUTE.0;
    is_offered.then_some(Gate { start: Gva(START), end: Gva(end), flags: VmaFlags(flags) })
}

/// The end of the page, if its start is at an address, and its end follows.
fn end_at(kernel: &Kernel, at: Gva) -> Option<u64> {
    let word = |at| Some(kernel.read_pointer(at, "gate_vma").ok()?.0);
    let end = word(at.checked_add(8)?)?;
    (word(at)? == START && ENDS.contains(&end)).then_some(end)
}

/// The only place in the image with both.
fn search(kernel: &Kernel) -> Option<(Gva, u64)> {
    let text = kernel.linux().text.as_ref()?.value;
    let range = text.start.0..text.start.0.checked_add(text.len)?;
    let image = Image::of_range(kernel.space(), range);
    let mut found = Vec::new();
    for content in [Content::Constants, Content::Variables] {
        let _: Option<()> = image.scan_only(content, 8, &mut |gva, bytes| {
            for into in memmem::find_iter(bytes, &START.to_le_bytes()) {
                let at = Gva(gva.0.saturating_add(into as u64));
                found.extend(end_at(kernel, at).map(|end| (at, end)));
            }
            ControlFlow::Continue(())
        });
    }
    found.sort_unstable();
    found.dedup();
    let only = found.pop();
    only.filter(|_| found.is_empty())
}
