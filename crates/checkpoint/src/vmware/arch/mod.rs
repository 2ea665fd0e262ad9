//! Kinds of processors in state files: one folder for each.

use vmss2core_machine::{Arch, Vcpu};

use super::problems::Problems;
use super::regions::Layout;
use crate::inventory::Inventory;

mod arm64;
mod x86;

/// A kind of processor in state files. To add one: a folder, and a line in
/// [`ARCHES`].
pub(super) trait StateArch: Sync {
    /// The architecture.
    fn arch(&self) -> &'static dyn Arch;

    /// Whether a file describes a machine with such processors.
    fn is_meant(&self, inventory: &Inventory) -> bool;

    /// The processors that the file describes.
    fn vcpus(&self, inventory: &Inventory, problems: &mut Problems) -> Vec<Vcpu>;

    /// How RAM is laid out where no tags say it.
    fn layout(&self, inventory: &Inventory) -> Layout;
}

/// All that are known; the first that is meant is it.
static ARCHES: &[&dyn StateArch] = &[&arm64::Arm64, &x86::X86];

/// The processor of a file.
pub(super) fn of_file(inventory: &Inventory) -> &'static dyn StateArch {
    let meant = ARCHES.iter().copied().find(|arch| arch.is_meant(inventory));
    meant.unwrap_or(&x86::X86)
}
