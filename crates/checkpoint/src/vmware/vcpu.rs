//! Registers of the virtual processors, from group `cpu`.
//!
//! A register may come as a tag of its own, within a block, under its 32-bit
//! name, in several of these, or not at all. Full width wins over the low half,
//! then what comes first; what contradicts it is reported.

use std::collections::{BTreeMap, BTreeSet};

use vmss2core_mem::{
    Architecture, Arm64Vcpu, DescriptorTable, Problem, SegmentRegister, SegmentRegisters, Vcpu,
    VcpuState, X86Vcpu,
};

use super::gpregs::{self, Order, Reason, Witness};
use super::msrs::{self, Msr};
use super::problems::Problems;
use super::registers::{self, Form, Meaning, Reading, Register, Table, TablePart};
use crate::inventory::{Inventory, Item};

/// More than any product offers.
const MAX_VCPUS: u32 = 4096;
/// Register blocks have 128 bytes and less.
const MAX_BLOCK: u64 = 4096;

/// Names of model-specific registers that are listed.
const MAX_NAMES: usize = 32;

/// Positions in the segment tags.
const FS: u8 = 4;
const GS: u8 = 5;
const CS: u8 = 1;

/// What was read for one processor.
#[derive(Default)]
struct Draft {
    registers: BTreeMap<Register, (Form, u64)>,
    /// The general registers block as it lies in the file.
    general: Option<[u64; 16]>,
}

/// All drafts, and what was noticed on the way.
#[derive(Default)]
struct Collected {
    drafts: BTreeMap<u32, Draft>,
    msr_names: BTreeSet<(Msr, String)>,
    problems: Problems,
}

/// The processors that the state file describes.
pub(super) fn read(
    inventory: &Inventory,
    architecture: Architecture,
    problems: &mut Problems,
) -> Vec<Vcpu> {
    let mut collected = Collected { problems: std::mem::take(problems), ..Collected::default() };
    for item in inventory.group("cpu") {
        collected.item(inventory, item);
    }
    collected.resolve_general();
    let count = collected.count(inventory);
    let vcpus = (0..count).map(|index| collected.vcpu(index, architecture)).collect();
    collected.report_names();
    collected.report_arm(architecture);
    *problems = collected.problems;
    vcpus
}

impl Collected {
    fn item(&mut self, inventory: &Inventory, item: &Item) {
        let Some(&cpu) = item.indices.first() else { return };
        let Some(meaning) = registers::meaning(item).filter(|_| cpu < MAX_VCPUS) else { return };
        if let Meaning::One(register, form) = meaning {
            if let Register::Msr(msr) = register {
                self.msr_names.insert((msr, item.name.clone()));
            }
            if let Some(value) = item.number() {
                self.offer(cpu, (register, form, value));
            }
            return;
        }
        match inventory.read(item, MAX_BLOCK) {
            Ok(bytes) => self.block(cpu, item, &meaning, &bytes),
            Err(error) => self.problems.push(Problem::warning(format!(
                "{item} at {:#x} cannot be read: {error}",
                item.offset
            ))),
        }
    }

    fn block(&mut self, cpu: u32, item: &Item, meaning: &Meaning, bytes: &[u8]) {
        let readings = match *meaning {
            Meaning::One(..) => Vec::new(),
            Meaning::Array { width, register } => registers::array(bytes, width, register),
            Meaning::TableBlock(table) => {
                registers::table_block(table, bytes).map(Vec::from).unwrap_or_default()
            }
            Meaning::GeneralBlock => {
                let (words, _) = bytes.as_chunks();
                let words = words.first_chunk().filter(|_| bytes.len() == 128);
                let draft = self.drafts.entry(cpu).or_default();
                if let Some(words) = words {
                    draft.general.get_or_insert(words.map(u64::from_le_bytes));
                    return;
                }
                Vec::new()
            }
        };
        if readings.is_empty() {
            let message = format!("{item} has an unknown form: {} bytes", bytes.len());
            self.problems.push(Problem::warning(message));
        }
        for reading in readings {
            self.offer(cpu, reading);
        }
    }

    /// Takes a value if it is the first, or of full width where there was only
    /// the low half.
    fn offer(&mut self, cpu: u32, (register, form, value): Reading) {
        let registers = &mut self.drafts.entry(cpu).or_default().registers;
        let Some(&(old_form, old)) = registers.get(&register) else {
            registers.insert(register, (form, value));
            return;
        };
        if old_form == Form::LowHalf && form != Form::LowHalf {
            registers.insert(register, (form, value));
        }
        let low = form == Form::LowHalf || old_form == Form::LowHalf;
        let mask = if low { 0xffff_ffff } else { u64::MAX };
        if (old ^ value) & mask != 0 {
            let kept = if old_form == Form::LowHalf { value } else { old };
            self.problems.push(Problem::warning(format!(
                "vCPU {cpu}: {register} is {old:#x} in {old_form} and {value:#x} in {form}; \
                 {kept:#x} is used"
            )));
        }
    }

    /// Spreads the general registers blocks, once their order is decided.
    fn resolve_general(&mut self) {
        let witnesses: Vec<Witness> = self.drafts.values().filter_map(Draft::witness).collect();
        let (order, reason) = gpregs::judge(&witnesses);
        if order == Order::StackFirst {
            let why = match reason {
                Reason::Tags => "as the individual tags show",
                _ => "since the usual order gives impossible stack pointers",
            };
            self.problems.push(Problem::warning(format!(
                "gpregs blocks are read with rsp before rbp, {why}"
            )));
        }
        let blocks: Vec<(u32, [u64; 16])> =
            self.drafts.iter().filter_map(|(cpu, d)| Some((*cpu, d.general?))).collect();
        for (cpu, values) in blocks {
            for (slot, value) in (0..).zip(values) {
                let register = Register::General(gpregs::slot_register(slot, order));
                self.offer(cpu, (register, Form::Block, value));
            }
        }
    }

    /// How many processors there are: the file's word, or what it has tags of.
    fn count(&mut self, inventory: &Inventory) -> u32 {
        let seen = self.drafts.last_key_value().map_or(0, |(last, _)| last + 1);
        let tag = inventory.find("cpu", "cpu:numVCPUs", &[]);
        let Some(stated) = tag.and_then(Item::number) else { return seen };
        let usable = u32::try_from(stated).ok().filter(|n| (1..=MAX_VCPUS).contains(n));
        let Some(count) = usable else {
            self.problems.push(Problem::warning(format!(
                "the state file claims {stated} vCPUs; the {seen} that it has registers of are used"
            )));
            return seen;
        };
        if seen > count {
            self.problems.push(Problem::warning(format!(
                "the state file claims {count} vCPUs but has registers up to vCPU {}; those \
                 beyond are left out",
                seen - 1
            )));
        }
        count
    }

    fn vcpu(&self, index: u32, architecture: Architecture) -> Vcpu {
        let empty = Draft::default();
        let draft = self.drafts.get(&index).unwrap_or(&empty);
        let halted = draft.get(Register::Halted).map(|value| value != 0);
        let state = match architecture {
            Architecture::Arm64 => VcpuState::Arm64(draft.arm64()),
            _ => VcpuState::X86(Box::new(draft.x86())),
        };
        Vcpu { index, halted, state }
    }

    fn report_arm(&mut self, architecture: Architecture) {
        let has = |n| self.drafts.values().any(|draft| draft.get(Register::Ttbr(n)).is_some());
        if architecture == Architecture::Arm64 && has(0) && !has(1) {
            let message = "hv:ttbrEL1[0] is taken as the kernel's translation table base";
            self.problems.push(Problem::note(message));
        }
    }

    /// Names nobody has published yet are worth telling.
    fn report_names(&mut self) {
        if self.msr_names.is_empty() {
            return;
        }
        let names: Vec<String> = self
            .msr_names
            .iter()
            .take(MAX_NAMES)
            .map(|(msr, name)| format!("{msr} ({name})"))
            .collect();
        let message = format!("model-specific registers found by name: {}", names.join(", "));
        self.problems.push(Problem::note(message));
    }
}

impl Draft {
    fn get(&self, register: Register) -> Option<u64> {
        self.registers.get(&register).map(|(_, value)| *value)
    }

    fn witness(&self) -> Option<Witness> {
        let &[_, _, _, _, first, second, ..] = &self.general?;
        Some(Witness {
            slots: [first, second],
            rsp: self.full(Register::General(4)),
            rbp: self.full(Register::General(5)),
            rip: self.get(Register::Rip),
            cs: self.get(Register::Selector(CS)),
        })
    }

    /// A register's value, unless only its low half is known.
    fn full(&self, register: Register) -> Option<u64> {
        self.registers.get(&register).filter(|(form, _)| *form != Form::LowHalf).map(|(_, v)| *v)
    }

    fn arm64(&self) -> Arm64Vcpu {
        // Which of the two tables the tag without a sibling means is not known;
        // what uses it as the kernel's root finds the kernel.
        let ttbr1_el1 = self.get(Register::Ttbr(1)).or_else(|| self.get(Register::Ttbr(0)));
        Arm64Vcpu { ttbr1_el1 }
    }

    fn x86(&self) -> X86Vcpu {
        let mut x86 = X86Vcpu::default();
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
        for (register, (_, value)) in &self.registers {
            if let Register::Msr(msr) = register
                && let Some(slot) = msrs::slot(&mut x86.msrs, *msr)
            {
                *slot = Some(*value);
            }
        }
        x86
    }

    /// Both spellings joined, as crash does.
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
            FS => self.get(Register::Msr(Msr::FsBase)),
            GS => self.get(Register::Msr(Msr::GsBase)),
            _ => None,
        };
        SegmentRegister {
            // Products may keep more than a selector's 16 bits in the tag.
            selector: self.get(Register::Selector(n)).and_then(|s| u16::try_from(s & 0xffff).ok()),
            base: self.get(Register::Base(n)).or(msr),
            limit: self.get(Register::Limit(n)).and_then(|limit| u32::try_from(limit).ok()),
            attributes: None,
        }
    }
}
