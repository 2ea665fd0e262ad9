//! Kinds of processors in files: one folder for each.

use vmss2core_guest::linux::TlsSegment;
use vmss2core_machine::Registers;

pub(crate) mod x86;

/// A note about a thread or a processor.
pub(crate) struct Note {
    pub(crate) name: &'static [u8],
    pub(crate) kind: u32,
    pub(crate) bytes: Vec<u8>,
}

/// Floating point and vector registers, as far as there are any.
pub(crate) fn vectors(registers: &Registers, is_64_bit: bool) -> Vec<Note> {
    match registers {
        Registers::X86(x86) => x86::notes::vectors(x86, is_64_bit),
        _ => Vec::new(),
    }
}

/// Whether [`vectors`] has some that every debugger knows.
pub(crate) fn has_floating_point(registers: &Registers) -> bool {
    match registers {
        Registers::X86(x86) => x86.fpu.as_ref().and_then(x86::fpu::fxsave).is_some(),
        _ => false,
    }
}

/// Segments for thread-local storage.
pub(crate) fn thread_segments(registers: &Registers, segments: &[TlsSegment]) -> Option<Note> {
    match registers {
        Registers::X86(_) => x86::notes::thread_segments(segments),
        _ => None,
    }
}

/// The note that crash takes control registers and descriptor tables from.
pub(crate) fn control(registers: &Registers) -> Option<Note> {
    match registers {
        Registers::X86(x86) => Some(x86::qemu::note(x86)),
        _ => None,
    }
}

/// Registers that no note can bring into gdb, by the names of the variables that they
/// become.
pub(crate) fn without_note(registers: &Registers) -> Vec<(&'static str, u64)> {
    match registers {
        Registers::X86(x86) => x86::without_note(x86),
        _ => Vec::new(),
    }
}
