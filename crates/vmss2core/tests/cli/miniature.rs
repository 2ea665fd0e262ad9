//! Kernels of Linux in miniature: page tables, an image with a banner and names, and
//! the note that describes it. Enough for all that the writers say of a Linux guest,
//! and the same bytes every time.

use vmss2core_lab::vmware::{Cpu, Machine};

const RELEASE: &str = "6.1.0-50-cloud-amd64";
/// Where the page tables of all processors are.
pub(crate) const ROOT: u64 = 0x1000;
const NOTE: u64 = 0x6000;
const GDT: u64 = 0x7000;
const IDT: u64 = 0x8000;
/// In the image, from its start: constants, then data.
const BANNER: u64 = 0x1_0000;
const SWAPPER: u64 = 0x21_0000;
const NAMES: u64 = 0x22_0000;
const POINTER: u64 = 0x23_0008;
const RW: u64 = 3;
const LARGE: u64 = 0x80;
const NX: u64 = 1 << 63;

/// With four levels of page tables, a slide of 14 MiB, and memory on both sides of a
/// hole.
pub(crate) fn linux_64_bit() -> Machine {
    const TEXT: u64 = 0xffff_ffff_81e0_0000;
    const TEXT_GPA: u64 = 0x20_0000;
    const DIRECT: u64 = 0xffff_9000_0000_0000;
    let mut machine = Machine::synthetic(&[(0, 8 << 20), (16 << 20, 3 << 20)], 2);
    machine.clear(0, 8 << 20);
    for root in [ROOT, TEXT_GPA + SWAPPER] {
        machine.set(root + 8 * 288, 0x4000 | RW);
        machine.set(root + 8 * 511, 0x2000 | RW);
    }
    machine.set(ROOT, 0x9000 | RW | 4);
    machine.set(0x2000 + 8 * 510, 0x3000 | RW);
    machine.set(0x3000 + 8 * 15, TEXT_GPA | LARGE | 1);
    machine.set(0x3000 + 8 * 16, (TEXT_GPA + (2 << 20)) | LARGE | RW | NX);
    machine.set(0x4000, 0x5000 | RW);
    for page in 0..4 {
        machine.set(0x5000 + 8 * page, page << 21 | LARGE | RW | NX);
    }
    machine.name(TEXT_GPA);
    machine.set(TEXT_GPA + POINTER, DIRECT + NOTE);
    machine.note(&format!(
        "OSRELEASE={RELEASE}\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={:x}\n\
         SYMBOL(_stext)={TEXT:x}\nNUMBER(phys_base)=-29360128\n\
         NUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=e00000\n",
        TEXT + SWAPPER
    ));
    for index in 0..2 {
        let gdt = GDT + index * 0x100;
        machine.set(gdt + 8 * 15, 0x0040_f500_0000_0000 | (1 - index));
        let cpu = machine.cpu(index);
        cpu.control = [0x8000_0001, 0, 0x7f00_1234, ROOT, 0x20];
        cpu.msrs.efer = Some(0xd01);
        cpu.general[4] = DIRECT + 0x9000;
        cpu.rip = TEXT + 0x1000;
        cpu.gdtr.base = DIRECT + gdt;
    }
    machine
}

/// With two levels, in a direct map of 16 MiB at 3 GiB.
pub(crate) fn linux_32_bit() -> Machine {
    const TEXT: u64 = 0xc080_0000;
    const TEXT_GPA: u64 = 0x80_0000;
    let mut machine = Machine::synthetic_32_bit(16 << 20, 1);
    machine.clear(0, 16 << 20);
    for root in [ROOT, TEXT_GPA + SWAPPER] {
        for page in 0..4 {
            let access = if page == 2 { 1 } else { RW };
            machine.set_32_bit(root + 4 * (768 + page), page << 22 | LARGE | access);
        }
    }
    machine.set_32_bit(ROOT, LARGE | RW | 4);
    machine.name(TEXT_GPA);
    machine.set_32_bit(0xc0_0000, 0xc000_0000 + NOTE);
    // The first interrupt handler, at 0xc0801234.
    machine.set(IDT, 0xc080_8e00_0060_1234);
    machine.note(&format!(
        "OSRELEASE={RELEASE}\nSYMBOL(swapper_pg_dir)={:x}\nSYMBOL(_stext)={TEXT:x}\n",
        TEXT + SWAPPER
    ));
    let cpu = machine.cpu(0);
    cpu.control = [0x8000_0001, 0, 0, ROOT, 0x10];
    cpu.rip = TEXT + 0x1000;
    cpu.segments[1] = (0x60, 0);
    cpu.msrs.efer = Some(0);
    cpu.idtr.base = 0xc000_0000 + IDT;
    machine
}

/// What kernels of both kinds are put together from.
trait Build {
    fn put(&mut self, gpa: u64, bytes: &[u8]);
    fn cpu(&mut self, index: u64) -> &mut Cpu;

    fn clear(&mut self, gpa: u64, len: usize) {
        self.put(gpa, &vec![0; len]);
    }

    fn set(&mut self, gpa: u64, value: u64) {
        self.put(gpa, &value.to_le_bytes());
    }

    fn set_32_bit(&mut self, gpa: u64, value: u64) {
        self.put(gpa, &u32::try_from(value).unwrap().to_le_bytes());
    }

    /// The banner and the names of the system.
    fn name(&mut self, image: u64) {
        let banner = format!("Linux version {RELEASE} (a@b) (gcc-12) #1 SMP Debian 6.1.176-1\n\0");
        self.put(image + BANNER, banner.as_bytes());
        let names = ["Linux", "(none)", RELEASE, "#1 SMP", "x86_64"];
        for (name, at) in names.iter().zip((image + NAMES..).step_by(65)) {
            self.put(at, name.as_bytes());
        }
    }

    fn note(&mut self, text: &str) {
        let len = u32::try_from(text.len()).unwrap();
        self.put(NOTE, &[11_u32.to_le_bytes(), len.to_le_bytes(), [0; 4]].concat());
        self.put(NOTE + 12, b"VMCOREINFO\0\0");
        self.put(NOTE + 24, text.as_bytes());
    }
}

impl Build for Machine {
    fn put(&mut self, gpa: u64, bytes: &[u8]) {
        // All that is built lies in the first range, which comes first in the file.
        self.ram.patch(gpa, bytes);
    }

    fn cpu(&mut self, index: u64) -> &mut Cpu {
        &mut self.cpus[usize::try_from(index).unwrap()]
    }
}
