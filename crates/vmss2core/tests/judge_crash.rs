//! crash on a guest's checkpoint, which it reads by itself, against crash on the
//! core that we make of the same files: what it says must be the same.
//!
//! Registers are as a product of 2012 wrote them, by name: in the block that later ones
//! write crash takes rsp for rbp.

#[macro_use]
mod common;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Wrap};
use common::guests;
use common::judges;
use common::text::{ensure_contains, same_lines};
use vmss2core_lab::Guest;
use vmss2core_lab::judges::{Judge, crash, crash_i386, crash_trixie};

/// What a user looks at first. `mach` shows what crash makes of memory and CPUs.
const COMMANDS: &str = "sys\nmach\nps\nbt -a\nlog\nquit\n";

/// Returns what crash says of the core.
fn same_in_crash(judge: &Judge, name: &str, wrap: Wrap) -> Result<String> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let wrap = wrap.with_registers_of_2012();
    let checkpoint = cores::checkpoint(&guest, &wrap)?;
    let core = cores::converted(&guest, &wrap, &["-N6"])?.path("vmss.core");
    let theirs = judges::crash(judge, &[&kernel, &checkpoint], COMMANDS)?;
    let ours = judges::crash(judge, &[&kernel, &core], COMMANDS)?;
    let what = format!("{name} in crash");
    same_lines(&what, &comparable(&guest, &theirs)?, &comparable(&guest, &ours)?)?;
    makes_sense(&guest, &ours)?;
    Ok(ours)
}

/// The lines that must be equal, without indentation, which crash chooses by the
/// kind of dump. Not among them:
///
/// * what names the file;
/// * the selectors of an active processor: crash prints them for ELF only (gdb
///   compares them, in `judge_gdb`);
/// * the stacks of processors in user mode: for a checkpoint crash prints "user
///   space", but it guesses at a kernel stack for every ELF core, QEMU's own too,
///   because it takes the registers of a note only if their stack pointer is in a
///   kernel stack.
fn comparable(guest: &Guest, said: &str) -> Result<Vec<String>> {
    let in_user_mode = |line: &str| {
        let cpu = line.split_once("CPU: ")?.1.split_whitespace().next()?;
        let cpu = guest.cpus.get(cpu.parse::<usize>().ok()?)?;
        Some(guests::privilege(cpu) == 3)
    };
    let is_of_elf = |line: &str| ["DUMPFILE: ", "CS: "].iter().any(|name| line.starts_with(name));
    let mut lines = Vec::new();
    let mut skipping = false;
    for line in said.lines().map(str::trim) {
        let is_header = line.starts_with("PID: ");
        if is_header {
            skipping = in_user_mode(line).with_context(|| format!("no CPU: {line}"))?;
        }
        if !is_of_elf(line) && (is_header || !skipping) {
            lines.push(line.to_owned());
        }
        skipping &= !line.is_empty();
    }
    Ok(lines)
}

/// Equal nonsense would be equal too.
fn makes_sense(guest: &Guest, said: &str) -> Result<()> {
    let name = &guest.name;
    ensure_contains(name, said, &format!(" CPUS: {}", guest.cpus.len()))?;
    ensure_contains(name, said, "Linux version 6.1.")?;
    ensure_contains(name, said, "lab-dmesg-mark")?;
    for (tid, comm) in guests::tasks(guest)? {
        let listed = |line: &str| {
            let mut words = line.trim_start().trim_start_matches('>').split_whitespace();
            words.next() == Some(&tid.to_string()) && line.contains(&comm)
        };
        let found = guests::is_fleeting(&comm) || said.lines().any(listed);
        ensure!(found, "{name}: crash does not list {tid} {comm}:\n{said}");
    }
    Ok(())
}

#[test]
fn five_level() -> Result<()> {
    same_in_crash(&crash()?, "linux-6.1", Wrap::split()).map(drop)
}

#[test]
fn memory_inside_the_state_file() -> Result<()> {
    same_in_crash(&crash()?, "linux-6.1", Wrap::monolithic()).map(drop)
}

#[test]
fn isolated_four_level() -> Result<()> {
    same_in_crash(&crash()?, "linux-6.1-4level", Wrap::split()).map(drop)
}

#[test]
fn memory_around_the_hole() -> Result<()> {
    let said = same_in_crash(&crash()?, "linux-6.1-6g", Wrap::split())?;
    ensure_contains("linux-6.1-6g", &said, "MEMORY: 6 GB")
}

const PANIC: &str = "PANIC: \"Kernel panic - not syncing: sysrq triggered crash\"";

#[test]
fn panicked() -> Result<()> {
    let said = same_in_crash(&crash()?, "linux-6.1-panic", Wrap::split())?;
    ensure_contains("linux-6.1-panic", &said, PANIC)
}

/// Not a healthy guest: there crash 8.0.6 ends at once with "invalid size request:
/// 0" on ELF cores of kernels that, as Debian's cloud kernels, have no machine
/// check stack; QEMU's own dump of the same guest fares the same.
#[test]
fn panicked_in_an_older_crash() -> Result<()> {
    let said = same_in_crash(&crash_trixie()?, "linux-6.1-panic", Wrap::split())?;
    ensure_contains("linux-6.1-panic", &said, PANIC)
}

/// A guest without VMCOREINFO gets one that we make up, which we say; crash sees
/// the same in it as in the checkpoint.
#[test]
fn made_up_vmcoreinfo() -> Result<()> {
    let wrap = Wrap::without_vmcoreinfo();
    same_in_crash(&crash()?, "linux-6.1", Wrap::without_vmcoreinfo())?;
    let guest = guests::guest("linux-6.1")?;
    let run = cores::converted(&guest, &wrap, &["-N6"])?;
    ensure_contains("-N6", &run.stderr, "VMCOREINFO was made up")?;
    let (_, kernel) = guests::guest_with_kernel("linux-6.1")?;
    let mut drgn = judges::drgn_script(&run.path("vmss.core"), "drgn_tasks.py")?;
    let said = judges::output(drgn.env("VMLINUX", &kernel))?;
    ensure_contains("drgn", &said, "task 1 init")
}

/// 32-bit kernels: crash 9 cannot resolve symbols that these no longer have
/// (`sys_open`, `p2m_top`), so only what it does without them is asked for: the
/// release, which it finds through VMCOREINFO.
fn release_in_crash(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let core = cores::linux(&guest)?.path("vmss.core");
    let said = judges::crash(&crash_i386()?, &[Path::new("--osrelease"), &core], "")?;
    let truth = guest.truth()?;
    let release = truth.text("version")?.split_whitespace().nth(2).context("no release")?;
    ensure!(said.lines().any(|line| line == release), "{name}: {said}");
    Ok(())
}

tests_of_32_bit_guests!(release_in_crash);
