//! gdb on our cores: registers against QEMU, kernel and user memory, stack
//! traces with the command line that the program itself proposes.

#[macro_use]
mod common;

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Run, Wrap};
use common::guests::{self, Ram};
use common::judges;
use common::text::{ensure_contains, ensure_registers};
use common::vectors;
use common::walker::Sample;
use vmss2core_lab::Guest;
use vmss2core_lab::vmware::{Extra, Machine, Shape, page_of, write_checkpoint};

/// Registers of every thread of a core, thread by thread in the order of vCPUs.
fn shows_registers(run: &Run, file: &str, guest: &Guest, cpus: &[usize]) -> Result<()> {
    let said = judges::output(&mut judges::gdb_script(&run.path(file), "gdb_registers.py")?)?;
    for index in cpus {
        let cpu = guest.cpus.get(*index).context("no such vCPU")?;
        let what = format!("{} {file} vCPU {index}", guest.name);
        ensure_registers(&what, &said, index + 1, &guests::registers(guest, cpu))?;
        let mut vectors = vectors::of(cpu, if guest.is_64_bit { 16 } else { 8 })?;
        vectors.retain(|name, _| name.starts_with("xmm"));
        vectors::ensure_shown(&what, &said, *index as u64 + 1, &vectors)?;
    }
    Ok(())
}

/// As the kernel's own cores, those of a Linux guest have general registers only: others
/// must not read as zero.
fn shows_no_vectors(run: &Run, guest: &Guest) -> Result<()> {
    let core = run.path("vmss.core");
    let said = judges::output(&mut judges::gdb_script(&core, "gdb_registers.py")?)?;
    for (number, cpu) in (1..).zip(&guest.cpus) {
        let what = format!("{} vmss.core, thread {number}", guest.name);
        ensure_registers(&what, &said, number, &guests::registers(guest, cpu))?;
        ensure_contains(&what, &said, &format!("register {number} xmm0 unavailable"))?;
    }
    Ok(())
}

/// Today's is what all other tests have.
#[test]
fn registers_in_the_layouts_of_former_products() -> Result<()> {
    for name in ["linux-6.1", "linux-5.10-i386-pae"] {
        let guest = guests::guest(name)?;
        let all: Vec<usize> = (0..guest.cpus.len()).collect();
        for wrap in [Wrap::year_2012(), Wrap::year_2016()] {
            let run = cores::converted(&guest, &wrap, &["-M"])?;
            shows_registers(&run, "vmss.core", &guest, &all)?;
        }
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
    shows_no_vectors(&cores::linux(&guest)?, &guest)?;
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
        gdb_reads(&what, &linear.path(&format!("vmss.core{index}")), &samples)?;
    }
    // One of its threads never sleeps.
    ensure!(users > 0, "{name}: no processor has the address space of the program");
    Ok(())
}

fn gdb_reads(what: &str, core: &Path, samples: &[Sample]) -> Result<()> {
    let list = judges::samples_file(samples)?;
    let mut gdb = judges::gdb_script(core, "gdb_reads.py")?;
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
    gdb_reads(&format!("{name} -M"), &cores::physical(&guest)?.path("vmss.core"), &samples)
}

/// The command line that the program proposed for its first core, as it says
/// that the others open; with a stack trace after it.
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

/// No lab guest is a 32-bit one with more than 4 GiB, so this one is made by hand.
/// Its core is of the wide kind that holds 32-bit registers, as QEMU's are.
#[test]
fn physical_memory_of_a_32_bit_guest_above_4_gib() -> Result<()> {
    let low_and_high = [(0, 16 << 20), (4 << 30, 16 << 20)];
    let mut machine = Machine::synthetic(&low_and_high, 1);
    machine.cpus = Machine::synthetic_32_bit(4096, 1).cpus;
    for cpu in &mut machine.cpus {
        // Protected mode without paging, not long mode.
        cpu.control = [0x11, 0, 0, 0, 0];
        cpu.msrs.efer = Some(0);
    }
    let dir = tempfile::tempdir()?;
    let shape = Shape { extras: vec![Extra::Msrs], ..Shape::default() };
    let state = write_checkpoint(&machine, &shape, dir.path(), "wide")?.state;
    let mut program = Command::new(cores::PROGRAM);
    judges::output(program.arg("-M").arg(&state).current_dir(dir.path()))?;
    let page = |pa: u64| Sample { va: pa, len: 4096, bytes: page_of(pa / 4096).to_vec() };
    let samples = [0x1000, 0xff_f000, 4 << 30, (4 << 30) + 0xff_f000].map(page);
    let core = dir.path().join("vmss.core");
    let said = judges::output(&mut judges::gdb_script(&core, "gdb_registers.py")?)?;
    let eip = machine.cpus.first().map(|cpu| ("eip".to_owned(), cpu.rip));
    ensure_registers("32-bit", &said, 1, &eip.into_iter().collect())?;
    gdb_reads("32-bit above 4 GiB", &core, &samples)
}

tests_of_all_guests!(registers_of_every_core, kernel_and_user_memory, physical_memory);
