//! QEMU's note about a processor, which crash reads.

use vmss2core_machine::x86::{self, DescriptorTable, Gpr, SegmentRegister};
use zerocopy::little_endian::{U32, U64};
use zerocopy::{FromZeros, IntoBytes};

use crate::arch::Note;
use crate::elf_core::low;
use vmss2core_formats::notes::{NT_NAMED, QEMU, QemuCpuState, QemuSegment};

/// The note about a processor.
pub(in crate::arch) fn note(x86: &x86::Registers) -> Note {
    Note { name: QEMU, kind: NT_NAMED, bytes: state(x86).as_bytes().to_vec() }
}

/// Registers that are not known read as 0.
fn state(x86: &x86::Registers) -> QemuCpuState {
    const ORDER: [Gpr; 16] = [
        Gpr::Rax,
        Gpr::Rbx,
        Gpr::Rcx,
        Gpr::Rdx,
        Gpr::Rsi,
        Gpr::Rdi,
        Gpr::Rsp,
        Gpr::Rbp,
        Gpr::R8,
        Gpr::R9,
        Gpr::R10,
        Gpr::R11,
        Gpr::R12,
        Gpr::R13,
        Gpr::R14,
        Gpr::R15,
    ];
    let segments = &x86.segments;
    let control = &x86.control;
    let value = |value: Option<u64>| U64::new(value.unwrap_or(0));
    QemuCpuState {
        version: U32::new(1),
        size: U32::new(size_of::<QemuCpuState>().try_into().unwrap_or(0)),
        general: ORDER.map(|gpr| value(x86.gpr(gpr))),
        rip: value(x86.rip),
        rflags: value(x86.rflags),
        segments: [
            qemu_segment(segments.cs),
            qemu_segment(segments.ds),
            qemu_segment(segments.es),
            qemu_segment(segments.fs),
            qemu_segment(segments.gs),
            qemu_segment(segments.ss),
            qemu_segment(segments.ldt),
            qemu_segment(segments.tr),
            qemu_table(x86.gdtr),
            qemu_table(x86.idtr),
        ],
        // cr1 does not exist.
        control: [control.cr0, None, control.cr2, control.cr3, control.cr4].map(value),
        kernel_gs_base: value(x86.msrs.kernel_gs_base),
    }
}

/// `flags` are the upper word of the descriptor, as QEMU keeps it: bits 16 to 23
/// of the base, type to P, limit bits 16 to 19, AVL to G, bits 24 to 31 of the base.
fn qemu_segment(segment: SegmentRegister) -> QemuSegment {
    const GRANULARITY: u32 = 1 << 15;
    let attributes = segment.attributes.unwrap_or(0) & 0xf0ff;
    let limit = segment.limit.unwrap_or(0);
    let stored = if attributes & GRANULARITY == 0 { limit } else { limit >> 12 };
    QemuSegment {
        selector: U32::new(segment.selector.unwrap_or(0).into()),
        limit: U32::new(limit),
        flags: U32::new((attributes << 8) | (stored & 0xf_0000) | base_in_descriptor(segment)),
        padding: U32::ZERO,
        base: U64::new(segment.base.unwrap_or(0)),
    }
}

/// The upper half of the base as the descriptor's upper word has it. Bases of
/// present code and data segments beyond 4 GiB were set without a descriptor;
/// system segments have the upper half of theirs elsewhere.
fn base_in_descriptor(segment: SegmentRegister) -> u32 {
    const PRESENT: u32 = 1 << 7;
    const CODE_OR_DATA: u32 = 1 << 4;
    let (attributes, base) = (segment.attributes.unwrap_or(0), segment.base.unwrap_or(0));
    let from_descriptor = attributes & CODE_OR_DATA == 0 || base >> 32 == 0;
    if attributes & PRESENT == 0 || !from_descriptor {
        return 0;
    }
    let base = low(base).get();
    base & 0xff00_0000 | base >> 16 & 0xff
}

fn qemu_table(table: DescriptorTable) -> QemuSegment {
    QemuSegment {
        limit: U32::new(table.limit.unwrap_or(0).into()),
        base: U64::new(table.base.unwrap_or(0)),
        ..QemuSegment::new_zeroed()
    }
}
