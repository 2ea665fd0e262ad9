//! Written files as the `object` crate reads them.

use object::Endianness;
use object::elf::{FileHeader32, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use vmss2core_guest::{Facts, KernelText, LinuxFacts, VmcoreInfo};
use vmss2core_machine::arch::ASSUMED;
use vmss2core_machine::x86::{FpuState, SegmentRegister, modes};
use vmss2core_machine::{Checkpoint, VcpuView};
use vmss2core_mem::{Found, Gpa, Gva, PAGE_SIZE};

use crate::arch::x86::fpu;
use crate::elf_core::{Kind, Machine, Notes, assemble};
use crate::tests::support::{
    LONG_MODE, Scratch, guest, map_marked, marked, vcpu, write, write_to, x86_of,
};
use crate::views::{Access, Body, Load};
use crate::{DumpError, Silent};

/// An ELF core as an independent reader sees it.
#[derive(Debug)]
struct Core {
    class: u8,
    machine: u16,
    osabi: u8,
    loads: Vec<Segment>,
    notes: Vec<Note>,
    /// Where the notes end and where memory begins.
    notes_end: u64,
    memory_start: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Segment {
    vaddr: u64,
    paddr: u64,
    offset: u64,
    filesz: u64,
    memsz: u64,
    flags: u32,
    align: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Note {
    name: String,
    kind: u32,
    desc: Vec<u8>,
}

impl Core {
    fn parse(file: &[u8]) -> Self {
        match file[4] {
            1 => Self::parse_as::<FileHeader32<Endianness>>(file),
            _ => Self::parse_as::<FileHeader64<Endianness>>(file),
        }
    }

    fn parse_as<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Self {
        let header = H::parse(file).unwrap();
        let endian = header.endian().unwrap();
        assert_eq!(header.e_type(endian), object::elf::ET_CORE);
        let segments = header.program_headers(endian, file).unwrap();
        let (note, loads) = segments.split_first().unwrap();
        assert_eq!(note.p_type(endian), object::elf::PT_NOTE);
        let mut iterator = note.notes(endian, file).unwrap().unwrap();
        let mut notes = Vec::new();
        while let Some(note) = iterator.next().unwrap() {
            notes.push(Note {
                name: String::from_utf8(note.name().to_vec()).unwrap(),
                kind: note.n_type(endian).0,
                desc: note.desc().to_vec(),
            });
        }
        let loads: Vec<Segment> = loads
            .iter()
            .map(|load| {
                assert_eq!(load.p_type(endian), object::elf::PT_LOAD);
                Segment {
                    vaddr: load.p_vaddr(endian).into(),
                    paddr: load.p_paddr(endian).into(),
                    offset: load.p_offset(endian).into(),
                    filesz: load.p_filesz(endian).into(),
                    memsz: load.p_memsz(endian).into(),
                    flags: load.p_flags(endian).0,
                    align: load.p_align(endian).into(),
                }
            })
            .collect();
        Self {
            class: header.e_ident().class.0,
            machine: header.e_machine(endian).0,
            osabi: header.e_ident().os_abi.0,
            notes_end: note.p_offset(endian).into() + note.p_filesz(endian).into(),
            memory_start: loads.iter().map(|load| load.offset).min().unwrap(),
            loads,
            notes,
        }
    }

    /// The 8 bytes at a virtual address, by the first segment that has it.
    fn read(&self, file: &[u8], vaddr: u64) -> Option<u64> {
        let load = self
            .loads
            .iter()
            .find(|load| vaddr.checked_sub(load.vaddr).is_some_and(|at| at + 8 <= load.filesz))?;
        let at = usize::try_from(load.offset + (vaddr - load.vaddr)).unwrap();
        Some(u64::from_le_bytes(file[at..at + 8].try_into().unwrap()))
    }

    fn kinds(&self) -> Vec<(&str, u32, usize)> {
        self.notes.iter().map(|n| (n.name.as_str(), n.kind, n.desc.len())).collect()
    }

    /// Rules for every core, whatever its format.
    fn check(&self, file: &[u8]) {
        assert_eq!(self.osabi, object::elf::ELFOSABI_GNU.0);
        assert!(self.notes_end <= self.memory_start);
        for load in &self.loads {
            assert!(load.offset.is_multiple_of(PAGE_SIZE), "{load:x?}");
            assert!(load.offset + load.filesz <= file.len() as u64, "{load:x?}");
            assert_eq!(load.filesz, load.memsz);
        }
    }
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap())
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap())
}

fn write_core(format: &str, checkpoint: &Checkpoint, facts: &Facts) -> (Core, Vec<u8>) {
    let (file, summary) = write(format, checkpoint, facts, "").unwrap();
    assert_eq!(summary.len_bytes, file.len() as u64);
    let core = Core::parse(&file);
    core.check(&file);
    (core, file)
}

/// Page tables at 0x1000 on: the last 4 KiB of the address space to 0x8000, a
/// 2 MiB page with all memory at 0xffff_8880_0000_0000, three scattered pages
/// at 0x40_0000.
fn paged_guest() -> Checkpoint {
    let mut memory = marked(0, 512);
    for table in [0x1000, 0x2000, 0x3000, 0x4000, 0x5000, 0x6000, 0x1_0000, 0x1_1000, 0x1_2000] {
        memory[table..table + 4096].fill(0);
    }
    let mut put = |at: usize, value: u64| {
        memory[at..at + 8].copy_from_slice(&value.to_le_bytes());
    };
    let (pml4, low, direct, top) = (0x1000, 0x2000, 0x3000, 0x4000);
    put(pml4, 0x2007);
    put(pml4 + 8 * 273, 0x3003);
    put(pml4 + 8 * 511, 0x4003);
    put(low, 0x5007);
    put(0x5000 + 8 * 2, 0x6007);
    for (index, page) in [0x9_0007, 0x5_0007, 0x7_0005].into_iter().enumerate() {
        put(0x6000 + 8 * index, page);
    }
    put(direct, 0x10003);
    put(0x10000, 0x83 | 1 << 63);
    put(top + 8 * 511, 0x11003);
    put(0x11000 + 8 * 511, 0x12003);
    put(0x12000 + 8 * 511, 0x8003);
    let mut checkpoint = Checkpoint::default();
    checkpoint.memory.map(Gpa(0), 512 * PAGE_SIZE, std::sync::Arc::new(memory), 0).unwrap();
    // More memory that nothing maps: a hundredth of it may be copied.
    let unmapped = std::sync::Arc::new(vmss2core_mem::Zeroes);
    checkpoint.memory.map(Gpa(1 << 30), 32 << 20, unmapped, 0).unwrap();
    checkpoint.vcpus = [vcpu(0, LONG_MODE), vcpu(1, LONG_MODE)].into();
    checkpoint
}

const DIRECT: u64 = 0xffff_8880_0000_0000;

#[test]
fn the_linear_view_reads_as_the_page_tables_say() {
    let checkpoint = paged_guest();
    let (core, file) = write_core("elf-linear", &checkpoint, &Facts::default());
    assert_eq!((core.class, core.machine), (2, object::elf::EM_X86_64.0));
    let starts: Vec<u64> = core.loads.iter().map(|load| load.vaddr).collect();
    assert_eq!(starts, [0x40_0000, DIRECT, 0xffff_ffff_ffff_f000]);
    for (gva, gpa) in [
        (0x40_0000, 0x9_0000),
        (0x40_1000, 0x5_0000),
        (0x40_2000, 0x7_0000),
        (DIRECT + 0x3_0000, 0x3_0000),
        (0xffff_ffff_ffff_f000, 0x8000),
    ] {
        assert_eq!(core.read(&file, gva), Some(gpa | 1), "{gva:#x}");
    }
    // Written beside the direct map's: R and X of the user pages, no X for the
    // direct map.
    let flags: Vec<u32> = core.loads.iter().map(|load| load.flags).collect();
    assert_eq!(flags, [7, 6, 7]);
    // A segment that ended at 2^64 would be lost.
    assert_eq!(core.loads[2].filesz, 0xfff);
    assert!(core.loads.iter().all(|load| load.align == 0x1000));
}

#[test]
fn the_linear_view_is_no_larger_than_memory() {
    let checkpoint = paged_guest();
    let (core, file) = write_core("elf-linear", &checkpoint, &Facts::default());
    let three_pages = 3 * PAGE_SIZE;
    let memory = 512 * PAGE_SIZE;
    assert_eq!(file.len() as u64, core.memory_start + memory + three_pages);
    assert!(file.len() as u64 <= checkpoint.memory.len_bytes() * 101 / 100);
    let (file, _) = write("elf-linear", &checkpoint, &Facts::default(), "no-dedup").unwrap();
    let core = Core::parse(&file);
    assert_eq!(file.len() as u64, core.memory_start + memory + three_pages + PAGE_SIZE);
    assert_eq!(core.read(&file, 0x40_1000), Some(0x5_0001));
}

#[test]
fn other_page_tables_can_be_named() {
    let mut checkpoint = paged_guest();
    x86_of(&mut checkpoint.vcpus_mut()[0]).control.cr3 = None;
    let refused = write("elf-linear", &checkpoint, &Facts::default(), "");
    let refused = refused.unwrap_err();
    assert!(matches!(refused, DumpError::NoAddressSpace { .. }), "{refused:?}");
    assert!(refused.to_string().contains("CR3"), "{refused}");
    let (file, _) = write("elf-linear", &checkpoint, &Facts::default(), "cr3=1018").unwrap();
    assert_eq!(Core::parse(&file).read(&file, 0x40_0000), Some(0x9_0001));
}

#[test]
fn threads_are_the_own_vcpu_and_then_the_others_if_wanted() {
    let checkpoint = paged_guest();
    let pids = |choices| -> Vec<u32> {
        let (file, _) = write("elf-linear", &checkpoint, &Facts::default(), choices).unwrap();
        let core = Core::parse(&file);
        let status = core.notes.iter().filter(|note| note.name == "CORE" && note.kind == 1);
        status.map(|note| u32_at(&note.desc, 32)).collect()
    };
    assert_eq!(pids("vcpu=1"), [2]);
    assert_eq!(pids("vcpu=1 all-threads"), [2, 1]);
    let refused = write("elf-linear", &checkpoint, &Facts::default(), "vcpu=9 all-threads");
    assert!(matches!(refused, Err(DumpError::NoVcpu { index: 9, count: 2 })));
}

#[test]
fn isolated_page_tables_get_the_kernel_back() {
    let mut checkpoint = paged_guest();
    // User tables: the low half of the others alone.
    let mut user = vec![0; 4096];
    user[..8].copy_from_slice(&0x2007_u64.to_le_bytes());
    checkpoint.memory.map(Gpa(0x40_0000), 4096, std::sync::Arc::new(user), 0).unwrap();
    x86_of(&mut checkpoint.vcpus_mut()[0]).control.cr3 = Some(0x40_0000);
    let mut facts = Facts::default();
    let (core, _) = write_core("elf-linear", &checkpoint, &facts);
    assert_eq!(core.loads.len(), 1);
    let root = modes::FOUR_LEVEL.root_of(0x1000);
    facts.vcpus =
        [VcpuView { index: 0, kernel_root: Some(Found::new(root, "test")), ..Default::default() }]
            .into();
    let (core, file) = write_core("elf-linear", &checkpoint, &facts);
    assert_eq!(core.read(&file, DIRECT + 0x9_0000), Some(0x9_0001));
    assert_eq!(core.read(&file, 0x40_0000), Some(0x9_0001));
}

#[test]
fn without_paging_linear_is_physical_below_4_gib() {
    let mut checkpoint = guest(&[(0, 16), (1 << 32, 16)]);
    let mut cpu = vcpu(0, 0);
    let x86 = x86_of(&mut cpu);
    x86.control.cr0 = Some(0x10);
    x86.segments.cs.base = Some(0xf_0000);
    x86.rip = Some(0xfff0);
    checkpoint.vcpus = [cpu].into();
    let (file, summary) = write("elf-linear", &checkpoint, &Facts::default(), "").unwrap();
    let core = Core::parse(&file);
    assert_eq!((core.class, core.machine), (1, object::elf::EM_386.0));
    assert_eq!(core.loads.len(), 1);
    assert_eq!((core.loads[0].vaddr, core.loads[0].filesz), (0, 16 * PAGE_SIZE));
    let hint = summary.hints.iter().find(|hint| hint.contains("i8086")).unwrap();
    assert!(hint.contains("0xffff0"), "{hint}");
}

#[test]
fn page_tables_that_map_nothing_are_an_error() {
    let mut checkpoint = guest(&[(0, 16)]);
    checkpoint.vcpus = [vcpu(0, LONG_MODE)].into();
    x86_of(&mut checkpoint.vcpus_mut()[0]).control.cr3 = Some(1 << 40);
    let refused = write("elf-linear", &checkpoint, &Facts::default(), "");
    assert!(matches!(refused, Err(DumpError::NothingMapped { .. })), "{refused:?}");
}

#[test]
fn the_physical_view_has_a_segment_per_stretch() {
    let mut checkpoint = guest(&[(0, 256), (1 << 32, 64)]);
    checkpoint.vcpus = [vcpu(0, LONG_MODE), vcpu(1, LONG_MODE)].into();
    let (core, file) = write_core("elf-physical", &checkpoint, &Facts::default());
    assert_eq!((core.class, core.machine), (2, object::elf::EM_X86_64.0));
    let places: Vec<_> = core.loads.iter().map(|l| (l.vaddr, l.paddr, l.filesz)).collect();
    assert_eq!(places, [(0, 0, 0x10_0000), (1 << 32, 1 << 32, 0x4_0000)]);
    for load in &core.loads {
        let at = usize::try_from(load.offset).unwrap();
        let len = usize::try_from(load.filesz).unwrap();
        assert_eq!(file[at..at + len], marked(load.paddr, load.filesz / PAGE_SIZE));
    }
}

#[test]
fn a_32_bit_guest_is_elf32_while_it_fits() {
    for (parts, class) in
        [(vec![(0, 16)], 1), (vec![(0, 16), (0xffff_f000, 1)], 1), (vec![(0, 16), (1 << 32, 1)], 2)]
    {
        let mut checkpoint = guest(&parts);
        checkpoint.vcpus = [vcpu(0, 0)].into();
        let (core, _) = write_core("elf-physical", &checkpoint, &Facts::default());
        assert_eq!((core.class, core.machine), (class, object::elf::EM_386.0), "{parts:x?}");
        assert_eq!(core.kinds()[1], ("CORE", 1, 144));
    }
}

#[test]
fn memory_cut_within_a_page_ends_at_the_page() {
    let mut checkpoint = guest(&[(0, 3)]);
    checkpoint.memory.map(Gpa(0x3000), 100, std::sync::Arc::new(vec![1; 100]), 0).unwrap();
    for format in ["elf", "elf-physical"] {
        let (core, _) = write_core(format, &checkpoint, &Facts::default());
        assert_eq!(core.loads[0].filesz, 0x3000);
    }
    let mut checkpoint = Checkpoint::default();
    checkpoint.memory.map(Gpa(0x3000), 100, std::sync::Arc::new(vec![1; 100]), 0).unwrap();
    for format in ["elf", "elf-physical"] {
        let refused = write(format, &checkpoint, &Facts::default(), "");
        assert!(matches!(refused, Err(DumpError::NoMemory { .. })));
    }
}

#[test]
fn more_headers_than_e_phnum_can_count_go_to_a_section_header() {
    for (machine, count) in [
        (Machine { arch: ASSUMED, is_64_bit: true }, 65_533),
        (Machine { arch: ASSUMED, is_64_bit: true }, 65_534),
        (Machine { arch: ASSUMED, is_64_bit: true }, 70_000),
        (Machine { arch: ASSUMED, is_64_bit: false }, 65_533),
        (Machine { arch: ASSUMED, is_64_bit: false }, 65_534),
        (Machine { arch: ASSUMED, is_64_bit: false }, 70_000),
    ] {
        let mut body = Body::default();
        for page in 0..count {
            let offset = body.append(Gpa(0), PAGE_SIZE).unwrap();
            let (vaddr, access) = (page * 0x2000, Access::ALL);
            body.loads.push(Load { vaddr, paddr: 0, offset, len_bytes: PAGE_SIZE, access });
        }
        let mut notes = Notes::new(machine);
        notes.guest(7);
        let kind = Kind { machine, load_align: 0x1000 };
        let layout = assemble(kind, &notes.into_bytes(), body).unwrap();
        let header = &layout.literals[0].bytes;
        let core = Core::parse(header);
        assert_eq!(core.loads.len() as u64, count, "{machine:?}");
        assert_eq!(core.loads.last().unwrap().vaddr, (count - 1) * 0x2000);
        assert_eq!(core.loads.last().unwrap().offset, layout.extents.last().unwrap().offset);
        assert!(core.notes_end <= core.memory_start);
        assert_eq!(core.notes.len(), 1);
        let escaped = u16::from_le_bytes(
            header[if core.class == 2 { 56..58 } else { 44..46 }].try_into().unwrap(),
        );
        assert_eq!(escaped == 0xffff, count + 1 >= 0xffff, "{count}");
    }
}

fn linux_facts() -> Facts {
    let how = "test";
    let linux = LinuxFacts {
        is_64_bit: true,
        text: Some(Found::new(
            KernelText { start: Gva(0xffff_ffff_8100_0000), gpa: Gpa(0x10_0000), len: 0x2000 },
            how,
        )),
        kaslr_offset: Some(Found::new(0x1e60_0000, how)),
        phys_base: Some(Found::new(-0xf0_0000, how)),
        direct_map: Some(Found::new(Gva(DIRECT), how)),
        vmcoreinfo: Some(Found::new(
            VmcoreInfo { text: "OSRELEASE=6.1\nPAGESIZE=4096\n".to_owned(), synthesised: false },
            how,
        )),
        ..LinuxFacts::default()
    };
    let vcpu = |index, number| VcpuView { index, number: Some(number), ..VcpuView::default() };
    let vcpus = [vcpu(0, 1), vcpu(1, 0)].into();
    Facts { vcpus, ..Facts::of(linux, "made") }
}

fn linux_guest() -> Checkpoint {
    let mut checkpoint = guest(&[(0, 512), (1 << 32, 64)]);
    checkpoint.vcpus = [vcpu(0, LONG_MODE), vcpu(1, LONG_MODE)].into();
    checkpoint
}

#[test]
fn a_linux_core_is_a_kdump_with_text_and_direct_map() {
    let (core, file) = write_core("elf", &linux_guest(), &linux_facts());
    let places: Vec<_> = core.loads.iter().map(|l| (l.vaddr, l.paddr, l.filesz)).collect();
    assert_eq!(
        places,
        [
            (0xffff_ffff_8100_0000, 0x10_0000, 0x2000),
            (DIRECT, 0, 0xa_0000),
            (DIRECT + 0xc_0000, 0xc_0000, 0x14_0000),
            (DIRECT + (1 << 32), 1 << 32, 0x4_0000),
        ]
    );
    assert!(core.loads.iter().all(|load| load.align == 0 && load.flags == 7));
    // The kernel's text is in the file once.
    assert_eq!(core.loads[0].offset, core.loads[2].offset + 0x4_0000);
    assert_eq!(core.read(&file, 0xffff_ffff_8100_1000), Some(0x10_1001));
    assert_eq!(
        core.kinds(),
        [
            ("CORE", 1, 336),
            ("CORE", 1, 336),
            ("VMCOREINFO", 0, "OSRELEASE=6.1\nPAGESIZE=4096\nNUMBER(phys_base)=-15728640\n".len()),
            ("QEMU", 0, 440),
            ("QEMU", 0, 440),
        ]
    );
    // vCPU 1 is Linux' CPU 0: its registers come first, under thread id 1.
    assert_eq!(u64_at(&core.notes[0].desc, 112 + 16 * 8), 0xffff_ffff_8100_0001);
    assert_eq!((u32_at(&core.notes[0].desc, 32), u32_at(&core.notes[1].desc, 32)), (1, 2));
    assert!(core.notes[2].desc.ends_with(b"NUMBER(phys_base)=-15728640\n"));
}

#[test]
fn hints_hold_the_numbers() {
    let hints = |facts: &Facts, format: &str| {
        write(format, &linux_guest(), facts, "").unwrap().1.hints.join("\n")
    };
    let mut facts = linux_facts();
    assert!(hints(&facts, "elf").contains("crash vmlinux "));
    assert!(hints(&facts, "elf").contains("symbol-file -o 0x1e600000 vmlinux"));
    assert!(hints(&facts, "elf").contains("--slide 0x1e600000"));
    // 0x100000 - (0xffffffff81000000 - 0x1e600000)
    assert!(hints(&facts, "elf-physical").contains("symbol-file -o 0x9d700000 vmlinux"));
    let linux = facts.linux().unwrap().clone();
    facts =
        Facts { vcpus: facts.vcpus, ..Facts::of(LinuxFacts { vmcoreinfo: None, ..linux }, "made") };
    let without = hints(&facts, "elf");
    assert!(without.contains("crash --kaslr=0x1e600000 -m phys_base=0xffffffffff100000 "));
    assert!(!without.contains("drgn"));
}

#[test]
fn a_guest_that_is_not_linux_gets_memory_without_addresses() {
    let (file, summary) = write("elf", &linux_guest(), &Facts::default(), "").unwrap();
    let core = Core::parse(&file);
    core.check(&file);
    assert!(core.loads.iter().all(|load| load.vaddr == 0));
    assert!(summary.problems.iter().any(|problem| problem.message.contains("no Linux")));
}

#[test]
fn memory_above_lowmem_has_no_address_on_i386() {
    let low = 896 << 20;
    let mut checkpoint = guest(&[(0, 32)]);
    map_marked(&mut checkpoint.memory, low - 0x1_0000, 32);
    checkpoint.vcpus = [vcpu(0, 0)].into();
    let facts = linux_facts();
    let linux = LinuxFacts {
        is_64_bit: false,
        direct_map: Some(Found::new(Gva(0xc000_0000), "test")),
        ..facts.linux().unwrap().clone()
    };
    let facts = Facts { vcpus: facts.vcpus, ..Facts::of(linux, "made") };
    let (core, _) = write_core("elf", &checkpoint, &facts);
    assert_eq!((core.class, core.machine), (1, object::elf::EM_386.0));
    let places: Vec<_> = core.loads.iter().map(|l| (l.vaddr, l.paddr, l.filesz)).collect();
    assert_eq!(
        places,
        [
            (0xc000_0000, 0, 0x2_0000),
            (0xc000_0000 + low - 0x1_0000, low - 0x1_0000, 0x1_0000),
            (0xffff_ffff, low, 0x1_0000),
        ]
    );
    let info = core.notes.iter().find(|note| note.name == "VMCOREINFO").unwrap();
    assert_eq!(info.desc, b"OSRELEASE=6.1\nPAGESIZE=4096\n");
}

#[test]
fn registers_lie_where_the_kernel_puts_them() {
    let mut checkpoint = paged_guest();
    x86_of(&mut checkpoint.vcpus_mut()[0]).fpu = Some(FpuState::Fxsave(Box::new([3; 512])));
    let (core, _) = write_core("elf-linear", &checkpoint, &Facts::default());
    assert_eq!(
        core.kinds(),
        [("CORE", 3, 136), ("CORE", 1, 336), ("CORE", 2, 512), ("QEMU", 0, 440)]
    );
    assert_eq!(&core.notes[0].desc[40..48], b"GuestVM\0");
    assert_eq!(&core.notes[0].desc[56..64], b"GuestVM\0");
    let status = &core.notes[1].desc;
    let register = |index: usize| u64_at(status, 112 + index * 8);
    let ones = |n: u64| 0x1111_1111_1111_1111_u64.wrapping_mul(n);
    // rax is the hardware's first register, rbx its fourth, rsp its fifth.
    assert_eq!((register(10), register(5), register(19)), (ones(1), ones(4), ones(5)));
    assert_eq!((register(0), register(9)), (ones(16), ones(9)));
    assert_eq!((register(15), register(16)), (u64::MAX, 0xffff_ffff_8100_0000));
    assert_eq!((register(17), register(18), register(20)), (0x10, 0x246, 0x18));
    assert_eq!((register(21), register(22)), (0x7f00_0000_1000, 0xffff_8880_0000_2000));
    assert_eq!(u32_at(status, 328), 1);
    let qemu = &core.notes[3].desc;
    assert_eq!((u32_at(qemu, 0), u32_at(qemu, 4)), (1, 440));
    assert_eq!((u64_at(qemu, 8), u64_at(qemu, 16), u64_at(qemu, 56)), (ones(1), ones(4), ones(5)));
    assert_eq!((u32_at(qemu, 152), u32_at(qemu, 160)), (0x10, 0x00af_9b00));
    assert_eq!((u64_at(qemu, 416), u64_at(qemu, 432)), (0x1000, 0xffff_8880_0000_3000));
}

/// As QEMU's own dump of a 64-bit guest has them: a flat code segment, the task's
/// with the lower half of its base, and a base that no descriptor gave.
#[test]
fn segments_in_the_note_of_qemu_are_as_qemu_writes_them() {
    let mut checkpoint = paged_guest();
    let segment = |selector, base, limit, attributes| SegmentRegister {
        selector: Some(selector),
        base: Some(base),
        limit: Some(limit),
        attributes: Some(attributes),
    };
    let segments = &mut x86_of(&mut checkpoint.vcpus_mut()[0]).segments;
    segments.cs = segment(0x33, 0, u32::MAX, 0xa0fb);
    segments.fs = segment(0, 0x7f00_1234_5000, 0, 0);
    segments.gs = segment(0x63, 0x1234_5678, 0xf_ffff, 0xd0f3);
    segments.tr = segment(0x40, 0xffff_fe00_5603_e000, 0x4087, 0x89);
    let (core, _) = write_core("elf-linear", &checkpoint, &Facts::default());
    let qemu = &core.notes.last().unwrap().desc;
    // cs ds es fs gs ss ldt tr, 24 bytes each, after 8 + 18 * 8 bytes.
    let entry = |index: usize| {
        let at = 152 + 24 * index;
        (u32_at(qemu, at + 4), u32_at(qemu, at + 8), u64_at(qemu, at + 16))
    };
    assert_eq!(entry(0), (u32::MAX, 0x00af_fb00, 0));
    assert_eq!(entry(3), (0, 0, 0x7f00_1234_5000));
    assert_eq!(entry(4), (0xf_ffff, 0x12d0_f334, 0x1234_5678));
    assert_eq!(entry(7), (0x4087, 0x5600_8903, 0xffff_fe00_5603_e000));
}

#[test]
fn i386_registers_lie_where_the_kernel_puts_them() {
    let mut checkpoint = guest(&[(0, 16)]);
    checkpoint.vcpus = [vcpu(0, 0)].into();
    x86_of(&mut checkpoint.vcpus_mut()[0]).fpu = Some(FpuState::Fxsave(Box::new([0; 512])));
    let (core, _) = write_core("elf-physical", &checkpoint, &Facts::default());
    assert_eq!(
        core.kinds(),
        [
            ("CORE", 3, 124),
            ("CORE", 1, 144),
            ("CORE", 2, 108),
            ("LINUX", 0x46e6_2b7f, 512),
            ("QEMU", 0, 440),
        ]
    );
    let status = &core.notes[1].desc;
    assert_eq!(
        (u32_at(status, 24), u32_at(status, 72), u32_at(status, 96)),
        (1, 0x4444_4444, 0x1111_1111)
    );
    assert_eq!((u32_at(status, 120), u32_at(status, 132)), (0x8100_0000, 0x5555_5555));
    assert_eq!((u32_at(status, 116), u32_at(status, 140)), (u32::MAX, 1));
}

#[test]
fn vector_state_is_cut_to_what_gdb_knows() {
    for (xcr0, area, want) in [
        (Some(0x3), 4096, None),
        (Some(0x7), 4096, Some((0x7, 832))),
        (Some(0xe7), 4096, Some((0xe7, 2688))),
        (Some(0x2e7), 4096, Some((0x2e7, 2696))),
        // AMX, and an area too short for what it claims.
        (Some(0x6_02e7), 11_008, Some((0x2e7, 2696))),
        (Some(0x2e7), 832, Some((0x7, 832))),
        (None, 832, Some((0x7, 832))),
    ] {
        let mut state = vec![0; area];
        state[512..520].copy_from_slice(&0x6_02e7_u64.to_le_bytes());
        state[520] = 0x80;
        let note = fpu::xstate(&FpuState::Xsave(state), xcr0);
        let got = note.as_ref().map(|note| (u64_at(note, 464), note.len()));
        assert_eq!(got, want, "{xcr0:x?} {area}");
        if let Some(note) = note {
            assert_eq!(u64_at(&note, 512), u64_at(&note, 464) & 0x6_02e7);
            assert_eq!((u64_at(&note, 520), u32_at(&note, 28)), (0, 0xffff));
        }
    }
}

#[test]
fn fsave_tags_follow_from_the_values() {
    let mut state = [0; 512];
    state[0] = 0x7f;
    // TOP is 6: st(0) is physical register 6.
    state[2..4].copy_from_slice(&(6_u16 << 11).to_le_bytes());
    state[4] = 0b1100_0001;
    // st(0) = 1.0, st(1) = +0, st(2) = NaN.
    state[32 + 7] = 0x80;
    state[32 + 8..32 + 10].copy_from_slice(&0x3fff_u16.to_le_bytes());
    state[64 + 8..64 + 10].copy_from_slice(&0x7fff_u16.to_le_bytes());
    let out = fpu::fsave(&state);
    assert_eq!(u32_at(&out, 0), 0xffff_007f);
    // Physical 7 is zero (1), 6 valid (0), 5 to 1 empty (3), 0 special (2).
    assert_eq!(u32_at(&out, 8), 0xffff_0000 | 0b01_00_11_11_11_11_11_10);
    assert_eq!(out[28..38], state[32..42]);
}

#[test]
fn vcpus_without_registers_are_told() {
    let mut checkpoint = linux_guest();
    *x86_of(&mut checkpoint.vcpus_mut()[1]) = vmss2core_machine::x86::Registers::default();
    let count = |format: &str| {
        let (file, summary) = write(format, &checkpoint, &linux_facts(), "").unwrap();
        let said = summary.problems.iter().any(|p| p.message.contains("vCPU 1"));
        assert!(said, "{:?}", summary.problems);
        Core::parse(&file).notes.iter().filter(|note| note.kind == 1).count()
    };
    assert_eq!(count("elf-physical"), 1);
    // Here the place of a note is its CPU's number.
    assert_eq!(count("elf"), 2);
}

#[test]
fn the_script_names_what_a_core_cannot_hold() {
    let scratch = Scratch::new();
    let checkpoint = paged_guest();
    write_to(&scratch, "elf-linear", &checkpoint, &linux_facts(), "gdb-script", &Silent).unwrap();
    let script = std::fs::read_to_string(scratch.dir.path().join("out.core.gdb")).unwrap();
    assert!(script.contains("\nset $cr3_0 = 0x1000\n"), "{script}");
    assert!(script.contains("\nset $efer_1 = 0xd01\n"), "{script}");
    assert!(script.contains("symbol-file -o 0x1e600000"), "{script}");
    assert!(!script.contains("cr2"), "not known: {script}");

    // A script in the way is found before anything is written.
    std::fs::remove_file(&scratch.path).unwrap();
    let refused =
        write_to(&scratch, "elf-linear", &checkpoint, &linux_facts(), "gdb-script", &Silent);
    let Err(DumpError::Exists { path }) = refused else { panic!("{refused:?}") };
    assert_eq!(path.extension().unwrap(), "gdb");
    assert!(!scratch.path.exists());
}
