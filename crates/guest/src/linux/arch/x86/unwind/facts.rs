//! Facts about a kernel's code that unwinding needs, found when first asked for.

use std::ops::Range;
use std::sync::OnceLock;

use super::flow::switch::{self, Switch};
use super::frameless::begins_frame_at;
use super::{code, flow, orc};
use crate::linux::Kernel;

/// What was found out.
#[derive(Debug, Default)]
pub(in crate::linux) struct CodeFacts {
    switches: OnceLock<Vec<Switch>>,
    called: OnceLock<Vec<u64>>,
    keeps_frame_pointers: OnceLock<bool>,
    is_data_executable: OnceLock<bool>,
    left_stack_pointer: OnceLock<Option<u64>>,
    unnamed_tables: OnceLock<Option<orc::Table>>,
}

/// The function that switches tasks since 4.9.
const SWITCH_SINCE_4_9: &str = "__switch_to_asm";
/// Entry of system calls by the instruction of that name, before 4.2.
const SYSTEM_CALL: &str = "system_call";
/// How many functions are looked at for frame pointers, and in how much code for calls of
/// them.
const MOST_LOOKED_AT: usize = 512;
/// Fewer say nothing.
const LEAST_LOOKED_AT: usize = 16;
const LOOKED_THROUGH: u64 = 512 << 10;

impl Kernel {
    /// Where the scheduler's own code switches tasks, as it does before 4.9.
    pub(super) fn switches(&self) -> &[Switch] {
        self.code_facts().switches.get_or_init(|| {
            if self.symbol(SWITCH_SINCE_4_9).is_ok() {
                return Vec::new();
            }
            code::text(self).map(|text| switch::find(self, text)).unwrap_or_default()
        })
    }

    /// Where a system call of a 64-bit program leaves the stack pointer, among the variables
    /// of the CPU, if it stores it nowhere else: before 4.1 the slot in `struct pt_regs` has
    /// an old one.
    pub(in crate::linux::arch::x86) fn left_stack_pointer(&self) -> Option<u64> {
        *self.code_facts().left_stack_pointer.get_or_init(|| {
            let entry = self.symbol(SYSTEM_CALL).ok()?.value;
            flow::switch::left_stack_pointer(self, entry)
        })
    }

    /// The kernel's unwind tables where its symbols do not name them.
    pub(super) fn unnamed_tables(&self) -> Option<orc::Table> {
        *self.code_facts().unnamed_tables.get_or_init(|| {
            let is_searched = self.linux().is_64_bit && orc::may_have_unnamed(self);
            is_searched.then(|| orc::search::find(self)).flatten()
        })
    }

    /// Whether page tables do not tell the kernel's code from its data.
    pub(super) fn is_data_executable(&self) -> bool {
        *self.code_facts().is_data_executable.get_or_init(|| code::is_data_executable(self))
    }

    /// Functions of the kernel image that calls in it name, in order.
    pub(super) fn called_functions(&self) -> &[u64] {
        let find = |text: Range<u64>| switch::called(self, text.clone(), &text);
        self.code_facts().called.get_or_init(|| code::text(self).map(find).unwrap_or_default())
    }

    /// Whether the kernel's functions keep frame pointers: whether those do that are called
    /// first in its code.
    pub(super) fn keeps_frame_pointers(&self) -> bool {
        *self.code_facts().keeps_frame_pointers.get_or_init(|| {
            let Some(text) = code::text(self) else { return true };
            let first = text.start..text.end.min(text.start.saturating_add(LOOKED_THROUGH));
            let functions = switch::called(self, first, &text);
            let looked_at = functions.get(..functions.len().min(MOST_LOOKED_AT)).unwrap_or(&[]);
            let keep = looked_at.iter().filter(|at| begins_frame_at(self, **at)).count();
            // Functions in assembler and those that call no other need not.
            looked_at.len() < LEAST_LOOKED_AT || keep.saturating_mul(4) >= looked_at.len()
        })
    }
}
