//! A thread's registers.

use vmss2core_machine::Registers;
use zerocopy::little_endian::{I32, U32};
use zerocopy::{FromBytes, FromZeros, IntoBytes};

use super::Notes;
use crate::arch;
use vmss2core_formats::notes::{
    CORE, NT_PRSTATUS, Prstatus32, Prstatus64, Registers32, Registers64,
};

/// Parent, process group and session.
pub(crate) type Family = [u32; 3];

/// Content of NT_PRSTATUS.
pub(crate) struct ThreadStatus<'a> {
    pub(crate) registers: &'a Registers,
    pub(crate) tid: u32,
    pub(crate) family: Family,
    /// Whether floating point registers follow.
    pub(crate) has_fp: bool,
}

impl Notes {
    /// NT_PRSTATUS. Registers that are not known read as 0, for the format knows no
    /// other way.
    pub(crate) fn status(&mut self, thread: &ThreadStatus<'_>) {
        let ppid_pgrp_sid = thread.family.map(U32::new);
        let fpvalid = I32::new(thread.has_fp.into());
        let registers = self.table.user_registers(thread.registers);
        if let Ok(registers) = Registers32::read_from_bytes(&registers) {
            let status = Prstatus32 {
                pid: thread.tid.into(),
                ppid_pgrp_sid,
                registers,
                fpvalid,
                ..Prstatus32::new_zeroed()
            };
            self.push(CORE, NT_PRSTATUS, status.as_bytes());
        } else if let Ok(registers) = Registers64::read_from_bytes(&registers) {
            let status = Prstatus64 {
                pid: thread.tid.into(),
                ppid_pgrp_sid,
                registers,
                fpvalid,
                ..Prstatus64::new_zeroed()
            };
            self.push(CORE, NT_PRSTATUS, status.as_bytes());
        }
    }

    /// Floating point and vector registers, as far as there are any.
    pub(crate) fn vectors(&mut self, registers: &Registers) {
        for note in arch::vectors(registers, self.machine.is_64_bit) {
            self.push(note.name, note.kind, &note.bytes);
        }
    }
}

/// The 32 bits that a 32-bit processor has of a register.
pub(crate) fn low(value: u64) -> U32 {
    U32::new(u32::try_from(value & u64::from(u32::MAX)).unwrap_or(0))
}
