//! The original tool's command line, file names and lines.

use std::fs;
use std::process::Stdio;

use vmss2core_lab::vmware::Shape;

use crate::run::{Place, is_elf_core, machine, memory};

#[test]
fn without_options_each_vcpu_gets_a_core() {
    let place = Place::with_checkpoint(2);
    let ended = place.run("vm.vmss").expect(0);
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss", "vmss.core0", "vmss.core1"]);
    assert!(is_elf_core(&place.file("vmss.core0")) && is_elf_core(&place.file("vmss.core1")));
    assert_eq!(ended.stdout.matches("Finished writing core.\n").count(), 2);
}

#[test]
fn lines_on_stdout_are_those_that_scripts_know() {
    let place = Place::with_checkpoint(1);
    let ended = place.run("-M vm.vmss").expect(0);
    let version = env!("CARGO_PKG_VERSION");
    let want = format!(
        "vmss2core version {version}\n... 10 MBs written.\n... 20 MBs written.\n\
         Finished writing core.\n"
    );
    assert_eq!(ended.stdout, want);
    assert!(ended.stderr.contains("gdb "), "{}", ended.stderr);
}

#[test]
fn quiet_is_quiet() {
    let ended = Place::with_checkpoint(1).run("-q -M vm.vmss").expect(0);
    assert_eq!((ended.stdout.as_str(), ended.stderr.as_str()), ("", ""));
}

#[test]
fn the_options_for_crash_all_write_the_same_file() {
    let place = Place::with_checkpoint(1);
    let mut cores = Vec::new();
    for option in ["-N", "-N4", "-N6", "-l 0x20614,0x80 -N", "-O 0x1000 -N6"] {
        place.run(&format!("-q {option} vm.vmss vm.vmem"));
        assert!(is_elf_core(&place.file("vmss.core")), "{option}");
        cores.push(fs::read(place.file("vmss.core")).unwrap());
        fs::remove_file(place.file("vmss.core")).unwrap();
    }
    assert!(cores.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn the_physical_view_holds_the_memory() {
    let place = Place::with_checkpoint(1);
    place.run("vm.vmem -M vm.vmss -q").expect(0);
    let core = fs::read(place.file("vmss.core")).unwrap();
    assert!(is_elf_core(&place.file("vmss.core")));
    let memory = memory();
    assert!(core.windows(4096).step_by(8).any(|page| page == &memory[8192..12288]));
}

#[test]
fn one_vcpu_may_be_chosen() {
    let place = Place::with_checkpoint(3);
    place.run("-U 1 vm.vmss").expect(0);
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss", "vmss.core1"]);
    let ended = place.run("-U 3 vm.vmss").expect(1);
    assert!(ended.stderr.contains("no vCPU 3"), "{}", ended.stderr);
}

#[test]
fn an_earlier_core_is_replaced() {
    let place = Place::with_checkpoint(1);
    place.add_file("vmss.core", b"old");
    place.run("-M vm.vmss").expect(0);
    assert!(is_elf_core(&place.file("vmss.core")));
}

#[test]
fn files_come_in_either_order_and_under_any_name() {
    let place = Place::with_checkpoint(1);
    fs::rename(place.file("vm.vmss"), place.file("state.bin")).unwrap();
    fs::rename(place.file("vm.vmem"), place.file("memory.bin")).unwrap();
    place.run("-M state.bin memory.bin").expect(0);
    let first = fs::read(place.file("vmss.core")).unwrap();
    place.run("-M memory.bin state.bin").expect(0);
    assert_eq!(fs::read(place.file("vmss.core")).unwrap(), first);
}

#[test]
fn a_file_called_like_a_command_works_with_a_path() {
    let place = Place::with_checkpoint(1);
    fs::rename(place.file("vm.vmss"), place.file("info")).unwrap();
    place.run("-M ./info vm.vmem").expect(0);
    place.run("./info -M vm.vmem").expect(0);
    place.run("-M -- info vm.vmem").expect(0);
}

#[test]
fn a_second_file_that_is_not_there_is_explained() {
    let place = Place::with_checkpoint(1);
    let ended = place.run("-M vm.vmss memory.dmp").expect(2);
    assert!(ended.stderr.contains("memory.dmp: no such file"), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("convert vm.vmss -o memory.dmp --format elf-physical"),
        "{}",
        ended.stderr
    );
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

#[test]
fn a_misspelt_command_is_told_from_a_missing_file() {
    let place = Place::with_checkpoint(1);
    let ended = place.run("convrt vm.vmss -M").expect(2);
    assert!(
        ended.stderr.contains("no command is called convrt; did you mean convert?"),
        "{}",
        ended.stderr
    );
    let ended = place.run("gone.vmss").expect(1);
    assert!(!ended.stderr.contains("command"), "{}", ended.stderr);
}

#[test]
fn a_vcpu_without_page_tables_does_not_keep_the_others_from_theirs() {
    const PAGING: u64 = 0x8000_0001;
    let place = Place::new();
    let mut machine = machine(3);
    // CR3 in memory that the guest does not have.
    machine.cpus[1].control = [PAGING, 0, 0, 0x7fff_f000, 0];
    place.add_checkpoint(&machine, &Shape::default(), "vm");
    let ended = place.run("vm.vmss").expect(4);
    assert!(ended.stderr.contains("the page tables of vCPU 1 (0x7ffff000)"), "{}", ended.stderr);
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss", "vmss.core0", "vmss.core2"]);
}

#[test]
fn what_is_not_there_yet_says_what_works() {
    let place = Place::with_checkpoint(1);
    for (option, instead) in [("-X64", "lldb"), ("-S", "gdb"), ("-F", "gdb")] {
        let ended = place.run(&format!("{option} vm.vmss")).expect(2);
        let message = &ended.stderr;
        assert!(message.contains("not in this version yet"), "{option}: {message}");
        assert!(message.contains(instead), "{option}: {message}");
        assert_eq!(ended.stdout, "");
    }
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

#[test]
fn wrong_usage_names_what_is_wrong_in_a_line() {
    let place = Place::with_checkpoint(1);
    for (line, what) in [
        ("-Z vm.vmss", "unknown option -Z"),
        ("-N5 vm.vmss", "unknown option -N5"),
        ("-q", "no checkpoint given"),
    ] {
        let ended = place.run(line).expect(2);
        assert!(ended.stderr.starts_with(&format!("vmss2core: {what}: ")), "{}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
    }
    for line in ["-M -N6 vm.vmss", "-l xyz -N vm.vmss", "a b c", "vm.vmss -l"] {
        assert_eq!(place.run(line).expect(2).stdout, "");
    }
}

#[test]
fn a_checkpoint_without_registers_points_to_the_physical_view() {
    let place = Place::with_checkpoint(0);
    let ended = place.run("vm.vmss").expect(1);
    assert!(ended.stderr.contains("-M writes the memory"), "{}", ended.stderr);
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

#[test]
fn a_reader_of_stdout_that_goes_does_not_stop_the_core() {
    let place = Place::with_checkpoint(1);
    let mut command = place.command(&["-M", "vm.vmss"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(is_elf_core(&place.file("vmss.core")));
}
