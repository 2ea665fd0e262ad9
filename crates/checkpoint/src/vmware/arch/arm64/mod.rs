//! 64-bit Arm: of its registers the tags name the translation table bases only.

use std::collections::BTreeMap;

use vmss2core_machine::{Arch, Registers, Vcpu, arm64};
use vmss2core_mem::Problem;

use super::StateArch;
use crate::inventory::{Inventory, Item};
use crate::vmware::problems::Problems;
use crate::vmware::raw::PLATFORM_ARM64;
use crate::vmware::regions::Layout;
use crate::vmware::vcpu::{self, MAX_VCPUS};

/// Where RAM begins.
const RAM_START: u64 = 0x8000_0000;

pub(super) struct Arm64;

impl StateArch for Arm64 {
    fn arch(&self) -> &'static dyn Arch {
        &arm64::Arm64
    }

    /// The platform says so, or a register that only Arm has.
    fn is_meant(&self, inventory: &Inventory) -> bool {
        let platform = inventory.find("Checkpoint", "Platform", &[]).and_then(Item::number);
        platform == Some(PLATFORM_ARM64)
            || inventory.group("cpu").any(|item| item.name.starts_with("hv:ttbrEL1"))
    }

    fn vcpus(&self, inventory: &Inventory, problems: &mut Problems) -> Vec<Vcpu> {
        let drafts = drafts(inventory, problems);
        let seen = drafts.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        let count = vcpu::count(inventory, seen, problems);
        let has = |n: usize| drafts.values().any(|draft| draft.table(n).is_some());
        if has(0) && !has(1) {
            let message = "hv:ttbrEL1[0] is taken as the kernel's translation table base";
            problems.push(Problem::note(message));
        }
        let draft = |index| drafts.get(&index).copied().unwrap_or_default();
        (0..count).map(|index| draft(index).vcpu(index)).collect()
    }

    /// From 2 GiB, in one piece.
    fn layout(&self, _: &Inventory) -> Layout {
        Layout { start: RAM_START, hole: None }
    }
}

/// Values that were read for one processor.
#[derive(Clone, Copy, Default)]
struct Draft {
    halted: Option<u64>,
    /// Translation table bases 0 and 1.
    tables: [Option<u64>; 2],
}

impl Draft {
    fn table(&self, number: usize) -> Option<u64> {
        self.tables.get(number).copied().flatten()
    }

    fn vcpu(self, index: u32) -> Vcpu {
        // Which of the two tables the tag without a sibling means is not known;
        // what uses it as the kernel's root finds the kernel.
        let ttbr1_el1 = self.table(1).or_else(|| self.table(0));
        let system = arm64::SystemRegisters { ttbr1_el1, ..arm64::SystemRegisters::default() };
        let registers = arm64::Registers { system, ..arm64::Registers::default() };
        let halted = self.halted.map(|value| value != 0);
        Vcpu { index, halted, registers: Registers::Arm64(Box::new(registers)) }
    }
}

/// Values of the tags of group `cpu`, by processor; of two values the first.
fn drafts(inventory: &Inventory, problems: &mut Problems) -> BTreeMap<u32, Draft> {
    let mut drafts: BTreeMap<u32, Draft> = BTreeMap::new();
    for item in inventory.group("cpu") {
        let Some(&cpu) = item.indices.first().filter(|cpu| **cpu < MAX_VCPUS) else { continue };
        let Some((name, slot)) = meaning(item) else { continue };
        let Some(value) = item.number() else { continue };
        let kept = *slot(drafts.entry(cpu).or_default()).get_or_insert(value);
        if kept != value {
            problems.push(Problem::warning(format!(
                "vCPU {cpu}: {name} is {kept:#x} in its own tag and {value:#x} in its own tag; \
                 {kept:#x} is used"
            )));
        }
    }
    drafts
}

type Slot = fn(&mut Draft) -> &mut Option<u64>;

/// Content of a tag, and where it goes.
fn meaning(item: &Item) -> Option<(&'static str, Slot)> {
    match (item.name.as_str(), item.indices.as_slice()) {
        ("halted", [_]) => Some(("the halt state", |draft| &mut draft.halted)),
        ("hv:ttbrEL1[0]", [_]) | ("hv:ttbrEL1", [_, 0]) => {
            Some(("ttbr0_el1", |draft| &mut draft.tables[0]))
        }
        ("hv:ttbrEL1[1]", [_]) | ("hv:ttbrEL1", [_, 1]) => {
            Some(("ttbr1_el1", |draft| &mut draft.tables[1]))
        }
        _ => None,
    }
}
