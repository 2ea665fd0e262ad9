//! Answers about a Windows guest, where they are others than about Linux.

use vmss2core_answers::WindowsModulesReport;
use vmss2core_guest::windows::Kernel;

use super::{number, with_problems};
use crate::commands::bt::Stacks;
use crate::commands::ps::Listed;
use crate::commands::windows;

/// What a command says; `None` if it has nothing to do with Windows.
pub(super) fn answer(
    kernel: &Kernel,
    name: &str,
    arguments: &[&str],
) -> Option<anyhow::Result<String>> {
    match name {
        "ps" => Some(processes(kernel, arguments)),
        "mods" => Some(modules(kernel)),
        "bt" => Some(stacks(kernel, arguments)),
        _ => None,
    }
}

fn processes(kernel: &Kernel, arguments: &[&str]) -> anyhow::Result<String> {
    let listed = Listed { threads: arguments.contains(&"-T"), ..Listed::default() };
    let (report, problems) = windows::ps(kernel, listed)?;
    with_problems(&report, &problems)
}

fn modules(kernel: &Kernel) -> anyhow::Result<String> {
    let modules = kernel.modules();
    with_problems(&WindowsModulesReport::new(modules), &modules.problems)
}

fn stacks(kernel: &Kernel, arguments: &[&str]) -> anyhow::Result<String> {
    let wanted = match arguments.first() {
        Some(pid) => Stacks::Process(number(pid)?),
        None => Stacks::Processors,
    };
    let (report, problems) = windows::bt(kernel, wanted)?;
    with_problems(&report, &problems)
}
