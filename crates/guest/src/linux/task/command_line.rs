//! Command lines, as `/proc/PID/cmdline` has them.

use vmss2core_machine::paging::AddressSpace;
use vmss2core_mem::{Gva, PAGE_SIZE, to_page_end};

use super::Task;
use crate::linux::snapshot::Selection;
use crate::linux::{Kernel, LinuxError};

/// Linux takes 2 MiB as a rule (a quarter of the stack's limit, 6 MiB at most).
const LONGEST: u64 = 2 << 20;

/// A command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CommandLine {
    /// Its words.
    pub words: Vec<String>,
    /// It goes on: it is longer than what is read, or its next page is not in memory.
    pub is_cut: bool,
}

impl Kernel {
    /// The page tables of a task's process: its own memory and the kernel's. `None`
    /// for tasks without memory of their own.
    pub fn space_of(&self, task: &Task) -> Result<Option<AddressSpace>, LinuxError> {
        let Some(mm) = task.mm else { return Ok(None) };
        self.space_of_pgd(self.object(mm, "mm_struct").pointer("pgd")?).map(Some)
    }

    fn space_of_pgd(&self, pgd: Gva) -> Result<AddressSpace, LinuxError> {
        let space = self.space();
        let found = space.translate(pgd).map_err(|source| LinuxError::Read {
            what: format!("the page tables at {pgd}"),
            source,
        })?;
        Ok(space.with_root(space.mode().root_of(found.gpa.0)))
    }

    /// The words of a process's command line; `None` for tasks without memory of their
    /// own. A process may have written over it.
    pub fn command_line(&self, task: &Task) -> Result<Option<CommandLine>, LinuxError> {
        let Some(mm) = task.mm.filter(|_| !task.is_kernel_thread) else { return Ok(None) };
        let mut members = Selection::of(self, "mm_struct");
        let pgd = members.pointer("pgd")?;
        let (start, end) = (members.pointer("arg_start")?, members.pointer("arg_end")?);
        let mm = members.read(mm)?;
        let space = self.space_of_pgd(mm.pointer(pgd))?;
        arguments(&space, mm.pointer(start).0..mm.pointer(end).0).map(Some)
    }
}

/// The arguments, NULs between them. If the last byte is none, the process wrote
/// one text over all of them and what is after (`setproctitle`): then that counts
/// up to its end, as `get_mm_proctitle` (fs/proc/base.c) has it.
fn arguments(space: &AddressSpace, range: std::ops::Range<u64>) -> Result<CommandLine, LinuxError> {
    let len = range.end.saturating_sub(range.start);
    let mut bytes = read_text(space, range.start, len.min(LONGEST))?;
    let mut is_cut = (bytes.len() as u64) < len;
    if !is_cut && bytes.last().is_some_and(|last| *last != 0) {
        bytes = read_text(space, range.start, PAGE_SIZE)?;
        let end = bytes.iter().position(|byte| *byte == 0);
        is_cut = end.is_none() && (bytes.len() as u64) < PAGE_SIZE;
        bytes.truncate(end.unwrap_or(bytes.len()));
    }
    if bytes.last() == Some(&0) {
        bytes.pop();
    }
    if bytes.is_empty() {
        return Ok(CommandLine { words: Vec::new(), is_cut });
    }
    let words = bytes.split(|byte| *byte == 0);
    let words = words.map(|word| String::from_utf8_lossy(word).into_owned()).collect();
    Ok(CommandLine { words, is_cut })
}

/// Up to the first page that is not there; an error if that is the very first.
fn read_text(space: &AddressSpace, start: u64, len: u64) -> Result<Vec<u8>, LinuxError> {
    let mut text = Vec::new();
    let mut at = start;
    let end = start.saturating_add(len);
    while at < end {
        let part = to_page_end(at).min(end.saturating_sub(at));
        let mut bytes = vec![0; usize::try_from(part).unwrap_or(0)];
        match space.read(Gva(at), &mut bytes) {
            Ok(()) => text.extend(bytes),
            Err(_) if !text.is_empty() => break,
            Err(source) => {
                let what = format!("the command line at {}", Gva(start));
                return Err(LinuxError::Read { what, source });
            }
        }
        at = at.saturating_add(part);
    }
    Ok(text)
}
