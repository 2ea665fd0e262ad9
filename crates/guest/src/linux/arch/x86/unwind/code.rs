//! Which addresses are the kernel's code.

use std::ops::Range;

use vmss2core_machine::x86::modes;
use vmss2core_mem::Gva;

use super::calls;
use crate::linux::Kernel;

/// Tells code from data.
pub(super) struct Code<'k> {
    kernel: &'k Kernel,
    /// The kernel's own code.
    text: Option<Range<u64>>,
    /// Code that ran at boot, and is gone: what was called from it last is at the
    /// bottom of the first task's stack.
    init: Option<Range<u64>>,
    /// The kernel's part of the address space.
    lowest: u64,
    /// Page tables say that data is executable too.
    is_unprotected: bool,
}

impl<'k> Code<'k> {
    pub(super) fn of(kernel: &'k Kernel) -> Self {
        let lowest = match &kernel.linux().text {
            Some(text) if !kernel.linux().is_64_bit => text.value.start.0,
            _ => 1 << 63,
        };
        let is_unprotected = kernel.is_data_executable();
        let text = is_unprotected.then(|| text(kernel)).flatten();
        let init = range(kernel, "_sinittext", "_einittext").or_else(|| described_init(kernel));
        Self { kernel, text, init, lowest, is_unprotected }
    }

    pub(super) fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// Whether a call can return to an address.
    pub(super) fn is_after_call(&self, address: u64) -> bool {
        self.holds(address) && calls::end_at(self, address)
    }

    /// Whether an instruction can be, or has been, at this address: the kernel
    /// maps only code executable, unless it protects nothing.
    pub(super) fn holds(&self, address: u64) -> bool {
        if self.init.as_ref().is_some_and(|init| init.contains(&address)) {
            return true;
        }
        if self.is_unprotected {
            let is_text = self.text.as_ref().is_some_and(|text| text.contains(&address));
            return is_text || self.is_in_module(address);
        }
        let page = self.kernel.space().translate(Gva(address));
        address >= self.lowest && page.is_ok_and(|page| page.permissions.execute)
    }

    fn is_in_module(&self, address: u64) -> bool {
        self.kernel.modules().modules.iter().any(|module| module.contains(Gva(address)))
    }
}

/// Whether page tables say that data of the kernel is executable: before 2.6.38 the direct
/// map was, and processors without NX know no other.
pub(super) fn is_data_executable(kernel: &Kernel) -> bool {
    if modes::is_two_level(kernel.space().mode()) {
        return true;
    }
    let executable = |at| kernel.space().translate(Gva(at)).is_ok_and(|it| it.permissions.execute);
    let linux = kernel.linux();
    if !linux.is_64_bit {
        let variables = kernel.bounds().and_then(|bounds| bounds.value.data_end.0.checked_sub(1));
        return variables.is_some_and(executable);
    }
    let end_of_image = linux.text.as_ref().map(|text| text.value);
    let end_of_image = end_of_image.map(|text| text.gpa.0.wrapping_add(text.len).wrapping_sub(1));
    let again = linux.direct_map.as_ref().zip(end_of_image);
    again.and_then(|(map, at)| map.value.0.checked_add(at)).is_some_and(executable)
}

/// The code of the kernel image.
pub(super) fn text(kernel: &Kernel) -> Option<Range<u64>> {
    let image = kernel.linux().text.as_ref().map(|text| text.value);
    let symbol = kernel.symbol("_etext").map(|end| end.value.0).ok();
    let bounds = || kernel.bounds().map(|bounds| bounds.value);
    let start = image.map(|image| image.start.0).or_else(|| Some(bounds()?.start.0))?;
    let end = symbol.or_else(|| Some(bounds()?.code_end.0));
    let end = end.or_else(|| image.map(|image| start.saturating_add(image.len)))?;
    (start < end).then_some(start..end)
}

/// The code of the kernel's start as its unwind tables have it: they describe no other after
/// the rest of its code.
fn described_init(kernel: &Kernel) -> Option<Range<u64>> {
    let tables = kernel.unnamed_tables()?;
    tables.code_after(kernel, kernel.bounds()?.value.code_end.0)
}

fn range(kernel: &Kernel, start: &str, end: &str) -> Option<Range<u64>> {
    let address = |name| kernel.symbol(name).ok().map(|symbol| symbol.value.0);
    Some(address(start)?..address(end)?)
}
