//! Facts about the machine in a state file.
//!
//! Sources: published listings of the `Checkpoint` and `Snapshot` groups; real
//! files for the time stamps (group `MStats`).

use std::ops::{Range, RangeInclusive};

use vmss2core_machine::Machine;

use super::arch;
use super::vmx::Vmx;
use crate::inventory::{Inventory, Item};

/// Strings are blocks of 256 bytes, the configuration some KiB.
const MAX_TEXT: u64 = 1 << 20;

/// From 1999, when the first product appeared, to 2106: other numbers are not
/// times of a machine.
const TIMES: RangeInclusive<u64> = 915_148_800..=0xffff_ffff;

/// Name endings of the time stamps.
const POWERED_ON: &str = "vm.powerOnTimeStamp.clientData";
const SUSPENDED: &str = "vm.suspendTime.clientData";

/// Collects the facts.
pub(super) fn machine(inventory: &Inventory) -> Machine {
    let vmx = vmx_text(inventory).map(|text| Vmx::parse(&text)).unwrap_or_default();
    let setting = |key: &str| vmx.get(key).map(str::to_owned);
    let memory_in_vmx = || vmx.get("memsize").and_then(|mib| mib.parse().ok());
    Machine {
        architecture: Some(arch::of_file(inventory).arch()),
        product: text(inventory, "ProductName"),
        product_version: text(inventory, "VersionNumber"),
        product_build: text(inventory, "BuildNumber"),
        memory_mib: memory_mib(inventory).or_else(memory_in_vmx),
        display_name: setting("displayname"),
        configured_guest: setting("guestos"),
        firmware: setting("firmware"),
        uuid: setting("uuid.bios"),
        powered_on_unix: time(inventory, POWERED_ON),
        suspended_unix: time(inventory, SUSPENDED),
    }
}

/// The `.vmx` that the state file carries.
pub(super) fn vmx_text(inventory: &Inventory) -> Option<String> {
    read_text(inventory, inventory.find("Snapshot", "cfgFile", &[])?)
}

/// The hole in RAM, if the machine's configuration sets it.
pub(super) fn pci_hole(inventory: &Inventory) -> Option<Range<u64>> {
    Vmx::parse(&vmx_text(inventory)?).pci_hole()
}

/// Configured memory in MiB.
pub(super) fn memory_mib(inventory: &Inventory) -> Option<u64> {
    inventory.find("Checkpoint", "memSize", &[])?.number().filter(|&mib| mib != 0)
}

fn text(inventory: &Inventory, name: &str) -> Option<String> {
    read_text(inventory, inventory.find("Checkpoint", name, &[])?)
}

/// The text before the first NUL; `None` if there is none.
fn read_text(inventory: &Inventory, item: &Item) -> Option<String> {
    let bytes = inventory.read(item, MAX_TEXT).ok()?;
    let text = bytes.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text).trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// A time stamp in Unix seconds. Files have `suspendTime` twice with the same
/// index: first a number that is not a time, then the time.
fn time(inventory: &Inventory, suffix: &str) -> Option<u64> {
    let named = inventory.items.iter().filter(|item| item.name.ends_with(suffix));
    let mut times = named.filter_map(Item::number).filter(|seconds| TIMES.contains(seconds));
    times.next_back()
}
