//! Registers of the virtual processors, from group `cpu`.
//!
//! A register may come as a tag of its own, within a block, under its 32-bit
//! name, in several of these, or not at all. Full width wins over the low half,
//! then what comes first; what contradicts it is reported.

use std::collections::{BTreeMap, BTreeSet};

use vmss2core_machine::Vcpu;
use vmss2core_mem::Problem;

use super::draft::Draft;
use super::gpregs;
use super::msrs::{self, Msr};
use super::registers::{self, Form, FpuPart, Meaning, Reading, Register};
use crate::inventory::{Inventory, Item};
use crate::vmware::problems::Problems;
use crate::vmware::vcpu::{self, MAX_VCPUS};

/// The largest block of registers is that of the AMX tiles, 8 KiB.
const MAX_BLOCK: u64 = 16 << 10;

/// Names of model-specific registers that are listed.
const MAX_NAMES: usize = 32;

/// All drafts, and what was noticed on the way.
#[derive(Default)]
struct Collected {
    drafts: BTreeMap<u32, Draft>,
    msr_names: BTreeSet<(Msr, String)>,
    conflicts: Vec<Conflict>,
    problems: Problems,
}

/// Two values for one register.
struct Conflict {
    cpu: u32,
    register: Register,
    first: (Form, u64),
    second: (Form, u64),
}

/// More are not kept.
const MAX_CONFLICTS: usize = 4096;

/// The processors that the state file describes.
pub(super) fn read(inventory: &Inventory, problems: &mut Problems) -> Vec<Vcpu> {
    let mut collected = Collected { problems: std::mem::take(problems), ..Collected::default() };
    for item in inventory.group("cpu") {
        collected.item(inventory, item);
    }
    collected.resolve_general();
    collected.report_conflicts();
    collected.report_contexts();
    let seen = collected.drafts.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
    let count = vcpu::count(inventory, seen, &mut collected.problems);
    let vcpus = (0..count).map(|index| collected.vcpu(index)).collect();
    collected.report_names();
    *problems = collected.problems;
    vcpus
}

impl Collected {
    fn item(&mut self, inventory: &Inventory, item: &Item) {
        let Some(&cpu) = item.indices.first() else { return };
        let Some(meaning) = registers::meaning(item).filter(|_| cpu < MAX_VCPUS) else { return };
        match meaning {
            Meaning::One(register, form) => self.one(cpu, item, register, form),
            Meaning::Fpu(FpuPart::Byte(at)) => self.fpu_byte(cpu, item, at),
            _ => match inventory.read(item, MAX_BLOCK) {
                Ok(bytes) => self.block(cpu, item, &meaning, &bytes),
                Err(error) => self.problems.push(Problem::warning(format!(
                    "{item} at {:#x} cannot be read: {error}",
                    item.offset
                ))),
            },
        }
    }

    fn one(&mut self, cpu: u32, item: &Item, register: Register, form: Form) {
        if let Register::Msr(msr) = register
            && msrs::by_tag(&item.name).is_none()
            && item.name != "MSR"
        {
            self.msr_names.insert((msr, item.name.clone()));
        }
        if let Some(value) = item.number() {
            self.offer(cpu, (register, form, value));
        }
    }

    fn fpu_byte(&mut self, cpu: u32, item: &Item, at: u32) {
        if let Some(&[byte]) = item.value.as_deref() {
            self.drafts.entry(cpu).or_default().fpu.byte(at, byte);
        }
    }

    fn block(&mut self, cpu: u32, item: &Item, meaning: &Meaning, bytes: &[u8]) {
        let draft = self.drafts.entry(cpu).or_default();
        let taken = match *meaning {
            Meaning::GeneralBlock => draft.take_general(bytes),
            Meaning::Fpu(FpuPart::Image) => draft.fpu.image(bytes),
            Meaning::Fpu(FpuPart::Header) => draft.fpu.header(bytes),
            Meaning::Fpu(FpuPart::Component(number)) => draft.fpu.component(number, bytes),
            Meaning::Array { width, register } => {
                self.offer_all(cpu, &registers::array(bytes, width, register))
            }
            Meaning::TableBlock(table) => registers::table_block(table, bytes)
                .and_then(|readings| self.offer_all(cpu, &readings)),
            Meaning::One(..) | Meaning::Fpu(FpuPart::Byte(_)) => None,
        };
        if taken.is_none() {
            let message = format!("{item} has an unknown form: {} bytes", bytes.len());
            self.problems.push(Problem::warning(message));
        }
    }

    /// Takes all values; `None` if there are none.
    fn offer_all(&mut self, cpu: u32, readings: &[Reading]) -> Option<()> {
        for reading in readings {
            self.offer(cpu, *reading);
        }
        readings.first().map(drop)
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
        if (old ^ value) & mask != 0 && self.conflicts.len() < MAX_CONFLICTS {
            let (first, second) = ((old_form, old), (form, value));
            self.conflicts.push(Conflict { cpu, register, first, second });
        }
    }

    /// Spreads the general registers blocks.
    fn resolve_general(&mut self) {
        let blocks: Vec<(u32, [u64; 16], bool)> = self
            .drafts
            .iter()
            .filter_map(|(cpu, draft)| Some((*cpu, draft.general?, draft.general_is_swapped())))
            .collect();
        for (cpu, values, swapped) in blocks {
            if swapped {
                self.problems.push(Problem::warning(format!(
                    "vCPU {cpu}: its gpregs block is read with rbp before rsp, as its rsp and rbp \
                     tags show"
                )));
            }
            for (slot, value) in (0..).zip(values) {
                let number = if swapped { gpregs::swapped(slot) } else { slot };
                self.offer(cpu, (Register::General(number), Form::Block, value));
            }
        }
    }

    fn report_conflicts(&mut self) {
        for conflict in std::mem::take(&mut self.conflicts) {
            let draft = self.drafts.get(&conflict.cpu);
            if draft.is_some_and(|draft| conflict.is_normal(draft)) {
                continue;
            }
            let Conflict { cpu, register, first: (form, old), second: (other, value) } = conflict;
            let kept = if form == Form::LowHalf { value } else { old };
            self.problems.push(Problem::warning(format!(
                "vCPU {cpu}: {register} is {old:#x} in {form} and {value:#x} in {other}; {kept:#x} \
                 is used"
            )));
        }
    }

    /// Registers that are not those of the guest's kernel.
    fn report_contexts(&mut self) {
        for (cpu, draft) in &self.drafts {
            let is_set = |register| draft.get(register).is_some_and(|value| value != 0);
            if is_set(Register::InSmm) {
                self.problems.push(Problem::warning(format!(
                    "vCPU {cpu} is in system management mode: its registers are those of the \
                     firmware's handler, not of the guest's kernel"
                )));
            }
            if is_set(Register::InNestedGuest) {
                self.problems.push(Problem::note(format!(
                    "vCPU {cpu} runs a guest of its own (hvState): its registers are those of this \
                     inner guest, not of the hypervisor in the machine"
                )));
            }
        }
    }

    fn vcpu(&self, index: u32) -> Vcpu {
        let empty = Draft::default();
        let draft = self.drafts.get(&index).unwrap_or(&empty);
        let halted = draft.get(Register::Halted).map(|value| value != 0);
        Vcpu { index, halted, registers: draft.x86().into() }
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

impl Conflict {
    /// A halted processor has two instruction pointers: `rip` is after the HLT
    /// instruction and `eip` on it.
    fn is_normal(&self, draft: &Draft) -> bool {
        let full = if self.first.0 == Form::LowHalf { self.second } else { self.first };
        let low = if self.first.0 == Form::LowHalf { self.first } else { self.second };
        let after_low = low.1.wrapping_add(1) & 0xffff_ffff;
        self.register == Register::Rip
            && low.0 == Form::LowHalf
            && full.0 != Form::LowHalf
            && draft.get(Register::Halted).is_some_and(|halted| halted != 0)
            && full.1 & 0xffff_ffff == after_low
    }
}
