//! `convert`: names of the user's choice, and what is refused.

use std::fs;

use vmss2core_lab::vmware::Shape;
use vmss2core_lab::windows::{fixture, make};

use crate::miniature::linux_64_bit;
use crate::run::{Place, is_elf_core, memory};

#[test]
fn every_format_is_written_under_the_name_that_was_asked_for() {
    let place = Place::with_checkpoint(2);
    for format in ["elf", "elf-physical", "elf-linear"] {
        let ended = place.run(&format!("convert vm.vmss -o out.{format} --format {format}"));
        let ended = ended.expect(0);
        assert!(is_elf_core(&place.file(&format!("out.{format}"))));
        assert_eq!(ended.stdout, "");
        assert!(ended.stderr.contains(&format!("out.{format}: ")), "{}", ended.stderr);
    }
    place.run("convert vm.vmem -o out.raw --format raw vm.vmss").expect(0);
    assert_eq!(fs::read(place.file("out.raw")).unwrap(), memory());
}

#[test]
fn the_guest_chooses_the_format_if_nobody_does() {
    let place = Place::with_checkpoint(1);
    let nt = make(&fixture("win10-19041-x64").unwrap()).unwrap();
    place.add_checkpoint(&nt.machine, &Shape::default(), "nt");
    place.add_checkpoint(&linux_64_bit(), &Shape::default(), "linux");
    for (name, format) in [("vm", "elf-linear"), ("nt", "windbg"), ("linux", "elf")] {
        place.run(&format!("convert {name}.vmss -o a --force --format {format}"));
        let said = place.run(&format!("convert {name}.vmss -o b --force --json")).stdout;
        assert!(said.contains(&format!("\"format\": \"{format}\"")), "{said}");
        assert_eq!(fs::read(place.file("a")).unwrap(), fs::read(place.file("b")).unwrap());
    }
}

#[test]
fn a_format_of_one_system_is_refused_for_another() {
    let place = Place::new();
    let nt = make(&fixture("win10-19041-x64").unwrap()).unwrap();
    place.add_checkpoint(&nt.machine, &Shape::default(), "nt");
    for line in ["-N6 nt.vmss", "convert nt.vmss -o out -f elf", "convert nt.vmss -o out -f kdump"]
    {
        let said = place.run(line).expect(1).stderr;
        assert!(said.contains("this is a Windows guest"), "{line}: {said}");
        assert!(said.contains("-W writes memory.dmp for WinDbg"), "{line}: {said}");
    }
    assert_eq!(place.names(), ["nt.vmem", "nt.vmss"]);
}

#[test]
fn a_directory_that_is_not_there_is_named() {
    let place = Place::with_checkpoint(1);
    let said = place.run("convert vm.vmss -o gone/out").expect(1).stderr;
    assert_eq!(said, "vmss2core: cannot write gone/out: the directory gone does not exist\n");
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let place = Place::with_checkpoint(1);
    place.add_file("out", b"precious");
    let ended = place.run("convert vm.vmss -o out --format raw").expect(1);
    assert_eq!(ended.stderr, "vmss2core: out exists; use --force to replace it\n");
    assert_eq!(fs::read(place.file("out")).unwrap(), b"precious");
    place.run("convert vm.vmss -o out --format raw --force").expect(0);
    assert_eq!(fs::read(place.file("out")).unwrap(), memory());
}

#[test]
fn a_script_for_gdb_comes_with_the_core() {
    let place = Place::with_checkpoint(2);
    place.run("convert vm.vmss -o c --format elf-linear --vcpu 1 --gdb-script").expect(0);
    let script = fs::read_to_string(place.file("c.gdb")).unwrap();
    assert!(script.contains("set $cr0_1 = 0x1\n"), "{script}");
}

#[test]
fn options_that_the_format_does_not_have_are_refused() {
    let place = Place::with_checkpoint(1);
    for (options, what) in [
        ("--format elf --vcpu 0", "--vcpu goes with --format elf-linear, not with elf"),
        ("--format raw --all-threads", "--all-threads goes with --format elf-linear"),
        ("--format elf-physical --no-dedup", "--no-dedup goes with --format elf-linear"),
        ("--format elf --cr3 0x1000", "--cr3 goes with --format elf-linear"),
        ("--format raw --gdb-script", "gdb does not open raw"),
        ("--format elf --compress zstd", "--compress goes with --format kdump, not with elf"),
        ("--format raw -d 1", "--dump-level goes with --format kdump, not with raw"),
        ("--format raw --flatten", "--flatten goes with --format kdump"),
        ("--threads 2", "--threads goes with --format kdump"),
        ("--format kdump --vcpu 0", "--vcpu goes with --format elf-linear"),
        ("--format kdump --dump-level 32", "32 is not in 0..=31"),
        ("--format kdump --compress lzo --level 3", "lzo has no levels"),
        ("--format kdump --level 20", "levels of zstd go from 1 to 19"),
        ("--format kdump --compress zip", "invalid value 'zip'"),
        ("--format kdump --threads 0", "invalid value '0'"),
        ("--format winner", "invalid value 'winner'"),
        ("--format elf-linear --cr3 -5", "unknown option -5"),
        ("--format elf-linear --cr3 xyz", "not a hexadecimal number: xyz"),
        ("--format elf-linear --vcpu -1", "unknown option -1"),
    ] {
        let ended = place.run(&format!("convert vm.vmss -o out {options}")).expect(2);
        assert!(ended.stderr.contains(what), "{options}: {}", ended.stderr);
    }
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

#[test]
fn an_output_that_cannot_be_a_file_is_explained() {
    let place = Place::with_checkpoint(1);
    let ended = place.run("convert vm.vmss -o -").expect(2);
    assert!(ended.stderr.contains("cannot write to standard output"), "{}", ended.stderr);
    let ended = place.run("convert vm.vmss -o .").expect(2);
    assert!(ended.stderr.contains("is a directory"), "{}", ended.stderr);
    let ended = place.run("convert vm.vmss -o missing/out").expect(1);
    assert!(ended.stderr.contains("missing/out"), "{}", ended.stderr);
    let ended = place.run("convert vm.vmss -o vm.vmem --force").expect(1);
    assert!(ended.stderr.contains("part of the checkpoint"), "{}", ended.stderr);
    assert_eq!(fs::read(place.file("vm.vmem")).unwrap(), memory());
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

#[test]
fn a_kdump_is_for_linux_guests_only() {
    let place = Place::with_checkpoint(1);
    for output in ["out", "-"] {
        let ended = place.run(&format!("convert vm.vmss -o {output} --format kdump")).expect(1);
        assert_eq!(ended.stdout, "");
        let said = "files are for Linux only; use the formats elf-physical, elf-linear or raw";
        assert!(ended.stderr.contains("no Linux kernel was found"), "{}", ended.stderr);
        assert!(ended.stderr.contains(said), "{}", ended.stderr);
        assert!(ended.stderr.contains("elf-physical"), "{}", ended.stderr);
        assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
    }
}

#[test]
fn a_vcpu_that_is_not_there_is_named() {
    let place = Place::with_checkpoint(2);
    let ended = place.run("convert vm.vmss -o out --format elf-linear --vcpu 2").expect(1);
    assert!(ended.stderr.contains("no vCPU 2: the checkpoint has 2"), "{}", ended.stderr);
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

#[test]
fn progress_appears_where_it_is_asked_for() {
    let place = Place::with_checkpoint(1);
    let always = place.run("convert vm.vmss -o a -f raw --progress always").expect(0);
    assert!(
        always.stderr.matches("progress: 24 MiB of 24 MiB\n").count() == 1,
        "{}",
        always.stderr
    );
    let auto = place.run("convert vm.vmss -o b -f raw").expect(0);
    assert!(!auto.stderr.contains("progress:"), "{}", auto.stderr);
}
