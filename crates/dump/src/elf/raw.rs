//! ELF structures as written: System V ABI (generic and x86-64 supplement),
//! Linux `<linux/elf.h>`, `<linux/elfcore.h>`, `<asm/user.h>` for the notes, and
//! QEMU's `QEMUCPUState` (version 1) as crash reads it.

#![allow(clippy::struct_field_names, reason = "the names are the documents'")]

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromZeros, Immutable, IntoBytes};

pub(crate) const ET_CORE: u16 = 4;
pub(crate) const EM_386: u16 = 3;
pub(crate) const EM_X86_64: u16 = 62;
pub(crate) const EM_AARCH64: u16 = 183;
pub(crate) const ELFCLASS32: u8 = 1;
pub(crate) const ELFCLASS64: u8 = 2;
pub(crate) const ELFDATA2LSB: u8 = 1;
pub(crate) const EV_CURRENT: u8 = 1;
pub(crate) const ELFOSABI_GNU: u8 = 3;
pub(crate) const PT_LOAD: u32 = 1;
pub(crate) const PT_NOTE: u32 = 4;
pub(crate) const PF_X: u32 = 1;
pub(crate) const PF_W: u32 = 2;
pub(crate) const PF_R: u32 = 4;
/// In `e_phnum`: the real count is in `sh_info` of section header 0.
pub(crate) const PN_XNUM: u16 = 0xffff;

pub(crate) const NT_PRSTATUS: u32 = 1;
pub(crate) const NT_FPREGSET: u32 = 2;
pub(crate) const NT_PRPSINFO: u32 = 3;
pub(crate) const NT_PRXFPREG: u32 = 0x46e6_2b7f;
pub(crate) const NT_X86_XSTATE: u32 = 0x202;
pub(crate) const NT_386_TLS: u32 = 0x200;
pub(crate) const NT_AUXV: u32 = 6;
/// "SIGI" and "FILE".
pub(crate) const NT_SIGINFO: u32 = 0x5349_4749;
pub(crate) const NT_FILE: u32 = 0x4649_4c45;
/// Type of the notes whose name alone says what they are.
pub(crate) const NT_NAMED: u32 = 0;

/// `e_ident`, with its padding.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Ident {
    pub(crate) magic: [u8; 4],
    pub(crate) class: u8,
    pub(crate) data: u8,
    pub(crate) version: u8,
    pub(crate) osabi: u8,
    pub(crate) padding: [u8; 8],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Ehdr64 {
    pub(crate) e_ident: Ident,
    pub(crate) e_type: U16,
    pub(crate) e_machine: U16,
    pub(crate) e_version: U32,
    pub(crate) e_entry: U64,
    pub(crate) e_phoff: U64,
    pub(crate) e_shoff: U64,
    pub(crate) e_flags: U32,
    pub(crate) e_ehsize: U16,
    pub(crate) e_phentsize: U16,
    pub(crate) e_phnum: U16,
    pub(crate) e_shentsize: U16,
    pub(crate) e_shnum: U16,
    pub(crate) e_shstrndx: U16,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Ehdr32 {
    pub(crate) e_ident: Ident,
    pub(crate) e_type: U16,
    pub(crate) e_machine: U16,
    pub(crate) e_version: U32,
    pub(crate) e_entry: U32,
    pub(crate) e_phoff: U32,
    pub(crate) e_shoff: U32,
    pub(crate) e_flags: U32,
    pub(crate) e_ehsize: U16,
    pub(crate) e_phentsize: U16,
    pub(crate) e_phnum: U16,
    pub(crate) e_shentsize: U16,
    pub(crate) e_shnum: U16,
    pub(crate) e_shstrndx: U16,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Phdr64 {
    pub(crate) p_type: U32,
    pub(crate) p_flags: U32,
    pub(crate) p_offset: U64,
    pub(crate) p_vaddr: U64,
    pub(crate) p_paddr: U64,
    pub(crate) p_filesz: U64,
    pub(crate) p_memsz: U64,
    pub(crate) p_align: U64,
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Phdr32 {
    pub(crate) p_type: U32,
    pub(crate) p_offset: U32,
    pub(crate) p_vaddr: U32,
    pub(crate) p_paddr: U32,
    pub(crate) p_filesz: U32,
    pub(crate) p_memsz: U32,
    pub(crate) p_flags: U32,
    pub(crate) p_align: U32,
}

/// The null section header; `sh_info` holds the count that `e_phnum` cannot.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Shdr64 {
    pub(crate) before: [u8; 44],
    pub(crate) sh_info: U32,
    pub(crate) after: [u8; 16],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Shdr32 {
    pub(crate) before: [u8; 28],
    pub(crate) sh_info: U32,
    pub(crate) after: [u8; 8],
}

#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Nhdr {
    pub(crate) n_namesz: U32,
    pub(crate) n_descsz: U32,
    pub(crate) n_type: U32,
}

/// `struct elf_prstatus` of x86-64.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Prstatus64 {
    pub(crate) siginfo: [I32; 3],
    pub(crate) cursig: U16,
    pub(crate) padding: [u8; 2],
    pub(crate) pending: [U64; 2],
    pub(crate) pid: U32,
    pub(crate) ppid_pgrp_sid: [U32; 3],
    pub(crate) times: [U64; 8],
    pub(crate) registers: Registers64,
    pub(crate) fpvalid: I32,
    pub(crate) padding_end: [u8; 4],
}

/// `struct user_regs_struct` of x86-64.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Registers64 {
    pub(crate) r15: U64,
    pub(crate) r14: U64,
    pub(crate) r13: U64,
    pub(crate) r12: U64,
    pub(crate) rbp: U64,
    pub(crate) rbx: U64,
    pub(crate) r11: U64,
    pub(crate) r10: U64,
    pub(crate) r9: U64,
    pub(crate) r8: U64,
    pub(crate) rax: U64,
    pub(crate) rcx: U64,
    pub(crate) rdx: U64,
    pub(crate) rsi: U64,
    pub(crate) rdi: U64,
    pub(crate) orig_rax: U64,
    pub(crate) rip: U64,
    pub(crate) cs: U64,
    pub(crate) eflags: U64,
    pub(crate) rsp: U64,
    pub(crate) ss: U64,
    pub(crate) fs_base: U64,
    pub(crate) gs_base: U64,
    pub(crate) ds: U64,
    pub(crate) es: U64,
    pub(crate) fs: U64,
    pub(crate) gs: U64,
}

/// `struct elf_prstatus` of i386.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Prstatus32 {
    pub(crate) siginfo: [I32; 3],
    pub(crate) cursig: U16,
    pub(crate) padding: [u8; 2],
    pub(crate) pending: [U32; 2],
    pub(crate) pid: U32,
    pub(crate) ppid_pgrp_sid: [U32; 3],
    pub(crate) times: [U32; 8],
    pub(crate) registers: Registers32,
    pub(crate) fpvalid: I32,
}

/// `struct user_regs_struct` of i386.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Registers32 {
    pub(crate) ebx: U32,
    pub(crate) ecx: U32,
    pub(crate) edx: U32,
    pub(crate) esi: U32,
    pub(crate) edi: U32,
    pub(crate) ebp: U32,
    pub(crate) eax: U32,
    pub(crate) ds: U32,
    pub(crate) es: U32,
    pub(crate) fs: U32,
    pub(crate) gs: U32,
    pub(crate) orig_eax: U32,
    pub(crate) eip: U32,
    pub(crate) cs: U32,
    pub(crate) eflags: U32,
    pub(crate) esp: U32,
    pub(crate) ss: U32,
}

/// `struct elf_prpsinfo` of 64-bit machines.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Prpsinfo64 {
    pub(crate) state: u8,
    pub(crate) sname: u8,
    pub(crate) zombie: u8,
    pub(crate) nice: u8,
    pub(crate) padding: [u8; 4],
    pub(crate) flag: U64,
    pub(crate) uid_gid: [U32; 2],
    pub(crate) pid: U32,
    pub(crate) ppid_pgrp_sid: [U32; 3],
    pub(crate) fname: [u8; 16],
    pub(crate) psargs: [u8; 80],
}

/// `struct elf_prpsinfo` of i386.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Prpsinfo32 {
    pub(crate) state: u8,
    pub(crate) sname: u8,
    pub(crate) zombie: u8,
    pub(crate) nice: u8,
    pub(crate) flag: U32,
    pub(crate) uid_gid: [U16; 2],
    pub(crate) pid: U32,
    pub(crate) ppid_pgrp_sid: [U32; 3],
    pub(crate) fname: [u8; 16],
    pub(crate) psargs: [u8; 80],
}

/// `siginfo_t`, of which only the first numbers have a meaning for all signals.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct Siginfo {
    pub(crate) signo_errno_code: [I32; 3],
    pub(crate) rest: [u8; 116],
}

/// `struct user_desc`, an element of NT_386_TLS.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct UserDesc {
    pub(crate) entry_number: U32,
    pub(crate) base_addr: U32,
    pub(crate) limit: U32,
    pub(crate) flags: U32,
}

/// `QEMUCPUSegment`.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct QemuSegment {
    pub(crate) selector: U32,
    pub(crate) limit: U32,
    pub(crate) flags: U32,
    pub(crate) padding: U32,
    pub(crate) base: U64,
}

/// `QEMUCPUState`, the same for 32-bit guests.
#[derive(FromZeros, IntoBytes, Immutable)]
#[repr(C)]
pub(crate) struct QemuCpuState {
    pub(crate) version: U32,
    pub(crate) size: U32,
    /// rax rbx rcx rdx rsi rdi rsp rbp r8 to r15.
    pub(crate) general: [U64; 16],
    pub(crate) rip: U64,
    pub(crate) rflags: U64,
    /// cs ds es fs gs ss ldt tr gdt idt.
    pub(crate) segments: [QemuSegment; 10],
    /// cr0 to cr4.
    pub(crate) control: [U64; 5],
    pub(crate) kernel_gs_base: U64,
}

const _: () = {
    assert!(size_of::<Ehdr64>() == 64 && size_of::<Ehdr32>() == 52);
    assert!(size_of::<Phdr64>() == 56 && size_of::<Phdr32>() == 32);
    assert!(size_of::<Shdr64>() == 64 && size_of::<Shdr32>() == 40);
    assert!(size_of::<Nhdr>() == 12);
    assert!(size_of::<Prstatus64>() == 336 && size_of::<Prstatus32>() == 144);
    assert!(size_of::<Registers64>() == 27 * 8 && size_of::<Registers32>() == 17 * 4);
    assert!(size_of::<Prpsinfo64>() == 136 && size_of::<Prpsinfo32>() == 124);
    assert!(size_of::<Siginfo>() == 128 && size_of::<UserDesc>() == 16);
    assert!(size_of::<QemuCpuState>() == 440 && size_of::<QemuSegment>() == 24);
};
