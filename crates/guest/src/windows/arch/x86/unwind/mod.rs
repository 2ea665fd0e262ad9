//! Leaving a function of x64 code by the unwind data of its image.
//!
//! Source: Microsoft, "x64 exception handling" (`RUNTIME_FUNCTION`,
//! `UNWIND_INFO`, `UNWIND_CODE`) and "x64 prolog and epilog".

mod codes;
mod epilog;

use vmss2core_mem::Gva;

use crate::windows::View;
use crate::windows::modules::Module;
use codes::Info;

/// Entries of a table of functions that are believed.
const MAX_FUNCTIONS: u64 = 1 << 20;
const ENTRY: u64 = 12;
/// A function has few parts that lead to each other.
const MAX_CHAIN: usize = 32;

/// A `RUNTIME_FUNCTION`: distances from the image's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::windows) struct Function {
    pub(in crate::windows) begin: u32,
    pub(in crate::windows) end: u32,
    unwind: u32,
}

/// Registers that unwinding works on: those that calls preserve, and some more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::windows) struct Registers {
    /// In the order of their encoding; the stack pointer is the fifth.
    pub(in crate::windows) general: [u64; 16],
    pub(in crate::windows) rip: u64,
}

impl Registers {
    pub(in crate::windows) fn get(&self, number: u8) -> u64 {
        self.general.get(usize::from(number & 15)).copied().unwrap_or_default()
    }

    pub(in crate::windows) fn set(&mut self, number: u8, value: u64) {
        if let Some(register) = self.general.get_mut(usize::from(number & 15)) {
            *register = value;
        }
    }

    pub(in crate::windows) fn rsp(&self) -> u64 {
        self.get(codes::RSP)
    }

    pub(in crate::windows) fn set_rsp(&mut self, value: u64) {
        self.set(codes::RSP, value);
    }

    /// Takes a word off the stack.
    pub(in crate::windows) fn pop(&mut self, view: &View) -> Option<u64> {
        let value = view.uint(Gva(self.rsp()), 8)?;
        self.set_rsp(self.rsp().wrapping_add(8));
        Some(value)
    }

    /// Returns from a function whose return address is the next word.
    pub(in crate::windows) fn ret(&mut self, view: &View) -> Option<()> {
        self.rip = self.pop(view)?;
        Some(())
    }
}

/// How control left a function for the one inside of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::windows) enum Left {
    /// By a call: the instruction pointer is after it.
    Called,
    /// By an interrupt, or it was stopped: the instruction pointer is that of the
    /// next instruction, anywhere in the function.
    Interrupted,
}

/// The entry of a function, by binary search in the image's table. `None` also if
/// the table is not in memory.
pub(in crate::windows) fn function(view: &View, module: &Module, offset: u64) -> Option<Function> {
    let (table, len) = module.headers.as_ref()?.functions(module.base)?;
    let (mut low, mut high) = (0, (len / ENTRY).min(MAX_FUNCTIONS));
    while low < high {
        let middle = u64::midpoint(low, high);
        let entry = read_function(view, table.checked_add(middle.checked_mul(ENTRY)?)?)?;
        if offset < u64::from(entry.begin) {
            high = middle;
        } else if offset >= u64::from(entry.end) {
            low = middle.checked_add(1)?;
        } else {
            return Some(entry);
        }
    }
    None
}

fn read_function(view: &View, at: Gva) -> Option<Function> {
    let bytes = view.bytes(at, 12)?;
    let (words, _) = bytes.as_chunks::<4>();
    let mut words = words.iter().map(|word| u32::from_le_bytes(*word));
    Some(Function { begin: words.next()?, end: words.next()?, unwind: words.next()? })
}

/// Whether the table of functions is in memory from its first entry to its last.
fn has_table(view: &View, module: &Module) -> bool {
    const LONGEST: u64 = MAX_FUNCTIONS.saturating_mul(ENTRY);
    let table = module.headers.as_ref().and_then(|headers| headers.functions(module.base));
    table.is_some_and(|(table, len)| {
        let len = len.min(LONGEST);
        let mut places = (0..len).step_by(4096).chain(len.checked_sub(1));
        places.all(|at| table.checked_add(at).is_some_and(|at| view.translate(at).is_ok()))
    })
}

/// Leaves the function that `registers` are in. `reached` says how they came to
/// their instruction. An error says why it cannot be done.
pub(in crate::windows) fn step(
    view: &View,
    module: &Module,
    registers: &Registers,
    reached: Left,
) -> Result<(Registers, Left), String> {
    let offset = registers.rip.wrapping_sub(module.base.0);
    // The instruction after a call may be of another function already.
    let inside = if reached == Left::Called { offset.wrapping_sub(1) } else { offset };
    let name = &module.name;
    let Some(function) = function(view, module, inside) else {
        if !has_table(view, module) {
            return Err(format!("the unwind data of {name} is not in memory"));
        }
        if reached == Left::Called {
            return Err(format!("{name} has no unwind data for a function that called another"));
        }
        return leaf(view, registers).ok_or_else(stack_missing);
    };
    if reached == Left::Interrupted {
        let code = Info::read(view, module, function.unwind);
        let frame = code.as_ref().and_then(Info::frame_register);
        if let Some(left) = epilog::leave(view, module, (&function, frame), registers) {
            return Ok((left, Left::Called));
        }
    }
    unwind(view, module, (function, offset), registers).ok_or_else(|| {
        format!("the unwind data of {name} or the stack is not in memory, or unsound")
    })
}

fn stack_missing() -> String {
    "the stack is not in memory".to_owned()
}

/// A function without an entry moves neither the stack nor what calls preserve.
fn leaf(view: &View, registers: &Registers) -> Option<(Registers, Left)> {
    let mut left = *registers;
    left.ret(view)?;
    Some((left, Left::Called))
}

/// Undoes the prolog, and those of the parts that this one continues.
fn unwind(
    view: &View,
    module: &Module,
    (function, offset): (Function, u64),
    registers: &Registers,
) -> Option<(Registers, Left)> {
    let mut left = *registers;
    let mut executed = offset.checked_sub(u64::from(function.begin));
    let mut part = function;
    for _ in 0..MAX_CHAIN {
        part = with_unwind_data(view, module, part)?;
        let info = Info::read(view, module, part.unwind)?;
        if info.undo(view, &mut left, executed)? {
            return Some((left, Left::Interrupted));
        }
        let Some(next) = info.chained() else {
            left.ret(view)?;
            return Some((left, Left::Called));
        };
        (part, executed) = (next, None);
    }
    None
}

/// The entry itself, or the one that it names in place of unwind data. `None` if that is
/// not in memory.
fn with_unwind_data(view: &View, module: &Module, function: Function) -> Option<Function> {
    let mut entry = function;
    for _ in 0..MAX_CHAIN {
        if entry.unwind & 1 == 0 {
            return Some(entry);
        }
        let at = module.base.0.checked_add(u64::from(entry.unwind & !1))?;
        entry = read_function(view, Gva(at))?;
    }
    None
}

/// Where the function begins that a place belongs to, which may be a part of it that
/// lies elsewhere. `None` if the image's table does not say.
pub(in crate::windows) fn start(view: &View, module: &Module, offset: u64) -> Option<u32> {
    let mut part = function(view, module, offset)?;
    for _ in 0..MAX_CHAIN {
        part = with_unwind_data(view, module, part)?;
        match Info::read(view, module, part.unwind)?.chained() {
            Some(next) => part = next,
            None => return Some(part.begin),
        }
    }
    None
}
