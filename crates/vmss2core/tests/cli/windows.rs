//! `-W` and `convert --format windbg`.

use vmss2core_lab::vmware::Shape;
use vmss2core_lab::windows::{fixture, make};

use crate::run::Place;

/// Each form of the option, as typed.
const FORMS: [&str; 12] = [
    "-W",
    "-W8",
    "-W2600",
    "-WDDB12ac34de",
    "-WDDb0x12ac34de",
    "-W12ac34de",
    "-WSCAN",
    "-Wscan",
    "-W8DDBfffff80012345678",
    "-W8ddbfffff80012345678",
    "-WK",
    "-Wk",
];

#[test]
fn a_guest_that_is_no_windows_is_refused_with_advice() {
    let place = Place::with_checkpoint(1);
    let lines = FORMS.map(|form| format!("{form} vm.vmss"));
    let convert =
        ["windbg", "windbg-bitmap"].map(|name| format!("convert vm.vmss -o memory.dmp -f {name}"));
    for line in lines.iter().chain(&convert) {
        let ended = place.run(line).expect(1);
        let said = &ended.stderr;
        assert!(said.contains("no Windows kernel was found in the guest"), "{line}: {said}");
        assert!(said.contains("--format raw writes the memory"), "{line}: {said}");
        assert_eq!(place.names(), ["vm.vmem", "vm.vmss"], "{line}");
    }
}

#[test]
fn options_of_windows_dumps_go_with_nothing_else() {
    let place = Place::with_checkpoint(1);
    for option in [
        "--sparse",
        "--runs guest",
        "--bugcheck e2",
        "--live-context",
        "--no-patch",
        "--build 2600",
    ] {
        let line = format!("convert vm.vmss -o x -f elf-physical {option}");
        let said = place.run(&line).expect(2).stderr;
        assert!(said.contains("goes with --format windbg, not with elf-physical"), "{said}");
    }
}

/// A small Windows guest as a checkpoint; and where its debugger data is.
fn windows_guest() -> (Place, u64) {
    let place = Place::new();
    let nt = make(&fixture("win10-19041-x64").unwrap()).unwrap();
    place.add_checkpoint(&nt.machine, &Shape::default(), "vm");
    (place, nt.truth.kdbg.va)
}

fn number(dump: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(*dump[at..].first_chunk().unwrap())
}

/// Build number and address of the debugger data, where a debugger reads them.
fn build_and_block(place: &Place) -> (u64, u64) {
    let dump = std::fs::read(place.file("memory.dmp")).unwrap();
    assert_eq!(dump[..8], *b"PAGEDU64");
    (number(&dump, 8) >> 32, number(&dump, 0x80))
}

/// 32-bit kernels, whose debugger data is linked by pointers of 32 bits.
#[test]
fn commands_answer_of_32_bit_windows() {
    for (name, system) in [
        ("crashed-win2003", "guest Windows Server 2003, 32-bit"),
        ("crashed-win7-pae", "guest Windows 7, 32-bit"),
        ("crashed-winxp", "guest Windows XP, 32-bit"),
    ] {
        let place = Place::new();
        let nt = make(&fixture(name).unwrap()).unwrap();
        place.add_checkpoint(&nt.machine, &Shape::default(), "vm");
        let info = place.run("info vm.vmss").expect(0).stdout;
        let info = info.split_whitespace().collect::<Vec<_>>().join(" ");
        let block = format!("{:#x}", nt.truth.kdbg.va);
        let stop = "stop code 0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL";
        let driver = "in vmmemctl+0x2034: instruction";
        for part in [system, &nt.truth.lab, &block, "version block at", stop, driver] {
            assert!(info.contains(part), "{name}: {part}\n{info}");
        }
        assert!(!info.contains("missing"), "{name}: {info}");
        for (line, parts) in [
            ("ps vm.vmss", &["System", "smss.exe", "notepad.exe"][..]),
            ("modules vm.vmss", &["ntoskrnl.exe", "hal.dll", "vmmemctl.sys"]),
            ("bt vm.vmss --cpu 1", &["the registers that Windows saved", "nt+0x"]),
        ] {
            let said = place.run(line).expect(0).stdout;
            for part in parts {
                assert!(said.contains(part), "{name}: {line}: {part}\n{said}");
            }
        }
        // Where the function ends that is exported nothing says.
        let bt = place.run("bt vm.vmss --cpu 1").expect(0).stdout;
        assert!(!bt.contains("nt!"), "{name}: {bt}");
        place.run("-W vm.vmss").expect(0);
        let dump = std::fs::read(place.file("memory.dmp")).unwrap();
        assert_eq!(&dump[..8], b"PAGEDUMP");
        assert_eq!(number(&dump, 0x60) & 0xffff_ffff, nt.truth.kdbg.va, "{name}");
        assert_eq!(dump[0x5c], u8::from(name.ends_with("pae")), "{name}");
    }
}

#[test]
fn every_form_of_the_option_writes_the_guest() {
    let (place, kdbg) = windows_guest();
    let forms = [
        ("-W".to_owned(), 19041),
        ("-W8".to_owned(), 19041),
        ("-W22000".to_owned(), 22000),
        (format!("-WDDB{kdbg:x}"), 19041),
        (format!("-Wddb0x{kdbg:X}"), 19041),
        (format!("-W{kdbg:x}"), 19041),
        (format!("-W8DDB{kdbg:x}"), 19041),
        ("-WSCAN".to_owned(), 19041),
        ("-WK".to_owned(), 19041),
    ];
    for (form, build) in forms {
        place.add_file("memory.dmp", b"of before");
        let said = place.run(&format!("{form} vm.vmss")).expect(0).stdout;
        for line in [
            "Win: ntBuildLab=19041.1.amd64fre.vb_release.191206-1406\n",
            &format!("CoreDumpScanWin32: MinorVersion set to {build}\n"),
            " MBs written.\n",
            "Finished writing core.\n",
        ] {
            assert!(said.contains(line), "{form}: {line}\n{said}");
        }
        assert_eq!(build_and_block(&place), (build, kdbg), "{form}");
        assert_eq!(place.names(), ["memory.dmp", "vm.vmem", "vm.vmss"], "{form}");
    }
    assert_eq!(place.run("-q -W vm.vmss").expect(0).stdout, "");
}

#[test]
fn an_address_without_debugger_data_is_said_and_looked_past() {
    let (place, kdbg) = windows_guest();
    let wrong = kdbg + 0x1000;
    let ended = place.run(&format!("-WDDB{wrong:x} vm.vmss")).expect(0);
    let said = format!("no debugger data at {wrong:#x}, as given; that at {kdbg:#x} is used");
    assert!(ended.stderr.contains(&said), "{}", ended.stderr);
    assert_eq!(ended.stderr.matches("no debugger data at").count(), 1, "{}", ended.stderr);
    assert_eq!(build_and_block(&place), (19041, kdbg));
}

#[test]
fn commands_answer_of_windows_or_say_that_it_is_windows() {
    let (place, _) = windows_guest();
    for (line, parts) in [
        ("info vm.vmss", &["Windows 10", "19041", "ntkrnlmp.pdb/", "vmss2core -W"][..]),
        ("ps vm.vmss", &["System", "smss.exe"]),
        ("modules vm.vmss", &["ntoskrnl.exe", "ntkrnlmp.pdb"]),
        ("bt vm.vmss --cpu 0", &["nt+0x"]),
    ] {
        let said = place.run(line).expect(0).stdout;
        for part in parts {
            assert!(said.contains(part), "{line}: {part}\n{said}");
        }
    }
    for line in ["dmesg vm.vmss", "symbols vm.vmss", "crash-args vm.vmss"] {
        let said = place.run(line).expect(1).stderr;
        assert!(said.contains("Windows"), "{line}: {said}");
    }
}
