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

use vmss2core_answers::{InfoReport, ModuleList, ModulesReport, plain_line};
use vmss2core_guest::Facts;
use vmss2core_guest::model::{Image, Images, Unloaded};
use vmss2core_guest::windows::{
    Completeness, ForeignVcpu, KernelImage, PdbIdentity, SharedData, WindowsCpu, WindowsFacts,
};
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
    let facts = Facts::of(crashed(), "made");
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

#[test]
fn images_with_their_pdbs_and_unloaded_ones_are_listed() {
    let pdb = crashed().image.unwrap().value.pdb;
    let image = |name: &str, pdb| Image {
        name: name.to_owned(),
        address: Some(Gva(0xffff_f804_7ba0_0000)),
        size_bytes: 0x104_6000,
        timestamp: Some(0x1f1a_7a51),
        pdb,
        ..Image::default()
    };
    let gone = Unloaded {
        name: "gone.sys".to_owned(),
        range: 0xffff_f880_0444_0000..0xffff_f880_0445_2000,
        unix: Some(1_705_538_745),
    };
    let images = Images {
        word_len: 8,
        loaded: vec![image("nt\x1b.exe", pdb), image("win32k.sys", None)],
        unloaded: vec![gone],
        problems: vec![Problem::incomplete("the list is torn")],
        ..Images::default()
    };
    let report = ModulesReport::new(&images, ModuleList::Proc);
    fits("modules-2.json", &json(&report));
    assert_eq!(
        text(&report),
        "Module                  Size  Address            PDB
nt\\u{1b}.exe        17063936  0xfffff8047ba00000 ntkrnlmp.pdb/5278AFF86C341677D7D7835C85B7B8441/ntkrnlmp.pdb
win32k.sys          17063936  0xfffff8047ba00000 ?
unloaded
gone.sys               73728  0xfffff88004440000 2024-01-18T00:45:45Z
"
    );
}
