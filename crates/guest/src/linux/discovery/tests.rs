//! A kernel in miniature: page tables, an image with a banner, pointers and
//! `swapper_pg_dir`, and a note on a page of its own.

#![expect(clippy::cast_possible_truncation, reason = "small test numbers")]

use std::sync::Arc;

use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_machine::{Checkpoint, Privilege, Registers, Vcpu, x86};
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use crate::{Facts, KernelText, LinuxFacts, analyse};

const BANNER: &str = "Linux version 6.1.0-50-cloud-amd64 (a@b) (gcc-12) #1 SMP Debian 6.1.176-1";
const RELEASE: &str = "6.1.0-50-cloud-amd64";
const TEXT: u64 = 0xffff_ffff_81e0_0000;
const TEXT_GPA: u64 = 0x20_0000;
const DIRECT: u64 = 0xffff_9000_0000_0000;
const ROOT: u64 = 0x1000;
const NOTE: u64 = 0x6000;
const GDT: u64 = 0x7000;
/// In the image, from its start: constants, then data.
const BANNER_AT: u64 = 0x1_0000;
const SWAPPER: u64 = 0x21_0000;
const UTS: u64 = 0x22_0000;
const POINTER: u64 = 0x23_0008;
const RW: u64 = 3;
const LARGE: u64 = 0x80;
const NX: u64 = 1 << 63;

struct Guest {
    ram: Vec<u8>,
    vcpus: Vec<x86::Registers>,
}

impl Guest {
    /// Four levels, KASLR, two vCPUs; no VMCOREINFO yet.
    fn new() -> Self {
        let mut guest = Self { ram: vec![0; 8 << 20], vcpus: Vec::new() };
        guest.tables(ROOT);
        guest.set(0x2000 + 8 * 510, 0x3000 | RW);
        guest.set(0x3000 + 8 * 15, TEXT_GPA | LARGE | 1);
        guest.set(0x3000 + 8 * 16, (TEXT_GPA + (2 << 20)) | LARGE | RW | NX);
        guest.set(0x4000, 0x5000 | RW);
        for page in 0..4 {
            guest.set(0x5000 + 8 * page, page << 21 | LARGE | RW | NX);
        }
        guest.put(TEXT_GPA + BANNER_AT, format!("{BANNER}\n\0").as_bytes());
        guest.tables(TEXT_GPA + SWAPPER);
        guest.set(TEXT_GPA + SWAPPER, 0);
        guest.set(TEXT_GPA + POINTER - 8, TEXT + SWAPPER);
        for (index, text) in ["Linux", "(none)", RELEASE, "#1 SMP", "x86_64"].iter().enumerate() {
            guest.put(TEXT_GPA + UTS + 65 * index as u64, text.as_bytes());
        }
        for index in 0..2 {
            guest.vcpu(index);
        }
        guest
    }

    /// A topmost table with the kernel half, and something of a process.
    fn tables(&mut self, gpa: u64) {
        self.set(gpa, 0x9000 | RW | 4);
        self.set(gpa + 8 * 288, 0x4000 | RW);
        self.set(gpa + 8 * 511, 0x2000 | RW);
    }

    /// A vCPU with a descriptor table that says it is CPU `1 - index`.
    fn vcpu(&mut self, index: u64) {
        let gdt = GDT + index * 0x100;
        self.set(gdt + 8 * 15, 0x0040_f500_0000_0000 | (1 - index));
        let mut vcpu = x86::Registers::default();
        vcpu.control.cr0 = Some(0x8000_0001);
        vcpu.control.cr3 = Some(ROOT);
        vcpu.control.cr4 = Some(0x20);
        vcpu.msrs.efer = Some(0xd01);
        vcpu.segments.cs.selector = Some(0x10);
        vcpu.gdtr.base = Some(DIRECT + gdt);
        self.vcpus.push(vcpu);
    }

    fn set(&mut self, gpa: u64, value: u64) {
        self.put(gpa, &value.to_le_bytes());
    }

    fn put(&mut self, gpa: u64, bytes: &[u8]) {
        self.ram[gpa as usize..gpa as usize + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes a note at `gpa`, and a pointer to it into the image.
    fn with_note(mut self, gpa: u64, text: &str) -> Self {
        let head = [11_u32.to_le_bytes(), (text.len() as u32).to_le_bytes(), [0; 4]].concat();
        self.put(gpa, &head);
        self.put(gpa + 12, b"VMCOREINFO\0\0");
        self.put(gpa + 24, text.as_bytes());
        self.set(TEXT_GPA + POINTER + gpa / 4096 * 8, DIRECT + gpa);
        self
    }

    fn analyse(self) -> Facts {
        let mut memory = PhysicalMemory::new();
        memory.map(Gpa(0), self.ram.len() as u64, Arc::new(self.ram), 0).unwrap();
        let vcpus = self.vcpus.into_iter().zip(0..).map(|(vcpu, index)| Vcpu {
            index,
            halted: None,
            registers: Registers::X86(Box::new(vcpu)),
        });
        analyse(&Checkpoint { memory, vcpus: vcpus.collect(), ..Checkpoint::default() })
    }
}

fn note_text() -> String {
    format!(
        "OSRELEASE={RELEASE}\nPAGESIZE=4096\nSYMBOL(swapper_pg_dir)={:x}\nSYMBOL(_stext)={TEXT:x}\n\
         NUMBER(phys_base)=-29360128\nNUMBER(pgtable_l5_enabled)=0\nKERNELOFFSET=e00000\n",
        TEXT + SWAPPER
    )
}

/// Linux' number of each vCPU.
fn numbers(facts: &Facts) -> Vec<Option<u32>> {
    facts.vcpus.iter().map(|vcpu| vcpu.number).collect()
}

fn linux(facts: &Facts) -> &LinuxFacts {
    facts.linux().expect("Linux was not found")
}

fn check_addresses(linux: &LinuxFacts) {
    let text = KernelText { start: Gva(TEXT), gpa: Gpa(TEXT_GPA), len: 4 << 20 };
    assert_eq!(linux.text.as_ref().unwrap().value, text);
    assert_eq!(linux.kaslr_offset.as_ref().unwrap().value, 0xe0_0000);
    assert_eq!(linux.phys_base.as_ref().unwrap().value, -0x1c0_0000);
    assert_eq!(linux.direct_map.as_ref().unwrap().value, Gva(DIRECT));
    let root = (modes::FOUR_LEVEL, Root(Gpa(TEXT_GPA + SWAPPER)));
    assert_eq!(linux.kernel_root.as_ref().unwrap().value, root);
}

#[test]
fn everything_is_found_from_page_tables_and_the_note() {
    let facts = Guest::new().with_note(NOTE, &note_text()).analyse();
    assert_eq!(facts.system().unwrap().name(), "Linux");
    assert_eq!(facts.problems, []);
    let linux = linux(&facts);
    check_addresses(linux);
    assert_eq!(linux.banner.as_ref().unwrap().value, BANNER);
    assert_eq!(linux.release.as_ref().unwrap().value, RELEASE);
    let info = linux.vmcoreinfo.as_ref().unwrap();
    assert_eq!((info.value.text.as_str(), info.value.synthesised), (note_text().as_str(), false));
    assert!(info.how.contains("0x6000, which the kernel image points at"), "{}", info.how);
    assert_eq!(numbers(&facts), [Some(1), Some(0)]);
}

#[test]
fn without_registers_the_note_leads_to_the_kernel() {
    let mut guest = Guest::new().with_note(NOTE, &note_text());
    guest.vcpus.clear();
    let facts = guest.analyse();
    check_addresses(linux(&facts));
    assert_eq!(linux(&facts).banner.as_ref().unwrap().value, BANNER);
}

#[test]
fn without_a_note_one_is_made_up_and_marked() {
    let facts = Guest::new().analyse();
    let linux = linux(&facts);
    check_addresses(linux);
    let info = linux.vmcoreinfo.as_ref().unwrap();
    assert!(info.value.synthesised && info.how.starts_with("made up"), "{}", info.how);
    assert_eq!(info.value.get("OSRELEASE"), Some(RELEASE));
    assert_eq!(info.value.symbol("_stext"), Some(Gva(TEXT)));
    assert_eq!(info.value.symbol("swapper_pg_dir"), Some(Gva(TEXT + SWAPPER)));
    assert_eq!(info.value.symbol("init_uts_ns"), Some(Gva(TEXT + UTS)));
    assert_eq!(info.value.number("phys_base"), Some(-0x1c0_0000));
    assert_eq!(info.value.number("pgtable_l5_enabled"), Some(0));
    assert_eq!(info.value.kernel_offset(), Some(0xe0_0000));
}

#[test]
fn a_note_without_phys_base_gets_one_from_page_tables() {
    let old = note_text().replace("NUMBER(phys_base)=-29360128\n", "");
    let facts = Guest::new().with_note(NOTE, &old).analyse();
    let info = linux(&facts).vmcoreinfo.as_ref().unwrap();
    assert_eq!(info.value.text, format!("{old}NUMBER(phys_base)=-29360128\n"));
    assert!(info.how.ends_with("added from page tables"), "{}", info.how);
    assert!(!info.value.synthesised);
}

#[test]
fn notes_of_another_kernel_are_passed_over_and_named() {
    for (stale, why) in [
        (note_text().replace(RELEASE, "5.10.0"), "OSRELEASE is 5.10.0"),
        (note_text().replace("ffffffff81e00000", "ffffffff91000000"), "is not in the kernel image"),
        (note_text().replace("=-29360128", "=0"), "is not that of the page tables"),
    ] {
        let guest = Guest::new().with_note(NOTE - 0x1000 * 6, &stale);
        let facts = guest.with_note(NOTE + 0x2000, &note_text()).analyse();
        let info = linux(&facts).vmcoreinfo.as_ref().unwrap();
        assert_eq!(info.value.text, note_text());
        assert_eq!(facts.problems.len(), 1);
        assert!(facts.problems[0].message.contains(why), "{}", facts.problems[0]);
    }
}

#[test]
fn an_isolated_vcpu_gets_the_kernels_root() {
    // The user's table one page after, with the entry code alone.
    let mut guest = Guest::new().with_note(NOTE, &note_text());
    let (kernel, user) = (0x70_0000, 0x70_1000);
    guest.tables(kernel);
    guest.set(user, 0x9000 | RW | 4);
    guest.set(user + 8 * 511, 0x70_2000 | RW);
    guest.set(0x70_2000 + 8 * 510, 0x70_3000 | RW);
    guest.set(0x70_3000 + 8 * 15, 0x70_4000 | RW);
    guest.set(0x70_4000, TEXT_GPA | 1);
    guest.vcpus[0].control.cr3 = Some(user | 0x800);
    guest.vcpus[0].segments.cs.selector = Some(0x33);
    let facts = guest.analyse();
    check_addresses(linux(&facts));
    assert_eq!(facts.vcpus[0].root(), Some(Root(Gpa(user))));
    assert_eq!(facts.vcpus[0].kernel_root.as_ref().unwrap().value, Root(Gpa(kernel)));
    assert_eq!(facts.vcpus[0].privilege, Some(Privilege::User));
    assert_eq!(facts.vcpus[1].kernel_root, None);
}

#[test]
fn a_root_on_an_odd_page_is_not_isolation_by_itself() {
    let mut guest = Guest::new().with_note(NOTE, &note_text());
    guest.tables(0x70_1000);
    guest.vcpus[0].control.cr3 = Some(0x70_1000);
    let facts = guest.analyse();
    check_addresses(linux(&facts));
    assert_eq!(facts.vcpus[0].kernel_root, None);
}

#[test]
fn what_has_no_banner_is_not_linux() {
    let mut guest = Guest::new().with_note(NOTE, &note_text());
    guest.put(TEXT_GPA + BANNER_AT, b"FreeBSD");
    let facts = guest.analyse();
    assert!(facts.boot.is_none());
    assert_eq!(facts.vcpus.len(), 2);
}

#[test]
fn a_vcpu_without_paging_registers_is_a_problem_not_an_end() {
    let mut guest = Guest::new().with_note(NOTE, &note_text());
    guest.vcpus[0].control.cr3 = None;
    let facts = guest.analyse();
    check_addresses(linux(&facts));
    assert_eq!(facts.vcpus[0].mode(), None);
    assert_eq!(numbers(&facts), [None, None]);
    assert!(facts.problems[0].message.contains("CR3"), "{}", facts.problems[0]);
}

/// The kernel where one linked at 2 MiB lies.
fn linked_at_2_mib() -> Guest {
    let mut guest = Guest::new();
    for page in 0..2 {
        let entry = if page == 0 { LARGE | 1 } else { LARGE | RW | NX };
        guest.set(0x3000 + 8 * (15 + page), 0);
        guest.set(0x3000 + 8 * (1 + page), (TEXT_GPA + (page << 21)) | entry);
    }
    guest
}

/// Below 16 MiB, where others are linked, it cannot have been moved by KASLR.
#[test]
fn what_an_old_kernel_maps_before_itself_is_not_its_image() {
    let mut guest = Guest::new();
    guest.set(0x3000 + 8 * 15, 0);
    guest.set(0x3000 + 8 * 16, 0);
    for page in 0..4 {
        guest.set(0x3000 + 8 * page, page << 21 | LARGE | RW);
    }
    let text = 0xffff_ffff_8000_0000 + TEXT_GPA;
    guest.set(TEXT_GPA + POINTER - 8, text + SWAPPER);
    let bounds = [text, text + 0x10_0000, 0, text + 0x30_0000, 0, text + 0x34_0000, 0];
    for (word, value) in (0..).zip(bounds) {
        guest.set(TEXT_GPA + 0x24_0040 + 8 * word, value);
    }
    let facts = guest.analyse();
    let linux = linux(&facts);
    let found = linux.text.clone().unwrap();
    assert_eq!((found.value.start, found.value.gpa), (Gva(text), Gpa(TEXT_GPA)));
    assert_eq!(linux.phys_base.as_ref().unwrap().value, 0);
    assert_eq!(linux.kaslr_offset, None);
    assert_eq!(linux.kernel_root.as_ref().unwrap().value.1, Root(Gpa(TEXT_GPA + SWAPPER)));
}

#[test]
fn no_slide_is_claimed_of_a_kernel_linked_lower() {
    let facts = linked_at_2_mib().analyse();
    let linux = linux(&facts);
    assert_eq!(linux.text.as_ref().unwrap().value.start, Gva(0xffff_ffff_8020_0000));
    assert_eq!(linux.kaslr_offset, None);
    assert_eq!(linux.slide(), 0);
    let info = &linux.vmcoreinfo.as_ref().unwrap().value;
    assert_eq!((info.synthesised, info.get("KERNELOFFSET")), (true, None));
}

#[test]
fn no_slide_is_claimed_of_a_kernel_whose_vmcoreinfo_knows_of_none() {
    let old = note_text().replace("KERNELOFFSET=e00000\n", "");
    let facts = Guest::new().with_note(NOTE, &old).analyse();
    assert_eq!(linux(&facts).vmcoreinfo.as_ref().unwrap().value.text, old);
    assert_eq!(linux(&facts).kaslr_offset, None);
}

/// As kernels have it that make the note when they crash.
#[test]
fn vmcoreinfo_is_read_where_it_is_bare_text_in_the_image() {
    let mut guest = Guest::new();
    guest.put(TEXT_GPA + 0x20_1230, b"OSRELEASE=%s\n\0");
    guest.put(TEXT_GPA + 0x30_1230, note_text().as_bytes());
    let facts = guest.analyse();
    let info = linux(&facts).vmcoreinfo.as_ref().unwrap();
    assert_eq!((info.value.text.as_str(), info.value.synthesised), (note_text().as_str(), false));
    assert_eq!(info.how, "vmcoreinfo_data at physical 0x501230, where the kernel image is mapped");
    check_addresses(linux(&facts));
}

#[test]
fn a_direct_map_below_the_kernel_half_is_found() {
    let mut guest = Guest::new();
    for root in [ROOT, TEXT_GPA + SWAPPER] {
        guest.set(root + 8 * 288, 0);
        guest.set(root + 8 * 2, 0x4000 | RW);
    }
    let facts = guest.analyse();
    assert_eq!(linux(&facts).direct_map.as_ref().unwrap().value, Gva(1 << 40));
}

const SECOND_GPA: u64 = 8 << 20;
const SECOND_TEXT: u64 = 0xffff_ffff_8200_0000;
const SECOND_ROOT: u64 = 0xc0_0000;
const CORE_HEAD: u64 = 0xc1_0000;

/// With a second kernel, and the head of a core of the first one beside it.
fn with_second_kernel() -> Guest {
    let mut guest = Guest::new().with_note(NOTE, &note_text());
    guest.ram.resize(16 << 20, 0);
    guest.set(SECOND_ROOT + 8 * 511, 0xc0_1000 | RW);
    guest.set(0xc0_1000 + 8 * 510, 0xc0_2000 | RW);
    guest.set(0xc0_2000 + 8 * 16, SECOND_GPA | LARGE | 1);
    guest.set(0xc0_2000 + 8 * 17, (SECOND_GPA + (2 << 20)) | LARGE | RW | NX);
    let banner = BANNER.replace(RELEASE, "6.2.0-crash");
    guest.put(SECOND_GPA + BANNER_AT, format!("{banner}\n\0").as_bytes());
    guest.put(CORE_HEAD, b"\x7fELF\x02\x01\x01");
    guest.put(CORE_HEAD + 16, &[4, 0, 62, 0]);
    guest.set(CORE_HEAD + 32, 64);
    guest.put(CORE_HEAD + 54, &[56, 0, 3, 0]);
    for (index, note) in [0xc2_0000, 0xc3_0000, NOTE].into_iter().enumerate() {
        let at = CORE_HEAD + 64 + 56 * index as u64;
        guest.set(at, 4);
        guest.set(at + 8, note);
    }
    guest
}

#[test]
fn the_kernel_that_crashed_is_told_from_the_one_that_runs_since() {
    let mut guest = with_second_kernel();
    guest.vcpus[1].control.cr3 = Some(SECOND_ROOT);
    let facts = guest.analyse();
    let linux = linux(&facts);
    check_addresses(linux);
    assert_eq!(linux.release.as_ref().unwrap().value, RELEASE);
    let second = &linux.crash_kernel.as_ref().unwrap().value;
    assert_eq!((second.release.as_str(), &second.vcpus), ("6.2.0-crash", &vec![1]));
    assert_eq!(second.text.unwrap().start, Gva(SECOND_TEXT));
    assert_eq!(second.notes, [Gpa(0xc2_0000), Gpa(0xc3_0000)]);
    // The number that is left over.
    assert_eq!(numbers(&facts), [Some(1), Some(0)]);
    assert!(linux.has_left(1) && !linux.has_left(0));
}

#[test]
fn the_kernel_that_crashed_is_found_when_no_vcpu_executes_it_any_more() {
    let mut guest = with_second_kernel();
    guest.vcpus.truncate(1);
    guest.vcpus[0].control.cr3 = Some(SECOND_ROOT);
    let facts = guest.analyse();
    check_addresses(linux(&facts));
    assert_eq!(linux(&facts).crash_kernel.as_ref().unwrap().value.vcpus, [0]);
    assert_eq!(numbers(&facts), [Some(0)]);
}

#[test]
fn a_kernel_that_only_waits_for_a_crash_is_alone() {
    let facts = with_second_kernel().analyse();
    check_addresses(linux(&facts));
    assert_eq!(linux(&facts).crash_kernel, None);
}

#[test]
fn a_damaged_head_of_a_core_is_none() {
    for (at, value) in [(16, 2), (54, 55), (56, 0), (64 + 2 * 56, 5), (32, u64::MAX)] {
        let mut guest = with_second_kernel();
        guest.vcpus[1].control.cr3 = Some(SECOND_ROOT);
        guest.set(CORE_HEAD + at, value);
        assert_eq!(linux(&guest.analyse()).crash_kernel, None, "{at}");
    }
}

/// The same kernel for 32 bits: two levels, in a direct map of 16 MiB at 3 GiB.
fn short_guest(code: u64) -> Guest {
    let mut guest = Guest { ram: vec![0; 16 << 20], vcpus: Vec::new() };
    let directory = |page: u64, flags: u64| ((page << 22 | 0x80 | flags) as u32).to_le_bytes();
    for root in [ROOT, 0x80_0000 + SWAPPER] {
        for page in 0..4 {
            let flags = if page == 2 { code } else { RW };
            guest.put(root + 4 * (768 + page), &directory(page, flags));
        }
    }
    guest.put(ROOT, &directory(0, RW | 4));
    // Data after the code, on a large page of its own.
    guest.put(0x80_0000 + BANNER_AT, format!("{BANNER}\n\0").as_bytes());
    guest.put(0xc0_0000, &0xc000_6000_u32.to_le_bytes());
    // The first interrupt handler, at 0xc0801234.
    guest.set(0x8000, 0xc080_8e00_0060_1234);
    let mut vcpu = x86::Registers::default();
    vcpu.control.cr0 = Some(0x8000_0001);
    vcpu.control.cr3 = Some(ROOT);
    vcpu.control.cr4 = Some(0x10);
    vcpu.idtr.base = Some(0xc000_8000);
    guest.vcpus.push(vcpu);
    let text = format!(
        "OSRELEASE={RELEASE}\nSYMBOL(swapper_pg_dir)={:x}\nSYMBOL(_stext)=c0800000\n",
        0xc080_0000 + SWAPPER
    );
    let mut guest = guest.with_note(NOTE, &text);
    guest.set(TEXT_GPA + POINTER + NOTE / 4096 * 8, 0);
    guest
}

#[test]
fn a_32_bit_kernel_is_found_with_and_without_protected_code() {
    for (code, how) in [(1, "page tables of vCPU 0"), (RW, "SYMBOL(_stext) of VMCOREINFO")] {
        let facts = short_guest(code).analyse();
        let linux = linux(&facts);
        assert!(!linux.is_64_bit);
        assert_eq!((&linux.kaslr_offset, &linux.phys_base), (&None, &None));
        assert_eq!(linux.direct_map.as_ref().unwrap().value, Gva(0xc000_0000));
        let text = linux.text.as_ref().unwrap();
        assert_eq!((text.value.start, text.value.gpa), (Gva(0xc080_0000), Gpa(0x80_0000)));
        assert!(text.how.starts_with(how), "{}", text.how);
        let root = linux.kernel_root.as_ref().unwrap().value.1;
        assert_eq!(root, Root(Gpa(0x80_0000 + SWAPPER)));
        assert!(!linux.vmcoreinfo.as_ref().unwrap().value.synthesised);
        assert_eq!(numbers(&facts), [Some(0)]);
    }
}

/// Where the miniature has its `init_mm`, and the addresses in there: from `start_code` on.
const INIT_MM: u64 = 0x80_0000 + 0x24_0040;
const BOUNDS: [u32; 7] = [0xc080_0000, 0xc090_0000, 0, 0xc0b0_0000, 0, 0xc0b4_0000, 0];

fn with_bounds(bounds: [u32; 7], at: u64) -> Guest {
    let mut guest = short_guest(RW);
    // No VMCOREINFO: neither the pointer to it nor itself.
    guest.put(0xc0_0000, &[0; 4]);
    guest.put(NOTE, &[0; 64]);
    guest.put(at, &bounds.map(u32::to_le_bytes).concat());
    guest
}

#[test]
fn a_32_bit_kernel_that_protects_nothing_lies_where_its_init_mm_says() {
    let facts = with_bounds(BOUNDS, INIT_MM).analyse();
    let text = linux(&facts).text.clone().unwrap();
    assert_eq!((text.value.start, text.value.gpa), (Gva(0xc080_0000), Gpa(0x80_0000)));
    assert_eq!(text.value.len, 0x30_0000);
    assert!(text.how.ends_with("its addresses at 0xc0a40040"), "{}", text.how);
}

#[test]
fn a_32_bit_kernel_may_protect_its_constants_only() {
    let mut guest = short_guest(1);
    // Code on the large page before that of the constants.
    let bounds = [0xc050_0000, 0xc07f_0000, 0, 0xc0d0_0000, 0, 0xc0d4_0000, 0];
    guest.put(0xc2_0040, &bounds.map(u32::to_le_bytes).concat());
    let text = linux(&guest.analyse()).text.clone().unwrap();
    assert_eq!((text.value.start, text.value.gpa), (Gva(0xc050_0000), Gpa(0x50_0000)));
    // To the end of the constants.
    assert_eq!(text.value.len, 0xc0c0_0000 - 0xc050_0000);
}

#[test]
fn what_are_no_bounds_of_the_image_says_nothing() {
    let with = |index: usize, value: u32| {
        let mut bounds = BOUNDS;
        bounds[index] = value;
        bounds
    };
    for bounds in [
        with(0, 0xc080_0010),
        with(1, 0xc080_1000),
        with(2, 1),
        with(3, 0xc088_0000),
        with(5, 0xc0a0_0000),
        with(5, 0xf000_0000),
        with(0, 0x0080_0000),
        with(6, 0xbfff_0000),
    ] {
        let facts = with_bounds(bounds, INIT_MM).analyse();
        assert_eq!(linux(&facts).text, None, "{bounds:x?}");
    }
    // Two that differ are no evidence.
    let mut guest = with_bounds(BOUNDS, INIT_MM);
    guest.put(INIT_MM + 0x100, &with(1, 0xc091_0000).map(u32::to_le_bytes).concat());
    assert_eq!(linux(&guest.analyse()).text, None);
}

#[test]
fn a_32_bit_kernel_is_found_without_registers() {
    let mut guest = short_guest(1);
    guest.vcpus.clear();
    let facts = guest.analyse();
    assert_eq!(linux(&facts).text.as_ref().unwrap().value.start, Gva(0xc080_0000));
}

/// Every page of the miniature in turn filled with noise: no panic, and nothing
/// but what page tables or the note can confirm.
#[test]
fn damaged_guests_are_survived() {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let interesting = (0..9)
        .map(|page| page * 4096)
        .chain([0, BANNER_AT, SWAPPER, UTS, POINTER & !0xfff].map(|offset| TEXT_GPA + offset));
    for page in interesting {
        let mut guest = Guest::new().with_note(NOTE, &note_text());
        for slot in 0..512 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let entry = (state >> 41) & 0x7f_f000 | (state >> 33) & 0x87;
            guest.set(page + slot * 8, entry);
        }
        let facts = guest.analyse();
        if let Some(info) = facts.linux().and_then(|linux| linux.vmcoreinfo.as_ref()) {
            assert_eq!(info.value.get("OSRELEASE"), Some(RELEASE), "page {page:#x}");
        }
    }
}
