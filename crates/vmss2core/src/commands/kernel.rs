//! Opening the guest's kernel to ask it something.

use vmss2core_guest::linux::{BetterSources, Kernel};
use vmss2core_mem::Problem;

use super::source::Guest;
use crate::exit::Exit;
use crate::output;
use crate::plan::GuestPlan;

/// Opens the kernel and lets `ask` have it; says on stderr what was in the way
/// of a full answer: what the reader, the analysis and `ask` report.
pub(super) fn with_kernel(
    plan: &GuestPlan,
    ask: impl FnOnce(&Kernel<'_>) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Exit> {
    let guest = Guest::open_with_memory(&plan.source)?;
    let checkpoint = &guest.opened.checkpoint;
    let better = BetterSources::read(&plan.files, checkpoint, &guest.facts)?;
    let kernel = Kernel::open(checkpoint, &guest.facts, better)?;
    let mut problems = ask(&kernel)?;
    problems.extend(kernel.source_problems().cloned());
    output::problems(guest.serious_problems().chain(&problems));
    Ok(guest.exit_with(&problems))
}
