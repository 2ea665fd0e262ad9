//! Answers about a Windows guest, where they are others than about Linux.

use std::fmt::Write;

use vmss2core_guest::windows::Kernel;
use vmss2core_mem::Problem;

use super::{number, printed};
use crate::args::Style;
use crate::commands::bt::Stacks;
use crate::commands::ps::PsStyle;
use crate::commands::windows::{Listed, write_bt, write_modules, write_ps};

/// What a command says; `None` if it has nothing to do with Windows.
pub(super) fn answer(
    kernel: &Kernel,
    name: &str,
    arguments: &[&str],
) -> Option<anyhow::Result<String>> {
    match name {
        "ps" => Some(processes(kernel, arguments)),
        "mods" => Some(with_problems(|out| write_modules(kernel, Style::Text, out))),
        "bt" => Some(stacks(kernel, arguments)),
        _ => None,
    }
}

fn processes(kernel: &Kernel, arguments: &[&str]) -> anyhow::Result<String> {
    let listed = if arguments.contains(&"-T") { Listed::Threads } else { Listed::Processes };
    with_problems(|out| write_ps(kernel, (PsStyle::Text, listed), out))
}

fn stacks(kernel: &Kernel, arguments: &[&str]) -> anyhow::Result<String> {
    let wanted = match arguments.first() {
        Some(pid) => Stacks::Process(number(pid)?),
        None => Stacks::Processors,
    };
    with_problems(|out| write_bt(kernel, (Style::Text, wanted), out))
}

/// What is printed, and what is missing behind it.
fn with_problems(
    print: impl FnOnce(&mut dyn std::io::Write) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<String> {
    let mut problems = Vec::new();
    let mut text = printed(|out| {
        problems = print(out)?;
        Ok(())
    })?;
    for problem in problems {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{problem}");
    }
    Ok(text)
}
