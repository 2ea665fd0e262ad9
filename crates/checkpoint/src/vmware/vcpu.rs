//! How many virtual processors a state file describes, whatever they are.

use vmss2core_mem::Problem;

use super::problems::Problems;
use crate::inventory::{Inventory, Item};

/// More than any product offers.
pub(super) const MAX_VCPUS: u32 = 4096;

/// How many processors there are: the file's word, or as many as it has tags of.
pub(super) fn count(inventory: &Inventory, seen: u32, problems: &mut Problems) -> u32 {
    let tag = inventory.find("cpu", "cpu:numVCPUs", &[]);
    let Some(stated) = tag.and_then(Item::number) else { return seen };
    let usable = u32::try_from(stated).ok().filter(|n| (1..=MAX_VCPUS).contains(n));
    let Some(count) = usable else {
        problems.push(Problem::warning(format!(
            "the state file claims {stated} vCPUs; the {seen} that it has registers of are used"
        )));
        return seen;
    };
    if seen > count {
        problems.push(Problem::warning(format!(
            "the state file claims {count} vCPUs but has registers up to vCPU {}; those \
             beyond are left out",
            seen.saturating_sub(1)
        )));
    }
    count
}
