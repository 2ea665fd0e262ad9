//! Notes that only threads on x86 have.

use vmss2core_formats::notes::{
    CORE, LINUX, NT_386_TLS, NT_FPREGSET, NT_PRXFPREG, NT_X86_XSTATE, UserDesc,
};
use vmss2core_guest::linux::TlsSegment;
use vmss2core_machine::x86;
use zerocopy::IntoBytes;

use super::fpu;
use crate::arch::Note;

/// x87, SSE and later registers, as far as there are any.
pub(in crate::arch) fn vectors(cpu: &x86::Registers, is_64_bit: bool) -> Vec<Note> {
    let Some(state) = &cpu.fpu else { return Vec::new() };
    let note = |name, kind, bytes: &[u8]| Note { name, kind, bytes: bytes.to_vec() };
    let mut notes = Vec::new();
    match fpu::fxsave(state) {
        Some(fxsave) if is_64_bit => notes.push(note(CORE, NT_FPREGSET, &fxsave)),
        Some(fxsave) => {
            notes.push(note(CORE, NT_FPREGSET, &fpu::fsave(&fxsave)));
            notes.push(note(LINUX, NT_PRXFPREG, &fxsave));
        }
        None => {}
    }
    let area = fpu::xstate(state, cpu.msrs.xcr0);
    notes.extend(area.map(|bytes| Note { name: LINUX, kind: NT_X86_XSTATE, bytes }));
    notes
}

/// NT_386_TLS: all entries up to the last that is in use.
pub(in crate::arch) fn thread_segments(segments: &[TlsSegment]) -> Option<Note> {
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
    Some(Note { name: LINUX, kind: NT_386_TLS, bytes: out })
}
