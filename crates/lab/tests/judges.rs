//! Every judge is available and runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use vmss2core_lab::judges::{self, Judge};

fn says(judge: anyhow::Result<Judge>, args: &[&str], expected: &str) {
    let text = judge.unwrap().run(args).unwrap();
    assert!(text.contains(expected), "{expected} not in {text}");
}

#[test]
fn crash_of_unstable_runs() {
    says(judges::crash(), &["--version"], "crash 9");
}

#[test]
fn crash_of_debian_13_runs() {
    says(judges::crash_trixie(), &["--version"], "crash 8.0.6");
}

#[test]
fn crash_for_32_bit_kernels_runs() {
    says(judges::crash_i386(), &["--version"], "crash ");
}

#[test]
fn debuggers_of_the_machine_run() {
    says(judges::gdb(), &["--version"], "GNU gdb");
    says(judges::lldb(), &["--version"], "lldb version 19");
    says(judges::makedumpfile(), &["-v"], "makedumpfile: version");
    says(judges::eu_readelf(), &["--version"], "elfutils");
    says(
        judges::libkdumpfile(),
        &["-c", "import kdumpfile; print(kdumpfile.__name__)"],
        "kdumpfile",
    );
}

#[test]
fn python_judges_run() {
    says(judges::drgn(), &["--version"], "drgn ");
    says(judges::volatility3(), &["-h"], "olatility");
    says(
        judges::python(),
        &["-c", "import leechcorepyc, memprocfs, kdmp_parser; print('here')"],
        "here",
    );
    let home = tempfile::tempdir().unwrap();
    let output = judges::ntoseye(home.path()).unwrap().arg("--version").output().unwrap();
    assert!(String::from_utf8_lossy(&output.stdout).contains("0."), "{output:?}");
    says(judges::windows_linker(), &["/?"], "USAGE");
}
