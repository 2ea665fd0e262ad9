//! Where files go, and what they must not replace; `judge_outputs` does the same with
//! the commands that need a real guest.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use vmss2core_lab::vmware::Shape;
use vmss2core_lab::windows::{fixture, make};

use crate::outputs::{Lab, Writer};
use crate::run::Place;

/// Commands that write files, with the word of their help that says so; each is in
/// [`Lab::check`]'s hands, here or in `judge_outputs`, or has a test of its own.
const WRITERS: [(&str, &str); 6] = [
    ("convert", "--output <OUT>"),
    ("core", "--output <OUT>"),
    ("extract", "--output <OUT>"),
    ("gdb", "--write-gdbinit <FILE>"),
    ("btf", "--output <OUT>"),
    ("man", "--all <DIR>"),
];

/// Commands that print.
const PRINTERS: [&str; 13] = [
    "info",
    "ps",
    "maps",
    "bt",
    "crash-args",
    "vmcoreinfo",
    "symbols",
    "linuxoffsets",
    "dmesg",
    "modules",
    "schema",
    "completions",
    "help",
];

#[test]
fn every_command_is_known_to_write_files_or_not_to() {
    let place = Place::new();
    let help = place.run("-h").expect(0).stdout;
    let commands = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.len() > 10, "{help}");
    for name in names {
        let help = place.run(&format!("{name} --help")).expect(0).stdout;
        let word = WRITERS.iter().find(|(writer, _)| *writer == name).map(|(_, word)| *word);
        assert!(word.is_some() != PRINTERS.contains(&name), "{name}: a writer, or a printer?");
        if let Some(word) = word {
            assert!(help.contains(word), "{name}: {help}");
        } else {
            let writes = ["--output", "--write", "-o,"].iter().any(|word| help.contains(word));
            assert!(!writes, "{name}: {help}");
        }
    }
}

fn check(place: &Place, writer: &Writer<'_>) {
    let run = |words: &[&str]| place.command(words).output().unwrap();
    Lab { dir: place.path(), inputs: &["vm.vmss", "vm.vmem"], run: &run }.check(writer);
}

fn convert(place: &Place, format: &str) {
    let line = format!("convert vm.vmss -f {format} -o OUT");
    check(place, &Writer { line: &line, implied: None, force: "--force" });
}

fn original(place: &Place, line: &str, name: &str) {
    check(place, &Writer { line, implied: Some(name), force: "" });
}

#[test]
fn no_core_takes_the_place_of_an_input_or_follows_a_link_that_nobody_typed() {
    let place = Place::with_checkpoint(2);
    for format in ["raw", "elf", "elf-physical", "elf-linear"] {
        convert(&place, format);
    }
    original(&place, "-M vm.vmss", "vmss.core");
    original(&place, "-N vm.vmss", "vmss.core");
    original(&place, "-U 1 vm.vmss", "vmss.core1");
}

#[test]
fn no_dump_of_windows_takes_the_place_of_an_input_or_follows_a_link_that_nobody_typed() {
    let place = Place::new();
    let nt = make(&fixture("win10-19041-x64").unwrap()).unwrap();
    place.add_checkpoint(&nt.machine, &Shape::default(), "vm");
    for format in ["windbg", "windbg-bitmap"] {
        convert(&place, format);
    }
    original(&place, "-W vm.vmss", "memory.dmp");
}

#[test]
fn a_script_beside_a_core_does_not_follow_a_link() {
    let place = Place::with_checkpoint(1);
    place.add_file("theirs", b"theirs");
    std::os::unix::fs::symlink("theirs", place.file("c.gdb")).unwrap();
    let line = "convert vm.vmss -o c -f elf-linear --gdb-script --force";
    let said = place.run(line).expect(1).stderr;
    assert!(said.contains("c.gdb is a symbolic link"), "{said}");
    assert_eq!(place.names(), ["c.gdb", "theirs", "vm.vmem", "vm.vmss"]);
    assert_eq!(fs::read(place.file("theirs")).unwrap(), b"theirs");
}

/// They hold no secrets, and `man` is to find them.
#[test]
fn manual_pages_may_be_read_and_follow_no_link() {
    let place = Place::new();
    place.run("man --all pages").expect(0);
    let page = place.file("pages").join("vmss2core.1");
    assert_eq!(fs::metadata(&page).unwrap().permissions().mode() & 0o444, 0o444);
    place.run("man --all pages").expect(0);
    fs::remove_file(&page).unwrap();
    std::os::unix::fs::symlink(place.file("theirs"), &page).unwrap();
    place.add_file("theirs", b"theirs");
    let said = place.run("man --all pages").expect(1).stderr;
    assert!(said.contains("is a symbolic link"), "{said}");
    assert_eq!(fs::read(place.file("theirs")).unwrap(), b"theirs");
}

/// A piece of a bundle and the archive around a checkpoint are inputs, too.
#[test]
fn what_a_checkpoint_was_unpacked_from_is_an_input() {
    let place = Place::with_checkpoint(1);
    let whole = fs::read(place.file("vm.vmem")).unwrap();
    let (first, second) = whole.split_at(whole.len() / 2);
    place.add_file("vm.vmem.FRAG-00000", first);
    place.add_file("vm.vmem.FRAG-00001", second);
    fs::remove_file(place.file("vm.vmem")).unwrap();
    for name in ["vm.vmem.FRAG-00000", "vm.vmem.FRAG-00001", "vm.vmss"] {
        let line = format!("convert vm.vmss -o {name} -f raw --force");
        let said = place.run(&line).expect(1).stderr;
        assert!(said.contains("part of the checkpoint"), "{name}: {said}");
    }
    let tar = std::process::Command::new("tar")
        .args(["-czf", "vm.tgz", "vm.vmss", "vm.vmem.FRAG-00000", "vm.vmem.FRAG-00001"])
        .current_dir(place.path())
        .status();
    assert!(tar.unwrap().success());
    let said = place.run("convert vm.tgz -o vm.tgz -f raw --force").expect(1).stderr;
    assert!(said.contains("part of the checkpoint"), "{said}");
}
