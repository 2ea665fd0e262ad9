//! The registers that CPUs left when the kernel crashed and a second one was started
//! (kdump): a note for each CPU, `NT_PRSTATUS` as in a core (`crash_save_cpu`,
//! kernel/crash_core.c).

use std::collections::HashMap;
use std::mem::offset_of;

use vmss2core_formats::notes::{NT_PRSTATUS, Nhdr, Prstatus32, Prstatus64};
use vmss2core_machine::Registers;
use vmss2core_machine::x86::{self, Gpr};
use vmss2core_mem::{Gpa, Gva, little_endian};
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

use super::registers::{PT_REGS_32, PT_REGS_64};
use crate::linux::{Kernel, Task};

/// Head of an ELF note whose name is `CORE`.
#[derive(FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct NoteHead {
    note: Nhdr,
    name: [u8; 8],
}

const HEAD: usize = 20;
const _: () = assert!(size_of::<NoteHead>() == HEAD);

/// `struct elf_prstatus`: its length, and where `pr_pid` and `pr_reg` are.
struct Status {
    len: usize,
    pid: usize,
    registers: usize,
}

const STATUS_64: Status = Status {
    len: size_of::<Prstatus64>(),
    pid: offset_of!(Prstatus64, pid),
    registers: offset_of!(Prstatus64, registers),
};
const STATUS_32: Status = Status {
    len: size_of::<Prstatus32>(),
    pid: offset_of!(Prstatus32, pid),
    registers: offset_of!(Prstatus32, registers),
};
/// Of 64 bits, `pr_reg` goes on with the bases of FS and GS after `struct pt_regs`.
const FS_BASE: usize = 21;
const GS_BASE: usize = 22;

/// Registers that a CPU left.
struct CrashNote {
    /// Thread that it ran.
    tid: u32,
    registers: x86::Registers,
}

impl Kernel {
    /// The registers with which a task stopped when the kernel crashed, if it ran then.
    pub(in crate::linux) fn at_crash(&self, task: &Task) -> Option<x86::Registers> {
        let note = self.crash_note(task.cpu?)?;
        (task.tid != 0 && note.tid == task.tid).then_some(note.registers)
    }

    /// Of each vCPU that executes the second kernel, the registers that it had in this
    /// one.
    pub(in crate::linux) fn left_registers(&self) -> HashMap<u32, Registers> {
        let second = self.linux().crash_kernel.as_ref();
        let vcpus = second.map(|kernel| kernel.value.vcpus.as_slice()).unwrap_or_default();
        let registers = |index: &u32| {
            let note = self.crash_note(self.logical_cpu(*index)?)?;
            Some((*index, note.registers.into()))
        };
        vcpus.iter().filter_map(registers).collect()
    }

    fn crash_note(&self, cpu: u32) -> Option<CrashNote> {
        let second = &self.linux().crash_kernel.as_ref()?.value;
        let by_symbol = self.crash_notes_of(cpu);
        let listed = || second.notes.get(usize::try_from(cpu).ok()?).copied();
        self.read_crash_note(by_symbol.or_else(listed)?)
    }

    /// By the variable `crash_notes`: the pointer to a per-CPU buffer.
    fn crash_notes_of(&self, cpu: u32) -> Option<Gpa> {
        let notes = self.read_pointer(self.symbol("crash_notes").ok()?.value, "crash_notes");
        let at = notes.ok()?.0.wrapping_add(self.percpu_offset_of(cpu)?);
        self.space().translate(Gva(at)).ok().map(|found| found.gpa)
    }

    fn read_crash_note(&self, gpa: Gpa) -> Option<CrashNote> {
        let is_64_bit = self.linux().is_64_bit;
        let status = if is_64_bit { &STATUS_64 } else { &STATUS_32 };
        let mut head = [0; HEAD];
        self.memory().read(gpa, &mut head).ok()?;
        let head = NoteHead::ref_from_bytes(&head).ok()?;
        // A CPU that left nothing has zeroes.
        let is_status = head.note.n_type.get() == NT_PRSTATUS && head.name.starts_with(b"CORE\0");
        let len = usize::try_from(head.note.n_descsz.get()).ok()?;
        (is_status && head.note.n_namesz.get() == 5 && len == status.len).then_some(())?;
        let mut bytes = vec![0; status.len];
        self.memory().read(gpa.checked_add(HEAD as u64)?, &mut bytes).ok()?;
        let tid = little_endian(bytes.get(status.pid..status.pid.saturating_add(4))?);
        let words = bytes.get(status.registers..)?.chunks_exact(if is_64_bit { 8 } else { 4 });
        let words: Vec<u64> = words.map(little_endian).collect();
        let registers = registers(&words, is_64_bit);
        Some(CrashNote { tid: u32::try_from(tid).ok()?, registers })
    }
}

/// `pr_reg`: what `struct pt_regs` has, then more.
fn registers(words: &[u64], is_64_bit: bool) -> x86::Registers {
    let layout = if is_64_bit { &PT_REGS_64 } else { &PT_REGS_32[0] };
    let word = |index: usize| words.get(index).copied();
    let mut vcpu = x86::Registers {
        rip: word(layout.ip),
        rflags: word(layout.flags),
        ..x86::Registers::default()
    };
    for (index, gpr) in layout.general.iter().chain([&(layout.sp, Gpr::Rsp)]) {
        if let Some(slot) = vcpu.general.get_mut(*gpr as usize) {
            *slot = word(*index);
        }
    }
    if is_64_bit {
        vcpu.segments.fs.base = word(FS_BASE);
        vcpu.segments.gs.base = word(GS_BASE);
    }
    vcpu
}
