//! gdb on our cores: registers against QEMU, kernel and user memory, stack
//! traces with the command line that the program itself proposes.

#[macro_use]
mod common;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Run};
use common::guests::{self, Ram};
use common::judges;
use common::text::{ensure_contains, ensure_registers};
use common::walker::Sample;
use vmss2core_lab::Guest;

/// Registers of every thread of a core, thread by thread in the order of vCPUs.
fn shows_registers(run: &Run, file: &str, guest: &Guest, cpus: &[usize]) -> Result<()> {
    let said = judges::output(&mut judges::gdb_script(&run.path(file), "gdb_registers.py")?)?;
    for index in cpus {
        let cpu = guest.cpus.get(*index).context("no such vCPU")?;
        let what = format!("{} {file} vCPU {index}", guest.name);
        ensure_registers(&what, &said, index + 1, &guests::registers(guest, cpu))?;
        // The checkpoint does not have them: they must not read as zero.
        ensure_contains(&what, &said, &format!("register {} xmm0 unavailable", index + 1))?;
    }
    Ok(())
}

fn registers_of_every_core(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let all: Vec<usize> = (0..guest.cpus.len()).collect();
    let linear = cores::linear(&guest)?;
    for index in &all {
        shows_registers(&linear, &format!("vmss.core{index}"), &guest, &[*index])?;
    }
    shows_registers(&cores::linux(&guest)?, "vmss.core", &guest, &all)?;
    shows_registers(&cores::physical(&guest)?, "vmss.core", &guest, &all)
}

/// The kernel's banner in every core, by virtual address; and what the program
/// in the guest said of itself, in the core of the processor that runs it.
fn kernel_and_user_memory(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let (linear, ram) = (cores::linear(&guest)?, Ram::of(&guest)?);
    let mut users = 0;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let space = guests::address_space(&ram, &guest, cpu)?;
        let mut samples = guests::values_of_the_program(&guest, &space)?;
        users += usize::from(!samples.is_empty());
        samples.push(guests::banner(&guest, &space)?);
        let what = format!("{name} vCPU {index}");
        gdb_reads(&what, &linear, &format!("vmss.core{index}"), &samples)?;
    }
    // One of its threads never sleeps.
    ensure!(users > 0, "{name}: no processor has the address space of the program");
    Ok(())
}

fn gdb_reads(what: &str, run: &Run, file: &str, samples: &[Sample]) -> Result<()> {
    let list = judges::samples_file(samples)?;
    let mut gdb = judges::gdb_script(&run.path(file), "gdb_reads.py")?;
    let said = judges::output(gdb.env("SAMPLES", list.path()))?;
    judges::all_right(&format!("{what} in gdb"), &said, samples.len())
}

/// Addresses of the physical view are the guest's physical addresses.
fn physical_memory(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let ram = Ram::of(&guest)?;
    let samples = ram.samples(2000)?;
    let above = samples.iter().filter(|sample| sample.va >= 1 << 32).count();
    ensure!(guest.ram_bytes < 4 << 30 || above > 500, "{name}: only {above} above 4 GiB");
    gdb_reads(&format!("{name} -M"), &cores::physical(&guest)?, "vmss.core", &samples)
}

/// The command line that the program proposed for its first core, as it says
/// that the others open; with a stack trace behind it.
fn stack(run: &Run, file: &str) -> Result<String> {
    let hint = run.hint("gdb -ex 'symbol-file", "vmss.core0")?.replace("vmss.core0", file);
    judges::output(&mut judges::gdb_line(&run.dir, &hint, &["bt", "print linux_banner"])?)
}

/// What each idle processor does.
fn ensure_idle(what: &str, stack: &str) -> Result<()> {
    for function in ["do_idle", "cpu_startup_entry"] {
        ensure_contains(what, stack, &format!(" {function} ("))?;
    }
    Ok(())
}

fn stacks_have_symbols(name: &str) -> Result<usize> {
    let (guest, kernel) = guests::guest_with_kernel(name)?;
    let run = cores::linear(&guest)?;
    run.bring("vmlinux", &kernel)?;
    let mut idle = 0;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let file = format!("vmss.core{index}");
        let stack = stack(&run, &file)?;
        let what = format!("{name} {file}");
        ensure_contains(&what, &stack, "<linux_banner> \"Linux version 6.1.")?;
        if cpu.halted && guests::privilege(cpu) == 0 {
            ensure_idle(&what, &stack)?;
            idle += 1;
        }
    }
    Ok(idle)
}

#[test]
fn stacks_of_idle_processors_have_symbols() -> Result<()> {
    let idle = stacks_have_symbols("linux-6.1")?;
    ensure!(idle > 0, "no processor was idle");
    Ok(())
}

#[test]
fn stacks_of_isolated_page_tables_have_symbols() -> Result<()> {
    stacks_have_symbols("linux-6.1-4level").map(drop)
}

#[test]
fn the_stack_of_a_panic_has_symbols() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel("linux-6.1-panic")?;
    let run = cores::linear(&guest)?;
    run.bring("vmlinux", &kernel)?;
    let mut stacks = String::new();
    for index in 0..guest.cpus.len() {
        stacks += &stack(&run, &format!("vmss.core{index}"))?;
    }
    // How init came there, and where the other processor was made to stop.
    for function in ["ksys_write", "sysrq_handle_crash", "panic", "stop_this_cpu"] {
        ensure_contains("panicked guest", &stacks, &format!(" {function} ("))?;
    }
    Ok(())
}

tests_of_all_guests!(registers_of_every_core, kernel_and_user_memory, physical_memory);
