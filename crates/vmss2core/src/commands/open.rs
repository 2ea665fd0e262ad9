//! Opening a checkpoint for a command, and what is said besides its answer.

use anyhow::anyhow;
use vmss2core::linux::Kernel;
use vmss2core::{Error, Guest, Options};
use vmss2core_guest::windows;
use vmss2core_mem::Problem;

use crate::args::{GuestPlan, Source};
use crate::exit::Exit;
use crate::{output, spelling};

/// Questions that a Windows guest answers; said to who asks for something else.
const WINDOWS_ANSWERS: &str = "this is a Windows guest, and the command is about Linux; of Windows \
    it can be asked: info, ps, modules, bt, and -W writes memory.dmp for WinDbg";

/// Questions that a macOS guest answers; said to who asks for something else.
const MACOS_ANSWERS: &str = "this is a macOS guest, and the command is not for those yet; of \
    macOS it can be asked: info, modules; gdb serves it to lldb and gdb, and convert writes \
    elf-physical, elf-linear and raw files of it";

/// Opens a guest to tell about it: a state file alone has something to say.
pub(super) fn to_tell(source: &Source) -> anyhow::Result<Guest> {
    let options = Options { without_memory: true, ..options(source) };
    Ok(Guest::open_with(source.inputs.clone(), options)?)
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
    output::problems(&problems);
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
