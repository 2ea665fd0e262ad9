//! Registers as three products wrote them: tags and values typed in from files
//! of 2012, 2016 and 2022, not made by any writer of ours.

use vmss2core_machine::x86;
use vmss2core_machine::x86::{FpuState, Gpr, SegmentRegister};

use super::*;

fn open_cpu(tags: Vec<Tag>) -> Opened {
    opened(&State::new().group("cpu", tags), Some(vec![0; 4096]))
}

fn x86(opened: &Opened, index: usize) -> &x86::Registers {
    opened.checkpoint.vcpus[index].x86().unwrap()
}

fn quads(values: &[u64]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

/// A processor of Windows in its kernel (2022): slot 4 is on the stack.
fn kernel_mode_2022(cpu: u32) -> Vec<Tag> {
    let mut general = [0; 16];
    (general[4], general[5]) = (0xffff_c08b_de00_fe60, 0xffff_d201_851b_d000);
    vec![
        Tag::block("gpregs", &[cpu], &quads(&general)),
        Tag::u32("eflags", &[cpu], 0x86),
        Tag::u32("EFLAGS", &[cpu], 0x202),
        Tag::u32("S", &[cpu, 1], 0x10),
        Tag::u32("S.limit", &[cpu, 1], 0xf_ffff),
        Tag::u32("S.base", &[cpu, 1], 0),
        Tag::u64("S.base64", &[cpu, 1], 0),
        Tag::u32("S.rights", &[cpu, 1], 0x00a0_9b00),
        Tag::u32("csRights", &[cpu], 0x00a0_9b00),
        Tag::u32("selState", &[cpu], 0x8888_8888),
        Tag::u32("S", &[cpu, 7], 0x40),
        Tag::u32("S.limit", &[cpu, 7], 0x67),
        Tag::u64("S.base64", &[cpu, 7], 0xffff_f800_048d_5000),
        Tag::u32("S.base", &[cpu, 7], 0x048d_5000),
        Tag::u32("S.rights", &[cpu, 7], 0x8b00),
        Tag::block("DR64", &[cpu], &quads(&[0, 0, 0, 0, 0, 0, 0xffff_0ff0, 0x400])),
        Tag::block("syscallMSR", &[cpu], &quads(&[1, 2, 3, 4])),
        Tag::u64("KERNELGSBASE", &[cpu], 5),
        Tag::u64("EFER", &[cpu], 0xd01),
        Tag::u64("PAT", &[cpu], 6),
        Tag::u64("XCR0", &[cpu], 0x207),
        Tag::u64("tscAux", &[cpu], 7),
        Tag::u64("sysEnterCS", &[cpu], 8),
        Tag::u64("sysEnterESP", &[cpu], 9),
        Tag::u64("sysEnterEIP", &[cpu], 10),
        Tag::u64("tscDeadline", &[cpu], 11),
        Tag::u64("msrXSS", &[cpu], 12),
        Tag::u64("msrSCET", &[cpu], 13),
        Tag::u64("ssp", &[cpu], 14),
        Tag::u64("MSR", &[cpu, 377], 15),
    ]
}

#[test]
fn a_kernel_mode_processor_of_2022() {
    let opened = open_cpu(kernel_mode_2022(0));
    let vcpu = x86(&opened, 0);
    assert_eq!(vcpu.gpr(Gpr::Rsp), Some(0xffff_c08b_de00_fe60));
    assert_eq!(vcpu.gpr(Gpr::Rbp), Some(0xffff_d201_851b_d000));
    assert_eq!(vcpu.rflags, Some(0x286));
    let (limit, attributes) = (Some(u32::MAX), Some(0xa09b));
    let (selector, base) = (Some(0x10), Some(0));
    assert_eq!(vcpu.segments.cs, SegmentRegister { selector, base, limit, attributes });
    let tr = vcpu.segments.tr;
    assert_eq!((tr.limit, tr.attributes), (Some(0x67), Some(0x8b)));
    assert_eq!((vcpu.debug[6], vcpu.debug[7]), (Some(0xffff_0ff0), Some(0x400)));
    let msrs = vcpu.msrs;
    assert_eq!([msrs.star, msrs.lstar, msrs.cstar, msrs.sfmask], [1, 2, 3, 4].map(Some));
    assert_eq!((msrs.kernel_gs_base, msrs.efer), (Some(5), Some(0xd01)));
    assert_eq!((msrs.pat, msrs.xcr0, msrs.tsc_aux), (Some(6), Some(0x207), Some(7)));
    let entry = [msrs.sysenter_cs, msrs.sysenter_esp, msrs.sysenter_eip];
    assert_eq!(entry, [8, 9, 10].map(Some));
    assert_eq!(msrs.ssp, Some(14));
    let others: Vec<(u32, u64)> = vcpu.other_msrs.iter().map(|(n, value)| (*n, *value)).collect();
    assert_eq!(others, [(0x179, 15), (0x6a2, 13), (0x6e0, 11), (0xda0, 12)]);
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

/// Two of its slots are known to their last 16 bits.
#[test]
fn a_user_mode_processor_of_2022_has_its_stack_pointer_in_slot_4() {
    let mut general = [0; 16];
    (general[4], general[5]) = (0x7ff8_0000_e9a8, 0x7ff8_0000_ea10);
    let opened = open_cpu(vec![
        Tag::block("gpregs", &[0], &quads(&general)),
        Tag::u64("rip", &[0], 0x7ff8_1234_5678),
        Tag::u32("S", &[0, 1], 0x33),
    ]);
    let vcpu = x86(&opened, 0);
    assert_eq!(vcpu.gpr(Gpr::Rsp), Some(0x7ff8_0000_e9a8));
    assert_eq!(vcpu.gpr(Gpr::Rbp), Some(0x7ff8_0000_ea10));
}

/// While halted, `rip` is after the instruction and `eip` on it (2016).
#[test]
fn a_halted_processor_has_two_instruction_pointers() {
    let halted = |halted: u8, rip: u64, eip: u32| {
        open_cpu(vec![
            Tag::u64("rip", &[0], rip),
            Tag::u32("eip", &[0], eip),
            Tag::value("halted", &[0], &[halted]),
        ])
    };
    let opened = halted(1, 0x25b2, 0x25b1);
    assert_eq!(x86(&opened, 0).rip, Some(0x25b2));
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
    // The low half of a 64-bit address, also where it wraps.
    for (rip, eip) in [(0xffff_ffff_8100_0002, 0x8100_0001), (0xffff_0001_0000_0000, u32::MAX)] {
        let opened = halted(1, rip, eip);
        assert!(
            opened.checkpoint.about.problems.is_empty(),
            "{:?}",
            opened.checkpoint.about.problems
        );
    }
    for opened in [halted(0, 0x25b2, 0x25b1), halted(1, 0x25b3, 0x25b1), halted(1, 0x25b0, 0x25b1)]
    {
        assert!(has_problem(&opened, Severity::Warning, &["rip", "0x25b1"]));
    }
}

/// Limits are the 20 bits of the descriptor.
#[test]
fn limits_are_scaled_by_the_granularity_in_the_rights() {
    let opened = open_cpu(vec![
        Tag::u32("S.limit", &[0, 1], 0xf_ffff),
        Tag::u32("csRights", &[0], 0x00c0_9b00),
        Tag::u32("S.limit", &[0, 3], 0xf_ffff),
        Tag::u32("S.rights", &[0, 3], 0xff4f_93ff),
        Tag::u32("S.limit", &[0, 4], 0xffff),
    ]);
    let segments = x86(&opened, 0).segments;
    assert_eq!((segments.cs.limit, segments.cs.attributes), (Some(u32::MAX), Some(0xc09b)));
    assert_eq!((segments.ds.limit, segments.ds.attributes), (Some(0xf_ffff), Some(0x4093)));
    // What they count is not known without the rights.
    assert_eq!((segments.fs.limit, segments.fs.attributes), (None, None));
}

/// 2012: a tag for each register and for each byte of the FXSAVE image.
#[test]
fn registers_of_2012_have_a_tag_each() {
    let mut tags = vec![
        Tag::u64("rsp", &[0], 0xffff_8800_0000_1000),
        Tag::u32("esp", &[0], 0x1000),
        Tag::u64("STAR", &[0], 1),
        Tag::u64("LSTAR", &[0], 2),
        Tag::u64("CSTAR", &[0], 3),
        Tag::u64("SFMASK", &[0], 4),
        Tag::u64("CR64", &[0, 4], 0x6f0),
        Tag::u64("CR64", &[0, 8], 2),
        Tag::u32("CR", &[0, 4], 0x6f0),
    ];
    tags.extend(
        (0..512_u32)
            .map(|at| Tag::value("fpu:fxstate", &[0, at], &[u8::try_from(at % 256).unwrap()])),
    );
    let opened = open_cpu(tags);
    let vcpu = x86(&opened, 0);
    assert_eq!(vcpu.gpr(Gpr::Rsp), Some(0xffff_8800_0000_1000));
    let msrs = vcpu.msrs;
    assert_eq!([msrs.star, msrs.lstar, msrs.cstar, msrs.sfmask], [1, 2, 3, 4].map(Some));
    assert_eq!(vcpu.control.cr8, Some(2));
    let Some(FpuState::Fxsave(image)) = &vcpu.fpu else { panic!("{:?}", vcpu.fpu) };
    assert_eq!((image[0], image[255], image[300]), (0, 255, 44));
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
}

/// 2016 and 2022: the image, the header, and components by number.
#[test]
fn vectors_come_in_components() {
    let mut header = [0; 64];
    header[..8].copy_from_slice(&0x207_u64.to_le_bytes());
    let tags = |cr4: u64| {
        open_cpu(vec![
            Tag::block("CR64", &[0], &quads(&[0, 0, 0, 0, cr4, 0, 0, 0, 0])),
            Tag::u64("XCR0", &[0], 0x207),
            Tag::block("fpu:fxstate", &[0], &[0x11; 512]),
            Tag::block("xsave:xheader", &[0], &header),
            Tag::block("xsave:subleaf", &[0, 2], &[0x22; 256]),
            Tag::block("xsave:subleaf", &[0, 9], &[0x99; 8]),
        ])
    };
    let opened = tags(1 << 18);
    let Some(FpuState::Xsave(area)) = &x86(&opened, 0).fpu else { panic!("no XSAVE area") };
    assert_eq!(area.len(), 2696);
    assert_eq!((area[0], area[512], area[576], area[831]), (0x11, 7, 0x22, 0x22));
    assert_eq!((area[832], area[2688]), (0, 0x99));
    assert!(opened.checkpoint.about.problems.is_empty(), "{:?}", opened.checkpoint.about.problems);
    // Without XSAVE the guest has only the image.
    assert!(matches!(x86(&tags(0), 0).fpu, Some(FpuState::Fxsave(_))));
}

/// `vm.suspendTime.clientData` stands twice with the same index; the first value
/// read as a time was "1970-01-01 17:27:20".
#[test]
fn the_time_of_suspending_is_the_second_of_two() {
    let with = |times: &[u64]| {
        let mut tags = vec![Tag::u64("vm.powerOnTimeStamp.clientData", &[0], 1_655_300_000)];
        tags.extend(times.iter().map(|time| Tag::u64("vm.suspendTime.clientData", &[0], *time)));
        tags.push(Tag::value("vm.uptime.clientData", &[0], &62_840.25_f64.to_le_bytes()));
        let state = State::new().group("MStats", tags);
        let machine = crate::vmware::facts::machine(&open_state(state.bytes()).unwrap().inventory);
        (machine.powered_on_unix, machine.suspended_unix)
    };
    assert_eq!(with(&[62_840, 1_655_362_840]), (Some(1_655_300_000), Some(1_655_362_840)));
    assert_eq!(with(&[0, 1_655_362_840]).1, Some(1_655_362_840));
    for no_time in [&[62_840, 0][..], &[62_840], &[900_000], &[0, 0], &[u64::MAX]] {
        assert_eq!(with(no_time).1, None, "{no_time:?}");
    }
}

#[test]
fn registers_of_another_context_are_told() {
    let mut tags = kernel_mode_2022(0);
    tags.extend(kernel_mode_2022(1));
    tags.push(Tag::value("inSMM", &[0], &[0]));
    tags.push(Tag::value("inSMM", &[1], &[1]));
    tags.push(Tag::u32("hvState", &[0], 1));
    tags.push(Tag::u32("hvState", &[1], 0));
    let opened = open_cpu(tags);
    assert!(has_problem(&opened, Severity::Warning, &["vCPU 1", "system management mode"]));
    assert!(has_problem(&opened, Severity::Note, &["vCPU 0", "inner guest"]));
    assert_eq!(opened.checkpoint.about.problems.len(), 2, "{:?}", opened.checkpoint.about.problems);
}
