//! A pair of arrays: which code they are about, and how entries are written.

use std::ops::Range;

use vmss2core_machine::x86::Gpr;
use vmss2core_mem::Gva;
use zerocopy::little_endian::{I16, U16};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use crate::linux::Kernel;
use crate::linux::modules::UnwindTables;

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

pub(super) const IP_LEN: u64 = 4;
pub(super) const ENTRY_LEN: u64 = size_of::<RawEntry>() as u64;
/// No kernel has more; one of 30 MiB of code has 600,000.
pub(super) const MOST_ENTRIES: u64 = 16 << 20;
/// Entries that are looked at to tell what a table is.
const SAMPLE: u64 = 256;

/// Base that an entry's offsets are counted from (`ORC_REG_*`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Base {
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

/// Kind of frame on the stack (`ORC_TYPE_*`, `UNWIND_HINT_TYPE_*` before).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Call,
    Registers,
    /// Only what the processor itself saves.
    PartialRegisters,
    End,
    Undefined,
}

/// How types and registers are numbered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbering {
    /// Three bits, calls are 2 (since 6.4); else two bits, calls are 0.
    new_types: bool,
    bases: &'static [Base],
}

/// An entry, its numbers resolved.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) kind: Kind,
    pub(super) sp: Base,
    pub(super) sp_offset: i64,
    pub(super) bp: Base,
    pub(super) bp_offset: i64,
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
pub(in crate::linux::arch::x86::unwind) struct Table {
    pub(super) ips: Gva,
    pub(super) entries: Gva,
    pub(super) count: u64,
}

impl Table {
    pub(super) fn of_kernel(kernel: &Kernel) -> Option<Self> {
        let symbol = |name| kernel.symbol(name).ok().map(|symbol| symbol.value);
        let ips = symbol("__start_orc_unwind_ip")?;
        let entries = symbol("__start_orc_unwind")?;
        let count = symbol("__stop_orc_unwind_ip")?.0.checked_sub(ips.0)? / IP_LEN;
        (1..=MOST_ENTRIES).contains(&count).then_some(Self { ips, entries, count })
    }

    pub(super) fn of_module(unwind: UnwindTables) -> Option<Self> {
        let UnwindTables { count, ips, entries } = unwind;
        (1..=MOST_ENTRIES).contains(&count).then_some(Self { ips, entries, count })
    }

    /// Where the code begins that an entry is about.
    pub(super) fn ip(&self, kernel: &Kernel, index: u64) -> Option<u64> {
        let at = self.ips.checked_add(index.checked_mul(IP_LEN)?)?;
        let distance = kernel.read_uint(at, IP_LEN, "ORC address").ok()?;
        let distance = i64::from(u32::try_from(distance).ok()?.cast_signed());
        Some(at.0.wrapping_add_signed(distance))
    }

    fn entry(&self, kernel: &Kernel, index: u64) -> Option<RawEntry> {
        let mut bytes = [0; size_of::<RawEntry>()];
        let at = self.entries.checked_add(index.checked_mul(ENTRY_LEN)?)?;
        kernel.read(at, &mut bytes, "ORC entry").ok()?;
        RawEntry::read_from_bytes(&bytes).ok()
    }

    /// The entry for an address: the last that starts at or before it. The last of
    /// all only ends the table, so the address has to be in the table's code.
    pub(super) fn find(&self, kernel: &Kernel, numbering: Numbering, ip: u64) -> Option<Entry> {
        let after = self.first_after(kernel, ip)?;
        self.entry(kernel, after.checked_sub(1)?).map(|raw| numbering.entry(raw))
    }

    /// The first entry about code after an address.
    fn first_after(&self, kernel: &Kernel, ip: u64) -> Option<u64> {
        let (mut low, mut high) = (0_u64, self.count);
        while low < high {
            let middle = low.midpoint(high);
            let is_before = self.ip(kernel, middle)? <= ip;
            if is_before { low = middle.checked_add(1)? } else { high = middle }
        }
        Some(low)
    }

    /// The code after an address that the table is about.
    pub(in crate::linux::arch::x86::unwind) fn code_after(
        &self,
        kernel: &Kernel,
        ip: u64,
    ) -> Option<Range<u64>> {
        let first = self.ip(kernel, self.first_after(kernel, ip)?)?;
        Some(first..self.ip(kernel, self.count.checked_sub(1)?)?)
    }

    /// The numbering in which the most common entries of a sample make sense.
    pub(super) fn numbering(&self, kernel: &Kernel) -> Option<Numbering> {
        let [[old_sp_old, old_sp_new], [new_sp_old, new_sp_new]] = self.votes(kernel)?;
        let more = |these: [u32; 2], those: [u32; 2]| {
            let sum = |[a, b]: [u32; 2]| a.saturating_add(b);
            sum(these) > sum(those)
        };
        let new_types = more([old_sp_new, new_sp_new], [old_sp_old, new_sp_old]);
        let new_bases = more([new_sp_old, new_sp_new], [old_sp_old, old_sp_new]);
        let any = [old_sp_old, old_sp_new, new_sp_old, new_sp_new].iter().any(|vote| *vote > 0);
        any.then_some(Numbering {
            new_types,
            bases: if new_bases { &BASES_NEW } else { &BASES_OLD },
        })
    }

    /// Whether most entries of a sample are about frames that are found from the stack pointer,
    /// as most of a kernel's are.
    pub(super) fn makes_sense(&self, kernel: &Kernel) -> bool {
        let votes = self.votes(kernel).unwrap_or_default();
        let sum = votes.as_flattened().iter().fold(0, |sum: u32, vote| sum.saturating_add(*vote));
        u64::from(sum).saturating_mul(2) > self.count.min(SAMPLE)
    }

    /// How many entries of a sample have a frame that is found from the stack pointer, by the
    /// numbers of registers and of types, old and new, that say so.
    fn votes(&self, kernel: &Kernel) -> Option<[[u32; 2]; 2]> {
        const OLD_SP: u16 = 5;
        const NEW_SP: u16 = 3;
        const NEW_CALL: u16 = 2;
        let stride = self.count.checked_div(SAMPLE)?.max(1);
        let sample = (0..self.count).step_by(usize::try_from(stride).ok()?);
        let sample = sample.take(usize::try_from(SAMPLE).ok()?);
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
                *vote = u32::saturating_add(*vote, 1);
            }
        }
        Some(votes)
    }
}
