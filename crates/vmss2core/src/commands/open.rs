//! Opening a checkpoint for a command, and what is said besides its answer.

use std::path::PathBuf;

use anyhow::anyhow;
use vmss2core::linux::Kernel;
use vmss2core::{Error, Guest, Options};
use vmss2core_guest::windows;
use vmss2core_mem::Problem;

use crate::args::{GuestPlan, Source};
use crate::exit::{Exit, usage};
use crate::{output, spelling};

/// Questions that a Windows guest answers; said to who asks for something else.
const WINDOWS_ANSWERS: &str = "this command is for Linux guests; for this Windows guest there are \
    info, ps, modules, bt and gdb, and -W writes memory.dmp for WinDbg";

/// Questions that a macOS guest answers; said to who asks for something else.
const MACOS_ANSWERS: &str = "this command is not for macOS guests yet; for this one there are \
    info and modules, gdb serves it to lldb and gdb, and convert writes elf-physical, elf-linear \
    and raw files of it";

/// Opens a guest to tell about it: a state file alone has something to say.
pub(super) fn to_tell(plan: &GuestPlan) -> anyhow::Result<Guest> {
    check_inputs(&plan.source)?;
    let options = Options { without_memory: true, ..options_to_ask(plan) };
    Ok(Guest::open_with(plan.source.inputs.clone(), options)?)
}

/// Opens a guest whose memory will be worked with.
pub(crate) fn to_work(source: &Source, said: windows::Options) -> anyhow::Result<Guest> {
    told(source, Options { windows: said, ..options(source) })
}

/// Opens a guest whose kernel will be asked, with the help of files that the user gives.
pub(super) fn to_ask(plan: &GuestPlan) -> anyhow::Result<Guest> {
    told(&plan.source, options_to_ask(plan))
}

/// Opens a guest that debuggers will read.
pub(super) fn to_serve(plan: &GuestPlan) -> anyhow::Result<Guest> {
    told(&plan.source, Options { cached: true, ..options_to_ask(plan) })
}

/// A checkpoint is read out of order.
fn check_inputs(source: &Source) -> anyhow::Result<()> {
    let is_stdin = |path: &PathBuf| path.as_os_str() == "-" && !path.exists();
    if source.inputs.iter().any(is_stdin) {
        return Err(usage(
            "standard input cannot be read, as a checkpoint is not read from front to back: name \
             a file",
        ));
    }
    Ok(())
}

fn options(source: &Source) -> Options {
    Options {
        spill_dir: Some(source.spill_dir.clone()),
        command_line: spelling::command_line,
        ..Options::default()
    }
}

fn options_to_ask(plan: &GuestPlan) -> Options {
    Options { kernel: plan.files.clone(), ..options(&plan.source) }
}

/// Says before anything else what all that follows depends on.
fn told(source: &Source, options: Options) -> anyhow::Result<Guest> {
    check_inputs(source)?;
    let guest = Guest::open_with(source.inputs.clone(), options)?;
    output::problems(guest.misfit());
    Ok(guest)
}

/// Asks a guest, and says on stderr what was in the way of a full answer: what the
/// reader, the analysis and `question` report.
pub(super) fn ask(
    plan: &GuestPlan,
    question: impl FnOnce(&Guest) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Exit> {
    let guest = to_ask(plan)?;
    // What is missing may be why there is no answer.
    let answered = question(&guest).map_err(other_system).inspect_err(|_| {
        output::problems(guest.incomplete().chain(&guest.read_failure()));
    });
    let mut problems = answered?;
    problems.extend(guest.source_problems().cloned());
    problems.extend(guest.read_failure());
    output::serious_problems(guest.problems());
    plan.source.talk.problems(&problems);
    Ok(Exit::of_guest(&guest, &problems))
}

/// Asks a Linux guest, and says what was in the way of a full answer.
pub(super) fn ask_linux(
    plan: &GuestPlan,
    question: impl FnOnce(&Kernel) -> anyhow::Result<Vec<Problem>>,
) -> anyhow::Result<Exit> {
    ask(plan, |guest| question(guest.linux()?))
}

/// Says to who asked the wrong guest what it can be asked.
fn other_system(error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref() {
        Some(Error::OtherSystem("Windows")) => anyhow!(WINDOWS_ANSWERS),
        Some(Error::OtherSystem("macOS")) => anyhow!(MACOS_ANSWERS),
        _ => error,
    }
}
