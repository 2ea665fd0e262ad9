//! The notes of a process's core, in the order of the kernel's: debuggers count
//! what follows an NT_PRSTATUS to its thread.

use vmss2core_guest::linux::{Kernel, Object, Process, Task, ThreadRegisters, Vma};
use vmss2core_mem::PAGE_SIZE;
use zerocopy::{FromZeros, IntoBytes};

use super::{ProcessCore, Thread};
use crate::arch;
use crate::elf_core::{Family, Machine, Notes, ProcessInfo, ThreadStatus, low};
use vmss2core_formats::notes::{CORE, NT_AUXV, NT_FILE, NT_SIGINFO, Siginfo};

/// `DEFAULT_PRIO`: a nice value of 0.
const DEFAULT_PRIORITY: i64 = 120;
/// Letters of `pr_sname`, by the lowest bit of the state.
const STATE_LETTERS: [u8; 6] = *b"RSDTZW";

/// Information of the notes about the process as a whole.
#[derive(Clone, Debug, Default)]
pub(super) struct Info {
    state: u8,
    letter: u8,
    nice: u8,
    flags: u64,
    group: u32,
    session: u32,
    arguments: Vec<u8>,
}

impl Info {
    /// Gathers it; unknown values are 0.
    pub(super) fn of(kernel: &Kernel, process: &Process) -> Self {
        let task = process.task();
        let object = kernel.object(task.gva, "task_struct");
        let (state, letter) = state(task);
        let mut arguments = process.command_line().unwrap_or_default();
        for byte in &mut arguments {
            // The kernel too makes one line of them.
            *byte = if *byte == 0 { b' ' } else { *byte };
        }
        let end = arguments
            .iter()
            .rposition(|byte| *byte != b' ')
            .map_or(0, |last| last.saturating_add(1));
        arguments.truncate(end);
        Self {
            state,
            letter,
            nice: nice(&object).unwrap_or(0),
            flags: object.uint("flags").unwrap_or(0),
            group: kernel.group_of(task).unwrap_or(0),
            session: kernel.session_of(task).unwrap_or(0),
            arguments,
        }
    }
}

fn state(task: &Task) -> (u8, u8) {
    let bits = task.state.map_or(0, |state| state.bits);
    let index = if bits == 0 { 0 } else { bits.trailing_zeros().saturating_add(1) };
    let letter = usize::try_from(index).ok().and_then(|index| STATE_LETTERS.get(index));
    (u8::try_from(index).unwrap_or(0), letter.copied().unwrap_or(b'.'))
}

/// As a signed byte.
fn nice(task: &Object<'_>) -> Option<u8> {
    let priority = i64::try_from(task.uint("static_prio").ok()?).ok()?;
    i8::try_from(priority.saturating_sub(DEFAULT_PRIORITY)).ok().map(i8::cast_unsigned)
}

/// All notes.
pub(super) fn all(core: &ProcessCore<'_>, machine: Machine) -> Vec<u8> {
    let writer = Writer { core, machine };
    let mut notes = Notes::new(machine);
    let mut threads =
        core.threads.iter().filter_map(|thread| Some((thread, thread.registers.as_ref()?)));
    let first = threads.next();
    if let Some((thread, registers)) = first {
        writer.status(&mut notes, thread, registers);
    }
    writer.process(&mut notes);
    notes.push(CORE, NT_SIGINFO, Siginfo::new_zeroed().as_bytes());
    writer.auxv(&mut notes);
    writer.files(&mut notes);
    if let Some((_, registers)) = first {
        writer.vectors(&mut notes, registers);
    }
    for (thread, registers) in threads {
        writer.status(&mut notes, thread, registers);
        writer.vectors(&mut notes, registers);
    }
    notes.into_bytes()
}

struct Writer<'a> {
    core: &'a ProcessCore<'a>,
    machine: Machine,
}

impl Writer<'_> {
    fn is_32_bit(&self) -> bool {
        !self.machine.is_64_bit
    }

    fn status(&self, notes: &mut Notes, thread: &Thread, registers: &ThreadRegisters) {
        let status = ThreadStatus {
            registers: &registers.registers,
            tid: thread.task.tid,
            family: self.family(&thread.task),
            has_fp: registers.registers.has_vectors(),
        };
        notes.status(&status);
    }

    fn process(&self, notes: &mut Notes) {
        let task = self.core.process.task();
        let info = &self.core.info;
        let process = ProcessInfo {
            state: info.state,
            letter: info.letter,
            nice: info.nice,
            flags: info.flags,
            uid_gid: [task.uid.unwrap_or(0), task.gid.unwrap_or(0)],
            pid: task.pid,
            family: self.family(task),
            name: task.comm.as_bytes(),
            arguments: &info.arguments,
        };
        notes.process(&process);
    }

    fn family(&self, task: &Task) -> Family {
        let info = &self.core.info;
        [task.ppid.unwrap_or(0), info.group, info.session]
    }

    fn auxv(&self, notes: &mut Notes) {
        let mut out = Vec::new();
        for (kind, value) in self.core.process.auxv() {
            self.word(&mut out, kind);
            self.word(&mut out, value);
        }
        if !out.is_empty() {
            notes.push(CORE, NT_AUXV, &out);
        }
    }

    fn files(&self, notes: &mut Notes) {
        let vmas = self.core.process.vmas();
        let mapped: Vec<(&Vma, &str)> =
            vmas.iter().filter_map(|vma| Some((vma, vma.file.as_ref()?.path.as_str()))).collect();
        if mapped.is_empty() {
            return;
        }
        let mut out = Vec::new();
        self.word(&mut out, mapped.len() as u64);
        self.word(&mut out, PAGE_SIZE);
        for (vma, _) in &mapped {
            for value in [vma.start.0, vma.end.0, vma.offset_bytes / PAGE_SIZE] {
                self.word(&mut out, value);
            }
        }
        for (_, path) in &mapped {
            out.extend_from_slice(path.as_bytes());
            out.push(0);
        }
        notes.push(CORE, NT_FILE, &out);
    }

    /// A `long` of the process.
    fn word(&self, out: &mut Vec<u8>, value: u64) {
        if self.is_32_bit() {
            out.extend_from_slice(low(value).as_bytes());
        } else {
            out.extend_from_slice(&value.to_le_bytes());
        }
    }

    fn vectors(&self, notes: &mut Notes, registers: &ThreadRegisters) {
        notes.vectors(&registers.registers);
        if self.is_32_bit()
            && let Some(note) = arch::thread_segments(&registers.registers, &registers.tls)
        {
            notes.push(note.name, note.kind, &note.bytes);
        }
    }
}
