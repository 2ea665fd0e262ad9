//! ELF structures as written: System V ABI (generic and x86-64 supplement),
//! Linux `<linux/elf.h>`, `<linux/elfcore.h>`, `<asm/user.h>` for the notes, and
//! QEMU's `QEMUCPUState` (version 1) as crash reads it.

#![allow(clippy::struct_field_names, reason = "the names are the documents'")]

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes};

pub(super) const ET_CORE: u16 = 4;
pub(super) const EM_386: u16 = 3;
pub(super) const EM_X86_64: u16 = 62;
pub(super) const EM_AARCH64: u16 = 183;
pub(super) const ELFCLASS32: u8 = 1;
pub(super) const ELFCLASS64: u8 = 2;
pub(super) const ELFDATA2LSB: u8 = 1;
pub(super) const EV_CURRENT: u8 = 1;
pub(super) const ELFOSABI_GNU: u8 = 3;
pub(super) const PT_LOAD: u32 = 1;
pub(super) const PT_NOTE: u32 = 4;
pub(super) const PF_X: u32 = 1;
pub(super) const PF_W: u32 = 2;
pub(super) const PF_R: u32 = 4;
/// In `e_phnum`: the real count is in `sh_info` of section header 0.
pub(super) const PN_XNUM: u16 = 0xffff;

pub(super) const NT_PRSTATUS: u32 = 1;
pub(super) const NT_FPREGSET: u32 = 2;
pub(super) const NT_PRPSINFO: u32 = 3;
pub(super) const NT_PRXFPREG: u32 = 0x46e6_2b7f;
pub(super) const NT_X86_XSTATE: u32 = 0x202;
/// Type of the notes whose name alone says what they are.
pub(super) const NT_NAMED: u32 = 0;

/// `e_ident`, with its padding.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Ident {
    pub(super) magic: [u8; 4],
    pub(super) class: u8,
    pub(super) data: u8,
    pub(super) version: u8,
    pub(super) osabi: u8,
    pub(super) padding: [u8; 8],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Ehdr64 {
    pub(super) e_ident: Ident,
    pub(super) e_type: U16,
    pub(super) e_machine: U16,
    pub(super) e_version: U32,
    pub(super) e_entry: U64,
    pub(super) e_phoff: U64,
    pub(super) e_shoff: U64,
    pub(super) e_flags: U32,
    pub(super) e_ehsize: U16,
    pub(super) e_phentsize: U16,
    pub(super) e_phnum: U16,
    pub(super) e_shentsize: U16,
    pub(super) e_shnum: U16,
    pub(super) e_shstrndx: U16,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Ehdr32 {
    pub(super) e_ident: Ident,
    pub(super) e_type: U16,
    pub(super) e_machine: U16,
    pub(super) e_version: U32,
    pub(super) e_entry: U32,
    pub(super) e_phoff: U32,
    pub(super) e_shoff: U32,
    pub(super) e_flags: U32,
    pub(super) e_ehsize: U16,
    pub(super) e_phentsize: U16,
    pub(super) e_phnum: U16,
    pub(super) e_shentsize: U16,
    pub(super) e_shnum: U16,
    pub(super) e_shstrndx: U16,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Phdr64 {
    pub(super) p_type: U32,
    pub(super) p_flags: U32,
    pub(super) p_offset: U64,
    pub(super) p_vaddr: U64,
    pub(super) p_paddr: U64,
    pub(super) p_filesz: U64,
    pub(super) p_memsz: U64,
    pub(super) p_align: U64,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Phdr32 {
    pub(super) p_type: U32,
    pub(super) p_offset: U32,
    pub(super) p_vaddr: U32,
    pub(super) p_paddr: U32,
    pub(super) p_filesz: U32,
    pub(super) p_memsz: U32,
    pub(super) p_flags: U32,
    pub(super) p_align: U32,
}

/// The null section header; `sh_info` holds the count that `e_phnum` cannot.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Shdr64 {
    pub(super) before: [u8; 44],
    pub(super) sh_info: U32,
    pub(super) after: [u8; 16],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Shdr32 {
    pub(super) before: [u8; 28],
    pub(super) sh_info: U32,
    pub(super) after: [u8; 8],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Nhdr {
    pub(super) n_namesz: U32,
    pub(super) n_descsz: U32,
    pub(super) n_type: U32,
}

/// `struct elf_prstatus` of x86-64.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Prstatus64 {
    pub(super) siginfo: [I32; 3],
    pub(super) cursig: U16,
    pub(super) padding: [u8; 2],
    pub(super) pending: [U64; 2],
    pub(super) pid: U32,
    pub(super) ppid_pgrp_sid: [U32; 3],
    pub(super) times: [U64; 8],
    pub(super) registers: Registers64,
    pub(super) fpvalid: I32,
    pub(super) padding_end: [u8; 4],
}

/// `struct user_regs_struct` of x86-64.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Registers64 {
    pub(super) r15: U64,
    pub(super) r14: U64,
    pub(super) r13: U64,
    pub(super) r12: U64,
    pub(super) rbp: U64,
    pub(super) rbx: U64,
    pub(super) r11: U64,
    pub(super) r10: U64,
    pub(super) r9: U64,
    pub(super) r8: U64,
    pub(super) rax: U64,
    pub(super) rcx: U64,
    pub(super) rdx: U64,
    pub(super) rsi: U64,
    pub(super) rdi: U64,
    pub(super) orig_rax: U64,
    pub(super) rip: U64,
    pub(super) cs: U64,
    pub(super) eflags: U64,
    pub(super) rsp: U64,
    pub(super) ss: U64,
    pub(super) fs_base: U64,
    pub(super) gs_base: U64,
    pub(super) ds: U64,
    pub(super) es: U64,
    pub(super) fs: U64,
    pub(super) gs: U64,
}

/// `struct elf_prstatus` of i386.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Prstatus32 {
    pub(super) siginfo: [I32; 3],
    pub(super) cursig: U16,
    pub(super) padding: [u8; 2],
    pub(super) pending: [U32; 2],
    pub(super) pid: U32,
    pub(super) ppid_pgrp_sid: [U32; 3],
    pub(super) times: [U32; 8],
    pub(super) registers: Registers32,
    pub(super) fpvalid: I32,
}

/// `struct user_regs_struct` of i386.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Registers32 {
    pub(super) ebx: U32,
    pub(super) ecx: U32,
    pub(super) edx: U32,
    pub(super) esi: U32,
    pub(super) edi: U32,
    pub(super) ebp: U32,
    pub(super) eax: U32,
    pub(super) ds: U32,
    pub(super) es: U32,
    pub(super) fs: U32,
    pub(super) gs: U32,
    pub(super) orig_eax: U32,
    pub(super) eip: U32,
    pub(super) cs: U32,
    pub(super) eflags: U32,
    pub(super) esp: U32,
    pub(super) ss: U32,
}

/// `struct elf_prpsinfo` of 64-bit machines.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Prpsinfo64 {
    pub(super) state: u8,
    pub(super) sname: u8,
    pub(super) zombie: u8,
    pub(super) nice: u8,
    pub(super) padding: [u8; 4],
    pub(super) flag: U64,
    pub(super) uid_gid: [U32; 2],
    pub(super) pid: U32,
    pub(super) ppid_pgrp_sid: [U32; 3],
    pub(super) fname: [u8; 16],
    pub(super) psargs: [u8; 80],
}

/// `struct elf_prpsinfo` of i386.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Prpsinfo32 {
    pub(super) state: u8,
    pub(super) sname: u8,
    pub(super) zombie: u8,
    pub(super) nice: u8,
    pub(super) flag: U32,
    pub(super) uid_gid: [U16; 2],
    pub(super) pid: U32,
    pub(super) ppid_pgrp_sid: [U32; 3],
    pub(super) fname: [u8; 16],
    pub(super) psargs: [u8; 80],
}

/// `QEMUCPUSegment`.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct QemuSegment {
    pub(super) selector: U32,
    pub(super) limit: U32,
    pub(super) flags: U32,
    pub(super) padding: U32,
    pub(super) base: U64,
}

/// `QEMUCPUState`, the same for 32-bit guests.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct QemuCpuState {
    pub(super) version: U32,
    pub(super) size: U32,
    /// rax rbx rcx rdx rsi rdi rsp rbp r8 to r15.
    pub(super) general: [U64; 16],
    pub(super) rip: U64,
    pub(super) rflags: U64,
    /// cs ds es fs gs ss ldt tr gdt idt.
    pub(super) segments: [QemuSegment; 10],
    /// cr0 to cr4.
    pub(super) control: [U64; 5],
    pub(super) kernel_gs_base: U64,
}

const _: () = {
    assert!(size_of::<Ehdr64>() == 64 && size_of::<Ehdr32>() == 52);
    assert!(size_of::<Phdr64>() == 56 && size_of::<Phdr32>() == 32);
    assert!(size_of::<Shdr64>() == 64 && size_of::<Shdr32>() == 40);
    assert!(size_of::<Nhdr>() == 12);
    assert!(size_of::<Prstatus64>() == 336 && size_of::<Prstatus32>() == 144);
    assert!(size_of::<Registers64>() == 27 * 8 && size_of::<Registers32>() == 17 * 4);
    assert!(size_of::<Prpsinfo64>() == 136 && size_of::<Prpsinfo32>() == 124);
    assert!(size_of::<QemuCpuState>() == 440 && size_of::<QemuSegment>() == 24);
};
