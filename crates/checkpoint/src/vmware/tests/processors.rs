//! Registers in all the forms in which they come.

use vmss2core_machine::x86::Gpr;
use vmss2core_machine::{Arch, Registers, x86};

use super::*;

fn open_cpu(tags: Vec<Tag>) -> Opened {
    opened(&State::new().group("cpu", tags), Some(vec![0; 4096]))
}

fn x86(opened: &Opened, index: usize) -> &x86::Registers {
    opened.checkpoint.vcpus[index].x86().unwrap()
}

const NAMES: [&str; 16] = [
    "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi", "r8", "r9", "r10", "r11", "r12", "r13",
    "r14", "r15",
];

/// The general registers as 128 bytes, `values` in block order.
fn gpregs(cpu: u32, values: [u64; 16]) -> Tag {
    Tag::block("gpregs", &[cpu], &values.map(u64::to_le_bytes).concat())
}

#[test]
fn indexed_form() {
    let mut tags = vec![Tag::u32("cpu:numVCPUs", &[], 2)];
    for cpu in 0..2 {
        let base = u64::from(cpu + 1) << 40;
        for (n, name) in (0..).zip(NAMES) {
            tags.push(Tag::u64(name, &[cpu], base + n));
        }
        tags.push(Tag::u64("rip", &[cpu], base + 0x100));
        tags.push(Tag::u32("eip", &[cpu], 0x100));
        tags.push(Tag::u32("eflags", &[cpu], 0x202));
        tags.push(Tag::u32("EFLAGS", &[cpu], 0x46));
        for n in [0, 2, 3, 4] {
            tags.push(Tag::u64("CR64", &[cpu, n], base + 0x200 + u64::from(n)));
            tags.push(Tag::u32("CR", &[cpu, n], 0x200 + n));
        }
        for n in 0..8 {
            tags.push(Tag::u64("DR64", &[cpu, n], base + 0x300 + u64::from(n)));
            tags.push(Tag::u32("S", &[cpu, n], 0x10 + n * 8));
            tags.push(Tag::u64("S.base64", &[cpu, n], base + 0x400 + u64::from(n)));
        }
        for table in ["GDTR", "IDTR"] {
            tags.push(Tag::value(table, &[cpu, 0], &[0x7f, 0]));
            tags.push(Tag::u32(table, &[cpu, 1], 0x8765_4321));
            tags.push(Tag::u32(table, &[cpu, 2], 0xffff_fe00));
        }
        tags.push(Tag::value("halted", &[cpu], &[u8::try_from(cpu).unwrap()]));
    }
    let opened = open_cpu(tags);
    assert_eq!(opened.checkpoint.vcpus.len(), 2);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
    for index in 0..2 {
        let (base, vcpu) = ((index as u64 + 1) << 40, x86(&opened, index));
        for (n, gpr) in (0..).zip(Gpr::ALL) {
            assert_eq!(vcpu.gpr(gpr), Some(base + n), "{}", gpr.name());
        }
        assert_eq!(vcpu.rip, Some(base + 0x100));
        assert_eq!(vcpu.rflags, Some(0x246));
        let cr = vcpu.control;
        let expected = [0x200, 0x202, 0x203, 0x204].map(|n| Some(base + n));
        assert_eq!([cr.cr0, cr.cr2, cr.cr3, cr.cr4], expected);
        assert_eq!(cr.cr8, None);
        assert_eq!(vcpu.debug[7], Some(base + 0x307));
        let s = vcpu.segments;
        for (n, segment) in (0..).zip([s.es, s.cs, s.ss, s.ds, s.fs, s.gs, s.ldt, s.tr]) {
            assert_eq!(segment.selector, Some(0x10 + n * 8));
            assert_eq!(segment.base, Some(base + 0x400 + u64::from(n)));
            assert_eq!((segment.limit, segment.attributes), (None, None));
        }
        for table in [vcpu.gdtr, vcpu.idtr] {
            assert_eq!((table.limit, table.base), (Some(0x7f), Some(0xffff_fe00_8765_4321)));
        }
        assert_eq!(opened.checkpoint.vcpus[index].halted, Some(index == 1));
    }
}

#[test]
fn block_form() {
    let crs: Vec<u8> = (0..9_u64).flat_map(|n| (0x50 + n).to_le_bytes()).collect();
    let table = |limit: u16, base: u64| [&limit.to_le_bytes()[..], &base.to_le_bytes()].concat();
    let opened = open_cpu(vec![
        gpregs(0, std::array::from_fn(|n| 0x100 + n as u64)),
        Tag::block("CR64", &[0], &crs),
        Tag::block("IDTR", &[0], &table(0xfff, 0xffff_fe00_0000_0000)),
        Tag::block("GDTR", &[0], &table(0x7f, 0xffff_fe00_0000_1000)).aligned(64),
    ]);
    let vcpu = x86(&opened, 0);
    for gpr in Gpr::ALL {
        assert_eq!(vcpu.gpr(gpr), Some(0x100 + gpr as u64));
    }
    let cr = vcpu.control;
    let expected = [0x50, 0x52, 0x53, 0x54, 0x58].map(Some);
    assert_eq!([cr.cr0, cr.cr2, cr.cr3, cr.cr4, cr.cr8], expected);
    assert_eq!((vcpu.idtr.limit, vcpu.idtr.base), (Some(0xfff), Some(0xffff_fe00_0000_0000)));
    assert_eq!((vcpu.gdtr.limit, vcpu.gdtr.base), (Some(0x7f), Some(0xffff_fe00_0000_1000)));
    assert_eq!((vcpu.rip, vcpu.rflags, vcpu.segments.cs.selector), (None, None, None));
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

#[test]
fn both_forms_fill_each_other_and_contradictions_are_told() {
    let mut values = [0; 16];
    values[1] = 0x11;
    values[3] = 0x33;
    let opened =
        open_cpu(vec![Tag::u64("rcx", &[0], 0x11), Tag::u64("rbx", &[0], 0x44), gpregs(0, values)]);
    let vcpu = x86(&opened, 0);
    assert_eq!((vcpu.gpr(Gpr::Rcx), vcpu.gpr(Gpr::Rbx)), (Some(0x11), Some(0x44)));
    assert_eq!(vcpu.gpr(Gpr::R15), Some(0));
    let warnings = problems(&opened, Severity::Warning);
    let [warning] = warnings.as_slice() else { panic!("{warnings:?}") };
    for word in ["vCPU 0", "rbx", "0x44", "0x33"] {
        assert!(warning.contains(word), "{word} in {warning}");
    }
}

#[test]
fn names_of_32_bits_are_extended_and_yield_to_full_width() {
    let opened = open_cpu(vec![
        Tag::u32("eax", &[0], 0xdead_beef),
        Tag::u32("esp", &[0], 0xc000_1000),
        Tag::u32("eip", &[0], 0xc010_0000),
        Tag::u32("CR", &[0, 3], 0x1000),
        Tag::u64("CR64", &[0, 3], 0x1_0000_1000),
        Tag::u32("DR", &[0, 6], 0xffff_0ff0),
    ]);
    let vcpu = x86(&opened, 0);
    assert_eq!(vcpu.gpr(Gpr::Rax), Some(0xdead_beef));
    assert_eq!(vcpu.gpr(Gpr::Rsp), Some(0xc000_1000));
    assert_eq!(vcpu.rip, Some(0xc010_0000));
    assert_eq!(vcpu.control.cr3, Some(0x1_0000_1000));
    assert_eq!(vcpu.debug[6], Some(0xffff_0ff0));
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

/// crash's reader has the two the other way round.
#[test]
fn only_tags_of_the_same_processor_turn_the_order_of_its_gpregs_block() {
    let mut values = [0; 16];
    (values[4], values[5]) = (0x1000, 0x2000);
    let usual = open_cpu(vec![Tag::u64("rsp", &[0], 0x1000), gpregs(0, values)]);
    assert_eq!(x86(&usual, 0).gpr(Gpr::Rbp), Some(0x2000));
    assert!(usual.checkpoint.about.problems.is_empty(), "{:?}", usual.checkpoint.about.problems);
    let other = open_cpu(vec![Tag::u64("rsp", &[0], 0x2000), gpregs(0, values), gpregs(1, values)]);
    for (index, rsp, rbp) in [(0, 0x2000, 0x1000), (1, 0x1000, 0x2000)] {
        assert_eq!(x86(&other, index).gpr(Gpr::Rsp), Some(rsp));
        assert_eq!(x86(&other, index).gpr(Gpr::Rbp), Some(rbp));
    }
    assert!(has_problem(&other, Severity::Warning, &["vCPU 0", "rbp before rsp"]));
    assert!(!has_problem(&other, Severity::Warning, &["vCPU 1"]));
}

/// Values that would be no stack pointers prove nothing.
#[test]
fn implausible_values_do_not_turn_the_order_of_a_gpregs_block() {
    let mut values = [0; 16];
    (values[4], values[5]) = (0x17, 0xffff_c900_0001_2340);
    let opened = open_cpu(vec![Tag::u64("rip", &[0], 0xffff_ffff_8100_0000), gpregs(0, values)]);
    assert_eq!(x86(&opened, 0).gpr(Gpr::Rsp), Some(0x17));
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

#[test]
fn model_registers_are_matched_by_name_or_number() {
    let opened = open_cpu(vec![
        Tag::u64("efer", &[0], 0xd01),
        Tag::u64("MSR_K6_STAR", &[0], 1),
        Tag::u64("msrLSTAR", &[0], 2),
        Tag::u64("IA32_KERNEL_GS_BASE", &[0], 3),
        Tag::u64("sysEnterESP", &[0], 4),
        Tag::u64("MSR", &[0, 0xc000_0084], 5),
        Tag::u64("msr.GSBase", &[0], 6),
        Tag::u64("deferred", &[0], 7),
        Tag::u64("dispatch", &[0], 8),
        Tag::u64("start", &[0], 9),
        Tag::u64("other", &[0, 0xc000_0081], 10),
        Tag::value("PAT", &[0], &[1]),
    ]);
    let vcpu = x86(&opened, 0);
    let msrs = vcpu.msrs;
    assert_eq!((msrs.efer, msrs.star, msrs.lstar), (Some(0xd01), Some(1), Some(2)));
    assert_eq!((msrs.kernel_gs_base, msrs.sysenter_esp, msrs.sfmask), (Some(3), Some(4), Some(5)));
    assert_eq!(vcpu.segments.gs.base, Some(6));
    assert_eq!((msrs.pat, msrs.tsc, msrs.cstar), (None, None, None));
    assert!(has_problem(&opened, Severity::Note, &["efer (efer)", "star (MSR_K6_STAR)"]));
}

#[test]
fn hostile_processor_counts_do_not_allocate() {
    for count in [0, 4097, u32::MAX] {
        let opened = open_cpu(vec![Tag::u32("cpu:numVCPUs", &[], count), Tag::u64("rip", &[2], 7)]);
        assert_eq!(opened.checkpoint.vcpus.len(), 3, "{count}");
        assert!(has_problem(&opened, Severity::Warning, &["claims", "vCPUs"]), "{count}");
    }
    let opened = open_cpu(vec![Tag::u32("cpu:numVCPUs", &[], 1), Tag::u64("rip", &[u32::MAX], 7)]);
    assert_eq!(opened.checkpoint.vcpus.len(), 1);
    let opened = open_cpu(vec![Tag::u32("cpu:numVCPUs", &[], 1), Tag::u64("rip", &[5], 7)]);
    assert_eq!(opened.checkpoint.vcpus.len(), 1);
    assert!(has_problem(&opened, Severity::Warning, &["up to vCPU 5"]));
}

#[test]
fn what_a_file_lacks_is_none() {
    let opened = open_cpu(vec![Tag::u32("cpu:numVCPUs", &[], 2)]);
    assert_eq!(opened.checkpoint.vcpus.len(), 2);
    for vcpu in opened.checkpoint.vcpus.iter() {
        assert_eq!(vcpu.halted, None);
        assert_eq!(vcpu.x86(), Some(&x86::Registers::default()));
    }
    let none = opened_without_cpu();
    assert!(none.checkpoint.vcpus.is_empty());
    assert!(has_problem(&none, Severity::Warning, &["no vCPU"]));
}

fn opened_without_cpu() -> Opened {
    opened(&State::new().group("memory", vec![]), Some(vec![0; 4096]))
}

#[test]
fn odd_blocks_are_reported_not_guessed() {
    let opened = open_cpu(vec![
        Tag::block("gpregs", &[0], &[1; 120]),
        Tag::block("IDTR", &[0], &[1; 9]),
        Tag::packed("CR64", &[0], &[0xff; 80], 100),
    ]);
    let vcpu = x86(&opened, 0);
    assert_eq!((vcpu.gpr(Gpr::Rax), vcpu.idtr.base, vcpu.control.cr3), (None, None, None));
    for word in ["gpregs", "IDTR", "CR64"] {
        assert!(has_problem(&opened, Severity::Warning, &[word]), "{word}");
    }
}

#[test]
fn arm_processors_have_their_table_base() {
    let opened = open_cpu(vec![Tag::u64("hv:ttbrEL1[0]", &[0], 0x8123_4000)]);
    let Registers::Arm64(arm) = &opened.checkpoint.vcpus[0].registers else { panic!("not Arm") };
    assert_eq!(arm.system.ttbr1_el1, Some(0x8123_4000));
    assert!(has_problem(&opened, Severity::Note, &["hv:ttbrEL1[0]"]));
    let machine = &opened.checkpoint.about.machine;
    assert_eq!(machine.architecture.map(Arch::name), Some("arm64"));
}
