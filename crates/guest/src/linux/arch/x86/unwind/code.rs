//! Which addresses are the kernel's code.

use std::ops::Range;

use vmss2core_machine::x86::modes;
use vmss2core_mem::Gva;

use crate::linux::Kernel;

/// Tells code from data.
pub(super) struct Code<'k> {
    kernel: &'k Kernel,
    /// The kernel's own code, where page tables do not tell code from data.
    text: Option<Range<u64>>,
    /// Code that ran at boot, and is gone: what was called from it last is at the
    /// bottom of the first task's stack.
    init: Option<Range<u64>>,
    /// The kernel's part of the address space.
    lowest: u64,
}

impl<'k> Code<'k> {
    pub(super) fn of(kernel: &'k Kernel) -> Self {
        let two_level = modes::is_two_level(kernel.space().mode());
        let lowest = match &kernel.linux().text {
            Some(text) if !kernel.linux().is_64_bit => text.value.start.0,
            _ => 1 << 63,
        };
        let text = two_level.then(|| text(kernel)).flatten();
        Self { kernel, text, init: range(kernel, "_sinittext", "_einittext"), lowest }
    }

    pub(super) fn kernel(&self) -> &'k Kernel {
        self.kernel
    }

    /// Whether an instruction can be, or has been, at this address: the kernel
    /// maps only code executable.
    pub(super) fn holds(&self, address: u64) -> bool {
        if self.init.as_ref().is_some_and(|init| init.contains(&address)) {
            return true;
        }
        if let Some(text) = &self.text {
            return text.contains(&address);
        }
        let page = self.kernel.space().translate(Gva(address));
        address >= self.lowest && page.is_ok_and(|page| page.permissions.execute)
    }
}

fn text(kernel: &Kernel) -> Option<Range<u64>> {
    let text = kernel.linux().text.as_ref()?.value;
    let end = kernel.symbol("_etext").map(|end| end.value.0);
    let end = end.unwrap_or(text.start.0.saturating_add(text.len));
    Some(text.start.0..end)
}

fn range(kernel: &Kernel, start: &str, end: &str) -> Option<Range<u64>> {
    let address = |name| kernel.symbol(name).ok().map(|symbol| symbol.value.0);
    Some(address(start)?..address(end)?)
}
