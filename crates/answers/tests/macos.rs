//! What is said about macOS guests, from the data up, in all forms.

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
use vmss2core_guest::linux::GivenFiles;
use vmss2core_guest::macos::{
    DarwinVersion, KernelImage, Kext, KextList, MacosFacts, Segment, Uuid,
};
use vmss2core_machine::Checkpoint;
use vmss2core_machine::paging::Root;
use vmss2core_machine::x86::modes;
use vmss2core_mem::{Found, Gpa, Gva, Problem};

use forms::{fits, json, text};

const STEXT: u64 = 0xffff_ff80_1240_0000;

fn kext(name: &str, base: Option<u64>) -> Kext {
    Kext {
        info: Gva(0xffff_ff7f_9000_0000),
        name: name.to_owned(),
        version: "1.2".to_owned(),
        base: base.map(Gva),
        size_bytes: 0x5000,
        uuid: base.map(|_| Uuid([0xab; 16])),
    }
}

fn catalina() -> MacosFacts {
    let version = DarwinVersion {
        text: "Darwin Kernel Version 19.6.0: a day; root:xnu-6153~1/RELEASE_X86_64".to_owned(),
        darwin: [19, 6, 0],
        uuid: None,
        stext: Some(STEXT),
    };
    let segment = Segment { name: "__TEXT".to_owned(), start: Gva(STEXT), len_bytes: 0x80_0000 };
    let image = KernelImage {
        base: Gva(STEXT),
        gpa: Gpa(0x1240_0000),
        collection: None,
        uuid: Some(Uuid(*b"0123456789abcdef")),
        segments: vec![segment],
    };
    let kexts = vec![kext("org.example\x1b[31m", Some(0xffff_ff7f_8000_0000)), kext("kpi", None)];
    MacosFacts {
        is_64_bit: true,
        version: Some(Found::new(version, "made")),
        build: Some(Found::new("19H15".to_owned(), "made")),
        image: Some(Found::new(image, "made")),
        slide: Some(Found::new(0x1220_0000, "made")),
        low_globals: Some(Found::new(Gpa(0x1300_0000), "made")),
        kernel_root: Some(Found::new((modes::FOUR_LEVEL, Root(Gpa(0x5000))), "made")),
        panic: Some(Found::new("panic(cpu 0 caller 0x1): \"a test\"".to_owned(), "made")),
        kexts: Some(Found::new(KextList { kexts, torn: None }, "made")),
    }
}

fn facts(macos: MacosFacts) -> Facts {
    Facts::of(macos, "made")
}

#[test]
fn a_guest_is_told_of_in_both_forms() {
    let report = InfoReport::new(
        &Checkpoint::default(),
        &facts(catalina()),
        &[PathBuf::from("a.vmss")],
        plain_line,
    );
    let value = json(&report);
    fits("info-1.json", &value);
    assert_eq!(
        value["guest"]["macos"]["image"]["value"]["uuid"],
        "30313233-3435-3637-3839-616263646566"
    );
    let said = text(&report);
    for part in [
        "guest        macOS 10.15, 64-bit",
        "UUID       30313233-3435-3637-3839-616263646566",
        "kernel lies 0x12200000 above its link address",
        "2 loaded; see modules",
        "stopped    panic(cpu 0 caller 0x1): \"a test\" (made)",
    ] {
        assert!(said.contains(part), "{part}:\n{said}");
    }
}

#[test]
fn little_is_known_of_a_32_bit_kernel() {
    let report =
        InfoReport::new(&Checkpoint::default(), &facts(MacosFacts::default()), &[], plain_line);
    fits("info-1.json", &json(&report));
    let said = text(&report);
    assert!(said.contains("guest        macOS, 32-bit"), "{said}");
}

#[test]
fn names_are_those_of_the_time() {
    let named = |darwin: u32| {
        let mut macos = catalina();
        macos.version.as_mut().unwrap().value.darwin = [darwin, 0, 0];
        let report = InfoReport::new(&Checkpoint::default(), &facts(macos), &[], plain_line);
        report.guest.macos.unwrap().name
    };
    for (darwin, name) in [
        (9, "Mac OS X 10.5"),
        (13, "OS X 10.9"),
        (16, "macOS 10.12"),
        (20, "macOS 11"),
        (24, "macOS 15"),
        (25, "macOS 26"),
    ] {
        assert_eq!(named(darwin).as_deref(), Some(name));
    }
    assert_eq!((named(0), named(u32::MAX)), (None, None));
}

#[test]
fn the_kernel_and_its_extensions_are_listed_in_both_forms() {
    let images = |macos: MacosFacts| {
        let facts =
            Facts { problems: vec![Problem::incomplete("the list is torn")], ..facts(macos) };
        let boot = facts.boot.as_ref().unwrap().value.clone();
        let now = boot.now(&Checkpoint::default(), &facts, &GivenFiles::default()).unwrap();
        ModulesReport::new(&now.images().unwrap(), ModuleList::Table)
    };
    let report = images(catalina());
    fits("modules-2.json", &json(&report));
    let said = text(&report);
    assert!(said.chars().all(|c| c == '\n' || !c.is_control()), "{said}");
    let rows: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    let uuid = "30313233-3435-3637-3839-616263646566";
    assert_eq!(rows[0], ["Module", "Size", "Address", "Version", "UUID"]);
    assert_eq!(rows[1], ["mach_kernel", "8388608", "0xffffff8012400000", "19.6.0", uuid]);
    assert_eq!(rows[3], ["kpi", "20480", "in", "the", "kernel", "1.2", "-"]);
    fits("modules-2.json", &json(&images(MacosFacts::default())));
}
