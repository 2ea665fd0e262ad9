//! Opening the guest's kernel to ask it something.

use anyhow::bail;
use vmss2core_guest::linux::{BetterSources, Kernel};
use vmss2core_guest::windows;
use vmss2core_mem::Problem;

use super::macos;
use super::source::Guest;
use crate::args::GuestPlan;
use crate::exit::Exit;
use crate::output;

/// What can be asked of a Windows guest; said to who asks for something else.
const WINDOWS_ANSWERS: &str = "this is a Windows guest, and the command is about Linux; of Windows \
    it can be asked: info, ps, modules, bt, and -W writes memory.dmp for WinDbg";

/// Opens a Linux kernel and lets `ask` have it; says on stderr what was in the way
/// of a full answer: what the reader, the analysis and `ask` report.
pub(super) fn with_kernel(
    plan: &GuestPlan,
    ask: impl FnOnce(&Kernel) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Exit> {
    with_either_kernel(plan, ask, |_| bail!(WINDOWS_ANSWERS))
}

/// The same for a question that both of these kernels have an answer to.
pub(super) fn with_either_kernel(
    plan: &GuestPlan,
    ask: impl FnOnce(&Kernel) -> anyhow::Result<Vec<Problem>>,
    ask_windows: impl FnOnce(&windows::Kernel) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Exit> {
    with_any_kernel(plan, ask, ask_windows, |_| bail!(macos::ANSWERS))
}

/// The same for a question that macOS has an answer to as well; that is among the facts.
pub(super) fn with_any_kernel(
    plan: &GuestPlan,
    ask: impl FnOnce(&Kernel) -> anyhow::Result<Vec<Problem>>,
    ask_windows: impl FnOnce(&windows::Kernel) -> anyhow::Result<Vec<Problem>>,
    ask_macos: impl FnOnce(&Guest) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Exit> {
    let guest = Guest::open_to_ask(plan)?;
    let answer = if let Some(found) = &guest.facts.windows {
        ask_windows(&windows::Kernel::open(&guest.opened.checkpoint, found))
    } else if guest.facts.macos.is_some() {
        ask_macos(&guest)
    } else {
        ask_linux(plan, &guest, ask)
    };
    // What is missing may be why there is no answer.
    let mut problems = answer.inspect_err(|_| {
        output::problems(guest.incomplete().chain(&guest.read_failure()));
    })?;
    problems.extend(guest.read_failure());
    output::problems(guest.serious_problems().chain(&problems));
    Ok(guest.exit_with(&problems))
}

fn ask_linux(
    plan: &GuestPlan,
    guest: &Guest,
    ask: impl FnOnce(&Kernel) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Vec<Problem>> {
    let checkpoint = &guest.opened.checkpoint;
    let better = BetterSources::read(&plan.files, checkpoint, &guest.facts)?;
    let kernel = Kernel::open(checkpoint, &guest.facts, better)?;
    let mut problems = ask(&kernel)?;
    problems.extend(kernel.source_problems().cloned());
    Ok(problems)
}
