//! x86: what the tags of a processor add up to, and where memory lies.

use vmss2core_machine::x86::{self, DescriptorTable, SegmentRegister, SegmentRegisters};

use std::ops::Range;

use vmss2core_machine::{Arch, Vcpu};

use super::StateArch;
use crate::inventory::Inventory;
use crate::vmware::facts;
use crate::vmware::problems::Problems;
use crate::vmware::regions::{Hole, Layout, MAX_END};
use draft::Draft;
use msrs::Msr;
use registers::{Register, Table, TablePart};

mod collected;
mod draft;
mod fpu;
mod gpregs;
mod msrs;
mod registers;

/// Where the PCI hole is, unless the configuration moves it.
const PCI_HOLE: Range<u64> = 3 << 30..4 << 30;

/// Positions in the segment tags.
const CS: u8 = 1;
const FS: u8 = 4;
const GS: u8 = 5;

const CR4_OSXSAVE: u64 = 1 << 18;
/// The bits of a descriptor's upper word that `S.rights` has.
const RIGHTS: u64 = 0x00f0_ff00;
/// The limit counts pages.
const GRANULARITY: u64 = 1 << 23;

pub(super) struct X86;

impl StateArch for X86 {
    fn arch(&self) -> &'static dyn Arch {
        &x86::X86
    }

    /// Any other tag.
    fn is_meant(&self, _: &Inventory) -> bool {
        true
    }

    fn vcpus(&self, inventory: &Inventory, problems: &mut Problems) -> Vec<Vcpu> {
        collected::read(inventory, problems)
    }

    /// From 0, with a hole; configured or the usual one.
    fn layout(&self, inventory: &Inventory) -> Layout {
        let configured = facts::pci_hole(inventory).filter(|hole| hole.end <= MAX_END / 2);
        let source = if configured.is_some() { "as configured" } else { "where it usually is" };
        let hole = Hole { range: configured.unwrap_or(PCI_HOLE), source };
        Layout { start: 0, hole: Some(hole) }
    }
}

impl Draft {
    fn x86(&self) -> x86::Registers {
        let mut x86 = x86::Registers::default();
        for (number, slot) in (0..).zip(&mut x86.general) {
            *slot = self.get(Register::General(number));
        }
        for (number, slot) in (0..).zip(&mut x86.debug) {
            *slot = self.get(Register::Debug(number));
        }
        x86.rip = self.get(Register::Rip);
        x86.rflags = self.flags();
        x86.segments = self.segments();
        x86.control.cr0 = self.get(Register::Control(0));
        x86.control.cr2 = self.get(Register::Control(2));
        x86.control.cr3 = self.get(Register::Control(3));
        x86.control.cr4 = self.get(Register::Control(4));
        x86.control.cr8 = self.get(Register::Control(8));
        x86.gdtr = self.table(Table::Gdtr);
        x86.idtr = self.table(Table::Idtr);
        self.set_msrs(&mut x86);
        let uses_xsave = x86.control.cr4.is_none_or(|cr4| cr4 & CR4_OSXSAVE != 0);
        x86.fpu = self.fpu.state(x86.msrs.xcr0, uses_xsave);
        x86
    }

    fn set_msrs(&self, x86: &mut x86::Registers) {
        for (register, (_, value)) in &self.registers {
            let Register::Msr(msr) = *register else { continue };
            match msrs::slot(&mut x86.msrs, msr) {
                Some(slot) => *slot = Some(*value),
                None if matches!(msr, Msr::FS_BASE | Msr::GS_BASE) => {}
                None => {
                    x86.other_msrs.insert(msr.0, *value);
                }
            }
        }
    }

    /// The arithmetic flags and those of the system.
    fn flags(&self) -> Option<u64> {
        match (self.get(Register::Flags), self.get(Register::MoreFlags)) {
            (Some(flags), Some(more)) => Some(flags | more),
            (flags, more) => flags.or(more),
        }
    }

    fn table(&self, table: Table) -> DescriptorTable {
        let part = |part| self.get(Register::Table(table, part));
        let high = part(TablePart::BaseHigh).unwrap_or_default();
        DescriptorTable {
            // A whole base in one tag has its upper half already.
            base: part(TablePart::BaseLow).map(|low| low | high << 32),
            limit: part(TablePart::Limit).and_then(|limit| u16::try_from(limit).ok()),
        }
    }

    fn segments(&self) -> SegmentRegisters {
        let segment = |n| self.segment(n);
        SegmentRegisters {
            es: segment(0),
            cs: segment(CS),
            ss: segment(2),
            ds: segment(3),
            fs: segment(FS),
            gs: segment(GS),
            ldt: segment(6),
            tr: segment(7),
        }
    }

    fn segment(&self, n: u8) -> SegmentRegister {
        let msr = match n {
            FS => self.get(Register::Msr(Msr::FS_BASE)),
            GS => self.get(Register::Msr(Msr::GS_BASE)),
            _ => None,
        };
        SegmentRegister {
            // Products may keep more than a selector's 16 bits in the tag.
            selector: self.get(Register::Selector(n)).and_then(|s| u16::try_from(s & 0xffff).ok()),
            base: self.get(Register::Base(n)).or(msr),
            limit: self.limit(n),
            attributes: self.rights(n).and_then(|rights| u32::try_from(rights >> 8).ok()),
        }
    }

    fn rights(&self, n: u8) -> Option<u64> {
        let again = || self.get(Register::CsRights).filter(|_| n == CS);
        self.get(Register::Rights(n)).or_else(again).map(|rights| rights & RIGHTS)
    }

    /// In bytes. Without the rights nobody knows what the 20 bits count.
    fn limit(&self, n: u8) -> Option<u32> {
        let limit = self.get(Register::Limit(n))?;
        let bytes = match self.rights(n) {
            _ if limit > 0xf_ffff => limit,
            Some(rights) if rights & GRANULARITY != 0 => limit << 12 | 0xfff,
            rights => rights.map(|_| limit)?,
        };
        u32::try_from(bytes).ok()
    }
}
