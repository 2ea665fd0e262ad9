//! Windows guests that lie: page tables, headers, lists and processors' regions
//! with numbers in them that nobody would put there. The program ends in time and
//! in little memory, with one of its exit codes, whatever it is asked.

#![allow(clippy::indexing_slicing, clippy::unwrap_used, reason = "a test fails by panicking")]

#[macro_use]
mod common;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use vmss2core_lab::vmware::{Contents, Machine, Placement};
use vmss2core_lab::windows::{Residence, Truth};

use common::cores::PROGRAM;
use common::rand::Rand;
use common::windows::Windows;

/// KiB of address space that it may take: memory files are never mapped.
const MEMORY_KIB: u32 = 1 << 20;

/// Seconds of processor time.
const SECONDS: u32 = 30;

const QUESTIONS: [&[&str]; 4] =
    [&["info"], &["ps"], &["modules"], &["convert", "-o", "out.dmp", "--force", "-f", "windbg"]];

/// Some words of pages that the kernel uses, in each round others.
#[test]
fn random_words_of_the_kernel() -> Result<()> {
    for name in ["win10-19041-x64", "win7-pae", "winxp-x86", "one-in-user-mode-shadowed"] {
        let guest = Windows::guest(name)?;
        let mut rand = Rand::new(0x0bad_5eed);
        for round in 0..8 {
            let mut machine = guest.machine.clone();
            for _ in 0..1 << round {
                let at = kernel_word(&guest.truth, &mut rand);
                let value = evil(&guest.truth, &mut rand);
                write(&mut machine, at, value);
            }
            survives(&guest, machine).with_context(|| format!("{name}, round {round}"))?;
        }
    }
    Ok(())
}

/// Entries of the page tables that lead to other tables, or to themselves.
#[test]
fn page_tables_that_loop() -> Result<()> {
    for name in ["win10-19041-x64", "win10-19041-la57", "win7-pae", "winxp-x86"] {
        let guest = Windows::guest(name)?;
        let table = guest.truth.dtb & !0xfff;
        for step in [1, 3, 16] {
            let mut machine = guest.machine.clone();
            for entry in (0..512).step_by(step) {
                write(&mut machine, table + entry * 8, table | 0x63);
            }
            survives(&guest, machine).with_context(|| format!("{name}, each {step}"))?;
        }
    }
    Ok(())
}

/// Lists of processes and modules that never come back to their head.
#[test]
fn lists_that_loop() -> Result<()> {
    for name in ["win10-19041-x64", "win7-pae"] {
        let guest = Windows::guest(name)?;
        let truth = &guest.truth;
        let links = truth.layout[&("_EPROCESS", "ActiveProcessLinks")];
        let (process, module) = (truth.processes[3].eprocess + links, truth.modules[2].ldr);
        let (head, kernel) = (truth.symbols["PsActiveProcessHead"], truth.modules[0].ldr);
        for (entry, next) in
            [(process, process), (module, module), (head, process), (module, kernel)]
        {
            let mut machine = guest.machine.clone();
            let (at, _) = guest.pieces(entry, 8)[0];
            write(&mut machine, at, next);
            survives(&guest, machine).with_context(|| format!("{name}, {entry:x} to {next:x}"))?;
        }
    }
    Ok(())
}

/// The debugger data block and the counts that other structures begin with, at
/// their largest.
#[test]
fn counts_that_are_too_large() -> Result<()> {
    for name in ["plain-kdbg", "win7-x64", "crashed", "crashed-win7-pae"] {
        let guest = Windows::guest(name)?;
        let (kdbg, symbols) = (&guest.truth.kdbg, &guest.truth.symbols);
        let sizes = [0x10, 0x2b0, 0x2bc, 0x338].map(|at| kdbg.va + at);
        let counts = ["KeNumberProcessors", "MmLastUnloadedDriver", "MmPhysicalMemoryBlock"]
            .map(|name| symbols[name]);
        for va in sizes.into_iter().chain(counts) {
            for value in [u64::MAX, 1] {
                let mut machine = guest.machine.clone();
                let (at, _) = guest.pieces(va, 8)[0];
                write(&mut machine, at & !7, value);
                survives(&guest, machine)
                    .with_context(|| format!("{name}, {value:x} at {va:x}"))?;
            }
        }
    }
    Ok(())
}

/// Where a word of the kernel's data lies.
fn kernel_word(truth: &Truth, rand: &mut Rand) -> u64 {
    loop {
        let one = truth.mappings[rand.index(truth.mappings.len())];
        if one.residence == Residence::Present && one.root == truth.dtb {
            return one.pa + rand.below(one.len / 8) * 8;
        }
    }
}

fn evil(truth: &Truth, rand: &mut Rand) -> u64 {
    match rand.below(5) {
        0 => u64::MAX,
        1 => rand.next(),
        2 => truth.kernel.base + rand.below(truth.kernel.size.into()),
        3 => 1 << rand.below(64),
        _ => (rand.below(1 << 25) & !0xfff) | 0x63,
    }
}

fn write(machine: &mut Machine, pa: u64, value: u64) {
    let range = machine.memory.iter().find(|one| (one.gpa..one.gpa + one.len).contains(&pa));
    if let Some(range) = range {
        machine.ram.patch(range.offset + (pa - range.gpa), &value.to_le_bytes());
    }
}

fn survives(guest: &Windows, machine: Machine) -> Result<()> {
    // Writing many patches one by one takes longer than what is tested.
    let ram = Contents::from(machine.ram.bytes()?);
    let bad = guest.with_machine(Machine { ram, ..machine })?;
    let state = bad.checkpoint(Placement::Split)?;
    for question in QUESTIONS {
        let mut command = limited(bad.dir());
        let output = command.arg(PROGRAM).args(question).arg(&state).output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            matches!(output.status.code(), Some(0 | 1 | 4)),
            "{question:?}: {}\n{said}",
            output.status
        );
        ensure!(!said.contains("panicked"), "{question:?}: {said}");
    }
    Ok(())
}

/// A command line to be added to, that ends with a signal where it takes too much.
fn limited(dir: &Path) -> Command {
    let mut command = Command::new("sh");
    let line = format!("ulimit -v {MEMORY_KIB}; ulimit -t {SECONDS}; exec \"$0\" \"$@\"");
    command.current_dir(dir).args(["-c", &line]);
    command
}
