//! `-W` and `convert --format windbg`.

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
