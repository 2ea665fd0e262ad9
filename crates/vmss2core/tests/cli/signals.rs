//! Stopping in the middle of a file.
//!
//! To be sure that it is the middle: the program prints a line for each 10 MB,
//! and has more of them than fit the pipe, so it waits until they are read.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use vmss2core_lab::vmware::{Contents, Machine, MemoryRange, Shape};

use crate::run::{Place, machine};

/// Lines for this much memory take twice what a pipe holds.
const LEN: u64 = 64 << 30;

/// A guest whose memory is holes with a page of data at each GiB.
fn place() -> Place {
    let place = Place::new();
    let mut machine: Machine = machine(1);
    machine.memory = vec![MemoryRange { gpa: 0, len: LEN, offset: 0 }];
    machine.ram = Contents::hole(LEN);
    place.add_checkpoint(&machine, &Shape::default(), "vm");
    let memory = File::options().write(true).open(place.file("vm.vmem")).unwrap();
    for at in (0..LEN).step_by(1 << 30) {
        memory.write_all_at(b"page", at).unwrap();
    }
    place
}

/// The program after its first lines, waiting for more room in the pipe.
fn start(place: &Place) -> (Child, ChildStdout) {
    running(place.command(&["-M", "vm.vmss"]))
}

fn running(mut command: Command) -> (Child, ChildStdout) {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !seen.windows(3).any(|lines| lines == b"MBs") {
        let mut some = [0; 64];
        let n = stdout.read(&mut some).unwrap();
        assert_ne!(n, 0, "the program ended early");
        seen.extend_from_slice(&some[..n]);
    }
    (child, stdout)
}

/// Waits until nothing more goes into the pipe.
fn wait_until_stuck(stdout: &ChildStdout) {
    let mut before = 0;
    loop {
        let now = rustix::io::ioctl_fionread(stdout).unwrap();
        if now != 0 && now == before {
            return;
        }
        before = now;
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn send(child: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// Lets the program go on, and says how it ended.
fn finish(mut child: Child, mut stdout: ChildStdout) -> (ExitStatus, String, String) {
    let (mut lines, mut talk) = (String::new(), String::new());
    stdout.read_to_string(&mut lines).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut talk).unwrap();
    (child.wait().unwrap(), lines, talk)
}

#[test]
fn a_signal_stops_the_writer_and_leaves_nothing() {
    for (signal, code) in [("-HUP", 129), ("-INT", 130), ("-TERM", 143)] {
        let place = place();
        let (child, stdout) = start(&place);
        send(&child, signal);
        let (status, lines, talk) = finish(child, stdout);
        assert_eq!(status.code(), Some(code), "{talk}");
        assert!(talk.contains("stopped; vmss.core was not written"), "{talk}");
        assert!(!lines.contains("Finished"), "{lines}");
        assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
    }
}

#[test]
fn an_earlier_core_survives_a_stop() {
    let place = place();
    place.add_file("vmss.core", b"old");
    let (child, stdout) = start(&place);
    send(&child, "-INT");
    let (status, ..) = finish(child, stdout);
    assert_eq!(status.code(), Some(130));
    assert_eq!(std::fs::read(place.file("vmss.core")).unwrap(), b"old");
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss", "vmss.core"]);
}

#[test]
fn a_second_signal_does_not_wait() {
    let place = place();
    let (mut child, stdout) = start(&place);
    wait_until_stuck(&stdout);
    // Two of the same kind could become one; of these, either may come first.
    send(&child, "-INT");
    send(&child, "-TERM");
    let status = child.wait().unwrap();
    drop(stdout);
    assert!(matches!(status.signal(), Some(2 | 15)), "{status}");
    assert_eq!(place.names(), ["vm.vmem", "vm.vmss"]);
}

/// Each second signal ends it at once and leaves nothing, at whatever moment the first
/// one has it.
#[test]
fn nothing_is_left_after_two_signals_whenever_they_come() {
    for pause_us in (0..4000).step_by(400) {
        let place = place();
        let (mut child, stdout) = start(&place);
        wait_until_stuck(&stdout);
        send(&child, "-INT");
        std::thread::sleep(Duration::from_micros(pause_us));
        send(&child, "-INT");
        drop(stdout);
        let status = child.wait().unwrap();
        assert!(status.signal() == Some(2) || status.code() == Some(130), "{status}");
        assert_eq!(place.names(), ["vm.vmem", "vm.vmss"], "after {pause_us} us");
    }
}

/// As under `nohup`: who started it wants it to go on.
#[test]
fn a_hangup_that_is_ignored_stays_ignored() {
    let place = place();
    let program = env!("CARGO_BIN_EXE_vmss2core");
    let mut command = Command::new("sh");
    command.args(["-c", &format!("trap '' HUP; exec {program} -M vm.vmss")]);
    command.current_dir(place.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let (child, stdout) = running(command);
    send(&child, "-HUP");
    let (status, lines, talk) = finish(child, stdout);
    assert_eq!(status.code(), Some(0), "{talk}");
    assert!(lines.contains("Finished"), "{lines}");
}
