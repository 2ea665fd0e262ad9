//! The stack that is walked: whose it is, and where it ends.

use vmss2core_mem::Gva;

use super::code::Code;
use super::start::{possible_sizes, registers_layout};
use crate::linux::Kernel;

/// Bytes at the top of a stack that are neither the registers of user mode nor a
/// function's: what processors with FRED and 32-bit kernels leave free above, a
/// return address and a frame pointer below, and what aligns them.
const SPARE_BYTES: u64 = 64;

/// No kernel stack is larger.
pub(super) const MOST_BYTES: u64 = 64 << 10;

/// A kernel stack.
pub(super) struct Stack<'k> {
    pub(super) kernel: &'k Kernel,
    pub(super) code: Code<'k>,
    /// The task that it belongs to, if that is known.
    pub(super) task: Option<Gva>,
    /// The vCPU that is on it, if one is.
    pub(super) vcpu: Option<u32>,
    /// The lowest address of the task's stack, if that is known.
    pub(super) lowest: Option<Gva>,
}

impl<'k> Stack<'k> {
    pub(super) fn new(kernel: &'k Kernel, task: Option<Gva>, lowest: Option<Gva>) -> Self {
        Self { kernel, code: Code::of(kernel), task, vcpu: None, lowest }
    }

    /// The word at an address.
    pub(super) fn word(&self, at: u64) -> Option<u64> {
        Some(self.kernel.read_pointer(Gva(at), "stack").ok()?.0)
    }

    /// The end of the stack that a stack pointer is in, by the likeliest size.
    pub(super) fn top(&self, sp: u64) -> u64 {
        let tops = self.tops(sp);
        tops.first().copied().or_else(|| self.aligned_tops(sp).next()).unwrap_or(sp)
    }

    /// The ends that it can have: none if it is not the task's.
    pub(super) fn tops(&self, sp: u64) -> Vec<u64> {
        let Some(Gva(lowest)) = self.lowest else { return self.aligned_tops(sp).collect() };
        let tops =
            possible_sizes(self.kernel).into_iter().filter_map(|size| lowest.checked_add(size));
        tops.filter(|top| (lowest..=*top).contains(&sp)).collect()
    }

    /// The ends that a stack can have that is aligned to its size.
    fn aligned_tops(&self, sp: u64) -> impl Iterator<Item = u64> {
        let last = sp.saturating_sub(1);
        let sizes = possible_sizes(self.kernel).into_iter();
        sizes.filter_map(move |size| (last | size.saturating_sub(1)).checked_add(1))
    }

    /// Whether a frame pointer can lead from a stack pointer to another place: up the same
    /// stack, or from that of an interrupt back to the task's.
    pub(super) fn leads_up(&self, sp: u64, to: u64) -> bool {
        let tops = self.tops(sp);
        if tops.is_empty() {
            let above = sp..sp.saturating_add(MOST_BYTES);
            return above.contains(&to) || !self.tops(to).is_empty();
        }
        tops.into_iter().any(|top| (sp..top).contains(&to))
    }

    /// Whether there is no room above for anything but the registers of user mode,
    /// which a thread of the kernel does not have.
    pub(super) fn is_at_top(&self, sp: u64) -> bool {
        let count = registers_layout(self.kernel).count as u64;
        let room = count.saturating_mul(self.kernel.word_len());
        let room = room.saturating_add(SPARE_BYTES);
        self.tops(sp).into_iter().any(|top| top.saturating_sub(sp) <= room)
    }
}
