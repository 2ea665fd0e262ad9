//! Paging modes as data, which is all that the walkers go by.

use std::fmt;
use std::hash::{Hash, Hasher};

use vmss2core_mem::{Gpa, Gva, low_bits};

use super::Root;
use super::level::Level;

/// A paging mode as data. The folder of a processor has a `static` for each of its own.
#[derive(Debug)]
pub(crate) struct Scheme {
    /// In words.
    pub(crate) name: &'static str,
    /// In as few words as tell it from the processor's others.
    pub(crate) short_name: &'static str,
    /// Bits of a virtual address that page tables translate.
    pub(crate) address_bits: u32,
    /// Whether the bits above these are copies of the topmost; else they are zero.
    pub(crate) sign_extends: bool,
    /// Bits of the root register that are its address.
    pub(crate) root_mask: u64,
    /// From the root down; none if paging is off.
    pub(crate) levels: &'static [Level],
}

/// How virtual addresses become physical ones: one of those in the folder of a processor
/// below `arch`, or none.
#[derive(Clone, Copy)]
pub struct PagingMode(&'static Scheme);

static IDENTITY: Scheme = Scheme {
    name: "paging off",
    short_name: "no paging",
    address_bits: 32,
    sign_extends: false,
    root_mask: 0,
    levels: &[],
};

impl PagingMode {
    /// Paging off: virtual is physical, below 4 GiB.
    pub const IDENTITY: Self = Self(&IDENTITY);

    pub(crate) const fn new(scheme: &'static Scheme) -> Self {
        Self(scheme)
    }

    /// Whether virtual addresses have 64 bits.
    pub fn is_64_bit(self) -> bool {
        self.0.address_bits > 32
    }

    /// Whether the mode can hold this address: below 4 GiB, or canonical.
    pub fn is_canonical(self, gva: Gva) -> bool {
        self.extended(gva.0 & low_bits(self.0.address_bits)) == gva.0
    }

    /// Bytes of an entry of the lowest table; 0 if paging is off.
    pub fn entry_len(self) -> u8 {
        self.0.levels.last().map_or(0, |level| level.entry_len)
    }

    /// Bytes of address space that an entry of a level is for, counted from the page.
    pub fn page_len(self, level: u8) -> Option<u64> {
        let level = self.0.levels.iter().find(|one| one.number == level)?;
        Some(level.page_len())
    }

    /// The root of the page tables in a value of the register that has it. What is not
    /// address is dropped.
    pub fn root_of(self, register: u64) -> Root {
        Root(Gpa(register & self.0.root_mask))
    }

    /// In as few words as tell it from the others of its processor; [`fmt::Display`] says more.
    pub fn short_name(self) -> &'static str {
        self.0.short_name
    }

    #[cfg(test)]
    pub(crate) fn scheme(self) -> &'static Scheme {
        self.0
    }

    pub(super) fn levels(self) -> &'static [Level] {
        self.0.levels
    }

    /// All virtual addresses that there can be.
    pub(super) fn address_end(self) -> u64 {
        if self.0.sign_extends { u64::MAX } else { 1_u64.unbounded_shl(self.0.address_bits) }
    }

    /// The virtual address of these translated bits.
    pub(super) fn extended(self, low: u64) -> u64 {
        if self.0.sign_extends { sign_extend(low, self.0.address_bits) } else { low }
    }
}

impl PartialEq for PagingMode {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self.0, other.0)
    }
}

impl Eq for PagingMode {}

impl Hash for PagingMode {
    fn hash<H: Hasher>(&self, state: &mut H) {
        std::ptr::hash(self.0, state);
    }
}

impl fmt::Debug for PagingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

impl fmt::Display for PagingMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.name)
    }
}

/// Copies bit `bits - 1` into all bits above it.
fn sign_extend(value: u64, bits: u32) -> u64 {
    let low = value & low_bits(bits);
    let is_negative = low > low_bits(bits.saturating_sub(1));
    if is_negative { low | !low_bits(bits) } else { low }
}
