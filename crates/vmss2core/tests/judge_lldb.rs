//! lldb on our cores: registers against QEMU, memory, and stack traces with the
//! command line that the program itself proposes.

#[macro_use]
mod common;

use anyhow::{Context, Result, ensure};
use common::cores::{self, Run};
use common::guests::{self, Ram};
use common::judges;
use common::text::{ensure_contains, ensure_registers};
use common::walker::{self, Sample};
use vmss2core_lab::{CpuRegisters, Guest};

const READS: usize = 2_000;

fn registers_and_memory(name: &str) -> Result<()> {
    let guest = guests::guest(name)?;
    let run = cores::linear(&guest)?;
    let ram = Ram::of(&guest)?;
    for (index, cpu) in guest.cpus.iter().enumerate() {
        let space = guests::address_space(&ram, &guest, cpu)?;
        let mut samples = walker::samples(&space, &guests::pages(&space)?, READS)?;
        samples.iter_mut().for_each(end_with_the_page);
        samples.push(guests::banner(&guest, &space)?);
        let said = shows(&run, &format!("vmss.core{index}"), &samples)?;
        let what = format!("{name} vCPU {index} in lldb");
        ensure_registers(&what, &said, index + 1, &registers(&guest, cpu))?;
        judges::all_right(&what, &said, samples.len())?;
    }
    Ok(())
}

/// lldb 19 reads no further than to the end of a segment, even if the next one
/// follows at once (`ProcessElfCore::DoReadMemory`). Segments end with pages.
fn end_with_the_page(sample: &mut Sample) {
    let in_page = 4096 - usize::try_from(sample.va % 4096).unwrap_or_default();
    sample.len = sample.len.min(in_page);
    sample.bytes.truncate(in_page);
}

/// lldb's names differ in one, and it knows no segment bases of 32-bit cores.
fn registers(guest: &Guest, cpu: &CpuRegisters) -> std::collections::BTreeMap<String, u64> {
    let mut registers = guests::registers(guest, cpu);
    if guest.is_64_bit {
        let flags = registers.remove("eflags").unwrap_or_default();
        registers.insert("rflags".to_owned(), flags);
    }
    registers
}

fn shows(run: &Run, file: &str, samples: &[Sample]) -> Result<String> {
    let list = judges::samples_file(samples)?;
    let mut lldb = judges::lldb_script(&run.path(file), "lldb_core.py")?;
    judges::output(lldb.env("SAMPLES", list.path()))
}

#[test]
fn stacks_of_idle_processors_have_symbols() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel("linux-6.1")?;
    let run = cores::linear(&guest)?;
    run.bring("vmlinux", &kernel)?;
    let is_idle = |cpu: &CpuRegisters| cpu.halted && guests::privilege(cpu) == 0;
    let idle = guest.cpus.iter().position(is_idle).context("no processor was idle")?;
    let file = format!("vmss.core{idle}");
    let hint = run.hint("lldb vmlinux", "vmss.core0")?.replace("vmss.core0", &file);
    let said = judges::output(&mut judges::lldb_line(&run.dir, &hint, &["bt"])?)?;
    for function in ["do_idle", "cpu_startup_entry"] {
        ensure_contains(&file, &said, &format!("`{function}"))?;
    }
    Ok(())
}

#[test]
fn the_linux_core_opens_as_the_program_says() -> Result<()> {
    let (guest, kernel) = guests::guest_with_kernel("linux-6.1")?;
    let run = cores::linux(&guest)?;
    run.bring("vmlinux", &kernel)?;
    let hint = run.hint("lldb vmlinux", "vmss.core")?;
    let commands = ["thread list", "print (const char *)linux_banner"];
    let said = judges::output(&mut judges::lldb_line(&run.dir, &hint, &commands)?)?;
    ensure_contains("vmss.core", &said, "\"Linux version 6.1.")?;
    let threads = said.lines().filter(|line| line.contains("thread #")).count();
    ensure!(threads == guest.cpus.len(), "{threads} threads:\n{said}");
    Ok(())
}

tests_of_all_guests!(registers_and_memory);
