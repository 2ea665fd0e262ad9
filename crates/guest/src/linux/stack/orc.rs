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

use vmss2core_mem::{Gpr, Gva};
use zerocopy::little_endian::{I16, U16};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::start::{is_code_selector, saved_registers};
use super::{FrameKind, Registers, Step};
use crate::linux::Kernel;

/// `struct orc_entry`.
#[derive(Clone, Copy, Debug, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct RawEntry {
    sp_offset: I16,
    bp_offset: I16,
    /// Bits 0 to 3 `sp_reg`, 4 to 7 `bp_reg`, from 8 on the type.
    bits: U16,
}

const _: () = assert!(size_of::<RawEntry>() == 6);

const IP_LEN: u64 = 4;
const ENTRY_LEN: u64 = size_of::<RawEntry>() as u64;
/// No kernel has more; one of 30 MiB of code has 600,000.
const MOST_ENTRIES: u64 = 16 << 20;

/// What an entry's offsets are counted from (`ORC_REG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Base {
    Undefined,
    PreviousSp,
    Register(Gpr),
    BpIndirect,
    SpIndirect,
}

const BASES_OLD: [Base; 10] = [
    Base::Undefined,
    Base::PreviousSp,
    Base::Register(Gpr::Rdx),
    Base::Register(Gpr::Rdi),
    Base::Register(Gpr::Rbp),
    Base::Register(Gpr::Rsp),
    Base::Register(Gpr::R10),
    Base::Register(Gpr::R13),
    Base::BpIndirect,
    Base::SpIndirect,
];

const BASES_NEW: [Base; 11] = [
    Base::Undefined,
    Base::Register(Gpr::Rax),
    Base::Register(Gpr::Rdx),
    Base::Register(Gpr::Rsp),
    Base::Register(Gpr::Rbp),
    Base::Register(Gpr::Rdi),
    Base::Register(Gpr::R10),
    Base::Register(Gpr::R13),
    Base::PreviousSp,
    Base::SpIndirect,
    Base::BpIndirect,
];

/// What lies on the stack (`ORC_TYPE_*`, `UNWIND_HINT_TYPE_*` before).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Call,
    Registers,
    /// Only what the processor itself saves.
    PartialRegisters,
    End,
    Undefined,
}

/// How types and registers are numbered.
#[derive(Clone, Copy, Debug)]
struct Numbering {
    /// Three bits, calls are 2 (since 6.4); else two bits, calls are 0.
    new_types: bool,
    bases: &'static [Base],
}

/// An entry, its numbers resolved.
#[derive(Clone, Copy, Debug)]
struct Entry {
    kind: Kind,
    sp: Base,
    sp_offset: i64,
    bp: Base,
    bp_offset: i64,
}

impl Numbering {
    fn entry(self, raw: RawEntry) -> Entry {
        let bits = raw.bits.get();
        Entry {
            kind: self.kind(bits >> 8 & 7),
            sp: self.base(bits & 0xf),
            sp_offset: raw.sp_offset.get().into(),
            bp: self.base(bits >> 4 & 0xf),
            bp_offset: raw.bp_offset.get().into(),
        }
    }

    fn kind(self, number: u16) -> Kind {
        if !self.new_types {
            return match number & 3 {
                1 => Kind::Registers,
                2 => Kind::PartialRegisters,
                // 3 was a call seen from inside of the function.
                _ => Kind::Call,
            };
        }
        match number {
            1 => Kind::End,
            2 => Kind::Call,
            3 => Kind::Registers,
            4 => Kind::PartialRegisters,
            _ => Kind::Undefined,
        }
    }

    fn base(self, number: u16) -> Base {
        self.bases.get(usize::from(number)).copied().unwrap_or(Base::Undefined)
    }
}

/// One pair of arrays.
#[derive(Clone, Copy, Debug)]
struct Table {
    ips: Gva,
    entries: Gva,
    count: u64,
}

impl Table {
    fn of_kernel(kernel: &Kernel<'_>) -> Option<Self> {
        let symbol = |name| kernel.symbol(name).ok().map(|symbol| symbol.value);
        let ips = symbol("__start_orc_unwind_ip")?;
        let entries = symbol("__start_orc_unwind")?;
        let count = symbol("__stop_orc_unwind_ip")?.0.checked_sub(ips.0)? / IP_LEN;
        (1..=MOST_ENTRIES).contains(&count).then_some(Self { ips, entries, count })
    }

    fn ip(&self, kernel: &Kernel<'_>, index: u64) -> Option<u64> {
        let at = self.ips.checked_add(index.checked_mul(IP_LEN)?)?;
        let distance = kernel.read_uint(at, IP_LEN, "ORC address").ok()?;
        let distance = i64::from(u32::try_from(distance).ok()?.cast_signed());
        Some(at.0.wrapping_add_signed(distance))
    }

    fn entry(&self, kernel: &Kernel<'_>, index: u64) -> Option<RawEntry> {
        let mut bytes = [0; size_of::<RawEntry>()];
        let at = self.entries.checked_add(index.checked_mul(ENTRY_LEN)?)?;
        kernel.read(at, &mut bytes, "ORC entry").ok()?;
        RawEntry::read_from_bytes(&bytes).ok()
    }

    /// The entry for an address: the last that starts at or before it.
    fn find(&self, kernel: &Kernel<'_>, ip: u64) -> Option<RawEntry> {
        let (mut low, mut high) = (0_u64, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let is_before = self.ip(kernel, middle)? <= ip;
            if is_before { low = middle.checked_add(1)? } else { high = middle }
        }
        self.entry(kernel, low.checked_sub(1)?)
    }

    /// The numbering in which the most common entries of a sample make sense.
    fn numbering(&self, kernel: &Kernel<'_>) -> Option<Numbering> {
        const OLD_SP: u16 = 5;
        const NEW_SP: u16 = 3;
        const NEW_CALL: u16 = 2;
        let stride = (self.count / 256).max(1);
        let sample = (0..self.count).step_by(usize::try_from(stride).ok()?).take(256);
        let bits = sample.filter_map(|index| Some(self.entry(kernel, index)?.bits.get()));
        let mut votes = [[0_u32; 2]; 2];
        for bits in bits {
            let base = match bits & 0xf {
                OLD_SP => 0,
                NEW_SP => 1,
                _ => continue,
            };
            let new_types = usize::from(bits >> 8 & 7 == NEW_CALL);
            if let Some(vote) = votes.get_mut(base).and_then(|votes| votes.get_mut(new_types)) {
                *vote += 1;
            }
        }
        let [[old_sp_old, old_sp_new], [new_sp_old, new_sp_new]] = votes;
        let new_types = old_sp_new + new_sp_new > old_sp_old + new_sp_old;
        let new_bases = new_sp_old + new_sp_new > old_sp_old + old_sp_new;
        let any = votes.as_flattened().iter().any(|vote| *vote > 0);
        any.then_some(Numbering {
            new_types,
            bases: if new_bases { &BASES_NEW } else { &BASES_OLD },
        })
    }
}

/// The kernel's tables.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tables {
    kernel: Table,
    numbering: Numbering,
}

impl Tables {
    /// The tables, if the kernel has any.
    pub(super) fn of(kernel: &Kernel<'_>) -> Option<Self> {
        if !kernel.linux().is_64_bit {
            return None;
        }
        let table = Table::of_kernel(kernel)?;
        Some(Self { numbering: table.numbering(kernel)?, kernel: table })
    }

    /// One step up.
    pub(super) fn step(&self, kernel: &Kernel<'_>, registers: &Registers, kind: FrameKind) -> Step {
        if kind != FrameKind::Return {
            return self.step_at(kernel, registers, registers.ip).unwrap_or(UNREADABLE);
        }
        // A call may be the last instruction of its function.
        let step = self.step_at(kernel, registers, registers.ip.wrapping_sub(1));
        step.or_else(|| from_entry_code(kernel, registers)).unwrap_or(UNREADABLE)
    }

    /// What the entry for `ip` says; `None` if that cannot be.
    fn step_at(&self, kernel: &Kernel<'_>, registers: &Registers, ip: u64) -> Option<Step> {
        let Some(entry) = self.kernel.find(kernel, ip) else {
            return Some(Step::Lost("code without unwind information"));
        };
        let entry = self.numbering.entry(entry);
        match (entry.kind, entry.sp) {
            (Kind::Undefined, _) => Some(Step::Lost("code whose stack is not described")),
            (Kind::End, _) | (_, Base::Undefined) => Some(Step::Bottom),
            _ => up(kernel, registers, entry),
        }
    }
}

const UNREADABLE: Step = Step::Lost("a stack that makes no sense");

fn up(kernel: &Kernel<'_>, registers: &Registers, entry: Entry) -> Option<Step> {
    let word = |at: u64| Some(kernel.read_pointer(Gva(at), "stack").ok()?.0);
    let sp = previous_sp(&word, registers, entry)?;
    match entry.kind {
        Kind::Registers => Some(saved_registers(kernel, sp)),
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
/// before that call. Behind it the registers lie where the stack pointer is.
fn from_entry_code(kernel: &Kernel<'_>, registers: &Registers) -> Option<Step> {
    match saved_registers(kernel, registers.sp()?) {
        Step::Lost(_) => None,
        step => Some(step),
    }
}
