//! Each output of small guests, by length and checksum, so that the writers can be
//! taken apart and put together again. `VMSS2CORE_UPDATE=1 cargo test` accepts what
//! is written now: with a new version of the program, which dumps of Windows name, or
//! of a compressor.

use std::fmt::Write;
use std::fs;

use flate2::Crc;
use vmss2core_lab::vmware::{Machine, Shape};
use vmss2core_lab::windows::{fixture, make};

use crate::miniature;
use crate::run::{Place, machine};

/// Of any guest.
const GENERAL: [&str; 10] = [
    "convert vm.vmss -o out -f raw",
    "convert vm.vmss -o out -f elf --gdb-script",
    "convert vm.vmss -o out -f elf-physical --gdb-script",
    "convert vm.vmss -o out -f elf-linear --gdb-script",
    "convert vm.vmss -o out -f elf-linear --vcpu 1",
    "convert vm.vmss -o out -f elf-linear --all-threads --no-dedup",
    "convert vm.vmss -o out -f elf-linear --cr3 ROOT",
    "vm.vmss",
    "-q -U 0 vm.vmss",
    "-M vm.vmss",
];

const LINUX: [&str; 11] = [
    "convert vm.vmss -o out -f kdump",
    "convert vm.vmss -o out -f kdump --level 19",
    "convert vm.vmss -o out -f kdump --compress zlib --level 9 --threads 2",
    "convert vm.vmss -o out -f kdump --compress lzo",
    "convert vm.vmss -o out -f kdump --compress snappy --threads 1",
    "convert vm.vmss -o out -f kdump --compress raw --dump-level 1",
    "convert vm.vmss -o out -f kdump --flatten",
    "convert vm.vmss -o - -f kdump --compress raw",
    "-N vm.vmss",
    "-N4 vm.vmss",
    "-N6 vm.vmss",
];

const WINDOWS: [&str; 14] = [
    "convert vm.vmss -o out -f windbg",
    "convert vm.vmss -o out -f windbg --sparse",
    "convert vm.vmss -o out -f windbg --runs guest",
    "convert vm.vmss -o out -f windbg --runs machine --no-patch",
    "convert vm.vmss -o out -f windbg --bugcheck e2 --build 2600",
    "convert vm.vmss -o out -f windbg --live-context",
    "convert vm.vmss -o out -f windbg-bitmap",
    "convert vm.vmss -o out -f windbg-bitmap --runs guest --sparse",
    "-W vm.vmss",
    "-W8 vm.vmss",
    "-W22000 vm.vmss",
    "-WSCAN vm.vmss",
    "-WK vm.vmss",
    "-WDDB0 vm.vmss",
];

/// What each command line says and writes; `ROOT` stands for the address of page tables.
fn digests(machine: &Machine, root: u64, lines: &[&str]) -> String {
    let place = Place::new();
    place.add_checkpoint(machine, &Shape::default(), "vm");
    let inputs = place.names();
    let mut text = String::new();
    for line in lines {
        let ended = place.output(&line.replace("ROOT", &format!("{root:x}")));
        writeln!(text, "{line}: {}", ended.status.code().unwrap()).unwrap();
        tell(&mut text, "stdout", &ended.stdout);
        tell(&mut text, "stderr", &ended.stderr);
        for name in place.names().iter().filter(|name| !inputs.contains(name)) {
            tell(&mut text, name, &fs::read(place.file(name)).unwrap());
            fs::remove_file(place.file(name)).unwrap();
        }
    }
    text
}

fn tell(text: &mut String, name: &str, bytes: &[u8]) {
    if !bytes.is_empty() {
        let mut crc = Crc::new();
        crc.update(bytes);
        writeln!(text, "  {name} {} {:08x}", bytes.len(), crc.sum()).unwrap();
    }
}

fn assert_recorded(name: &str, machine: &Machine, root: u64, lines: &[&[&str]]) {
    let got = digests(machine, root, &lines.concat());
    let path = format!("{}/tests/golden/digests/{name}.txt", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("VMSS2CORE_UPDATE").is_some() {
        fs::write(&path, &got).unwrap();
    }
    let want = fs::read_to_string(&path).unwrap();
    assert!(got == want, "{path} differs; VMSS2CORE_UPDATE=1 accepts this:\n{got}");
}

fn assert_windows_recorded(name: &str, guest: &str) {
    let nt = make(&fixture(guest).unwrap()).unwrap();
    assert_recorded(name, &nt.machine, nt.truth.dtb, &[&GENERAL, &WINDOWS]);
}

#[test]
fn every_output_of_a_64_bit_linux_is_as_recorded() {
    let machine = miniature::linux_64_bit();
    assert_recorded("linux", &machine, miniature::ROOT, &[&GENERAL, &LINUX]);
}

#[test]
fn every_output_of_a_32_bit_linux_is_as_recorded() {
    let machine = miniature::linux_32_bit();
    assert_recorded("linux-i386", &machine, miniature::ROOT, &[&GENERAL, &LINUX]);
}

#[test]
fn every_output_of_a_64_bit_windows_is_as_recorded() {
    assert_windows_recorded("windows", "win10-19041-x64");
}

#[test]
fn every_output_of_a_crashed_32_bit_windows_is_as_recorded() {
    assert_windows_recorded("windows-pae", "crashed-win7-pae");
}

#[test]
fn every_output_of_a_guest_without_paging_is_as_recorded() {
    assert_recorded("unpaged", &machine(2), 0x1000, &[&GENERAL]);
}
