//! The report about a checkpoint, from the data up: what it says, in both forms.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod schema;

use std::path::PathBuf;
use std::sync::Arc;

use serde_json::{Value, json};
use vmss2core_answers::{
    Action, Answer, InfoReport, KernelAnswers, TagsReport, plain_line, write_json, write_text,
};
use vmss2core_checkpoint::{Inventory, Item, ItemKind};
use vmss2core_guest::{CrashKernel, Facts, KernelText, LinuxFacts, VmcoreInfo};
use vmss2core_machine::paging::{Paging, Root};
use vmss2core_machine::x86::{Gpr, modes};
use vmss2core_machine::{
    About, Checkpoint, Machine, Privilege, Provenance, Registers, SourceFile, Vcpu, VcpuView,
    arm64, x86,
};
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory, Problem, Zeroes};

const SLIDE: u64 = 0x1b00_0000;

fn checkpoint() -> Checkpoint {
    let vcpus = vec![
        vcpu(0, 0xffff_ffff_8100_0000 + SLIDE + 0xa1_b2c3, 0xffff_ffff_9dc0_3e80),
        vcpu(1, 0x7f12_3456_789a, 0x7ffd_0000_1000),
    ];
    let about = About {
        machine: machine(),
        provenance: Provenance {
            kind: "VMware suspended state, 64-bit layout, memory in a separate file".into(),
            format: "vmware",
            files: vec![
                file("vm/web 01.vmss", "state", "given"),
                file("vm/web 01.vmem", "memory", "same name"),
            ],
            ..Provenance::default()
        },
        problems: vec![Problem::warning(
            "the state was resumed once before: memory may be newer than the registers, and so some \
             of what is shown may not fit together",
        )],
    };
    let mut checkpoint = Checkpoint::new(PhysicalMemory::new(), vcpus, about);
    for (start, len) in [(0, 3 << 30), (4 << 30, 3 << 30)] {
        checkpoint.memory.map(Gpa(start), len, Arc::new(Zeroes), start).unwrap();
    }
    checkpoint
}

fn machine() -> Machine {
    Machine {
        architecture: Some(&vmss2core_machine::x86::X86),
        product: Some("VMware ESX".into()),
        product_version: Some("8.0.2".into()),
        product_build: Some("22380479".into()),
        memory_mib: Some(6144),
        display_name: Some("web 01".into()),
        configured_guest: Some("debian12-64".into()),
        firmware: Some("EFI".into()),
        uuid: None,
        powered_on_unix: Some(1_764_550_861),
        suspended_unix: Some(1_764_637_261),
    }
}

fn file(path: &str, role: &'static str, found: &str) -> SourceFile {
    SourceFile { path: path.into(), role, found: found.into() }
}

fn vcpu(index: u32, rip: u64, rsp: u64) -> Vcpu {
    let mut x86 = x86::Registers { rip: Some(rip), ..x86::Registers::default() };
    x86.set_gpr(Gpr::Rsp, rsp);
    x86.segments.cs.selector = Some(if rip >> 63 == 1 { 0x10 } else { 0x33 });
    Vcpu { index, halted: Some(index == 0), registers: Registers::X86(Box::new(x86)) }
}

fn facts() -> Facts {
    facts_of(linux())
}

fn facts_of(linux: LinuxFacts) -> Facts {
    let vcpu = |index: u32, privilege| VcpuView {
        index,
        paging: Some(Paging {
            mode: Found::new(modes::FIVE_LEVEL, "CR4.LA57"),
            root: Root(Gpa(0x1234_5000)),
            no_execute: Some(true),
        }),
        kernel_root: (privilege == Privilege::User)
            .then(|| Found::new(Root(Gpa(0x1234_4000)), "bit 12 of CR3")),
        privilege: Some(privilege),
        number: Some(index),
    };
    Facts {
        vcpus: [vcpu(0, Privilege::Kernel), vcpu(1, Privilege::User)].into(),
        problems: vec![Problem::note("vCPU 1 is in a program")],
        ..Facts::of(linux, "banner")
    }
}

fn linux() -> LinuxFacts {
    let banner = "Linux version 6.1.0-28-amd64 (debian-kernel@lists.debian.org) (gcc-12 (Debian \
                  12.2.0-14) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40) #1 SMP \
                  PREEMPT_DYNAMIC Debian 6.1.119-1 (2024-11-22)\n";
    LinuxFacts {
        banner: Some(Found::new(banner.into(), "found at physical 0x2d200100")),
        release: Some(Found::new("6.1.0-28-amd64".into(), "VMCOREINFO")),
        is_64_bit: true,
        text: Some(Found::new(
            KernelText {
                start: Gva(0xffff_ffff_8100_0000 + SLIDE),
                gpa: Gpa(0x2c00_0000),
                len: 0x2e0_0000,
            },
            "page tables of vCPU 0",
        )),
        kaslr_offset: Some(Found::new(SLIDE, "VMCOREINFO")),
        phys_base: Some(Found::new(-0x1000_0000, "VMCOREINFO")),
        direct_map: Some(Found::new(Gva(0xff11_0000_0000_0000), "page tables of vCPU 0")),
        kernel_root: Some(Found::new((modes::FIVE_LEVEL, Root(Gpa(0x2e61_0000))), "VMCOREINFO")),
        vmcoreinfo: Some(Found::new(
            VmcoreInfo { text: "OSRELEASE=6.1.0-28-amd64\n".into(), synthesised: false },
            "note at physical 0x1ffe000c",
        )),
        crash_kernel: None,
    }
}

fn report(checkpoint: &Checkpoint, facts: &Facts) -> InfoReport {
    InfoReport::new(checkpoint, facts, &[PathBuf::from("vm/web 01.vmss")], line)
}

fn line(action: &Action, linux: Option<&LinuxFacts>, inputs: &str) -> String {
    format!("{} of {inputs}", plain_line(action, linux, inputs))
}

fn text(report: &InfoReport) -> String {
    let mut out = Vec::new();
    write_text(report, &mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json_of(report: &impl Answer) -> Value {
    let mut out = Vec::new();
    write_json(report, &mut out).unwrap();
    serde_json::from_slice(&out).unwrap()
}

/// `VMSS2CORE_UPDATE=1 cargo test` accepts what the program says now.
fn assert_golden(name: &str, got: &str) {
    let path = format!("{}/tests/golden/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("VMSS2CORE_UPDATE").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    let want = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(got == want, "{path} differs; VMSS2CORE_UPDATE=1 accepts this:\n{got}");
}

#[test]
fn the_text_form_reads_as_accepted() {
    assert_golden("linux.txt", &text(&report(&checkpoint(), &facts())));
}

#[test]
fn a_checkpoint_without_anything_still_has_a_report() {
    let empty = report(&Checkpoint::default(), &Facts::default());
    assert_golden("empty.txt", &text(&empty));
    assert_eq!(schema::violations(&schema::load("info-1.json"), &json_of(&empty)), [""; 0]);
}

#[test]
fn a_guest_that_is_not_recognised_gets_advice_that_works_for_any() {
    let vcpus = facts().vcpus;
    let unknown = report(&checkpoint(), &Facts { vcpus, ..Facts::default() });
    assert_golden("unknown.txt", &text(&unknown));
}

#[test]
fn the_text_form_fits_80_columns_but_for_paths_and_commands() {
    let text = text(&report(&checkpoint(), &facts()));
    let commands = text.find("\nnext").unwrap();
    for line in text[..commands].lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn the_json_form_fits_its_schema() {
    let json = json_of(&report(&checkpoint(), &facts()));
    assert_eq!(schema::violations(&schema::load("info-1.json"), &json), [""; 0]);
    assert_eq!(json["vcpus"][0]["instruction_pointer"], "0xffffffff9ca1b2c3");
    assert_eq!(json["vcpus"][0]["location"]["kernel_text_offset"], "0xa1b2c3");
    assert_eq!(json["vcpus"][0]["location"]["link_address"], "0xffffffff81a1b2c3");
    assert_eq!(json["vcpus"][1]["location"], json!({"space": "user"}));
    assert_eq!(json["guest"]["linux"]["phys_base"]["value"], "-0x10000000");
    let hole = json!([{"start": "0xc0000000", "end": "0x100000000", "bytes": 1_u64 << 30}]);
    assert_eq!(json["memory"]["holes"], hole);
}

/// Which vCPU executes which of two kernels, and where tasks wait.
#[test]
fn a_second_kernel_and_blocked_tasks_are_told_in_both_forms() {
    let second = CrashKernel {
        banner: "Linux version 6.1.0-crash".into(),
        release: "6.1.0-crash".into(),
        text: None,
        vcpus: vec![0],
        notes: Vec::new(),
    };
    let crash_kernel = Some(Found::new(second, "test"));
    let facts = facts_of(LinuxFacts { crash_kernel, ..linux() });
    let mut report = report(&checkpoint(), &facts);
    let place = |name: &str| Some(name.to_owned());
    let blocked = vec![place("io_schedule"), place("wait [jbd2]"), None, place("wait [jbd2]")];
    report.add_kernel(&KernelAnswers { blocked, ..KernelAnswers::default() });
    let said = text(&report).split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "a second one, 6.1.0-crash, runs on vCPU 0",
        "the second kernel",
        "blocked 4 tasks in state D: 2 in wait [jbd2], 1 in io_schedule, 1 elsewhere",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    let json = json_of(&report);
    assert_eq!(schema::violations(&schema::load("info-1.json"), &json), [""; 0]);
    // The place is not one of the first kernel.
    assert_eq!(json["vcpus"][0]["location"], json!({"space": "kernel"}));
    assert_eq!(json["vcpus"][0]["in_crash_kernel"], true);
    assert_eq!(json["vcpus"][1].get("in_crash_kernel"), None);
    assert_eq!(json["guest"]["linux"]["state"]["blocked"]["places"][0]["tasks"], 2);
}

#[test]
fn the_schema_notices_what_does_not_fit() {
    let json = json_of(&report(&checkpoint(), &facts()));
    let schema = schema::load("info-1.json");
    for (path, value) in [
        ("/machine/memory_mib", json!("6144")),
        ("/vcpus/0/mode/value", json!("mystery")),
        ("/vcpus/0/index", json!(-1)),
        ("/vcpus/0/page_tables", json!(305_418_240)),
        ("/guest/linux/kaslr_offset", json!("0x1b000000")),
        ("/problems/0/severity", json!("bad")),
        ("/schema", json!("vmss2core/info/2")),
    ] {
        let mut broken = json.clone();
        *broken.pointer_mut(path).unwrap() = value;
        assert_ne!(schema::violations(&schema, &broken), [""; 0], "{path}");
    }
    let mut extra = json.clone();
    extra["vcpus"][0]["surprise"] = json!(1);
    assert_ne!(schema::violations(&schema, &extra), [""; 0]);
    let mut missing = json;
    missing.as_object_mut().unwrap().remove("next");
    assert_ne!(schema::violations(&schema, &missing), [""; 0]);
}

#[test]
fn hostile_strings_reach_neither_the_terminal_nor_a_command() {
    let hostile = "\u{1b}]0;owned\u{7}\u{9b}2J\n$(reboot) '`x`'\u{202e}";
    let mut checkpoint = checkpoint();
    checkpoint.about_mut().provenance.kind = hostile.into();
    checkpoint.about_mut().machine.display_name = Some(hostile.into());
    checkpoint.about_mut().machine.product = Some(hostile.into());
    checkpoint.about_mut().problems.push(Problem::incomplete(hostile));
    let said = Some(Found::new(hostile.to_owned(), hostile));
    let facts = facts_of(LinuxFacts { release: said.clone(), banner: said, ..linux() });
    let report = report(&checkpoint, &facts);
    let text = text(&report);
    assert!(text.chars().all(|c| c == '\n' || !c.is_control()), "{text:?}");
    assert!(!text.contains('\u{202e}'));
    for step in &report.next {
        assert!(step.commands.iter().all(|command| !command.contains("reboot")), "{step:?}");
    }
    let mut json = Vec::new();
    write_json(&report, &mut json).unwrap();
    let json = String::from_utf8(json).unwrap();
    assert!(json.chars().all(|c| c == '\n' || !c.is_control()));
    assert_eq!(schema::violations(&schema::load("info-1.json"), &json_of(&report)), [""; 0]);
}

#[test]
fn a_map_in_pieces_is_summed_up() {
    let mut checkpoint = Checkpoint::default();
    for i in 0..1000 {
        checkpoint.memory.map(Gpa(i * 0x2000), 0x1000, Arc::new(Zeroes), 0).unwrap();
    }
    let report = report(&checkpoint, &Facts::default());
    assert!(text(&report).lines().count() < 100);
    assert!(text(&report).contains("and 1935 more; `json` lists all"));
    assert_eq!(json_of(&report)["memory"]["holes"].as_array().unwrap().len(), 999);
}

#[test]
fn a_real_mode_instruction_pointer_is_shown_as_a_linear_address() {
    let mut checkpoint = Checkpoint::default();
    let mut x86 = x86::Registers { rip: Some(0xfff0), ..x86::Registers::default() };
    x86.segments.cs.base = Some(0xffff_0000);
    checkpoint.vcpus =
        [Vcpu { index: 0, halted: None, registers: Registers::X86(Box::new(x86)) }].into();
    let json = json_of(&report(&checkpoint, &Facts::default()));
    assert_eq!(json["vcpus"][0]["instruction_pointer"], "0xfffffff0");
}

#[test]
fn the_list_of_tags_fits_its_schema() {
    let item = |name: &str, value: Option<&[u8]>| Item {
        group: "cpu".into(),
        name: name.into(),
        indices: vec![0],
        kind: if value.is_some() { ItemKind::Value } else { ItemKind::Block },
        offset: 0x2077,
        size_in_file: 8,
        size_in_memory: 8,
        value: value.map(<[u8]>::to_vec),
    };
    let items = vec![
        item("rip", Some(&[1; 8])),
        item("vendor", Some(b"GenuineIntel")),
        item("empty", Some(b"")),
        item("block", None),
    ];
    let json = json_of(&TagsReport::new(&Inventory::new(items, Arc::new(Vec::new()))));
    assert_eq!(schema::violations(&schema::load("tags-1.json"), &json), [""; 0]);
    assert_eq!(json["tags"][0]["tag"], "cpu/rip[0]");
    assert_eq!(json["tags"][0]["number"], "0x101010101010101");
    assert_eq!(json["tags"][1]["text"], "GenuineIntel");
    assert_eq!(json["tags"][2]["bytes"], "");
    assert_eq!(json["tags"][3].get("bytes"), None);
}

/// VMware's state files of Arm machines have little more than a table base.
#[test]
fn of_an_arm_processor_what_is_known_is_printed() {
    let ttbr1_el1 = Some(0x8123_4000);
    let system = arm64::SystemRegisters { ttbr1_el1, ..arm64::SystemRegisters::default() };
    let arm64 = arm64::Registers { system, ..arm64::Registers::default() };
    let registers = Registers::Arm64(Box::new(arm64));
    let vcpus = vec![Vcpu { index: 0, halted: None, registers }];
    let checkpoint = Checkpoint::new(PhysicalMemory::new(), vcpus, About::default());
    let report = report(&checkpoint, &vmss2core_guest::analyse(&checkpoint));
    assert!(text(&report).contains("TTBR1_EL1 0x81234000"), "{}", text(&report));
    let json = json_of(&report);
    assert_eq!(json["vcpus"][0]["registers"], json!({"TTBR1_EL1": "0x81234000"}));
    let problems = json["problems"].to_string();
    assert!(problems.contains("page tables of arm64 processors cannot be read"), "{problems}");

    // Nothing that would be refused is suggested.
    let mut memory = PhysicalMemory::new();
    memory.map(Gpa(0), 0x10_0000, Arc::new(Zeroes), 0).unwrap();
    let with_memory = Checkpoint::new(memory, checkpoint.vcpus.to_vec(), About::default());
    let next = self::report(&with_memory, &vmss2core_guest::analyse(&with_memory)).next;
    let typed: Vec<&str> = next.iter().map(|step| step.commands[0].as_str()).collect();
    let inputs = "of 'vm/web 01.vmss'";
    let all = [
        format!("write elf-physical: vmss.core {inputs}"),
        format!("write raw: memory.raw {inputs}"),
    ];
    assert_eq!(typed, all);
}
