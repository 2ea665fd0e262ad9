//! The notes of a process's core, in the order of the kernel's: debuggers count
//! what follows an NT_PRSTATUS to its thread.

use vmss2core_guest::linux::{Kernel, Object, Process, Task, ThreadRegisters, TlsSegment, Vma};
use vmss2core_machine::x86::{Gpr, SegmentRegister};
use vmss2core_mem::PAGE_SIZE;
use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use super::{ProcessCore, Thread};
use crate::elf::notes::Notes;
use crate::elf::raw::{
    NT_386_TLS, NT_AUXV, NT_FILE, NT_FPREGSET, NT_PRPSINFO, NT_PRSTATUS, NT_PRXFPREG, NT_SIGINFO,
    NT_X86_XSTATE, Prpsinfo32, Prpsinfo64, Prstatus32, Prstatus64, Registers32, Registers64,
    Siginfo, UserDesc,
};
use crate::elf::{Machine, fpu};

/// `DEFAULT_PRIO`: a nice value of 0.
const DEFAULT_PRIORITY: i64 = 120;
/// Letters of `pr_sname`, by the lowest bit of the state.
const STATE_LETTERS: [u8; 6] = *b"RSDTZW";

/// What the notes say of the process as a whole.
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
    /// What cannot be told is 0.
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
    let mut notes = Notes::default();
    let mut threads =
        core.threads.iter().filter_map(|thread| Some((thread, thread.registers.as_ref()?)));
    let first = threads.next();
    if let Some((thread, registers)) = first {
        writer.status(&mut notes, thread, registers);
    }
    writer.process(&mut notes);
    notes.push(b"CORE", NT_SIGINFO, Siginfo::new_zeroed().as_bytes());
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
        self.machine == Machine::I386
    }

    fn status(&self, notes: &mut Notes, thread: &Thread, registers: &ThreadRegisters) {
        let task = &thread.task;
        let info = &self.core.info;
        let family = [task.ppid.unwrap_or(0), info.group, info.session].map(U32::new);
        let fpvalid = I32::new(registers.cpu.fpu.is_some().into());
        if self.is_32_bit() {
            let status = Prstatus32 {
                pid: task.tid.into(),
                ppid_pgrp_sid: family,
                registers: registers_32(registers),
                fpvalid,
                ..Prstatus32::new_zeroed()
            };
            notes.push(b"CORE", NT_PRSTATUS, status.as_bytes());
        } else {
            let status = Prstatus64 {
                pid: task.tid.into(),
                ppid_pgrp_sid: family,
                registers: registers_64(registers),
                fpvalid,
                ..Prstatus64::new_zeroed()
            };
            notes.push(b"CORE", NT_PRSTATUS, status.as_bytes());
        }
    }

    fn process(&self, notes: &mut Notes) {
        let task = self.core.process.task();
        let info = &self.core.info;
        let family = [task.ppid.unwrap_or(0), info.group, info.session].map(U32::new);
        let ids = [task.uid.unwrap_or(0), task.gid.unwrap_or(0)];
        let zombie = u8::from(info.letter == b'Z');
        let (fname, psargs) = (cut(task.comm.as_bytes()), cut(&info.arguments));
        if self.is_32_bit() {
            // What does not fit is the overflow user, 65534.
            let short = |id: u32| U16::new(u16::try_from(id).unwrap_or(0xfffe));
            let info = Prpsinfo32 {
                state: info.state,
                sname: info.letter,
                zombie,
                nice: info.nice,
                flag: low(info.flags),
                uid_gid: ids.map(short),
                pid: task.pid.into(),
                ppid_pgrp_sid: family,
                fname,
                psargs,
            };
            notes.push(b"CORE", NT_PRPSINFO, info.as_bytes());
        } else {
            let info = Prpsinfo64 {
                state: info.state,
                sname: info.letter,
                zombie,
                nice: info.nice,
                flag: info.flags.into(),
                uid_gid: ids.map(U32::new),
                pid: task.pid.into(),
                ppid_pgrp_sid: family,
                fname,
                psargs,
                ..Prpsinfo64::new_zeroed()
            };
            notes.push(b"CORE", NT_PRPSINFO, info.as_bytes());
        }
    }

    fn auxv(&self, notes: &mut Notes) {
        let mut out = Vec::new();
        for (kind, value) in self.core.process.auxv() {
            self.word(&mut out, kind);
            self.word(&mut out, value);
        }
        if !out.is_empty() {
            notes.push(b"CORE", NT_AUXV, &out);
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
        notes.push(b"CORE", NT_FILE, &out);
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
        let fxsave = registers.cpu.fpu.as_ref().and_then(fpu::fxsave);
        if let Some(fxsave) = &fxsave {
            if self.is_32_bit() {
                notes.push(b"CORE", NT_FPREGSET, &fpu::fsave(fxsave));
                notes.push(b"LINUX", NT_PRXFPREG, fxsave);
            } else {
                notes.push(b"CORE", NT_FPREGSET, fxsave);
            }
        }
        let xcr0 = registers.cpu.msrs.xcr0;
        if let Some(area) = registers.cpu.fpu.as_ref().and_then(|state| fpu::xstate(state, xcr0)) {
            notes.push(b"LINUX", NT_X86_XSTATE, &area);
        }
        if self.is_32_bit()
            && let Some(segments) = tls(&registers.tls)
        {
            notes.push(b"LINUX", NT_386_TLS, &segments);
        }
    }
}

/// NT_386_TLS: all entries up to the last that is in use.
fn tls(segments: &[TlsSegment]) -> Option<Vec<u8>> {
    /// `GDT_ENTRY_TLS_MIN` and `GDT_ENTRY_TLS_MAX` of the two kinds of kernels.
    const FIRST: [(u32, u32); 2] = [(12, 14), (6, 8)];
    /// Not writable and not present: what an empty descriptor decodes to.
    const EMPTY: u32 = 0x28;
    let last = segments.last()?.entry;
    let (first, _) = FIRST.into_iter().find(|(first, end)| (first..=end).contains(&&last))?;
    let mut out = Vec::new();
    for entry in first..=last {
        let segment = segments.iter().find(|segment| segment.entry == entry);
        let desc = UserDesc {
            entry_number: entry.into(),
            base_addr: segment.map_or(0, |segment| segment.base).into(),
            limit: segment.map_or(0, |segment| segment.limit).into(),
            flags: segment.map_or(EMPTY, |segment| segment.flags).into(),
        };
        out.extend_from_slice(desc.as_bytes());
    }
    Some(out)
}

/// As much as fits, and a NUL.
fn cut<const N: usize>(text: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    for (to, from) in out.iter_mut().take(N.saturating_sub(1)).zip(text) {
        *to = *from;
    }
    out
}

fn registers_64(thread: &ThreadRegisters) -> Registers64 {
    let (cpu, segments) = (&thread.cpu, &thread.cpu.segments);
    let gpr = |gpr| known(cpu.gpr(gpr));
    let selector = |of: SegmentRegister| known(of.selector.map(u64::from));
    Registers64 {
        r15: gpr(Gpr::R15),
        r14: gpr(Gpr::R14),
        r13: gpr(Gpr::R13),
        r12: gpr(Gpr::R12),
        rbp: gpr(Gpr::Rbp),
        rbx: gpr(Gpr::Rbx),
        r11: gpr(Gpr::R11),
        r10: gpr(Gpr::R10),
        r9: gpr(Gpr::R9),
        r8: gpr(Gpr::R8),
        rax: gpr(Gpr::Rax),
        rcx: gpr(Gpr::Rcx),
        rdx: gpr(Gpr::Rdx),
        rsi: gpr(Gpr::Rsi),
        rdi: gpr(Gpr::Rdi),
        orig_rax: known(cpu.system_call),
        rip: known(cpu.rip),
        cs: selector(segments.cs),
        eflags: known(cpu.rflags),
        rsp: gpr(Gpr::Rsp),
        ss: selector(segments.ss),
        fs_base: known(segments.fs.base),
        gs_base: known(segments.gs.base),
        ds: selector(segments.ds),
        es: selector(segments.es),
        fs: selector(segments.fs),
        gs: selector(segments.gs),
    }
}

/// A core has no way to say that a register is not known.
fn known(value: Option<u64>) -> U64 {
    U64::new(value.unwrap_or(0))
}

fn registers_32(thread: &ThreadRegisters) -> Registers32 {
    let (cpu, segments) = (&thread.cpu, &thread.cpu.segments);
    let low = |value: Option<u64>| low(value.unwrap_or(0));
    let gpr = |gpr| low(cpu.gpr(gpr));
    let selector = |of: SegmentRegister| low(of.selector.map(u64::from));
    Registers32 {
        ebx: gpr(Gpr::Rbx),
        ecx: gpr(Gpr::Rcx),
        edx: gpr(Gpr::Rdx),
        esi: gpr(Gpr::Rsi),
        edi: gpr(Gpr::Rdi),
        ebp: gpr(Gpr::Rbp),
        eax: gpr(Gpr::Rax),
        ds: selector(segments.ds),
        es: selector(segments.es),
        fs: selector(segments.fs),
        gs: selector(segments.gs),
        orig_eax: low(cpu.system_call),
        eip: low(cpu.rip),
        cs: selector(segments.cs),
        eflags: low(cpu.rflags),
        esp: gpr(Gpr::Rsp),
        ss: selector(segments.ss),
    }
}

/// The 32 bits that a 32-bit program sees.
fn low(value: u64) -> U32 {
    U32::new(u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0))
}
