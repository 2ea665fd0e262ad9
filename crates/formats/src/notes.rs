//! Notes of ELF cores: Linux `<linux/elf.h>`, `<linux/elfcore.h>`, `<asm/user.h>`, and
//! QEMU's `QEMUCPUState` (version 1) as crash reads it.

use zerocopy::little_endian::{I32, U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Names of notes, each followed by a NUL.
pub const CORE: &[u8] = b"CORE";
pub const LINUX: &[u8] = b"LINUX";
pub const QEMU: &[u8] = b"QEMU";
pub const VMCOREINFO: &[u8] = b"VMCOREINFO";
/// Of the notes of binutils and compilers.
pub const GNU: &[u8] = b"GNU";

pub const NT_PRSTATUS: u32 = 1;
pub const NT_FPREGSET: u32 = 2;
pub const NT_PRPSINFO: u32 = 3;
pub const NT_PRXFPREG: u32 = 0x46e6_2b7f;
pub const NT_X86_XSTATE: u32 = 0x202;
pub const NT_386_TLS: u32 = 0x200;
pub const NT_AUXV: u32 = 6;
/// "SIGI" and "FILE".
pub const NT_SIGINFO: u32 = 0x5349_4749;
pub const NT_FILE: u32 = 0x4649_4c45;
/// Type of the notes whose name alone says what they are.
pub const NT_NAMED: u32 = 0;

/// `Elf64_Nhdr`, the same for both classes.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Nhdr {
    pub n_namesz: U32,
    pub n_descsz: U32,
    pub n_type: U32,
}

/// `struct elf_prstatus` of x86-64.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Prstatus64 {
    pub siginfo: [I32; 3],
    pub cursig: U16,
    pub padding: [u8; 2],
    pub pending: [U64; 2],
    pub pid: U32,
    pub ppid_pgrp_sid: [U32; 3],
    pub times: [U64; 8],
    pub registers: Registers64,
    pub fpvalid: I32,
    pub padding_end: [u8; 4],
}

/// `struct user_regs_struct` of x86-64.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Registers64 {
    pub r15: U64,
    pub r14: U64,
    pub r13: U64,
    pub r12: U64,
    pub rbp: U64,
    pub rbx: U64,
    pub r11: U64,
    pub r10: U64,
    pub r9: U64,
    pub r8: U64,
    pub rax: U64,
    pub rcx: U64,
    pub rdx: U64,
    pub rsi: U64,
    pub rdi: U64,
    pub orig_rax: U64,
    pub rip: U64,
    pub cs: U64,
    pub eflags: U64,
    pub rsp: U64,
    pub ss: U64,
    pub fs_base: U64,
    pub gs_base: U64,
    pub ds: U64,
    pub es: U64,
    pub fs: U64,
    pub gs: U64,
}

/// `struct elf_prstatus` of i386.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Prstatus32 {
    pub siginfo: [I32; 3],
    pub cursig: U16,
    pub padding: [u8; 2],
    pub pending: [U32; 2],
    pub pid: U32,
    pub ppid_pgrp_sid: [U32; 3],
    pub times: [U32; 8],
    pub registers: Registers32,
    pub fpvalid: I32,
}

/// `struct user_regs_struct` of i386.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Registers32 {
    pub ebx: U32,
    pub ecx: U32,
    pub edx: U32,
    pub esi: U32,
    pub edi: U32,
    pub ebp: U32,
    pub eax: U32,
    pub ds: U32,
    pub es: U32,
    pub fs: U32,
    pub gs: U32,
    pub orig_eax: U32,
    pub eip: U32,
    pub cs: U32,
    pub eflags: U32,
    pub esp: U32,
    pub ss: U32,
}

/// `struct elf_prpsinfo` of 64-bit machines.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Prpsinfo64 {
    pub state: u8,
    pub sname: u8,
    pub zombie: u8,
    pub nice: u8,
    pub padding: [u8; 4],
    pub flag: U64,
    pub uid_gid: [U32; 2],
    pub pid: U32,
    pub ppid_pgrp_sid: [U32; 3],
    pub fname: [u8; 16],
    pub psargs: [u8; 80],
}

/// `struct elf_prpsinfo` of i386.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Prpsinfo32 {
    pub state: u8,
    pub sname: u8,
    pub zombie: u8,
    pub nice: u8,
    pub flag: U32,
    pub uid_gid: [U16; 2],
    pub pid: U32,
    pub ppid_pgrp_sid: [U32; 3],
    pub fname: [u8; 16],
    pub psargs: [u8; 80],
}

/// `siginfo_t`, of which only the first numbers have a meaning for all signals.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct Siginfo {
    pub signo_errno_code: [I32; 3],
    pub rest: [u8; 116],
}

/// `struct user_desc`, an element of NT_386_TLS.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct UserDesc {
    pub entry_number: U32,
    pub base_addr: U32,
    pub limit: U32,
    pub flags: U32,
}

/// `QEMUCPUSegment`.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct QemuSegment {
    pub selector: U32,
    pub limit: U32,
    pub flags: U32,
    pub padding: U32,
    pub base: U64,
}

/// `QEMUCPUState`, the same for 32-bit guests.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct QemuCpuState {
    pub version: U32,
    pub size: U32,
    /// rax rbx rcx rdx rsi rdi rsp rbp r8 to r15.
    pub general: [U64; 16],
    pub rip: U64,
    pub rflags: U64,
    /// cs ds es fs gs ss ldt tr gdt idt.
    pub segments: [QemuSegment; 10],
    /// cr0 to cr4.
    pub control: [U64; 5],
    pub kernel_gs_base: U64,
}

const _: () = {
    assert!(size_of::<Nhdr>() == 12);
    assert!(size_of::<Prstatus64>() == 336 && size_of::<Prstatus32>() == 144);
    assert!(size_of::<Registers64>() == 27 * 8 && size_of::<Registers32>() == 17 * 4);
    assert!(size_of::<Prpsinfo64>() == 136 && size_of::<Prpsinfo32>() == 124);
    assert!(size_of::<Siginfo>() == 128 && size_of::<UserDesc>() == 16);
    assert!(size_of::<QemuCpuState>() == 440 && size_of::<QemuSegment>() == 24);
};
