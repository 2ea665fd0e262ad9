//! The library and the program say the same.

use std::sync::Arc;
use std::thread;

use vmss2core::answers::{Forms, ModuleList};
use vmss2core::dump::Value;
use vmss2core::{Error, Guest, Listed, StacksOf};
use vmss2core_lab::vmware::Shape;
use vmss2core_lab::{macos, windows};

use crate::run::Place;

fn windows_guest() -> (Place, Guest) {
    let place = Place::new();
    let machine = windows::make(&windows::fixture("crashed").unwrap()).unwrap().machine;
    place.add_checkpoint(&machine, &Shape::default(), "vm");
    let guest = Guest::open([place.file("vm.vmss")]).unwrap();
    (place, guest)
}

fn text(answer: &impl Forms) -> String {
    let mut out = Vec::new();
    answer.write_text(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

fn json(answer: &impl Forms) -> String {
    let mut out = Vec::new();
    answer.write_json(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn answers_are_what_the_program_prints() {
    let (place, guest) = windows_guest();
    let tree = Listed { tree: true, ..Listed::default() };
    let ps = guest.ps(Listed::default()).unwrap().answer;
    for (line, said) in [
        ("ps vm.vmss", text(&ps)),
        ("ps --json vm.vmss", json(&ps)),
        ("ps --tree vm.vmss", text(&guest.ps(tree).unwrap().answer)),
        ("bt vm.vmss", text(&guest.bt(&StacksOf::Processors).unwrap().answer)),
        ("modules vm.vmss", text(&guest.modules(ModuleList::Table).unwrap().answer)),
    ] {
        assert!(!said.is_empty(), "{line}");
        assert_eq!(place.run(line).stdout, said, "{line}");
    }
}

#[test]
fn a_guest_is_shared_by_threads() {
    let (_place, guest) = windows_guest();
    let guest = Arc::new(guest);
    let alone = text(&guest.bt(&StacksOf::All).unwrap().answer);
    let asked = [1, 2].map(|_| {
        let guest = Arc::clone(&guest);
        thread::spawn(move || text(&guest.bt(&StacksOf::All).unwrap().answer))
    });
    for said in asked {
        assert_eq!(said.join().unwrap(), alone);
    }
}

#[test]
fn files_are_those_that_the_program_writes() {
    let (place, guest) = windows_guest();
    place.run("convert vm.vmss -o program.dmp -f windbg --build 1").expect(0);
    guest.write("windbg", [("build", Value::Number(1))], &place.file("library.dmp")).unwrap();
    let bytes = |name| std::fs::read(place.file(name)).unwrap();
    assert!(bytes("program.dmp") == bytes("library.dmp"));
}

#[test]
fn errors_are_facts_and_the_program_adds_what_to_type() {
    let (place, guest) = windows_guest();
    let error = guest.bt(&StacksOf::Process(77_777.into())).unwrap_err();
    assert_eq!(error.to_string(), "the guest has no process or thread 77777");
    let said = place.run("bt vm.vmss --pid 77777").expect(1).stderr;
    assert!(
        said.contains("the guest has no process or thread 77777; vmss2core ps lists them"),
        "{said}"
    );
    let no_format = guest.write("nothing", [], &place.file("x")).unwrap_err();
    assert_eq!(no_format.to_string(), "no output format is called nothing");

    let place = Place::new();
    let machine = macos::make(macos::Fixture::default()).unwrap().machine;
    place.add_checkpoint(&machine, &Shape::default(), "vm");
    let guest = Guest::open([place.file("vm.vmss")]).unwrap();
    let error = guest.ps(Listed::default()).unwrap_err();
    assert!(matches!(error, Error::OtherSystem("macOS")), "{error}");
    assert!(!error.to_string().contains("vmss2core"), "{error}");
}
