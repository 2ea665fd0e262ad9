//! The exit codes that `--help` documents.

use std::fs::{self, File};

use vmss2core_lab::vmware::{Placement, Shape};

use crate::run::{MEMORY, Place, is_elf_core, machine};

#[test]
fn a_file_that_is_not_there_is_a_failure() {
    let ended = Place::new().run("-M nothing.vmss").expect(1);
    assert!(ended.stderr.contains("nothing.vmss"), "{}", ended.stderr);
    Place::new().run("info nothing.vmss").expect(1);
}

#[test]
fn a_file_that_is_no_checkpoint_is_told_apart() {
    let place = Place::new();
    place.add_file("letter.txt", b"Dear Sir or Madam\n");
    for line in ["-M letter.txt", "info letter.txt", "convert letter.txt -o out"] {
        let ended = place.run(line).expect(3);
        assert!(ended.stderr.contains("letter.txt"), "{}", ended.stderr);
    }
    assert_eq!(place.names(), ["letter.txt"]);
}

#[test]
fn an_encrypted_checkpoint_is_told_apart() {
    let place = Place::new();
    let mut contents = vec![0; 65536];
    contents[..4].copy_from_slice(&0x8943_dd9e_u32.to_le_bytes());
    place.add_file("vm.vmss", &contents);
    for line in ["-M vm.vmss", "info vm.vmss"] {
        let ended = place.run(line).expect(5);
        assert!(ended.stderr.contains("encrypted"), "{}", ended.stderr);
    }
}

#[test]
fn a_snapshot_without_memory_is_a_failure_that_is_explained() {
    let place = Place::new();
    let shape = Shape { placement: Placement::Nowhere, ..Shape::default() };
    place.add_checkpoint(&machine(1), &shape, "vm");
    let ended = place.run("-M vm.vmss").expect(1);
    assert!(ended.stderr.contains("memory"), "{}", ended.stderr);
    assert_eq!(place.names(), ["vm.vmss"]);
}

#[test]
fn memory_that_is_cut_off_gives_a_partial_result() {
    let place = Place::with_checkpoint(1);
    let memory = File::options().write(true).open(place.file("vm.vmem")).unwrap();
    memory.set_len(MEMORY / 2).unwrap();
    for line in ["-M vm.vmss", "info vm.vmss", "convert vm.vmss -o out"] {
        let ended = place.run(line).expect(4);
        let said = if line.starts_with("info") { &ended.stdout } else { &ended.stderr };
        assert!(said.contains("incomplete: "), "{line}: {said}");
    }
    assert!(is_elf_core(&place.file("vmss.core")));
}

#[test]
fn wrong_usage_has_its_own_code() {
    let place = Place::with_checkpoint(1);
    for line in ["--frobnicate", "info", "convert vm.vmss", "info --frob vm.vmss", "-Q vm.vmss"] {
        place.run(line).expect(2);
    }
}

#[test]
fn an_output_that_cannot_be_written_leaves_nothing() {
    let place = Place::with_checkpoint(1);
    fs::create_dir(place.file("vmss.core")).unwrap();
    place.run("-M vm.vmss").expect(1);
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss", "vmss.core"]);
    assert_eq!(fs::read_dir(place.file("vmss.core")).unwrap().count(), 0);
}
