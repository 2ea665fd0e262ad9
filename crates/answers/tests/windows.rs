//! What is said about Windows guests, from the data up, in all forms.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test may stop where it stands"
)]

mod forms;
mod schema;

use std::path::PathBuf;

use vmss2core_answers::{InfoReport, WindowsModulesReport, WindowsPsReport, plain_line};
use vmss2core_guest::windows::{
    Completeness, ForeignVcpu, KernelImage, Modules, PdbIdentity, Process, Processes, SharedData,
    Thread, UnloadedModule, WindowsCpu, WindowsFacts,
};
use vmss2core_guest::{Facts, OperatingSystem};
use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, Gva, PhysicalMemory, Problem, Zeroes};

use forms::{fits, json, text};

fn crashed() -> WindowsFacts {
    let how = "made";
    let pdb = PdbIdentity {
        name: "ntkrnlmp.pdb".to_owned(),
        guid: "5278AFF86C341677D7D7835C85B7B844".to_owned(),
        age: 1,
    };
    let image = KernelImage {
        base: Gva(0xffff_f804_7ba0_0000),
        size_bytes: 0x104_6000,
        timestamp: Some(0x1f1a_7a51),
        checksum: None,
        pdb: Some(pdb),
        sections: Vec::new(),
    };
    let shared = SharedData {
        system_root: r"C:\Windows".to_owned(),
        product: 3,
        suite: 0x80,
        system_time: 133_500_123_456_789_012,
        interrupt_time: 36_123_456_789,
        ..SharedData::default()
    };
    let cpu = WindowsCpu {
        number: 0,
        kpcr: Gva(0xffff_f804_782d_4000),
        kprcb: Gva(0xffff_f804_782d_4180),
        vcpu: Some(Found::new(1, how)),
        context: None,
        embedded_context: None,
        special_registers: None,
        thread: None,
        process: None,
        kernel_root: None,
    };
    let foreign =
        ForeignVcpu { vcpu: 0, holder: "the hypervisor".to_owned(), how: "its CR3".to_owned() };
    WindowsFacts {
        kernel_root: Found::new((modes::FOUR_LEVEL, Root(Gpa(0x1a_d000))), how),
        is_64_bit: true,
        image: Some(Found::new(image, how)),
        kdbg: None,
        shared: Some(shared),
        build: Some(Found::new(17763, how)),
        is_checked: false,
        lab: Some(Found::new("17763.1.amd64fre.rs5_release.180914-1434".to_owned(), how)),
        system_process: None,
        cpus: vec![cpu],
        foreign: vec![foreign],
        bugcheck: Some(Found::new([0xd1, 0xffff_d000_1234_5678, 2, 0, 0xffff_f800_0000_2034], how)),
        completeness: Completeness::SomeProcessors,
        missing: vec!["the debugger data block".to_owned()],
    }
}

fn info() -> InfoReport {
    let mut memory = PhysicalMemory::new();
    memory.map(Gpa(0), 0x10_0000, std::sync::Arc::new(Zeroes), 0).unwrap();
    let checkpoint = Checkpoint { memory, ..Checkpoint::default() };
    let facts = Facts {
        os: Some(Found::new(OperatingSystem::Windows, "made")),
        windows: Some(crashed().into()),
        ..Facts::default()
    };
    InfoReport::new(&checkpoint, &facts, &[PathBuf::from("vm.vmss")], plain_line)
}

#[test]
fn info_tells_version_symbols_and_why_it_stopped() {
    let report = info();
    let value = json(&report);
    fits("info-1.json", &value);
    let windows = &value["guest"]["windows"];
    assert_eq!(windows["name"], "Windows Server 2019");
    assert_eq!(windows["edition"], "server, Datacenter");
    assert_eq!(windows["image"]["value"]["key"], "1F1A7A511046000");
    assert_eq!(windows["bugcheck"]["value"]["name"], "DRIVER_IRQL_NOT_LESS_OR_EQUAL");
    let said = text(&report);
    for part in [
        "Windows Server 2019, 64-bit",
        "ntkrnlmp.pdb/5278AFF86C341677D7D7835C85B7B8441/ntkrnlmp.pdb",
        "stop code 0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL",
        "0xffffd00012345678: address referenced",
        "2024-01-18",
        "vCPU 0 was with the hypervisor",
        "the debugger data block",
        "ps",
        "write windbg: memory.dmp",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
    assert!(said.lines().all(|line| line.chars().count() <= 100), "{said}");
}

fn processes() -> Processes {
    let process = |pid, parent, name: &str, path: Option<&str>| Process {
        gva: Gva(0xffff_b40c_4180_0000 + pid * 0x1000),
        pid,
        parent: Some(parent),
        name: name.to_owned(),
        path: path.map(str::to_owned),
        root: Some(Gpa(0x1a_d000)),
        created: Some(133_500_123_456_789_012),
        exited: Some(0),
        threads: vec![Thread {
            tid: Some(pid + 4),
            state: Some(2),
            cpu: Some(1),
            ..Thread::default()
        }],
        ..Process::default()
    };
    Processes {
        processes: vec![
            process(4, 0, "System", None),
            // Parents of each other: damage, but each is listed once.
            process(500, 600, "ring\x1b[31m", None),
            process(600, 500, "round", None),
            process(308, 4, "smss.exe", Some(r"\Device\HarddiskVolume3\Windows\System32\smss.exe")),
        ],
        how: "made".to_owned(),
        problems: vec![Problem::incomplete("the list is torn")],
    }
}

#[test]
fn processes_are_listed_in_all_forms() {
    let report = WindowsPsReport::new(&processes());
    let value = json(&report);
    fits("windows-ps-1.json", &value);
    assert_eq!(value["processes"][1]["name"], "smss.exe");
    assert_eq!(value["processes"][1]["threads"][0]["state"], "running");
    for said in
        [text(&report), text(&report.clone().as_tree()), text(&report.clone().with_threads())]
    {
        assert!(said.ends_with("4 processes with 4 threads\n"), "{said}");
        assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said}");
        for name in ["System", "smss.exe", "round", "ring"] {
            assert_eq!(said.replace("System32", "").matches(name).count(), 1, "{name}:\n{said}");
        }
    }
    let tree = text(&report.clone().as_tree());
    assert!(tree.contains(r"\_ \Device\HarddiskVolume3\Windows\System32\smss.exe"), "{tree}");
}

#[test]
fn unloaded_modules_are_listed() {
    let gone = UnloadedModule {
        name: "gone.sys".to_owned(),
        start: Gva(0xffff_f880_0444_0000),
        end: Gva(0xffff_f880_0445_2000),
        time: 133_500_123_456_789_012,
    };
    let modules = Modules { unloaded: vec![gone], ..Modules::default() };
    let report = WindowsModulesReport::new(&modules);
    fits("windows-modules-1.json", &json(&report));
    let said = text(&report);
    assert!(
        said.contains("0xfffff88004440000     12000  gone.sys             2024-01-18"),
        "{said}"
    );
}
