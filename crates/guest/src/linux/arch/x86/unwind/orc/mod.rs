//! ORC: the unwind tables of 64-bit kernels since 4.14.
//!
//! Two arrays, sorted by address: `__start_orc_unwind_ip`, each element the
//! distance from itself to the first instruction it is about, and
//! `__start_orc_unwind` with a `struct orc_entry` for each. Modules bring tables
//! of their own. Sources: `Documentation/arch/x86/orc-unwinder.rst`, and
//! `struct orc_entry` in `arch/x86/include/asm/orc_types.h`, whose types were
//! numbered anew in 6.4 and whose registers were by 7.2 (measured: its tables
//! and those of 6.12 are about the same code). Which numbering a table has shows
//! in its most common entry: a call whose frame is found from the stack pointer.
//! Tables that no symbol names are found by their form ([`search`]).

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;

use super::context::Stack;
use super::frame_pointer::step_of_unknown_code;
use super::start::{is_code_selector, saved_registers};
use super::{Frame, FrameKind, Registers, Step};
use crate::linux::Kernel;

mod ftrace;
mod prologue;
pub(super) mod search;
mod table;

pub(super) use table::Table;
use table::{Base, Entry, Kind, Numbering};

/// The kernel's tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    kernel: Table,
    numbering: Numbering,
}

const UNREADABLE: Step = Step::Lost("a stack that makes no sense");
const UNDESCRIBED: &str = "code whose stack is not described";
const OF_MODULE: &str = "code of a module whose unwind tables were not found";
const ELSEWHERE: &str = "code outside of the kernel and of the modules that were found";
const SENSELESS: &str = "the kernel's unwind tables make no sense";
const NOT_FOUND: &str =
    "no symbol says where unwind tables are, and none were found in the kernel's image";

impl Tables {
    /// The tables; why there are none.
    pub(super) fn of(kernel: &Kernel) -> Result<Self, &'static str> {
        if !kernel.linux().is_64_bit {
            return Err("32-bit kernels have no unwind tables");
        }
        let named = Table::of_kernel(kernel).or_else(|| kernel.unnamed_tables());
        let table = named.ok_or_else(|| why_none(kernel))?;
        let numbering = table.numbering(kernel).ok_or(SENSELESS)?;
        Ok(Self { kernel: table, numbering })
    }

    /// One step up.
    pub(super) fn step(&self, stack: &Stack<'_>, registers: &Registers, frame: &Frame) -> Step {
        let step = self.step_at(stack, registers, frame.code_address());
        let step = match frame.kind {
            FrameKind::Return => step.or_else(|| from_entry_code(stack.kernel, registers)),
            _ => step,
        };
        step.unwrap_or(UNREADABLE)
    }

    /// The entry for `ip`, decoded; `None` if that cannot be.
    fn step_at(&self, stack: &Stack<'_>, registers: &Registers, ip: Gva) -> Option<Step> {
        let entry = match self.entry(stack.kernel, ip) {
            Ok(entry) => entry,
            Err(why) => {
                let step = step_of_unknown_code(stack, registers);
                return Some(step.unwrap_or(Step::Lost(why)));
            }
        };
        match (entry.kind, entry.sp) {
            (Kind::End, _) => Some(Step::Bottom),
            // Where a stack begins too, in tables that have no kind for that.
            (_, Base::Undefined) if stack.is_at_top(registers.sp()?) => Some(Step::Bottom),
            (Kind::Undefined, _) | (_, Base::Undefined) => {
                let step = prologue::step(stack, registers, ip);
                Some(step.unwrap_or(Step::Lost(UNDESCRIBED)))
            }
            _ => up(stack, registers, entry),
        }
    }

    /// The entry for an address, in the table of what it belongs to; why there is
    /// none.
    fn entry(&self, kernel: &Kernel, ip: Gva) -> Result<Entry, &'static str> {
        if kernel.is_in_image(ip) {
            return self.kernel.find(kernel, self.numbering, ip.0).ok_or(UNDESCRIBED);
        }
        if let Some(module) = kernel.modules().modules.iter().find(|module| module.contains(ip)) {
            let table = module.unwind.and_then(Table::of_module).ok_or(OF_MODULE)?;
            return table.find(kernel, self.numbering, ip.0).ok_or(UNDESCRIBED);
        }
        let original =
            ftrace::original(kernel, ip).filter(|original| kernel.is_in_image(*original));
        let entry = original.and_then(|ip| self.kernel.find(kernel, self.numbering, ip.0));
        entry.ok_or(ELSEWHERE)
    }
}

/// Why the kernel's tables were not found.
fn why_none(kernel: &Kernel) -> &'static str {
    if kernel.symbol("__start_orc_unwind").is_ok() {
        SENSELESS
    } else if may_have_unnamed(kernel) {
        NOT_FOUND
    } else {
        "the kernel has no unwind tables"
    }
}

/// Whether there may be tables that no symbol names.
pub(super) fn may_have_unnamed(kernel: &Kernel) -> bool {
    let is_partial = kernel.symbols().is_none_or(|symbols| symbols.value.lacks_others());
    // A function of the unwinder that reads them, if only functions have symbols.
    is_partial || kernel.symbol("unwind_module_init").is_ok()
}

fn up(stack: &Stack<'_>, registers: &Registers, entry: Entry) -> Option<Step> {
    let word = |at: u64| stack.word(at);
    let sp = previous_sp(&word, registers, entry)?;
    match entry.kind {
        Kind::Registers => Some(saved_registers(stack.kernel, sp)),
        Kind::PartialRegisters => interrupted(&word, registers, entry, sp),
        _ => {
            let mut caller = *registers;
            caller.ip = word(sp.checked_sub(8)?)?;
            caller.set(Gpr::Rsp, Some(sp));
            caller.set(Gpr::Rbp, previous_bp(&word, registers, entry, sp));
            Some(Step::Caller(caller))
        }
    }
}

/// The stack pointer before the call or the interrupt.
fn previous_sp(
    word: &dyn Fn(u64) -> Option<u64>,
    registers: &Registers,
    entry: Entry,
) -> Option<u64> {
    let plus = |value: u64| value.wrapping_add_signed(entry.sp_offset);
    match entry.sp {
        Base::Register(register @ (Gpr::Rsp | Gpr::Rbp)) => registers.get(register).map(plus),
        // The others hold the stack pointer itself.
        Base::Register(register) => registers.get(register),
        Base::SpIndirect => word(registers.sp()?).map(plus),
        Base::BpIndirect => word(plus(registers.get(Gpr::Rbp)?)),
        Base::PreviousSp | Base::Undefined => None,
    }
}

fn previous_bp(
    word: &dyn Fn(u64) -> Option<u64>,
    registers: &Registers,
    entry: Entry,
    sp: u64,
) -> Option<u64> {
    let bp = registers.get(Gpr::Rbp);
    match entry.bp {
        Base::PreviousSp => word(sp.wrapping_add_signed(entry.bp_offset)),
        Base::Register(Gpr::Rbp) => word(bp?.wrapping_add_signed(entry.bp_offset)),
        _ => bp,
    }
}

/// From what the processor saved by itself: ip, cs, flags, sp, ss.
fn interrupted(
    word: &dyn Fn(u64) -> Option<u64>,
    registers: &Registers,
    entry: Entry,
    at: u64,
) -> Option<Step> {
    let field = |index: u64| word(at.checked_add(index.checked_mul(8)?)?);
    let (ip, cs, sp) = (field(0)?, field(1)?, field(3)?);
    if !is_code_selector(cs) {
        return None;
    }
    if cs & 3 == 3 {
        return Some(Step::User { ip, sp });
    }
    let mut interrupted = *registers;
    interrupted.ip = ip;
    interrupted.set(Gpr::Rsp, Some(sp));
    interrupted.set(Gpr::Rbp, previous_bp(word, registers, entry, at));
    Some(Step::Interrupted(interrupted))
}

/// Entry code calls a function that saves registers, and is described as it is
/// before that call. After it the registers lie where the stack pointer is.
fn from_entry_code(kernel: &Kernel, registers: &Registers) -> Option<Step> {
    match saved_registers(kernel, registers.sp()?) {
        Step::Lost(_) => None,
        step => Some(step),
    }
}
