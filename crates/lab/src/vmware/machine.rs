//! What gets wrapped into a checkpoint: memory and registers as plain numbers.

use anyhow::Result;

use super::contents::Contents;
use crate::guest::Guest;
use crate::registers::CpuRegisters;

/// A stopped machine.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Where the memory is for the guest, in ascending order of address.
    pub memory: Vec<MemoryRange>,
    /// The bytes of all ranges.
    pub ram: Contents,
    /// Its processors.
    pub cpus: Vec<Cpu>,
}

/// A range of guest physical memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryRange {
    /// First guest physical address.
    pub gpa: u64,
    /// Length in bytes.
    pub len: u64,
    /// Offset of its first byte in [`Machine::ram`].
    pub offset: u64,
}

/// The registers of one x86 processor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cpu {
    /// rax rcx rdx rbx rsp rbp rsi rdi r8 to r15: the order of their encoding.
    pub general: [u64; 16],
    /// Instruction pointer.
    pub rip: u64,
    /// Flags.
    pub rflags: u32,
    /// ES CS SS DS FS GS LDTR TR, as (selector, base).
    pub segments: [(u16, u64); 8],
    /// What else the segment registers hold, in the same order, if known.
    pub hidden: [Option<HiddenPart>; 8],
    /// CR0 to CR4; CR1 does not exist and stays 0.
    pub control: [u64; 5],
    /// CR8.
    pub task_priority: u64,
    /// DR0 to DR7.
    pub debug: [u64; 8],
    /// Global descriptor table.
    pub gdtr: TableRegister,
    /// Interrupt descriptor table.
    pub idtr: TableRegister,
    /// Whether it sits in a halt instruction.
    pub halted: bool,
    /// Model-specific registers.
    pub msrs: ModelRegisters,
    /// Others, by number.
    pub other_msrs: Vec<(u32, u64)>,
    /// x87, SSE and later registers, if known.
    pub vectors: Option<Vectors>,
}

/// What a segment register holds besides selector and base.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HiddenPart {
    /// Limit in bytes.
    pub limit: u32,
    /// The descriptor's upper word without base and limit.
    pub rights: u32,
}

/// x87, SSE and later registers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Vectors {
    /// The image that `FXSAVE` makes, 512 bytes.
    pub fxsave: Vec<u8>,
    /// Components of an XSAVE area that are in use, by number.
    pub components: Vec<(u32, Vec<u8>)>,
}

/// GDTR or IDTR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableRegister {
    /// Linear address.
    pub base: u64,
    /// Size in bytes less one.
    pub limit: u16,
}

/// Model-specific registers that a checkpoint may name, as far as known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the registers'")]
pub struct ModelRegisters {
    pub efer: Option<u64>,
    pub star: Option<u64>,
    pub lstar: Option<u64>,
    pub cstar: Option<u64>,
    pub sfmask: Option<u64>,
    pub kernel_gs_base: Option<u64>,
    pub sysenter_cs: Option<u64>,
    pub sysenter_esp: Option<u64>,
    pub sysenter_eip: Option<u64>,
    pub tsc: Option<u64>,
    pub pat: Option<u64>,
    pub xcr0: Option<u64>,
    pub tsc_aux: Option<u64>,
}

impl Machine {
    /// A machine with these ranges of (address, length), whose pages that are not
    /// zero all differ, and whose registers do.
    pub fn synthetic(ranges: &[(u64, u64)], cpus: u32) -> Self {
        let mut memory = Vec::new();
        let mut ram = Vec::new();
        for (gpa, len) in ranges {
            memory.push(MemoryRange { gpa: *gpa, len: *len, offset: ram.len() as u64 });
            for page in 0..len / 4096 {
                ram.extend_from_slice(&page_of(gpa / 4096 + page));
            }
        }
        let cpus = (0..cpus).map(Cpu::synthetic).collect();
        Self { memory, ram: ram.into(), cpus }
    }

    /// A guest of 32-bit processors with one range of memory from 0.
    pub fn synthetic_32_bit(len: u64, cpus: u32) -> Self {
        let mut machine = Self::synthetic(&[(0, len)], cpus);
        machine.cpus.iter_mut().for_each(Cpu::narrow);
        machine
    }

    /// A guest that really ran.
    pub fn of_guest(guest: &Guest) -> Result<Self> {
        let memory = guest.memory_map().into_iter().map(|range| MemoryRange {
            gpa: range.gpa,
            len: range.len,
            offset: range.file_offset,
        });
        let ram = Contents::of_file(&guest.ram)?;
        Ok(Self { memory: memory.collect(), ram, cpus: guest.cpus.iter().map(Cpu::from).collect() })
    }

    /// Memory in bytes.
    pub fn len_bytes(&self) -> u64 {
        self.memory.iter().map(|range| range.len).sum()
    }
}

/// The content of a synthetic page: zero, repetitive or noise by its number,
/// so that compressors meet all three, and its number in front.
pub fn page_of(number: u64) -> [u8; 4096] {
    let mut page = [0; 4096];
    if number % 7 == 3 {
        return page;
    }
    let mut state = number.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for (index, word) in page.chunks_exact_mut(8).enumerate() {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let repetitive = number % 3 == 1;
        let value = if repetitive { number.wrapping_add(index as u64 / 64) } else { state };
        word.copy_from_slice(&value.to_le_bytes());
    }
    let mut front = page.first_chunk_mut::<8>();
    if let Some(front) = front.as_mut() {
        **front = number.to_le_bytes();
    }
    page
}

impl Cpu {
    /// A processor of which no two registers are equal.
    pub fn synthetic(index: u32) -> Self {
        let base = 0xffff_8880_0000_0000 + (u64::from(index) << 32);
        let mut next = base;
        let mut number = || {
            next += 0x1_0008;
            next
        };
        let general = std::array::from_fn(|_| number());
        let segments = [0x2b, 0x10, 0x18, 0x33, 0x53, 0x5b, 0x78, 0x40]
            .map(|selector: u16| (selector, number()));
        Self {
            general,
            rip: 0xffff_ffff_8100_0000 + u64::from(index) * 16,
            rflags: 0x246 + (index << 16),
            segments,
            control: [0x8005_0033, 0, number() & 0xffff_ffff_f000, 0x1000 * 0x1234, 0x0035_0ef0],
            task_priority: 5,
            debug: [1, 2, 3, 4, 0, 0, 0xffff_0ff0, 0x400].map(|low: u64| low + u64::from(index)),
            gdtr: TableRegister { base: number(), limit: 0x7f },
            idtr: TableRegister { base: number(), limit: 0xfff },
            halted: index % 2 == 1,
            msrs: ModelRegisters::synthetic(index),
            hidden: std::array::from_fn(|number| Some(HiddenPart::synthetic(number))),
            other_msrs: vec![(0x179, 0xf00 + u64::from(index)), (0xda0, 0x1800)],
            vectors: Some(Vectors::synthetic(index)),
        }
    }
}

impl HiddenPart {
    /// With the limit in pages and in bytes by turns.
    fn synthetic(number: usize) -> Self {
        let number = u32::try_from(number).unwrap_or_default();
        match number % 2 {
            0 => Self { limit: 0x67 + number, rights: 0x0040_9300 + (number << 8) },
            _ => Self { limit: (number << 20) + 0xfff, rights: 0x00a0_9b00 + (number << 8) },
        }
    }
}

impl Vectors {
    /// No two registers of which are equal.
    pub fn synthetic(index: u32) -> Self {
        let noise = page_of(u64::from(index) * 3 + 5);
        let (image, rest) = noise.split_at(512);
        let (upper_halves, rest) = rest.split_at(256);
        let (keys, _) = rest.split_at(8);
        let mut fxsave = image.to_vec();
        // The two control words, and the mask of the second.
        fxsave.splice(..2, 0x37f_u16.to_le_bytes());
        fxsave.splice(24..32, 0xffff_0000_1f80_u64.to_le_bytes());
        let components = vec![(2, upper_halves.to_vec()), (9, keys.to_vec())];
        Self { fxsave, components }
    }
}

impl From<&CpuRegisters> for Cpu {
    fn from(cpu: &CpuRegisters) -> Self {
        let vectors = cpu.fxsave.clone().map(|fxsave| {
            let upper = cpu.ymm_high.clone().map(|halves| (2, halves));
            Vectors { fxsave, components: upper.into_iter().collect() }
        });
        Self {
            general: cpu.gpr,
            rip: cpu.rip,
            rflags: u32::try_from(cpu.rflags & 0xffff_ffff).unwrap_or_default(),
            segments: cpu.segments.map(|segment| (segment.selector, segment.base)),
            control: [cpu.cr0, 0, cpu.cr2, cpu.cr3, cpu.cr4],
            task_priority: cpu.cr8.unwrap_or_default(),
            debug: cpu.dr,
            gdtr: TableRegister { base: cpu.gdt.base, limit: cpu.gdt.limit },
            idtr: TableRegister { base: cpu.idt.base, limit: cpu.idt.limit },
            halted: cpu.halted,
            msrs: ModelRegisters {
                efer: Some(cpu.efer),
                kernel_gs_base: cpu.kernel_gs_base,
                // QEMU does not say it, but shows YMM registers where it has their bit.
                xcr0: cpu.ymm_high.is_some().then_some(7),
                ..ModelRegisters::default()
            },
            hidden: cpu.segments.map(|segment| {
                let rights = segment.flags & 0x00f0_ff00;
                Some(HiddenPart { limit: segment.limit, rights })
            }),
            other_msrs: Vec::new(),
            vectors,
        }
    }
}

impl Cpu {
    /// Makes it a 32-bit processor.
    fn narrow(&mut self) {
        let halves = self.general.iter_mut().chain(&mut self.control).chain(&mut self.debug);
        let tables = [&mut self.gdtr.base, &mut self.idtr.base, &mut self.rip];
        halves.chain(tables).for_each(|value| *value &= 0xffff_ffff);
        self.general[8..].fill(0);
        self.segments = self.segments.map(|(selector, _)| (selector, 0));
        self.task_priority = 0;
        self.msrs = ModelRegisters::default();
        (self.hidden, self.vectors, self.other_msrs) = ([None; 8], None, Vec::new());
    }
}

impl ModelRegisters {
    fn synthetic(index: u32) -> Self {
        let at = |number: u64| Some(0xffff_ffff_8200_0000 + number * 0x1000 + u64::from(index));
        Self {
            efer: Some(0xd01),
            star: at(1),
            lstar: at(2),
            cstar: at(3),
            kernel_gs_base: at(4),
            sysenter_cs: Some(0x10),
            sysenter_esp: at(5),
            sysenter_eip: at(6),
            tsc: at(7),
            pat: Some(0x0407_0506_0007_0106),
            xcr0: Some(0x207),
            sfmask: at(8),
            tsc_aux: at(9),
        }
    }
}
